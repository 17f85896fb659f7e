"""The picture of `compare`: a matrix of runs, with churn above the diagonal and shared errors below."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from everybatch.plots._style import GREY, INK, new_axes, short, small, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from everybatch.insight._comparison import Comparison

__all__ = ["draw"]

_WRITTEN = 14
"""Runs up to which numbers are written into the cells."""


def draw(found: Comparison, ax: Axes | None) -> Axes:
    """See `Comparison.plot`."""
    from matplotlib.colors import LinearSegmentedColormap

    count = len(found.labels)
    side = float(np.clip(0.72 * count + 2.0, 4.2, 10))
    ax = new_axes(ax, (side + 2.2, side))
    above, below = np.tri(count, count, -1, dtype=bool).T, np.tri(count, count, -1, dtype=bool)
    blues = LinearSegmentedColormap.from_list("churn", ["#ffffff", "#a9cde4", "#0072B2"])
    oranges = LinearSegmentedColormap.from_list("shared", ["#ffffff", "#fbd9a0", "#D55E00"])
    edges = np.arange(count + 1) - 0.5
    parts = (
        (np.where(above, 100 * found.churn, np.nan), blues, "churn: predicted differently (%)", above),
        (np.where(below, found.beyond_chance, np.nan), oranges, "errors shared, times chance", below),
    )
    for values, ramp, name, where in parts:
        shown = np.ma.masked_invalid(values)
        top = float(shown.max()) if shown.count() else 1.0
        mesh = ax.pcolormesh(edges, edges, shown, cmap=ramp, vmin=0, vmax=top or 1.0, edgecolors="white", linewidth=1)
        bar = ax.figure.colorbar(mesh, ax=ax, shrink=0.8, aspect=30, pad=0.02)
        bar.set_label(name, color=INK, fontsize="small")
        bar.ax.tick_params(color=GREY, labelcolor=INK, labelsize="small")
        bar.outline.set_visible(False)
        if count <= _WRITTEN:
            _write(ax, values, where, top)
    for place in range(count):
        ax.add_patch(_square(place))
        if count <= _WRITTEN:
            text = f"{100 * found.accuracy[place]:.2f}%"
            ax.text(place, place, text, ha="center", va="center", fontsize=_size(count), color=INK)
    names = [short(name) for name in found.labels]
    style: dict[str, Any] = {"fontsize": "small"}
    long = max(map(len, names)) > 8
    slant: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if long else {}
    ax.set_xticks(range(count), names, **style, **slant)
    ax.set_yticks(range(count), names, **style)
    ax.set_xlim(-0.5, count - 0.5)
    ax.set_ylim(count - 0.5, -0.5)
    ax.set_box_aspect(1)
    tidy(ax, grid=False)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    said = (
        f"last measurement, {len(found.test_indices):,} test images; {len(found.wrong_in_all):,} are wrong in all runs"
    )
    ax.set_title(said, loc="left", fontsize="medium", color=INK)
    return ax


def _write(ax: Axes, values: Any, where: Any, top: float) -> None:
    for row, column in np.argwhere(where):
        value = values[row, column]
        text = "–" if np.isnan(value) else f"{value:.2f}" if value < 10 else f"{value:,.1f}"
        colour = "white" if value > 0.7 * top else INK
        ax.text(column, row, text, ha="center", va="center", fontsize=_size(len(values)), color=colour)


def _size(count: int) -> float:
    return small() * (1.0 if count <= 8 else 0.8)


def _square(place: int) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((place - 0.5, place - 0.5), 1, 1, facecolor="#e6e6e6", edgecolor="white", linewidth=1)
