"""Reading the state that a run kept to go on from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from everybatch.errors import FileFormatError
from everybatch.folder._files import STATE, TENSORS, WHERE
from everybatch.folder._records import whole_records

__all__ = ["Kept", "read_state"]


@dataclass(frozen=True)
class Kept:
    """A state: the bytes of a safetensors file, and what was recorded when it was kept."""

    tensors: bytes
    rows: tuple[int, int]
    """Steps and evaluations."""
    history: int
    """Bytes of the history."""


def read_state(folder: Path) -> Kept | None:
    """Return what a run kept last; None if it kept nothing yet.

    Raises
    ------
    FileFormatError
        The file is damaged.
    """
    path = folder / STATE
    try:
        with path.open("rb") as file:
            records = [(kind, payload) for kind, payload, _ in whole_records(file)]
    except FileNotFoundError:
        return None
    if [kind for kind, _ in records] != [WHERE, TENSORS]:
        raise FileFormatError(f"{path} is damaged: it does not hold one state")
    try:
        where = json.loads(records[0][1])
        steps, evaluations = where["rows"]
        return Kept(records[1][1], (int(steps), int(evaluations)), int(where["history"]))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise FileFormatError(f"{path} does not say what was recorded then: {error}") from error
