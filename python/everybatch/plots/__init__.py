"""Pictures of runs and sweeps, drawn with matplotlib.

Every function takes one run or several (a list, or a dict from label to run); a run may also be the folder of
a saved one, or the bare numbers. Each draws into `ax`, or into a new figure, returns the Axes, and shows
nothing by itself. `grid` makes a picture for each run. Those that begin with ``sweep_`` take a sweep, some of
its trials, or the path of its store. Estimates, which runs with a tolerance have, lie in bands of two standard
errors to both sides. No global matplotlib setting is changed.
"""

from ._accuracy import accuracy
from ._class_accuracy import class_accuracy
from ._class_bars import class_bars
from ._compare import compare
from ._confusion import confusion
from ._grid import grid
from ._losses import losses
from ._lr_finder import lr_finder
from ._sweep_bands import sweep_bands
from ._sweep_curves import sweep_curves
from ._sweep_grid import sweep_grid
from ._sweep_parallel import sweep_parallel
from ._sweep_scatter import sweep_scatter

__all__ = [
    "accuracy",
    "class_accuracy",
    "class_bars",
    "compare",
    "confusion",
    "grid",
    "losses",
    "lr_finder",
    "sweep_bands",
    "sweep_curves",
    "sweep_grid",
    "sweep_parallel",
    "sweep_scatter",
]
