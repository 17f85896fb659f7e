"""A data set from one NumPy archive of one's own, or of Keras."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from everybatch._disk import at_home
from everybatch.dataset import Dataset
from everybatch.datasets._npy import Archive
from everybatch.datasets._split import TEST_FRACTION, split
from everybatch.errors import ArgumentError, FileFormatError

__all__ = ["KEYS", "from_npz", "read_arrays"]

KEYS = ("x_train", "y_train", "x_test", "y_test")
"""Keras's names of the four arrays."""


def from_npz(
    path: str | os.PathLike[str],
    keys: Sequence[str] = KEYS,
    *,
    test_fraction: float | None = None,
    seed: int = 0,
    classes: Iterable[object] | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    scale: float | None = None,
    name: str = "npz",
) -> Dataset:
    """Read a data set from an ``.npz`` archive, by default one laid out like Keras's ``mnist.npz``.

    Pickled objects are never loaded. For the archives of MedMNIST see `from_medmnist`.

    Parameters
    ----------
    path
        The archive.
    keys
        Names in the archive of training images, training labels, test images, test labels; or of images and labels
        alone, which are then split.
    test_fraction
        With two keys: the share of each class that becomes test images, above 0 and below 1; 0.2 unless given. At
        least one image of each class goes to either side.
    seed
        Any integer from 0: decides which images become test images.
    classes, mean, std, scale, name
        As for `everybatch.Dataset`.

    Raises
    ------
    FileNotFoundError, PermissionError
        If the file is missing or cannot be read.
    FileFormatError
        If it is not an ``.npz`` archive, is damaged or encrypted, lacks a key, or holds pickled objects; the message
        names the file and the array.
    DataError, ShapeError
        If the arrays do not make a data set, see `everybatch.Dataset`.
    """
    if isinstance(keys, str) or len(keys) not in (2, 4):
        raise ArgumentError(
            "keys must be four names (training images and labels, test images and labels), or two (images and labels, "
            f"to be split), not {keys!r}"
        )
    if test_fraction is not None and len(keys) == 4:
        raise ArgumentError("test_fraction splits images of two keys; with four keys the test images are named")
    file = at_home(path)
    arrays = read_arrays(file, keys)
    if len(keys) == 2:
        fraction = TEST_FRACTION if test_fraction is None else test_fraction
        arrays = list(split(arrays[0], arrays[1], fraction, seed))
    source = f"archive {file.resolve()}"
    return Dataset(*arrays, classes=classes, mean=mean, std=std, scale=scale, name=name, source=source)


def read_arrays(file: Path, keys: Sequence[str]) -> list[npt.NDArray[Any]]:
    """Read some arrays of an archive.

    Raises
    ------
    FileFormatError
        As `from_npz`.
    """
    with Archive(file) as archive:
        if missing := [key for key in keys if key not in archive.names]:
            hint = "Name the arrays with keys=(...)"
            if "train_images" in archive.names and "test_labels" in archive.names:
                hint = "It is laid out like MedMNIST's: read it with from_medmnist"
            raise FileFormatError(
                f"{file} has no {', '.join(missing)}; it has {', '.join(archive.names) or 'no arrays'}. {hint}"
            )
        return [archive[key] for key in keys]
