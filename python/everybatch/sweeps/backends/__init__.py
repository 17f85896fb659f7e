"""The ways to work off the trials of a sweep. Each is a function from a job to a stream of events."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from everybatch.sweeps._index import Row
from everybatch.sweeps._perform import Job
from everybatch.sweeps._store import Store
from everybatch.sweeps.pruning import Referee

__all__ = ["BACKENDS", "Backend", "Event", "Order", "find_backend"]

BACKENDS = ("serial", "processes", "packed", "ray")


@dataclasses.dataclass(frozen=True)
class Event:
    """A trial has begun (no row yet) or ended."""

    number: int
    row: Row | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Order:
    """What a backend is to do, and how."""

    job: Job
    numbers: list[int]
    """The trials to train, in the order in which they are to begin."""
    begin: Callable[[int], bool]
    """Asked before each of them: whether it is still to be trained, and nobody else trains it."""
    store: Store
    referee: Referee | None
    """Decides about pruning; the backend tells it of the trials that it trains."""
    workers: int | None
    retries: int
    """How often a trial is tried again whose worker died."""
    options: dict[str, Any]
    """Those that belong to this backend alone."""


class Backend(Protocol):
    """Closing the stream early ends what is running; trials in flight are then lost, and no others."""

    def __call__(self, order: Order, /) -> Iterator[Event]:
        """Train the trials of an order."""
        ...


def find_backend(name: str) -> Backend:
    """Return a backend by name; only the one that is asked for is imported."""
    run: Backend = importlib.import_module(f"{__name__}.{name}").run
    return run
