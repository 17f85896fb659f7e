"""The trials of a sweep as pandas tables. pandas is imported only here, when one is asked for."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from everybatch._arguments import choice
from everybatch._trial import COUNTS, NUMBERS, Trial, measure_of
from everybatch.errors import ArgumentError
from everybatch.runs._tables import import_pandas

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["AGGREGATES", "cells", "pivot", "table"]

AGGREGATES = ("mean", "median", "min", "max", "std", "count")


def cells(trials: Sequence[Trial], columns: Sequence[str]) -> dict[str, list[Any]]:
    """Return the columns of `Sweep.table` as lists in JSON's types; None where there is no value."""
    data = {_own(name): [_cell(trial.setting(name)) for trial in trials] for name in columns}
    data["seed"] = [trial.seed for trial in trials]
    data |= {name: [trial.row.get(name) for trial in trials] for name in NUMBERS}
    data["status"] = [trial.state for trial in trials]
    data["message"] = [_cell(trial.message) for trial in trials]
    return data


def table(trials: Sequence[Trial], columns: Sequence[str]) -> pd.DataFrame:
    """See `Sweep.table`."""
    pandas = import_pandas("a sweep's table()")
    data: dict[str, Any] = cells(trials, columns)
    for name in NUMBERS:
        data[name] = pandas.array(data[name], dtype="Int64" if name in COUNTS else "float64")
    index = pandas.Index([trial.key for trial in trials], name="trial")
    made: pd.DataFrame = pandas.DataFrame(data, index=index)
    return made


def pivot(trials: pd.DataFrame, index: str, columns: str, values: str, aggregate: str) -> pd.DataFrame:
    """See `Sweep.pivot`."""
    for name, given in (("index", index), ("columns", columns), ("values", values)):
        choice(given, name, tuple(trials.columns))
    choice(aggregate, "aggregate", AGGREGATES)
    if index == columns or values in (index, columns):
        raise ArgumentError(
            f"index is {index!r}, columns {columns!r} and values {values!r}: give three columns that differ"
        )
    if measure_of(values) is not None:
        broken = trials["status"].isin(["diverged", "failed"])
        if broken.any():
            warnings.warn(
                f"{broken.sum():,} of {len(trials):,} trials diverged or failed and are left out of this table: "
                "Sweep.table tells which",
                RuntimeWarning,
                stacklevel=3,
            )
        trials = trials.assign(**{values: trials[values].mask(broken)})
    trials = trials.assign(**{name: _distinct(trials[name]) for name in (index, columns)})
    try:
        made: pd.DataFrame = trials.pivot_table(
            index=index,
            columns=columns,
            values=values,
            aggfunc=aggregate,  # type: ignore[arg-type] # one of AGGREGATES
            dropna=False,  # where all trials are left out
        )
    except (TypeError, ValueError) as error:
        raise ArgumentError(
            f"values is {values!r}, which has no {aggregate}, for not all of it is numbers: aggregate='count' counts it"
        ) from error
    return made


def _distinct(values: pd.Series[Any]) -> pd.Series[Any]:
    """Write truth values as text where there are numbers as well, for True is 1 to pandas."""
    kinds = {type(value) for value in values}
    if bool not in kinds or kinds.isdisjoint({int, float}):
        return values
    return values.map(lambda value: str(value) if isinstance(value, bool) else value)


def _own(name: str) -> str:
    """A column of a setting; one whose name the table needs for itself is told apart."""
    return f"{name} (setting)" if name in ("trial", *NUMBERS, "seed", "status", "message") else name


def _cell(value: Any) -> Any:
    """What a setting looks like in a table: lists and dicts as text, so that they can be grouped by."""
    if isinstance(value, dict):
        return ", ".join(f"{name}={entry}" for name, entry in value.items())
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()  # what names a file need not be UTF-8, but pandas is
    return ", ".join(map(str, value)) if isinstance(value, list) else value
