"""Mean losses of the test images, how far they may be off, and how far their changes may be."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["loss_change", "loss_errors"]

Doubles = npt.NDArray[np.float64]


def loss_errors(losses: npt.NDArray[Any]) -> tuple[Doubles, Doubles, Doubles]:
    """Return mean loss and its standard error at each measurement, and the paired standard error of each change.

    `losses` are (measurements, images); the results (measurements,), the same, and (measurements - 1,). The error of a
    mean is the standard deviation of a sample, over √images; that of a change the same of the images' differences. One
    image has none: NaN.
    """
    mean, error = np.empty(len(losses)), np.empty(len(losses))
    changed = np.empty(max(len(losses) - 1, 0))
    before: Doubles | None = None
    for place, row in enumerate(losses):
        values = row.astype(np.float64)
        mean[place], error[place] = values.mean(), _error(values)
        if before is not None:
            changed[place - 1] = _error(values - before)
        before = values
    return mean, error, changed


def loss_change(before: npt.NDArray[Any], after: npt.NDArray[Any]) -> tuple[float, float]:
    """Return the change of the mean loss between two measurements of the same images, and its paired error."""
    difference = after.astype(np.float64) - before
    return float(difference.mean()), _error(difference)


def _error(values: Doubles) -> float:
    if len(values) < 2:
        return float("nan")
    with np.errstate(invalid="ignore"):  # a loss that is not finite has no deviation
        return float(values.std(ddof=1) / np.sqrt(len(values)))
