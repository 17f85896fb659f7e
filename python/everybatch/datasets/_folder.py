"""A data set from folders of pictures, one folder for each class."""

from __future__ import annotations

import importlib.util
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from everybatch._arguments import share
from everybatch.dataset import Dataset
from everybatch.errors import ArgumentError, DataError, FileFormatError, ShapeError

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["from_folder"]

_ENDINGS = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
_GREY_MODES = {"1", "L", "LA", "La"}
_DEEP_MODES = {"I", "F", "I;16", "I;16B", "I;16L", "I;16N"}

Pictures = dict[str, list[Path]]
"""The picture files of each class, both in the order of their names."""


def from_folder(
    root: str | os.PathLike[str],
    *,
    size: tuple[int, int] | None = None,
    mode: Literal["L", "RGB"] | None = None,
    test_fraction: float = 0.2,
    seed: int = 0,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    name: str | None = None,
) -> Dataset:
    """Read pictures from a folder for each class.

    Either ``root/train/<class>/*.png`` and ``root/test/<class>/*.png``, or ``root/<class>/*.png``, which is
    then split. Classes are numbered in the order of their names; hidden files and files that are not pictures
    by their ending are passed over. Needs Pillow (``pip install pillow``).

    Parameters
    ----------
    root
        The folder.
    size
        (height, width) to bring every picture to. Without it all must have the same size.
    mode
        ``"L"`` (grey) or ``"RGB"``. Without it: grey if every picture is grey, else RGB. Transparency is
        dropped.
    test_fraction
        Share of each class that becomes test images, above 0 and below 1, where there are no train and test
        folders. At least one picture of each class goes to either side.
    seed
        Any integer from 0: decides which pictures become test images.
    mean, std
        As for `everybatch.Dataset`.
    name
        Name of the data set; the folder's own unless given.

    Raises
    ------
    ImportError
        If Pillow is not installed.
    FileNotFoundError, NotADirectoryError
        If `root` is not there or not a folder.
    DataError
        If there are fewer than two classes, a class without pictures, or a test class that is not in
        training.
    FileFormatError
        If a picture cannot be read or has more than 8 bits a channel; the message names it.
    ShapeError
        If pictures differ in size and `size` is not given; the message names two.
    """
    if importlib.util.find_spec("PIL") is None:
        raise ImportError("from_folder needs Pillow to read pictures: pip install pillow")
    if mode not in (None, "L", "RGB"):
        raise ArgumentError(f"mode must be 'L' (grey) or 'RGB', not {mode!r}")
    if size is not None and not (
        isinstance(size, (tuple, list)) and len(size) == 2 and all(isinstance(n, int) and n > 0 for n in size)
    ):
        raise ArgumentError(f"size must be (height, width) in pixels, not {size!r}")
    folder = Path(root).expanduser()
    if not folder.exists():
        raise FileNotFoundError(f"the folder {folder} does not exist")
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file; pass the folder that holds a folder for each class")

    parts = [sub.is_dir() for sub in (folder / "train", folder / "test")]
    if all(parts):
        train, test = _pictures(folder / "train"), _pictures(folder / "test")
        if extra := [name for name in test if name not in train]:
            raise DataError(f"{folder / 'test'} has the classes {', '.join(extra)}, which {folder / 'train'} has not")
    elif any(parts):
        there, absent = ("train", "test") if parts[0] else ("test", "train")
        raise DataError(f"{folder} has a folder {there} but no {absent}; give both, or the class folders directly")
    else:
        train, test = _split(_pictures(folder), test_fraction, seed)

    classes = tuple(train)
    files = [[(p, c) for c, name in enumerate(classes) for p in part.get(name, ())] for part in (train, test)]
    if mode is None:
        mode = "L" if all(_is_grey(p) for part in files for p, _ in part) else "RGB"
    reader = _Reader(mode, size)
    images = [reader.read([path for path, _ in part]) for part in files]
    labels = [np.array([label for _, label in part], np.int64) for part in files]
    return Dataset(
        images[0],
        labels[0],
        images[1],
        labels[1],
        classes=classes,
        mean=mean,
        std=std,
        name=folder.resolve().name if name is None else name,
        source=f"pictures in {folder.resolve()}",
    )


def _pictures(folder: Path) -> Pictures:
    classes = sorted(sub for sub in folder.iterdir() if sub.is_dir() and not sub.name.startswith("."))
    if len(classes) < 2:
        raise DataError(f"{folder} has {len(classes)} class folders; at least two are needed, one for each class")
    found = {
        sub.name: sorted(p for p in sub.iterdir() if p.suffix.lower() in _ENDINGS and not p.name.startswith("."))
        for sub in classes
    }
    for name, files in found.items():
        if not files:
            raise DataError(f"{folder / name} has no pictures ({', '.join(sorted(_ENDINGS))}); add some or remove it")
    return found


def _split(pictures: Pictures, fraction: float, seed: int) -> tuple[Pictures, Pictures]:
    fraction = share(fraction, "test_fraction")
    if not isinstance(seed, int) or seed < 0:
        raise ArgumentError(f"seed must be an integer from 0, not {seed!r}")
    train: Pictures = {}
    test: Pictures = {}
    for index, (name, files) in enumerate(pictures.items()):
        if len(files) < 2:
            raise DataError(f"{files[0].parent} has one picture; a split into training and test needs at least two")
        count = min(max(1, math.floor(len(files) * fraction + 0.5)), len(files) - 1)
        # Raw generator output, because NumPy promises that it stays the same from version to version.
        order = np.argsort(np.random.PCG64((seed, index)).random_raw(len(files)), kind="stable")
        chosen = set(order[:count].tolist())
        test[name] = [path for i, path in enumerate(files) if i in chosen]
        train[name] = [path for i, path in enumerate(files) if i not in chosen]
    return train, test


def _open(path: Path) -> Image.Image:
    from PIL import Image

    try:
        return Image.open(path)
    except Image.DecompressionBombError as error:
        raise FileFormatError(f"{path} is too large a picture ({error})") from error
    except PermissionError:
        raise
    except (OSError, ValueError, SyntaxError) as error:  # Pillow raises all of them on damaged files
        raise FileFormatError(f"{path} cannot be read as a picture ({error})") from error


def _is_grey(path: Path) -> bool:
    with _open(path) as picture:
        return picture.mode in _GREY_MODES


class _Reader:
    """Reads pictures into one array. The first picture of all decides the size, unless it was given."""

    def __init__(self, mode: Literal["L", "RGB"], size: tuple[int, int] | None) -> None:
        self.mode = mode
        self.size = size
        self.first: tuple[Path, tuple[int, int]] | None = None

    def read(self, paths: list[Path]) -> npt.NDArray[np.uint8]:
        first = self.one(paths[0])
        arrays = np.empty((len(paths), *first.shape), np.uint8)
        arrays[0] = first
        for index, path in enumerate(paths[1:], start=1):
            arrays[index] = self.one(path)
        return arrays

    def one(self, path: Path) -> npt.NDArray[np.uint8]:
        with _open(path) as picture:
            if picture.mode in _DEEP_MODES:
                raise FileFormatError(f"{path} has more than 8 bits a channel ({picture.mode}); convert it to 8 bits")
            try:
                picture = picture.convert(self.mode)
            except (OSError, ValueError, SyntaxError) as error:
                raise FileFormatError(f"{path} cannot be read as a picture ({error})") from error
        if self.size is not None:
            from PIL import Image

            picture = picture.resize((self.size[1], self.size[0]), Image.Resampling.BILINEAR)
        shape = (picture.height, picture.width)
        if self.first is None:
            self.first = (path, shape)
        elif shape != self.first[1]:
            other, wanted = self.first
            raise ShapeError(
                f"{path} is {shape[0]}x{shape[1]} (height x width) but {other} is {wanted[0]}x{wanted[1]}; "
                "pass size=(height, width) to bring all pictures to one size"
            )
        return np.asarray(picture)
