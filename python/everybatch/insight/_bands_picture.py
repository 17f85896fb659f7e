"""The picture of `bands`: a curve in two bands, with best, last and mean told apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from everybatch.insight._paired import changed_interval, percent
from everybatch.plots._style import BLUE, GREEN, INK, ORANGE, VERMILLION, new_axes, percent_axis, tidy, title
from everybatch.plots._zoom import zoomed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from everybatch.insight._bands import Bands

__all__ = ["draw"]

_MEAN_OF = 100


def draw(found: Bands, ax: Axes | None, *, zoom: bool) -> Axes:
    """See `Bands.plot`."""
    ax = new_axes(ax, (7.2, 5.0))
    step, accuracy, last = found.step, found.accuracy, float(found.accuracy[found.last])
    change = found.images * (last - accuracy)
    moved = (found.images * found.from_last_error) ** 2 + change**2 / found.images  # gained and lost together
    low, high = changed_interval((moved + change) / 2, (moved - change) / 2, found.images, found.level)
    level = percent(found.level)
    name = f"where it may be on other images ({level})"
    ax.fill_between(step, found.low, found.high, facecolor=BLUE, alpha=0.16, linewidth=0, label=name)
    for ends in (found.low, found.high):  # where the narrow band is as wide, the wide one still shows
        ax.plot(step, ends, color=BLUE, alpha=0.45, linewidth=0.5)
    name = f"for comparing with the last ({level})"
    ax.fill_between(step, last - high, last - low, color=BLUE, alpha=0.38, linewidth=0, label=name)
    ax.plot(step, accuracy, color=BLUE, linewidth=1.2, marker="." if len(step) <= 30 else "", label="test accuracy")
    if len(step) > 1:
        ax.axhline(last, color=INK, linewidth=0.9, linestyle=(0, (4, 2)), zorder=1.8)
        count = min(_MEAN_OF, len(step) - 1)
        mean = float(accuracy[-count:].mean())
        label = f"mean of the last {count}: {mean:.2%}"
        ax.plot(step[-count:][[0, -1]], [mean, mean], color=GREEN, linewidth=2.4, label=label, zorder=3.5)
    size: dict[str, Any] = {"markersize": 8, "linestyle": "none", "markeredgecolor": "white", "zorder": 4}
    label = f"last: {last:.2%}"
    ax.plot(step[found.last], last, marker="s", color=INK, label=label, **size)
    best = float(accuracy[found.best])
    label = f"best, chosen by these images: {best:.2%}"
    ax.plot(step[found.best], best, marker="^", color=VERMILLION, label=label, **size)
    if found.optimism > 0:
        label = f"best less what it flatters by: {best - found.optimism:.2%}"
        ax.plot(step[found.best], best - found.optimism, marker="v", color=ORANGE, label=label, **size)
        ax.plot(step[[found.best] * 2], [best, best - found.optimism], color=ORANGE, linewidth=1.2, zorder=3.8)
    later = slice(len(step) // 5, None)
    bottom, top = zoomed([found.low[later], found.high[later], accuracy[[found.best]]]) if zoom else (0.0, 1.02)
    ax.set_ylim(bottom, top)
    if len(step) > 1:
        ax.set_xlim(step[0], step[-1] + 0.015 * (step[-1] - step[0]))
    ax.set_xlabel(f"mini-batches (measured {found.interval})")
    ax.set_ylabel("test accuracy")
    percent_axis(ax)
    tidy(ax)
    title(ax, [found._seen.run])
    place: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (0, -0.14), "ncols": 2, "borderaxespad": 0}
    ax.legend(frameon=False, fontsize="small", labelcolor=INK, **place)
    return ax
