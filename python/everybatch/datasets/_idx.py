"""A data set from four IDX files of one's own."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from everybatch import _core
from everybatch._disk import at_home
from everybatch.dataset import Dataset
from everybatch.datasets._files import open_plain
from everybatch.errors import FileFormatError

__all__ = ["from_idx"]

_log = logging.getLogger("everybatch")


def from_idx(
    train_images: str | os.PathLike[str],
    train_labels: str | os.PathLike[str],
    test_images: str | os.PathLike[str],
    test_labels: str | os.PathLike[str],
    *,
    classes: Iterable[object] | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    name: str = "idx",
) -> Dataset:
    """Read a data set from four IDX files (the format of MNIST) of unsigned bytes, plain or gzip.

    For the files of EMNIST, whose pictures lie on their side, and of QMNIST see `from_emnist` and `from_qmnist`.

    Parameters
    ----------
    train_images, test_images
        Files of images ``(N, H, W)`` or ``(N, H, W, C)``.
    train_labels, test_labels
        Files of labels ``(N,)``.
    classes, mean, std, name
        As for `everybatch.Dataset`.

    Raises
    ------
    FileNotFoundError, PermissionError
        If a file is missing or cannot be read.
    FileFormatError
        If a file is not IDX, holds another type than unsigned bytes, or is truncated; the message names it.
    DataError, ShapeError
        If the arrays do not make a data set, see `everybatch.Dataset`.
    """
    paths = [at_home(path) for path in (train_images, train_labels, test_images, test_labels)]
    if paths[0].name.startswith("emnist-"):
        _log.warning("EMNIST's pictures lie on their side in its files; from_emnist turns them upright")
    return Dataset(
        *(_read(path) for path in paths),
        classes=classes,
        mean=mean,
        std=std,
        name=name,
        source=f"IDX files in {paths[0].resolve().parent}",
    )


def _read(path: Path) -> npt.NDArray[np.uint8]:
    with open_plain(path):
        pass  # what cannot be opened, or would be waited for
    try:
        return _core.read_idx(str(path))
    except FileFormatError as error:
        if "-idx2-int" not in path.name:
            raise
        raise FileFormatError(f"{error} QMNIST's files are read with from_qmnist.") from error
