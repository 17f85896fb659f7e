"""`Ensemble`: several models as one that averages their probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from everybatch import _convert
from everybatch.errors import ArgumentError, DataError

if TYPE_CHECKING:
    import torch

    from everybatch._core import Model

__all__ = ["Ensemble"]


class Ensemble:
    """Models that predict together: the mean of their probabilities (Lakshminarayanan et al. 2017).

    Parameters
    ----------
    models
        At least one; all with as many classes.

    Raises
    ------
    ArgumentError
        There is none, or they have different numbers of classes.
    """

    models: tuple[Model, ...]

    def __init__(self, models: Sequence[Model]) -> None:
        if not models:
            raise ArgumentError("an ensemble needs at least one model")
        classes = sorted({model.network.num_classes for model in models})
        if len(classes) > 1:
            raise ArgumentError(
                f"the models tell {' and '.join(map(str, classes))} classes apart: they cannot be averaged"
            )
        self.models = tuple(models)

    def predict_proba(self, images: npt.ArrayLike | torch.Tensor) -> npt.NDArray[np.float32]:
        """Return the mean probabilities (N, classes) float32 of images, as `Model.predict_proba` takes them."""
        total = np.asarray(self.models[0].predict_proba(images), np.float64)
        for model in self.models[1:]:
            total += model.predict_proba(images)
        return (total / len(self.models)).astype(np.float32)

    def predict(self, images: npt.ArrayLike | torch.Tensor) -> npt.NDArray[np.int64]:
        """Return the most probable class (N,) int64 of each image."""
        predicted: npt.NDArray[np.int64] = self.predict_proba(images).argmax(axis=1)
        return predicted

    def accuracy(self, images: npt.ArrayLike | torch.Tensor, labels: Any) -> float:
        """Return the share of images whose most probable class is their label, in [0, 1].

        Raises
        ------
        DataError
            There are not as many labels as images.
        """
        predicted, truth = self.predict(images), _convert.labels(labels, "labels")
        if len(predicted) != len(truth):
            raise DataError(f"there are {len(predicted):,} images and {len(truth):,} labels; each image needs one")
        return float((predicted == truth).mean())

    def __len__(self) -> int:
        return len(self.models)

    def __repr__(self) -> str:
        return f"<Ensemble of {len(self)} models>"
