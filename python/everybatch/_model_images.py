"""What a model is given to look at, in one form: arrays of one picture or many, pictures of Pillow, files."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from everybatch import _convert
from everybatch.errors import ArgumentError, ShapeError

if TYPE_CHECKING:
    from everybatch._core import Network

__all__ = ["images_for"]

WHITE = (255, 255, 255)


def images_for(
    given: object,
    network: Network,
    background: int | Sequence[int] | None = None,
    own: tuple[int, int, int] | None = None,
) -> npt.NDArray[np.uint8]:
    """Bring images into one form, and refuse those of another shape than the network takes.

    Parameters
    ----------
    given
        A path, a Pillow picture, a list of them: each is brought to the network's size and to grey or RGB. Or arrays
        as `Dataset` takes them, of one picture or many, which must have the network's shape; where an array could be
        read in several ways, the one that the network takes is meant.
    network
        Whose `input_shape` decides.
    background
        What see-through pictures are laid on, as `read_picture` takes it.
    own
        The model's own background, which holds unless `background` is given; white if there is none either.

    Returns
    -------
    uint8 (N, H, W), or (N, H, W, C) with several channels
        A single picture is N = 1.

    Raises
    ------
    ShapeError
        The images have another shape, or one that can be read in two ways.
    """
    if hasattr(given, "test_images"):
        raise TypeError("images is a data set: give its images, such as data.test_images")
    pictures = _pictures(given)
    if pictures is None and background is not None:
        raise ArgumentError("background is for pictures that are see-through, and the images are arrays: leave it out")
    if pictures is not None:
        levels = (own or WHITE) if background is None else background
        return _read(pictures, network, levels)
    shape = _shape(given)
    if shape is not None and len(shape) == 3 and shape[2] in (3, 4) and shape[1:] != network.input_shape[1:]:
        height, width, depth = shape  # nothing else looks like that
        network.check_images((depth, height, width), f"images of shape {shape} are one picture of")
    images = _array(given, network)
    count, height, width, *channels = images.shape
    read_as = "the images have shape" if shape is None else f"images of shape {shape} are {_many(count)} of"
    network.check_images((channels[0] if channels else 1, height, width), read_as)
    return images


def _array(given: object, network: Network) -> npt.NDArray[np.uint8]:
    """Return the pixels of arrays, in the one way to read them that fits the network, if there is one."""
    channels, height, width = network.input_shape
    last, first = (height, width, channels), (channels, height, width)
    shape = _shape(given)
    if shape == (height, width) and channels == 1:
        return _convert.images(_as_array(given)[None], "images")
    if shape is not None and len(shape) == 2 and channels > 1:
        raise ShapeError(
            f"images of shape {shape} are a grey picture or flat rows, and network {network.name!r} takes "
            f"{network.input_shape} (channels, height, width)"
        )
    if shape == first == last and channels > 1:
        raise ShapeError(
            f"images of shape {shape} are one picture, with its channels first or last: pass it as "
            "(1, height, width, channels)"
        )
    if shape == last and shape[1:] != (height, width):
        return _convert.images(_as_array(given)[None], "images")
    if shape == first and channels > 1:  # with one channel it is a batch of one
        return _convert.images(_channels_last(_as_array(given)[None]), "images")
    if shape is not None and len(shape) == 4 and shape[1:] == first != last:
        return _convert.images(_channels_last(_as_array(given)), "images")
    return _convert.images(given, "images")


def _pictures(given: object) -> list[Any] | None:
    """Return what is to be read as pictures: paths, encoded bytes and Pillow's own; None for arrays."""
    if _is_picture(given):
        return [given]
    if isinstance(given, np.ndarray) and given.ndim == 1 and given.dtype.kind in "UO":
        given = given.tolist()
    if not isinstance(given, (list, tuple)) or not any(_is_picture(each) for each in given):
        return None
    for place, each in enumerate(given):
        if not _is_picture(each):
            raise TypeError(f"images[{place}] is a {type(each).__name__} among pictures: give pictures or arrays")
    return list(given)


def _is_picture(given: object) -> bool:
    if isinstance(given, (str, bytes, os.PathLike)):
        return True
    pillow = sys.modules.get("PIL.Image")  # without Pillow nothing is a picture of it
    return pillow is not None and isinstance(given, pillow.Image)


def _read(pictures: Sequence[Any], network: Network, background: int | Sequence[int]) -> npt.NDArray[np.uint8]:
    from everybatch._pictures import read_picture

    channels, height, width = network.input_shape
    if channels not in (1, 3):
        raise ShapeError(
            f"network {network.name!r} takes images of {channels} channels, and pictures have 1 or 3: give arrays"
        )
    size = (height, width)
    return np.stack(
        [read_picture(picture, size=size, channels=channels, background=background) for picture in pictures]
    )


def _shape(given: Any) -> tuple[int, ...] | None:
    try:
        return tuple(int(size) for size in np.shape(given))
    except (ValueError, TypeError):  # lists of unequal lengths: what is wrong with them is said later
        return None


def _as_array(given: object) -> Any:
    return given if isinstance(given, (np.ndarray, torch.Tensor)) else np.asarray(given)


def _channels_last(array: Any) -> Any:
    """(N, C, H, W) to (N, H, W, C)."""
    return array.permute(0, 2, 3, 1) if isinstance(array, torch.Tensor) else np.transpose(array, (0, 2, 3, 1))


def _many(count: int) -> str:
    return "one picture" if count == 1 else f"{count:,} pictures"
