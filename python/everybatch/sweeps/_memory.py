"""Memory that several processes see: a nameless file, which is gone with the last of them."""

from __future__ import annotations

import mmap
import pickle
from typing import Any

import numpy as np

from everybatch._system import nameless_file
from everybatch.dataset import Dataset
from everybatch.sweeps._parcel import dataset_from, parts_of

__all__ = ["dataset_in", "put_bytes", "put_dataset", "read_bytes"]

_ALIGN = 64


def put_bytes(content: bytes) -> int:
    """Return the descriptor of a nameless file with this content."""
    file = nameless_file()
    with open(file, "wb", closefd=False) as handle:
        handle.write(content)
    return file


def read_bytes(file: int) -> bytes:
    # Not by reading: the workers have one and the same file open, and with it one place in it.
    with mmap.mmap(file, 0, access=mmap.ACCESS_READ) as view:
        return view[:]


def put_dataset(dataset: Dataset) -> int:
    """Return the descriptor of a nameless file with a data set: a description, then the arrays as they are."""
    arrays, rest = parts_of(dataset)
    layout, place = {}, 0
    for name, array in arrays.items():
        layout[name] = (place, array.dtype.str, array.shape)
        place += -(-array.nbytes // _ALIGN) * _ALIGN
    head = pickle.dumps((layout, rest))
    begin = -(-(8 + len(head)) // mmap.PAGESIZE) * mmap.PAGESIZE
    file = nameless_file()
    with open(file, "wb", closefd=False) as handle:
        handle.write(len(head).to_bytes(8, "little") + head)
        for name, array in arrays.items():
            handle.seek(begin + layout[name][0])
            handle.write(np.ascontiguousarray(array).data)
        handle.truncate(begin + place)
    return file


def dataset_in(file: int) -> Dataset:
    """Return the data set in such a file, without a copy of its arrays."""
    view = mmap.mmap(file, 0, access=mmap.ACCESS_READ)
    length = int.from_bytes(view[:8], "little")
    layout, rest = pickle.loads(view[8 : 8 + length])  # noqa: S301 - the parent wrote it
    begin = -(-(8 + length) // mmap.PAGESIZE) * mmap.PAGESIZE

    def array(place: int, kind: str, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
        count = int(np.prod(shape))
        return np.frombuffer(view, np.dtype(kind), count, begin + place).reshape(shape)

    return dataset_from({name: array(*where) for name, where in layout.items()}, rest)
