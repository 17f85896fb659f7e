"""Map-style data sets of PyTorch (and what looks like them), read into arrays.

Pixels must be those that the data set gives when it is indexed. Where it holds all of them in one array that is taken
as it is, and some are compared with what indexing gives; else they are read one by one. What would make the pixels
differ from one reading to the next, or normalise them, is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import ConcatDataset, DataLoader, IterableDataset, Subset, TensorDataset

from everybatch import _convert
from everybatch.errors import DataError, ShapeError

__all__ = ["Part", "joined", "read"]

_COMPARED = 16  # images that are read again, to notice what changes
_RANDOM = ("Random", "Jitter", "Augment", "AugMix", "ElasticTransform", "MixUp", "CutMix", "GaussianNoise", "Dropout")
_KEEPS_PIXELS = ("Compose", "StandardTransform", "ToTensor", "PILToTensor", "ToImage", "ConvertImageDtype", "ToDtype")

Part = tuple[npt.NDArray[np.uint8], Any, tuple[str, ...] | None]
"""Images, labels, and the names of the classes if they are known."""


def read(given: Any, what: str, scale: float | None = None) -> Part:
    """Read a data set of pairs (image, label).

    Raises
    ------
    TypeError
        If it is no map-style data set of such pairs, or a subset by something else than whole numbers.
    ShapeError
        If images differ in size or number of channels; the message names two.
    DataError
        If it is empty, its pixels change when they are read again, are normalised, or out of range.
    """
    if isinstance(given, DataLoader):
        raise TypeError(f"{what} is a DataLoader; pass the data set in it: {what}.dataset")
    if isinstance(given, IterableDataset) or not (hasattr(given, "__getitem__") and hasattr(given, "__len__")):
        raise TypeError(f"{what} must be a data set with a length that can be indexed, not {type(given).__name__}")
    if isinstance(given, (np.ndarray, torch.Tensor)):
        raise TypeError(f"{what} is an array; pass images and labels to everybatch.Dataset")
    if not len(given):
        raise DataError(f"{what} is empty; at least one image is needed")
    _check_indices(given, what)
    for transform in _transforms(given):
        kind = type(transform).__name__
        if any(word in kind for word in _RANDOM):
            raise DataError(
                f"{what} has the transform {kind}, which changes images at random: leave it away here, and give "
                "everybatch.train augment= instead"
            )
        if kind == "Normalize":
            raise DataError(f"{what} has the transform Normalize: leave it away; the data set normalises images itself")
    base, indices = _unwrap(given)
    held = _held(base, what, scale)
    images, labels = _one_by_one(given, what, scale) if held is None else (held[0][indices], held[1][indices])
    word = "training" if what == "train" else what
    _convert.check_not_black(images, scale, word, lambda: _brightest_float(given, what, one_by_one=held is None))
    return images, labels, _names(base, what)


def joined(train: Part, test: Part) -> tuple[tuple[Any, Any, Any, Any], tuple[str, ...] | None]:
    """Return what `everybatch.Dataset` is made of (images and labels, of both sets), and the names of the classes.

    Raises
    ------
    DataError
        If test images are of a class that training does not have.
    """
    test_labels, names = _match_names(train, test)
    return (train[0], train[1], test[0], test_labels), names


def _match_names(train: Part, test: Part) -> tuple[Any, tuple[str, ...] | None]:
    """Return the test labels as numbers of the training classes, and the names."""
    names, others, labels = train[2], test[2], test[1]
    if names is None or others is None or names == others:
        return labels, others if names is None else names
    numbers = _convert.labels_or_names(labels, "test labels")
    if numbers.dtype == object or int(numbers.max()) >= len(others):
        return labels, names
    if extra := [others[number] for number in np.unique(numbers) if others[number] not in names]:
        raise DataError(f"test has images of the classes {', '.join(extra)}, which train does not have")
    positions = np.array([names.index(name) if name in names else -1 for name in others])
    return positions[numbers], names


def _unwrap(given: Any) -> tuple[Any, Any]:
    """The data set beneath subsets, and which of its images they name."""
    indices: Any = slice(None)
    while type(given) is Subset:
        own = np.asarray(given.indices, np.int64)
        indices = own[indices]
        given = given.dataset
    return given, indices


def _check_indices(given: Any, what: str) -> None:
    """Refuse a subset by a mask, of which the images 0 and 1 would be taken, and by other than whole numbers."""
    if isinstance(given, ConcatDataset):
        for part in given.datasets:
            _check_indices(part, what)
    if not isinstance(given, Subset):
        return
    indices = np.asarray(given.indices)
    if indices.size and indices.dtype.kind not in "iu":
        hint = "of a mask pass np.flatnonzero(mask)" if indices.dtype.kind == "b" else "pass the numbers of its images"
        raise TypeError(f"{what} is a Subset whose indices are no whole numbers, but of type {indices.dtype}: {hint}")
    _check_indices(given.dataset, what)


def _transforms(given: Any) -> Iterator[Any]:
    """Go through the transforms of a data set, those within others, and those of the data sets beneath."""
    parts = [given.dataset] if isinstance(given, Subset) else getattr(given, "datasets", [])
    for part in parts if isinstance(given, (Subset, ConcatDataset)) else ():
        yield from _transforms(part)
    pending = [getattr(given, "transform", None), getattr(given, "transforms", None)]
    seen: set[int] = set()
    while pending:
        transform = pending.pop()
        if transform is None or id(transform) in seen:
            continue
        seen.add(id(transform))
        if isinstance(transform, (list, tuple)):
            pending += transform
            continue
        yield transform
        pending += [getattr(transform, "transform", None), getattr(transform, "transforms", None)]
        if isinstance(transform, torch.nn.Module):
            pending += transform.children()


def _held(base: Any, what: str, scale: float | None) -> tuple[npt.NDArray[np.uint8], npt.NDArray[Any]] | None:
    """All images and labels of a data set that keeps them in arrays, if they are what indexing gives; else None."""
    if type(base) is TensorDataset:
        if len(base.tensors) != 2:
            raise TypeError(f"{what} has {len(base.tensors)} tensors; expected images and labels")
        images, labels = base.tensors
        if images.ndim == 4 and images.shape[1] in _convert.CHANNELS:  # as PyTorch has them
            images = images.movedim(1, 3)
        return _convert.images(images, f"{what}.tensors[0]", scale), _convert.labels_or_names(labels, f"{what} labels")
    return _held_by_torchvision(base, what, scale)


def _held_by_torchvision(
    base: Any, what: str, scale: float | None
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[Any]] | None:
    if not type(base).__module__.startswith("torchvision.datasets."):
        return None
    data, labels = getattr(base, "data", None), getattr(base, "targets", getattr(base, "labels", None))
    only = all(type(t).__name__ in _KEEPS_PIXELS for t in _transforms(base))
    if not only or not isinstance(data, (np.ndarray, torch.Tensor)) or data.dtype not in (np.uint8, torch.uint8):
        return None
    if getattr(base, "target_transform", None) is not None or len(data) != len(base):
        return None
    try:
        images = _convert.images(data, f"{what}.data", scale)
        numbers = _convert.labels_or_names(labels, f"{what} labels")
    except (DataError, ShapeError, TypeError):  # such as the eight columns of QMNIST: only indexing tells
        return None
    for index in np.linspace(0, len(base) - 1, _COMPARED).astype(int).tolist():
        image, label = _pair(base[index], what, index)
        if not np.array_equal(_pixels(image, what, index, scale), images[index]) or label != numbers[index]:
            return None
    return images, numbers


def _one_by_one(given: Any, what: str, scale: float | None) -> tuple[npt.NDArray[np.uint8], list[Any]]:
    count = len(given)
    image, _ = _pair(given[0], what, 0)
    first = _pixels(image, what, 0, scale)
    images = np.empty((count, *first.shape), np.uint8)
    labels = []
    for index in range(count):
        image, label = _pair(given[index], what, index)
        pixels = _pixels(image, what, index, scale)
        if pixels.shape != first.shape:
            raise ShapeError(
                f"{what}[{index}] has an image of shape {pixels.shape} and {what}[0] one of {first.shape}; bring all "
                "to one size and number of channels, with a transform"
            )
        images[index] = pixels
        labels.append(label)
    for index in np.linspace(0, count - 1, _COMPARED).astype(int).tolist():
        image, label = _pair(given[index], what, index)
        if label != labels[index] or not np.array_equal(_pixels(image, what, index, scale), images[index]):
            raise DataError(
                f"{what}[{index}] is not the same when it is read again: leave random transforms away here, and give "
                "everybatch.train augment= instead"
            )
    return images, labels


def _brightest_float(given: Any, what: str, *, one_by_one: bool) -> float:
    """Return the highest of float pixels; 0 for pixels that are no floats, as those that torchvision holds."""
    if one_by_one:
        images = (_pair(given[index], what, index)[0] for index in range(len(given)))
        return max(map(_convert.brightest_float, images))
    base, indices = _unwrap(given)
    return _convert.brightest_float(base.tensors[0][indices]) if type(base) is TensorDataset else 0.0


def _pair(item: Any, what: str, index: int) -> tuple[Any, Any]:
    if isinstance(item, Mapping):
        raise TypeError(
            f"{what}[{index}] is a dict with the keys {', '.join(map(str, item))}; data sets of Hugging Face are read "
            "with everybatch.datasets.from_huggingface"
        )
    if not isinstance(item, (tuple, list)) or len(item) != 2:
        raise TypeError(f"{what}[{index}] must be a pair (image, label), not {_kind(item)}")
    image, label = item
    if isinstance(label, (torch.Tensor, np.ndarray)):
        if label.size != 1 if isinstance(label, np.ndarray) else label.numel() != 1:
            raise TypeError(
                f"{what}[{index}] has a label of shape {tuple(label.shape)}; it must be one class number or name"
            )
        label = label.item()
    return image, label


def _pixels(image: Any, what: str, index: int, scale: float | None) -> npt.NDArray[np.uint8]:
    """One image (H, W) or (H, W, C)."""
    name = f"{what}[{index}]"
    if hasattr(image, "getbands"):  # a picture of Pillow
        _convert.refuse_unclear(image, name)
        image = np.asarray(image)
    elif not isinstance(image, (torch.Tensor, np.ndarray)):
        raise TypeError(f"{name} must have a picture, a tensor or an array as its image, not {_kind(image)}")
    _convert.refuse_unclear(image, name)
    planes_first = 0 in _channel_axes(image) and (isinstance(image, torch.Tensor) or 2 not in _channel_axes(image))
    if image.ndim == 3 and planes_first:  # channels first, as PyTorch has them; arrays have them last
        image = image.movedim(0, 2) if isinstance(image, torch.Tensor) else np.moveaxis(image, 0, 2)
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in _convert.CHANNELS):
        raise ShapeError(
            f"{name} has an image of shape {tuple(image.shape)}; expected (H, W), (C, H, W) or (H, W, C) with C = 1, "
            "3 or 4"
        )
    pixels: npt.NDArray[np.uint8] = _convert.images(image[None], name, scale)[0]
    return pixels


def _channel_axes(image: Any) -> list[int]:
    return [axis for axis in (0, 2) if image.ndim == 3 and image.shape[axis] in _convert.CHANNELS]


def _names(base: Any, what: str) -> tuple[str, ...] | None:
    """Names of the classes, if the data set has them and its labels are not changed."""
    if isinstance(base, ConcatDataset):
        parts = {_names(_unwrap(part)[0], what) for part in base.datasets}
        if len(parts) > 1 and None not in parts:
            raise DataError(f"the parts of {what} have different classes, so that their labels mean different things")
        return parts.pop() if len(parts) == 1 else None
    names = getattr(base, "classes", None)
    if getattr(base, "_target_types", None) == ["binary-category"]:  # torchvision's pets: `classes` has the breeds
        names = getattr(base, "bin_classes", None)
    if getattr(base, "target_transform", None) is not None or not isinstance(names, Sequence):
        return None
    if isinstance(names, str) or len(names) < 2 or not all(isinstance(name, str) for name in names):
        return None
    return tuple(names) if len(set(names)) == len(names) else None


def _kind(item: Any) -> str:
    count = f" of {len(item)}" if isinstance(item, (tuple, list)) else ""
    return f"{type(item).__name__}{count}"
