"""Images that come without a test set: a share of each class is put aside for it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from everybatch import _convert
from everybatch._arguments import share, whole
from everybatch.errors import DataError

__all__ = ["TEST_FRACTION", "split"]

TEST_FRACTION = 0.2
"""Usual share of the test images."""

Four = tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]


def split(images: npt.NDArray[Any], labels: object, fraction: float, seed: int) -> Four:
    """Return training images and labels, test images and labels, both in their old order.

    Of each class `fraction` of the images (rounded to the nearest number) become test images, at least one, and not
    all.

    Raises
    ------
    DataError
        If a class has a single image, or there are not as many labels as images.
    """
    fraction, seed = share(fraction, "test_fraction"), whole(seed, "seed", least=0)
    classes = _convert.labels_or_names(labels, "labels")
    if np.shape(images)[:1] != (len(classes),):
        raise DataError(f"images of shape {np.shape(images)} have {len(classes):,} labels; each image needs one")
    is_test = np.zeros(len(classes), bool)
    for index, name in enumerate(np.unique(classes)):
        members = np.flatnonzero(classes == name)
        if len(members) < 2:
            raise DataError(
                f"the class {name} has one image, number {members[0]}; a split into training and test needs two"
            )
        count = min(max(1, math.floor(len(members) * fraction + 0.5)), len(members) - 1)
        # Raw generator output, because NumPy promises that it stays the same from version to version.
        order = np.argsort(np.random.PCG64((seed, index)).random_raw(len(members)), kind="stable")
        is_test[members[order[:count]]] = True
    return images[~is_test], classes[~is_test], images[is_test], classes[is_test]
