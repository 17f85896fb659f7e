"""Arrays of numbers from MATLAB files of version 5 to 7.2 (what ``save`` writes unless told ``-v7.3``).

Layout, from "MAT-File Format" by The MathWorks: 128 bytes of header, of which the last four are the version and two
letters that tell the byte order; then elements, each with a tag of type and length. Type 15 is a zlib stream with one
element of type 14, an array: flags, lengths of its dimensions, name, and values by columns.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from everybatch.datasets._files import MOST_BYTES, open_plain, what_it_is
from everybatch.errors import FileFormatError

__all__ = ["read_mat"]

_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
_MATRIX, _COMPRESSED = 14, 15
_COMPLEX = 0x0800


class _DamagedError(Exception):
    """The content contradicts itself; the message says how."""


def read_mat(path: Path, names: tuple[str, ...]) -> list[npt.NDArray[Any]]:
    """Read the named arrays of numbers from a MATLAB file.

    Raises
    ------
    OSError
        If the file is missing or cannot be read.
    FileFormatError
        If it is no MATLAB file of these versions, is damaged, or lacks one of the arrays; the message names it.
    """
    with open_plain(path) as file:
        content = memoryview(file.read())
    if bytes(content[:10]) == b"MATLAB 7.3":
        raise FileFormatError(f"{path} is a MATLAB file of version 7.3, an HDF5 file; save it with -v7")
    order = {b"IM": "<", b"MI": ">"}.get(bytes(content[126:128]))
    if order is None or len(content) < 128:
        raise FileFormatError(f"{path} is not a MATLAB file of version 5 to 7.2: {what_it_is(bytes(content[:64]))}")
    found: dict[str, npt.NDArray[Any]] = {}
    others = []
    try:
        for kind, data in _elements(content[128:], order):
            if kind == _COMPRESSED:
                kind, data = next(_elements(_unpack(data), order), (0, data))
            if kind != _MATRIX:
                continue
            name, array = _array(data, order, names)
            if array is None:
                others.append(name)
            else:
                found[name] = array
    except (_DamagedError, struct.error, zlib.error, MemoryError) as error:
        raise FileFormatError(f"{path} is a damaged MATLAB file ({error}); get it again") from error
    if missing := [name for name in names if name not in found]:
        raise FileFormatError(
            f"{path} has no array {' and '.join(missing)} of numbers; it has {', '.join([*found, *others]) or 'none'}"
        )
    return [found[name] for name in names]


def _unpack(data: memoryview) -> memoryview:
    stream = zlib.decompressobj()
    content = stream.decompress(data, MOST_BYTES)
    if not stream.eof:
        raise _DamagedError("a compressed array does not end")
    return memoryview(content)


def _elements(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """Go through elements: type and content of each."""
    at = 0
    while at < len(data):
        kind, size = struct.unpack_from(f"{order}II", data, at)
        if kind >> 16:  # a small element: length and type share the first four bytes, the content has the others
            kind, size, at = kind & 0xFFFF, kind >> 16, at + 4
            end = at + 4
        else:
            at += 8
            end = at + size if kind == _COMPRESSED else at + (size + 7) // 8 * 8
        if at + size > len(data) or at + size > max(end, at):
            raise _DamagedError(f"an element of {size:,} bytes begins at byte {at:,} of {len(data):,}")
        yield kind, data[at : at + size]
        at = end


def _array(data: memoryview, order: str, names: tuple[str, ...]) -> tuple[str, npt.NDArray[Any] | None]:
    """Name and values of one array; None if it is not among `names`, or no plain numbers."""
    parts = _elements(data, order)
    try:
        _, flags = next(parts)
        _, lengths = next(parts)
        _, letters = next(parts)
    except StopIteration:
        raise _DamagedError("an array without a name") from None
    name = bytes(letters).decode("latin-1")
    (word,) = struct.unpack_from(f"{order}I", flags)
    if name not in names or word & 0xFF not in _CLASSES or word & _COMPLEX:
        return name, None
    shape = struct.unpack(f"{order}{len(lengths) // 4}i", lengths)
    kind, values = next(parts, (0, data[:0]))
    if kind not in _NUMBERS:
        raise _DamagedError(f"the array {name} has values of the unknown type {kind}")
    stored = np.dtype(order + _NUMBERS[kind])
    if min(shape, default=-1) < 0 or math.prod(shape) * stored.itemsize != len(values):
        raise _DamagedError(f"the array {name} of shape {shape} has {len(values):,} bytes")
    array = np.frombuffer(values, stored).reshape(shape, order="F")
    return name, array.astype(_CLASSES[word & 0xFF], copy=False)
