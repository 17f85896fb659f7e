"""SVHN: house numbers, cropped to single digits."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from everybatch.dataset import Dataset
from everybatch.datasets._files import find_sub_folder
from everybatch.datasets._mat import read_mat
from everybatch.errors import FileFormatError

__all__ = ["SVHN_FILES", "SVHN_FOLDERS", "from_svhn"]

SVHN_FILES = ("train_32x32.mat", "test_32x32.mat")
SVHN_FOLDERS = ("svhn", "SVHN")
"""Sub-folders that the files may lie in."""
_EXTRA = "extra_32x32.mat"


def from_svhn(
    root: str | os.PathLike[str],
    *,
    extra: bool = False,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    name: str = "svhn",
) -> Dataset:
    """Read SVHN's cropped digits from ``train_32x32.mat`` and ``test_32x32.mat``: 32x32 in RGB, ten classes.

    The files give the digit 0 the label 10; here it is class 0, as its name says. Netzer et al. 2011,
    ufldl.stanford.edu/housenumbers.

    Parameters
    ----------
    root
        Folder with the files, or with ``svhn`` or ``SVHN`` in it.
    extra
        Whether the 531,131 easier images of ``extra_32x32.mat`` (1.6 GB in memory) follow the training images.
    mean, std, name
        As for `everybatch.Dataset`.

    Raises
    ------
    FileNotFoundError, NotADirectoryError, PermissionError
        If the folder or a file is missing or cannot be read.
    FileFormatError
        If a file is no MATLAB file, damaged, or not laid out as published; the message names it.
    """
    folder = find_sub_folder(root, SVHN_FOLDERS, SVHN_FILES)
    train, test = (_read(folder / file) for file in SVHN_FILES)
    if extra:
        more = _read(folder / _EXTRA)
        train = (np.concatenate([train[0], more[0]]), np.concatenate([train[1], more[1]]))
    source = f"SVHN's files in {folder.resolve()}{', with the extra images' if extra else ''}"
    return Dataset(*train, *test, classes=tuple("0123456789"), mean=mean, std=std, name=name, source=source)


def _read(path: Path) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    if not path.is_file():
        raise FileNotFoundError(f"{path.parent} has no {path.name}")
    images, labels = read_mat(path, ("X", "y"))
    if images.ndim == 3:  # MATLAB drops the last dimension of a single image
        images = images[..., None]
    labels = labels.reshape(-1)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[2] != 3 or images.shape[3] != len(labels):
        raise FileFormatError(
            f"{path} has X of {images.dtype} {images.shape} and {len(labels)} labels; SVHN's X is uint8 (32, 32, 3, N) "
            "with N labels y"
        )
    if not np.isin(labels, np.arange(11)).all() or (0 in labels and 10 in labels):
        raise FileFormatError(f"{path} has labels from {labels.min()} to {labels.max()}; SVHN's go from 1 to 10")
    return images.transpose(3, 0, 1, 2), labels.astype(np.int64) % 10
