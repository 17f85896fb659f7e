"""Checks of single arguments: each returns the value in its plain type, or raises with the argument's name."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from everybatch._draw import draw
from everybatch.errors import ArgumentError, suggest

__all__ = [
    "choice",
    "choices",
    "flag",
    "numbers",
    "optional",
    "optional_whole",
    "part_of",
    "real",
    "share",
    "steps_or_epoch",
    "whole",
]

_LARGEST = 2**63 - 1


def whole(value: object, name: str, least: int = 1) -> int:
    """Check a whole number from `least` on."""
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{name} must be a whole number, not {value!r}") from None
    if isinstance(value, bool):
        raise TypeError(f"{name} must be a whole number, not {value!r}")
    if number < least:
        raise ArgumentError(f"{name} is {number}: it must be at least {least}")
    if number > _LARGEST:
        raise ArgumentError(f"{name} is {number}: it must be less than 2**63")
    return number


def real(value: object, name: str) -> float:
    """Check a number; the core decides whether its size makes sense."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name} must be a number, not {value!r}")
    try:
        return float(value)
    except OverflowError:
        raise ArgumentError(f"{name} is too large a number") from None


def numbers(value: object, name: str, count: int) -> tuple[float, ...]:
    """Check a sequence of so many numbers."""
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise TypeError(f"{name} must be {count} numbers, not {value!r}")
    values = tuple(real(entry, f"{name}[{index}]") for index, entry in enumerate(value))
    if len(values) != count:
        raise ArgumentError(f"{name} has {len(values)} numbers: it must have {count}")
    return values


def share(value: object, name: str) -> float:
    """Check a number above 0 and below 1."""
    number = real(value, name)
    if not 0 < number < 1:
        raise ArgumentError(f"{name} must be above 0 and below 1, not {number:g}")
    return number


def flag(value: object, name: str) -> bool:
    """Check a bool."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, not {value!r}")
    return bool(value)


def choice(value: object, name: str, known: Sequence[str]) -> str:
    """Check a name among `known`."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a name, not {value!r}: one of {', '.join(map(repr, known))}")
    if value not in known:
        raise ArgumentError(f"{name} is {value!r}: choose one of {', '.join(map(repr, known))}.{suggest(value, known)}")
    return value


def choices(values: object, name: str, known: Sequence[str]) -> list[str]:
    """Check one name, or several, among `known`; one that is there twice is returned once."""
    if isinstance(values, str):
        values = (values,)
    if not isinstance(values, Iterable):
        raise TypeError(f"{name} must be a list of names, not {values!r}")
    return list(dict.fromkeys(choice(value, name, known) for value in values))


def optional(check: Callable[[Any, str], Any]) -> Callable[[object, str], Any]:
    """Make a check that lets None pass."""
    return lambda value, name: None if value is None else check(value, name)


def optional_whole(value: object, name: str) -> int | None:
    """Check a whole number, or None."""
    return None if value is None else whole(value, name)


def steps_or_epoch(value: object, name: str) -> int | str:
    """Check a number of steps, or ``"epoch"``."""
    if not isinstance(value, str):
        return whole(value, name)
    if value != "epoch":
        raise ArgumentError(f"{name} is {value!r}: give a whole number of steps, or 'epoch'")
    return value


def part_of(
    given: object, labels: npt.NDArray[np.int64], seed: tuple[int, int], name: str, noun: str
) -> npt.NDArray[np.int64]:
    """Turn a number of images, a share of them, their indices, a mask or a slice into indices (n,).

    They are ascending where the images are drawn or masked, else as given.

    Parameters
    ----------
    given
        What the user passed as the argument `name`.
    labels
        Of all images; a number or share is drawn from all classes alike.
    seed
        Of the draw.
    noun
        What one of the images is called: "test image".
    """
    if isinstance(given, (float, np.floating)):
        if not 0 < given < 1:
            raise ArgumentError(f"{name} is {given}: a share must lie between 0 and 1")
        given = max(1, round(float(given) * len(labels)))
    if isinstance(given, (int, np.integer)) and not isinstance(given, bool):
        drawn: npt.NDArray[np.int64] = np.arange(len(labels), dtype=np.int64)[draw(labels, int(given), seed, name)]
        return drawn
    wanted = f"{name} must be a number of {noun}s, a share of them, a list of their indices, a mask or a slice"
    if isinstance(given, np.ma.MaskedArray):
        raise TypeError(f"{wanted}, not a masked array; a mask is an array of booleans, one for each {noun}")
    try:
        named = np.arange(len(labels))[given] if isinstance(given, slice) else np.asarray(given)
    except (ValueError, TypeError) as error:
        raise TypeError(f"{wanted} ({error})") from error
    if named.dtype == bool and named.ndim == 1:
        if len(named) != len(labels):
            raise ArgumentError(f"{name} is a mask of {len(named)} entries, and there are {len(labels)} {noun}s")
        named = np.flatnonzero(named)
    if named.size == 0:
        raise ArgumentError(f"{name} names no {noun}")
    if named.ndim != 1 or named.dtype.kind not in "iu":
        raise TypeError(f"{wanted}, not {given!r}")
    wrong = (named < 0) | (named >= len(labels))
    if wrong.any():
        raise ArgumentError(f"{name} names {noun} {named[wrong][0]}, and there are {len(labels)}")
    if len(np.unique(named)) < len(named):
        raise ArgumentError(f"{name} names a {noun} more than once")
    return named.astype(np.int64)
