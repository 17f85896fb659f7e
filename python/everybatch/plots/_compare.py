"""`compare`: one measured quantity of several runs in one picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from everybatch._measure import Measure
from everybatch._measures import CURVES
from everybatch.errors import ArgumentError

from . import _curves
from ._curve_axes import check_curve_options, curve_axes
from ._curves import Curve, window_for
from ._error_bands import draw_band, name_band
from ._inputs import Drawable, Source, as_sources, check_fractions
from ._labels import end_labels
from ._style import FEW, MARKERS, line_style, new_axes, plain, small, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["compare"]


def compare(
    runs: Drawable,
    *,
    metric: str = "test_accuracy",
    labels: Sequence[str] | None = None,
    x: str = "step",
    smooth: int | None = None,
    scale: str = "auto",
    ax: Axes | None = None,
) -> Axes:
    """Draw one quantity of several runs: a smoothed line each, all measurements thin behind it.

    Each line has its run's name at its end, and the last measurement (not the best one). Around measurements that are
    estimates lies a band of two standard errors to both sides. The line of a run that diverged ends where its weights
    were numbers for the last time.

    Parameters
    ----------
    runs
        Runs, folders of saved runs, or lists of numbers (then of `metric`), in a list or a dict from label to
        run.
    metric
        ``"test_accuracy"``, ``"test_error"``, ``"test_loss"``, ``"train_accuracy"``, ``"train_loss"``,
        ``"validation_accuracy"``, ``"validation_loss"``, or any other attribute of `Run` that has one number for each
        step or evaluation, such as ``"lr"``.
    labels
        Names for the runs. By default what differs between their settings.
    x
        ``"step"`` (mini-batches), ``"epoch"`` or ``"seconds"`` (training and evaluation together).
    smooth
        Points in the centred running median (mean for the training accuracy, which takes few values); 1 for
        none. By default a fiftieth of each run, none below 60 points.
    scale
        ``"linear"``, ``"log"``, or ``"auto"``: logarithmic for losses and errors that span a factor of 15 or
        more.
    ax
        Where to draw; a new figure by default.

    Raises
    ------
    TypeError, ArgumentError
        Something that cannot be drawn, with a sentence that says what could.
    """
    check_curve_options(metric, x, scale)
    sources = as_sources(runs, labels, plot="compare", ndim=1)
    if CURVES[metric].unit == "fraction":
        check_fractions(sources, plot="compare")
    raw = [_curve(source, metric, x) for source in sources]
    windows = [window_for(len(each), smooth) for each in raw]
    measure = CURVES[metric]
    lines = [
        _curves.smooth(each, window, mean=measure.average == "mean") for each, window in zip(raw, windows, strict=True)
    ]

    ax = new_axes(ax, (6.8, 4.0))
    for number, (points, line, window) in enumerate(zip(raw, lines, windows, strict=True)):
        _draw(ax, points, line, number, len(raw), plain(sources[number].label), smoothed=window > 1)
    curve_axes(ax, lines, metric, x, scale, plot="compare")
    name_band(ax, "lower right" if measure.better == "higher" else "upper right")
    widest = max(windows)
    ax.set_ylabel(measure.label + (f", {measure.average} of {widest}" if widest > 1 else ""))
    _name_ends(ax, sources, raw, lines, measure)
    title(ax, [source.run for source in sources])
    return ax


def _curve(source: Source, metric: str, x: str) -> Curve:
    if source.run is None:
        assert source.values is not None  # a Source has one or the other
        return _curves.bare(source.values, x, "compare")
    measure, name = CURVES[metric], f"the run of {source.label!r}" if source.label else "the run"
    if not measure.is_in(source.run):
        raise ArgumentError(f"plots.compare: {measure.missing(name)}")
    data = _curves.sound_curve(source.run, measure, x)
    if not len(data):
        raise ArgumentError(f"plots.compare: {name} ended before its {measure.label} was measured")
    return data


def _draw(ax: Axes, points: Curve, line: Curve, number: int, runs: int, label: str, *, smoothed: bool) -> None:
    colour, dashes = line_style(number)
    draw_band(ax, points, colour, alpha=max(0.08, 0.22 - 0.03 * runs))
    if smoothed:
        thin = _curves.decimate(points)
        ax.plot(thin.x, thin.y, color=colour, alpha=max(0.08, 0.45 / runs), linewidth=0.5, zorder=2)
    line = _curves.decimate(line)
    every = 1 if len(line) <= FEW else max(1, len(line) // 6)
    style: dict[str, Any] = {"marker": MARKERS[number % len(MARKERS)], "markersize": 5, "linestyle": dashes}
    style |= {
        "markeredgecolor": "white",
        "markeredgewidth": 0.6,
        "markevery": (number * every // runs, every),
    }
    ax.plot(line.x, line.y, color=colour, linewidth=1.6, zorder=4, label=label, **style)


def _name_ends(
    ax: Axes, sources: Sequence[Source], raw: Sequence[Curve], lines: Sequence[Curve], measure: Measure[Any]
) -> None:
    """Write each run's name and its last measurement at the end of its line."""
    texts, ends, styles = [], [], []
    for number, (source, points, line) in enumerate(zip(sources, raw, lines, strict=True)):
        known, drawn = points.y[~np.isnan(points.y)], line.y[~np.isnan(line.y)]
        if not len(known):
            continue
        last = measure.text(known[-1])
        texts.append(f"{plain(source.label)}  {last}" if source.label else last)
        ends.append(float(drawn[-1]))
        styles.append(line_style(number))
    end_labels(ax, texts, ends, styles, small())
