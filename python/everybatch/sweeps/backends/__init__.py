"""The ways to work off the trials of a sweep. Each is a function from an order to a stream of events."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from everybatch.sweeps._index import Row
from everybatch.sweeps._perform import Job
from everybatch.sweeps._store import Store
from everybatch.sweeps.backends._backend import Backend
from everybatch.sweeps.pruning import Referee

__all__ = ["Event", "Order"]


@dataclasses.dataclass(frozen=True)
class Event:
    """A trial has begun (no row yet) or ended."""

    number: int
    row: Row | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Order:
    """What a backend is to do, and how."""

    backend: Backend
    """With its options."""
    job: Job
    numbers: list[int]
    """The trials to train, in the order in which they are to begin."""
    begin: Callable[[int], bool]
    """Asked before each of them: whether it is still to be trained, and nobody else trains it."""
    store: Store
    referee: Referee | None
    """Decides about pruning; the backend tells it of the trials that it trains."""
