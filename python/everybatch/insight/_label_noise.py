"""How likely it is that each label is wrong, from votes alone: a model of how labels come about, fitted to one run.

Every image has a true class, which is not known. Its label was drawn from that class's row of a noise matrix, and the
votes of a network that has not memorised it from that class's row of a confusion matrix (Dawid and Skene 1979, with the
label as one annotator and the network as another). Expectation and maximisation find both matrices, and with them the
probability of every class for every image. So an image labelled 8 and voted 3 is suspicious where 3s were often
labelled 8, and less so where the network takes 8s for 3s.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from everybatch.insight._votes import reliability

__all__ = ["LabelNoise", "label_noise"]

Doubles = npt.NDArray[np.float64]

WEIGHT = 3.0
"""How many independent votes all passes of a run count for. They are of one network, and wrong together: with as many
as there are passes every image would be certain. Chosen on planted errors in MNIST, where 2 to 4 differ little."""
_ITERATIONS, _ENOUGH = 60, 1e-3


@dataclasses.dataclass(frozen=True, eq=False)
class LabelNoise:
    """What `label_noise` found.

    Attributes
    ----------
    wrong : (images,) float64
        Probability that the label is not the true class.
    log_odds : (images,) float64
        Logarithm of the odds of the most probable other class against the label: the same, where 1 is reached.
    suggested : (images,) int64
        The most probable class other than the label.
    noise : (classes, classes) float64
        How often images of each true class (rows) have each label (columns).
    """

    wrong: Doubles
    log_odds: Doubles
    suggested: npt.NDArray[np.int64]
    noise: Doubles


def label_noise(votes: npt.NDArray[Any], labels: npt.NDArray[np.int64], margins: Doubles) -> LabelNoise:
    """Fit the model to the votes of the passes before memorisation.

    Parameters
    ----------
    votes
        (images, classes), at least one of each image.
    labels
        (images,)
    margins
        (images,): mean over the passes of the logit of the label minus the largest other logit.
    """
    images, classes = votes.shape
    every = np.arange(images)
    shares = votes / votes.sum(axis=1, keepdims=True)
    weight = WEIGHT * reliability(votes, margins)[:, None]
    true, said = shares, np.zeros_like(shares)  # first of all the network is believed
    noise = np.eye(classes)
    for _ in range(_ITERATIONS):
        labelled = np.stack([np.bincount(labels, true[:, name], classes) for name in range(classes)]) + 0.1 / classes
        noise = labelled / labelled.sum(axis=1, keepdims=True)
        voted = true.T @ shares + 1 / classes
        voted /= voted.sum(axis=1, keepdims=True)
        prior = np.log(true.mean(axis=0) + 1e-12)
        said = prior + np.log(noise).T[labels] + weight * (shares @ np.log(voted).T)
        said -= said.max(axis=1, keepdims=True)
        now = np.exp(said)
        now /= now.sum(axis=1, keepdims=True)
        moved, true = np.abs(now - true).max(), now
        if moved < _ENOUGH:
            break
    own = said[every, labels]
    said[every, labels] = -np.inf
    suggested = said.argmax(axis=1)
    return LabelNoise(1 - true[every, labels], said[every, suggested] - own, suggested, noise)
