"""What the tests of threads share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

PATIENCE = 600  # seconds, after which a thread or a process hangs


def in_threads(works: Sequence[Callable[[], Any]]) -> list[Any]:
    """What each of `works` gives, each in a thread of its own, all at a time; the last one begins first."""
    results: list[Any] = [None] * len(works)
    together = threading.Barrier(len(works))

    def work(place: int) -> None:
        together.wait(PATIENCE)
        results[place] = works[place]()

    threads = [threading.Thread(target=work, args=(place,), daemon=True) for place in range(len(works))]
    for thread in reversed(threads):
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads)
    return results
