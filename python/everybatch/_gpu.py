"""How torch computes on a GPU while a run goes on; afterwards it is as the caller had it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import torch

from everybatch.errors import DeviceError

__all__ = ["gpu_settings"]

_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
_REPEATABLE = (":4096:8", ":16:8")


@contextlib.contextmanager
def gpu_settings(device: str, precision: str, *, deterministic: bool) -> Iterator[None]:
    """Compute on `device` in a stream of the run's own, without TF32 in "float32", with repeatable kernels if asked.

    Raises
    ------
    DeviceError
        Repeatable kernels are not to be had any more in this process.
    """
    with contextlib.ExitStack() as stack:
        if deterministic:
            stack.enter_context(_repeatable())
        if precision == "float32":
            stack.enter_context(_whole_float32())
        # Graphs are recorded in side streams only. Steps go before measurements where both could run.
        cuda: Any = torch.cuda  # partly without types
        stack.enter_context(cuda.stream(cuda.Stream(device, priority=-1)))
        yield


@contextlib.contextmanager
def _whole_float32() -> Iterator[None]:
    """Factors of convolutions and products with all their bits: TF32 keeps 10 of 23."""
    cudnn: Any = torch.backends.cudnn  # a module whose attributes are made when it is imported
    products: Any = torch.backends.cuda.matmul
    # torch has an older and a newer way to say it. The older getters raise where the caller has used the newer way.
    older = [(module, _allowed(module)) for module in (cudnn, products)]
    newer: list[tuple[Any, str]] = [(part, part.fp32_precision) for part in (cudnn.conv, cudnn.rnn, products)]
    cudnn.allow_tf32 = products.allow_tf32 = False
    try:
        yield
    finally:
        for module, allowed in older:
            if allowed is not None:
                module.allow_tf32 = allowed
        for part, value in newer:
            part.fp32_precision = value


def _allowed(module: Any) -> bool | None:
    try:
        return bool(module.allow_tf32)
    except RuntimeError:
        return None


@contextlib.contextmanager
def _repeatable() -> Iterator[None]:
    cuda: Any = torch.cuda
    given = os.environ.get(_WORKSPACE)
    if given not in _REPEATABLE:
        if cuda.is_initialized():
            raise DeviceError(
                f"deterministic=True needs the environment variable {_WORKSPACE} to be {_REPEATABLE[0]} before "
                f"anything in this process uses the GPU, and it is {'not set' if given is None else given}: start "
                f"Python as {_WORKSPACE}={_REPEATABLE[0]} python ..., or set it in os.environ first of all"
            )
        os.environ[_WORKSPACE] = _REPEATABLE[0]  # stays, for cuBLAS reads it once
    cudnn = torch.backends.cudnn
    before = cudnn.deterministic, cudnn.benchmark
    mode = torch.get_deterministic_debug_mode()
    memory: Any = torch.utils.deterministic
    filled = memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    memory.fill_uninitialized_memory = False  # nothing here reads it
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    finally:
        cudnn.deterministic, cudnn.benchmark = before
        memory.fill_uninitialized_memory = filled
        torch.set_deterministic_debug_mode(mode)
