"""Names of classes: what is taken for them, and labels that are such names instead of numbers."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from everybatch.errors import ArgumentError, DataError

__all__ = ["class_names", "names_among", "number", "text"]


def class_names(given: Iterable[object]) -> tuple[str, ...]:
    """Check what a user gave as `classes`: text, bytes in UTF-8 or numbers, in order, each once.

    A dict must map the class numbers 0, 1, ... to names.

    Raises
    ------
    ArgumentError
        For fewer than two names, names that occur twice, and a dict with other keys.
    TypeError
        For what has no order, such as a set, and for entries that cannot be names.
    """
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        raise TypeError(f"classes must be a list of names, not {given!r}")
    if isinstance(given, (set, frozenset)):
        raise TypeError("classes is a set, which has no order: pass a list, in the order of the class numbers")
    if isinstance(given, Mapping):
        given = _by_number(given)
    elif isinstance(given, (torch.Tensor, np.ndarray)):
        given = given.tolist()
    elif hasattr(given, "index") and hasattr(given, "to_dict"):  # a Series of pandas
        numbers = list(given.index)
        if numbers != sorted(numbers) and sorted(numbers) == list(range(len(numbers))):
            raise ArgumentError(
                "classes is a Series whose index is not in order: pass classes.sort_index() if the index is the number "
                "of the class, or classes.tolist() if the order is meant"
            )
    names = tuple(_name(entry, f"classes[{index}]") for index, entry in enumerate(given))
    if len(names) < 2:
        raise ArgumentError(f"classes has {len(names)} names; a classifier needs at least 2")
    if len(set(names)) < len(names):
        seen: set[str] = set()
        twice = next(name for name in names if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ArgumentError(f"classes has the name {twice!r} more than once; every class needs its own")
    return names


def _by_number(given: Mapping[Any, object]) -> list[object]:
    keys, count = list(given), len(given)
    if all(isinstance(key, (int, np.integer)) and not isinstance(key, bool) for key in keys):
        if sorted(keys) == list(range(count)):
            return [given[number] for number in range(count)]
    elif {value for value in given.values() if isinstance(value, (int, np.integer))} == set(range(count)):
        raise ArgumentError(
            "classes is a dict from names to numbers; pass the names in the order of their numbers: "
            "sorted(classes, key=classes.get)"
        )
    raise ArgumentError(
        f"classes is a dict with the keys {', '.join(map(repr, keys[:5]))}{', ...' if count > 5 else ''}; it must map "
        f"the numbers 0 to {count - 1} to names"
    )


def _name(entry: object, what: str) -> str:
    if isinstance(entry, bytes):
        try:
            return entry.decode()
        except UnicodeDecodeError as error:
            raise ArgumentError(f"{what} is {entry!r}, which is not text in UTF-8 ({error}); pass it as str") from error
    if _missing(entry) or isinstance(entry, (Mapping, set, frozenset, list, tuple, np.ndarray, torch.Tensor)):
        raise TypeError(f"{what} is {entry!r}, which is not a name; pass text")
    return str(entry)


def _missing(entry: object) -> bool:
    """Tell whether an entry is one of the things that stand for "no value": None, NaN, pandas.NA, a masked entry."""
    if entry is None or entry is np.ma.masked or type(entry).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(entry, (float, np.floating)) and math.isnan(entry)


def text(labels: npt.NDArray[Any], what: str) -> npt.NDArray[np.object_] | None:
    """Return labels ``(N,)`` that are text as an object array of str; None if none of them is.

    Raises
    ------
    DataError
        If some are missing, empty, no text, or bytes that are not UTF-8; the message names the first.
    """
    entries = labels.astype(object)
    is_text = np.fromiter((isinstance(entry, (str, bytes)) for entry in entries), bool, len(entries))
    if not is_text.any():
        return None
    lost = [at for at in np.flatnonzero(~is_text).tolist() if _missing(entries[at])]
    lost += [at for at in np.flatnonzero(is_text).tolist() if not entries[at]]
    if lost:
        first = min(lost)
        raise DataError(
            f"{what} has {len(lost):,} missing labels, the first {entries[first]!r} at index {first}; leave those "
            "images out"
        )
    if not is_text.all():
        at = int(np.argmin(is_text))
        raise DataError(f"{what} mixes text with other things: {what}[{at}] is {entries[at]!r}; pass one kind")
    names = np.empty(len(entries), object)
    for at, entry in enumerate(entries):
        try:
            names[at] = entry.decode() if isinstance(entry, bytes) else str(entry)
        except UnicodeDecodeError as error:
            raise DataError(f"{what}[{at}] is {entry!r}, which is not text in UTF-8 ({error})") from error
    return names


def names_among(*labels: npt.NDArray[np.object_]) -> tuple[str, ...]:
    """Return the sorted names that occur in labels.

    Raises
    ------
    DataError
        If there is only one, or two look alike: they differ in space around them, or in how letters with accents are
        put together, and are most likely one.
    """
    names = sorted(set().union(*labels))
    if len(names) < 2:
        raise DataError(f"all labels are {names[0]!r}; a classifier needs at least 2 classes")
    seen: dict[str, str] = {}
    for name in names:
        plain = unicodedata.normalize("NFC", name).strip()
        if plain in seen:
            raise DataError(
                f"the labels {seen[plain]!a} and {name!a} look alike; write them alike, or pass the names of "
                "the classes as classes"
            )
        seen[plain] = name
    return tuple(names)


def number(names: npt.NDArray[np.object_], classes: tuple[str, ...], what: str) -> npt.NDArray[np.int64]:
    """Return the position in `classes` of each name ``(N,)``.

    Raises
    ------
    DataError
        If a name is not among them.
    """
    positions = {name: position for position, name in enumerate(classes)}
    numbers = np.fromiter((positions.get(name, -1) for name in names), np.int64, len(names))
    if (numbers < 0).any():
        at = int(np.argmin(numbers))
        raise DataError(f"{what}[{at}] is {names[at]!r}, which is not in classes ({_few(classes)})")
    return numbers


def _few(classes: tuple[str, ...]) -> str:
    return ", ".join(classes[:10]) + (", ..." if len(classes) > 10 else "")
