"""Arrays of a run as a whole in one record: what became of each image, which would be long as text."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from everybatch._measures import ARRAYS
from everybatch.folder._rows import AXES, numbers

__all__ = ["packed", "unpacked"]

Array = npt.NDArray[Any]

_LENGTH = struct.Struct("<Q")
"""Bytes of the JSON that tells names, types and shapes; the numbers follow it, one array after the other."""


def packed(arrays: Mapping[str, Array]) -> bytes:
    """Return arrays by name as a payload."""
    stored = {name: np.ascontiguousarray(array, array.dtype.newbyteorder("<")) for name, array in arrays.items()}
    told = json.dumps({name: (array.dtype.str, array.shape) for name, array in stored.items()}).encode()
    return b"".join((_LENGTH.pack(len(told)), told, *(array.tobytes() for array in stored.values())))


def unpacked(payload: bytes) -> dict[str, Array]:
    """Return what was packed.

    Raises
    ------
    ValueError
        It was something else.
    """
    try:
        place = _LENGTH.size + _LENGTH.unpack_from(payload)[0]
        told = json.loads(payload[_LENGTH.size : place])
        arrays = {}
        for name, (code, shape) in told.items():
            kind = numbers(code)
            if ARRAYS[name].dimensions[0] in AXES or any(size < 0 for size in shape):
                raise ValueError(f"{name} of type {kind} and shape {shape} is none of a run as a whole")
            count = math.prod(shape)
            flat = np.frombuffer(payload, kind, count, place) if count else np.empty(0, kind)
            arrays[name] = flat.reshape(shape).astype(kind.newbyteorder("="))
            place += flat.nbytes
    except (AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError, struct.error) as error:
        raise ValueError(f"it holds no arrays: {error}") from error
    if place != len(payload):
        raise ValueError(f"its arrays take {place} bytes, and there are {len(payload)}")
    return arrays
