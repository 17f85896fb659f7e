"""A data set from one NumPy archive."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from everybatch.dataset import Dataset
from everybatch.errors import ArgumentError, FileFormatError

__all__ = ["from_npz"]

# What NumPy and zipfile raise on damaged files and on pickled objects.
_DAMAGE = (ValueError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError)


def from_npz(
    path: str | os.PathLike[str],
    keys: Sequence[str] = ("x_train", "y_train", "x_test", "y_test"),
    *,
    classes: Iterable[object] | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    name: str = "npz",
) -> Dataset:
    """Read a data set from an ``.npz`` archive, by default one laid out like Keras's ``mnist.npz``.

    Pickled objects are never loaded.

    Parameters
    ----------
    path
        The archive.
    keys
        Names in the archive of training images, training labels, test images, test labels.
    classes, mean, std, name
        As for `everybatch.Dataset`.

    Raises
    ------
    FileNotFoundError, PermissionError
        If the file is missing or cannot be read.
    FileFormatError
        If it is not an ``.npz`` archive, is damaged, lacks a key, or holds pickled objects.
    DataError, ShapeError
        If the arrays do not make a data set, see `everybatch.Dataset`.
    """
    if isinstance(keys, str) or len(keys) != 4:
        raise ArgumentError(
            f"keys must be four names (training images and labels, test images and labels), not {keys!r}"
        )
    file = Path(path).expanduser()
    # Opened here, because np.load leaves the file open when it fails.
    with file.open("rb") as stream:
        arrays = _read(stream, file, keys)
    return Dataset(*arrays, classes=classes, mean=mean, std=std, name=name, source=f"archive {file.resolve()}")


def _read(stream: BinaryIO, file: Path, keys: Sequence[str]) -> list[npt.NDArray[Any]]:
    try:
        archive = np.load(stream, allow_pickle=False)
    except _DAMAGE as error:
        raise FileFormatError(f"{file} is not an .npz archive, or it is damaged ({error})") from error
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise FileFormatError(f"{file} holds a single array; expected an .npz archive with {', '.join(keys)}")
    with archive:
        if missing := [key for key in keys if key not in archive]:
            raise FileFormatError(
                f"{file} has no {', '.join(missing)}; it has {', '.join(archive.files) or 'nothing'}. "
                "Name the four arrays with keys=(...)"
            )
        arrays = []
        for key in keys:
            try:
                arrays.append(archive[key])
            except _DAMAGE as error:
                raise FileFormatError(f"{key} in {file} cannot be read ({error})") from error
    return arrays
