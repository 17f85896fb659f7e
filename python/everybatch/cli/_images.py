"""Pictures and arrays from files, brought to what a network takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from everybatch import _convert, _pictures
from everybatch._disk import at_home
from everybatch._pictures import shown
from everybatch.datasets._folder_read import WHITE
from everybatch.datasets._npy import read_npy
from everybatch.errors import FileFormatError, ShapeError

__all__ = ["read_images"]

Pixels = npt.NDArray[np.uint8]

_SHOWN = 10


def read_images(
    paths: Sequence[str], shape: tuple[int, int, int], *, invert: bool, background: _pictures.Ground
) -> tuple[Pixels, list[str], list[str]]:
    """Read all files.

    Parameters
    ----------
    paths
        Pictures, and arrays (.npy).
    shape
        (channels, height, width) that the network takes.
    invert
        Swap dark and light.
    background
        What see-through pictures are laid on.

    Returns
    -------
    tuple
        Images (N, H, W), or (N, H, W, C) with several channels; the name of each; remarks on what was done.

    Raises
    ------
    FileNotFoundError, PermissionError
        A file is missing or cannot be read.
    FileFormatError
        A file is neither a picture nor an array, or is damaged.
    ShapeError
        An array has another shape than the network takes: unlike pictures, arrays are not resized.
    """
    images: list[Pixels] = []
    names: list[str] = []
    notes: list[str] = []
    failures: list[Exception] = []
    for given in paths:
        path = at_home(given)
        is_array = path.suffix.lower() == ".npy"
        try:
            block = _array(path, shape) if is_array else _picture(path, shape, background, notes)
        except (FileFormatError, OSError) as error:
            failures.append(error)
            continue
        several = is_array and len(block) > 1
        names += [f"{given}[{number}]" for number in range(len(block))] if several else [given]
        if invert:
            block = 255 - block
        elif any(_looks_inverted(image) for image in block):
            notes.append(f"{given} looks dark on light; if the network learned light on dark, add --invert")
        images.append(block)
    if len(failures) == 1:
        raise failures[0]
    if failures:
        more = f"; and {len(failures) - _SHOWN:,} more" if len(failures) > _SHOWN else ""
        told = "; ".join(_sentence(error) for error in failures[:_SHOWN])
        raise FileFormatError(f"{len(failures):,} files cannot be read: {told}{more}")
    return np.concatenate(images), names, notes


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{shown(error.filename)}: {error.strerror}"
    return str(error)


def _array(path: Path, shape: tuple[int, int, int]) -> Pixels:
    array = read_npy(path)
    channels, height, width = shape
    single = (height, width) if channels == 1 else (height, width, channels)
    if array.shape == single:
        array = array[None]
    images = _convert.images(array, str(path))
    if images.shape[1:] != single:
        raise ShapeError(f"{path} has images of {images.shape[1:]}, and the network takes {single}")
    return images


def _picture(path: Path, shape: tuple[int, int, int], background: _pictures.Ground, notes: list[str]) -> Pixels:
    channels, height, width = shape
    if channels not in (1, 3):
        raise ShapeError(f"the network takes {channels} channels; give arrays (.npy) instead of pictures")
    pixels, facts = _pictures.read(path, size=(height, width), channels=channels, background=background)
    done = []
    if facts.turned:
        done.append("turned upright by its EXIF orientation")
    if facts.see_through:
        level = "white" if background == WHITE else background
        done.append(f"laid on a background of {level}, as it is see-through")
    if facts.mode != ("L" if channels == 1 else "RGB"):
        done.append(f"turned from {facts.mode} to {'grey' if channels == 1 else 'RGB'}")
    if facts.size != (height, width):
        done.append(f"resized from {facts.size[0]}x{facts.size[1]} to {height}x{width} (height x width)")
    if facts.frames:
        done.append("read from its first frame")
    if done:
        notes.append(f"{shown(path)} was {' and '.join(done)}")
    notes += [f"{shown(path)}: {complaint}" for complaint in facts.complaints]
    if facts.became_uniform:
        way = "; see --background" if facts.see_through else ""
        notes.append(f"{shown(path)} became one uniform colour{way}")
    return pixels[None]


def _looks_inverted(image: Pixels) -> bool:
    """Tell whether the outermost pixels are light, as paper is."""
    edge = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    return float(edge.mean()) > 160
