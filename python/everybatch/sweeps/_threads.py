"""The number of threads that a trial computes with, for as long as trials are trained in this process."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator

from everybatch._threads import torch_threads
from everybatch.errors import SelectionWarning

__all__ = ["threads"]


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Give torch so many threads, and afterwards those it had; meanwhile trials do not warn, for their rows tell."""
    with torch_threads(count), warnings.catch_warnings():
        warnings.simplefilter("ignore", SelectionWarning)  # the sweep has said it once
        warnings.filterwarnings("ignore", "the loss became NaN", RuntimeWarning)
        yield
