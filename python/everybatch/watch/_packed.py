"""Curves on their way to the page: a head of JSON, and after it the numbers as they lie in memory.

    length of the head      4 bytes, little-endian
    head                    JSON, with spaces up to a multiple of 8 bytes from the beginning
    numbers                 float64 or float32, little-endian, each array from a multiple of 8 bytes on

In the head an array is ``[place, length]``; the place counts from the first number.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from everybatch.watch._thin import Thin

__all__ = ["Packed"]


class Packed:
    """Gathers arrays; `bytes` gives them with a head."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._end = 0

    def add(self, curve: Thin) -> dict[str, Any]:
        """Take the arrays of a curve in, and return what the head says of them."""
        fields = {"x": "x", "y": "y", "low": "low", "high": "high", "error": "error"}
        fields |= {"band_low": "bandLow", "band_high": "bandHigh"}
        return {name: self._put(getattr(curve, field)) for field, name in fields.items()}

    def bytes(self, head: Mapping[str, Any]) -> bytes:
        """Return everything."""
        told = json.dumps(head, allow_nan=False).encode()
        told += b" " * (-(len(told) + 4) % 8)
        return b"".join((struct.pack("<I", len(told)), told, *self._parts))

    def _put(self, array: npt.NDArray[Any] | None) -> tuple[int, int] | None:
        if array is None:
            return None
        data = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
        data += b"\0" * (-len(data) % 8)
        place = self._end
        self._parts.append(data)
        self._end += len(data)
        return place, len(array)
