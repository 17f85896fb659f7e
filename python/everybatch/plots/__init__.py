"""Pictures of runs, drawn with matplotlib.

Every function takes one run or several (a list, or a dict from label to run); a run may also be the folder of
a saved one, or the bare numbers. Each draws into `ax`, or into a new figure, returns the Axes, and shows
nothing by itself. `grid` makes a picture for each run. No global matplotlib setting is changed.
"""

from ._accuracy import accuracy
from ._class_accuracy import class_accuracy
from ._class_bars import class_bars
from ._compare import compare
from ._confusion import confusion
from ._grid import grid
from ._losses import losses
from ._lr_finder import lr_finder

__all__ = ["accuracy", "class_accuracy", "class_bars", "compare", "confusion", "grid", "losses", "lr_finder"]
