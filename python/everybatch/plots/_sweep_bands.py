"""`sweep_bands`: mean learning curves of a sweep over seeds, with a band around each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from everybatch._arguments import choice
from everybatch._measures import CURVES
from everybatch._trial import LABEL, Trial

from . import _curves
from ._curve_axes import check_curve_options, curve_axes
from ._curves import Curve, window_for
from ._labels import end_labels
from ._style import GREY, Dashes, line_style, new_axes, small
from ._sweep_inputs import (
    Swept,
    as_trials,
    check_setting,
    curves_of,
    in_words,
    label_left_out,
    name_of,
    naming,
    text_of,
)
from ._sweep_palette import draw_key, palette

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["sweep_bands"]

_POINTS = 250
_MOST, _BEST = 16, 10  # lines that are all named, and how many are if there are more
_LONGEST = 44  # characters of a name
_PALE = "#c4c4c4"


def sweep_bands(
    sweep: Swept,
    *,
    by: str | None = None,
    band: str = "range",
    metric: str = "test_accuracy",
    x: str = "step",
    smooth: int | None = None,
    scale: str = "auto",
    ax: Axes | None = None,
) -> Axes:
    """Draw the mean learning curve of each config over its seeds, and a band around it.

    Runs may have different lengths and be measured at different steps: between its measurements each is a straight
    line. Where some runs of a group have ended, or diverged, and others go on, the mean of those is dotted. Each line
    has its name and its last mean at its end; of more than 16, the ten best have, and the others are grey. Standard
    errors of estimates are not drawn: they are a part of what the runs differ by.

    Parameters
    ----------
    sweep
        A sweep, some of its trials, or the path of a stored one.
    by
        A setting: one line for each of its values, over seeds and all other settings. By default one for each config,
        with its label if configs have labels.
    band
        ``"range"`` from the lowest to the highest run, or ``"std"``, one standard deviation (of the sample) to both
        sides.
    metric, x, smooth, scale
        As in `sweep_curves`; each run is smoothed by itself.
    ax
        Where to draw; a new figure by default.

    Raises
    ------
    TypeError, ArgumentError
        Something that cannot be drawn, with a sentence that says what could.
    """
    check_curve_options(metric, x, scale)
    choice(band, "band", ("range", "std"))
    trials = as_trials(sweep, "plots.sweep_bands")
    settings = naming(trials) if by is None else [check_setting("by", by, trials)]
    found = curves_of(trials, metric, x, "sweep_bands")
    mean = CURVES[metric].average == "mean"
    groups: dict[str, list[Curve]] = {}
    members: dict[str, Trial] = {}
    for trial, raw in found:
        group = repr([trial.setting(name) for name in settings])
        line = _curves.smooth(raw, window_for(len(raw), smooth), mean=mean, points=_POINTS)
        groups.setdefault(group, []).append(line)
        members.setdefault(group, trial)
    bands = [_band(lines, band) for lines in groups.values()]
    named = _best(bands, metric)
    styles = _styles(list(members.values()), trials, settings, named)
    names = _names(list(members.values()), settings)
    texts = [f"{name}  {_last(one, metric)}".strip() for name, one in zip(names, bands, strict=True)]

    widest = max((len(texts[number]) for number in named), default=0)
    ax = new_axes(ax, (5.0 + 0.07 * widest, max(4.0, 0.2 * len(named) + 1.0)))
    for one, name, style in zip(bands, names, styles, strict=True):
        _draw(ax, one, name, style, len(bands))
    curve_axes(ax, [line for lines in groups.values() for line in lines], metric, x, scale, plot="sweep_bands")
    label_left_out(ax, trials, [trial for trial, _ in found])
    if len(found) > len(groups):
        around = "lowest to highest" if band == "range" else "± standard deviation"
        ax.set_ylabel(f"{ax.get_ylabel()}, mean and {around}")
    if len(settings) == 1 and len(named) < len(bands):
        draw_key(ax, palette(settings[0], [trial.setting(settings[0]) for trial in trials]))
    if len(settings) > 1 and "·" in names[0]:  # values alone: say of what
        head = " · ".join(name_of(name) for name in settings)
        ax.annotate(head, (1.045, 1.04), xycoords="axes fraction", fontsize=small(), color=GREY, annotation_clip=False)
    ends = [float(bands[number].mean[-1]) for number in named]
    end_labels(ax, [texts[number] for number in named], ends, [styles[number] for number in named], small())
    return ax


@dataclass(frozen=True)
class _Band:
    x: npt.NDArray[np.float64]
    mean: npt.NDArray[np.float64]
    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]
    whole: npt.NDArray[np.bool_]
    """Where no run has ended yet."""


def _best(bands: Sequence[_Band], metric: str) -> list[int]:
    """Return the bands that get a name: all, or the best if there are many."""
    sign = CURVES[metric].sign
    ranked = sorted((n for n, one in enumerate(bands) if len(one.x)), key=lambda n: sign * bands[n].mean[-1])
    return ranked if len(ranked) <= _MOST else ranked[:_BEST]


def _styles(
    groups: Sequence[Trial], trials: Sequence[Trial], settings: Sequence[str], named: Sequence[int]
) -> list[tuple[str, Dashes]]:
    """Return the colours of one setting's values, or colours for the configs that have a name, and grey for others."""
    if len(settings) == 1:
        colours = palette(settings[0], [trial.setting(settings[0]) for trial in trials])
        if colours.scaled or len(groups) == len(named):
            return [colours.styles[colours.place(trial.setting(settings[0]))] for trial in groups]
    coloured = sorted(named)
    return [line_style(coloured.index(n)) if n in coloured else (_PALE, "-") for n in range(len(groups))]


def _names(groups: Sequence[Trial], settings: Sequence[str]) -> list[str]:
    """Return the configs in words; if that is too long, the values alone."""
    names = [in_words(one, settings, _LONGEST if settings == [LABEL] else 20) for one in groups]
    if max(map(len, names)) <= _LONGEST or len(settings) == 1:
        return names
    return [" · ".join(text_of(one.setting(name), 12) for name in settings) for one in groups]


def _last(one: _Band, metric: str) -> str:
    return CURVES[metric].text(one.mean[-1]) if len(one.x) else ""


def _band(lines: Sequence[Curve], kind: str) -> _Band:
    """Return mean and band of curves, at places where some of them were measured."""
    places = np.unique(np.concatenate([line.x for line in lines]))
    if len(places) > _POINTS:
        places = places[np.unique(np.linspace(0, len(places) - 1, _POINTS).astype(int))]
    values = np.full((len(lines), len(places)), np.nan)
    for row, line in zip(values, lines, strict=True):
        known = ~np.isnan(line.y)
        if known.any():
            row[:] = np.interp(places, line.x[known], line.y[known], left=np.nan, right=np.nan)
    there = ~np.isnan(values)
    count = there.sum(axis=0)
    places, values, there, count = places[count > 0], values[:, count > 0], there[:, count > 0], count[count > 0]
    filled = np.where(there, values, 0.0)
    mean = filled.sum(axis=0) / count
    if kind == "std":
        spread = np.sqrt(np.where(there, (values - mean) ** 2, 0.0).sum(axis=0) / np.maximum(count - 1, 1))
        low, high = mean - spread, mean + spread
    else:
        low, high = np.where(there, values, np.inf).min(axis=0), np.where(there, values, -np.inf).max(axis=0)
    return _Band(places, mean, low, high, count == len(lines))


def _draw(ax: Axes, one: _Band, name: str, style: tuple[str, Dashes], bands: int) -> None:
    colour, dashes = style
    if not len(one.x):
        return
    pale = colour == _PALE
    alpha = max(0.05, 0.22 - 0.02 * bands)
    if not pale:
        ax.fill_between(one.x, one.low, one.high, color=colour, alpha=alpha, linewidth=0, zorder=2)
    last = int(np.flatnonzero(one.whole)[-1]) + 1 if one.whole.any() else 0
    ax.plot(
        one.x[:last],
        one.mean[:last],
        color=colour,
        linestyle=dashes,
        label=name,
        linewidth=0.8 if pale else 1.7,
        zorder=3 if pale else 4,
    )
    if last < len(one.x):
        start = max(last - 1, 0)
        ax.plot(
            one.x[start:],
            one.mean[start:],
            color=colour,
            linestyle=(0, (1, 1.5)),
            linewidth=0.8 if pale else 1.2,
            zorder=3,
        )
