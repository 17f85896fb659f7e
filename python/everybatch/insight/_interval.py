"""How often was measured: in words, and as it would have been with fewer measurements."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["interval_of", "sparser"]

Integers = npt.NDArray[np.int64]


def interval_of(step: Integers, per_epoch: int | None) -> str:
    """Return in words how often was measured; `step` (measurements,) has the steps taken before each, rising.

    The last measurement, which comes at the end of a run, may follow earlier than the others.
    """
    regular = _regular(np.diff(step))
    if not regular.size:
        return "once"
    low, high = int(np.min(regular)), int(np.max(regular))
    if low == high == 1:
        return "every step"
    if low == high == per_epoch:
        return "once an epoch"
    return f"every {low:,} steps" if low == high else f"every {low:,} to {high:,} steps"


def _regular(gaps: Integers) -> Integers:
    """Return the gaps between measurements but the last one, where a run was cut off or has come to its end before."""
    return gaps[:-1] if len(gaps) > 1 and gaps[-1] <= gaps[0] else gaps


def sparser(step: Integers, per_epoch: int | None) -> dict[int, Integers]:
    """Return by interval, in steps, which measurements there would be if fewer had been made.

    Intervals are the run's own one (the commonest), that times 2, 5, 10, 20, 50 and so on below an epoch, and an epoch.
    Of each multiple of the interval it is the last measurement not after it, besides the first and the last of all, as
    `train` makes them. The first entry has all measurements. Without an epoch they go up to the length of the run.
    """
    regular = _regular(np.diff(step))
    if not regular.size:
        return {}
    values, counts = np.unique(regular, return_counts=True)
    own = int(values[np.argmax(counts)])
    factors = [factor * 10**power for power in range(10) for factor in (1, 2, 5)]
    whole = int(step[-1] - step[0])
    intervals = [own * factor for factor in factors if own * factor < min(per_epoch or whole, whole)]
    if per_epoch is not None and own <= per_epoch <= whole:
        intervals.append(per_epoch)
    found = {own: np.arange(len(step))}
    for interval in intervals:
        if interval > own:
            multiples = np.arange(0, int(step[-1]) + 1, interval)
            places = np.searchsorted(step, multiples[multiples >= step[0]], side="right") - 1
            found[interval] = np.unique(np.concatenate([[0], places, [len(step) - 1]]))
    return found
