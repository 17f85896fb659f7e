"""When each image was learned and forgotten, from which measurements were right. Only counts: no opinion."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from everybatch.insight._seen import Seen

__all__ = ["Events", "events", "forgotten"]

Integers = npt.NDArray[np.int64]


class Events(NamedTuple):
    """Of each image, (images,) int64; times are optimizer steps taken before a measurement."""

    first_learned: Integers
    """The first measurement that was right; -1 if none was."""
    learned_for_good: Integers
    """The first of those right measurements that go on to the last one; -1 if that is wrong."""
    forgotten: Integers
    """How often a right measurement was followed by a wrong one."""
    right: Integers
    """How many measurements were right."""


def events(one: Seen) -> Events:
    """Go through the measurements once; memory is that of a few numbers for each image."""
    n = len(one.labels)
    first, good = np.full(n, -1), np.full(n, -1)
    lost, count = np.zeros(n, np.int64), np.zeros(n, np.int64)
    before = np.zeros(n, bool)
    for step, row in zip(one.step.tolist(), one.right(), strict=True):
        lost += before & ~row
        good[row & ~before] = step
        good[~row] = -1
        first[row & (first < 0)] = step
        count += row
        before = row
    return Events(first, good, lost, count)


def forgotten(one: Seen, places: Integers) -> Integers:
    """Return how often each image went from right to wrong between chosen measurements, (images,)."""
    wanted = one.labels.astype(one.predictions.dtype)
    lost = np.zeros(len(wanted), np.int64)
    before = np.zeros(len(wanted), bool)
    for place in places.tolist():
        row = one.predictions[place] == wanted
        lost += before & ~row
        before = row
    return lost
