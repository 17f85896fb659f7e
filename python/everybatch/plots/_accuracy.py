"""`accuracy`: training, validation and test accuracy, zoomed to where a run spends most of its time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from everybatch._arguments import choice
from everybatch._measures import QUANTITIES

from ._curves import AXES, label_x
from ._inputs import Drawable, as_sources, check_fractions
from ._style import new_axes, percent_axis, small, text_height, tidy, title
from ._train_test import Pair, draw_pairs, mark_divergence, pair
from ._zoom import zoomed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["accuracy"]


def accuracy(
    runs: Drawable,
    *,
    labels: Sequence[str] | None = None,
    x: str = "step",
    smooth: int | None = None,
    zoom: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Draw the training accuracy of every mini-batch, its running mean, and the test (and validation) accuracy.

    Around measurements that are estimates lies a band of two standard errors to both sides, also where the line is
    smoothed. The curves of a run that diverged end where its weights were numbers for the last time.

    Parameters
    ----------
    runs
        A run, the folder of a saved run, a list of accuracies in [0, 1] (one for each batch), or a list or
        dict of these. One run is drawn in a colour for each of training, validation and test; several get a
        colour and a marker each, the test accuracy dashed.
    labels
        Names for several runs. By default what differs between their settings.
    x
        ``"step"`` (mini-batches), ``"epoch"`` or ``"seconds"`` (training and evaluation together).
    smooth
        Batches in the centred running mean; 1 for none. By default a fiftieth of the run, none below 60
        batches.
    zoom
        Fit the y axis to the last four fifths of the run; its first climb comes in from below. False: 0 to
        100 %.
    ax
        Where to draw; a new figure by default.

    Raises
    ------
    TypeError, ArgumentError
        Something that cannot be drawn, with a sentence that says what could.
    """
    choice(x, "x", tuple(AXES))
    sources = as_sources(runs, labels, plot="accuracy", ndim=1)
    check_fractions(sources, plot="accuracy")
    pairs = [pair(source, "accuracy", x=x, window=smooth, plot="accuracy") for source in sources]
    ax = new_axes(ax)
    draw_pairs(ax, pairs, location="lower right")
    reach = [values for one in pairs for line in one.lines for values in line.reach]
    low, high = zoomed(reach) if zoom else (0, 1.02)
    ax.set_ylim(_below_lines(ax, pairs, low, high) if zoom else low, high)
    mark_divergence(ax, pairs)
    label_x(ax, x)
    percent_axis(ax)
    ax.set_ylabel(QUANTITIES["accuracy"])
    tidy(ax)
    title(ax, [source.run for source in sources])
    return ax


def _below_lines(ax: Axes, pairs: Sequence[Pair], low: float, high: float) -> float:
    """Return `low`, or less where the legend at the lower right would otherwise lie on the lines."""
    legend = ax.get_legend()
    if legend is None:
        return low
    height = min(0.5, 0.05 + 1.3 * len(legend.get_texts()) * text_height(ax, small()))
    lines = [line for one in pairs for line in one.lines]
    end = max(float(line.x[-1]) for line in lines)
    beside = np.concatenate([values[line.x > 0.35 * end] for line in lines for values in line.reach])
    beside = beside[~np.isnan(beside)]
    return min(low, (float(beside.min()) - height * high) / (1 - height)) if len(beside) else low
