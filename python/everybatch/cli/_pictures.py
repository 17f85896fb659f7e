"""Plots as files, without pyplot's windows and without a change of the user's matplotlib backend."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from everybatch import plots
from everybatch.run import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["KINDS", "MOST_RUNS", "picture"]

KINDS = {
    "losses": "training loss of every batch, test loss after it",
    "accuracy": "the same for the accuracy",
    "class_accuracy": "test accuracy of each class over the run",
    "class_bars": "test accuracy of each class at the end",
    "confusion": "which class was taken for which",
    "compare": "one quantity of several runs",
}
"""What each plot shows, by the name of its function in `everybatch.plots`."""

MOST_RUNS = {"class_accuracy": 4, "class_bars": 4}
"""Runs that fit into one picture, where there is a limit."""

_DPI = 150  # 6.4 inches become 960 pixels


def picture(kind: str, runs: Sequence[Run], path: Path, **options: Any) -> None:
    """Draw `runs` and write the picture; the ending of `path` decides the format.

    Raises
    ------
    ImportError
        matplotlib is not installed.
    ValueError
        matplotlib does not know the ending.
    OSError
        The file cannot be written.
    """
    figure = _figure(kind, runs)
    getattr(plots, kind)(list(runs) if len(runs) > 1 else runs[0], ax=figure.add_subplot(), **options)
    figure.savefig(path, dpi=_DPI)


def _figure(kind: str, runs: Sequence[Run]) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("pictures need matplotlib: pip install matplotlib") from error
    return Figure(figsize=_size(kind, len(runs), len(runs[0].classes)), layout="constrained")


def _size(kind: str, runs: int, classes: int) -> tuple[float, float]:
    """Width and height in inches, those that the plot chooses for a figure of its own."""
    if kind == "class_bars":
        return min(max(6.4, (0.1 + 0.2 * runs) * classes + 1.5), 14), 4.0
    if kind == "confusion":
        side = float(np.clip(0.34 * classes + 2.2, 4.6, 11))
        return side + 0.7, side
    return {"class_accuracy": (6.8, 4.4), "compare": (6.8, 4.0)}.get(kind, (6.4, 4.0))
