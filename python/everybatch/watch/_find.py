"""What is below a folder: runs and stores of sweeps. Links are not followed, so that nothing outside is reached."""

from __future__ import annotations

import os
import stat
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from everybatch.folder._files import HISTORY as RECORDS
from everybatch.runs._files import CONFIG
from everybatch.runs._files import HISTORY as ARCHIVE
from everybatch.sweeps._store import FAILED, INDEX, ROW, SWEEP, TRIALS

__all__ = ["Found", "find", "is_saved", "is_written", "stamp"]

_MOST_FOLDERS = 20_000
_MOST_RUNS = 2_000


@dataclass
class Found:
    """Paths below the folder, which is ``""`` itself, with ``/`` between their parts, in order."""

    runs: list[str] = field(default_factory=list)
    sweeps: list[str] = field(default_factory=list)
    complete: bool = True
    """Whether there was not too much to look at."""


def find(root: Path) -> Found:
    """Look for runs and sweeps in a folder and below, level by level, in each folder at what changed last first.

    Within a store, trials that are done belong to the sweep, and are no runs of their own.
    """
    found = Found()
    ahead = deque([""])
    looked = 0
    while ahead:
        name = ahead.popleft()
        looked += 1
        folder = root / name
        is_run = is_written(folder) or is_saved(folder)
        if looked > _MOST_FOLDERS or (is_run and len(found.runs) == _MOST_RUNS):
            found.complete = False
            break
        if is_run:
            found.runs.append(name)
            continue
        is_store = _is_store(folder)
        if is_store:
            found.sweeps.append(name)
        inner = [sub for sub in _folders(folder) if not (is_store and sub in _TRIALS)]
        ahead += [f"{name}/{sub}" if name else sub for sub in inner]
    found.runs.sort()
    found.sweeps.sort()
    return found


_TRIALS = (TRIALS, FAILED)


def is_written(folder: Path) -> bool:
    """Whether it is the folder of a run that is, or was, written as it goes on."""
    return _is_file(folder / RECORDS)


def is_saved(folder: Path) -> bool:
    """Whether it is a saved run."""
    return _is_file(folder / CONFIG) and _is_file(folder / ARCHIVE)


def stamp(path: Path) -> tuple[int, int, int]:
    """Return what differs if a file was changed; zeros if there is none."""
    try:
        told = path.lstat()
    except OSError:
        return 0, 0, 0
    return told.st_ino, told.st_size, told.st_mtime_ns


def _is_store(folder: Path) -> bool:
    """Whether it is the store of a sweep, none of whose files lies elsewhere."""
    if not (_is_file(folder / SWEEP) or _is_file(folder / INDEX)) or not _is_folder(folder / TRIALS):
        return False
    for name in (SWEEP, INDEX, *_TRIALS):
        if (folder / name).is_symlink():
            return False
    trials = [folder / kind / name for kind in _TRIALS for name in _names(folder / kind)]
    return not any(trial.is_symlink() or (trial / ROW).is_symlink() for trial in trials)


def _is_file(path: Path) -> bool:
    """Whether it is a plain file: no link, and nothing that waits when it is opened."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except (OSError, ValueError):
        return False


def _is_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except (OSError, ValueError):
        return False


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 - names alone, quickly
    except OSError:
        return []


def _folders(folder: Path) -> list[str]:
    """Return the names of the folders in a folder, what changed last first; hidden ones are work in progress."""
    try:
        with os.scandir(folder) as entries:
            inner = [
                entry for entry in entries if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False)
            ]
    except OSError:
        return []
    inner.sort(key=lambda entry: -stamp(Path(entry))[2])
    return [entry.name for entry in inner]
