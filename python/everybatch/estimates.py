"""Measuring by estimate with logits from anywhere: what `everybatch.train` does with ``tolerance=``, for any loop."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from everybatch import _convert, _core
from everybatch._arguments import optional_whole, share, whole
from everybatch.errors import ArgumentError, ShapeError

__all__ = ["Estimate", "Estimator"]

Logits = Callable[[npt.NDArray[np.int64]], npt.ArrayLike | torch.Tensor]


@dataclasses.dataclass(frozen=True, eq=False)
class Estimate:
    """What `Estimator.measure` found.

    Attributes
    ----------
    step : int
        Optimizer steps taken before.
    accuracy : float
        Share of the images predicted right, in [0, 1].
    loss : float
        Mean cross-entropy.
    class_accuracy : (classes,) float64
        Share of each class predicted right; NaN for a class without images.
    accuracy_error, loss_error : float
        Standard errors of these; 0 if all images were measured.
    class_accuracy_error : (classes,) float64
        Standard errors of `class_accuracy`.
    images_measured : int
        Images whose logits were asked for.
    complete : bool
        Whether these were all images, so that nothing is estimated.
    """

    step: int
    accuracy: float
    loss: float
    class_accuracy: npt.NDArray[np.float64]
    accuracy_error: float
    loss_error: float
    class_accuracy_error: npt.NDArray[np.float64]
    images_measured: int
    complete: bool


class Estimator:
    """Measures one fixed set of images again and again, while the model that it is of changes little by little.

    It remembers what the logits of each image were, predicts what they have become from the few images that it looks
    at, looks at more of those that are in doubt, and corrects the prediction by what it saw, until the standard error
    of the accuracy is small enough: see the notes of `everybatch.train`. Ask it often, best after every step: the
    further the model has moved since, the more images it takes.

    Parameters
    ----------
    labels : (images,) whole numbers
        The class of each image.
    classes
        How many classes there are.
    tolerance
        The standard error that the accuracy may have, above 0 and below 1: 0.0005 is 5 images of 10,000. While the
        accuracy jumps from one measurement to the next, it may be a quarter of these jumps.
    complete_every
        All images are measured after so many steps. None chooses a distance at which these complete passes cost about
        as much as the estimates between them. Of fewer than 1,000 images every measurement is complete.
    seed
        Of the draws.

    Raises
    ------
    ArgumentError, DataError, ShapeError, TypeError
        An argument is none of these.

    Examples
    --------
    A measurement needs a function that gives the logits of chosen images by the weights of the moment. That may be a
    module of PyTorch, ``lambda images: module(inputs[images])`` under ``torch.inference_mode()``; here the logits are
    given, and a step changes them all.

    >>> import numpy as np
    >>> from everybatch.estimates import Estimator
    >>> draw = np.random.default_rng(0)
    >>> labels = draw.integers(10, size=5_000)
    >>> logits = draw.normal(size=(5_000, 10)) + 4 * np.eye(10)[labels]
    >>> estimator = Estimator(labels, 10, tolerance=0.001)
    >>> first = estimator.measure(0, lambda images: logits[images])
    >>> first.images_measured, first.accuracy_error, first.complete
    (5000, 0.0, True)
    >>> logits += 0.1 * draw.normal(size=10)
    >>> second = estimator.measure(1, lambda images: logits[images])
    >>> second.images_measured < 1_000, second.accuracy_error < 0.001, second.complete
    (True, True, False)
    """

    def __init__(
        self,
        labels: npt.ArrayLike | torch.Tensor,
        classes: int,
        *,
        tolerance: float,
        complete_every: int | None = None,
        seed: int = 0,
    ) -> None:
        self._labels = _convert.labels(labels, "labels")
        self._classes = whole(classes, "classes", least=2)
        if self._classes > _convert.MOST_CLASSES:
            raise ArgumentError(f"classes is {classes}: there can be at most {_convert.MOST_CLASSES:,}")
        if (highest := int(np.max(self._labels))) >= self._classes:
            raise ArgumentError(f"classes is {classes}, and among the labels is {highest}")
        self._measured = 0
        self._core = _core.Estimator(
            self._labels,
            self._classes,
            share(tolerance, "tolerance"),
            optional_whole(complete_every, "complete_every"),
            whole(seed, "seed", least=0),
        )

    def measure(self, step: int, logits: Logits) -> Estimate:
        """Measure the model as it is after `step` optimizer steps.

        Parameters
        ----------
        step
            Optimizer steps taken before; no fewer than at the last measurement.
        logits
            Gives the logits (n, classes) of the images with the indices (n,) int64 that it is called with, in their
            order. It is called several times, with other images each; at a complete pass with all of them.

        Returns
        -------
        Estimate
            A complete pass if one is due, if estimates would have to look at most of the images, or if logits were not
            finite.

        Raises
        ------
        ShapeError, TypeError
            The function gave something else than such logits.
        ArgumentError
            The step comes before that of the last measurement.
        """
        step = whole(step, "step", least=0)
        if step < self._measured:
            raise ArgumentError(
                f"step is {step}, and the last measurement was after {self._measured}: count steps through all epochs"
            )

        def look(images: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
            return self._checked(logits(images), len(images))

        found = self._core.estimate(step, look)
        complete = found is None
        if found is None:
            found = self._core.saw_all(step, look(np.arange(len(self._labels))))
        self._measured = step
        return Estimate(step, images_measured=found.pop("images"), complete=complete, **found)

    def _checked(self, given: Any, count: int) -> npt.NDArray[np.float32]:
        if isinstance(given, torch.Tensor):
            given = given.detach().cpu().float().numpy()
        try:
            array = np.ascontiguousarray(given, np.float32)
        except (TypeError, ValueError) as error:
            raise TypeError(f"logits must give an array of numbers, not {type(given).__name__} ({error})") from error
        if array.shape != (count, self._classes):
            raise ShapeError(
                f"logits gave the shape {array.shape}: {count} images of {self._classes} classes have "
                f"({count}, {self._classes})"
            )
        return array
