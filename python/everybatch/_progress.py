"""The progress bar: tqdm, in a terminal or a notebook, with loss, accuracy and the time left."""

from __future__ import annotations

from types import TracebackType

from tqdm.auto import tqdm

__all__ = ["ProgressBar"]


class ProgressBar:
    """A context that owns one bar; calling it moves the bar to the given step."""

    def __init__(self, description: str, steps: int) -> None:
        # tqdm.auto warns when a notebook lacks ipywidgets, and then draws with characters, which is good enough.
        self._bar = tqdm(total=steps, desc=description, unit="batch", dynamic_ncols=True, smoothing=0.1)

    def __call__(
        self, taken: int, train_loss: float | None, test_loss: float | None, test_accuracy: float | None
    ) -> None:
        shown = {}
        if train_loss is not None:
            shown["train loss"] = f"{train_loss:.4f}"
        if test_loss is not None:
            shown["test loss"] = f"{test_loss:.4f}"
        if test_accuracy is not None:
            shown["accuracy"] = f"{100 * test_accuracy:.2f} %"
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
        self._bar.close()
