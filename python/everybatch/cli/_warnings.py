"""Warnings of a training, and of reading data, as lines on stderr."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Iterator

from everybatch.errors import DataWarning, SelectionWarning

__all__ = ["warnings_at_once"]


@contextlib.contextmanager
def warnings_at_once() -> Iterator[None]:
    """Print warnings as lines when they come: that the loss diverged, that files are passed over."""

    def show(message: Warning | str, *_: object) -> None:
        print(f"everybatch: warning: {message}", file=sys.stderr, flush=True)

    with warnings.catch_warnings():
        warnings.simplefilter("always", RuntimeWarning)
        warnings.simplefilter("always", SelectionWarning)
        warnings.simplefilter("always", DataWarning)
        warnings.showwarning = show  # type: ignore[assignment] # the other arguments do not matter here
        yield
