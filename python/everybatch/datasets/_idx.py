"""A data set from four IDX files of one's own."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from everybatch import _core
from everybatch.dataset import Dataset

__all__ = ["from_idx"]


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
    paths = [Path(path).expanduser() for path in (train_images, train_labels, test_images, test_labels)]
    return Dataset(
        *(_core.read_idx(str(path)) for path in paths),
        classes=classes,
        mean=mean,
        std=std,
        name=name,
        source=f"IDX files in {paths[0].resolve().parent}",
    )
