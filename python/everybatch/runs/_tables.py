"""A run as tables: plain columns, and pandas tables. pandas is imported only here, when such a table is asked for."""

from __future__ import annotations

from collections import Counter
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from everybatch._measures import COLUMNS, MEASURES
from everybatch._names import plain_text

if TYPE_CHECKING:
    import pandas as pd

    from everybatch.run import Run

__all__ = ["Column", "class_accuracy_table", "class_columns", "columns", "history", "import_pandas"]

Column = np.ma.MaskedArray[Any, Any]

_ARRAYS_DO_NOT = "The NumPy arrays of the run do not."
_OWN = ("step", "epoch", "seconds")
"""Columns beside those of the measures."""


def history(run: Run) -> pd.DataFrame:
    """See `Run.history`."""
    pandas = import_pandas("run.history()", _ARRAYS_DO_NOT)
    table: pd.DataFrame = pandas.DataFrame(
        {
            name: column.filled(np.nan) if np.ma.is_masked(column) else column.data
            for name, column in columns(run).items()
        }
    )
    return table


def columns(run: Run) -> dict[str, Column]:
    """Return the columns of `Run.history` by name, masked where nothing was measured.

    Each is (steps + 1,), one row per number of optimizer steps taken. A NaN that is not masked was measured.
    """
    step = np.arange(run.steps + 1)
    table = {"step": np.ma.array(step), "epoch": np.ma.array(step / run._steps_per_epoch)}
    for name, measure in COLUMNS.items():
        if not measure.is_in(run):
            continue
        values, by_class = getattr(run, name), measure.dimensions[1:] == ("classes",)
        names = class_columns(run.classes) if by_class else [name]
        for column, measured in zip(names, values.T if by_class else [values], strict=True):
            table[column] = np.ma.array(np.zeros(len(step), values.dtype), mask=True)
            table[column][measure.steps_of(run)] = measured
    seconds = np.concatenate([[0.0], run.train_seconds])
    seconds[run.eval_step] += run.eval_seconds
    table["seconds"] = np.ma.array(seconds)
    return table


def class_accuracy_table(run: Run) -> pd.DataFrame:
    """See `Run.class_accuracy_table`."""
    pandas = import_pandas("run.class_accuracy_table()", _ARRAYS_DO_NOT)
    images = run.confusion.sum(axis=1)
    correct = run.confusion.diagonal()
    accuracy = np.full(len(images), np.nan)
    np.divide(correct, images, out=accuracy, where=images > 0)

    # An untrained network often answers one class to everything, which would be that class's best: leave it
    # out.
    trained = run.eval_step > 0 if np.any(run.eval_step > 0) else np.ones(len(run.eval_step), bool)
    by_class, eval_step = MEASURES["class_accuracy"].sound(run)[trained], run.eval_step[trained]
    # A class without test images is NaN throughout: below every real accuracy, and taken out again at the
    # end.
    comparable = np.where(np.isnan(by_class), -1, by_class)
    measured = [bool(np.any(column >= 0)) for column in comparable.T]
    best = [int(column.argmax()) if known else None for column, known in zip(comparable.T, measured, strict=True)]
    table: pd.DataFrame = pandas.DataFrame(
        {
            "name": list(run.classes),
            "test_images": images,
            "correct": correct,
            "accuracy": accuracy,
            "best_accuracy": [np.nan if at is None else float(comparable[at, i]) for i, at in enumerate(best)],
            "best_step": pandas.array([None if at is None else int(eval_step[at]) for at in best], dtype="Int64"),
        },
        index=pandas.RangeIndex(len(images), name="class"),
    )
    return table


def class_columns(classes: tuple[str, ...]) -> list[str]:
    """Return the class names as column names; one that is taken already has its number added.

    Runs made by hand may have names that are not UTF-8, which not every file can hold.
    """
    names: list[str] = []
    classes = tuple(map(plain_text, classes))
    count = Counter(classes)
    for index, name in enumerate(classes):
        taken = name in _OWN or name in COLUMNS or count[name] > 1
        names.append(f"{name} (class {index})" if taken else name)
    return names


def import_pandas(asker: str, without: str = "") -> ModuleType:
    """Import pandas, for what needs it; `without` is a sentence about what does not."""
    try:
        import pandas
    except ImportError as error:
        raise ImportError(f"{asker} needs pandas: pip install pandas{without and f'. {without}'}") from error
    return pandas
