"""Locks on single bytes of a file, which the system drops with the process that holds them, however that ends.

They belong to the open file (Linux's F_OFD_*), so that one process may hold some in several places.
"""

from __future__ import annotations

import errno
import os
import struct

try:
    import fcntl
except ImportError:  # not on Windows, where there are none
    fcntl = None  # type: ignore[assignment]

__all__ = ["is_taken", "let_go", "take"]

_REQUEST = "hhqqi0q"
"""struct flock: kind, whence, start, length, process"""


def take(file: int, place: int = 0) -> bool | None:
    """Take the lock on a byte. False: another one has it; None: there are no locks here."""
    if fcntl is None or not hasattr(fcntl, "F_OFD_SETLK"):
        return None
    try:
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, _request(fcntl.F_WRLCK, place))
    except OSError as error:
        return False if error.errno in (errno.EAGAIN, errno.EACCES) else None
    return True


def let_go(file: int, place: int = 0) -> None:
    """Give the lock on a byte up.

    Raises
    ------
    OSError
        The file cannot be locked.
    """
    if fcntl is not None and hasattr(fcntl, "F_OFD_SETLK"):
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, _request(fcntl.F_UNLCK, place))


def is_taken(file: int, place: int = 0) -> bool | None:
    """Whether another one has the lock on a byte; None: there are no locks here."""
    if fcntl is None or not hasattr(fcntl, "F_OFD_GETLK"):
        return None
    try:
        answer = fcntl.fcntl(file, fcntl.F_OFD_GETLK, _request(fcntl.F_WRLCK, place))
    except OSError:
        return None
    kind: int = struct.unpack(_REQUEST, answer)[0]
    return kind != fcntl.F_UNLCK


def _request(kind: int, place: int) -> bytes:
    return struct.pack(_REQUEST, kind, os.SEEK_SET, place, 1, 0)
