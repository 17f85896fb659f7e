"""Sweeps by name: `lenet` is the one in sweeps/lenet."""

from __future__ import annotations

import shlex
from pathlib import Path

from everybatch._disk import at_home
from everybatch.errors import suggest
from everybatch.sweeps import Sweep
from everybatch.sweeps._store import INDEX, SWEEP, TRIALS

__all__ = ["FOLDER", "NAME_HELP", "find_sweep", "named", "sweeps_here"]

FOLDER = Path("sweeps")
NAME_HELP = "the folder or address of a stored sweep, or its name in the folder sweeps"


def find_sweep(name: str) -> str:
    """Return the path that a name, or a path, stands for.

    Raises
    ------
    FileNotFoundError
        There is no such sweep.
    """
    if "://" in name:
        return name
    for path in (at_home(name), FOLDER / name):
        if _is_sweep(path):
            return str(path)
    here = [path.name for path in sweeps_here()]
    known = f"; those in {FOLDER} are {', '.join(here)}" if here else ""
    raise FileNotFoundError(f"there is no sweep {name!r}, neither there nor in {FOLDER}{known}.{suggest(name, here)}")


def sweeps_here() -> list[Path]:
    """Return the folders in `FOLDER` that hold sweeps."""
    return sorted(path for path in FOLDER.iterdir() if _is_sweep(path)) if FOLDER.is_dir() else []


def named(sweep: Sweep) -> str:
    """Return the shortest name that `find_sweep` understands, quoted for a shell."""
    path = Path(sweep.name)
    short = "://" not in sweep.name and path.parent == FOLDER and not _is_sweep(Path(path.name))
    name = path.name if short and not path.name.startswith("-") else sweep.name
    return shlex.quote(f"./{name}" if name.startswith("-") else name)  # or it would be an option


def _is_sweep(path: Path) -> bool:
    return any((path / part).exists() for part in (SWEEP, INDEX, TRIALS))
