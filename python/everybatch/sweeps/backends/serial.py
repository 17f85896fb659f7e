"""One trial after the other, in this process."""

from __future__ import annotations

from collections.abc import Iterator

from everybatch.sweeps._perform import perform
from everybatch.sweeps._threads import threads
from everybatch.sweeps.backends import Event, Order

__all__ = ["run"]


def run(order: Order) -> Iterator[Event]:
    """Train the trials; see `everybatch.sweeps.backends`."""
    referee = order.referee
    with threads(order.job.threads):
        for number in filter(order.begin, order.numbers):
            yield Event(number)
            ask = None if referee is None else referee.ask  # all earlier trials have ended: it never waits
            row = perform(order.job, number, order.store, device=order.job.device, ask=ask)
            if referee is not None:
                referee.ended(number)
            yield Event(number, row)
