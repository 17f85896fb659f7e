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
"""The part of the votes that makes a suspect, and by how much the share that is fitted must have risen."""
FROM = 0.1
"""The part of a run before which nothing is called memorising: at first everything changes."""
LEARNED = 0.8
"""The part of the images that are not suspects that must be fitted, or the network is still learning."""
IN_A_ROW = 3
HELD = 0.3
"""The share of suspects that may be fitted at the minimum. Of hard images in clean data it is more."""
FEWEST = 0.01
"""The part of the images that suspects must be."""


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
    minimum, counted from a tenth of the passes on and from where at least four fifths of all other images stay
    predicted as labelled: until then the network is learning. There is none unless that lasts for three passes and the suspects
    had been held off once (the minimum is at most 0.3). Passes with suspects that are less than 1 % of all images do
    not count: on clean data the images that are voted against are hard ones on their way to being learned, few and
    fewer.

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
    return Fitted(count, fitted, others, _onset(count / images, fitted, others))


def _onset(share: Doubles, fitted: Doubles, others: Doubles) -> int | None:
    """Return the first of the passes that show memorisation; see `fitted_suspects`."""
    learning = np.flatnonzero(others < LEARNED)
    first = max(1, math.ceil(FROM * len(fitted)), int(learning[-1]) + 1 if len(learning) else 0)
    counted = np.arange(first, len(fitted))
    counted = counted[share[counted] >= FEWEST]
    if len(counted) <= IN_A_ROW:
        return None
    least = float(fitted[counted].min())
    after = counted[counted > counted[fitted[counted] <= least + RISE][-1]]
    return int(after[0]) if least <= HELD and len(after) >= IN_A_ROW else None
