"""Seeded, stratified draws: a part of a data set that keeps the share of every class."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from everybatch.errors import ArgumentError

__all__ = ["draw"]


def draw(labels: npt.NDArray[np.int64], count: int | None, seed: tuple[int, int], what: str) -> Any:
    """Choose `count` ascending indices, each class in proportion, the largest remainders rounded up."""
    if count is None:
        return slice(None)
    if not isinstance(count, (int, np.integer)) or isinstance(count, bool):
        raise TypeError(f"{what} must be a number of images or None, not {count!r}")
    count = int(count)  # NumPy's small integers would overflow below
    if not 1 <= count <= len(labels):
        raise ArgumentError(f"{what}={count} images cannot be drawn from {len(labels):,}; choose 1 to {len(labels):,}")
    have = np.bincount(labels)
    quota, remainder = np.divmod(have * count, len(labels))
    short = count - int(quota.sum())
    quota[np.argsort(-remainder, kind="stable")[:short]] += 1
    # Raw generator output, because NumPy promises that it stays the same from version to version; choice()
    # may change.
    keys = np.random.PCG64(seed).random_raw(len(labels))
    order = np.lexsort((keys, labels))  # class by class, shuffled within each
    starts = np.cumsum(have) - have
    chosen = [order[s : s + q] for s, q in zip(starts, quota, strict=True)]
    return np.sort(np.concatenate(chosen))
