"""The pictures of `replay`: a step's change by class, and split over its images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from everybatch._words import count
from everybatch.insight._mosaic import caption, mosaic
from everybatch.plots._style import BLUE, GREY, INK, ORANGE, VERMILLION, name_classes, new_axes, plain, small, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from everybatch.insight._replay import EachImage, Replay

__all__ = ["by_class", "waterfall"]

_SHOWN = 5
"""Images shown of those that did most good, and of those that did most harm."""
_FITS = 11
"""Characters that have room below one of them."""


def by_class(found: Replay, ax: Axes | None) -> Axes:
    """See `Replay.plot`."""
    ax = new_axes(ax, (7.2, 3.8))
    series = [("after the step", found.difference, BLUE)]
    if found.difference_later is not None:
        series.append((f"{count(found.later, 'step')} later", found.difference_later, ORANGE))
    places = np.arange(len(found.class_names))
    for number, (label, one, colour) in enumerate(series):
        shift = 0.16 * (2 * number - len(series) + 1)
        ax.errorbar(
            places + shift, one.class_loss, 2 * one.class_loss_error, fmt="o" if number == 0 else "s", color=colour,
            markersize=5, capsize=2.5, linewidth=1.2, label=label,
        )  # fmt: skip
        ax.axhline(one.loss, color=colour, linewidth=1.1, linestyle=(0, (4, 2)), label=f"all classes, {label}")
    ax.axhline(0, color=GREY, linewidth=0.8, zorder=0.5)
    name_classes(ax, found.class_names)
    ax.set_ylabel("difference of the test loss")
    ax.set_xlabel("class (bars: two standard errors)")
    ax.set_title(plain(f"Step {found.step} {found.change}, minus as it was"), loc="left", fontsize="medium", color=INK)
    tidy(ax)
    ax.legend(fontsize="small", frameon=False, ncols=2)
    return ax


def waterfall(found: EachImage, ax: Axes | None) -> Axes:
    """See `EachImage.plot`."""
    ax = new_axes(ax, (9.0, 5.2))
    order = np.argsort(found.effect, kind="stable")
    parts = np.concatenate([[found.carried], found.effect[order], [found.together]])
    tops = found.loss_before + np.concatenate([[0.0], np.cumsum(parts)])
    places = np.arange(len(parts))
    harm = parts > 0
    colours = np.where(harm, VERMILLION, BLUE)
    colours[[0, -1]] = GREY
    ax.bar(places, parts, bottom=tops[:-1], width=0.82, color=colours, linewidth=0)
    ends = [-2.2, len(parts) + 1.2]
    for place, level, name in zip(ends, (found.loss_before, found.loss), ("before", "after"), strict=True):
        ax.plot([place - 0.5, place + 0.5], [level, level], color=INK, linewidth=2.4, solid_capstyle="butt")
        ax.annotate(
            f"{name}\n{level:.4g}", (place, level), (0, 6), textcoords="offset points", ha="center", fontsize=small()
        )
    for place, name, side in ((0, "carried along", 1), (len(parts) - 1, "together", -1)):
        middle = (tops[place] + tops[place + 1]) / 2
        ax.annotate(
            name, (place, middle), (side * 13, 0), textcoords="offset points", ha="left" if side > 0 else "right",
            va="center", fontsize=small(), color=INK,
        )  # fmt: skip
    _thumbnails(ax, found, order)
    ax.set_xlim(ends[0] - 2.2, ends[1] + 2.2)
    known = tops[np.isfinite(tops)]  # a step that diverges has a loss that is not
    if len(known):
        span = float(np.ptp(known)) or 1e-9
        ax.set_ylim(np.min(known) - 0.5 * span, np.max(known) + 0.5 * span)
    ax.set_xticks([])
    ax.set_xlabel(f"the {len(order)} images of the batch, from most good to most harm")
    ax.set_ylabel("mean test loss")
    later = f", measured {count(found.later, 'step')} later" if found.later else ""
    ax.set_title(f"Step {found.step}, split over its images{later}", loc="left", fontsize="medium", color=INK)
    tidy(ax)
    ax.grid(visible=False)
    return ax


def _thumbnails(ax: Axes, found: EachImage, order: np.ndarray) -> None:
    """Show the images that did most good, below the bars at the left, and most harm, above them at the right."""
    shown = min(_SHOWN, len(order) // 2)
    for chosen, box, name in (
        (order[:shown], (0.02, 0.0, 0.46, 0.2), "most good"),
        (order[::-1][:shown], (0.4, 0.78, 0.46, 0.2), "most harm"),
    ):
        inner = ax.inset_axes(box)
        names = [found.class_names[label] for label in found.labels[chosen]]
        captions = [
            caption([(name, ": "), (f"{value:+.1e}", "")], _FITS)
            for name, value in zip(names, found.effect[chosen], strict=True)
        ]
        mosaic(inner, found.thumbnails[chosen], captions, max(1, shown))
        inner.set_title(name, loc="left", fontsize=small(), color=INK, pad=2)
