"""What each interval between two measurements gained and lost: arithmetic on arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from everybatch.insight._paired import softened

__all__ = ["COURSE", "LEAST", "Changes", "changes", "falls", "unusual"]

Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

COURSE = 200
"""Changes before one that make its recent course."""
LEAST = 20
"""Of which there must be so many for a z-score."""
_BLOCK = 1 << 22
"""Predictions that are compared at once."""


@dataclass(frozen=True, eq=False)
class Changes:
    """Images by what an interval did to them; rows are intervals."""

    gained: Integers
    """(intervals,) wrong before, right after."""
    lost: Integers
    """(intervals,) right before, wrong after."""
    class_gained: Integers
    """(intervals, classes)"""
    class_lost: Integers
    """(intervals, classes)"""


def changes(predictions: npt.NDArray[Any], labels: Integers, classes: int) -> Changes:
    """Count what every interval between two rows of `predictions` (evaluations, images) gained and lost.

    Parameters
    ----------
    labels
        (images,) true classes.
    classes
        How many there are.
    """
    intervals = max(0, len(predictions) - 1)
    gained, lost = (np.zeros((intervals, classes), np.int64) for _ in range(2))
    at_once = max(1, _BLOCK // max(1, len(labels)))
    members = np.eye(classes)[labels]
    for start in range(0, intervals, at_once):
        right = predictions[start : start + at_once + 1] == labels
        rows = slice(start, start + len(right) - 1)
        # float64, in which BLAS adds them up; whole numbers are exact
        gained[rows] = (~right[:-1] & right[1:]).astype(np.float64) @ members
        lost[rows] = (right[:-1] & ~right[1:]).astype(np.float64) @ members
    return Changes(gained.sum(axis=1), lost.sum(axis=1), gained, lost)


def unusual(values: Doubles, course: int = COURSE) -> Doubles:
    """Return by how many standard deviations each value lies off the mean of the `course` values before it.

    (n,) float64; NaN where there are fewer than `LEAST` before it, or where these do not differ.
    """
    values = np.asarray(values, np.float64)
    scores = np.full(len(values), np.nan)
    for place in range(LEAST, len(values)):
        before = values[max(0, place - course) : place]
        deviation = before.std(ddof=1)
        if deviation > 0:
            scores[place] = (values[place] - before.mean()) / deviation
    return scores


def falls(gained: Integers, lost: Integers, scores: Doubles, images: int) -> Integers:
    """Return the numbers of the intervals that are falls: off their recent course, and more than chance among images.

    That is a net loss of at least 3 standard deviations of the changes before it, and of at least 3 of its own paired
    standard errors (of McNemar's table, with half an image more in each cell).
    """
    change, error = softened(gained, lost, images)
    with np.errstate(invalid="ignore"):
        found: Integers = np.flatnonzero((scores <= -3) & (change <= -3 * error))
    return found
