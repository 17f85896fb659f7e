"""The picture of `learning`: a raster of images over time, and what fewer measurements would have seen of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from everybatch.plots._style import BLUE, GREEN, GREY, INK, VERMILLION, plain, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from everybatch.insight._learning import Learning

__all__ = ["draw", "raster"]

_ROWS, _COLUMNS = 420, 900
"""As many as a screen shows."""


def draw(found: Learning, figure: Figure | None, *, everything: bool) -> Figure:
    """See `Learning.plot`."""
    if figure is None:
        import matplotlib.pyplot as plt

        figure = plt.figure(figsize=(11, 5.2), layout="constrained")
    grid = figure.add_gridspec(2, 2, width_ratios=[1.75, 1])
    _draw_raster(figure.add_subplot(grid[:, 0]), found, everything)
    above = figure.add_subplot(grid[0, 1])
    _draw_events(above, found)
    _draw_missed(figure.add_subplot(grid[1, 1], sharex=above), found)
    above.tick_params(labelbottom=False)
    return figure


def unsettled(found: Learning) -> npt.NDArray[np.int64]:
    """Return the images that were forgotten at least once or are wrong at the end, in the order of learning."""
    order = found.order
    return order[(found.forgotten[order] > 0) | (found.learned_for_good[order] < 0)]


def raster(
    found: Learning, order: npt.NDArray[np.int64], rows: int = _ROWS, columns: int = _COLUMNS
) -> npt.NDArray[np.float64]:
    """Return the part that was wrong of the images and measurements that share a dot, (rows, columns)."""
    one = found._seen
    rows = min(rows, len(order))
    tops = np.linspace(0, len(order), rows, endpoint=False).astype(int)
    sides = _sides(len(found.step), columns)
    columns = len(sides)
    column_of = np.searchsorted(sides, np.arange(len(found.step)), side="right") - 1
    wrong = np.zeros((rows, columns))
    for column, row in zip(column_of.tolist(), one.right(), strict=True):
        wrong[:, column] += np.add.reduceat((~row)[order], tops, dtype=np.int64)
    return wrong / np.diff(np.append(tops, len(order)))[:, None] / np.bincount(column_of)


def edges(step: npt.NDArray[np.int64], columns: int = _COLUMNS) -> npt.NDArray[np.float64]:
    """Return the steps between which each column of `raster` lies: halfway from one measurement to the next."""
    inner = _sides(len(step), columns)[1:]
    ends = step[-1] + (len(step) == 1)  # a single measurement is as wide as a step
    return np.concatenate([step[:1], (step[inner - 1] + step[inner]) / 2, [ends]])


def _sides(measurements: int, columns: int) -> npt.NDArray[np.int64]:
    """Return which measurement each column begins with."""
    return np.linspace(0, measurements, min(columns, measurements), endpoint=False).astype(np.int64)


def _draw_raster(ax: Axes, found: Learning, everything: bool) -> None:
    from matplotlib.colors import LinearSegmentedColormap, PowerNorm
    from matplotlib.ticker import PercentFormatter

    ramp = LinearSegmentedColormap.from_list("wrong", ["#ffffff", "#a9cde4", BLUE, "#0b2540"])
    first, last = int(found.step[0]), int(found.step[-1])
    order = found.order if everything else unsettled(found)
    if not len(order):
        everything, order = True, found.order
    count = len(order)
    wrong_then = raster(found, order)
    mesh = ax.pcolormesh(
        edges(found.step),
        np.linspace(0, count, len(wrong_then) + 1),
        wrong_then,
        cmap=ramp,
        norm=PowerNorm(0.5, 0, 1),  # a single image that lapses among thirty is to be seen
        rasterized=True,
    )
    ax.set(xlim=(first, max(last, first + 1)), ylim=(count, 0))
    wrong = int((found.learned_for_good < 0).sum())
    good = np.sort(np.where(found.learned_for_good < 0, last, found.learned_for_good)[order])
    ax.plot(good, np.arange(count), color=VERMILLION, linewidth=1.1, label=f"learned for good, {wrong:,} not")
    which = "test images" if everything else "images that were forgotten, or are wrong at the end"
    ax.set_ylabel(f"{count:,} {which}")
    rest = len(found.labels) - count
    beside = f"; the other {rest:,} images were learned once and kept" if rest else ""
    ax.set_xlabel(f"mini-batches (measured {found.interval}){beside}")
    ax.yaxis.set_major_formatter("{x:,.0f}")
    ax.legend(frameon=True, framealpha=0.9, edgecolor="none", fontsize="small", labelcolor=INK, loc="upper right")
    bar = ax.figure.colorbar(mesh, ax=ax, shrink=0.6, aspect=28, pad=0.02, ticks=[0, 0.05, 0.25, 0.5, 1])
    bar.set_label("wrong at that time", color=INK, fontsize="small")
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    bar.ax.tick_params(color=GREY, labelcolor=INK, labelsize="small")
    bar.outline.set_visible(False)
    tidy(ax, grid=False)
    names = (found._seen.run.config["network"].get("name"), found._seen.run.config["dataset"].get("name"))
    ax.set_title(plain(" on ".join(str(name) for name in names if name)), loc="left", fontsize="medium", color=INK)


def _draw_events(ax: Axes, found: Learning) -> None:
    """Events over the interval, on two logarithmic axes; 0 has no place there and is written below."""
    rate = 1000 * found.events / len(found.labels)
    drawn = rate > 0
    ax.plot(found.intervals[drawn], rate[drawn], color=BLUE, marker="o", markersize=4, linewidth=1.4)
    ax.set_xscale("log")
    if drawn.any():
        ax.set_yscale("log")
        ax.set_ylim(float(np.min(rate[drawn])) / 1.6, float(np.max(rate)) * 2.4)
    for place in np.flatnonzero(drawn):
        text = f"{rate[place]:,.0f}" if rate[place] >= 10 else f"{rate[place]:.1f}"
        ax.annotate(
            text,
            (found.intervals[place], rate[place]),
            xytext=(2, 4),
            textcoords="offset points",
            fontsize="x-small",
            color=INK,
        )
    ax.set_title("forgetting events per 1,000 images", loc="left", fontsize="small", color=INK)
    tidy(ax)
    ax.minorticks_off()


def _draw_missed(ax: Axes, found: Learning) -> None:
    """How deep the falls are that lie between measurements, and what choosing from fewer costs."""
    lines = (
        ("largest hidden fall of a class", found.hidden_class_fall, VERMILLION, "s"),
        ("largest hidden fall of all images", found.hidden_fall, BLUE, "o"),
        ("lost by choosing weights from fewer", found.regret, GREEN, "^"),
    )
    for name, values, colour, marker in lines:
        ax.plot(found.intervals, 100 * values, color=colour, marker=marker, markersize=4, linewidth=1.3, label=name)
    low, high = (100 * (found.regret + sign * found.regret_spread) for sign in (-1, 1))
    ax.fill_between(found.intervals, low, high, color=GREEN, alpha=0.18, linewidth=0)
    bottom, top = ax.get_ylim()
    ax.set_ylim(bottom, top + 0.4 * (top - bottom))  # for the legend
    ax.set_title("missed, in points of accuracy", loc="left", fontsize="small", color=INK)
    ax.set_xlabel("mini-batches between two measurements")
    last = found.intervals[-1]
    named = found.intervals[(found.intervals == last) | (found.intervals < last / 1.9)]  # so that names do not touch
    ax.set_xticks(named, [f"{each:,}" for each in named], fontsize="small")
    ax.legend(frameon=False, fontsize="x-small", labelcolor=INK, loc="upper left")
    tidy(ax)
    ax.minorticks_off()
