"""What is being written stands beside its place under another name, locked; what a killed process left is cleared.

The lock (`flock`) goes with the process that holds it, however it ends. Where a file system has no locks nothing is
cleared.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from everybatch._system import lock, open_file

__all__ = ["begun", "clear_leftovers", "displaced", "locked", "remove", "sibling"]


def sibling(target: Path, kind: str) -> Path:
    """Return a free name beside `target`, because a rename is atomic only within one file system."""
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}.{kind}")


@contextlib.contextmanager
def begun(target: Path, make: Callable[[Path], object]) -> Iterator[Path]:
    """Let `make` make a file or folder beside `target`, and hold its lock; if what follows fails it goes away again."""
    while True:
        path = sibling(target, "tmp")
        make(path)
        try:
            with locked(path):
                if path.exists():  # or someone cleared it before it was locked
                    yield path
                    return
        except BaseException:  # Ctrl-C too must leave nothing behind
            remove(path)
            raise


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold the lock of a file or folder; tells whether that is so."""
    try:
        handle = open_file(path, "O_RDONLY", "O_NOFOLLOW", "O_NONBLOCK")
    except OSError:
        yield False
        return
    try:
        yield lock(handle, wait=wait)
    finally:
        os.close(handle)


def displaced(target: Path) -> Path | None:
    """Return the folder that stood at `target` until it was put aside, if its successor never came."""
    if os.path.lexists(target):
        return None
    return next((path for path in _beside(target, "old") if path.is_dir()), None)


def clear_leftovers(target: Path) -> None:
    """Delete what processes that are no more have begun beside `target`, and bring back what they put aside."""
    aside = displaced(target)
    if aside is not None:
        with contextlib.suppress(OSError):
            aside.rename(target)
    for path in _beside(target, "tmp|old"):
        with locked(path, wait=False) as free:
            if free and (path.suffix == ".tmp" or os.path.lexists(target)):
                remove(path)


def remove(path: Path) -> None:
    """Delete a file or folder as far as possible: a remainder is no reason to fail."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def _beside(target: Path, kinds: str) -> list[Path]:
    name = re.compile(rf"\.{re.escape(target.name)}\.[0-9a-f]{{8}}\.({kinds})")
    try:
        return sorted(path for path in target.parent.iterdir() if name.fullmatch(path.name))
    except OSError:  # no such folder, or it may not be read
        return []
