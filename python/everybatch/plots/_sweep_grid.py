"""`sweep_grid`: a picture for each pair of values of two settings, all on the same axes."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from everybatch._arguments import choice
from everybatch._measure import Measure, Part
from everybatch._measures import QUANTITIES, parts_of
from everybatch._trial import Trial, count_states
from everybatch.errors import ArgumentError

from . import _curves
from ._curves import AXES, Curve, label_x, sound_curve, window_for
from ._error_bands import band_key, draw_band
from ._style import GREY, INK, LOG_FROM, TEST, TRAIN, VALIDATION, log_axis, new_axes, percent_axis, small, tidy
from ._sweep_inputs import (
    Swept,
    as_trials,
    check_setting,
    name_of,
    ordered,
    runs_of,
    settings_of,
    text_of,
    varied,
)
from ._zoom import zoomed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from everybatch.run import Run

__all__ = ["sweep_grid"]

_LINES: dict[Part, tuple[str, str]] = {
    "train": ("training", TRAIN),
    "validation": ("validation", VALIDATION),
    "test": ("test", TEST),
}
_WIDEST, _TALLEST = 15.0, 13.0  # inches
_MOST = 16  # rows, and columns


def sweep_grid(
    sweep: Swept,
    *,
    rows: str | None = None,
    columns: str | None = None,
    metric: str = "accuracy",
    x: str = "step",
    smooth: int | None = None,
) -> list[Axes]:
    """Draw a grid of small pictures whose rows and columns are two settings, with the curves of the trials in each.

    All share their axes. The number in each is the mean of the last test accuracies or losses, without those of trials
    that diverged. Around measurements that are estimates lies a band of two standard errors to both sides. Where trials
    failed, diverged or are missing, the picture says so.

    Parameters
    ----------
    sweep
        A sweep, some of its trials, or the path of a stored one.
    rows, columns
        Settings, or ``"seed"``. By default the first two with more than one value, and at most 16.
    metric
        ``"accuracy"`` or ``"loss"``.
    x
        ``"step"`` (mini-batches), ``"epoch"`` or ``"seconds"`` (training and evaluation together).
    smooth
        Points in the centred running median (mean for accuracies); 1 for none. By default a twentieth of each training
        curve and a fiftieth of the others, none below 60 points.

    Returns
    -------
    list of Axes
        Row by row, all of one new figure (``axes[0].figure``).

    Raises
    ------
    TypeError, ArgumentError
        Something that cannot be drawn, with a sentence that says what could.
    """
    choice(metric, "metric", tuple(QUANTITIES))
    choice(x, "x", tuple(AXES))
    trials = as_trials(sweep, "plots.sweep_grid")
    down, across = _two(trials, rows, columns)
    upright, level = ordered(t.setting(down) for t in trials), ordered(t.setting(across) for t in trials)
    if max(len(upright), len(level)) > _MOST:
        raise ArgumentError(
            f"plots.sweep_grid: {down} has {len(upright)} values and {across} {len(level)}, and a picture has room for "
            f"{_MOST}: choose rows= and columns= with fewer, or draw sweep_curves"
        )
    axes = _axes(len(upright), len(level))
    runs = {trial.key: run for trial, run in runs_of(trials)}
    drawn: list[Curve] = []
    for number, ax in enumerate(axes):
        row, column = divmod(number, len(level))
        here = [t for t in trials if _same(t, down, upright[row]) and _same(t, across, level[column])]
        drawn += _draw_cell(ax, here, runs, metric, x, smooth)
    _share(axes, drawn, metric, x, len(level))
    _titles(axes, down, across, upright, level)
    _legend(axes, metric, x)
    return axes


def _two(trials: Sequence[Trial], rows: str | None, columns: str | None) -> tuple[str, str]:
    """Return the settings of rows and columns; those that were not named are ones with few values."""
    for argument, given in (("rows", rows), ("columns", columns)):
        check_setting(argument, given, trials)
    free = [name for name in [*varied(trials), *settings_of(trials)] if name not in (rows, columns)]
    few = [name for name in free if len(ordered(trial.setting(name) for trial in trials)) <= _MOST] or free
    down = rows or few.pop(0)
    return down, columns or next((name for name in few if name != down), "seed")


def _same(trial: Trial, setting: str, value: Any) -> bool:
    return repr(trial.setting(setting)) == repr(value)


def _axes(down: int, across: int) -> list[Axes]:
    size = min(2.6 * across + 0.9, _WIDEST), min(1.9 * down + 1.0, _TALLEST)
    first = new_axes(None, size)
    figure = first.figure
    first.remove()
    return list(figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).flat)


def _draw_cell(
    ax: Axes, trials: Sequence[Trial], runs: dict[str, Run], metric: str, x: str, smooth: int | None
) -> list[Curve]:
    """Draw the curves of the trials that fall together; return those that matter for the limits."""
    shown = [runs[trial.key] for trial in trials if trial.key in runs]
    lines = []
    for run in shown:
        for part, (name, colour) in _LINES.items():
            measure = parts_of(metric)[part]
            if not measure.is_in(run):
                continue
            raw = sound_curve(run, measure, x)
            width = window_for(len(raw), smooth, part=20 if part == "train" else 50)
            line = _curves.smooth(raw, width, mean=metric == "accuracy", points=120)
            draw_band(ax, raw, colour, alpha=max(0.05, 0.2 / len(shown)))
            ax.plot(line.x, line.y, color=colour, linewidth=1.0, alpha=max(0.4, 0.9 - 0.1 * len(shown)), label=name)
            if len(line):
                lines.append(line)
    sound = [runs[trial.key] for trial in trials if trial.key in runs and trial.state != "diverged"]
    _remark(ax, trials, sound, parts_of(metric)["test"], drawn=bool(shown))
    return lines


def _remark(ax: Axes, trials: Sequence[Trial], sound: Sequence[Run], measure: Measure[Any], *, drawn: bool) -> None:
    """Write into the picture how well the trials did, and what became of those that have no result."""
    counts = count_states(trials)
    if not drawn:
        failed = counts["failed"]
        text = f"{failed} failed" if failed > 1 else "failed" if failed else "not trained" if trials else "no trial"
        ax.set_facecolor("#f3f3f3")
        ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", color=TEST if failed else GREY)
        return
    ends = np.array([measure.sound(run)[-1] for run in sound if len(run.eval_step)], float)
    ends = ends[np.isfinite(ends)]
    parts = [measure.text(ends.mean())] if len(ends) else []
    parts += [f"{counts[word]} of {len(trials)} {word}" for word in ("failed", "diverged", "missing") if counts[word]]
    low = measure.better == "higher"  # where the curves are not
    ax.text(
        0.97,
        0.05 if low else 0.95,
        "\n".join(parts),
        transform=ax.transAxes,
        ha="right",
        va="bottom" if low else "top",
        fontsize=small(),
        color=INK,
        bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1},
        zorder=6,
    )


def _share(axes: Sequence[Axes], lines: Sequence[Curve], metric: str, x: str, across: int) -> None:
    """Fit the axes that all pictures share to all curves."""
    for ax in axes:
        label_x(ax, x)
        ax.set_xlabel("")
        tidy(ax)
    ends = [float(line.x[-1]) for line in lines]
    axes[0].set_xlim(0, 1.01 * max(ends, default=1) or 1)
    axes[0].locator_params(axis="x", nbins=4 if across <= 5 else 2)
    values = np.concatenate([line.y for line in lines]) if lines else np.empty(0)
    values = values[~np.isnan(values)]
    if metric == "accuracy":
        percent_axis(axes[0])
        axes[0].set_ylim(*zoomed([line.y for line in lines]))
    elif len(values):
        low, high = float(np.min(values)), float(np.max(values))
        if low > 0 and high > LOG_FROM * low:
            for ax in axes:
                log_axis(ax)
            axes[0].set_ylim(0.8 * low, 1.25 * high)
        else:
            axes[0].set_ylim(min(0, low), 1.05 * high or 1)


def _titles(axes: Sequence[Axes], down: str, across: str, upright: Sequence[Any], level: Sequence[Any]) -> None:
    """Write the values of the columns above the first row, and those of the rows right of the last column."""
    width = max(8, int(axes[0].figure.get_figwidth() / len(level) * 72 / (0.75 * small())))  # type: ignore[union-attr]
    height = max(8, int(axes[0].figure.get_figheight() / len(upright) * 72 / (0.85 * small())))  # type: ignore[union-attr]
    for ax, value in zip(axes, level, strict=False):
        ax.set_title(textwrap.fill(f"{name_of(across)} {text_of(value)}", width), fontsize=small(), color=INK)
    for ax, value in zip(axes[len(level) - 1 :: len(level)], upright, strict=True):
        ax.annotate(
            textwrap.fill(f"{name_of(down)} {text_of(value)}", height),
            xy=(1.03, 0.5),
            xycoords="axes fraction",
            rotation=270,
            ha="left",
            va="center",
            fontsize=small(),
            color=INK,
        )


def _legend(axes: Sequence[Axes], metric: str, x: str) -> None:
    from matplotlib.lines import Line2D

    figure: Figure = axes[0].figure  # type: ignore[assignment]
    figure.supxlabel(AXES[x], fontsize="medium", color=INK)
    figure.supylabel(QUANTITIES[metric], fontsize="medium", color=INK)
    there = {str(line.get_label()) for ax in axes for line in ax.lines}
    handles = [Line2D([], [], color=c, linewidth=2, label=name) for name, c in _LINES.values() if name in there]
    if handles:
        figure.legend(
            handles=[*handles, *band_key(*axes)],
            loc="outside upper left",
            ncols=3,
            frameon=False,
            fontsize="small",
            labelcolor=INK,
        )
