"""`losses`: every batch's training loss, a smoothed line above it, the validation loss and the test loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from everybatch._arguments import choice
from everybatch._measures import QUANTITIES
from everybatch.errors import ArgumentError

from ._curves import AXES, label_x
from ._inputs import Drawable, as_sources
from ._style import LOG_FROM, log_axis, new_axes, tidy, title
from ._train_test import Pair, draw_pairs, mark_divergence, pair

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["loss_limits", "losses"]


def losses(
    runs: Drawable,
    *,
    labels: Sequence[str] | None = None,
    x: str = "step",
    smooth: int | None = None,
    scale: str = "auto",
    ax: Axes | None = None,
) -> Axes:
    """Draw the training loss of every mini-batch, its running median, and the test (and validation) loss.

    Around measurements that are estimates lies a band of two standard errors to both sides, also where the line is
    smoothed.

    Parameters
    ----------
    runs
        A run, the folder of a saved run, a list of losses (one for each batch), or a list or dict of these.
        One run is drawn in a colour for each of training, validation and test; several get a colour and a
        marker each, the test loss dashed.
    labels
        Names for several runs. By default what differs between their settings.
    x
        ``"step"`` (mini-batches), ``"epoch"`` or ``"seconds"`` (training and evaluation together).
    smooth
        Batches in the centred running median; 1 for none. By default a fiftieth of the run, none below 60
        batches.
    scale
        ``"linear"``, ``"log"``, or ``"auto"``: logarithmic if the losses span a factor of 15 or more. On a
        logarithmic axis single batches far below all else may leave the picture.
    ax
        Where to draw; a new figure by default.

    Raises
    ------
    TypeError, ArgumentError
        Something that cannot be drawn, with a sentence that says what could.
    """
    choice(scale, "scale", ("auto", "linear", "log"))
    choice(x, "x", tuple(AXES))
    sources = as_sources(runs, labels, plot="losses", ndim=1)
    pairs = [pair(source, "loss", x=x, window=smooth, plot="losses") for source in sources]
    ax = new_axes(ax)
    draw_pairs(ax, pairs, location="upper right")
    loss_limits(ax, pairs, scale)
    mark_divergence(ax, pairs)
    label_x(ax, x)
    ax.set_ylabel(QUANTITIES["loss"])
    tidy(ax)
    title(ax, [source.run for source in sources])
    return ax


def loss_limits(ax: Axes, pairs: Sequence[Pair], scale: str) -> None:
    """Set the limits of the y axis, and its scale."""
    lines = np.concatenate([line.y for one in pairs for line in one.lines])
    lines = lines[~np.isnan(lines)]
    batches = np.concatenate([one.train.y for one in pairs])
    batches = batches[~np.isnan(batches)]
    bands = [line.high[~np.isnan(line.high)] for one in pairs for line in one.lines if line.high is not None]
    everything = np.concatenate([lines, batches, *bands])
    if not len(everything):  # NaN throughout
        ax.set_ylim(0, 1)
        return
    positive = everything[everything > 0]
    if scale == "log" and not len(positive):
        raise ArgumentError("plots.losses: scale='log' needs losses above 0")
    low = lines.min() if len(lines) else everything.min()
    if scale == "log" or (scale == "auto" and low > 0 and everything.max() > LOG_FROM * low):
        log_axis(ax)
        # A single lucky batch can have a loss near 0, and would get decades to itself.
        bottom = np.quantile(batches[batches > 0], 0.01) if np.any(batches > 0) else positive.min()
        ax.set_ylim(0.8 * min(bottom, max(low, positive.min())), 1.25 * everything.max())
    elif everything.min() >= 0:
        ax.set_ylim(0, 1.05 * everything.max() or 1)
