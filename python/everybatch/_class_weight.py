"""`class_weight`: how much images of each class count in the training loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from everybatch._arguments import real
from everybatch.errors import ArgumentError, suggest

__all__ = ["BALANCED", "ClassWeight", "class_weights"]

ClassWeight = (
    Sequence[float]
    | Mapping[str, float]
    | Mapping[int, float]
    | npt.NDArray[np.floating[Any]]
    | npt.NDArray[np.integer[Any]]
    | torch.Tensor
    | str
)

BALANCED = "balanced"

_NAME = "class_weight"
_WANTED = (
    f"{_NAME} must be a list or array with one number for each class, a dict from classes to numbers, or {BALANCED!r}"
)


def class_weights(given: object, labels: npt.NDArray[np.int64], classes: Sequence[str]) -> list[float]:
    """Return the weight of each class, in the order of the classes.

    Parameters
    ----------
    given
        What the user passed.
    labels
        Of the images that are trained on.
    classes
        Their names.

    Raises
    ------
    ArgumentError, TypeError
        There is not one usable weight for each class.
    """
    if isinstance(given, str):
        return _balanced(given, labels, classes)
    if isinstance(given, Mapping) or hasattr(given, "keys"):  # of pandas, a Series
        weights = _by_class(dict(given.items()), classes)  # type: ignore[attr-defined]
    else:
        weights = _in_order(given, classes)
    rounded = np.array(weights, np.float64)
    with np.errstate(over="ignore"):
        rounded = rounded.astype(np.float32)  # as the loss has them
    for weight, single, label in zip(weights, rounded, classes, strict=True):
        if not (np.isfinite(single) and weight >= 0):
            raise ArgumentError(
                f"{_NAME} has {weight:g} for class {label}: a weight is a finite number of float32, 0 or above"
            )
        if weight > 0 and single == 0:
            raise ArgumentError(f"{_NAME} has {weight:g} for class {label}, which is 0 in float32: give 0, or more")
    if not rounded.any():
        raise ArgumentError(f"{_NAME} is 0 for all classes, and then there is nothing to train on: give one a weight")
    counted = rounded[np.unique(labels)]
    if not counted.any():
        raise ArgumentError(
            f"{_NAME} is 0 for every class that has training images, and then there is nothing to train on"
        )
    return weights


def _balanced(given: str, labels: npt.NDArray[np.int64], classes: Sequence[str]) -> list[float]:
    """scikit-learn's formula: images / (classes · images of the class)."""
    if given != BALANCED:
        raise ArgumentError(
            f"{_NAME} is {given!r}: the one word that it can be is {BALANCED!r}.{suggest(given, [BALANCED])}"
        )
    counts = np.bincount(labels, minlength=len(classes))
    missing = [name for name, count in zip(classes, counts, strict=True) if not count]
    if missing:
        raise ArgumentError(
            f"{_NAME} is {BALANCED!r}, and class {missing[0]} has no image to train on, so that no weight would "
            "balance it: leave the class out of the data set, or give weights of your own"
        )
    return [float(len(labels) / (len(classes) * count)) for count in counts]


def _by_class(given: Mapping[Any, Any], classes: Sequence[str]) -> list[float]:
    """Weights of a dict; a class that it does not name has 1, as in scikit-learn."""
    weights: dict[int, float] = {}
    for key, weight in given.items():
        place = _place(key, classes)
        if place in weights:
            raise ArgumentError(f"{_NAME} names class {classes[place]} twice, by name and by number")
        weights[place] = real(weight, f"{_NAME}[{key!r}]")
    if not weights:
        raise ArgumentError(f"{_NAME} is an empty dict: name at least one class, or leave it out")
    return [weights.get(place, 1.0) for place in range(len(classes))]


def _place(key: object, classes: Sequence[str]) -> int:
    """Return the number of a class by its name or number."""
    if isinstance(key, str):
        if key not in classes:
            some = ", ".join(classes[:10]) + (", ..." if len(classes) > 10 else "")
            raise ArgumentError(f"{_NAME} names class {key!r}: the classes are {some}.{suggest(key, classes)}")
        return list(classes).index(key)
    if isinstance(key, (bool, np.bool_)) or not isinstance(key, (int, np.integer)):
        raise TypeError(f"{_NAME} has the key {key!r}: a class is told by its name or its number")
    number = int(key)
    if not 0 <= number < len(classes):
        raise ArgumentError(f"{_NAME} names class number {number}, and there are {len(classes)}, from 0 on")
    if str(number) in classes and classes[number] != str(number):
        raise ArgumentError(
            f"{_NAME} has the key {number}, which could be class number {number}, {classes[number]}, or the class that "
            f"is called {str(number)!r}: give names"
        )
    return number


def _in_order(given: object, classes: Sequence[str]) -> list[float]:
    if isinstance(given, np.ma.MaskedArray):
        raise TypeError(f"{_WANTED}, not a masked array")
    if isinstance(given, torch.Tensor):
        given = given.detach().cpu().numpy()
    if isinstance(given, np.ndarray):
        if given.ndim != 1 or given.dtype.kind not in "fiu":
            raise TypeError(f"{_WANTED}, not an array of shape {given.shape} and type {given.dtype}")
        given = given.tolist()
    if isinstance(given, (bytes, bytearray)) or not isinstance(given, Sequence):
        raise TypeError(f"{_WANTED}, not {given!r}")
    weights = [real(weight, f"{_NAME}[{place}]") for place, weight in enumerate(given)]
    if len(weights) != len(classes):
        raise ArgumentError(
            f"{_NAME} has {len(weights)} numbers, and the data set has {len(classes)} classes: give one for each, or a "
            "dict for some"
        )
    return weights
