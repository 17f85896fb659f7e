"""Sweeps: many runs from one script. `everybatch.sweep` trains them; here is what goes into it and comes out of it."""

from everybatch._trial import Trial
from everybatch.report import write_report
from everybatch.sweeps._driver import sweep
from everybatch.sweeps._ensemble import Ensemble
from everybatch.sweeps._sweep import Runs, Sweep, load_sweep
from everybatch.sweeps.backends._backend import Backend, packed, processes, ray, serial
from everybatch.sweeps.pruning import Pruning, median, successive_halving
from everybatch.sweeps.space import Range, grid, log_uniform, random, sobol, uniform

__all__ = [
    "Backend",
    "Ensemble",
    "Pruning",
    "Range",
    "Runs",
    "Sweep",
    "Trial",
    "grid",
    "load_sweep",
    "log_uniform",
    "median",
    "packed",
    "processes",
    "random",
    "ray",
    "serial",
    "sobol",
    "successive_halving",
    "sweep",
    "uniform",
    "write_report",
]
