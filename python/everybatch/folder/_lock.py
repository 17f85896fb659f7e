"""Who writes a run's folder: one process at a time, which readers can tell from one that is no more.

A lock on the file ``lock`` goes with the process that holds it, however that ends, and readers ask for it without
taking it. It is good for all that the same kernel runs, containers too, and on most network file systems for other
machines. Where it cannot tell, the file itself does: who wrote it, and how long ago it was touched.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import platform
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from everybatch._byte_locks import is_taken, let_go, take
from everybatch._disk import explained
from everybatch._system import open_file

__all__ = ["LOCK", "Lock", "holder"]

LOCK = "lock"
_HEARTBEAT = 5.0
"""Seconds from one touch of the file to the next."""
_SILENCE = 60.0
"""Seconds without one after which a process elsewhere is thought to be dead."""


class Lock:
    """Holds a folder, until it is closed or the process ends.

    Raises
    ------
    FileExistsError
        Another one holds it.
    OSError
        The folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / LOCK
        self._file = open_file(path, "O_RDWR", "O_CREAT")
        try:
            kernel = take(self._file)
            if kernel is False or (kernel is None and holder(folder) is not None):
                raise FileExistsError(errno.EEXIST, f"{folder} is in use{_by(_read(path))}: its run is still going")
            told = json.dumps(_self()).encode()
            with explained("the run", folder):
                os.ftruncate(self._file, 0)
                os.lseek(self._file, 0, os.SEEK_SET)
                if os.write(self._file, told) < len(told):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except BaseException:
            with contextlib.suppress(OSError):
                os.close(self._file)
            raise
        self._path = path
        self._closed = threading.Event()
        _HELD.add(self)
        threading.Thread(target=self._beat, name="everybatch-lock", daemon=True).start()

    def close(self) -> None:
        """Give the folder up."""
        if not self._closed.is_set():
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, 0)
            with contextlib.suppress(OSError):  # a process that was forked a moment ago may still have it open
                let_go(self._file)
            self._let_go()

    def _let_go(self) -> None:
        self._closed.set()
        _HELD.discard(self)
        with contextlib.suppress(OSError):  # it is closed in any case, and the lock is gone
            os.close(self._file)

    def _beat(self) -> None:
        while not self._closed.wait(_HEARTBEAT):
            with contextlib.suppress(OSError):  # the next one may come through
                os.utime(self._path)


_HELD: set[Lock] = set()


def _forked() -> None:
    """A child has copies of the files, and would hold the locks when the parent is no more."""
    for lock in list(_HELD):
        lock._let_go()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def holder(folder: Path) -> dict[str, Any] | None:
    """Return who holds a folder (``host``, ``pid``, ``since``), or None: then nobody writes it any more."""
    path = folder / LOCK
    told = _read(path)
    if told is None:
        return None
    if told.get("boot") == _boot():
        held = _is_locked(path)
        if held is None:
            held = told.get("born") == _born(told.get("pid"))
        return told if held else None
    if _is_locked(path):
        return told
    # On another machine, which the locks of this file system may not reach.
    try:
        age = time.time() - path.stat().st_mtime
    except OSError:
        return None
    return told if abs(age) < _SILENCE else None


def _self() -> dict[str, Any]:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    pid = os.getpid()
    return {"host": platform.node(), "pid": pid, "since": since, "boot": _boot(), "born": _born(pid)}


def _by(told: dict[str, Any] | None) -> str:
    return "" if told is None else f" by process {told.get('pid')} on {told.get('host')} since {told.get('since')}"


def _read(path: Path) -> dict[str, Any] | None:
    """Return what the file says; None if nobody holds it."""
    try:
        told = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return told if isinstance(told, dict) else None


def _boot() -> str:
    """What is one and the same for all processes of a kernel, until the machine starts anew."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return platform.node()


def _born(pid: object) -> str | None:
    """Return when a process of this machine began, or None: a later one with its number began at another time."""
    try:
        return Path(f"/proc/{int(str(pid))}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    except (OSError, ValueError, IndexError):
        return None


def _is_locked(path: Path) -> bool | None:
    """Whether someone has the lock; None: there are no locks here."""
    try:
        file = open_file(path, "O_RDONLY")
    except OSError:
        return None
    try:
        return is_taken(file)
    finally:
        os.close(file)
