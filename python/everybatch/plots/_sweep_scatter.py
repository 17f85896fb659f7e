"""`sweep_scatter`: what the trials of a sweep cost, and how good they are."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from everybatch._arguments import choice, whole
from everybatch._trial import Trial
from everybatch.errors import ArgumentError

from ._style import INK, new_axes, percent_axis, small, tidy
from ._sweep_inputs import Swept, as_trials, check_setting, check_values, in_words, label_left_out, naming, text_of
from ._sweep_palette import draw_key, palette, spans_decades

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["sweep_scatter"]

_COSTS = {"parameters": "parameters", "seconds": "seconds (training and evaluation)", "steps": "mini-batches"}
_WIDTH = 30  # characters of a line in the list of the best
_BESIDE = ((0, 11), (11, 0), (0, -11), (-11, 0))  # points from a trial to its number


def sweep_scatter(
    sweep: Swept,
    *,
    x: str | None = None,
    values: str = "final_test_accuracy",
    by: str | None = None,
    best: int = 3,
    ax: Axes | None = None,
) -> Axes:
    """Draw a point for each trial: its result over its parameters or seconds, coloured by a setting.

    Trials that diverged have no result, and are counted below with those that failed or are missing.

    Parameters
    ----------
    sweep
        A sweep, some of its trials, or the path of a stored one.
    x
        ``"parameters"``, ``"seconds"`` or ``"steps"``. By default the parameters, or the seconds if all trials have as
        many parameters.
    values
        The result: ``"final_test_accuracy"``, ``"best_validation_loss"``, ..., as in `Sweep.table`.
    by
        The setting that colours and markers stand for. By default the first one with more than one value.
    best
        How many of the best trials are numbered, and listed right of the picture; 0 for none.
    ax
        Where to draw; a new figure by default.

    Raises
    ------
    TypeError, ArgumentError
        Something that cannot be drawn, with a sentence that says what could.
    """
    measure, words = check_values(values)
    named = whole(best, "best", least=0)
    everything = as_trials(sweep, "plots.sweep_scatter")
    setting = check_setting("by", by, everything)
    if x is None:
        x = "parameters" if len({trial.value("parameters") for trial in everything if trial.has_run}) > 1 else "seconds"
    choice(x, "x", tuple(_COSTS))
    trials = [trial for trial in everything if np.isfinite(trial.value(values)) and np.isfinite(trial.value(x))]
    if not trials:
        raise ArgumentError(f"plots.sweep_scatter: no trial of this sweep has both {x} and a {words}")
    colours = palette(setting, [trial.setting(setting) for trial in everything])

    ax = new_axes(ax, (6.8, 4.2))
    for value, (colour, _), marker in zip(colours.values, colours.styles, colours.markers, strict=True):
        here = [trial for trial in trials if repr(trial.setting(setting)) == repr(value)]
        ax.scatter(
            [trial.value(x) for trial in here],
            [trial.value(values) for trial in here],
            s=42 if len(trials) <= 60 else 24,
            color=colour,
            marker=marker,
            alpha=0.85,
            edgecolor="white",
            linewidth=0.6,
            label=text_of(value),
            zorder=3,
        )
    _limits(ax, np.array([trial.value(x) for trial in trials]), np.array([t.value(values) for t in trials]), x)
    if measure.unit == "fraction":
        percent_axis(ax)
    ax.set_xlabel(_COSTS[x])
    label_left_out(ax, everything, trials)
    ax.set_ylabel(words)
    tidy(ax)
    draw_key(ax, colours, markers=True)
    ranked = sorted(trials, key=lambda trial: measure.sign * trial.value(values))
    _name(ax, ranked[:named], everything, x, values)
    return ax


def _limits(ax: Axes, costs: np.ndarray, results: np.ndarray, x: str) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    if spans_decades(costs):
        ax.set_xscale("log")
        wide = costs.max() > 300 * costs.min()
        ax.xaxis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0)))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.set_xlim(costs.min() / 1.2, costs.max() * 1.2)
    else:
        margin = 0.05 * (costs.max() - costs.min()) or 0.1 * costs.max() or 1
        ax.set_xlim(costs.min() - margin, costs.max() + margin)
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=x != "seconds"))
    digits = ",.0f" if x != "seconds" else "g"
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:{digits}}"))
    margin = 0.06 * (results.max() - results.min()) or 0.01
    ax.set_ylim(results.min() - margin, results.max() + margin)


def _name(ax: Axes, best: Sequence[Trial], everything: Sequence[Trial], x: str, values: str) -> None:
    """Number the best trials, and list them right of the Axes."""
    from matplotlib.patheffects import withStroke

    if not best:
        return
    for number, trial in enumerate(best):
        point = (trial.value(x), trial.value(values))
        ax.plot(*point, marker="o", markersize=10, markerfacecolor="none", markeredgecolor=INK, zorder=4)
        ax.annotate(
            str(number + 1),
            point,
            _BESIDE[number % len(_BESIDE)],
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=small(),
            fontweight="bold",
            color=INK,
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
            zorder=5,
        )
    lines = [f"{number}.  {_text(trial, everything, values)}" for number, trial in enumerate(best, 1)]
    ax.annotate(
        "\n\n".join(lines),
        (1.03, 1),
        xycoords="axes fraction",
        va="top",
        fontsize=small(),
        color=INK,
        annotation_clip=False,
    )


def _text(trial: Trial, everything: Sequence[Trial], values: str) -> str:
    names = naming(everything)
    if len({one.setting("seed") for one in everything}) > 1:
        names.append("seed")
    settings = in_words(trial, names)
    result = check_values(values)[0].text(trial.value(values), 4)
    return "\n".join([result, *textwrap.wrap(settings, _WIDTH)])
