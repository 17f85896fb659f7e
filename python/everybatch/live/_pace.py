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
    clock
        Seconds from wherever.
    """

    def __init__(
        self, pause: float, *, share: float, credit: float, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._pause, self._share, self._credit, self._clock = pause, share, credit, clock
        self._began = self._last = clock()
        self._spent = 0.0

    def draw(self, action: Callable[[], object]) -> None:
        """Do what draws, if it is time to."""
        now = self._clock()
        if now - self._last >= self._pause and self._spent <= self._credit + self._share * (now - self._began):
            action()
            self._last = self._clock()
            self._spent += self._last - now
