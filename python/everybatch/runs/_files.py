"""The files of a saved run, as far as writing and reading must agree on them.

A run is a folder with ``config.json``, ``history.npz`` and ``model.safetensors``; there is no pickle in it.
``config.json`` holds the format's version, the run's config, the size and SHA-256 of the other files, and first of all
its own SHA-256: that of its bytes with zeros in the checksum's place. So no byte of a run changes unnoticed, but for
line ends, which git and editors on Windows turn into their own. Older runs lack that first entry.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["CONFIG", "FORMAT", "HISTORY", "MODEL", "WEIGHTS", "fingerprint", "is_sealed", "opened", "sealed"]

FORMAT = 1
CONFIG, HISTORY, MODEL = "config.json", "history.npz", "model.safetensors"
WEIGHTS = "weights"
"""A folder beside them, of a sweep's trial that kept weights on the way."""
_UNSEALED = "0" * 64


def fingerprint(path: Path) -> dict[str, Any]:
    """Return what ``config.json`` says of a file."""
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def sealed(content: Mapping[str, Any], indent: int | None = 2) -> bytes:
    """Return ``config.json``, or another file of JSON, with its own checksum in it."""
    text = json.dumps({"sha256": _UNSEALED, **content}, indent=indent, ensure_ascii=False, allow_nan=False) + "\n"
    # A lone surrogate, as in a path that is not UTF-8, becomes its escape in JSON; nothing else is replaced.
    data = text.encode("utf-8", "backslashreplace")
    return data.replace(_UNSEALED.encode(), hashlib.sha256(data).hexdigest().encode(), 1)


def is_sealed(data: bytes, seal: object) -> bool:
    """Whether these bytes are the ones that the checksum in them was made of."""
    if not isinstance(seal, str) or len(seal) != len(_UNSEALED):
        return False
    before = data.replace(b"\r\n", b"\n").replace(seal.encode("utf-8", "replace"), _UNSEALED.encode(), 1)
    return hashlib.sha256(before).hexdigest() == seal


def opened(data: bytes) -> Any:
    """Return the content of a file of JSON without its checksum, if it has one, as those of earlier versions have not.

    Raises
    ------
    ValueError, RecursionError
        It is no JSON, or not what the checksum was made of.
    """
    content = json.loads(data)
    if isinstance(content, dict) and "sha256" in content and not is_sealed(data, content.pop("sha256")):
        raise ValueError("its checksum differs, so that it is damaged, or was changed by hand")
    return content
