"""Swapping two names on a disk in one step, so that neither is missing for a moment: `renameat2` of Linux."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

__all__ = ["exchange"]

_HERE, _EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE


def exchange(one: Path, other: Path) -> bool:
    """Swap two names. False where the system or the file system cannot, and nothing was changed.

    Raises
    ------
    FileNotFoundError
        One of them is not there.
    """
    if os.name != "posix":
        return False
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    if rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number == errno.ENOENT:
        raise FileNotFoundError(number, os.strerror(number), str(one), None, str(other))
    return False  # a reason of another kind comes again, and to light, with a plain rename
