"""`class_bars`: the final test accuracy of every class as bars."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from everybatch._measures import MEASURES
from everybatch.errors import ArgumentError
from everybatch.run import Run

from ._error_bands import bounds
from ._inputs import Drawable, Source, as_sources, check_fractions, class_names
from ._style import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    PURPLE,
    name_classes,
    new_axes,
    percent_axis,
    plain,
    small,
    tidy,
    title,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.container import BarContainer

__all__ = ["class_bars"]

Doubles = npt.NDArray[np.float64]
COLOURS = (BLUE, ORANGE, GREEN, PURPLE)
HATCHES = ("", "///", "...", "xxx")  # runs stay apart without colour
_MOST_RUNS = len(COLOURS)
_LABELLED = 60  # bars up to which each carries its value
_EDGED = 200  # and up to which a white edge is narrower than the bar


def class_bars(
    runs: Drawable, *, labels: Sequence[str] | None = None, zoom: bool = True, ax: Axes | None = None
) -> Axes:
    """Draw the test accuracy of every class at the last evaluation, and that of all images as a line.

    Where that evaluation is an estimate, each bar has a whisker of two standard errors to both sides. Of a run that
    diverged it is the last one of weights that were numbers, and its step stands beside the line.

    Parameters
    ----------
    runs
        A run, the folder of a saved run, a list of accuracies in [0, 1] (one for each class), or a list or
        dict of up to four of these. A list's line is the plain mean of its classes.
    labels
        Names for several runs. By default what differs between their settings.
    zoom
        Start the y axis below the lowest class instead of at 0, and say so at the axis.
    ax
        Where to draw; a new figure by default.

    Raises
    ------
    TypeError, ArgumentError
        Something that cannot be drawn, with a sentence that says what could.
    """
    sources = as_sources(runs, labels, plot="class_bars", ndim=1)
    if len(sources) > _MOST_RUNS:
        raise ArgumentError(
            f"plots.class_bars: {len(sources)} runs make too many bars; give at most {_MOST_RUNS}, "
            "or draw each into an Axes of its own"
        )
    check_fractions(sources, plot="class_bars")
    heights = [_heights(source) for source in sources]
    names = class_names(sources, [len(each) for each in heights], plot="class_bars")
    ax = new_axes(ax, (min(max(6.4, (0.1 + 0.2 * len(sources)) * len(names) + 1.5), 14), 4.0))
    whiskers = [_whiskers(source, values) for source, values in zip(sources, heights, strict=True)]
    tops = [values + each[1] for values, each in zip(heights, whiskers, strict=True)]
    bottom, top = _limits(np.concatenate([*heights, *tops]), zoom)
    ax.set_ylim(bottom, top)
    bars = []
    for number, (source, values, ends) in enumerate(zip(sources, heights, whiskers, strict=True)):
        bars.append(_bars(ax, values, ends, number, len(sources), _absent(source), top - bottom))
        overall = _overall(source, values)
        ax.axhline(overall, color=INK if len(sources) == 1 else COLOURS[number], linewidth=1.1, linestyle=(0, (4, 2)))
    if len(sources) == 1:
        _name_line(ax, sources[0], _overall(sources[0], heights[0]))
        title(ax, [sources[0].run])
    else:
        place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1), "ncols": 2}
        # Given here: by itself matplotlib takes no label that begins with an underscore.
        texts = [_legend_text(source, values) for source, values in zip(sources, heights, strict=True)]
        ax.legend(bars, texts, frameon=False, fontsize="small", labelcolor=INK, **place)
    name_classes(ax, names)
    percent_axis(ax)
    ax.set_xlabel("class")
    ax.set_ylabel(f"test accuracy (axis starts at {100 * bottom:.4g}%)" if bottom > 0 else "test accuracy")
    tidy(ax)
    ax.tick_params(axis="x", length=0)
    return ax


def _bars(
    ax: Axes, values: Doubles, whiskers: Doubles, number: int, runs: int, absent: str, span: float
) -> BarContainer:
    """Draw one run's bars, each with its value; a class without one gets none, and says why."""
    many = len(values) * runs > _EDGED
    width = (1.0 if many else 0.8) / runs
    places = np.arange(len(values)) + (number - (runs - 1) / 2) * width
    style: dict[str, Any] = {
        "color": COLOURS[number],
        "hatch": HATCHES[number],
        "edgecolor": "white",
        "linewidth": 0 if many else 0.6,
    }
    bars = ax.bar(places, np.nan_to_num(values), width, zorder=2, **style)
    if np.any(whiskers > 0):
        ax.errorbar(places, values, yerr=whiskers, fmt="none", ecolor=INK, elinewidth=1, zorder=3)
    total = len(values) * runs
    if total > _LABELLED:
        return bars
    decimals = 1 if span > 0.012 else 2
    crowded = total > 14
    for place, value, above in zip(places, values, whiskers[1], strict=True):
        known = not np.isnan(value)
        ax.annotate(
            f"{100 * value:.{decimals}f}" if known else absent,
            xy=(place, value + above if known else ax.get_ylim()[0]),
            xytext=(0, 2.5),
            textcoords="offset points",
            rotation=90 if crowded or not known else 0,
            ha="center",
            va="bottom",
            fontsize=small() * (0.85 if crowded else 1),
            color=INK,
            zorder=4,
            bbox={
                "facecolor": "white",
                "edgecolor": "none",
                "alpha": 0.85,
                "pad": 0.2 if crowded else 0.6,
            },  # over the dashed line
        )
    return bars


def _limits(values: Doubles, zoom: bool) -> tuple[float, float]:
    """Return where the axis starts and ends: the shortest bar is still a bar, numbers fit on top."""
    values = values[~np.isnan(values)]
    if not zoom or not len(values) or not np.any(values > 0):  # with no bar at all there is nothing to come closer to
        return 0.0, 1.1
    low, high = float(np.min(values)), float(np.max(values))
    span = max(high - low, 0.005)
    bottom = low - 0.6 * span
    if bottom < 0.3 * high:
        return 0.0, 1.1 * high
    step = 10 ** np.floor(np.log10(span))
    bottom = float(np.round(np.floor(bottom / step) * step, 6))
    return bottom, high + 0.12 * (high - bottom)


def _heights(source: Source) -> Doubles:
    if source.run is None:
        assert source.values is not None  # a Source has one or the other
        return source.values
    if not len(source.run.class_accuracy):
        raise ArgumentError("plots.class_bars: the run ended before its first evaluation; there is nothing to draw")
    row = _row(source.run)
    if row is None:
        return np.full(source.run.class_accuracy.shape[1], np.nan)
    return np.asarray(source.run.class_accuracy[row], dtype=np.float64)


def _row(run: Run) -> int | None:
    """Return which evaluation is drawn: the last one of weights that were numbers, if there is any."""
    sound = np.flatnonzero(np.isfinite(run.test_loss))
    return int(sound[-1]) if len(sound) else None


def _absent(source: Source) -> str:
    """Return why a class has no bar."""
    return "no images" if source.run is None or _row(source.run) is not None else "diverged"


def _whiskers(source: Source, values: Doubles) -> Doubles:
    """Return how far the whiskers go down and up from each bar's value, (2, classes); 0 where nothing is estimated."""
    run = source.run
    row = None if run is None else _row(run)
    band = None
    if run is not None and row is not None:
        band = bounds(run, MEASURES["class_accuracy"], np.asarray(run.class_accuracy, np.float64))
    return np.zeros((2, len(values))) if band is None else np.abs(np.stack([ends[row] for ends in band]) - values)


def _overall(source: Source, values: Doubles) -> float:
    """Return the accuracy over all images; of bare numbers only the mean over classes is known."""
    if source.run is not None:
        row = _row(source.run)
        return float("nan") if row is None else float(source.run.test_accuracy[row])
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _legend_text(source: Source, values: Doubles) -> str:
    overall = _overall(source, values)
    told = _absent(source) if np.isnan(overall) else f"{_overall_name(source)} {overall:.2%}"
    return f"{plain(source.label)} ({told})"


def _overall_name(source: Source) -> str:
    if source.run is None:
        return "mean of classes"
    row = _row(source.run)
    is_last = row is None or row == len(source.run.test_loss) - 1
    return "all images" if is_last else f"all images, step {source.run.eval_step[row]:,}"


def _name_line(ax: Axes, source: Source, overall: float) -> None:
    if np.isnan(overall):
        return
    ax.annotate(
        f"{_overall_name(source)}\n{overall:.2%}",
        xy=(1, overall),
        xycoords=("axes fraction", "data"),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        fontsize="small",
        color=INK,
        annotation_clip=False,
    )
