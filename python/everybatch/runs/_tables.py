"""A run as tables: plain columns, and pandas tables. pandas is imported only here, when such a table is asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from everybatch._measure import Measure
from everybatch._measures import COLUMNS, EVENTS, MEASURES, SUMS
from everybatch._names import plain_text

if TYPE_CHECKING:
    import pandas as pd

    from everybatch.run import Run

__all__ = ["Column", "class_accuracy_table", "class_columns", "columns", "history", "images_table", "import_pandas"]

Column = np.ma.MaskedArray[Any, Any]

_ARRAYS_DO_NOT = "The NumPy arrays of the run do not."
_OWN = ("step", "epoch", "seconds")
"""Columns beside those of the measures."""


def history(run: Run) -> pd.DataFrame:
    """See `Run.history`."""
    pandas = import_pandas("run.history()", _ARRAYS_DO_NOT)
    table: pd.DataFrame = pandas.DataFrame(
        {name: _with_nan(column) if np.ma.is_masked(column) else column.data for name, column in columns(run).items()}
    )
    return table


def columns(run: Run) -> dict[str, Column]:
    """Return the columns of `Run.history` by name, masked where nothing was measured.

    Each is (steps + 1,), one row per number of optimizer steps taken. A NaN that is not masked was measured.
    """
    step = np.arange(run.steps + 1)
    table = {"step": np.ma.array(step), "epoch": np.ma.array(step / run._steps_per_epoch)}
    for name, measure in COLUMNS.items():
        if not measure.is_told(run):
            continue
        values, by_class = getattr(run, name), measure.dimensions[1:] == ("classes",)
        names = class_columns(run.classes, measure) if by_class else [name]
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
    # out. And estimates, see `Measure.best_of`.
    complete = MEASURES["class_accuracy"].complete(run)
    sound = MEASURES["class_accuracy"].sound(run)
    if np.any(complete) and np.isnan(sound[complete][-1]).all():
        accuracy[:] = np.nan  # the weights were no numbers
    trained = complete & (run.eval_step > 0) if np.any(run.eval_step[complete] > 0) else complete
    by_class, eval_step = sound[trained], run.eval_step[trained]
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


def images_table(run: Run, part: str) -> pd.DataFrame:
    """See `Run.images_table`."""
    pandas = import_pandas("run.images_table()", _ARRAYS_DO_NOT)
    source, indices = ("step", run.trained_indices) if part == "train" else ("test", run.test_indices)
    sums, votes, events = (getattr(run, f"{source}_{what}") for what in ("sums", "votes", "events"))
    times = votes.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = dict(zip(SUMS, (sums / times[:, None]).T, strict=True))
        variance = np.maximum(mean["probability_squared"] - mean["probability"] ** 2, 0)
    seen = dict(zip(EVENTS, events.T, strict=True))

    def where(there: npt.NDArray[np.bool_], values: Any, dtype: str) -> Any:
        return pandas.Series(values, dtype=dtype).where(there).array

    table: pd.DataFrame = pandas.DataFrame(
        {
            "times": times,
            "wrong": seen["wrong"],
            "forgotten": seen["forgotten"],
            "first_learned": where(seen["first_learned"] >= 0, seen["first_learned"], "Int64"),
            "learned_for_good": where(seen["learned_for_good"] >= 0, seen["learned_for_good"], "Int64"),
            "right_at_last": where(seen["last"] >= 0, seen["last"] == 1, "boolean"),
            "margin": mean["margin"],
            "tanh_margin": mean["tanh_margin"],
            "probability": mean["probability"],
            "probability_std": np.sqrt(variance),
            "loss": mean["loss"],
            "voted": where(times > 0, [run.classes[number] for number in votes.argmax(axis=1)], "string"),
        },
        index=pandas.Index(indices, name="image"),
    )
    return table


def class_columns(
    classes: tuple[str, ...], measure: Measure[Any] = MEASURES["class_accuracy"], *, beside: Iterable[str] = ()
) -> list[str]:
    """Return the names of the columns of a measure of each class; one that is taken already has its number added.

    Those of `class_accuracy` are the names of the classes, those of its errors have "_error" at the end. Columns that
    only this table has are named by `beside`. Runs made by hand may have names that are not UTF-8, which not every file
    can hold.
    """
    own = list(map(plain_text, classes))
    taken = {*_OWN, *COLUMNS, *beside}
    repeated = {name for name, count in Counter(own).items() if count > 1}
    names = _apart(own, taken | repeated, {*taken, *own})
    if measure.name == "class_accuracy":
        return names
    taken.update(own, names)
    return _apart([f"{name}_error" for name in names], taken, taken)


def _apart(names: list[str], taken: set[str], avoided: set[str]) -> list[str]:
    """Return the names, with the class's number added to one that is taken, as often as makes it unlike all others."""
    avoided, found = {*avoided, *names}, []
    for index, name in enumerate(names):
        if name in taken:
            while name in avoided:
                name += f" (class {index})"
            avoided.add(name)
        found.append(name)
    return found


def _with_nan(column: Column) -> npt.NDArray[Any]:
    """Return a column with NaN where nothing was measured; counts become floats."""
    values = column.data.astype(np.result_type(column.dtype, np.float32))
    values[np.ma.getmaskarray(column)] = np.nan
    return values


def import_pandas(asker: str, without: str = "") -> ModuleType:
    """Import pandas, for what needs it; `without` is a sentence about what does not."""
    try:
        import pandas
    except ImportError as error:
        raise ImportError(f"{asker} needs pandas: pip install pandas{without and f'. {without}'}") from error
    return pandas
