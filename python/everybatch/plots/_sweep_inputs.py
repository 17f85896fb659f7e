"""What the pictures of a sweep draw: its trials, their settings and numbers, and the curves of their runs."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from everybatch._arguments import choice
from everybatch._measure import Measure
from everybatch._measures import CURVES
from everybatch._trial import LABEL, NUMBERS, Trial, measure_of
from everybatch.errors import ArgumentError
from everybatch.run import Run

from ._curves import Curve, sound_curve
from ._style import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "Swept",
    "as_trials",
    "check_setting",
    "check_values",
    "curves_of",
    "in_words",
    "is_number",
    "label_left_out",
    "left_out",
    "name_of",
    "naming",
    "ordered",
    "runs_of",
    "settings_of",
    "text_of",
    "varied",
]

_BEST_OR_FINAL = {name: measure for name in NUMBERS if (measure := measure_of(name)) is not None}
"""Columns of `Sweep.table` that tell how good a trial was."""
_LONGEST = 28


class HasTrials(Protocol):
    """A `Sweep`."""

    @property
    def trials(self) -> Sequence[Trial]: ...


Swept = HasTrials | Sequence[Trial] | str | os.PathLike[str]
"""What a picture of a sweep takes."""


def as_trials(given: Swept, plot: str) -> list[Trial]:
    """Return the trials of a sweep, which may be the path of a stored one, or those that were given themselves.

    Raises
    ------
    TypeError
        It is none of these.
    ArgumentError
        There are none.
    """
    if isinstance(given, str | os.PathLike):
        from everybatch.sweeps._stored import open_trials  # all that a picture needs to know of stores

        return open_trials(given)[1].trials
    trials: Any = getattr(given, "trials", given)
    if not isinstance(trials, Sequence) or not all(isinstance(trial, Trial) for trial in trials):
        raise TypeError(f"{plot} takes a Sweep, its trials, or the path of a stored one, not {type(given).__name__}")
    if not trials:
        raise ArgumentError(f"{plot}: there is nothing to draw without a trial")
    return list(trials)


def varied(trials: Sequence[Trial]) -> list[str]:
    """Return the settings, other than the seed, with more than one value."""
    names = [name for name in settings_of(trials) if name != "seed"]
    return [name for name in names if len({repr(trial.setting(name)) for trial in trials}) > 1]


def naming(trials: Sequence[Trial]) -> list[str]:
    """Return the settings that tell the configs apart: all that vary, or the label alone if each has one of its own."""
    names = varied(trials)
    configs = {repr([trial.setting(name) for name in names]) for trial in trials}
    labels = {repr(trial.setting(LABEL)) for trial in trials}
    return [LABEL] if LABEL in names and len(labels) == len(configs) else names


def in_words(trial: Trial, settings: Sequence[str], longest: int = _LONGEST) -> str:
    """Return settings of a trial with their names; of a label the text alone."""
    texts = [(name, text_of(trial.setting(name), longest)) for name in settings]
    return ", ".join(text if name == LABEL else f"{name_of(name)} {text}" for name, text in texts)


def settings_of(trials: Sequence[Trial]) -> list[str]:
    """Return the settings that any of the trials went through, and last the seed."""
    return [*dict.fromkeys(name for trial in trials for name in trial.columns), "seed"]


def check_setting(argument: str, given: str | None, trials: Sequence[Trial]) -> str:
    """Return the setting that was asked for; without any, the first one with more than one value."""
    if given is not None:
        return choice(given, argument, tuple(settings_of(trials)))
    return next(iter([*varied(trials), *settings_of(trials)]))


def check_values(values: str) -> tuple[Measure[Any], str]:
    """Return the measure that a column of `Sweep.table` has the best or final value of, and the column in words."""
    measure = _BEST_OR_FINAL[choice(values, "values", tuple(_BEST_OR_FINAL))]
    return measure, f"{values.partition('_')[0]} {measure.label}"


def ordered(values: Iterable[Any]) -> list[Any]:
    """Return distinct values: numbers by size, others as they come."""
    distinct = list({repr(value): value for value in values}.values())
    return sorted(distinct) if all(is_number(value) for value in distinct) else distinct


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def name_of(setting: str) -> str:
    """Return a setting's name as words: ``network.dropout`` is the dropout."""
    return plain(setting.removeprefix("network.").replace("_", " ")) or setting


def text_of(value: Any, longest: int = _LONGEST) -> str:
    """Return a setting's value as text for a label."""
    text = _words(value)
    return plain(text if len(text) <= longest else text[: longest - 1] + "…")


def curves_of(trials: Sequence[Trial], metric: str, x: str, plot: str) -> list[tuple[Trial, Curve]]:
    """Return the trials in which a quantity was measured, each with its curve.

    Raises
    ------
    ArgumentError
        It was measured in none.
    """
    measure = CURVES[metric]
    curves = [(trial, sound_curve(run, measure, x)) for trial, run in runs_of(trials) if measure.is_in(run)]
    found = [(trial, data) for trial, data in curves if len(data)]
    if not found:
        hint = ": train with validation=0.1" if measure.needs == "validation" else ""
        raise ArgumentError(f"plots.{plot}: no trial of this sweep has a {measure.label}{hint}")
    return found


def runs_of(trials: Sequence[Trial]) -> Iterator[tuple[Trial, Run]]:
    """Return the trials that have a run, each with it; every run is read when it is its turn."""
    for trial in trials:
        run = trial.run
        if run is not None:
            yield trial, run


def left_out(trials: Sequence[Trial], shown: Sequence[Trial]) -> str:
    """Return how many trials a picture does not show, and why; nothing if it shows all."""
    keys = {trial.key for trial in shown}
    rest = [trial.state for trial in trials if trial.key not in keys]
    counted = Counter(state if state in ("failed", "missing", "diverged") else "not measured" for state in rest)
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(counted.items()))
    return f"({len(shown)} of {len(trials)} trials; {reasons})" if rest else ""


def label_left_out(ax: Axes, trials: Sequence[Trial], shown: Sequence[Trial]) -> None:
    """Write below the axis how many trials a picture does not show."""
    ax.set_xlabel(f"{ax.get_xlabel()}   {left_out(trials, shown)}".rstrip())


def _words(value: Any) -> str:
    """Return a value in words: a schedule as ``cosine, min lr 0``."""
    if isinstance(value, dict):
        parts = [f"{name.replace('_', ' ')} {_words(one)}" for name, one in value.items() if name != "type"]
        return ", ".join([*([str(value["type"])] if "type" in value else []), *parts])
    if isinstance(value, list):
        return ", ".join(map(_words, value))
    return f"{value:.4g}" if isinstance(value, float) else "none" if value is None else " ".join(str(value).split())
