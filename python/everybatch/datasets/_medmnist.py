"""MedMNIST: one archive with training, validation and test images."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

import numpy as np

from everybatch._disk import at_home
from everybatch.dataset import Dataset
from everybatch.datasets._npz import read_arrays
from everybatch.errors import DataError

__all__ = ["MEDMNIST_KEYS", "from_medmnist"]

MEDMNIST_KEYS = ("train_images", "train_labels", "test_images", "test_labels")
_VAL_KEYS = ("val_images", "val_labels")


def from_medmnist(
    path: str | os.PathLike[str],
    *,
    include_val: bool = False,
    classes: Iterable[object] | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    name: str | None = None,
) -> Dataset:
    """Read an archive of MedMNIST as it is published, such as ``pathmnist.npz`` or ``bloodmnist_64.npz``.

    Its arrays are ``train_images``, ``train_labels``, ``val_images``, ``val_labels``, ``test_images`` and
    ``test_labels``; images are ``(N, H, W)`` or ``(N, H, W, 3)``, labels ``(N, 1)``. Sets with several labels for an
    image (ChestMNIST) and of volumes (``...mnist3d``) cannot be used here. The archives hold no names of classes.
    Yang et al. 2023, doi:10.1038/s41597-022-01721-8.

    Parameters
    ----------
    path
        The archive.
    include_val
        Whether the validation images become the last of the training images; else they are left out. With them,
        ``everybatch.train(network, data, validation=slice(-n, None))`` holds the published n validation images out.
    classes, mean, std
        As for `everybatch.Dataset`.
    name
        Name of the data set; the file's own unless given.

    Raises
    ------
    FileNotFoundError, PermissionError
        If the file is missing or cannot be read.
    FileFormatError
        If it is not such an archive, or damaged.
    DataError, ShapeError
        If the images are volumes, or have several labels.
    """
    file = at_home(path)
    arrays = read_arrays(file, MEDMNIST_KEYS)
    source = f"MedMNIST archive {file.resolve()}"
    if include_val:
        held = read_arrays(file, _VAL_KEYS)
        for what, first, second in zip(("images", "labels"), arrays, held, strict=False):
            if first.shape[1:] != second.shape[1:] or first.dtype != second.dtype:
                raise DataError(
                    f"{file}: train_{what} are {first.dtype} {first.shape} and val_{what} {second.dtype} {second.shape}"
                )
        arrays[:2] = [np.concatenate(pair) for pair in zip(arrays[:2], held, strict=True)]
        source += f"; the last {len(held[1]):,} training images are its validation images"
    labels = arrays[1]
    if labels.ndim == 2 and labels.shape[1] > 1:
        raise DataError(
            f"{file} has {labels.shape[1]} labels for each image; a classifier needs one: sets of the tasks "
            "multi-class, binary-class and ordinal-regression have one"
        )
    return Dataset(*arrays, classes=classes, mean=mean, std=std, name=name or file.stem, source=source)
