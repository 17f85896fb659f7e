"""When a network begins to memorise labels that it had voted against, seen from the training images alone."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Fitted", "fitted_suspects"]

Integers = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

SHARE, RISE = 0.6, 0.03
FROM = 0.1
"""The part of a run before which nothing is called memorising: at first everything changes."""
IN_A_ROW = 3
HELD = 0.3
FEWEST = 0.01


@dataclasses.dataclass(frozen=True, eq=False)
class Fitted:
    """What `fitted_suspects` found.

    Attributes
    ----------
    suspects : (passes,) int64
        Images of which at least 60 % of the votes before the pass went to one other class; 0 at the first.
    suspects_fitted : (passes,) float64
        The share of these that the pass predicts as they are labelled; NaN where there are none.
    others_fitted : (passes,) float64
        The same of all other images.
    onset : int or None
        The pass at which memorisation begins.
    """

    suspects: Integers
    suspects_fitted: Doubles
    others_fitted: Doubles
    onset: int | None


def fitted_suspects(predictions: npt.NDArray[Any], labels: Integers, classes: int) -> Fitted:
    """Follow the images that were voted against, and say when the network begins to fit their labels.

    Memorisation begins at the pass from which on the share of suspects that are fitted stays more than 0.03 above its
    minimum, counted from a tenth of the passes on. There is none unless that lasts for three passes, the suspects had
    been held off once (the minimum is at most 0.3), and they are at least 1 % of all images at the time: on clean data
    the images that are voted against are hard ones that are on their way to being learned, few and fewer.

    Parameters
    ----------
    predictions
        (passes, images): the class predicted of each training image, at each pass.
    labels
        (images,)
    classes
        How many there are.
    """
    passes, images = predictions.shape
    votes = np.zeros((images, classes), np.int32)
    every = np.arange(images)
    count = np.zeros(passes, np.int64)
    fitted, others = np.full(passes, np.nan), np.full(passes, np.nan)
    for number, row in enumerate(predictions):
        right = row == labels
        against = votes.copy()
        against[every, labels] = 0
        suspect = (against.max(axis=1) >= SHARE * number) & (number > 0)
        count[number] = suspect.sum()
        if count[number]:
            fitted[number] = right[suspect].mean()
        if count[number] < images:
            others[number] = right[~suspect].mean()
        votes[every, row] += 1
    return Fitted(count, fitted, others, _onset(count / images, fitted))


def _onset(share: Doubles, fitted: Doubles) -> int | None:
    """Return the first of the passes that show memorisation; see `fitted_suspects`."""
    first = max(1, math.ceil(FROM * len(fitted)))
    counted = fitted[first:]
    if not np.isfinite(counted).any():
        return None
    least = float(np.nanmin(counted))
    onset = first + int(np.flatnonzero(counted <= least + RISE)[-1]) + 1
    last = np.arange(onset, len(fitted))
    if least > HELD or len(last) < IN_A_ROW or np.any(share[last[:IN_A_ROW]] < FEWEST):
        return None
    return onset
