"""The files of a saved run, as far as writing and reading must agree on them.

A run is a folder with ``config.json``, ``history.npz`` and ``model.safetensors``; there is no pickle in it.
``config.json`` holds the format's version, the run's config, and the size and SHA-256 of the other files, so
that a truncated file or one of another run is noticed.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from everybatch.errors import ArgumentError

__all__ = ["CONFIG", "FORMAT", "HISTORY", "MODEL", "as_path", "fingerprint"]

FORMAT = 1
CONFIG, HISTORY, MODEL = "config.json", "history.npz", "model.safetensors"


def fingerprint(path: Path) -> dict[str, Any]:
    """Return what ``config.json`` says of a file."""
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def as_path(folder: str | os.PathLike[str]) -> Path:
    """Return an absolute path; refuse what is none."""
    try:
        name = os.fspath(folder)
    except TypeError:
        raise TypeError(f"folder must be a path, not {type(folder).__name__}") from None
    if not isinstance(name, str) or not name:
        raise ArgumentError(f"folder must name a folder, not {name!r}")
    return Path(name).expanduser().absolute()
