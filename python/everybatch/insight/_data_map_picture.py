"""The picture of `data_map`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from everybatch.plots._style import GREY, INK, new_axes, percent_axis, small, tidy, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from everybatch.insight._data_map import DataMap

__all__ = ["draw"]

_PLACES = {"easy": (0.02, 0.86), "ambiguous": (0.98, 0.60), "hard": (0.98, 0.30), "never learned": (0.02, 0.10)}


def draw(found: DataMap, regions: tuple[str, ...], ax: Axes | None) -> Axes:
    """See `DataMap.plot`."""
    ax = new_axes(ax, (6.8, 5.0))
    there = found.times > 0
    order = np.flatnonzero(there)[np.argsort(-found.correctness[there], kind="stable")]  # what is seldom right on top
    size = float(np.clip(8000 / max(len(order), 1), 3, 22))
    dots = ax.scatter(
        found.variability[order],
        found.confidence[order],
        c=found.correctness[order],
        cmap="viridis_r",
        vmin=0,
        vmax=1,
        s=size,
        alpha=0.55 if len(order) > 2000 else 0.8,
        linewidths=0,
        rasterized=True,
    )
    bar = ax.figure.colorbar(dots, ax=ax, shrink=0.8, aspect=28, pad=0.02)
    bar.set_label("times that the label was predicted", color=INK, fontsize="small")
    bar.ax.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    bar.ax.tick_params(color=GREY, labelcolor=INK, labelsize="small")
    if bar.solids is not None:
        bar.solids.set_alpha(1)
    bar.outline.set_visible(False)
    region = found.region
    box = {"boxstyle": "round,pad=0.25", "facecolor": "white", "edgecolor": "none", "alpha": 0.85}
    for name in regions:
        x, y = _PLACES[name]
        text = f"{name}: {int((region == name).sum()):,}"
        side = "left" if x < 0.5 else "right"
        ax.text(x, y, text, transform=ax.transAxes, ha=side, fontsize=small(), color=INK, bbox=box)
    ax.set_xlim(-0.01, 0.51)
    ax.set_ylim(-0.02, 1.02)
    ax.set_xlabel("variability: standard deviation of the probability of the label")
    ax.set_ylabel("confidence: its mean")
    percent_axis(ax)
    tidy(ax)
    title(ax, [found._run])
    return ax
