"""How suspicious the labels of training images are: votes before the onset of memorisation, of one run or several."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from everybatch.errors import ArgumentError
from everybatch.insight._calibration import probability_by_planted
from everybatch.insight._label_noise import LabelNoise, label_noise
from everybatch.insight._onset import fitted_suspects
from everybatch.insight._passes import Passes
from everybatch.insight._votes import count_votes

__all__ = ["Suspects", "found", "suspicion"]

Integers = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

FEWEST = 5
"""Passes that count even if memorisation begins earlier: fewer votes err more than some that are memorised."""


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Suspects:
    """What is known of each label, in the order of the images; see `LabelErrors` for what it is."""

    indices: Integers
    labels: Integers
    images: npt.NDArray[np.uint8]
    suggested: Integers
    probability: Doubles
    score: Doubles
    mean_loss: Doubles
    noise: Doubles
    votes: npt.NDArray[Any]
    counted: slice
    onset_step: int | None
    score_name: str
    interval: str
    classes: tuple[str, ...]


def suspicion(votes: npt.NDArray[Any], labels: Integers, margins: Doubles) -> tuple[Doubles, LabelNoise]:
    """Return a score of each label, high where it is suspicious, and the model that it is from.

    It is the logarithm of the odds that the label is wrong, equal ones told apart by the mean margin.

    Parameters
    ----------
    votes
        (images, classes)
    labels
        (images,)
    margins
        (images,): mean over the passes of the logit of the label minus the largest other logit.
    """
    model = label_noise(votes, labels, margins)
    margins = np.nan_to_num(margins)
    usual = float(np.median(np.abs(margins)))
    return model.log_odds - 0.01 * np.tanh(margins / (usual or 1.0)), model


def found(runs: Sequence[Passes], planted: npt.NDArray[Any] | None) -> Suspects:
    """Return what the votes of one or several runs say of the labels that they were trained on.

    Raises
    ------
    ArgumentError, TypeError
        The runs were trained on other images or labels, or there are no such planted ones among them.
    """
    first = runs[0]
    for other in runs[1:]:
        if not np.array_equal(other.indices, first.indices) or not np.array_equal(other.labels, first.labels):
            raise ArgumentError("runs: these runs were trained on other images or labels, so their votes do not add up")
    classes, counts = len(first.classes), [_before_onset(each) for each in runs]
    votes = np.zeros((len(first.labels), classes), np.int64)
    margins, losses = np.zeros((2, len(first.labels)))
    for each, (count, _) in zip(runs, counts, strict=True):
        votes += count_votes(each.predictions[:count], classes)
        margins += each.margins[:count].sum(axis=0, dtype=np.float64)
        losses += each.losses[:count].sum(axis=0, dtype=np.float64)
    total = sum(count for count, _ in counts)
    score, model = suspicion(votes, first.labels, margins / total)
    probability, kept = model.wrong, np.ones(len(score), bool)
    if planted is not None:
        kept = ~_among(planted, first.indices, len(first.dataset.train_labels))
        probability = np.empty_like(score)
        probability[kept] = probability_by_planted(score[kept], score[~kept])
    count, onset = counts[0]
    more = "" if len(runs) == 1 else f" (and {len(runs) - 1} more runs)"
    return Suspects(
        indices=first.indices[kept],
        labels=first.labels[kept],
        images=first.dataset.train_images,
        suggested=model.suggested[kept],
        probability=probability[kept],
        score=score[kept],
        mean_loss=losses[kept] / total,
        noise=model.noise,
        votes=first.predictions[:, kept],
        counted=slice(0, count),
        onset_step=None if onset is None else int(first.step[onset]),
        score_name="log odds of votes",
        interval=first.said(count) + more,
        classes=first.classes,
    )


def _before_onset(one: Passes) -> tuple[int, int | None]:
    """Return how many passes count, those before the onset of memorisation, and the number of the pass that it is."""
    onset = fitted_suspects(one.predictions, one.labels, len(one.classes)).onset
    return (len(one.step) if onset is None else min(max(onset, FEWEST), len(one.step))), onset


def _among(planted: npt.NDArray[Any], indices: Integers, images: int) -> npt.NDArray[np.bool_]:
    """Return which of the trained images are planted errors; others may be held out for validation, of all `images`.

    Raises
    ------
    ArgumentError, TypeError
        Some are none of them, or there are none; or they are all of them.
    """
    if planted.ndim != 1 or planted.dtype.kind not in "iu":
        raise TypeError("planted must be the indices that plant_label_errors returned, a list of whole numbers")
    among = np.isin(indices, planted)
    if not among.any():
        raise ArgumentError("planted names none of the images that this run was trained on")
    unknown = planted[(planted < 0) | (planted >= images)]
    if len(unknown):
        raise ArgumentError(f"planted names training image {unknown[0]}, and there is none")
    if among.all():
        raise ArgumentError(
            "planted names all images that this run was trained on, and none is left to be judged: give those alone "
            "whose labels plant_label_errors changed"
        )
    return among
