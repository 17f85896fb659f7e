"""EMNIST: handwritten digits and letters, in IDX files that are laid out like MNIST's but lie on their side."""

from __future__ import annotations

import os
import string
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from everybatch import _core
from everybatch.dataset import Dataset
from everybatch.datasets._files import find_file, find_sub_folder
from everybatch.errors import ArgumentError, FileFormatError, ShapeError, suggest

__all__ = ["EMNIST_FOLDERS", "from_emnist"]

EMNIST_FOLDERS = ("gzip", "emnist", "EMNIST/raw")
"""Sub-folders that the files may lie in: as the published zip has them, by name, and torchvision's."""

# Lower-case letters that look like their upper-case ones are merged with these in two of the splits.
_MERGED = tuple(string.digits + string.ascii_uppercase + "abdefghnqrt")
_CLASSES = {
    "balanced": _MERGED,
    "byclass": tuple(string.digits + string.ascii_uppercase + string.ascii_lowercase),
    "bymerge": _MERGED,
    "digits": tuple(string.digits),
    "letters": tuple(string.ascii_lowercase),
    "mnist": tuple(string.digits),
}


def from_emnist(
    root: str | os.PathLike[str],
    split: str = "balanced",
    *,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    name: str | None = None,
) -> Dataset:
    """Read one split of EMNIST from its IDX files, such as ``emnist-letters-train-images-idx3-ubyte.gz``.

    The published pictures lie on their side (rows and columns exchanged); they are turned upright here, which
    torchvision does not do. Cohen et al., arXiv 1702.05373.

    Parameters
    ----------
    root
        Folder with the four files of the split, plain or gzip, or with ``gzip`` (as the published zip unpacks),
        ``emnist`` or ``EMNIST/raw`` (as torchvision keeps them) in it.
    split
        ``"balanced"`` or ``"bymerge"`` (47 classes: digits, capitals, and the small letters that look unlike theirs),
        ``"byclass"`` (62), ``"letters"`` (26: a to z, small and capital together; published as 1 to 26, here 0 to 25),
        ``"digits"`` or ``"mnist"`` (10). The names of the classes are these characters.
    mean, std
        As for `everybatch.Dataset`.
    name
        ``"emnist_"`` and the split unless given.

    Raises
    ------
    FileNotFoundError, NotADirectoryError, PermissionError
        If the folder or a file is missing or cannot be read.
    FileFormatError
        If a file is not IDX, is damaged, or has labels that the split has not; the message names it.
    """
    if split not in _CLASSES:
        raise ArgumentError(
            f"split must be one of {', '.join(map(repr, _CLASSES))}, not {split!r}.{suggest(str(split), _CLASSES)}"
        )
    stems = [f"emnist-{split}-{part}-{what}" for part in ("train", "test") for what in ("images-idx3", "labels-idx1")]
    stems = [f"{stem}-ubyte" for stem in stems]
    folder = find_sub_folder(root, EMNIST_FOLDERS, tuple(stems))
    paths = [find_file(folder, stem) for stem in stems]
    arrays = [_core.read_idx(str(path)) for path in paths]
    first = 1 if split == "letters" else 0
    for index in (0, 2):
        if arrays[index].ndim != 3:
            raise ShapeError(f"{paths[index]} has images of shape {arrays[index].shape}; expected (N, H, W)")
        arrays[index] = arrays[index].transpose(0, 2, 1)
        arrays[index + 1] = _labels(arrays[index + 1], first, len(_CLASSES[split]), split, paths[index + 1])
    return Dataset(
        *arrays,
        classes=_CLASSES[split],
        mean=mean,
        std=std,
        name=name or f"emnist_{split}",
        source=f"EMNIST's files in {folder.resolve()}, turned upright",
    )


def _labels(labels: np.ndarray, first: int, count: int, split: str, path: Path) -> np.ndarray:
    wrong = (labels < first) | (labels >= first + count)
    if labels.ndim == 1 and wrong.any():
        at = int(np.argmax(wrong))
        raise FileFormatError(
            f"{path} has the label {labels[at]} at index {at}, and those of {split!r} go from {first} to "
            f"{first + count - 1}: it is of another split, or damaged"
        )
    return labels - np.uint8(first)
