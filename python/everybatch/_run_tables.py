"""A run as pandas tables. pandas is imported only here and only when a table is asked for."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from everybatch.run import Run

__all__ = ["class_accuracy_table", "history"]

_COLUMNS = (
    *("step", "epoch", "lr", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy"),
    *("test_loss", "test_accuracy", "seconds"),
)


def history(run: Run) -> pd.DataFrame:
    """See `Run.history`."""
    pandas = _pandas("run.history()")
    rows = run.steps + 1
    step = np.arange(rows)
    taken, measured = step[1:], run.eval_step

    def spread(values: np.ndarray, at: np.ndarray) -> np.ndarray:
        """Put values into their rows, NaN elsewhere."""
        column = np.full((rows, *values.shape[1:]), np.nan, values.dtype)
        column[at] = values
        return column

    seconds = np.zeros(rows)
    seconds[1:] = run.train_seconds
    seconds[measured] += run.eval_seconds
    columns = {
        "step": step,
        "epoch": step / run._steps_per_epoch,
        "lr": spread(run.lr, taken),
        "train_loss": spread(run.train_loss, taken),
        "train_accuracy": spread(run.train_accuracy, taken),
    }
    if run._has_validation:
        columns["validation_loss"] = spread(run.validation_loss, measured)
        columns["validation_accuracy"] = spread(run.validation_accuracy, measured)
    columns |= {
        "test_loss": spread(run.test_loss, measured),
        "test_accuracy": spread(run.test_accuracy, measured),
    }
    by_class = spread(run.class_accuracy, measured)
    columns.update({name: by_class[:, index] for index, name in enumerate(_class_columns(run.classes))})
    columns["seconds"] = seconds
    table: pd.DataFrame = pandas.DataFrame(columns)
    return table


def class_accuracy_table(run: Run) -> pd.DataFrame:
    """See `Run.class_accuracy_table`."""
    pandas = _pandas("run.class_accuracy_table()")
    images = run.confusion.sum(axis=1)
    correct = run.confusion.diagonal()
    accuracy = np.full(len(images), np.nan)
    np.divide(correct, images, out=accuracy, where=images > 0)

    # An untrained network often answers one class to everything, which would be that class's best: leave it
    # out.
    trained = run.eval_step > 0 if np.any(run.eval_step > 0) else np.ones(len(run.eval_step), bool)
    by_class, eval_step = run.class_accuracy[trained], run.eval_step[trained]
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


def _class_columns(classes: tuple[str, ...]) -> list[str]:
    """Return the class names as column names; one that is taken already has its number added."""
    names: list[str] = []
    for index, name in enumerate(classes):
        taken = name in _COLUMNS or classes.count(name) > 1
        names.append(f"{name} (class {index})" if taken else name)
    return names


def _pandas(asker: str) -> ModuleType:
    try:
        import pandas
    except ImportError as error:
        raise ImportError(f"{asker} needs pandas: pip install pandas. The NumPy arrays of the run do not.") from error
    return pandas
