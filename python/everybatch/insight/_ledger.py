"""What each interval between two measurements gained and lost: arithmetic on arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from everybatch.insight._paired import softened

__all__ = ["COURSE", "LAG", "LEAST", "Changes", "changes", "class_losses", "falls", "unusual"]

Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

COURSE = 200
"""Changes before one that make its recent course."""
LEAST = 20
"""Of which there must be so many for a z-score."""
LAG = 5
"""Intervals that a fall may take: with momentum or Adam a bad batch does its harm over several steps."""
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


def changes(predictions: npt.NDArray[Any], labels: Integers, classes: int, lag: int = 1) -> Changes:
    """Count what was gained and lost from each row of `predictions` (evaluations, images) to the one `lag` rows later.

    Parameters
    ----------
    labels
        (images,) true classes.
    classes
        How many there are.
    """
    intervals = max(0, len(predictions) - lag)
    gained, lost = (np.zeros((intervals, classes), np.int64) for _ in range(2))
    at_once = max(1, _BLOCK // max(1, len(labels)))
    members = np.eye(classes)[labels]
    for start in range(0, intervals, at_once):
        right = predictions[start : start + at_once + lag] == labels
        rows = slice(start, start + len(right) - lag)
        # float64, in which BLAS adds them up; whole numbers are exact
        gained[rows] = (~right[:-lag] & right[lag:]).astype(np.float64) @ members
        lost[rows] = (right[:-lag] & ~right[lag:]).astype(np.float64) @ members
    return Changes(gained.sum(axis=1), lost.sum(axis=1), gained, lost)


def class_losses(losses: npt.NDArray[Any], labels: Integers, classes: int) -> Doubles:
    """Return the mean loss of each class, (evaluations, classes), of `losses` (evaluations, images).

    NaN for a class with no image.
    """
    means = np.empty((len(losses), classes))
    at_once = max(1, _BLOCK // max(1, len(labels)))
    members = np.eye(classes)[labels]
    with np.errstate(invalid="ignore", divide="ignore"):
        for start in range(0, len(losses), at_once):
            rows = slice(start, start + at_once)
            means[rows] = losses[rows].astype(np.float64) @ members / members.sum(axis=0)
    return means


def unusual(values: npt.NDArray[Any], course: int = COURSE) -> Doubles:
    """Return by how many standard deviations each value lies off the `course` values before it.

    Off their median, in units of 1.4826 median absolute deviations, which is the standard deviation of normal values:
    the climb at the beginning of a run, and earlier falls, do not widen it. Where more than half of the values are the
    same, it is their standard deviation.

    (n,) float64; NaN where there are fewer than `LEAST` before it, or where these do not differ.
    """
    values = np.asarray(values, np.float64)
    scores = np.full(len(values), np.nan)
    for place in range(LEAST, len(values)):
        before = values[max(0, place - course) : place]
        middle = np.median(before)
        deviation = 1.4826 * np.median(np.abs(before - middle)) or before.std(ddof=1)
        if deviation > 0:
            scores[place] = (values[place] - middle) / deviation
    return scores


def falls(predictions: npt.NDArray[Any], labels: Integers, classes: int) -> Integers:
    """Return the first and the last interval of each fall, (falls, 2): off the course, and more than chance.

    A fall is a net loss over one interval, or over `LAG` together, of at least 3 standard deviations off its recent
    course, and of at least 3 of its own paired standard errors (of McNemar's table, with half an image more in each
    cell). Of falls that overlap, the one that lost most; a long one must have lost half as much again as a short.
    """
    found: list[tuple[float, int, int]] = []
    for lag in (1, LAG):
        counted = changes(predictions, labels, classes, lag)
        net = counted.gained - counted.lost
        change, error = softened(counted.gained, counted.lost, len(labels))
        with np.errstate(invalid="ignore"):
            low = np.flatnonzero((unusual(net) <= -3) & (change <= -3 * error))
        found += [(net[row] if lag == 1 else net[row] / 1.5, int(row) + lag - 1, lag) for row in low]
    kept: list[tuple[int, int]] = []
    for _, last, lag in sorted(found):
        first = last - lag + 1
        if all(last < begin or first > end for begin, end in kept):
            kept.append((first, last))
    return np.array(sorted(kept, key=lambda fall: fall[1]), np.int64).reshape(-1, 2)
