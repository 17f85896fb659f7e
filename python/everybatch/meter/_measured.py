"""What gives the logits of the moment: a plan of a module's own weights where there can be one, else the module."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Hashable, Iterator, Sequence

import torch
from torch import nn

from everybatch._core import Model
from everybatch._log import logger
from everybatch.errors import EverybatchError
from everybatch.meter._module import Forward, forward_of, placed, untouched, unwrapped
from everybatch.meter._sound import alike, check_logits
from everybatch.meter._stamp import stamp
from everybatch.torch_modules._from_torch import convert

__all__ = ["Measured"]

Look = Callable[[Model | Forward, Sequence[int]], torch.Tensor]
"""Gives the logits (n, classes) of chosen test images."""

_TOLERANCES = {"float32": 1e-3, "bfloat16": 0.15}
"""By how much of the largest logit a plan may differ from the module."""
_PATIENCE = 5
"""A module that was another one at so many measurements in a row is given up: it would be looked through each time."""


class Measured:
    """A module, and how it is measured.

    Parameters
    ----------
    module
        As the user gave it.
    image_shape
        (channels, height, width) of the images.
    transform
        What is done to images before the module sees them; None: nothing that is not done already.
    precision
        "float32" or "bfloat16".
    device
        Where the images are.
    estimates
        Whether a few images are to tell of all.
    """

    def __init__(
        self,
        module: nn.Module,
        image_shape: Sequence[int],
        transform: Forward | None,
        precision: str,
        device: str,
        *,
        estimates: bool,
    ) -> None:
        self._given, self._image_shape, self._transform = module, tuple(image_shape), transform
        self._precision, self._device = precision, torch.device(device)
        self.plan: Model | None = None
        """Of the module's weights, which it shares; None where the module itself is measured."""
        self.reason: str | None = None
        """Why there is no plan."""
        self._stamp: Hashable = None
        self._anew = 0
        self._gave_up = False
        self._estimates = estimates
        self._checked, self._looks = False, 0

    @property
    def module(self) -> nn.Module:
        """The module without what is wrapped around it."""
        return unwrapped(self._given)

    @contextlib.contextmanager
    def ready(self, look: Look, images: Sequence[int], *, check: bool = False) -> Iterator[Model | Forward]:
        """Give what measures the module as it is now; a plan is compared with it now and then, and where `check` says.

        Parameters
        ----------
        look
            Gives logits of chosen images, by what this gives.
        images
            A few test images to compare by.
        """
        self._renew()
        self._looks += 1
        is_due = not self._checked or check or self._looks & (self._looks - 1) == 0 or self._looks % 64 == 0
        if self.plan is not None and is_due and not self._agrees(look, images):
            self.plan, self._checked = None, False
        if self.plan is not None:
            yield self.plan
            return
        module = self.module
        with untouched(module, self._precision):
            forward = forward_of(module, self._transform)
            if not self._checked:
                tolerance = _TOLERANCES[self._precision]
                check_logits(
                    lambda count: look(forward, images[:count]), len(images), tolerance, estimates=self._estimates
                )
                self._checked = True
            yield forward

    def _renew(self) -> None:
        """Make a plan if the module is another one than before."""
        if self._gave_up:
            return
        module = self.module
        try:
            now = stamp(module)
        except (RuntimeError, TypeError, NotImplementedError) as error:  # tensors without memory of their own
            self.plan, self.reason, self._gave_up = None, f"its tensors have no memory to share: {error}", True
            return
        if now == self._stamp:
            self._anew = 0
            return
        self._anew += 1
        if self._anew > _PATIENCE:
            self.plan, self._gave_up = None, True
            self.reason = f"its layers or settings were others at each of {_PATIENCE} measurements in a row"
            return
        self.plan, self.reason = self._represented(module)
        self._stamp, self._checked, self._looks = now, False, 0
        if self.reason is not None:
            logger.info("the module is measured by running it: %s", self.reason)

    def _represented(self, module: nn.Module) -> tuple[Model | None, str | None]:
        """Return a plan, or None and why there is none."""
        device, _ = placed(module)
        if self._transform is not None:
            return None, "inputs is a function"
        if device.type != "cpu":
            return None, f"it is on {device}, and plans of shared weights are for the CPU"
        try:
            with untouched(module):
                return convert(module, self._image_shape, share=True, only_evaluation=True).model, None
        except EverybatchError as error:
            return None, str(error).removeprefix("from_torch: ")
        except Exception as error:  # whatever its code does when it is followed
            return None, f"{type(error).__name__}: {error}"

    def _agrees(self, look: Look, images: Sequence[int]) -> bool:
        """Whether plan and module give the same logits; if not, the plan is given up."""
        assert self.plan is not None
        module, was_checked = self.module, self._checked
        planned = look(self.plan, images)
        with untouched(module, self._precision):
            own = look(forward_of(module, self._transform), images)
        self._checked = True
        if alike(planned, own, _TOLERANCES[self._precision]):
            return True
        self.reason = "a plan of its weights gives other logits than the module itself"
        self._gave_up = True
        if was_checked:
            warnings.warn(
                "the module gives other logits than the plan that it was measured by, which it did not before: "
                "it computes with something that has changed, and is no tensor and no setting of a layer. "
                "From here on it is run itself; the last measurements may be of what it was before",
                RuntimeWarning,
                stacklevel=6,
            )
        else:
            logger.info("the module is measured by running it: %s", self.reason)
        return False
