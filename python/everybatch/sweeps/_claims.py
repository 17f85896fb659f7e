"""Several sweeps on one store: each trial is trained by the one that claims it first, and the others wait for it.

A claim is a lock on one byte of a file, whose place in the file is the trial's key. The system drops it with the
process that holds it, however that ends.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
from pathlib import Path

__all__ = ["Claims"]

_DIGITS = 15  # of the key, in base 16: the largest place in a file has 63 bits


class Claims:
    """The claims of one sweep in a folder; where files cannot be locked, everything is free."""

    def __init__(self, folder: Path | None) -> None:
        self._file: int | None = None
        self._held: set[str] = set()
        if folder is not None:
            with contextlib.suppress(OSError):
                self._file = os.open(folder / ".claims", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)

    @property
    def shared(self) -> bool:
        """Whether others can see them."""
        return self._file is not None

    def take(self, key: str) -> bool:
        """Whether the trial is ours, or could be claimed."""
        if self._file is None or key in self._held:
            return True
        try:
            self._lock(fcntl.F_WRLCK, key)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return False
        self._held.add(key)
        return True

    def drop(self, key: str) -> None:
        """Give a trial up."""
        if self._file is not None and key in self._held:
            self._held.discard(key)
            with contextlib.suppress(OSError):
                self._lock(fcntl.F_UNLCK, key)

    def close(self) -> None:
        """Give all trials up."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _lock(self, kind: int, key: str) -> None:
        assert self._file is not None
        # struct flock: kind, whence, start, length, process
        request = struct.pack("hhqqi0q", kind, os.SEEK_SET, int(key[:_DIGITS], 16), 1, 0)
        fcntl.fcntl(self._file, fcntl.F_OFD_SETLK, request)
