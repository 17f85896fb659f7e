"""What fewer measurements of the same run would have missed: falls, and a better choice of weights."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from everybatch.insight._optimism import halves, right_within
from everybatch.insight._seen import Seen

__all__ = ["hidden_fall", "regrets"]

Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


def hidden_fall(curves: Doubles, places: Integers) -> float:
    """Return how much deeper the deepest fall of a curve is than chosen measurements show it.

    A fall is from the highest value so far to a later one (the drawdown). The first fifth of the run, in which all
    goes up and down, does not count. Of several `curves`, (measurements, curves), the one of which most is hidden; a
    curve of NaN has no falls.
    """
    late = len(curves) // 5
    hidden = _deepest(curves[late:]) - _deepest(curves[places[places >= late]])
    return max(0.0, float(np.max(hidden)))


def _deepest(curves: Doubles) -> Doubles:
    """Return the deepest fall of each curve, (curves,)."""
    if not len(curves):
        return np.zeros(curves.shape[1])
    known = np.nan_to_num(curves)
    falls: Doubles = (np.maximum.accumulate(known, axis=0) - known).max(axis=0)
    return falls


def regrets(one: Seen, chosen: list[Integers], splits: int, seed: int) -> tuple[Doubles, Doubles]:
    """Return what choosing the best of fewer measurements costs in accuracy: mean and deviation over the splits.

    The images are cut into random halves. The best measurement is chosen by one half, of all and of the chosen ones,
    and both are judged by the other half; their difference is the regret. Each half chooses once. Below 0 the fewer
    measurements chose better.
    """
    if len(one.labels) < 2:
        return np.zeros(len(chosen)), np.zeros(len(chosen))
    within = right_within(one, halves(len(one.labels), splits, seed))
    means, spreads = [], []
    for places in chosen:
        costs = []
        for chooses, judges in (within, within[::-1]):
            of_all = judges[chooses.argmax(axis=0), np.arange(splits)]
            of_few = judges[places][chooses[places].argmax(axis=0), np.arange(splits)]
            costs.append(of_all - of_few)
        means.append(np.mean(costs))
        spreads.append(np.mean(costs, axis=0).std())
    return np.array(means), np.array(spreads)
