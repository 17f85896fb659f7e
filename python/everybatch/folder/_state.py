"""Reading the state that a run kept to go on from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from everybatch.errors import ArgumentError, FileFormatError, ShapeError
from everybatch.folder._files import BEGINNING, STATE, TENSORS, WHERE
from everybatch.folder._records import Payload, whole_payloads
from everybatch.folder._rows import AXES, Counts

if TYPE_CHECKING:
    from everybatch._core import Model

__all__ = ["Kept", "read_state"]


@dataclass(frozen=True)
class Kept:
    """A state: a safetensors file within a file that stays open, and what was recorded when it was kept.

    Of a large network it takes gigabytes: nothing of it is read before it is needed, nor held after that.
    """

    tensors: Payload
    rows: Counts
    history: int
    """Bytes of the history."""
    model_step: int
    """Steps taken before `model` had its weights."""

    def close(self) -> None:
        """Close the file."""
        self.tensors.close()

    def look(self, folder: Path) -> tuple[Model, dict[str, npt.NDArray[Any]]]:
        """Return what the run would have given if it had ended there: its model, and by name what is of it as a whole.

        Raises
        ------
        FileFormatError
            The state is none of the model that the run in this folder began with.
        """
        from everybatch._core import Model, look_at_state

        try:
            model, arrays = look_at_state(self.tensors, Model.load(str(folder / BEGINNING)))
        except (ArgumentError, ShapeError) as error:
            raise FileFormatError(f"{folder / STATE}: {error}") from error
        return model, {name: np.asarray(array) for name, array in arrays.items()}


def read_state(folder: Path) -> Kept | None:
    """Return what a run kept last, which is to be closed; None if it kept nothing yet.

    Raises
    ------
    FileFormatError
        The file is damaged.
    """
    path = folder / STATE
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return None
    try:
        return _kept(path, file)
    except BaseException:
        file.close()
        raise


def _kept(path: Path, file: IO[bytes]) -> Kept:
    records = list(whole_payloads(file))
    if [kind for kind, _ in records] != [WHERE, TENSORS]:
        raise FileFormatError(f"{path} is damaged: it does not hold one state")
    (_, told), (_, tensors) = records
    try:
        where = json.loads(told.read(0, told.length))
        rows = where["rows"]
        if isinstance(rows, list):  # as earlier versions told them
            rows = dict(zip(AXES, rows, strict=False))
        rows = Counts({axis: int(rows.get(axis, 0)) for axis in AXES})
        model_step = int(where.get("model_step", rows["steps"]))
        return Kept(tensors, rows, int(where["history"]), model_step)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError, RecursionError) as error:
        raise FileFormatError(f"{path} does not say what was recorded then: {error}") from error
