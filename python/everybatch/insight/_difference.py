"""Two measurements of the same images, compared image by image: arithmetic on arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from everybatch.insight._paired import paired_error

__all__ = ["Difference", "difference"]

Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False, repr=False)
class Difference:
    """A measurement minus another one of the same images, with paired standard errors.

    The errors are those of the images that happened to be measured: by how much a difference would be another one on
    other images of the same kind.
    """

    loss: float
    """Of the mean cross-entropy."""
    loss_error: float
    accuracy: float
    """Of the share predicted right."""
    accuracy_error: float
    images: Doubles
    """(images,) of the cross-entropy of each."""
    right: npt.NDArray[np.int8]
    """(images,) 1 for an image that is right and was wrong otherwise, -1 for the reverse, 0 for both alike."""
    class_loss: Doubles
    """(classes,) of the mean cross-entropy of each class; NaN for a class with no image."""
    class_loss_error: Doubles
    """(classes,); NaN for a class with fewer than two."""
    class_accuracy: Doubles
    """(classes,) of its share predicted right."""
    class_images: Integers
    """(classes,) images of each."""

    @property
    def gained(self) -> int:
        """Images that are right and were wrong otherwise."""
        return int(np.count_nonzero(self.right > 0))

    @property
    def lost(self) -> int:
        """Images that are wrong and were right otherwise."""
        return int(np.count_nonzero(self.right < 0))

    def __repr__(self) -> str:
        return f"<Difference: {self.text}>"

    @property
    def text(self) -> str:
        """The difference in words, each number with two standard errors."""
        return (
            f"mean test loss {self.loss:+.2g} ± {2 * self.loss_error:.1g}, accuracy {100 * self.accuracy:+.2f} ± "
            f"{200 * self.accuracy_error:.1g} points ({self.gained} images gained, {self.lost} lost)"
        )


def difference(
    losses: npt.NDArray[Any],
    predictions: npt.NDArray[Any],
    other_losses: npt.NDArray[Any],
    other_predictions: npt.NDArray[Any],
    labels: Integers,
    classes: int,
) -> Difference:
    """Return the first measurement minus the other one; all arrays are (images,)."""
    images = losses.astype(np.float64) - other_losses.astype(np.float64)
    right = (predictions == labels).astype(np.int8) - (other_predictions == labels).astype(np.int8)
    count = len(images)
    by_class = np.bincount(labels, minlength=classes)
    with np.errstate(invalid="ignore", divide="ignore"):
        class_loss = np.bincount(labels, images, classes) / by_class
        class_accuracy = np.bincount(labels, right, classes) / by_class
        squares = np.bincount(labels, (images - class_loss[labels]) ** 2, classes)
        class_loss_error = np.where(by_class > 1, np.sqrt(squares / (by_class - 1.0) / by_class), np.nan)
    gained, lost = np.count_nonzero(right > 0), np.count_nonzero(right < 0)
    return Difference(
        loss=float(images.mean()),
        loss_error=float(images.std(ddof=1) / np.sqrt(count)) if count > 1 else float("nan"),
        accuracy=float((int(gained) - int(lost)) / count),
        accuracy_error=float(paired_error(gained, lost, count)),
        images=images,
        right=right,
        class_loss=class_loss,
        class_loss_error=class_loss_error,
        class_accuracy=class_accuracy,
        class_images=by_class.astype(np.int64),
    )
