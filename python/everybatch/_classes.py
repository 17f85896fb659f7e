"""Which class of a data set is which class of a model: by their names, in this one place.

Classes have numbers, and the same number may mean one thing to a model and another to a data set: a folder of pictures
that lacks a class, or names given in another order. Whatever measures a model on data, or trains it further, asks
`matched` first.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from everybatch import _convert
from everybatch._log import logger
from everybatch.errors import ArgumentError, DataError, suggest

if TYPE_CHECKING:
    from everybatch._core import Model
    from everybatch.dataset import Dataset

__all__ = ["MATCH", "Matched", "Part", "are_numbers", "checked", "images_and_labels", "matched", "numbers_of_labels"]

MATCH = ("name", "position")
How = Literal["name", "position"]

BY_POSITION = "pass match_classes='position'"
"""The way out that messages name unless there is another one."""


class Part(NamedTuple):
    """Test images that `Model.evaluate` takes in place of a data set's."""

    test_images: npt.NDArray[np.uint8]
    test_labels: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    name: str


@dataclass(frozen=True)
class Matched:
    """What `matched` found.

    Attributes
    ----------
    numbers : int64 (classes of the data,)
        The model's number of each class of the data; -1 for one that the model lacks, of which there is no image.
    names : tuple of str
        What to call the model's classes, in the model's order.
    """

    numbers: npt.NDArray[np.int64]
    names: tuple[str, ...]


def are_numbers(names: Sequence[str] | None) -> bool:
    """Tell whether there are no names, or those that classes have when nobody named them: "0", "1", ..."""
    return names is None or tuple(names) == tuple(str(number) for number in range(len(names)))


def matched(
    own: Sequence[str] | None,
    count: int,
    theirs: Sequence[str],
    labels: npt.NDArray[np.int64],
    how: How | None = None,
    *,
    data: str = "the data set",
    way_out: str = BY_POSITION,
) -> Matched:
    """Find the model's number of each class of the data.

    Parameters
    ----------
    own
        The model's names of its classes, or None.
    count
        How many classes the model tells apart.
    theirs
        The data set's names.
    labels
        Of the images in question: classes of the data without an image among them need not be known to the model.
    how
        "name": equal names are equal classes. "position": equal numbers are, whatever the names. None: by name; where
        one side has nothing but numbers for names, and no name that says otherwise, by position.
    data, way_out
        What to call the data in messages, and what to do where the same number means the same class.

    Raises
    ------
    ArgumentError
        The model lacks a class, no name is common to both, or it cannot be told which class is which.
    """
    theirs = tuple(theirs)
    counts = np.bincount(labels, minlength=len(theirs))
    used = [number for number in range(len(counts)) if counts[number]]
    by_name = np.array(_find(own or (), theirs), np.int64)
    common = [number for number in range(len(theirs)) if by_name[number] >= 0]
    if how == "position" or (how is None and _by_position(own, count, theirs, by_name, used, data, way_out)):
        beyond = [number for number in used if number >= count]
        if beyond:
            raise ArgumentError(
                f"{data} has {_images(counts[beyond[0]])} of class {beyond[0]} ({theirs[beyond[0]]!r}), and the model "
                f"tells {count} classes apart, 0 to {count - 1}: leave these images out"
            )
        numbers = np.arange(len(theirs))
        numbers[count:] = -1
        return Matched(numbers, _names(own, count, theirs))
    if own is None:
        raise ArgumentError(f"the model does not know the names of its classes: set model.classes, or {way_out}")
    if not common:
        raise ArgumentError(
            f"the model and {data} have no class in common: the model knows {_listed(own)}, the data {_listed(theirs)}."
            f" If these are the same classes in the same order, {way_out}"
        )
    missing = [number for number in used if by_name[number] < 0]
    if missing:
        names = ", ".join(repr(theirs[number]) for number in missing[:5]) + (", ..." if missing[5:] else "")
        raise ArgumentError(
            f"the model has no class {names}, of which {data} has {_images(int(counts[missing].sum()))}; it knows "
            f"{_listed(own)}.{suggest(theirs[missing[0]], own)} Leave these images out, or, if the classes are the "
            f"same in the same order, {way_out}"
        )
    return Matched(by_name, tuple(own))


def images_and_labels(
    model: Model, data: Dataset | Part, how: object = None
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], tuple[str, ...]]:
    """Return a data set's test images, their labels in the model's numbers, and the names of the model's classes."""
    images = _convert.images(data.test_images, "test_images")
    labels = _convert.labels(data.test_labels, "test_labels")
    called = f"data set {data.name!r}" if hasattr(data, "name") else "the data set"
    height, width, *channels = images.shape[1:]
    model.network.check_images(
        (channels[0] if channels else 1, height, width), f"the test images of {called} have shape"
    )
    names = getattr(data, "classes", None)
    if names is None:
        return images, labels, model.classes or _numbers(model.network.num_classes)
    found = matched(model.classes, model.network.num_classes, names, labels, checked(how), data=called)
    return images, found.numbers[labels], found.names


def numbers_of_labels(own: Sequence[str] | None, labels: object, how: object = None) -> npt.NDArray[np.int64]:
    """Return labels as the model's numbers: numbers are taken as they are, names are looked up.

    Raises
    ------
    DataError
        A name is unknown to the model.
    """
    checked(how)
    texts = _texts(labels)
    if texts is None:
        return _convert.labels(labels, "labels")
    if own is None:
        raise DataError("the labels are names, and the model does not know those of its classes: set model.classes")
    found = _find(own, texts)
    for text, number in zip(texts, found, strict=True):
        if number < 0:
            raise DataError(f"the model has no class {text!r}: it knows {_listed(own)}.{suggest(text, own)}")
    return np.array(found, np.int64)


def checked(how: object) -> How | None:
    """Refuse what is no way to match classes."""
    if how is None or how == "name" or how == "position":
        return how
    if not isinstance(how, str):
        raise TypeError(f"match_classes must be 'name', 'position' or None, not {type(how).__name__}")
    raise ArgumentError(f"match_classes is {how!r}: choose 'name' or 'position'.{suggest(how, MATCH)}")


def _by_position(
    own: Sequence[str] | None,
    count: int,
    theirs: tuple[str, ...],
    by_name: npt.NDArray[np.int64],
    used: Sequence[int],
    data: str,
    way_out: str,
) -> bool:
    """Tell whether classes of which one side has no names are the same where their numbers are."""
    own_numbers, their_numbers = are_numbers(own), are_numbers(theirs)
    if not own_numbers and not their_numbers:
        return False
    if own is not None and (by_name >= 0).any():
        if own_numbers and their_numbers:  # name and position are one
            return not any(by_name[number] < 0 for number in used)
        moved = [number for number in range(len(theirs)) if by_name[number] not in (-1, number)]
        if their_numbers and moved:
            raise ArgumentError(
                f"class {moved[0]} of {data} may be the model's class called {theirs[moved[0]]!r}, or that of the same "
                f"number, which is called {own[moved[0]] if moved[0] < count else 'nothing'!r}: the data have numbers "
                f"for names, and the model knows {_listed(own)}. If the number is meant, {way_out}; if the name, pass "
                "match_classes='name'"
            )
        return False
    if not their_numbers and len(theirs) != count:
        raise ArgumentError(
            f"the model tells {count} classes apart and has no names for them, and {data} names {len(theirs)}: "
            f"{_listed(theirs)}. If they begin with the same ones, {way_out}"
        )
    if not (own_numbers and their_numbers):
        nameless = "the model" if own_numbers else data
        logger.warning("%s has no names for its classes: they are matched by position", nameless)
    return True


def _find(own: Sequence[str], names: Sequence[str]) -> list[int]:
    """Return the number of each name in `own`, or -1. The same letters may be written in two ways (NFC and NFD)."""
    exact = {name: number for number, name in enumerate(own)}
    alike: dict[str, int] = {}
    for name, number in exact.items():
        key = unicodedata.normalize("NFC", name)
        alike[key] = -1 if key in alike else number  # two that look alike are told apart by their bytes alone
    return [exact.get(name, alike.get(unicodedata.normalize("NFC", name), -1)) for name in names]


def _names(own: Sequence[str] | None, count: int, theirs: tuple[str, ...]) -> tuple[str, ...]:
    """What to call the model's classes where they are matched by position."""
    if are_numbers(own) and len(theirs) == count:
        return theirs
    return _numbers(count) if own is None else tuple(own)


def _numbers(count: int) -> tuple[str, ...]:
    return tuple(str(number) for number in range(count))


def _texts(labels: object) -> list[str] | None:
    """Return labels that are text, or None."""
    if isinstance(labels, (list, tuple)):
        return [str(label) for label in labels] if labels and all(isinstance(each, str) for each in labels) else None
    array: Any = labels if isinstance(labels, np.ndarray) else getattr(labels, "values", None)
    if not isinstance(array, np.ndarray) or array.ndim != 1 or array.dtype.kind not in "UOT" or not array.size:
        return None
    texts = array.tolist()
    return texts if all(isinstance(text, str) for text in texts) else None


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:8])
    return shown if len(names) <= 8 else f"{shown}, ... ({len(names)} in all)"


def _images(count: int) -> str:
    return f"{count:,} image{'' if count == 1 else 's'}"
