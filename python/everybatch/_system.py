"""What only some systems have, each behind one door, with what stands for it elsewhere.

everybatch is tested on Linux. Locks of the kind that several runs in one process need are Linux's alone, and behind a
door of their own, `_byte_locks.py`.
"""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["can_pass_files", "is_gone", "lock", "nameless_file", "open_file", "usable_cores"]

_PROCESSES = Path("/proc/self")


def open_file(path: Path | str, *how: str) -> int:
    """Return a descriptor of a file, opened with those of the flags of `os` that there are."""
    flags = 0
    for name in ("O_CLOEXEC", "O_BINARY", *how):
        flags |= getattr(os, name, 0)
    return os.open(path, flags, 0o666)


def lock(handle: int, *, wait: bool) -> bool:
    """Take the lock of an open file, which goes with its process. False: another one has it, or there are no locks."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return False
    return True


def nameless_file() -> int:
    """Return the descriptor of a new file without a name, in memory where the system offers that."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("everybatch")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def can_pass_files() -> bool:
    """Whether a new process can be given open files by their numbers."""
    return os.name == "posix"


def usable_cores() -> int:
    """Return how many cores this process may compute on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def is_gone(process: int) -> bool:
    """Whether there is no process of that number on this machine. False where that cannot be told."""
    if _PROCESSES.exists():
        return not _PROCESSES.with_name(str(process)).exists()
    if os.name != "posix":  # where os.kill asks nothing, and kills
        return False
    try:
        os.kill(process, 0)
    except (OSError, OverflowError) as error:
        return isinstance(error, OverflowError) or error.errno == errno.ESRCH  # or it belongs to someone else
    return False
