"""How much two sets of predictions, or two orders, agree: arithmetic on arrays."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["kappa", "ranks", "spearman"]

Doubles = npt.NDArray[np.float64]
Classes = npt.NDArray[np.integer]


def kappa(one: Classes, other: Classes, classes: int) -> float:
    """Return Cohen's kappa of two predictions of the same images; NaN if both give one and the same class throughout.

    (p - c) / (1 - c): the part p on which they agree, against the part c on which two that answer at random, each class
    as often as these do, would agree (J. Cohen, Educational and Psychological Measurement 20, 1960).
    """
    table = np.bincount(one.astype(np.int64) * classes + other, minlength=classes**2).reshape(classes, classes)
    total = int(table.sum())
    chance = int((table.sum(axis=0) * table.sum(axis=1)).sum())  # of total²
    if not total or chance == total**2:
        return float("nan")
    return (int(table.trace()) * total - chance) / (total**2 - chance)


def ranks(values: npt.NDArray[np.int64]) -> Doubles:
    """Return ranks from 1; equal values share the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    shared: Doubles = (ends - (counts - 1) / 2)[place]
    return shared


def spearman(one: npt.NDArray[np.int64], other: npt.NDArray[np.int64]) -> float:
    """Return Spearman's correlation: Pearson's of the `ranks`. NaN if all values of one are equal."""
    first, second = (each - each.mean() for each in (ranks(one), ranks(other)))
    scale = np.sqrt((first**2).sum() * (second**2).sum())
    return float((first * second).sum() / scale) if scale > 0 else float("nan")
