"""How well a run knows its measurements, in a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from everybatch._measures import MEASURES
from everybatch._words import count

if TYPE_CHECKING:
    from everybatch.run import Run

__all__ = ["estimated"]


def estimated(run: Run) -> str:
    """Return how far the test accuracies of a run are estimates; nothing if every measurement is complete.

    What follows the sign is the median of the standard errors that the estimates state.
    """
    complete = MEASURES["test_accuracy"].complete(run)
    if complete.all():
        return ""
    error = float(np.nanmedian(run.test_accuracy_error[~complete]))
    return (
        f"estimated to ±{MEASURES['test_accuracy_error'].text(error)} "
        f"({run.images_measured.mean():,.0f} of {count(len(run.test_indices), 'test image')} looked at on average, "
        f"{complete.sum():,} of {count(len(complete), 'measurement')} complete)"
    )
