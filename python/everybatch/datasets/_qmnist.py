"""QMNIST: MNIST with all of its 60,000 test digits, and labels that tell where each digit comes from."""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from everybatch import _core
from everybatch.dataset import Dataset
from everybatch.datasets._files import find_file, find_sub_folder, read_bytes, what_it_is
from everybatch.errors import FileFormatError

__all__ = ["QMNIST_FOLDERS", "from_qmnist", "read_idx_integers"]

QMNIST_FOLDERS = ("qmnist", "QMNIST/raw")
"""Sub-folders that the files may lie in: by name, and torchvision's."""

_STEMS = (
    "qmnist-train-images-idx3-ubyte",
    "qmnist-train-labels-idx2-int",
    "qmnist-test-images-idx3-ubyte",
    "qmnist-test-labels-idx2-int",
)
_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4"}


def from_qmnist(
    root: str | os.PathLike[str],
    *,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    name: str = "qmnist",
) -> Dataset:
    """Read QMNIST from its IDX files, such as ``qmnist-train-labels-idx2-int.gz``: 60,000 images in each of both sets.

    Of the eight columns of its labels the first is the class; the others (where the digit comes from) are left out.
    The first 10,000 test images are those of MNIST: ``everybatch.train(..., evaluate_on=slice(10_000))``. Yadav and
    Bottou, arXiv 1905.10498.

    Parameters
    ----------
    root
        Folder with the four files, plain or gzip, or with ``qmnist`` or ``QMNIST/raw`` (as torchvision keeps them) in
        it.
    mean, std, name
        As for `everybatch.Dataset`.

    Raises
    ------
    FileNotFoundError, NotADirectoryError, PermissionError
        If the folder or a file is missing or cannot be read.
    FileFormatError
        If a file is not IDX, or damaged; the message names it.
    """
    folder = find_sub_folder(root, QMNIST_FOLDERS, _STEMS)
    paths = [find_file(folder, stem) for stem in _STEMS]
    arrays = []
    for path in paths:
        if "images" in path.name:
            arrays.append(_core.read_idx(str(path)))
            continue
        table = read_idx_integers(path)
        if table.ndim != 2 or not ((table[:, 0] >= 0) & (table[:, 0] <= 9)).all():
            raise FileFormatError(f"{path} has shape {table.shape}; QMNIST's is (N, 8) with a digit 0 to 9 first")
        arrays.append(table[:, 0])
    source = f"QMNIST's files in {folder.resolve()}"
    return Dataset(*arrays, classes=tuple("0123456789"), mean=mean, std=std, name=name, source=source)


def read_idx_integers(path: Path) -> npt.NDArray[Any]:
    """Read an IDX file of integers of 8, 16 or 32 bits, plain or gzip.

    Raises
    ------
    FileFormatError
        If it is not one, or damaged; the message names it.
    """
    content = read_bytes(path)
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _TYPES:
        raise FileFormatError(f"{path} is not an IDX file of integers: {what_it_is(content[:64])}")
    dtype, start = np.dtype(_TYPES[content[2]]), 4 + 4 * content[3]
    if len(content) < start:
        raise FileFormatError(f"{path} ends inside its header; get it again")
    shape = struct.unpack_from(f">{content[3]}I", content, 4)
    needed = math.prod(shape) * dtype.itemsize
    if not shape or needed != len(content) - start:
        raise FileFormatError(
            f"{path} is damaged: its header gives the shape {shape}, {needed:,} bytes, and there are "
            f"{len(content) - start:,}; get it again"
        )
    return np.frombuffer(content, dtype, offset=start).reshape(shape)
