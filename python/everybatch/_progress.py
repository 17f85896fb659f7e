"""The progress bar: tqdm, in a terminal or a notebook, with loss, accuracy and the time left."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from tqdm.auto import tqdm

from everybatch._log import logger

__all__ = ["ProgressBar"]


class ProgressBar:
    """A context that owns one bar; calling it moves the bar to the given step.

    Where it cannot be drawn, on a disk that is full or into a pipe that nobody reads, there is none any more, and the
    training goes on.
    """

    def __init__(self, description: str, steps: int) -> None:
        self._bar: Any = None
        with self._drawing():
            # tqdm.auto warns when a notebook lacks ipywidgets, and then draws with characters, which is good enough.
            self._bar = tqdm(total=steps, desc=description, unit="batch", dynamic_ncols=True, smoothing=0.1)

    def __call__(
        self, taken: int, train_loss: float | None, test_loss: float | None, test_accuracy: float | None
    ) -> None:
        if self._bar is None:
            return
        shown = {}
        if train_loss is not None:
            shown["train loss"] = f"{train_loss:.4f}"
        if test_loss is not None:
            shown["test loss"] = f"{test_loss:.4f}"
        if test_accuracy is not None:
            shown["accuracy"] = f"{100 * test_accuracy:.2f} %"
        with self._drawing():
            self._bar.set_postfix(shown, refresh=False)
            self._bar.update(taken - self._bar.n)

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            with self._drawing():
                self._bar.close()

    @contextlib.contextmanager
    def _drawing(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, AttributeError) as error:  # closed, or None where a service has no stderr
            if self._bar is not None:
                self._bar.disable = True  # it is not to be drawn when it is deleted either
            self._bar = None
            logger.info("there is no progress bar: %s: %s", type(error).__name__, error)
