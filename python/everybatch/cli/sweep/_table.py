"""The trials of a sweep as a table of plain text, as wide as the terminal."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from typing import Any

from everybatch._measures import RESULTS
from everybatch._names import plain_text
from everybatch._trial import COUNTS, Trial, measure_of
from everybatch.cli._tables import duration, percent
from everybatch.errors import ArgumentError, suggest
from everybatch.sweeps import Sweep
from everybatch.sweeps._table import cells

__all__ = ["aligned", "columns_of", "listed", "ranked"]

_WIDEST, _CELL = 120, 28
_NUMBER = re.compile(r"-|[-+]?[\d,.]+(e[-+]?\d+)?( (%|s|min \d\d s|h \d\d min))?")
_WANTED = ("seed", "validation_accuracy", "test_accuracy", "trial", "seconds", "test_loss", "steps")
"""Columns beside the settings; those that there is no room for are left out, from the end."""


def columns_of(trials: Sequence[Trial], settings: Sequence[str]) -> dict[str, list[Any]]:
    """Return all columns, with the trials' names first."""
    return {"trial": [trial.key for trial in trials], **cells(trials, settings)}


def ranked(sweep: Sweep, by: str | None) -> tuple[list[Trial], str]:
    """Return the trials with the best first, or the lowest where a column has no best; and the column that decides.

    "final_test_accuracy" is also called "test_accuracy".

    Raises
    ------
    ArgumentError
        There is no such column.
    """
    columns = columns_of(sweep.trials, sweep.columns)
    if by is None:
        validated = any(value is not None for value in columns["final_validation_accuracy"])
        by = "validation_accuracy" if validated else "test_accuracy"
    name = f"final_{by}" if by in RESULTS else by
    if name not in columns:
        known = (*RESULTS, *columns)
        raise ArgumentError(f"--sort {by}: there is no such column. They are {', '.join(known)}.{suggest(by, known)}")
    measure = measure_of(name)
    falling = measure is not None and measure.better == "higher"

    def rank(trial: Trial) -> tuple[Any, ...]:
        broken = measure is not None and trial.state == "diverged"  # it is not the best, whatever it reached
        missing, *rest = _rank(columns[name][trial.number], falling=falling)
        return (missing, broken, *rest)

    return sorted(sweep.trials, key=rank), name


def listed(trials: Sequence[Trial], settings: Sequence[str], by: str) -> str:
    """Return trials as a table, with the column `by` among the others."""
    columns = columns_of(trials, settings)
    settings = list(columns)[1 : 1 + len(settings)]
    told = {_short(name): [_cell(name, value) for value in values] for name, values in columns.items()}
    always = (_short(by), "status")
    wanted = [name for name in (*always, *settings, *_WANTED) if name in always or any(told[name])]
    room, kept = min(shutil.get_terminal_size((_WIDEST, 24)).columns, _WIDEST), set[str]()
    for name in dict.fromkeys(wanted):
        width = 2 + max(map(len, (name, *told[name])))
        if width <= room:
            room -= width
            kept.add(name)
    names = [name for name in dict.fromkeys(("trial", *settings, *_WANTED, *told)) if name in kept]
    table = aligned([names, *zip(*(told[name] for name in names), strict=True)])
    left_out = [name for name in settings if name in wanted and name not in kept]
    return f"{table}\n  (no room for {', '.join(left_out)}: see --export)" if left_out else table


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Return lines of cells with the columns below each other: numbers to the right, words to the left."""
    lines = [[plain_text(cell) or "-" for cell in line] for line in lines]
    columns = list(zip(*lines, strict=True))
    widths = [max(map(len, column)) for column in columns]
    right = [all(map(_NUMBER.fullmatch, column[1:])) for column in columns]
    return "\n".join(
        "  "
        + "  ".join(f"{c:>{w}}" if r else f"{c:<{w}}" for c, w, r in zip(line, widths, right, strict=True)).rstrip()
        for line in lines
    )


def _short(name: str) -> str:
    return name.removeprefix("final_") if measure_of(name) is not None else name


def _rank(value: Any, *, falling: bool) -> tuple[bool, bool, Any]:
    """What is not there comes last, words after numbers."""
    if value is None or isinstance(value, str):
        return value is None, True, value or ""
    return False, False, -value if falling else value


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    if name == "seconds":
        return duration(value)
    measure = measure_of(name)
    if measure is not None and measure.unit == "fraction":
        return percent(value)
    if name in COUNTS:
        return f"{value:,}"
    if isinstance(value, bool):
        return str(value).lower()
    text = f"{value:.4g}" if isinstance(value, float) else str(value).removeprefix("type=")  # of a schedule
    return text if len(text) <= _CELL else f"{text[: _CELL - 2]}.."
