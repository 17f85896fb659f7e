"""What a screen can show of a curve: of each of its columns the mean, the least and the greatest value."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Thin", "thin"]

Doubles = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]

_WIDTH = 2  # standard errors to both sides


@dataclasses.dataclass(frozen=True)
class Thin:
    """A curve in columns: all arrays (n,). NaN where nothing is known.

    `low` and `high` are None where each column holds one value. The error of a column is the largest in it; its band
    goes from the lowest end to the highest.
    """

    x: Doubles
    y: Singles
    low: Singles | None = None
    high: Singles | None = None
    error: Singles | None = None
    band_low: Singles | None = None
    band_high: Singles | None = None


def thin(
    x: npt.NDArray[Any],
    y: npt.NDArray[Any],
    columns: int,
    window: tuple[float, float] | None = None,
    error: npt.NDArray[Any] | None = None,
    most: float = np.inf,
) -> Thin:
    """Return a curve in no more than so many columns, or somewhat more at the ends of the window.

    Columns have a width of a power of two and begin at multiples of it, so that they stay what they are while a curve
    grows. Where all values of the window fit, each is a column of its own.

    Parameters
    ----------
    x : (n,) rising
        Where the values are.
    y : (n,)
        The values; what is not finite is not known.
    columns
        How many there is room for.
    window
        From where to where; everything unless given. One value beyond either end is kept, so that a line reaches it.
    error : (n,)
        Standard errors of the values, for a band of two to both sides.
    most
        The most that a value can be, where a band ends.
    """
    first, last = 0, len(x)
    if window is not None:
        first = max(0, int(np.searchsorted(x, window[0], "left")) - 1)
        last = min(len(x), int(np.searchsorted(x, window[1], "right")) + 1)
    x, y = np.asarray(x[first:last], np.float64), y[first:last]
    error = None if error is None else error[first:last]
    if error is not None and not np.any(error > 0):
        error = None
    if len(x) <= columns:
        starts = np.arange(len(x))
    elif not x[-1] > x[0]:
        starts = np.zeros(1, np.int64)
    else:
        size = 2.0 ** math.ceil(math.log2((x[-1] - x[0]) / columns))
        edges = np.arange(math.floor(x[0] / size), math.floor(x[-1] / size) + 1) * size
        starts = np.unique(np.searchsorted(x, edges, "left"))
    return _reduced(x, y, starts, error, most)


def _reduced(
    x: Doubles, y: npt.NDArray[Any], starts: npt.NDArray[np.int64], error: npt.NDArray[Any] | None, most: float
) -> Thin:
    if not len(starts):
        return Thin(np.empty(0), np.empty(0, np.float32))
    finite = np.isfinite(y)
    if len(starts) == len(x):
        middle, low, high = x, None, None
        mean = np.where(finite, y, np.nan).astype(np.float32)
    else:
        middle = (x[starts] + x[np.append(starts[1:], len(x)) - 1]) / 2
        middle[[0, -1]] = x[[0, -1]]  # the ends stay where they are
        if finite.all():
            counts: npt.NDArray[Any] = np.diff(np.append(starts, len(x)))
            sums = np.add.reduceat(y, starts, dtype=np.float64)
            low, high = np.minimum.reduceat(y, starts), np.maximum.reduceat(y, starts)
        else:
            y = np.where(finite, y, np.nan)
            counts = np.add.reduceat(finite, starts, dtype=np.int64)
            sums = np.add.reduceat(np.where(finite, y, 0), starts, dtype=np.float64)
            low, high = np.fmin.reduceat(y, starts), np.fmax.reduceat(y, starts)
        with np.errstate(invalid="ignore"):
            mean = (sums / counts).astype(np.float32)
        low, high = low.astype(np.float32), high.astype(np.float32)
    if error is None:
        return Thin(middle, mean, low, high)
    known = np.isfinite(error)
    # As wide as any where nothing is known of it, as in pictures.
    wide = np.where(known, error, np.max(error, where=known, initial=0)).astype(np.float64)
    bottom, top = np.maximum(y - _WIDTH * wide, 0), np.minimum(y + _WIDTH * wide, most)
    bottom, top = np.where(finite, bottom, np.nan), np.where(finite, top, np.nan)
    return Thin(
        middle,
        mean,
        low,
        high,
        np.maximum.reduceat(wide, starts).astype(np.float32),
        np.fmin.reduceat(bottom, starts).astype(np.float32),
        np.fmax.reduceat(top, starts).astype(np.float32),
    )
