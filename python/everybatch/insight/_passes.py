"""What analyses of training labels take of a run: its passes over the training images in evaluation mode."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import numpy as np
import numpy.typing as npt

from everybatch._measure import sound_rows
from everybatch._metered import epoch_steps
from everybatch.dataset import Dataset
from everybatch.errors import ArgumentError
from everybatch.insight._dataset import dataset_of, run_of
from everybatch.insight._interval import interval_of
from everybatch.run import Run

__all__ = ["Passes", "passes_of"]

Integers = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, eq=False)
class Passes:
    """The passes of a run over the images that it was trained on.

    Attributes
    ----------
    run : Run
    dataset : Dataset
    indices : (images,) int64
        Which training images these are.
    labels : (images,) int64
        Theirs, as they were trained on.
    step : (passes,) int64
        Optimizer steps taken before each pass.
    predictions : (passes, images) uint8 or uint16
    margins, losses : (passes, images) float16
        Logit of the label minus the largest other one, and cross-entropy.
    """

    run: Run
    dataset: Dataset
    indices: Integers
    labels: Integers
    step: Integers
    predictions: npt.NDArray[Any]
    margins: npt.NDArray[Any]
    losses: npt.NDArray[Any]

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        return self.run.classes

    def said(self, count: int) -> str:
        """Return in words which passes the first `count` of them are: how many, how often, and up to when."""
        every = interval_of(self.step, epoch_steps(self.run._config))
        number = f"{count} of {len(self.step)} passes" if count < len(self.step) else f"{count} passes"
        return f"{number} over the training images, {every}, up to step {self.step[count - 1]:,}"


def passes_of(given: Run | str | os.PathLike[str], dataset: Dataset | None) -> Passes:
    """Return the passes of a run that count, with the labels: their losses are numbers, and it had not diverged.

    Raises
    ------
    AttributeError
        The run did not record them; the message says how to train so that it does.
    ArgumentError, TypeError
        It made none that counts, or the data set is another one or cannot be found.
    """
    run = run_of(given)
    predictions, indices = run.training_predictions, run.trained_indices
    if not len(predictions):
        raise ArgumentError(
            "this run made no pass over its training images (yet): train with record=('examples',) and "
            "measure_training=20 for 20 of them, evenly over its steps"
        )
    rows = sound_rows(run.training_losses, run.training_eval_step, run.diverged_at)  # as in the tables of images
    if not len(predictions[rows]):
        raise ArgumentError("this run had diverged before its first pass over the training images was over")
    data = dataset_of(run, dataset)
    return Passes(
        run=run,
        dataset=data,
        indices=indices,
        labels=data.train_labels[indices],
        step=run.training_eval_step[rows],
        predictions=predictions[rows],
        margins=run.training_margins[rows],
        losses=run.training_losses[rows],
    )
