"""Class alarms: one class falls from a measurement to the next, and the others together do not."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from everybatch.insight._paired import paired_error, softened
from everybatch.insight._seen import Seen

__all__ = ["Alarms", "alarms"]

Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


class Alarms(NamedTuple):
    """One entry for each alarm, in the order of steps."""

    place: Integers
    """The measurement after the fall."""
    of: Integers
    """The class that fell."""
    fall: Doubles
    """By how much its accuracy fell: images lost less images gained, of all that it has."""
    error: Doubles
    """The paired standard error of that."""
    standard_errors: Doubles
    """The fall in standard errors, both with half an image more in each cell (`_paired.softened`)."""
    of_all: Doubles
    """The change of the accuracy of all images at that step."""


def alarms(one: Seen, threshold: float) -> Alarms:
    """Find the classes that fall by more than `threshold` paired standard errors while all others together do not.

    None where all images are of one class: what falls then are all images.
    """
    classes, images = one.class_images, len(one.labels)
    found: list[tuple[float, ...]] = []
    before: npt.NDArray[np.bool_] | None = None
    for place, row in enumerate(one.right()):
        if before is not None:
            gained, lost = (
                np.bincount(one.labels[moved], minlength=len(classes)) for moved in (row & ~before, before & ~row)
            )
            own, others = (
                _fall(*counts)
                for counts in ((gained, lost, classes), (gained.sum() - gained, lost.sum() - lost, images - classes))
            )
            for number in np.flatnonzero((own > threshold) & (others <= threshold)).tolist():
                g, gone, n = (int(each[number]) for each in (gained, lost, classes))
                error = float(paired_error(g, gone, n))
                change = float(gained.sum() - lost.sum()) / images
                found.append((place, number, (gone - g) / n, error, float(own[number]), change))
        before = row
    columns = np.array(found, np.float64).reshape(-1, 6).T
    return Alarms(columns[0].astype(np.int64), columns[1].astype(np.int64), *columns[2:])


def _fall(gained: Integers, lost: Integers, images: Integers) -> Doubles:
    """Return falls in standard errors; NaN where there are no images."""
    change, error = softened(gained, lost, images)
    fall: Doubles = -change / error
    return fall
