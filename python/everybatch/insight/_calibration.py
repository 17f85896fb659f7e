"""Probabilities from scores, by means of images that are known to be wrong; isotonic regression."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["isotonic", "probability_by_planted"]

Doubles = npt.NDArray[np.float64]


def isotonic(values: Doubles, weights: Doubles) -> Doubles:
    """Return the non-decreasing numbers that are nearest to `values` in weighted squares (pool adjacent violators).

    Parameters
    ----------
    values, weights
        (n,) in order of what they are to rise with; weights are above 0.
    """
    means: list[float] = []
    masses: list[float] = []
    counts: list[int] = []
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        mean, mass, count = value, weight, 1
        while means and means[-1] >= mean:
            together = masses[-1] + mass
            mean = (means.pop() * masses[-1] + mean * mass) / together
            mass, count = together, count + counts.pop()
            masses.pop()
        means.append(mean)
        masses.append(mass)
        counts.append(count)
    return np.repeat(means, counts)


def probability_by_planted(score: Doubles, planted: Doubles) -> Doubles:
    """Return the probability that each label is wrong, (images,), from the scores of labels that are known to be.

    With p and f the densities of the scores of planted errors and of all others, a share π of which are wrong, the
    probability is π p(s) / f(s). The ratio is that of the odds of an isotonic regression of "is planted" on the score;
    π is what makes half of all wrong ones lie above the median of the planted.

    Parameters
    ----------
    score
        (images,), high where a label is suspicious; without the planted ones.
    planted
        (errors,): scores of the planted ones.
    """
    both = np.concatenate([planted, score])
    is_planted = np.zeros(len(both))
    is_planted[: len(planted)] = 1
    places, inverse = np.unique(both, return_inverse=True)
    total = np.bincount(inverse)
    share = isotonic(np.bincount(inverse, is_planted) / total, total.astype(np.float64))
    ratio = share / np.maximum(1 - share, 1e-12) * len(score) / max(len(planted), 1)
    wrong = min(2 * float(np.mean(score >= np.median(planted))), 1.0)
    found: Doubles = np.minimum(wrong * ratio[np.searchsorted(places, score)], 1.0)
    return found
