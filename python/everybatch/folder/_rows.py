"""Rows of history in records: the columns are told once, and then many rows at a time as they lie in memory."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from everybatch._measures import ARRAYS

__all__ = ["AXES", "Columns", "Rows", "cut"]

Array = npt.NDArray[Any]

_COUNTS = struct.Struct("<4Q")
"""Rows of steps and of evaluations before these, and how many these are."""
AXES = ("steps", "evaluations")


class Columns:
    """The columns of steps and of evaluations: NumPy types of a row each."""

    def __init__(self, steps: np.dtype[Any], evaluations: np.dtype[Any]) -> None:
        self.types = (steps, evaluations)

    @classmethod
    def of(cls, arrays: Mapping[str, Array]) -> Columns:
        """Return those of arrays by name, whose first axis is steps or evaluations."""
        told = {name: (array.dtype.newbyteorder("<").str, array.shape[1:]) for name, array in arrays.items()}
        return cls(*(_type(told, axis) for axis in AXES))

    def told(self) -> bytes:
        """Return them as a payload."""
        fields = {name: (kind.base.str, kind.shape) for one in self.types for name, kind in _fields(one).items()}
        return json.dumps(fields).encode()

    @classmethod
    def read(cls, payload: bytes) -> Columns:
        """Return what was told.

        Raises
        ------
        ValueError
            It was something else.
        """
        try:
            told = {str(name): (str(kind), tuple(shape)) for name, (kind, shape) in json.loads(payload).items()}
            return cls(*(_type(told, axis) for axis in AXES))
        except (AttributeError, KeyError, MemoryError, RecursionError, TypeError, ValueError) as error:
            raise ValueError(f"it tells of no columns: {error}") from error

    def rows(self, first: tuple[int, int], arrays: Mapping[str, Array]) -> bytes:
        """Return rows as a payload; `first` says how many of steps and of evaluations come before them."""
        parts, counts = [], []
        for kind in self.types:
            names = kind.names or ()
            rows = np.empty(len(arrays[names[0]]) if names else 0, kind)
            for name in names:
                rows[name] = arrays[name]
            parts.append(rows.tobytes())
            counts.append(len(rows))
        return b"".join((_COUNTS.pack(*first, *counts), *parts))


class Rows:
    """Rows as they were read, one payload after the other."""

    def __init__(self, columns: Columns) -> None:
        self.columns = columns
        self._parts = (bytearray(), bytearray())

    @property
    def counts(self) -> tuple[int, int]:
        """How many there are of steps and of evaluations."""
        steps, evaluations = (
            len(part) // max(1, kind.itemsize) for part, kind in zip(self._parts, self.columns.types, strict=True)
        )
        return steps, evaluations

    def add(self, payload: bytes) -> None:
        """Add rows; they take the place of those that were there from their first on, as after a run went on.

        Raises
        ------
        ValueError
            They are no rows of these columns, or others are missing before them.
        """
        if len(payload) < _COUNTS.size:
            raise ValueError("it is too short for rows of history")
        *first, steps, evaluations = _COUNTS.unpack_from(payload)
        sizes = [count * kind.itemsize for count, kind in zip((steps, evaluations), self.columns.types, strict=True)]
        if _COUNTS.size + sum(sizes) != len(payload):
            raise ValueError(f"{steps} steps and {evaluations} evaluations are not {len(payload)} bytes")
        if any(before > there for before, there in zip(first, self.counts, strict=True)):
            raise ValueError(f"its rows come after {first}, and there are {list(self.counts)}")
        place = _COUNTS.size
        for axis, (before, size) in enumerate(zip(first, sizes, strict=True)):
            self._put(axis, before, memoryview(payload)[place : place + size])
            place += size

    def _put(self, axis: int, before: int, rows: memoryview) -> None:
        """Put rows of steps (0) or evaluations (1) after so many that stay."""
        part = self._parts[axis]
        del part[before * self.columns.types[axis].itemsize :]
        part += rows

    def arrays(self) -> dict[str, Array]:
        """Return every column by its name, as an array of its own."""
        arrays: dict[str, Array] = {}
        for part, kind in zip(self._parts, self.columns.types, strict=True):
            rows = np.frombuffer(part, kind) if part else np.empty(0, kind)
            # In the order of this machine, and no view: that would hold the buffer, which is to grow.
            arrays |= {name: np.array(rows[name], rows[name].dtype.newbyteorder("=")) for name in kind.names or ()}
        return arrays


def cut(
    arrays: Mapping[str, Array], first: tuple[int, int] = (0, 0), last: tuple[int | None, int | None] = (None, None)
) -> dict[str, Array]:
    """Return the rows from `first` to `last`, which are numbers of steps and of evaluations, of each array."""
    ends = dict(zip(AXES, zip(first, last, strict=True), strict=True))
    return {name: array[slice(*ends[ARRAYS[name].dimensions[0]])] for name, array in arrays.items()}


def _type(told: Mapping[str, tuple[str, tuple[int, ...]]], axis: str) -> np.dtype[Any]:
    """Return the type of a row of steps or of evaluations: plain numbers, of measures that are known."""
    fields = [(name, kind, shape) for name, (kind, shape) in told.items() if ARRAYS[name].dimensions[0] == axis]
    made = np.dtype(fields)
    for name, kind in _fields(made).items():
        if kind.base.kind not in "fiu":
            raise ValueError(f"{name} is of type {kind.base}")
    return made


def _fields(kind: np.dtype[Any]) -> dict[str, np.dtype[Any]]:
    return {name: kind.fields[name][0] for name in kind.names or ()} if kind.fields else {}
