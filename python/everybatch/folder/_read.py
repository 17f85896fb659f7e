"""Reading a run's folder, also while it is written, trusting none of its files."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from everybatch._measures import ARRAYS
from everybatch._metered import is_metered
from everybatch.errors import FileFormatError
from everybatch.folder._files import BEGUN, COLUMNS, ENDED, HISTORY, ROWS, WHOLE
from everybatch.folder._lock import holder
from everybatch.folder._records import goes_on, header_at, whole_records
from everybatch.folder._rows import AXES, Columns, Counts, Rows, cut
from everybatch.folder._state import Kept
from everybatch.folder._whole import unpacked

__all__ = ["Follower", "how_to_go_on", "nothing_yet", "recorded"]

Array = npt.NDArray[Any]


class Follower:
    """Follows the history of a run: each `look` reads what came since the one before.

    Where another run is in the folder by then, it is read from its beginning, and nothing of the first one is left.

    Parameters
    ----------
    folder
        The run's folder.
    rows
        Makes what holds the rows.
    """

    def __init__(self, folder: Path, rows: Callable[[Columns], Rows] = Rows) -> None:
        self.folder = folder
        self._make_rows = rows
        self._forget()

    def _forget(self) -> None:
        """Begin at the beginning."""
        self.begun: dict[str, Any] = {}
        """What was known before the first step; nothing until it is written."""
        self.ended: dict[str, Any] = {}
        """How the run ended; nothing while it goes on."""
        self.end = 0
        """The end of what was read."""
        self._whole: dict[str, Array] = {}
        self._rows: Rows | None = None
        self._is_held = False
        self._headers: dict[int, bytes] = {}
        """Of the first record that was read and of the last one, by where they begin."""

    def look(self, until: int | None = None) -> bool:
        """Read on, no further than to a place in the file, and tell whether anything was new.

        Raises
        ------
        FileNotFoundError
            There is no history.
        FileFormatError
            It is not what a run writes.
        """
        # Before reading: a run that ended in between has written so before it let its folder go.
        is_held = holder(self.folder) is not None
        path = self.folder / HISTORY
        # Opened anew: a network file system looks for what is new when a file is opened.
        with path.open("rb") as file:
            # By what they say, checksums included: a new file may be as long as the one before, and have its number.
            is_another = os.fstat(file.fileno()).st_size < self.end or any(
                header_at(file, place) != header for place, header in self._headers.items()
            )
            if is_another:
                self._forget()
            self._is_held, start, last = is_held, self.end, 0
            for kind, payload, end in whole_records(file, start):
                if until is not None and end > until:
                    break
                try:
                    self._take(kind, payload)
                except ValueError as error:
                    raise FileFormatError(f"{path}: the record that ends at byte {end} is wrong: {error}") from error
                last, self.end = self.end, end
            if self.end > start:
                self._headers = {place: header_at(file, place) for place in (0, last)}
        return is_another or self.end > start

    @property
    def columns(self) -> Columns | None:
        """Those of the rows, once they are told."""
        return None if self._rows is None else self._rows.columns

    @property
    def is_damaged(self) -> bool:
        """Whether records follow after one that is not whole, which is more than a torn end. Reads what is new."""
        while True:
            with (self.folder / HISTORY).open("rb") as file:
                if not goes_on(file, self.end):
                    return False
            if not self.look():  # or it was just being written
                return True

    @property
    def state(self) -> str:
        """How the run ended; "running" or "lost" if it did not."""
        if self.ended:
            return str(self.ended["config"]["status"]["state"])
        return "running" if self._is_held else "lost"

    def arrays(self) -> dict[str, Array]:
        """Return what is recorded, by name, and nothing yet of what every run has."""
        arrays = {} if self._rows is None else self._rows.arrays()
        arrays |= {**self.begun.get("arrays", {}), **self._whole, **self.ended.get("arrays", {})}
        classes = self.begun.get("config", {}).get("dataset", {}).get("classes", ())
        # Of no length: where there are rows, a column that they lack is an error.
        return arrays | nothing_yet(arrays, Counts(classes=len(classes)))

    def config(self) -> dict[str, Any]:
        """Return the run's config, of one that began."""
        if self.ended:
            return dict(self.ended["config"])
        goes_on = self.state == "lost" and not is_metered(self.begun["config"])
        status = {"state": self.state, "message": how_to_go_on(self.folder) if goes_on else ""}
        return {**self.begun["config"], "status": status}

    def _take(self, kind: bytes, payload: bytes) -> None:
        if kind == COLUMNS:
            if self._rows is not None:
                raise ValueError("columns are told once")
            self._rows = self._make_rows(Columns.read(payload))
        elif kind == ROWS:
            if self._rows is None:
                raise ValueError("no columns were told before it")
            self._rows.add(payload)
            self._whole, self.ended = {}, {}  # the run goes on
        elif kind == BEGUN:
            told = _json(payload, "config", "arrays")
            if told.get("format") != 1:
                raise ValueError(f"its format is {told.get('format')!r}, and this version of everybatch reads 1")
            self.begun, self._whole, self.ended = told, {}, {}  # a run that goes on says anew what it is
        elif kind == WHOLE:
            self._whole = unpacked(payload)
        elif kind == ENDED:
            told = _json(payload, "config", "arrays")
            if not isinstance(told["config"].get("status"), dict):
                raise ValueError("it does not say how the run ended")
            self.ended = told
        else:
            raise ValueError(f"its kind is {kind!r}, which this version of everybatch does not know")


def nothing_yet(arrays: Mapping[str, Array], sizes: Counts) -> dict[str, Array]:
    """Return what every run has for each step or evaluation, and these arrays lack: zeros.

    Parameters
    ----------
    arrays
        Those that there are.
    sizes
        Numbers of rows and of classes that the zeros are to have.
    """
    needed = (None, "validation") if "validation_indices" in arrays else (None,)
    return {
        name: np.broadcast_to(np.zeros((), measure.dtype), [sizes[axis] for axis in measure.dimensions])
        for name, measure in ARRAYS.items()
        if name not in arrays
        and measure.needs in needed
        and measure.otherwise is None
        and measure.dimensions[0] in AXES
    }


def how_to_go_on(folder: Path) -> str:
    """Say what brings the run in a folder to its end."""
    return f"go on with everybatch.resume({str(folder)!r})"


def recorded(folder: Path, kept: Kept) -> dict[str, Array]:
    """Return what had been recorded when a state was kept, by name.

    Raises
    ------
    FileFormatError
        The history does not have it.
    """
    past = Follower(folder)
    past.look(until=kept.history)
    arrays = {} if past._rows is None else past._rows.arrays()
    counts = Counts() if past._rows is None else past._rows.counts
    if past.end != kept.history or not kept.rows <= counts:
        raise FileFormatError(f"{folder / HISTORY} is damaged: the state that was kept beside it knows more")
    return cut(arrays, last=kept.rows)


def _json(payload: bytes, *sections: str) -> dict[str, Any]:
    """Return an object of JSON that has these sections, and in ``arrays`` arrays of numbers that are known.

    Raises
    ------
    ValueError
        It is none.
    """
    try:
        told = json.loads(payload)
    except RecursionError as error:
        raise ValueError(str(error)) from error
    if not isinstance(told, dict) or not all(isinstance(told.get(name), Mapping) for name in sections):
        raise ValueError(f"it lacks {', '.join(sections)}")
    for name, values in told["arrays"].items():
        if name not in ARRAYS:
            raise ValueError(f"a run has no array named {name!r}")
        try:
            told["arrays"][name] = np.array(values, np.int64)
        except (OverflowError, TypeError) as error:
            raise ValueError(f"{name} is no array of whole numbers: {error}") from error
    return told
