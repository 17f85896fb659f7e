"""The accuracy of each class as a text file of lists."""

from __future__ import annotations

import math
import os

from everybatch._arguments import flag
from everybatch._disk import whole_file
from everybatch.export._given import as_run
from everybatch.run import Run

__all__ = ["class_lists"]

_DIGITS = 4  # of a percentage; float32 tells no more


def class_lists(run: Run, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Write one list per class and line: the accuracy of that class in percent after every evaluation.

    Each line is a Python list of as many numbers as there were evaluations, the first before the first step, rounded
    to 4 decimals; ``None`` if no test image of the class was measured. Nothing else is in the file. Read it with

        [ast.literal_eval(line) for line in open(path)]

    Parameters
    ----------
    run
        What `everybatch.train` or `everybatch.load_run` returned.
    path
        The file, as a rule ``.txt``. Its folder must be there.
    overwrite
        Replace a file that is there already.

    Raises
    ------
    FileExistsError, IsADirectoryError, FileNotFoundError, OSError
        `path` is taken, is a folder, lies in no folder, or cannot be written. Nothing is left behind.
    """
    lists = [[_percent(value) for value in column] for column in as_run(run).class_accuracy.T.tolist()]
    with whole_file(path, overwrite=flag(overwrite, "overwrite")) as file:
        file.write("".join(f"{line}\n" for line in lists).encode())


def _percent(accuracy: float) -> float | None:
    return None if math.isnan(accuracy) else round(100 * accuracy, _DIGITS)
