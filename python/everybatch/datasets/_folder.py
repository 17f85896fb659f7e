"""A data set from folders of pictures, one folder for each class."""

from __future__ import annotations

import hashlib
import importlib.util
import math
import os
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from everybatch import _pictures
from everybatch._arguments import real, whole
from everybatch._disk import at_home
from everybatch._pictures import shown
from everybatch.dataset import Dataset
from everybatch.datasets._folder_layout import Pictures, find, is_flat, shuffled
from everybatch.datasets._folder_read import PICTURES_IN, Reader, grey
from everybatch.errors import ArgumentError, DataError, DataWarning

__all__ = ["Split", "from_folder", "is_flat", "read_folder", "split_of"]


def from_folder(
    root: str | os.PathLike[str],
    *,
    size: tuple[int, int] | None = None,
    mode: Literal["L", "RGB"] | None = None,
    background: int | Sequence[int] = 255,
    test_fraction: float = 0.2,
    seed: int = 0,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    name: str | None = None,
) -> Dataset:
    """Read pictures from a folder for each class.

    Either ``root/train/<class>/*.png`` and ``root/test/<class>/*.png``, or ``root/<class>/*.png``, which is
    then split. Instead of ``train`` there may be ``training``, instead of ``test`` also ``testing``, in capital
    or small letters; ``val``, ``valid`` or ``validation`` holds the test images where there is no ``test``, and
    is not used where there is. Classes are numbered in the order of their names, as numbers if all names are
    digits (2 before 10), else as text (``10`` before ``2``). Needs Pillow (``pip install pillow``).

    Files are pictures by their ending (what Pillow reads: PNG, JPEG, GIF, WebP, TIFF, BMP, PNM, AVIF, JPEG
    2000, ...). A `DataWarning` counts all others, and pictures that are in no class folder or in a folder within one;
    hidden files and what systems leave behind (``Thumbs.db``, ``__MACOSX``, ``$RECYCLE.BIN``, ...) are passed
    over without a word.

    Pictures are read as a person sees them: upright, as the EXIF orientation says, and what is see-through
    (RGBA, LA, palettes and colours that are transparent) laid on `background`. Of 16 bits a channel the upper 8 are
    kept. Of several frames the first is read. `Dataset.source` says how many pictures were changed, and how.

    Parameters
    ----------
    root
        The folder.
    size
        (height, width) to bring every picture to. Without it all must have the same size.
    mode
        ``"L"`` (grey) or ``"RGB"``. Without it: grey if every picture is grey, else RGB.
    background
        What see-through pictures are laid on: a grey level or (red, green, blue), 0 to 255. White unless given. A
        warning tells if pictures become uniform by it, as white ink on a transparent ground does.
    test_fraction
        Share of each class that becomes test images, above 0 and below 1, where there are no train and test
        folders. At least one picture of each class goes to either side.
    seed
        Any integer from 0: decides, with the name of each file, which pictures become test images. With files
        more or less the others stay where they are, but for those that keep up the share.
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
        If there are fewer than two classes, a class without pictures, a test class that is not in training, or a
        class whose name is not text in UTF-8.
    FileFormatError
        If pictures cannot be read, have more than 16 bits a channel, or are no files but pipes or devices; the
        message names them.
    ShapeError
        If pictures differ in size and `size` is not given; the message names two.

    Warns
    -----
    DataWarning
        If something was passed over, Pillow has doubts about a file, 16-bit pictures are nearly black, or pictures
        became uniform.
    """
    fraction = real(test_fraction, "test_fraction")
    if not 0 < fraction < 1:
        raise ArgumentError(f"test_fraction must be above 0 and below 1, not {fraction:g}")
    split = Split(fraction, whole(seed, "seed", least=0))
    return read_folder(root, size=size, mode=mode, background=background, split=split, mean=mean, std=std, name=name)


def read_folder(
    root: str | os.PathLike[str],
    *,
    size: tuple[int, int] | None,
    mode: Literal["L", "RGB"] | None,
    background: int | Sequence[int],
    split: Split | None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    name: str | None = None,
) -> Dataset:
    """Do the work of `from_folder`.

    Without `split`, to measure a model, every picture of a folder without a test folder is a test image; the training
    images are then the same ones, since a data set has some.
    """
    if importlib.util.find_spec("PIL") is None:
        raise ImportError("from_folder needs Pillow to read pictures: pip install pillow")
    if mode not in (None, "L", "RGB"):
        raise ArgumentError(f"mode must be 'L' (grey) or 'RGB', not {mode!r}")
    size = None if size is None else _pictures.whole_size(size)
    behind = _pictures.ground(background)
    folder = at_home(root)
    if not folder.exists():
        raise FileNotFoundError(f"the folder {shown(folder)} does not exist")
    if not folder.is_dir():
        raise NotADirectoryError(f"{shown(folder)} is a file; pass the folder that holds a folder for each class")

    layout = find(folder)
    if layout.test is not None:
        train, test, told = layout.train, layout.test, layout.told
    elif split is None:
        train, test = {}, layout.train
        told = f"all {_count(test):,} are test images"
    else:
        train, test = split.divide(layout.train)
        told = f"{_count(test):,} of {_count(layout.train):,} are test images {split.told(split.mark(train, test))}"
    classes = tuple(layout.train)
    parts = [[(path, number) for number, c in enumerate(classes) for path in part.get(c, ())] for part in (train, test)]
    files = [[path for path, _ in part] for part in parts]
    if mode is None:
        mode = "L" if grey([path for part in files for path in part], behind) else "RGB"
    reader = Reader(1 if mode == "L" else 3, size, behind)
    images = [reader.read(part) for part in files if part]
    reader.check()
    for text in layout.doubts:
        warnings.warn(text, DataWarning, stacklevel=3)
    labels = [np.array([label for _, label in part], np.int64) for part in parts if part]
    return Dataset(
        images[0],
        labels[0],
        images[-1],
        labels[-1],
        classes=classes,
        mean=mean,
        std=std,
        name=shown(folder.resolve().name) if name is None else name,
        source="; ".join([_source(folder), told, *reader.account()]),
    )


class Split:
    """How the pictures of each class are divided into training and test images."""

    def __init__(self, fraction: float = 0.2, seed: int = 0) -> None:
        self.fraction, self.seed = fraction, seed

    def divide(self, pictures: Pictures) -> tuple[Pictures, Pictures]:
        """Return training and test pictures."""
        train: Pictures = {}
        test: Pictures = {}
        for name, files in pictures.items():
            if len(files) < 2:
                raise DataError(
                    f"{shown(files[0].parent)} has one picture; a split into training and test needs at least two"
                )
            count = min(max(1, math.floor(len(files) * self.fraction + 0.5)), len(files) - 1)
            chosen = set(shuffled(name, files, self.seed)[:count])
            test[name] = [path for path in files if path in chosen]
            train[name] = [path for path in files if path not in chosen]
        return train, test

    def mark(self, train: Pictures, test: Pictures) -> str:
        """Return a mark that tells this split of these files, by names and lengths, from others."""
        digest = hashlib.sha256()
        for part in (train, test):
            for name, files in part.items():
                for path in files:
                    length = path.stat().st_size if path.exists() else -1
                    text = f"{name}/{path.name} {length}\n"
                    digest.update(text.encode("utf-8", "surrogatepass"))
            digest.update(b"\n")
        return digest.hexdigest()[:12]

    def told(self, mark: str) -> str:
        return f"(test_fraction={self.fraction!r}, seed={self.seed}, split {mark})"


def split_of(source: str, root: Path) -> tuple[Split | None, bool]:
    """Tell what the `Dataset.source` of a run says about a folder without train and test folders.

    Returns
    -------
    tuple
        The split, if the run was trained on such a folder and the same files are here; whether the run was trained
        on `root`, be they the same or not.
    """
    found = re.search(r"\(test_fraction=([0-9.e+-]+), seed=([0-9]+), split ([0-9a-f]{12})\)", source)
    here = source.startswith(f"{_source(root)};")
    if found is None:
        return None, here
    split = Split(float(found[1]), int(found[2]))
    try:
        same = split.mark(*split.divide(find(root).train)) == found[3]
    except DataError:  # told when it is read
        same = False
    return (split if same else None), here


def _source(folder: Path) -> str:
    return f"{PICTURES_IN}{shown(folder.resolve())}"


def _count(pictures: Pictures) -> int:
    return sum(map(len, pictures.values()))
