"""The shape of the images that a module is made for, where its layers tell."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

from torch import nn

from everybatch._convert import CHANNELS
from everybatch.errors import ArgumentError, ShapeError
from everybatch.torch_modules._trace import trace

__all__ = ["as_input_shape", "inferred", "with_channels"]

Shape = tuple[int, int, int]

_USUAL = (28, 32, 64, 96, 128, 224)
"""The sides of images that networks are made for: of several that fit, one of these is meant, if it is the only one."""

_MOST = 100
_CHANNELS = (1, 3)


def as_input_shape(given: Any) -> Shape:
    """Return (channels, height, width).

    Raises
    ------
    TypeError, ArgumentError
        It is something else.
    """
    try:
        numbers = [operator.index(number) for number in given]
    except TypeError:
        raise TypeError(f"input_shape must be (channels, height, width), not {given!r}") from None
    if len(numbers) != 3 or min(numbers) < 1:
        hint = ": leave the number of images out" if len(numbers) == 4 else ""
        raise ArgumentError(f"input_shape must be (channels, height, width), all above 0, not {given!r}{hint}")
    channels, height, width = numbers
    return channels, height, width


def with_channels(shape: Shape) -> Shape:
    """Return a shape if images can have it.

    Raises
    ------
    ShapeError
        No image has so many channels.
    """
    if shape[0] not in CHANNELS:
        raise ShapeError(
            f"from_torch: images of {shape[0]} channels, input_shape={shape}, cannot be given to a model: it takes "
            "1 (grey), 3 (colour) or 4 channels"
        )
    return shape


def inferred(module: nn.Module) -> Shape:
    """Return the one shape of square images that the module can take, or the only usual one among several.

    Raises
    ------
    ArgumentError
        Several fit, or none.
    UnsupportedModuleError
        It computes something that no layer does.
    """
    candidates = _channels(module)
    fitting = [
        (channels, side, side) for channels in candidates for side in _USUAL if _fits(module, (channels, side, side))
    ]
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        sides = range(1, _MOST + 1)
        fitting = [
            (channels, side, side) for channels in candidates for side in sides if _fits(module, (channels, side, side))
        ]
        if len(fitting) == 1:
            return fitting[0]
    if not fitting:
        trace(
            module, (candidates[0], _USUAL[0], _USUAL[0]), 2, training=False, frozen_is_fine=True
        )  # says what does not fit
    listed = ", ".join(map(str, fitting[:4])) + (" and others" if len(fitting) > 4 else "")
    raise ArgumentError(
        f"from_torch: the module takes images of more than one shape, {listed}: give input_shape=(channels, height, "
        "width)"
    )


def _fits(module: nn.Module, shape: Shape) -> bool:
    try:
        trace(module, shape, 2, training=False, frozen_is_fine=True)
    except ShapeError:
        return False
    return True


def _channels(module: nn.Module) -> Sequence[int]:
    """Return how many channels the images may have, by the first layer."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            return [part.in_channels]
        if isinstance(part, nn.Linear):
            return [c for c in _CHANNELS if part.in_features % c == 0 and _is_square(part.in_features // c)] or [1]
    return _CHANNELS


def _is_square(number: int) -> bool:
    return math.isqrt(number) ** 2 == number
