"""Pictures and arrays from files, brought to what a network takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from everybatch import _convert
from everybatch.datasets._npy import read_npy
from everybatch.errors import FileFormatError, ShapeError

__all__ = ["read_images"]

Pixels = npt.NDArray[np.uint8]


def read_images(
    paths: Sequence[str], shape: tuple[int, int, int], *, invert: bool
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

    Returns
    -------
    tuple
        Images (N, H, W), or (N, H, W, C) with several channels; the name of each; remarks on what was done.

    Raises
    ------
    FileNotFoundError, PermissionError
        A file is missing or cannot be read.
    FileFormatError
        A file is neither a picture nor an array.
    ShapeError
        An array has another shape than the network takes: unlike pictures, arrays are not resized.
    """
    images: list[Pixels] = []
    names: list[str] = []
    notes: list[str] = []
    for given in paths:
        path = Path(given).expanduser()
        if path.suffix.lower() == ".npy":
            block = _array(path, shape)
            names += [given] if len(block) == 1 else [f"{given}[{number}]" for number in range(len(block))]
        else:
            block = _picture(path, shape, notes)
            names.append(given)
        if invert:
            block = 255 - block
        elif any(_looks_inverted(image) for image in block):
            notes.append(f"{given} looks dark on light; if the network learned light on dark, add --invert")
        images.append(block)
    return np.concatenate(images), names, notes


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


def _picture(path: Path, shape: tuple[int, int, int], notes: list[str]) -> Pixels:
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise ImportError("reading pictures needs Pillow: pip install pillow") from error
    channels, height, width = shape
    if channels not in (1, 3):
        raise ShapeError(f"the network takes {channels} channels; give arrays (.npy) instead of pictures")
    mode = "L" if channels == 1 else "RGB"
    with path.open("rb") as file:
        try:
            picture: Image.Image = Image.open(file)
            before, size = picture.mode, picture.size
            if before == "F" or before.startswith("I"):
                raise ValueError(f"it has more than 8 bits a channel, mode {before}; convert it to 8 bits")
            if "A" in picture.getbands() or "transparency" in picture.info:
                # What is see-through has no colour of its own: white paper behind it.
                layer = picture.convert("RGBA")
                picture = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
            picture = picture.convert(mode)
        except UnidentifiedImageError as error:
            raise FileFormatError(f"{path} is not a picture of a format that Pillow knows") from error
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise FileFormatError(f"{path} cannot be read as a picture ({error})") from error
    done = []
    if before != mode:
        done.append(f"turned from {before} to {'grey' if mode == 'L' else mode}")
    if size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
        done.append(f"resized from {size[1]}x{size[0]} to {height}x{width} (height x width)")
    if done:
        notes.append(f"{path} was {' and '.join(done)}")
    return np.asarray(picture, np.uint8)[None]


def _looks_inverted(image: Pixels) -> bool:
    """Tell whether the outermost pixels are light, as paper is."""
    edge = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    return float(edge.mean()) > 160
