"""A run as CSV files, written without pandas."""

from __future__ import annotations

import csv as writer
import io
import os
from collections.abc import Iterable, Sequence

import numpy as np

from everybatch._arguments import flag
from everybatch._disk import whole_file
from everybatch._measures import MEASURES
from everybatch.export._given import as_run
from everybatch.run import Run
from everybatch.runs._tables import Column, class_columns, columns

__all__ = ["class_accuracy_csv", "csv"]


def csv(run: Run, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Write the whole history as CSV: one row per number of optimizer steps taken, 0 to `Run.steps`.

    The columns are those of `Run.history`. A cell is empty where nothing was measured, and ``nan`` where a measured
    value is not a number, as the loss of a diverged run. Numbers have as many digits as their type needs to be read
    back exactly.

    Parameters
    ----------
    run
        What `everybatch.train` or `everybatch.load_run` returned.
    path
        The file, as a rule ``.csv``. Its folder must be there.
    overwrite
        Replace a file that is there already.

    Raises
    ------
    FileExistsError, IsADirectoryError, FileNotFoundError, OSError
        `path` is taken, is a folder, lies in no folder, or cannot be written. Nothing is left behind.
    """
    table = columns(as_run(run))
    _write(path, list(table), [_cells(column) for column in table.values()], overwrite=overwrite)


def class_accuracy_csv(run: Run, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Write the accuracy of each class as CSV: one row per evaluation.

    Columns: ``step`` (optimizer steps taken before the evaluation), then one per class under its name, in [0, 1], or
    ``nan`` if no test image of that class was measured. Of a run with a tolerance these are followed by their standard
    errors, under the same names with ``_error`` at the end.

    Parameters
    ----------
    run
        What `everybatch.train` or `everybatch.load_run` returned.
    path
        The file, as a rule ``.csv``. Its folder must be there.
    overwrite
        Replace a file that is there already.

    Raises
    ------
    FileExistsError, IsADirectoryError, FileNotFoundError, OSError
        `path` is taken, is a folder, lies in no folder, or cannot be written. Nothing is left behind.
    """
    run = as_run(run)
    header, table = ["step"], [np.ma.array(run.eval_step)]
    for measure in (MEASURES["class_accuracy"], MEASURES["class_accuracy_error"]):
        if measure.is_told(run):
            header += class_columns(run.classes, measure)
            table += map(np.ma.array, getattr(run, measure.name).T)
    _write(path, header, [_cells(column) for column in table], overwrite=overwrite)


def _cells(column: Column) -> list[str]:
    # str of a NumPy number is the shortest text that gives it back in its own precision.
    hidden = np.ma.getmaskarray(column)
    return ["" if skip else str(value) for value, skip in zip(column.data, hidden, strict=True)]


def _write(
    path: str | os.PathLike[str], header: Sequence[str], cells: Iterable[Sequence[str]], *, overwrite: bool
) -> None:
    text = io.StringIO()
    rows = writer.writer(text, lineterminator="\n")
    rows.writerow(header)
    rows.writerows(zip(*cells, strict=True))
    with whole_file(path, overwrite=flag(overwrite, "overwrite")) as file:
        file.write(text.getvalue().encode())
