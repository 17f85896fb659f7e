"""How torch computes on a GPU while a run goes on; afterwards it is as the caller had it."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Any

import torch

from everybatch.errors import DeviceError

__all__ = ["gpu_settings", "stream_beside"]

_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
_REPEATABLE = (":4096:8", ":16:8")


@contextlib.contextmanager
def gpu_settings(device: str, precision: str, *, deterministic: bool) -> Iterator[None]:
    """Compute on `device` in a stream of the run's own, in `precision`, with repeatable kernels if asked.

    Torch's random numbers are given back as they were.

    Enter this before anything else that uses the GPU: with `deterministic` it may have to set an environment variable
    that is read only once.

    Raises
    ------
    DeviceError
        Repeatable kernels are not to be had any more in this process, or another run needs other settings now.
    """
    tf32 = {"float32": False, "tf32": True}.get(precision)
    with _NUMERICS.held(tf32=tf32, repeatable=deterministic), _STREAMS.pair(device) as (train, _):
        # Graphs are recorded in side streams only.
        cuda: Any = torch.cuda  # partly without types
        # Dropout draws from torch's generators there: give them back to the caller as they were.
        with cuda.stream(train), torch.random.fork_rng(devices=[device]):
            yield


def stream_beside(stream: Any) -> Any:
    """Return the stream that measures while `stream`, the current one of a run, trains."""
    return _STREAMS.beside(stream)


class _Streams:
    """Pairs of streams, one to train in and one to measure in, which runs hand on to the next.

    cuBLAS keeps memory for each stream that it was ever used in, and CUDA's streams are never given back.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._free: dict[torch.device, list[tuple[Any, Any]]] = {}
        self._beside: dict[Any, Any] = {}

    @contextlib.contextmanager
    def pair(self, device: str) -> Iterator[tuple[Any, Any]]:
        where = torch.device(device)
        with self._lock:
            free = self._free.setdefault(where, [])
            pair = free.pop() if free else None
        if pair is None:
            cuda: Any = torch.cuda
            # Steps go before measurements where both could run.
            pair = cuda.Stream(device, priority=-1), cuda.Stream(device)
            with self._lock:
                self._beside[pair[0]] = pair[1]
        try:
            yield pair
        finally:
            with self._lock:
                free.append(pair)

    def beside(self, stream: Any) -> Any:
        with self._lock:
            known = self._beside.get(stream)
        cuda: Any = torch.cuda
        return cuda.Stream(stream.device) if known is None else known


_STREAMS = _Streams()


class _Numerics:
    """torch's settings for the process, which runs in several threads share: the last one to end restores them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs = 0
        self._wanted: tuple[bool | None, bool] = (None, False)
        self._changes = contextlib.ExitStack()

    @contextlib.contextmanager
    def held(self, *, tf32: bool | None, repeatable: bool) -> Iterator[None]:
        wanted = (tf32, repeatable)
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

    def _change(self, tf32: bool | None, repeatable: bool) -> None:
        with contextlib.ExitStack() as changes:
            if repeatable:
                changes.enter_context(_repeatable())
            if tf32 is not None:
                changes.enter_context(_tf32(tf32))
            self._changes = changes.pop_all()
        self._wanted = (tf32, repeatable)


_NUMERICS = _Numerics()


@contextlib.contextmanager
def _tf32(wanted: bool) -> Iterator[None]:
    """Whether convolutions and products of float32 keep 10 of the 23 bits of each factor (TF32), or all."""
    cudnn: Any = torch.backends.cudnn  # a module whose attributes are made when it is imported
    products: Any = torch.backends.cuda.matmul
    # torch has an older and a newer way to say it. The older getters raise where the caller has used the newer way.
    older = [(module, _allowed(module)) for module in (cudnn, products)]
    newer: list[tuple[Any, str]] = [(part, part.fp32_precision) for part in (cudnn.conv, cudnn.rnn, products)]
    cudnn.allow_tf32 = products.allow_tf32 = wanted
    for part, _ in newer:  # switched off in the older way, it could still be on for all of torch
        part.fp32_precision = "tf32" if wanted else "ieee"
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
