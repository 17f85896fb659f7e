"""Images and labels from whatever a user holds (NumPy arrays, torch tensors, nested lists), in one form.

`Dataset` and everything that takes images (`Model.predict`, `Model.evaluate`) convert and check them here.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from everybatch import _class_names
from everybatch.errors import DataError, ShapeError

__all__ = [
    "CHANNELS",
    "MOST_CLASSES",
    "as_array",
    "brightest_float",
    "check_not_black",
    "images",
    "labels",
    "labels_or_names",
    "refuse_unclear",
]

CHANNELS = (1, 3, 4)
MOST_CLASSES = 10_000  # a confusion matrix of so many takes 800 MB; the core has the same limit
_PICTURE_MODES = ("1", "L", "RGB", "RGBA")
BLOCK = 4096  # images looked at together, so that checks and conversions need little extra memory


def images(given: object, what: str, scale: float | None = None, *, own: bool = False) -> npt.NDArray[np.uint8]:
    """Check images; return uint8 ``(N, H, W)``, or ``(N, H, W, C)`` with 3 or 4 channels, C-contiguous.

    Pixels from 0 to `scale` are spread over 0 to 255; without it their type tells: integers are 0 to 255, floats 0 to
    1, booleans black and white. What is uint8 and C-contiguous is not copied, unless it is to be the caller's `own` and
    somebody else could write to it.
    """
    hint = "often images of unequal size, or None among them; bring them to one size and np.stack them"
    array = as_array(given, what)
    array = _numbers(array, what, hint if array.dtype.kind == "O" and array.ndim else "")
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
        raise ShapeError(f"{what} has shape {array.shape}; {accepted}{_flat_hint(array, given, what)}")
    if array.dtype == np.uint8 and scale in (None, 255):
        return array.copy() if own and _can_change(array) else np.ascontiguousarray(array)
    if scale is None:
        scale = 255 if array.dtype.kind in "iu" else 1
        _check_pixels(array, given, what)
    elif array.dtype.kind == "b" and scale != 1:
        raise DataError(f"{what} holds booleans, which are black and white: leave scale={scale:g} away")
    else:
        _check_scaled(array, what, scale)
    pixels = np.empty(array.shape, np.uint8)
    for start in range(0, len(array), BLOCK):
        block = array[start : start + BLOCK]
        if array.dtype.kind == "f" and array.dtype.itemsize < 4:
            block = block.astype(np.float32)  # or the product would be rounded before it becomes a whole number
        if array.dtype.kind == "b":
            pixels[start : start + BLOCK] = block * np.uint8(255)
        elif scale == 255:
            pixels[start : start + BLOCK] = np.rint(block) if array.dtype.kind == "f" else block
        elif scale == 1 and array.dtype.kind == "f":
            pixels[start : start + BLOCK] = np.rint(block * 255)
        else:
            pixels[start : start + BLOCK] = np.rint(block.astype(np.float64) * 255 / scale)
    return pixels


def labels(given: object, what: str) -> npt.NDArray[np.int64]:
    """Check that labels are whole numbers, one for each image, and return them as int64 ``(N,)``."""
    found = labels_or_names(given, what)
    if found.dtype != object:
        return found
    raise TypeError(
        f"{what} holds text; pass class numbers: with classes the list of names that the model was trained on, "
        f"[classes.index(name) for name in {_expression(given, what)}]"
    )


def labels_or_names(given: object, what: str) -> npt.NDArray[Any]:
    """Check labels; return class numbers as int64 ``(N,)``, or an object array ``(N,)`` of str if they are text.

    It is always another array than the given one, whose owner may change it.
    """
    array = as_array(given, what)
    if array.size == 0:
        raise DataError(f"{what} is empty (shape {array.shape}); at least one label is needed")
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.dtype.kind in "SUTO" and array.ndim == 1:
        if isinstance(given, (list, tuple)):  # NumPy makes text of the numbers among names
            array = np.fromiter((entry[0] if _is_row(entry) else entry for entry in given), object, len(given))
        names = _class_names.text(array, what)
        if names is not None:
            return names
        if all(isinstance(v, numbers.Integral) and abs(int(v)) < 2**63 for v in array):  # as pandas keeps Int64
            array = array.astype(np.int64)
    array = _numbers(array, what, "pass whole numbers, or names as text")
    name = _expression(given, what)
    if array.ndim == 2 and (np.count_nonzero(array, axis=1) == 1).all() and (array.max(axis=1) == 1).all():
        raise DataError(f"{what} of shape {array.shape} is one-hot; pass class numbers: {name}.argmax(axis=1)")
    if array.ndim != 1:
        hint = ""
        if array.ndim == 2 and array.shape[0] == 1:
            hint = f"; if it is one row of them, pass {name}.reshape(-1)"
        elif array.ndim == 2:
            which = " (QMNIST's class is column 0)" if array.shape[1] == 8 else ""
            hint = f"; if one column is the class, pass it alone, such as {name}[:, 0]{which}"
        raise ShapeError(f"{what} has shape {array.shape}; expected (N,), one class number for each image{hint}")
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
    return array.astype(np.int64, order="C")


def _can_change(array: npt.NDArray[Any]) -> bool:
    """Tell whether the memory of an array can be written to, by way of it or of what it is a view of."""
    part: Any = array
    while isinstance(part, np.ndarray) and not part.flags.writeable:
        part = part.base
    return isinstance(part, (np.ndarray, torch.Tensor))


def as_array(given: object, what: str) -> npt.NDArray[Any]:
    """Turn arrays, tensors and nested lists into a NumPy array, without a copy where possible."""
    refuse_unclear(given, what)
    if isinstance(given, torch.Tensor):
        if given.is_nested:
            raise TypeError(f"{what} is a nested tensor; bring all images to one size and torch.stack them")
        if given.is_meta:
            raise TypeError(f"{what} is a tensor on the device 'meta', which has a shape and no values")
        if given.layout != torch.strided:
            raise TypeError(f"{what} is a sparse tensor; pass {what}.to_dense()")
        given = given.detach().cpu().resolve_conj().resolve_neg()
        if given.is_quantized:
            raise TypeError(f"{what} is a quantized tensor; pass {what}.dequantize()")
        if given.dtype.is_floating_point and given.element_size() <= 2:  # NumPy has not all of these types
            given = given.float()
        given = given.numpy()
    elif hasattr(given, "toarray") and hasattr(given, "nnz"):
        raise TypeError(f"{what} is a sparse {type(given).__name__}; pass {what}.toarray(), in the images' shape")
    elif isinstance(given, (list, tuple)):  # NumPy would ask each tensor for an array, which not all of them can give
        given = [as_array(part, what) if isinstance(part, torch.Tensor) else part for part in given]
    try:
        return np.asarray(given)
    except ValueError as error:  # NumPy says "inhomogeneous shape" and little else
        raise ShapeError(f"{what} is not a regular array ({error}); give every image the same size") from error


def refuse_unclear(given: object, what: str) -> None:
    """Refuse, in lists too, what NumPy would take for something else.

    It would show what lies beneath a mask, and take the palette's indices, or cyan and magenta, for grey or red.
    """
    if isinstance(given, (list, tuple)):
        # Among plain numbers there can only be numpy.ma.masked itself, which becomes NaN and is refused as that.
        for part in () if given and isinstance(given[0], (int, float, str, bytes)) else given:
            refuse_unclear(part, what)
    mode = getattr(given, "mode", None) if hasattr(given, "getbands") else None  # of a picture of Pillow
    if mode is not None and mode not in _PICTURE_MODES:
        raise DataError(
            f"{what} has a picture of mode {mode}; bring all to grey or RGB first, with picture.convert('L') or "
            "picture.convert('RGB')"
        )
    if isinstance(given, np.ma.MaskedArray):
        count, size = int(np.ma.getmaskarray(given).sum()), given.size
    elif given is np.ma.masked:
        count, size = 1, 1
    elif isinstance(given, torch.Tensor) and torch.masked.is_masked_tensor(given):
        mask = given.get_mask()  # type: ignore[no-untyped-call]
        count, size = int((~mask).sum()), mask.numel()
        if not count:
            raise TypeError(f"{what} is a masked tensor in which nothing is masked; pass {what}.get_data()")
    else:
        return
    if count:
        raise DataError(
            f"{what} has {count:,} masked of {size:,} entries, which have no value: leave those images and their "
            "labels out"
        )


def brightest_float(given: object) -> float:
    """Return the highest of float pixels; 0 for pixels that are no floats."""
    array = as_array(given, "images")
    return float(array.max()) if array.dtype.kind == "f" else 0.0


def check_not_black(
    pixels: npt.NDArray[np.uint8], scale: float | None, word: str, brightest: Callable[[], float]
) -> None:
    """Notice floats in [0, 1] that are given with scale=255, and those that were divided by 255 twice.

    Parameters
    ----------
    pixels
        What the images have become.
    scale
        With which value as full white.
    word
        Which images they are: training or test.
    brightest
        Returns `brightest_float` of what was given; it is called where the pixels are black or nearly so.
    """
    high = int(np.max(pixels))
    if scale is not None and 0 < high < 2:
        raise DataError(f"with scale={scale:g} all {word} pixels become 0 or 1 of 255, which is black: check it")
    if scale is None and high < 2 and (level := brightest()):
        raise DataError(
            f"the {word} images have float pixels up to {level:g}, of which all become 0 or 1 of 255, which is "
            "black: if they were divided by 255 twice, divide once; else give the value of full white as scale="
        )


def _numbers(array: npt.NDArray[Any], what: str, hint: str = "") -> npt.NDArray[Any]:
    if array.dtype.kind not in "buif":
        hint = hint or "pass an array of integers or floats"
        raise TypeError(f"{what} has dtype {array.dtype}, which does not hold plain numbers; {hint}")
    return array


def _is_row(entry: object) -> bool:
    """Tell whether a label is a row of its own, [5] or an array of it."""
    return isinstance(entry, (list, tuple, np.ndarray)) and np.ndim(entry) == 1


def _expression(given: object, what: str) -> str:
    """What to write in a hint so that an array's methods can follow: lists and tables have none of them."""
    name = what if what.isidentifier() else "images"
    return name if isinstance(given, (np.ndarray, torch.Tensor)) else f"np.asarray({name})"


def _flat_hint(array: npt.NDArray[Any], given: object, what: str) -> str:
    """What to do with pictures of which each is one row."""
    if array.ndim != 2:
        return ""
    name, length = _expression(given, what), array.shape[1]
    if length > 1 and (side := math.isqrt(length)) ** 2 == length:
        return f"; if the images are flattened, pass {name}.reshape(-1, {side}, {side})"
    if length % 3 == 0 and (side := math.isqrt(length // 3)) ** 2 * 3 == length and side not in CHANNELS:
        return (
            f"; if each row has all of red, then green, then blue (as CIFAR's), pass {name}.reshape(-1, 3, {side}, "
            f"{side}); if the three alternate, {name}.reshape(-1, {side}, {side}, 3)"
        )
    if length > 2 and (side := math.isqrt(length - 1)) ** 2 == length - 1:
        return (
            f"; that is one column more than {side}x{side} pixels: take the labels' column out, and pass the rest as "
            f"(N, {side}, {side})"
        )
    return ""


def _check_pixels(array: npt.NDArray[Any], given: object, what: str) -> None:
    """Check pixels whose type says what is black and what is white."""
    if array.dtype.kind == "f":
        low, high = _finite_range(array, what)
        if low < 0 or high > 1:
            meaning = _what_floats_mean(array, low, high, given, what)
            raise DataError(f"{what} has float pixels from {low:g} to {high:g}, outside [0, 1]; {meaning}")
    elif array.dtype.kind != "b":
        found = _outside(array, 255)
        if found is not None:
            hint = ""
            if array.min() >= 0:
                name = _expression(given, what)
                hint = f"; divide by the value that is full white, such as {name} / 65535 for 16 bits"
            raise DataError(
                f"{what} has a pixel of {array[found]} at index {found}; integer pixels must be from 0 to 255{hint}"
            )


def _check_scaled(array: npt.NDArray[Any], what: str, scale: float) -> None:
    if array.dtype.kind == "f":
        _finite_range(array, what)
    found = _outside(array, scale)
    if found is not None:
        raise DataError(
            f"{what} has a pixel of {array[found]:g} at index {found}; with scale={scale:g} they must be from 0 to "
            f"{scale:g}"
        )


def _outside(array: npt.NDArray[Any], high: float) -> tuple[int, ...] | None:
    """Index of the first pixel that is not in [0, high]."""
    for start in range(0, len(array), BLOCK):
        block = array[start : start + BLOCK]
        wrong = (block < 0) | (block > high)
        if wrong.any():
            at = tuple(int(i) for i in np.argwhere(wrong)[0])
            return (at[0] + start, *at[1:])
    return None


def _finite_range(array: npt.NDArray[Any], what: str) -> tuple[float, float]:
    """Lowest and highest pixel; NaN and infinite ones are refused (how many, and the first)."""
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
    return low, high


def _what_floats_mean(array: npt.NDArray[Any], low: float, high: float, given: object, what: str) -> str:
    """What to do with floats beyond [0, 1]; whatever is proposed gives the right pixels if its condition holds."""
    name, tensor = _expression(given, what), isinstance(given, torch.Tensor)
    if low >= -0.25 and high <= 1.25:
        clip = f"{name}.clamp(0, 1)" if tensor else f"{name}.clip(0, 1)"
        return f"if they lie a little outside because of resizing or rounding, pass {clip}"
    if low < 0:
        return "they look already normalised: pass the raw pixels; the data set normalises them itself"
    # Whole numbers that go on beyond 16 are pixels of 8 bits; up to 16 they may be scikit-learn's digits.
    if 16 < high <= 255 and all(np.array_equal(b, np.rint(b)) for b in np.array_split(array, len(array) // BLOCK + 1)):
        cast = f"{name}.to(torch.uint8)" if tensor else f"{name}.astype('uint8')"
        return f"they look like pixels from 0 to 255 kept as floats: pass them as integers, {cast}"
    return (
        f"divide by the value that is full white: {name} / 255 for pixels of 8 bits, {name} / 16 for scikit-learn's "
        "digits (or give everybatch.Dataset that value as scale=)"
    )
