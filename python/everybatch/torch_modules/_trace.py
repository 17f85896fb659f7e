"""One forward pass on a batch without numbers, and what it computes as values."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from everybatch._generators import put_back, states
from everybatch.errors import EverybatchError, UnsupportedModuleError
from everybatch.torch_modules._operations import read
from everybatch.torch_modules._record import Recorder
from everybatch.torch_modules._refused import refused
from everybatch.torch_modules._values import Size, Trace

__all__ = ["trace"]


def trace(module: nn.Module, input_shape: Size, batch: int, *, training: bool, frozen_is_fine: bool = False) -> Trace:
    """Follow forward on a batch of so many images, in training or evaluation mode; the module stays as it is.

    Raises
    ------
    UnsupportedModuleError
        It computes something that no layer does.
    ShapeError
        A layer cannot take what it is given.
    """
    recorder = Recorder(module, input_shape, batch, read, training=training, frozen_is_fine=frozen_is_fine)
    with _random_numbers(recorder):
        try:
            output = recorder.run(module)
        except Exception as error:
            if recorder.problem is not None:
                raise recorder.problem from None
            if isinstance(error, EverybatchError):
                raise
            said = (str(error).strip() or type(error).__name__).splitlines()[0]
            what = f"cannot be followed through its forward ({type(error).__name__}: {said})"
            raise refused(recorder.where, what) from error
    if recorder.problem is not None:  # forward itself has caught it
        raise recorder.problem
    return Trace(recorder.values, recorder.finished(output))


class _random_numbers:  # noqa: N801 - used as a function
    """Puts all generators back to where they were, and refuses a forward pass that draws from them."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder

    def __enter__(self) -> None:
        self.before = states()

    def __exit__(self, kind: Any, error: Any, stack: Any) -> None:
        now = states()
        put_back(self.before)
        if error is not None and not isinstance(error, Exception):
            return  # Ctrl-C
        drawn = not torch.equal(now[0], self.before[0]) or now[1] != self.before[1]
        drawn = drawn or any(np.any(a != b) for a, b in zip(now[2], self.before[2], strict=True))
        if drawn and (error is None or not isinstance(error, UnsupportedModuleError)):
            raise refused("", "draws random numbers in forward that are not dropout's") from error
