"""Rows of history in records: the columns are told once, and then many rows at a time as they lie in memory."""

from __future__ import annotations

import json
import re
import struct
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from everybatch._measures import ARRAYS

__all__ = ["AXES", "Columns", "Counts", "Rows", "counts_of", "cut", "numbers"]

Array = npt.NDArray[Any]
Counts = Counter[str]
"""Rows by their axis; those of an axis that is not in it are none."""

AXES = {"steps": "train_loss", "evaluations": "eval_step", "passes": "training_eval_step", "states": "state_step"}
"""What there are rows of, and by each the array whose length says how many: it is there if any of them is."""
_ALWAYS = 2
"""Axes that every run has rows of, and earlier versions knew alone."""


class Columns:
    """The columns of each axis: NumPy types of a row.

    Parameters
    ----------
    types
        In the order of `AXES`.
    """

    def __init__(self, *types: np.dtype[Any]) -> None:
        self.types = dict(zip(AXES, types, strict=True))
        used = [number for number, kind in enumerate(types, 1) if kind.names]
        self._told = list(AXES)[: max([_ALWAYS, *used])]
        self._counts = struct.Struct(f"<{2 * len(self._told)}Q")
        # Rows of each axis before these, and how many these are. Of the axes up to the last one that has columns: what
        # records no more than earlier versions did is read by them.

    @classmethod
    def of(cls, arrays: Mapping[str, Array]) -> Columns:
        """Return those of arrays by name, whose first dimension is an axis."""
        told = {name: (array.dtype.newbyteorder("<"), array.shape[1:]) for name, array in arrays.items()}
        return cls(*(_type(told, axis) for axis in AXES))

    def told(self) -> bytes:
        """Return them as a payload."""
        every = [field for kind in self.types.values() for field in _fields(kind).items()]
        return json.dumps({name: (kind.base.str, kind.shape) for name, kind in every}).encode()

    @classmethod
    def read(cls, payload: bytes) -> Columns:
        """Return what was told.

        Raises
        ------
        ValueError
            It was something else.
        """
        try:
            told = {str(name): (numbers(kind), tuple(shape)) for name, (kind, shape) in json.loads(payload).items()}
            return cls(*(_type(told, axis) for axis in AXES))
        except (AttributeError, KeyError, MemoryError, RecursionError, TypeError, ValueError) as error:
            raise ValueError(f"it tells of no columns: {error}") from error

    def rows(self, first: Counts, arrays: Mapping[str, Array]) -> bytes:
        """Return rows as a payload; `first` says how many of each axis come before them."""
        parts, counts = [], []
        for axis in self._told:
            kind = self.types[axis]
            names = kind.names or ()
            rows = np.empty(len(arrays[names[0]]) if names else 0, kind)
            for name in names:
                rows[name] = arrays[name]
            parts.append(rows.tobytes())
            counts.append(len(rows))
        return b"".join((self._counts.pack(*(first[axis] for axis in self._told), *counts), *parts))

    def take_apart(self, payload: bytes) -> dict[str, tuple[int, memoryview]]:
        """Return the rows of a payload by their axis, each with how many come before them.

        Raises
        ------
        ValueError
            They are no rows of these columns.
        """
        if len(payload) < self._counts.size:
            raise ValueError("it is too short for rows of history")
        told = self._counts.unpack_from(payload)
        first, counts = told[: len(self._told)], told[len(self._told) :]
        sizes = [count * self.types[axis].itemsize for axis, count in zip(self._told, counts, strict=True)]
        if self._counts.size + sum(sizes) != len(payload):
            rows = " and ".join(f"{count} {axis}" for axis, count in zip(self._told, counts, strict=True))
            raise ValueError(f"{rows} are not {len(payload)} bytes")
        parts, place = {}, self._counts.size
        for axis, before, size in zip(self._told, first, sizes, strict=True):
            parts[axis] = (before, memoryview(payload)[place : place + size])
            place += size
        return parts


class Rows:
    """Rows as they were read, one payload after the other."""

    def __init__(self, columns: Columns) -> None:
        self.columns = columns
        self._parts = {axis: bytearray() for axis in AXES}

    @property
    def counts(self) -> Counts:
        """How many there are of each axis."""
        types = self.columns.types
        return Counts({axis: len(part) // max(1, types[axis].itemsize) for axis, part in self._parts.items()})

    def add(self, payload: bytes) -> None:
        """Add rows; they take the place of those that were there from their first on, as after a run went on.

        Raises
        ------
        ValueError
            They are no rows of these columns, or others are missing before them.
        """
        there, parts = self.counts, self.columns.take_apart(payload)
        for axis, (before, _) in parts.items():
            if before > there[axis]:
                raise ValueError(f"its rows come after {before} {axis}, and there are {there[axis]}")
        for axis, (before, rows) in parts.items():
            self._put(axis, before, rows)

    def _put(self, axis: str, before: int, rows: memoryview) -> None:
        """Put rows of an axis after so many that stay."""
        part = self._parts[axis]
        del part[before * self.columns.types[axis].itemsize :]
        part += rows

    def arrays(self) -> dict[str, Array]:
        """Return every column by its name, as an array of its own."""
        arrays: dict[str, Array] = {}
        for axis, part in self._parts.items():
            kind = self.columns.types[axis]
            rows = np.frombuffer(part, kind) if part else np.empty(0, kind)
            # In the order of this machine, and no view: that would hold the buffer, which is to grow.
            arrays |= {name: np.array(rows[name], rows[name].dtype.newbyteorder("=")) for name in kind.names or ()}
        return arrays


def counts_of(arrays: Mapping[str, Array]) -> Counts:
    """Return how many rows arrays have, by name."""
    return Counts({axis: len(arrays[name]) for axis, name in AXES.items() if name in arrays})


def cut(arrays: Mapping[str, Array], first: Counts | None = None, last: Counts | None = None) -> dict[str, Array]:
    """Return the rows from `first` to `last`, which count rows of each axis, of each array; None: to its end."""
    first = first or Counts()
    axes = {name: ARRAYS[name].dimensions[0] for name in arrays}
    return {
        name: array[first[axes[name]] : None if last is None else last[axes[name]]] for name, array in arrays.items()
    }


def numbers(code: object) -> np.dtype[Any]:
    """Return the type of plain numbers that a code like ``"<f4"`` is of.

    Raises
    ------
    ValueError, TypeError
        It is none. NumPy knows more codes, and reads some as Python.
    """
    if not isinstance(code, str) or re.fullmatch(r"[<>|=]?[fiu][0-9]{1,2}", code) is None:
        raise ValueError(f"{code!r} is no type of numbers")
    return np.dtype(code)


def _type(told: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]], axis: str) -> np.dtype[Any]:
    """Return the type of a row of an axis, of measures that are known."""
    return np.dtype([(name, *kind) for name, kind in told.items() if ARRAYS[name].dimensions[0] == axis])


def _fields(kind: np.dtype[Any]) -> dict[str, np.dtype[Any]]:
    return {name: kind.fields[name][0] for name in kind.names or ()} if kind.fields else {}
