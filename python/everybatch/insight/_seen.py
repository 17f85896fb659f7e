"""What analyses of measured test images take of a run: which class was predicted, which is right, and when."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from everybatch._arguments import whole
from everybatch._measure import sound_rows
from everybatch._metered import epoch_steps
from everybatch.dataset import Dataset
from everybatch.errors import ArgumentError
from everybatch.insight._dataset import dataset_of, run_of
from everybatch.insight._interval import interval_of
from everybatch.run import Run

__all__ = ["Seen", "need", "predictions_of", "seen", "sound"]


@dataclasses.dataclass(frozen=True, eq=False)
class Seen:
    """The predictions of a run and what they are to be held against.

    There are the measurements whose loss is a number, and of a run that diverged none after that: of logits that are no
    numbers, the predicted class says nothing.

    Attributes
    ----------
    run : Run
    predictions : (measurements, images) uint8 or uint16
        The predicted class of each measured test image.
    labels : (images,) int64
        The right one.
    step : (measurements,) int64
        Optimizer steps taken before each measurement.
    data : Dataset
        What the run was trained and measured on.
    rows : slice or int64
        Which of the run's measurements these are.
    """

    run: Run
    predictions: npt.NDArray[np.unsignedinteger[Any]]
    labels: npt.NDArray[np.int64]
    step: npt.NDArray[np.int64]
    data: Dataset
    rows: slice | npt.NDArray[np.int64]

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        return self.run.classes

    @property
    def per_epoch(self) -> int | None:
        """Steps of an epoch, if they are known."""
        return epoch_steps(self.run._config)

    @property
    def interval(self) -> str:
        """How often was measured, in words."""
        return interval_of(self.step, self.per_epoch)

    @property
    def losses(self) -> npt.NDArray[np.float16] | None:
        """(measurements, images) float16: the loss of each image, if the run recorded them."""
        losses = self.run._arrays.get("losses")
        return None if losses is None else losses[self.rows]

    @property
    def class_images(self) -> npt.NDArray[np.int64]:
        """(classes,) int64: how many images each class has."""
        return np.bincount(self.labels, minlength=len(self.classes))

    def right(self) -> Iterator[npt.NDArray[np.bool_]]:
        """Give for one measurement after the other which images were classified rightly, (images,)."""
        wanted = self.labels.astype(self.predictions.dtype)
        for row in self.predictions:
            yield row == wanted

    def matrix(self, place: int) -> npt.NDArray[np.int64]:
        """Return the confusion matrix of a measurement, by its number: rows true, columns predicted."""
        classes = len(self.classes)
        counts = np.bincount(self.labels * classes + self.predictions[place], minlength=classes**2)
        return counts.reshape(classes, classes).astype(np.int64, copy=False)

    def at(self, step: int) -> int:
        """Return the number of the measurement after so many steps; -1 is the last.

        Raises
        ------
        ArgumentError
            There was none.
        """
        if step == -1:
            return len(self.step) - 1
        place = int(np.searchsorted(self.step, step))
        if place == len(self.step) or self.step[place] != step:
            near = self.step[max(place - 1, 0) : place + 1]
            raise ArgumentError(
                f"nothing was measured after step {step}: the measurements next to it are after "
                f"{' and '.join(f'{int(each):,}' for each in near)} (this run measured {self.interval})"
            )
        return place


def seen(run: Run | str | os.PathLike[str], dataset: Dataset | None = None, *, least: int = 1, what: str) -> Seen:
    """Return predictions and labels of a run, or of the one in a folder; `what` is named if it has too few.

    Raises
    ------
    AttributeError
        The run did not record predictions.
    ArgumentError, TypeError
        It has fewer than `least` measurements; or its data set is another one, or cannot be found.
    """
    run = run_of(run, f"{what} takes a Run")
    rows = sound(run, least=least, what=what)
    data = dataset_of(run, dataset)
    return Seen(run, run.predictions[rows], data.test_labels[run.test_indices], run.eval_step[rows], data, rows)


def sound(run: Run, *, least: int = 1, what: str) -> slice | npt.NDArray[np.int64]:
    """Return which measurements have a loss that is a number, and come before the run diverged if it did.

    Raises
    ------
    AttributeError
        The run did not record predictions.
    ArgumentError
        There are fewer than `least`.
    """
    predictions = predictions_of(run)
    rows = sound_rows(run.test_loss, run.eval_step, run.diverged_at)
    count = len(run.eval_step[rows])
    if count < least:
        have = {0: "none", 1: "one"}.get(count, str(count))
        why = "whose loss is a number" if run.diverged_at is None else "before it diverged"
        before = f" {why} ({len(predictions):,} in all)" if count < len(predictions) else ""
        wanted = "a measurement" if least == 1 else f"{least} measurements"
        raise ArgumentError(f"{what} needs {wanted}, and this run has {have}{before}")
    return rows


def predictions_of(run: Run) -> npt.NDArray[np.unsignedinteger[Any]]:
    """Return the predictions of a run.

    Raises
    ------
    AttributeError
        It did not record them.
    """
    if "predictions" not in run._arrays and run._config["training"].get("tolerance") is not None:
        raise AttributeError(
            "this run was trained with a tolerance, which looks at few images at a time: "
            "for predictions of all, train without tolerance= and with record=('predictions',)"
        )
    return run.predictions


def need(step: object, name: str = "step") -> int:
    """Check a number of steps: -1 for the last measurement, or at least 0.

    Raises
    ------
    ArgumentError, TypeError
        It is none.
    """
    return whole(step, name, least=-1)
