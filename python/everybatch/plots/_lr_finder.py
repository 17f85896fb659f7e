"""`lr_finder`: the learning-rate range test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ._style import BLUE, GREY, INK, VERMILLION, new_axes, small, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from everybatch.lr_finder import LrFinder

__all__ = ["lr_finder"]


def lr_finder(found: LrFinder, *, ax: Axes | None = None) -> Axes:
    """Draw the loss over the rising learning rate, smoothed and as it was, with the suggested rate marked.

    Parameters
    ----------
    found
        What `find_lr` returned.
    ax
        Where to draw; a new figure by default.

    Raises
    ------
    TypeError
        `found` is something else.
    """
    if not hasattr(found, "smooth_loss"):
        raise TypeError(f"plots.lr_finder draws what eb.find_lr returns, not {type(found).__name__}")
    ax = new_axes(ax)
    ax.plot(found.lr, found.loss, color=GREY, linewidth=0.8, alpha=0.8, label="each batch")
    ax.plot(found.lr, found.smooth_loss, color=BLUE, linewidth=1.8, label="smoothed")
    at = found.suggestion
    height = float(np.interp(at, found.lr, found.smooth_loss))
    ax.plot([at], [height], "o", color=VERMILLION, zorder=5)
    ax.axvline(at, color=VERMILLION, linewidth=0.8, linestyle="--")
    ax.annotate(f"steepest: {at:.1e}", (at, height), (6, 10), textcoords="offset points", color=INK, fontsize=small())
    ax.set_xscale("log")
    low, start = float(np.min(found.loss)), float(found.smooth_loss[0])
    room = max(start - low, 0.1)  # what the rise at the end would otherwise squeeze into a line
    ax.set_ylim(low - 0.1 * room, start + 0.5 * room)
    ax.set_xlabel("learning rate")
    ax.set_ylabel("training loss (cross-entropy)")
    ax.legend(loc="lower left", frameon=False, fontsize=small())
    tidy(ax)
    return ax
