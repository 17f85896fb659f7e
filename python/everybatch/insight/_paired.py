"""How far a measured accuracy, or a change of one, may be off because the test images are a sample.

Two measurements of the same images are a pair: the error of their difference comes from the few images that changed
sides, and is a third or less of what two separate test sets would give.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["changed_interval", "paired_error", "percent", "quantile", "softened", "wilson"]

Doubles = npt.NDArray[np.float64]


def quantile(level: float) -> float:
    """Return how many standard errors to both sides hold a normal variable with this probability."""
    # Not of (1 + level) / 2, which is 1 where a level is close to it.
    return -NormalDist().inv_cdf((1 - level) / 2)


def percent(level: float) -> str:
    """Return a level as it is written: 95%, 99.9%."""
    return f"{100 * level:.12g}%"


def wilson(right: npt.ArrayLike, images: npt.ArrayLike, level: float = 0.95) -> tuple[Doubles, Doubles]:
    """Return the ends of Wilson's interval of a proportion, `right` of `images`; NaN where there are no images.

    (p + z²/2n ± z √(p(1 - p)/n + z²/4n²)) / (1 + z²/n) (E. B. Wilson, JASA 22, 1927).
    """
    n = np.asarray(images, np.float64)
    z = quantile(level)
    with np.errstate(invalid="ignore", divide="ignore"):
        p = np.asarray(right, np.float64) / n
        middle = p + z**2 / (2 * n)
        half = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
        scale = 1 + z**2 / n
        return np.clip((middle - half) / scale, 0, 1), np.clip((middle + half) / scale, 0, 1)


def paired_error(gained: npt.ArrayLike, lost: npt.ArrayLike, images: npt.ArrayLike) -> Doubles:
    """Return the standard error of a change of accuracy: √(g + l - (g - l)²/n) / n.

    `gained` images were wrong before and right after, `lost` the other way round, of `images` that were measured both
    times. NaN where there are none.
    """
    g, lost_, n = (np.asarray(each, np.float64) for each in (gained, lost, images))
    with np.errstate(invalid="ignore", divide="ignore"):
        error: Doubles = np.sqrt(np.maximum(g + lost_ - (g - lost_) ** 2 / n, 0)) / n
    return error


def changed_interval(
    gained: npt.ArrayLike, lost: npt.ArrayLike, images: npt.ArrayLike, level: float = 0.95
) -> tuple[Doubles, Doubles]:
    """Return the ends of an interval of a change of accuracy that also holds where few images changed.

    That of `paired_error` with half an image more in each of the four cells: gained, lost, right or wrong both times
    (A. Agresti, Y. Min, Statistics in Medicine 24, 2005).
    """
    change, error = softened(gained, lost, images)
    half = quantile(level) * error
    return np.maximum(change - half, -1), np.minimum(change + half, 1)


def softened(gained: npt.ArrayLike, lost: npt.ArrayLike, images: npt.ArrayLike) -> tuple[Doubles, Doubles]:
    """Return change and error with half an image more in each cell; both NaN where there are no images."""
    g, lost_, n = (np.asarray(each, np.float64) for each in (gained, lost, images))
    n = np.where(n > 0, n + 2, np.nan)
    change: Any = (g - lost_) / n
    return change, paired_error(g + 0.5, lost_ + 0.5, n)
