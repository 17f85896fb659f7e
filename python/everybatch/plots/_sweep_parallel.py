"""`sweep_parallel`: a line for each trial, through its settings to its result."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from everybatch._measure import Measure
from everybatch._trial import Trial
from everybatch.errors import ArgumentError

from ._style import GREY, INK, new_axes, small
from ._sweep_inputs import Swept, as_trials, check_setting, check_values, left_out, name_of, varied
from ._sweep_palette import colour_map
from ._sweep_scales import Scale, scale_of, ticks_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["sweep_parallel"]

_FAILED = -0.14  # below the axis of the results
_BUNDLE = 0.07  # how wide the lines through one value are spread


def sweep_parallel(
    sweep: Swept,
    *,
    values: str = "final_test_accuracy",
    settings: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw a line for each trial: through its value on an axis for each setting, to its result on the last one.

    The lines have the colours of their results. Numbers that span a factor of ten stand on a logarithmic axis. Lines
    through the same one of few values are spread a little, the better ones above. Trials that failed or
    diverged are grey.

    Parameters
    ----------
    sweep
        A sweep, some of its trials, or the path of a stored one.
    values
        The result: ``"final_test_accuracy"``, ``"best_validation_loss"``, ..., as in `Sweep.table`.
    settings
        Which ones, from left to right; ``"seed"`` may be among them. By default all with more than one value.
    ax
        Where to draw; a new figure by default.

    Raises
    ------
    TypeError, ArgumentError
        Something that cannot be drawn, with a sentence that says what could.
    """
    measure, words = check_values(values)
    everything = as_trials(sweep, "plots.sweep_parallel")
    wanted = varied(everything) or [check_setting("settings", None, everything)]
    if settings is not None:
        given = [settings] if isinstance(settings, str) else settings
        wanted = [check_setting("settings", name, everything) for name in given]
    results = np.array([trial.value(values) for trial in everything])
    if not np.isfinite(results).any():
        raise ArgumentError(f"plots.sweep_parallel: no trial of this sweep has a {words}")
    trials, results = _drawn(everything, results)
    scales = [scale_of([trial.setting(name) for trial in trials]) for name in wanted]

    ax = new_axes(ax, (min(max(6.8, 1.75 * len(wanted) + 2.2), 16.0), 4.2))
    good = np.isfinite(results)
    low, high = float(results[good].min()), float(results[good].max())
    shares = (results - low) / (high - low) if high > low else np.full(len(results), 0.5)
    ends = np.where(good, shares, _FAILED)
    best_is_low = measure.better == "lower"
    order = np.argsort(np.where(good, -shares if best_is_low else shares, -2.0), kind="stable")
    heights = [_spread(scale, ends) for scale in scales]
    heights.append(ends)
    for number in order:  # the best ones last, above the others
        share = 1 - shares[number] if best_is_low else shares[number]
        colour = colour_map()(share) if good[number] else GREY
        _draw_line(ax, [one[number] for one in heights], colour, len(trials), failed=not good[number])
    _draw_axes(ax, scales, wanted)
    grey = sorted({trial.state for trial, drawn in zip(trials, good, strict=True) if not drawn}, reverse=True)
    _draw_result(ax, results[good], measure, words, len(wanted), " or ".join(grey))
    ax.text(0, _FAILED, left_out(everything, trials), va="center", fontsize=small(), color=INK)
    return ax


def _drawn(trials: Sequence[Trial], results: np.ndarray) -> tuple[list[Trial], np.ndarray]:
    """Leave out what was not trained, or not measured though it neither failed nor diverged."""
    broken = [trial.state in ("failed", "diverged") for trial in trials]
    kept = [number for number in range(len(trials)) if np.isfinite(results[number]) or broken[number]]
    return [trials[number] for number in kept], results[kept]


def _spread(scale: Scale, ends: np.ndarray) -> np.ndarray:
    """Return the trials' heights on an axis: those with one value side by side in the order of their results."""
    heights = scale.places.astype(float)
    if not scale.gap:
        return heights
    width = min(_BUNDLE, 0.5 * scale.gap)
    for place in np.unique(scale.places):
        there = np.flatnonzero(scale.places == place)
        rank = np.argsort(np.argsort(ends[there], kind="stable"), kind="stable")
        if len(there) > 1:
            heights[there] += width * (rank / (len(there) - 1) - 0.5)
    return heights


def _draw_line(ax: Axes, heights: Sequence[float], colour: Any, trials: int, *, failed: bool) -> None:
    """Draw one trial, level where it crosses an axis."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    points: list[tuple[float, float]] = [(0, heights[0])]
    for place, (here, there) in enumerate(pairwise(heights)):
        points += [(place + 0.4, here), (place + 0.6, there), (place + 1, there)]
    codes = [Path.MOVETO] + [Path.CURVE4] * (len(points) - 1)
    style: dict[str, Any] = {"linestyle": (0, (3, 2)), "alpha": 0.7} if failed else {"alpha": 0.85}
    width = 1.5 if trials <= 50 else 1.0 if trials <= 300 else 0.7
    ax.add_patch(PathPatch(Path(points, codes), facecolor="none", edgecolor=colour, linewidth=width, zorder=2, **style))


def _draw_axes(ax: Axes, scales: Sequence[Scale], names: Sequence[str]) -> None:
    ax.set_axis_off()
    ax.set_xlim(-0.02, len(names) + 0.02)
    ax.set_ylim(_FAILED - 0.04, 1.06)
    for place, (scale, name) in enumerate(zip(scales, names, strict=True)):
        _draw_axis(ax, place, scale.ticks, name_of(name), left=True)


def _draw_axis(ax: Axes, place: int, ticks: Sequence[tuple[float, str]], name: str, *, left: bool) -> None:
    from matplotlib.patheffects import withStroke

    side = -1 if left else 1
    ax.plot([place, place], [-0.04, 1.04], color=INK, linewidth=1, zorder=3, clip_on=False)
    for height, text in ticks:
        ax.annotate(
            text,
            (place, height),
            (6 * side, 0),
            textcoords="offset points",
            ha="right" if left else "left",
            va="center",
            fontsize=small(),
            color=INK,
            zorder=5,
            annotation_clip=False,
            path_effects=[withStroke(linewidth=3, foreground="white")],
        )
        ax.plot([place], [height], marker="_", markersize=6, color=INK, zorder=4, clip_on=False)
    ax.annotate(
        textwrap.fill(name, 16),
        (place, 1.06),
        (0, 6),
        textcoords="offset points",
        ha="center",
        va="bottom",
        color=INK,
        annotation_clip=False,
    )


def _draw_result(ax: Axes, results: np.ndarray, measure: Measure[Any], words: str, place: int, grey: str) -> None:
    """Draw the last axis, in the colours of the lines; `grey` says what those below it are."""
    from matplotlib.colors import Normalize

    ticks = ticks_of(results, log=False, percent=measure.unit == "fraction")
    if len(ticks) < 2:
        ticks = [(0.5, measure.text(results[0], 4))]
    _draw_axis(ax, place, ticks, words, left=False)
    ramp = np.linspace(0, 1, 64)[:, np.newaxis]
    ax.imshow(
        1 - ramp if measure.better == "lower" else ramp,
        cmap=colour_map(),
        norm=Normalize(0, 1),
        extent=(place - 0.012, place + 0.012, 0, 1),
        origin="lower",
        aspect="auto",
        interpolation="bilinear",
        zorder=3.5,
        clip_on=False,
    )
    ax.set_xlim(-0.02, place + 0.02)  # imshow fits the limits to itself
    ax.set_ylim(_FAILED - 0.04, 1.06)
    if grey:
        ax.annotate(
            grey,
            (place, _FAILED),
            (6, 0),
            textcoords="offset points",
            va="center",
            fontsize=small(),
            color=INK,
            annotation_clip=False,
        )
