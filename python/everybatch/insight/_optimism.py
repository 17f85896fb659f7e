"""By how much the best of many measurements is too good, because the images that chose it also measure it."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch

from everybatch._plain_torch import plain_torch
from everybatch.insight._seen import Seen

__all__ = ["halves", "optimism", "right_within"]

Doubles = npt.NDArray[np.float64]
_BLOCK = 1 << 22
"""Numbers of a block of right or wrong as float32: 16 MB."""


def optimism(one: Seen, splits: int, seed: int) -> tuple[float, float]:
    """Return the optimism of the best of the measurements, and its standard deviation over the splits.

    The images are cut into two random halves, `splits` times. One half chooses the best measurement; its optimism is
    its accuracy there less that on the other half. The standard error of an accuracy of all images is that of half of
    them over √2, and so is the optimism.

    Efron's bootstrap was tried and is not used. Where the optimism is known, of 100 drawn measurements of 500 images
    (`benches/bench_insight_views.py`), it gave 0.6 to 0.7 of it if the chosen measurement was held against all images,
    and 1.2 to 1.5 of it if against those that were not drawn; halves gave 0.9 to 1.1 of it.
    """
    n = len(one.labels)
    if n < 2:
        return 0.0, 0.0
    chosen_by, judged_by = right_within(one, halves(n, splits, seed))
    best = chosen_by.argmax(axis=0)
    gap = (chosen_by - judged_by)[best, np.arange(splits)] / math.sqrt(2)
    return float(gap.mean()), float(gap.std())


def halves(n: int, splits: int, seed: int) -> npt.NDArray[np.float32]:
    """Return random halves of n images: (n, splits) float32, 1 for those of the first half."""
    draw = np.random.default_rng(seed)
    within = np.zeros((splits, n), np.float32)
    for row in within:
        row[draw.permutation(n)[: n // 2]] = 1
    return within.T


def right_within(one: Seen, within: npt.NDArray[np.float32]) -> tuple[Doubles, Doubles]:
    """Return the accuracies of the measurements on the halves and on the rest: each (measurements, splits)."""
    n, splits = within.shape
    size = within.sum(axis=0, dtype=np.float64)
    accuracies = np.empty((2, len(one.step), splits))
    rows = max(_BLOCK // n, 1)
    wanted = one.labels.astype(one.predictions.dtype)
    with plain_torch():  # on a busy machine NumPy's product took 30 times as long
        halved = torch.from_numpy(within)
        for start in range(0, len(one.step), rows):
            right = one.predictions[start : start + rows] == wanted
            product = torch.from_numpy(right.astype(np.float32)) @ halved
            inner = product.numpy().astype(np.float64)  # whole numbers below 2**24: exact
            outer = right.sum(axis=1)[:, None] - inner
            accuracies[0, start : start + rows] = inner / size
            accuracies[1, start : start + rows] = outer / (n - size)
    return accuracies[0], accuracies[1]
