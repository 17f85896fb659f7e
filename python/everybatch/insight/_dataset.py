"""The images and labels that a run was trained and measured on: given, or found again."""

from __future__ import annotations

import os

import numpy as np
import numpy.typing as npt

from everybatch._trained_on import trained_on
from everybatch.dataset import Dataset
from everybatch.errors import ArgumentError
from everybatch.run import Run, load_run

__all__ = ["dataset_of", "labels_measured", "labels_trained", "run_of"]

Labels = npt.NDArray[np.int64]


def run_of(given: Run | str | os.PathLike[str], takes: str = "run must be an everybatch Run") -> Run:
    """Return a run that is given, or the one that is saved in a folder that is given.

    Raises
    ------
    TypeError
        It is neither; the message begins with what it `takes`.
    """
    if isinstance(given, str | os.PathLike):
        return load_run(given)
    if not isinstance(given, Run):
        raise TypeError(f"{takes} or the folder of one, not {type(given).__name__}")
    return given


def dataset_of(run: Run, given: Dataset | None = None) -> Dataset:
    """Return the data set of a run: `given`, if it is that; without one, the built-in one that it was trained on.

    Raises
    ------
    ArgumentError, TypeError
        It is another one, or none, or cannot be found again.
    """
    if not isinstance(run, Run):
        raise TypeError(f"run must be an everybatch Run, not {type(run).__name__}: load_run(folder) gives a saved one")
    described = run._config["dataset"]
    if not described.get("fingerprint"):
        raise ArgumentError(
            "the config of this run has no fingerprint of its data set, so that no labels can be told to be its"
        )
    return trained_on(given, described)


def labels_measured(run: Run, given: Dataset | None = None) -> Labels:
    """Return the classes of the measured test images, (measured test images,), in the order of `Run.predictions`."""
    labels: Labels = dataset_of(run, given).test_labels[run.test_indices]
    return labels


def labels_trained(run: Run, indices: npt.NDArray[np.int64], given: Dataset | None = None) -> Labels:
    """Return the labels of chosen training images, as of `Run.trained_indices`, in their order."""
    labels: Labels = dataset_of(run, given).train_labels[indices]
    return labels
