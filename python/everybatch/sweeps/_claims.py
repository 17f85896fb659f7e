"""Several sweeps on one store: each trial is trained by the one that claims it first, and the others wait for it.

A claim is a lock on one byte of a file, whose place in the file is the trial's key. The system drops it with the
process that holds it, however that ends. Another byte, further on, is the hold on what is kept of a trial on its way:
sweeps that prune train each trial without claiming it, and must not take the folder of another one's.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from everybatch._byte_locks import is_taken, let_go, take
from everybatch._system import open_file

__all__ = ["Claims", "Hold", "count_claimed"]

_NAME = ".claims"
_DIGITS = 15  # of the key, in base 16: the largest place in a file has 63 bits
_BEYOND = 16**_DIGITS  # the places of claims


class _Locks:
    """The file of locks in a folder, if there is one and it can be written; `close` lets go what is locked there."""

    def __init__(self, folder: Path | None) -> None:
        self._file: int | None = None
        if folder is not None:
            with contextlib.suppress(OSError):
                self._file = open_file(folder / _NAME, "O_RDWR", "O_CREAT")

    def close(self) -> None:
        """Let everything go."""
        if self._file is not None:
            with contextlib.suppress(OSError):  # it is closed in any case
                os.close(self._file)
            self._file = None


class Claims(_Locks):
    """The claims of one sweep in a folder; where files cannot be locked, everything is free."""

    def __init__(self, folder: Path | None) -> None:
        super().__init__(folder)
        self._held: set[str] = set()

    @property
    def shared(self) -> bool:
        """Whether others can see them."""
        return self._file is not None

    def take(self, key: str) -> bool:
        """Whether the trial is ours, or could be claimed."""
        if self._file is None or key in self._held:
            return True
        if take(self._file, _place(key)) is False:
            return False
        self._held.add(key)
        return True

    def drop(self, key: str) -> None:
        """Give a trial up."""
        if self._file is not None and key in self._held:
            self._held.discard(key)
            with contextlib.suppress(OSError):
                let_go(self._file, _place(key))


class Hold(_Locks):
    """Holds the folder of one trial on its way, until it is closed or the process ends.

    Parameters
    ----------
    folder
        The store.
    key
        The trial.

    Attributes
    ----------
    taken
        Whether it is ours; None where files cannot be locked, and nobody can tell.
    """

    taken: bool | None

    def __init__(self, folder: Path, key: str) -> None:
        super().__init__(folder)
        self.taken = None
        if self._file is not None:
            with contextlib.suppress(OSError):
                self.taken = take(self._file, _BEYOND + _place(key))


def count_claimed(folder: Path, keys: Iterable[str]) -> int:
    """Return how many of these trials someone on this machine has claimed."""
    try:
        file = open_file(folder / _NAME, "O_RDONLY", "O_NOFOLLOW")
    except OSError:
        return 0
    try:
        return sum(is_taken(file, _place(key)) is True for key in keys)
    except ValueError:  # a key that is none
        return 0
    finally:
        os.close(file)


def _place(key: str) -> int:
    return int(key[:_DIGITS], 16)
