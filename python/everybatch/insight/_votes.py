"""Votes: which class a network gave to each image at every pass, counted, and how strongly on average."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["count_votes", "reliability", "rivals", "votes_margin"]

Integers = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]


def count_votes(predictions: npt.NDArray[Any], classes: int) -> Integers:
    """Return how often each class was predicted of each image, (images, classes) int64.

    Parameters
    ----------
    predictions
        (passes, images) of any integer type.
    classes
        How many there are.
    """
    images = predictions.shape[1]
    start = np.arange(images, dtype=np.int64) * classes
    votes = np.zeros(images * classes, np.int64)
    for row in predictions:
        votes[start + row] += 1  # each image once, so that no index is there twice
    return votes.reshape(images, classes)


def rivals(votes: npt.NDArray[Any], labels: Integers) -> tuple[Integers, Integers]:
    """Return the most frequent class other than the label (the first of equals), and its votes; both (images,)."""
    others = votes.astype(np.int64)
    others[np.arange(len(labels)), labels] = -1
    rival = others.argmax(axis=1)
    return rival, others[np.arange(len(labels)), rival]


def votes_margin(votes: npt.NDArray[Any], labels: Integers, margins: Doubles) -> Doubles:
    """Return the votes of the most frequent other class minus those of the label, as a share of all, (images,).

    Equal ones are told apart by tanh of the mean margin, which counts for less than a single vote.

    Parameters
    ----------
    votes
        (images, classes), as of `count_votes`.
    labels
        (images,)
    margins
        (images,): mean over the passes of the logit of the label minus the largest other logit.
    """
    _, of_rival = rivals(votes, labels)
    own = votes[np.arange(len(labels)), labels]
    passes = np.maximum(votes.sum(axis=1), 1)
    margin: Doubles = (of_rival - own - 0.49 * np.tanh(np.nan_to_num(margins))) / passes
    return margin


def reliability(votes: npt.NDArray[Any], margins: Doubles) -> Doubles:
    """Return how strongly each image was voted for, beside the images that the same class was voted for, in [0, 1].

    It is the size of the mean margin over the median of that among all images whose most frequent class is the same, at
    most 1. A network that was told 3 or 8 of the same images is never far from the border between them, and these
    votes still count; a single image that is much nearer to a border than others of its class is a hard one.

    Parameters
    ----------
    votes
        (images, classes)
    margins
        (images,): mean over the passes of the logit of the label minus the largest other logit.
    """
    most, size = votes.argmax(axis=1), np.abs(np.nan_to_num(margins))
    usual = np.ones(votes.shape[1])
    for name in np.unique(most):
        usual[name] = np.median(size[most == name])
    share: Doubles = np.where(usual[most] > 0, np.minimum(size / np.maximum(usual[most], 1e-12), 1.0), 1.0)
    return share
