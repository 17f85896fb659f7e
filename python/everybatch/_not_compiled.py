"""Functions that `torch.compile` leaves alone, with all that they call."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import TypeVar

import torch

__all__ = ["not_compiled"]

Function = TypeVar("Function", bound=Callable[..., object])


def not_compiled(function: Function) -> Function:
    """Mark a function so that a compiled one which calls it runs it as plain Python; return the function itself.

    It does what `torch.compiler.disable` does, which would import the compiler and so take a second.
    """
    assert isinstance(function, FunctionType)
    frames = torch._C._dynamo.eval_frame
    skip = frames._FrameAction.SKIP
    frames.set_code_exec_strategy(function.__code__, frames._FrameExecStrategy(skip, skip))  # itself, and its callees
    function._torchdynamo_disable = True  # type: ignore[attr-defined]
    function._torchdynamo_disable_msg = "it trains in compiled code already"  # type: ignore[attr-defined]
    return function
