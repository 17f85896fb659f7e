"""How suspicious the labels of test images are: what a network that never saw them keeps saying against them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from everybatch._measure import sound_rows
from everybatch._measures import SUMS
from everybatch._metered import epoch_steps
from everybatch.dataset import Dataset
from everybatch.errors import ArgumentError
from everybatch.insight._dataset import dataset_of
from everybatch.insight._interval import interval_of
from everybatch.insight._label_noise import label_noise
from everybatch.insight._suspects import Suspects
from everybatch.insight._votes import count_votes, votes_margin
from everybatch.run import Run

__all__ = ["found", "log_odds_of"]

Doubles = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True, eq=False)
class _Said:
    """What one run says of the test images: score, votes (images, classes) and mean margin, and from what."""

    score: Doubles
    loss: Doubles
    votes: npt.NDArray[np.int64]
    margins: Doubles
    score_name: str
    interval: str
    film: npt.NDArray[Any]
    counted: slice


def log_odds_of(losses: npt.NDArray[Any]) -> Doubles:
    """Return log(p / (1 - p)) of the label's probability p = exp(-loss): a margin against all others together."""
    losses = np.maximum(losses.astype(np.float64), 1e-7)
    odds: Doubles = -losses - np.log(-np.expm1(-losses))
    return odds


def found(runs: Sequence[tuple[Run, Dataset | None]]) -> Suspects:
    """Return what one or several runs say of the test labels.

    Raises
    ------
    AttributeError
        A run recorded nothing that would tell.
    ArgumentError, TypeError
        The runs measured other images, or a data set is another one or cannot be found.
    """
    first, given = runs[0]
    data = dataset_of(first, given)
    for other, its in runs[1:]:
        if not np.array_equal(other.test_indices, first.test_indices) or not np.array_equal(
            dataset_of(other, its).test_labels, data.test_labels
        ):
            raise ArgumentError("runs: these runs were measured on other test images, so their scores do not add up")
    labels = data.test_labels[first.test_indices]
    by_votes = not all({"losses", "test_sums"} & run._arrays.keys() for run, _ in runs)
    said = [_said(run, labels, by_votes=by_votes) for run, _ in runs]
    votes = np.sum([each.votes for each in said], axis=0)
    model = label_noise(votes, labels, np.mean([each.margins for each in said], axis=0))
    more = "" if len(runs) == 1 else f" (and {len(runs) - 1} more runs)"
    return Suspects(
        indices=first.test_indices,
        labels=labels,
        images=data.test_images,
        suggested=model.suggested,
        probability=np.full(len(labels), np.nan),  # what is hard for every network looks the same
        score=np.mean([each.score for each in said], axis=0),
        mean_loss=np.mean([each.loss for each in said], axis=0),
        noise=model.noise,
        votes=said[0].film,
        counted=said[0].counted,
        onset_step=None,
        score_name=said[0].score_name,
        interval=said[0].interval + more,
        classes=first.classes,
    )


def _said(run: Run, labels: npt.NDArray[np.int64], *, by_votes: bool) -> _Said:
    """Take the best of what a run recorded of its test images, or its votes alone; see `label_errors`."""
    classes = len(run.classes)
    rows = sound_rows(run.test_loss, run.eval_step, run.diverged_at)  # of logits that are no numbers there is no vote
    measured = run.images_measured[rows] == len(run.test_indices)  # with a tolerance, the complete ones
    step = run.eval_step[rows][measured]
    if not len(step):
        raise ArgumentError("this run has no measurement of all its test images whose loss is a number")
    every = interval_of(step, epoch_steps(run._config))
    whole, later = slice(0, len(step)), slice(len(step) // 3, len(step))
    over_all, over_later = f"over all measurements, {every}", f"over the last two thirds of the measurements, {every}"
    predictions, losses = run._arrays.get("predictions"), run._arrays.get("losses")
    film = np.empty((0, len(labels)), np.uint8) if predictions is None else predictions[rows]
    by_sums = not by_votes and losses is None and "test_sums" in run._arrays
    counted_later = predictions is not None and not by_sums  # else by the run, whose lack of votes says how to train
    votes = count_votes(film[later], classes) if counted_later else run.test_votes.astype(np.int64)
    if by_sums:
        count = np.maximum(run.test_votes.sum(axis=1), 1)
        of = {name: run.test_sums[:, place] / count for place, name in enumerate(SUMS)}
        return _Said(of["loss"], of["loss"], votes, of["margin"], "mean loss", over_all, film, whole)
    if losses is not None and not by_votes:
        loss, margins = _means(losses[rows][later])
        return _Said(loss, loss, votes, margins, "mean loss", over_later, film, later)
    nothing, unknown = np.zeros(len(labels)), np.full(len(labels), np.nan)
    score = votes_margin(votes, labels, nothing)
    window, counted = (over_later, later) if counted_later else (over_all, whole)
    return _Said(score, unknown, votes, nothing, "votes margin", window, film, counted)


def _means(losses: npt.NDArray[Any]) -> tuple[Doubles, Doubles]:
    """Return the mean loss and the mean log odds of each image, row by row; rows that are not finite do not count."""
    loss, odds = np.zeros((2, losses.shape[1]))
    count = 0
    for row in losses:
        if np.isfinite(row).all():
            loss += row
            odds += log_odds_of(row)
            count += 1
    return loss / max(count, 1), odds / max(count, 1)
