"""Working off the trials of a sweep: through a backend, or by waiting for another sweep that trains them already."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from everybatch.sweeps._claims import Claims
from everybatch.sweeps._index import Index, Row
from everybatch.sweeps._perform import Job
from everybatch.sweeps._progress import SweepProgress
from everybatch.sweeps.backends import Order

__all__ = ["Shared", "work"]

_PAUSE = 0.1  # seconds between two looks at what other sweeps have stored


class Shared:
    """Knows which trials other sweeps on the same store train, or have stored since this one began.

    Parameters
    ----------
    job, index
        The sweep, and what is stored.
    claims
        Of this sweep.
    counts
        Whether a stored row need not be trained again.
    """

    def __init__(self, job: Job, index: Index, claims: Claims, counts: Callable[[Row], bool]) -> None:
        self._keys = [trial.key for trial in job.trials]
        self._index, self._claims, self._counts = index, claims, counts
        self._aside: list[int] = []

    def begin(self, number: int) -> bool:
        """Whether a trial is to be trained here and now; one that is not is set aside."""
        if self._claims.take(self._keys[number]) and self._stored(number) is None:
            return True
        self._aside.append(number)
        return False

    def ended(self, number: int) -> None:
        """A trial that was begun is stored."""
        self._claims.drop(self._keys[number])

    def settled(self) -> Iterator[tuple[int, Row | None]]:
        """Wait for the trials that were set aside: each comes with its row, or with None if it is ours to train."""
        while self._aside:
            waiting, self._aside = self._aside, []
            for number in waiting:
                row = self._stored(number)
                if row is not None:
                    self._claims.drop(self._keys[number])
                    yield number, row
                elif self._claims.take(self._keys[number]):
                    yield number, None  # if it has been stored just now, `begin` sees it
                else:
                    self._aside.append(number)
            if len(self._aside) == len(waiting):
                time.sleep(_PAUSE)

    def _stored(self, number: int) -> Row | None:
        if not self._claims.shared:
            return None
        row = self._index.look(self._keys[number])
        return row if row is not None and self._counts(row) else None


def work(order: Order, index: Index, shared: Shared, stored: Mapping[int, Row], *, shown: bool) -> bool:
    """Have the trials trained; tell whether Ctrl-C ended that."""
    title = order.store.name.rstrip("/").rsplit("/", 1)[-1]
    with SweepProgress(title, len(order.job.trials), len(stored), shown=shown) as line:
        line.seen(stored.values())
        numbers: Sequence[int] = order.numbers
        try:
            while numbers:
                _round(dataclasses.replace(order, numbers=list(numbers)), index, shared, line)
                numbers = []
                for number, row in shared.settled():
                    if row is None:
                        numbers.append(number)
                    else:
                        line.ended(number, row)
        except KeyboardInterrupt:
            for trial in order.job.trials:  # what was stored before its end could be told
                if trial.key not in index.rows:
                    index.look(trial.key)
            return True
        finally:
            index.write()
    return False


def _round(order: Order, index: Index, shared: Shared, line: SweepProgress) -> None:
    with contextlib.closing(order.backend.train(order)) as events:  # type: ignore[type-var] # a generator
        for event in events:
            if event.row is None:
                line.begun(event.number)
            else:
                index.add(event.row)
                shared.ended(event.number)
                line.ended(event.number, event.row)
