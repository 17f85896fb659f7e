"""The one line of a sweep that is running: tqdm, in a terminal or a notebook."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType

from tqdm.auto import tqdm

from everybatch.sweeps._index import Row

__all__ = ["SweepProgress"]


class SweepProgress:
    """A context that owns the line: trials done, failed and running, the best so far, the time left."""

    def __init__(self, name: str, trials: int, stored: int, *, shown: bool) -> None:
        # initial: the trials that were there before say nothing about the time that is left.
        self._bar = tqdm(
            total=trials, initial=stored, desc=name, unit="trial", dynamic_ncols=True, smoothing=0.05, disable=not shown
        )
        self._by = "test_accuracy"  # until a trial has validation images
        self._running: set[int] = set()
        self._failed = 0
        self._best: float | None = None

    def seen(self, rows: Iterable[Row]) -> None:
        """Take in the trials that were there before."""
        for row in rows:
            self._count(row)
        self._show()

    def begun(self, number: int) -> None:
        self._running.add(number)  # once more, if its worker died
        self._show()

    def ended(self, number: int, row: Row) -> None:
        self._running.discard(number)
        self._count(row)
        self._show(refresh=False)
        self._bar.update()

    def _count(self, row: Row) -> None:
        self._failed += row["status"] == "failed"
        if row.get("final_validation_accuracy") is not None and self._by == "test_accuracy":
            self._by, self._best = "validation_accuracy", None
        value = row.get(f"final_{self._by}")
        if value is not None and row["status"] != "diverged" and (self._best is None or value > self._best):
            self._best = value

    def _show(self, *, refresh: bool = True) -> None:
        parts = [f"{len(self._running)} running"]
        if self._failed:
            parts.append(f"{self._failed} failed")
        if self._best is not None:
            parts.append(f"best {self._by.replace('_', ' ')} {self._best:.2%}")
        self._bar.set_postfix_str(", ".join(parts), refresh=refresh)

    def __enter__(self) -> SweepProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.close()
