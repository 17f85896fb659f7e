"""The rows of a run that is followed, as columns that grow in place: reading on costs what is new, and no more."""

from __future__ import annotations

import math
from collections.abc import Container
from typing import Any

import numpy as np
import numpy.typing as npt

from everybatch._measures import ARRAYS
from everybatch.folder._rows import AXES, Columns, Counts, Rows

__all__ = ["Table"]

Array = npt.NDArray[Any]

_GROWTH = 1.5
_LEAST = 1024  # rows


class Table(Rows):
    """Rows by columns, each in one piece of memory.

    Parameters
    ----------
    columns
        Those of the rows.
    leave_out
        Names of columns that are not kept.

    Raises
    ------
    ValueError
        A column has not the dimensions of its measure.
    """

    def __init__(self, columns: Columns, leave_out: Container[str] = ()) -> None:
        super().__init__(columns)
        self._counts = Counts()
        self._columns: dict[str, dict[str, Array]] = {axis: {} for axis in AXES}
        for axis, kept in self._columns.items():
            kind = columns.types[axis]
            for name in kind.names or ():
                one = kind[name]
                if len(one.shape) != len(ARRAYS[name].dimensions) - 1:
                    raise ValueError(f"{name} has rows of shape {one.shape}")
                if name not in leave_out:
                    kept[name] = np.empty((0, *one.shape), one.base.newbyteorder("="))

    @property
    def counts(self) -> Counts:
        return self._counts.copy()

    @property
    def nbytes(self) -> int:
        """Bytes of memory in use."""
        return sum(column.nbytes for kept in self._columns.values() for column in kept.values())

    @property
    def row_bytes(self) -> int:
        """Bytes that one row of each axis take together."""
        columns = (column for kept in self._columns.values() for column in kept.values())
        return sum(column.dtype.itemsize * math.prod(column.shape[1:]) for column in columns)

    def arrays(self) -> dict[str, Array]:
        """Return what is there by now, without a copy; rows that take the place of others do so in these arrays too."""
        return {
            name: column[: self._counts[axis]] for axis, kept in self._columns.items() for name, column in kept.items()
        }

    def _put(self, axis: str, before: int, rows: memoryview) -> None:
        kind = self.columns.types[axis]
        new = np.frombuffer(rows, kind) if len(rows) else np.empty(0, kind)
        count = before + len(new)
        kept = self._columns[axis]
        for name, column in kept.items():
            if count > len(column):
                longer = np.empty((max(_LEAST, count, int(len(column) * _GROWTH)), *column.shape[1:]), column.dtype)
                longer[:before] = column[:before]
                kept[name] = longer
            kept[name][before:count] = new[name]
        self._counts[axis] = count
