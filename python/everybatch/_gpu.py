"""How torch computes on a GPU while a run goes on; afterwards it is as the caller had it."""

from __future__ import annotations

import contextlib
import os
import threading
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
        Repeatable kernels are not to be had any more in this process, or another run needs other settings now.
    """
    with (
        _NUMERICS.held(whole_float32=precision == "float32", repeatable=deterministic),
        contextlib.ExitStack() as stack,
    ):
        # Graphs are recorded in side streams only. Steps go before measurements where both could run.
        cuda: Any = torch.cuda  # partly without types
        stack.enter_context(cuda.stream(cuda.Stream(device, priority=-1)))
        yield


class _Numerics:
    """torch's settings for the process, which runs in several threads share: the last one to end restores them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs = 0
        self._wanted = (False, False)
        self._changes = contextlib.ExitStack()

    @contextlib.contextmanager
    def held(self, *, whole_float32: bool, repeatable: bool) -> Iterator[None]:
        wanted = (whole_float32, repeatable)
        with self._lock:
            if self._runs and wanted != self._wanted:
                raise DeviceError(
                    "another run in this process uses the GPU with other settings, and they hold for all of it: "
                    "give all runs of a time the same precision and deterministic"
                )
            if not self._runs:
                self._change(*wanted)
            self._runs += 1
        try:
            yield
        finally:
            with self._lock:
                self._runs -= 1
                if not self._runs:
                    self._changes.close()

    def _change(self, whole_float32: bool, repeatable: bool) -> None:
        with contextlib.ExitStack() as changes:
            if repeatable:
                changes.enter_context(_repeatable())
            if whole_float32:
                changes.enter_context(_whole_float32())
            self._changes = changes.pop_all()
        self._wanted = (whole_float32, repeatable)


_NUMERICS = _Numerics()


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
