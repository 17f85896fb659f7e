"""Whether logits are what is measured: the same from both ways, the same each time, and logits at all."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch

from everybatch.errors import ArgumentError

__all__ = ["alike", "check_logits"]

Logits = torch.Tensor


def alike(some: Logits, others: Logits, tolerance: float) -> bool:
    """Return whether logits (n, classes) are the same, within a part of the largest; what is not finite is so in both.

    What is added to all logits of an image does not matter: log_softmax takes it away.
    """
    some, others = some.double().log_softmax(1), others.double().log_softmax(1)
    finite = others.isfinite()
    if not torch.equal(some.isfinite(), finite):
        return False
    largest = max(1.0, float(others[finite].abs().max())) if bool(finite.any()) else 1.0
    return bool(((some - others)[finite].abs() <= tolerance * largest).all())


def check_logits(logits: Callable[[int], Logits], count: int, tolerance: float, *, estimates: bool) -> None:
    """Look whether what a module gives can be measured.

    Parameters
    ----------
    logits
        Those of so many images, the first of some, at once.
    count
        How many there are.
    tolerance
        As of `alike`.
    estimates
        Whether a few images are to tell of all.

    Raises
    ------
    ArgumentError
        They are probabilities, or depend on the other images of a batch where few are to be looked at.
    """
    at_once, again, alone = logits(count), logits(count), logits(1)
    sums = at_once.sum(dim=1)
    if at_once.min() >= 0 and torch.allclose(sums, torch.ones_like(sums), atol=1e-4):
        raise ArgumentError(
            "the module gives probabilities: they lie in [0, 1] and add up to 1. Its loss is measured as the "
            "cross-entropy of logits, so give a module without the softmax at its end, or with log_softmax instead"
        )
    if not alike(at_once, again, tolerance):
        warnings.warn(
            "in evaluation mode the module gives other logits for the same images each time, so that its figures are "
            "those of a draw. A dropout that does not know of modes may be the reason: "
            "F.dropout(x, training=self.training)",
            UserWarning,
            stacklevel=7,
        )
    elif not alike(at_once[:1], alone, tolerance):
        what = (
            "in evaluation mode the module gives other logits for an image among others than for it alone, as batch "
            "norm without running statistics does"
        )
        if estimates:
            raise ArgumentError(f"{what}: with a tolerance it would be measured in other batches each time")
        warnings.warn(f"{what}: its figures depend on what is measured together", UserWarning, stacklevel=7)
