"""Many replicas in this process, each in a thread, of which one at a time goes on for a step.

On a GPU a step is handed over and not waited for: while one replica's thread hands over the next step, the GPU works on
those of all others, each in streams of its own. All share the data set on the device.
"""

from __future__ import annotations

import dataclasses
import queue
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch

from everybatch._core import Data, Turn, Turns
from everybatch.dataset import Dataset
from everybatch.sweeps._parcel import identity
from everybatch.sweeps._perform import perform
from everybatch.sweeps._threads import threads
from everybatch.sweeps.backends import Event, Order

__all__ = ["run"]

_REPLICAS = {"cpu": 4, "cuda": 16}
_Key = tuple[str, str]
"""The identity of a data set, and a device."""
_PAUSE = 0.001  # seconds until a replica that waits for another one's result looks again


def run(order: Order) -> Iterator[Event]:
    """Train the trials; see `everybatch.sweeps.backends`."""
    count = min(order.backend.workers or _REPLICAS[order.job.device.partition(":")[0]], len(order.numbers))
    on_gpu = order.job.device.startswith("cuda")
    # Each run gives torch's random numbers back as it found them, but not in the order in which they began. A GPU that
    # nothing has used yet has none, and using it now would come before a run's `deterministic=True`.
    cuda: Any = torch.cuda  # partly without types
    used = range(cuda.device_count()) if on_gpu and cuda.is_initialized() else []
    with threads(order.job.threads), torch.random.fork_rng(devices=used):
        pack = _Pack(order)
        replicas = [threading.Thread(target=pack.replica, name=f"replica {number}") for number in range(count)]
        try:
            for replica in replicas:
                replica.start()
            yield from pack.events(count)
        finally:
            pack.stop()
            for replica in replicas:
                replica.join()


@dataclasses.dataclass
class _Lent:
    """A data set on a device, and how many trials that are on their way use it."""

    data: Data
    trials: int = 0


class _Pack:
    """What the replicas share."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._turns = Turns()
        self._numbers = filter(order.begin, order.numbers)
        self._next = threading.Lock()
        self._lending = threading.Lock()
        self._stopped = False
        self._said: queue.SimpleQueue[Event | BaseException | None] = queue.SimpleQueue()
        self._data: dict[_Key, _Lent] = {}

    def events(self, replicas: int) -> Iterator[Event]:
        """Give what the replicas say, until all are through."""
        while replicas:
            said = self._said.get()
            if isinstance(said, BaseException):
                raise said
            if said is None:
                replicas -= 1
            else:
                yield said

    def stop(self) -> None:
        """Have everyone end at the next turn, and begin nothing more."""
        self._stopped = True
        self._turns.stop()

    def replica(self) -> None:
        """Train one trial after the other, until there is none left."""
        try:
            while (begun := self._begin()) is not None:
                self._train(*begun)
            self._said.put(None)
        except BaseException as error:  # it belongs to whoever called the sweep
            ended = self._stopped and isinstance(error, KeyboardInterrupt)  # in the middle of a trial
            self._said.put(None if ended else error)

    def _begin(self) -> tuple[int, Turn] | None:
        """Take the next trial; the places in the circle are taken in the trials' order."""
        with self._next:
            number = None if self._stopped else next(self._numbers, None)
            if number is None:
                return None
            self._said.put(Event(number))
            return number, self._turns.join()

    def _train(self, number: int, turn: Turn) -> None:
        referee, job = self._order.referee, self._order.job
        lent: set[_Key] = set()

        def ask(_: int, step: int, value: float) -> bool:
            assert referee is not None  # or nobody asks
            referee.came(number, step, value)
            while (said := referee.verdict(number, step)) is None:
                if not turn.pass_on():
                    raise KeyboardInterrupt
                referee.wait(_PAUSE)
            return said

        try:
            turn.wait()
            asked = None if referee is None else ask
            data = partial(self._lend, lent)
            row = perform(job, number, self._order.store, device=job.device, ask=asked, turn=turn, data=data)
        finally:
            turn.leave()
            self._take_back(lent)
        if referee is not None:
            referee.ended(number)
        self._said.put(Event(number, row))

    def _lend(self, lent: set[_Key], dataset: Dataset, device: str) -> Data:
        """The one copy of a data set on a device, for a trial that has `lent` already. It has the turn."""
        key = (identity(dataset), device)
        with self._lending:
            if key not in self._data:
                self._data[key] = _Lent(Data(dataset, device))
            if key not in lent:
                self._data[key].trials += 1
                lent.add(key)
            return self._data[key].data

    def _take_back(self, lent: set[_Key]) -> None:
        """Give up what no trial uses any more: a function may make a data set for each of them."""
        with self._lending:
            for key in lent:
                self._data[key].trials -= 1
                if not self._data[key].trials:
                    del self._data[key]
