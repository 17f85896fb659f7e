"""`class_accuracy`: one line for each class over the run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from everybatch._arguments import choice
from everybatch._measures import MEASURES
from everybatch.errors import ArgumentError

from . import _curves
from ._curves import AXES, Curve, end_at, label_x, window_for
from ._error_bands import band_key, draw_band, name_band
from ._inputs import Drawable, Source, as_sources, check_fractions, class_names
from ._labels import end_labels
from ._style import (
    COLOURS,
    DASHES,
    FEW,
    GREY,
    INK,
    MARKERS,
    Dashes,
    line_style,
    new_axes,
    percent_axis,
    plain,
    short,
    small,
    tidy,
    title,
)
from ._zoom import zoomed

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

__all__ = ["class_accuracy"]

_MANY, _NAMED = 16, 10  # above so many classes only the worst few are named


def class_accuracy(
    runs: Drawable,
    *,
    labels: Sequence[str] | None = None,
    x: str = "step",
    smooth: int | None = None,
    zoom: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Draw the test accuracy of every class over the run, each line with its class's name at its end.

    The evaluation before the first step is left out: untrained networks often answer one class to everything.
    Above 16 classes only the ten that end lowest are named, over all others in grey. Around measurements that are
    estimates lies a band of two standard errors to both sides, also where the line is smoothed; with more than 16
    classes there is none. The lines of a run that diverged end where its weights were numbers for the last time.

    Parameters
    ----------
    runs
        A run, the folder of a saved run, an array (evaluations, classes) of accuracies in [0, 1], or a list
        or dict of up to four of these. Several runs share the classes' colours and differ in their dashes.
    labels
        Names for several runs. By default what differs between their settings.
    x
        ``"step"`` (mini-batches), ``"epoch"`` or ``"seconds"`` (training and evaluation together).
    smooth
        Evaluations in the centred running median; 1 for none. By default a twenty-fifth of them, none below
        60.
    zoom
        Fit the y axis to the last four fifths of the run; the first climb comes in from below. False: 0 to
        100 %.
    ax
        Where to draw; a new figure by default.

    Raises
    ------
    TypeError, ArgumentError
        Something that cannot be drawn, with a sentence that says what could.
    """
    choice(x, "x", tuple(AXES))
    sources = as_sources(runs, labels, plot="class_accuracy", ndim=2)
    check_fractions(sources, plot="class_accuracy")
    if len(sources) > len(DASHES):
        raise ArgumentError(
            f"plots.class_accuracy: {len(sources)} runs of several lines each cannot be told apart; "
            f"give at most {len(DASHES)}, or draw each into an Axes of its own"
        )
    curves = [_curve(source, x) for source in sources]
    names = class_names(sources, [each.y.shape[1] for each in curves], plot="class_accuracy")
    windows = [window_for(len(each), smooth, part=25) for each in curves]  # ten lines need more than one
    lines = [_curves.smooth(each, window) for each, window in zip(curves, windows, strict=True)]

    ax = new_axes(ax, (6.8, 4.4))
    ax.set_ylim(*zoomed([line.y for line in lines]) if zoom else (0, 1.02))
    _draw(ax, lines, names)
    _draw_bands(ax, curves, len(names))
    if len(lines) > 1:
        _name_runs(ax, [source.label for source in sources])
    else:
        name_band(ax, "lower right")
    label_x(ax, x)
    end_at(ax, lines)  # the lines end where their names begin
    percent_axis(ax)
    widest = max(windows)
    ax.set_ylabel("test accuracy of each class" + (f", median of {widest}" if widest > 1 else ""))
    tidy(ax)
    title(ax, [source.run for source in sources])
    return ax


def _draw(ax: Axes, lines: Sequence[Curve], names: Sequence[str]) -> None:
    """Draw every class of every run, and name the classes at the ends of the first run's lines."""
    ends = np.array([_last(lines[0].y[:, index]) for index in range(len(names))])
    there = np.flatnonzero(~np.isnan(ends))
    named = set(there[np.argsort(ends[there])][:_NAMED] if len(names) > _MANY else there)
    styles: list[tuple[str, Dashes]] = []
    for index in range(len(names)):
        colour, dashes = line_style(index)
        if len(names) > _MANY:
            colour, dashes = line_style(sorted(named).index(index)) if index in named else ("#cfcfcf", "-")
        styles.append((colour, dashes if len(lines) == 1 else "-"))
        for run, line in enumerate(lines):
            data = _curves.decimate(line.column(index))
            style: dict[str, Any] = {"linewidth": 1.5 if index in named else 0.8, "linestyle": dashes}
            if len(lines) > 1:
                style |= {"linestyle": DASHES[run], "alpha": 1.0 if run == 0 else 0.8}
            if len(line) <= FEW or (len(lines) > 1 and index >= len(COLOURS)):
                style |= {"marker": MARKERS[index // len(COLOURS) % len(MARKERS)], "markersize": 3.5}
                style |= {"markevery": max(1, len(data) // 12)}
            ax.plot(
                data.x,
                data.y,
                color=colour,
                zorder=3 if index in named else 2,
                label=plain(names[index]),
                **style,
            )
    order = sorted(named)
    end_labels(
        ax,
        [short(names[i]) for i in order],
        [float(ends[i]) for i in order],
        [styles[i] for i in order],
        small(),
    )
    absent = [short(name) for name, end in zip(names, ends, strict=True) if np.isnan(end)]
    if absent:
        text = f"no test images: {', '.join(absent[:5])}" + (f" and {len(absent) - 5} more" if len(absent) > 5 else "")
        ax.text(0.99, 0.02, text, transform=ax.transAxes, ha="right", va="bottom", fontsize="small", color=INK)


def _draw_bands(ax: Axes, curves: Sequence[Curve], classes: int) -> None:
    """Draw the errors of every class of every run in the colours of the lines, so pale that ten lie upon each other."""
    if classes > _MANY:
        return
    for curve in curves:
        for index in range(classes):
            draw_band(ax, curve.column(index), line_style(index)[0], alpha=max(0.04, 0.5 / (classes * len(curves))))


def _name_runs(ax: Axes, labels: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    handles: list[Artist] = [
        Line2D([], [], color=GREY, linewidth=1.5, linestyle=dashes, label=plain(label))
        for dashes, label in zip(DASHES, labels, strict=False)
    ]
    handles += band_key(ax)
    ax.legend(handles=handles, frameon=False, fontsize="small", labelcolor=INK, loc="lower right")


def _curve(source: Source, x: str) -> Curve:
    if source.run is None:
        assert source.values is not None  # a Source has one or the other
        return _curves.bare(source.values, x, "class_accuracy")
    data = _curves.sound_curve(source.run, MEASURES["class_accuracy"], x)
    if not len(data):
        raise ArgumentError("plots.class_accuracy: the run ended before its first evaluation; there is nothing to draw")
    skip = int(len(data) > 1 and source.run.eval_step[0] == 0)
    return data.at(slice(skip, None))


def _last(values: npt.NDArray[np.float64]) -> float:
    """Return the last number that was measured, or NaN."""
    known = values[~np.isnan(values)]
    return float(known[-1]) if len(known) else float("nan")
