"""Limits for an axis of accuracies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["zoomed"]

_SKIP = 0.2  # the part of a run, at its beginning, that the limits disregard
_FEW = 3
_LEAST = 0.004  # the smallest span: noise of a few images should not fill the picture


def zoomed(curves: Sequence[npt.NDArray[np.float64]]) -> tuple[float, float]:
    """Return limits that fit curves (or ends of bands) after their first fifth, so that differences at the end show.

    Of two or three points all count: without the first there would be no line to see.
    """
    late = [curve[int(np.ceil(len(curve) * _SKIP)) if len(curve) > _FEW else 0 :] for curve in curves]
    values = np.concatenate([np.ravel(curve) for curve in late]) if late else np.empty(0)
    values = values[~np.isnan(values)]
    if not len(values):
        return 0.0, 1.02
    low, high = float(np.min(values)), float(np.max(values))
    if high - low < _LEAST:
        low, high = (low + high - _LEAST) / 2, (low + high + _LEAST) / 2
    margin = 0.06 * (high - low)
    top = high + margin
    if high <= 1 < top:
        top = 1 + 0.3 * margin  # nothing is above 100 %, but a line on the edge would be cut in half
    return max(low - margin, -margin * 0.3), top
