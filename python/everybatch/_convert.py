"""Images and labels from whatever a user holds (NumPy arrays, torch tensors, nested lists), in one form.

`Dataset` and everything that takes images (`Model.predict`, `Model.evaluate`) convert and check them here.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from everybatch.errors import DataError, ShapeError

__all__ = ["CHANNELS", "MOST_CLASSES", "images", "labels"]

CHANNELS = (1, 3, 4)
MOST_CLASSES = 10_000  # a confusion matrix of so many takes 800 MB; the core has the same limit
BLOCK = 4096  # images looked at together, so that checks and conversions need little extra memory


def _numbers(given: object, what: str) -> npt.NDArray[Any]:
    """Turn arrays, tensors and nested lists into a NumPy array of numbers, without a copy where possible."""
    if isinstance(given, torch.Tensor):
        if given.layout != torch.strided:
            raise TypeError(f"{what} is a sparse tensor; pass {what}.to_dense()")
        given = given.detach().cpu()
        if given.dtype == torch.bfloat16:  # NumPy has no such type
            given = given.float()
        given = given.numpy()
    elif hasattr(given, "toarray") and hasattr(given, "nnz"):
        raise TypeError(f"{what} is a sparse {type(given).__name__}; pass {what}.toarray(), in the images' shape")
    try:
        array = np.asarray(given)
    except ValueError as error:  # NumPy says "inhomogeneous shape" and little else
        raise ShapeError(f"{what} is not a regular array ({error}); give every image the same size") from error
    if array.dtype.kind not in "buif":
        hint = "pass an array of integers or floats"
        if what.endswith("labels"):
            hint = "turn names into numbers with classes, labels = np.unique(names, return_inverse=True)"
        elif array.dtype.kind == "O" and array.ndim > 0:
            hint = "often images of unequal size, or None among them; bring them to one size and np.stack them"
        raise TypeError(f"{what} has dtype {array.dtype}, which does not hold plain numbers; {hint}")
    return array


def images(given: object, what: str) -> npt.NDArray[np.uint8]:
    """Check images; return uint8 ``(N, H, W)``, or ``(N, H, W, C)`` with 3 or 4 channels, C-contiguous."""
    array = _numbers(given, what)
    if array.size == 0:
        raise DataError(f"{what} is empty (shape {array.shape}); at least one image is needed")
    accepted = "expected (N, H, W), (N, H, W, C) or (N, C, H, W) with C = 1, 3 or 4"
    if array.ndim == 4:
        if array.shape[3] not in CHANNELS:
            if array.shape[1] not in CHANNELS:
                raise ShapeError(f"{what} has shape {array.shape}, which has no axis of 1, 3 or 4 channels; {accepted}")
            array = array.transpose(0, 2, 3, 1)
        if array.shape[3] == 1:
            array = array[..., 0]
    elif array.ndim != 3:
        hint = ""
        if array.ndim == 2 and (side := math.isqrt(array.shape[1])) ** 2 == array.shape[1] > 1:
            hint = f"; if the images are flattened, pass {what}.reshape(-1, {side}, {side})"
        raise ShapeError(f"{what} has shape {array.shape}; {accepted}{hint}")
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    pixels = np.empty(array.shape, np.uint8)
    if array.dtype.kind == "f":
        _check_floats(array, what)
    for start in range(0, len(array), BLOCK):
        block = array[start : start + BLOCK]
        if array.dtype.kind == "b":
            pixels[start : start + BLOCK] = block * np.uint8(255)
        elif array.dtype.kind == "f":
            pixels[start : start + BLOCK] = np.rint(block * 255)
        else:
            wrong = (block < 0) | (block > 255)
            if wrong.any():
                at = tuple(int(i) for i in np.argwhere(wrong)[0])
                raise DataError(
                    f"{what} has a pixel of {block[at]} at index {(at[0] + start, *at[1:])}; "
                    "integer pixels must be from 0 to 255"
                )
            pixels[start : start + BLOCK] = block
    return pixels


def _check_floats(array: npt.NDArray[Any], what: str) -> None:
    """Refuse pixels that are NaN or infinite (how many, and the first), then pixels outside [0, 1]."""
    broken, low, high = 0, math.inf, -math.inf
    first: tuple[int, ...] = ()
    for start in range(0, len(array), BLOCK):
        block = array[start : start + BLOCK]
        finite = np.isfinite(block)
        if not finite.all():
            if not broken:
                at = tuple(int(i) for i in np.argwhere(~finite)[0])
                first = (at[0] + start, *at[1:])
            broken += int(block.size - np.count_nonzero(finite))
        elif not broken:
            low, high = min(low, float(block.min())), max(high, float(block.max()))
    if broken:
        raise DataError(
            f"{what} has {broken:,} NaN or infinite pixels, the first at index {first}; repair or drop them"
        )
    if low < 0 or high > 1:
        looks = (
            "they look like pixels from 0 to 255 kept as floats: pass them as integers, .astype('uint8')"
            if low >= 0 and 1 < high <= 255
            else "they look already normalised: pass the raw pixels; the data set normalises them itself"
        )
        raise DataError(f"{what} has float pixels from {low:g} to {high:g}, outside [0, 1]; {looks}")


def labels(given: object, what: str) -> npt.NDArray[np.int64]:
    """Check that labels are whole numbers, one for each image, and return them as int64 ``(N,)``."""
    array = _numbers(given, what)
    if array.size == 0:
        raise DataError(f"{what} is empty (shape {array.shape}); at least one label is needed")
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim == 2 and (np.count_nonzero(array, axis=1) == 1).all() and (array.max(axis=1) == 1).all():
        raise DataError(f"{what} of shape {array.shape} is one-hot; pass class numbers: {what}.argmax(axis=1)")
    if array.ndim != 1:
        raise ShapeError(f"{what} has shape {array.shape}; expected (N,), one class number for each image")
    wrong = array < 0
    if array.dtype.kind == "f":
        wrong |= ~np.isfinite(array) | (array != np.rint(array))
    if wrong.any():
        at = int(np.argmax(wrong))
        raise DataError(f"{what}[{at}] is {array[at]}; labels must be whole numbers from 0")
    if array.max() >= MOST_CLASSES:  # before the cast, which could overflow
        at = int(np.argmax(array >= MOST_CLASSES))
        raise DataError(
            f"{what}[{at}] is {array[at]}, but there can be at most {MOST_CLASSES:,} classes, "
            f"so labels go from 0 to {MOST_CLASSES - 1:,}"
        )
    return np.ascontiguousarray(array, np.int64)
