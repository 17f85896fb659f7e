"""Choosing the number of threads for the demo by measurement."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import numpy as np
import torch

from everybatch._core import Model

__all__ = ["fastest_threads"]

_IMAGES, _ROUNDS = 1000, 5


@contextlib.contextmanager
def fastest_threads(model: Model, device: str) -> Iterator[int]:
    """Give torch one thread, or as many as it has, whichever predicts sooner; and afterwards those it had.

    On an idle machine all threads win. Where other programs keep the cores busy, threads that wait for each other
    can take many times as long as one alone.
    """
    had = torch.get_num_threads()
    try:
        if device == "cpu" and had > 1:
            images = np.zeros((_IMAGES, *model.network.input_shape[1:]), np.uint8)
            seconds = {threads: _seconds(model, images, threads) for threads in (had, 1)}
            torch.set_num_threads(min(seconds, key=seconds.__getitem__))
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(had)


def _seconds(model: Model, images: np.ndarray, threads: int) -> float:
    torch.set_num_threads(threads)
    model.predict(images)  # warm up
    start = time.perf_counter()
    for _ in range(_ROUNDS):
        model.predict(images)
    return time.perf_counter() - start
