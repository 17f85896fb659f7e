"""Many pictures as one array, with an account of what they were and what was done to them."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from everybatch import _pictures
from everybatch._pictures import Facts, Ground, shown
from everybatch.errors import DataWarning, FileFormatError, ShapeError

__all__ = ["PICTURES_IN", "WHITE", "Reader", "background_of", "grey"]

Pixels = npt.NDArray[np.uint8]
Size = tuple[int, int]

WHITE: Ground = (255, 255, 255)
PICTURES_IN = "pictures in "
"""How the `Dataset.source` of a folder of pictures begins."""
_SHOWN = 10
_LOW = 4096  # 16-bit values below this are 12 bits or fewer, nearly black as 16


def grey(paths: Iterable[Path], background: Ground) -> bool:
    """Tell whether all pictures are grey; those that cannot be read are not asked."""

    def one(path: Path) -> bool:
        try:
            return _pictures.is_grey(path, background)
        except (FileFormatError, OSError):  # told by the reader, with all others
            return True

    return all(one(path) for path in paths)


def background_of(source: str) -> Ground | None:
    """Return what a `Dataset.source` says that pictures were laid on; None if it is of no folder of pictures."""
    if not source.startswith(PICTURES_IN):
        return None
    found = re.findall(r"laid on a background of \((\d+), (\d+), (\d+)\)", source)
    if not found:
        return WHITE
    red, green, blue = map(int, found[-1])  # what comes before may be part of the folder's name
    return red, green, blue


class Reader:
    """Reads pictures of one size, or brings them to one, and remembers what has to be told.

    Parameters
    ----------
    channels
        1 or 3.
    size
        (height, width), or None: then all must have the same.
    background
        What see-through pictures are laid on.
    """

    def __init__(self, channels: int, size: Size | None, background: Ground) -> None:
        self.channels, self.size, self.background = channels, size, background
        self.count = 0
        self.bad: list[str] = []
        self.sizes: Counter[Size] = Counter()
        self.first_of: dict[Size, Path] = {}
        self.coloured = self.turned = self.see_through = self.frames = self.deep = 0
        self.deepest = 0
        self.uniform: list[tuple[Path, Facts]] = []
        self.complaints: list[str] = []

    def read(self, paths: list[Path]) -> Pixels:
        """Read all; those that cannot be read stay empty, and `check` raises for them."""
        images: Pixels | None = None
        for index, path in enumerate(paths):
            try:
                pixels, facts = _pictures.read(path, size=self.size, channels=self.channels, background=self.background)
            except PermissionError:
                raise
            except FileFormatError as error:
                self.bad.append(str(error))
                continue
            except OSError as error:
                self.bad.append(f"{shown(path)} cannot be read as a picture ({error.strerror or error})")
                continue
            self._remember(path, facts)
            if images is None:
                images = np.empty((len(paths), *pixels.shape), np.uint8)
            if images.shape[1:] == pixels.shape:
                images[index] = pixels
        return np.empty((0, 1, 1), np.uint8) if images is None else images

    def _remember(self, path: Path, facts: Facts) -> None:
        self.count += 1
        self.sizes[facts.size] += 1
        self.first_of.setdefault(facts.size, path)
        self.coloured += not facts.grey
        self.turned += facts.turned
        self.see_through += facts.see_through
        self.frames += facts.frames
        if facts.deepest is not None:
            self.deep += 1
            self.deepest = max(self.deepest, facts.deepest)
        if facts.became_uniform:
            self.uniform.append((path, facts))
        self.complaints += [f"{shown(path)} ({text})" for text in facts.complaints]

    def check(self) -> None:
        """Raise for all that is wrong, and warn of what may be.

        Raises
        ------
        FileFormatError
            Pictures cannot be read; the message names them.
        ShapeError
            They differ in size, and none was given; the message names two.
        """
        if len(self.bad) == 1:
            raise FileFormatError(self.bad[0])
        if self.bad:
            raise FileFormatError(f"{len(self.bad):,} pictures cannot be read: {_listed(self.bad, '; ')}")
        if self.size is None and len(self.sizes) > 1:
            (wanted, first), (other, path) = list(self.first_of.items())[:2]
            counts = ", ".join(f"{count:,} of {_by(size)}" for size, count in self.sizes.most_common(_SHOWN))
            raise ShapeError(
                f"{shown(path)} is {_by(other)} (height x width) but {shown(first)} is {_by(wanted)}; "
                f"pass size=(height, width) to bring all pictures to one size (there are {counts}"
                f"{' and others' if len(self.sizes) > _SHOWN else ''})"
            )
        for text in self._doubts():
            warnings.warn(text, DataWarning, stacklevel=4)

    def _doubts(self) -> list[str]:
        told = []
        if self.complaints:
            told.append(
                f"Pillow has doubts about pictures ({len(self.complaints):,} in all): {_listed(self.complaints, ', ')}"
            )
        if self.deep and self.deepest < _LOW:
            told.append(
                f"pictures of 16 bits a channel ({self.deep:,} of {self.count:,}) hold nothing above {self.deepest:,}, "
                "so that they are black or nearly so: if fewer bits are meant, save them with 8"
            )
        if self.uniform:
            path, facts = self.uniform[0]
            why = "as they were read"
            if facts.see_through:
                level = self.background[0] if len(set(self.background)) == 1 else self.background
                why = f"laid on a background of {level}: choose another one if that hides what they show"
            told.append(
                f"of {self.count:,} pictures {len(self.uniform):,} became one uniform colour, "
                f"such as {shown(path)}, {why}"
            )
        return told

    def account(self) -> list[str]:
        """Return what was done to the pictures, in parts of a sentence."""
        told = []
        if self.size is not None and (count := sum(n for size, n in self.sizes.items() if size != self.size)):
            others = sorted(size for size in self.sizes if size != self.size)
            origin = f"from {_by(others[0])}"
            if len(others) > 1:
                origin = f"from {len(others):,} sizes, {_by(others[0])} to {_by(others[-1])}"
            told.append(f"{count:,} resized {origin} to {_by(self.size)} (height x width)")
        told += [
            f"{count:,} {what}"
            for count, what in (
                (self.coloured if self.channels == 1 else 0, "turned from colour to grey"),
                (self.count - self.coloured if self.channels == 3 else 0, "turned from grey to colour"),
                (self.turned, "turned upright by their EXIF orientation"),
                (self.deep, "brought from 16 bits to 8"),
                (self.frames, "with several frames, of which the first was read"),
            )
            if count
        ]
        if self.see_through or self.background != WHITE:
            ground = "white" if self.background == WHITE else str(self.background)
            told.append(f"{self.see_through:,} see-through ones laid on a background of {ground}")
        return told


def _by(size: Size) -> str:
    return f"{size[0]}x{size[1]}"


def _listed(texts: list[str], between: str) -> str:
    more = f"{between}and {len(texts) - _SHOWN:,} more" if len(texts) > _SHOWN else ""
    return between.join(texts[:_SHOWN]) + more
