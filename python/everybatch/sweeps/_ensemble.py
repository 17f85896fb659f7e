"""`Ensemble`: several models as one that averages their probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from everybatch._classes import images_and_labels, matched, numbers_of_labels
from everybatch._core import Model
from everybatch.dataset import Dataset
from everybatch.errors import ArgumentError, DataError

if TYPE_CHECKING:
    import torch

__all__ = ["Ensemble"]


class Ensemble:
    """Models that predict together: the mean of their probabilities (Lakshminarayanan et al. 2017).

    Parameters
    ----------
    models
        At least one; all with the same classes. Where their names are in another order, those of the first one count.

    Attributes
    ----------
    classes : tuple of str, or None
        Names of the classes, in the order of the probabilities.

    Raises
    ------
    ArgumentError
        There is none, or they have different classes.
    """

    models: tuple[Model, ...]
    classes: tuple[str, ...] | None

    def __init__(self, models: Sequence[Model]) -> None:
        if not models:
            raise ArgumentError("an ensemble needs at least one model")
        classes = sorted({model.network.num_classes for model in models})
        if len(classes) > 1:
            raise ArgumentError(
                f"the models tell {' and '.join(map(str, classes))} classes apart: they cannot be averaged"
            )
        self.models = tuple(models)
        self.classes = next((model.classes for model in models if model.classes is not None), None)
        self._numbers = [_numbers(model, self.classes) for model in models]

    def predict_proba(
        self, images: npt.ArrayLike | torch.Tensor, *, background: int | Sequence[int] | None = None
    ) -> npt.NDArray[np.float32]:
        """Return the mean probabilities (N, classes) float32 of images, as `Model.predict_proba` takes them."""
        total = np.zeros((), np.float64)
        for model, numbers in zip(self.models, self._numbers, strict=True):
            total = total + model.predict_proba(images, background=background)[:, numbers].astype(np.float64)
        return (total / len(self.models)).astype(np.float32)

    def predict(
        self, images: npt.ArrayLike | torch.Tensor, *, background: int | Sequence[int] | None = None
    ) -> npt.NDArray[np.int64]:
        """Return the most probable class (N,) int64 of each image."""
        predicted: npt.NDArray[np.int64] = self.predict_proba(images, background=background).argmax(axis=1)
        return predicted

    def accuracy(self, images: npt.ArrayLike | torch.Tensor | Dataset, labels: Any = None) -> float:
        """Return the share of images whose most probable class is their label, in [0, 1].

        Parameters
        ----------
        images
            Images, or a data set, whose test images are measured and whose classes are matched by name.
        labels
            Of images: numbers of classes as in `classes`, or their names.

        Raises
        ------
        DataError
            There are not as many labels as images.
        ArgumentError
            The models lack a class of the data set.
        """
        if isinstance(images, Dataset) and labels is None:
            first = self.models[0]
            given, own, _ = images_and_labels(first, images)
            predicted, truth = self.predict(given), np.argsort(self._numbers[0])[own]
        else:
            arrays: Any = images
            predicted, truth = self.predict(arrays), numbers_of_labels(self.classes, labels)
        if len(predicted) != len(truth):
            raise DataError(f"there are {len(predicted):,} images and {len(truth):,} labels; each image needs one")
        return float((predicted == truth).mean())

    def __len__(self) -> int:
        return len(self.models)

    def __repr__(self) -> str:
        return f"<Ensemble of {len(self)} models>"


def _numbers(model: Model, names: tuple[str, ...] | None) -> npt.NDArray[np.int64]:
    """Return the model's number of each class of the ensemble."""
    count = model.network.num_classes
    numbers = np.arange(count)
    if names is None or model.classes is None:
        return numbers
    return matched(
        model.classes, count, names, numbers, data="the first model", way_out="give all of them the same classes"
    ).numbers
