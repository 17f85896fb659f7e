"""Where the accuracy fell the most, from one measurement to the next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from everybatch.insight._ledger import changes
from everybatch.insight._paired import paired_error

__all__ = ["Fall", "falls"]

_EARLY = 0.1
"""The share of a run in whose beginning everything moves at once: falls are sought after it."""


@dataclass(frozen=True)
class Fall:
    """A change from one measurement to the next."""

    measurement: int
    """The one after the fall, as a row of the predictions."""
    lost: int
    """Images that were right before, and are wrong after."""
    gained: int
    """The other way round."""
    z: float
    """The change over its paired standard error, below 0."""


def falls(predictions: npt.NDArray[np.unsignedinteger[Any]], labels: npt.NDArray[np.int64], most: int) -> list[Fall]:
    """Return the falls, those that stand out the most first.

    Parameters
    ----------
    predictions : (evaluations, images)
        Classes.
    labels : (images,)
        What they should be.
    most
        How many at most.

    Notes
    -----
    The same images are measured twice, so that the standard error of the change is paired: see `paired_error`.
    """
    first = max(1, round(_EARLY * len(predictions)))
    counted = changes(predictions, labels, int(np.max(labels)) + 1)
    found = []
    for number in range(first, len(predictions)):
        lost, gained = int(counted.lost[number - 1]), int(counted.gained[number - 1])
        if lost > gained:
            error = float(paired_error(gained, lost, len(labels)))
            z = (gained - lost) / len(labels) / error if error > 0 else -np.inf
            found.append(Fall(number, lost, gained, z))
    return sorted(found, key=lambda fall: (fall.z, fall.measurement))[:most]
