"""The files of a saved run, as far as writing and reading must agree on them.

A run is a folder with ``config.json``, ``history.npz`` and ``model.safetensors``; there is no pickle in it.
``config.json`` holds the format's version, the run's config, and the size and SHA-256 of the other files, so
that a truncated file or one of another run is noticed.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

__all__ = ["CONFIG", "FORMAT", "HISTORY", "MODEL", "fingerprint"]

FORMAT = 1
CONFIG, HISTORY, MODEL = "config.json", "history.npz", "model.safetensors"


def fingerprint(path: Path) -> dict[str, Any]:
    """Return what ``config.json`` says of a file."""
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
