"""When to draw: not too often, and never for more than a small share of the time that the run takes."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["Pace"]


class Pace:
    """Counts what drawing took.

    Parameters
    ----------
    pause
        Seconds from the end of one picture to the next one, at least.
    share
        Of the time since the run began that drawing may take.
    credit
        Seconds that it may take beyond that: a short run shows something, too.
    takes
        Seconds that the first picture may take; the others are taken to take what the last one took.
    clock
        Seconds from wherever.
    """

    def __init__(
        self,
        pause: float,
        *,
        share: float,
        credit: float = 0.0,
        takes: float = 0.0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._pause, self._share, self._credit, self._clock = pause, share, credit, clock
        self._began = self._last = clock()
        self._spent, self._takes = 0.0, takes

    def draw(self, action: Callable[[], object]) -> None:
        """Do what draws, if it is time to."""
        now = self._clock()
        allowed = self._credit + self._share * (now - self._began)
        if now - self._last >= self._pause and self._spent + self._takes <= allowed:
            action()
            self._last = self._clock()
            self._takes = self._last - now
            self._spent += self._takes
