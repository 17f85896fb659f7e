"""One run that is watched: what is known of it by now, and the few numbers that a list of runs shows."""

from __future__ import annotations

import errno
import itertools
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from everybatch._measures import ARRAYS, MEASURES, REQUESTED, Measures
from everybatch._metered import epoch_steps, is_metered
from everybatch.errors import ArgumentError, EverybatchError, FileFormatError
from everybatch.folder import Follower, nothing_yet
from everybatch.folder._files import HISTORY
from everybatch.folder._lock import LOCK
from everybatch.folder._rows import Columns, Counts
from everybatch.run import load_run
from everybatch.runs._arrays import check_arrays, check_config
from everybatch.runs._files import CONFIG
from everybatch.watch._find import is_saved, is_written, stamp
from everybatch.watch._table import Table

__all__ = ["Watched"]

Array = npt.NDArray[Any]

_BEGINS = "it is about to begin"
_DAMAGED = "its history is damaged at byte {:,}, and what comes after it is not read"
_PATIENCE = 30
"""Reading takes no more than one part in so many of the time."""
_LONGEST = 2.0
"""Seconds without reading what is new, on a machine that is busy too."""
_RECENT = 200
"""Steps of which the time tells how long the rest will take."""
_VERSIONS = itertools.count()
_BY_CLASS = tuple(name for name, one in ARRAYS.items() if len(one.dimensions) == 2)


class Watched(Measures):
    """A run below the folder that is watched; its measures are attributes, as those of a `Run`.

    Parameters
    ----------
    folder
        Where it is.
    resume
        The command that goes on with it.
    most_bytes
        A run whose history takes more memory is followed without what it has of each class.
    """

    def __init__(self, folder: Path, resume: str, most_bytes: int) -> None:
        self._folder, self._resume, self._most_bytes = folder, resume, most_bytes
        self._arrays: dict[str, Array] = {}
        self._config: dict[str, Any] = {}
        self.summary: dict[str, Any] = {"state": "unknown", "message": ""}
        """What a list shows of it, in JSON's types."""
        self.version = next(_VERSIONS)
        """Another one after every change, which no other run has."""
        self.narrow = False
        """Whether it is followed without classes."""
        self._follower: Follower | None = None
        self._stamp: tuple[Any, ...] = ()
        self._due = 0.0
        self._checked = False
        self._damaged_at: int | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of memory that its history takes."""
        if self._follower is not None and isinstance(self._follower._rows, Table):
            return self._follower._rows.nbytes
        return sum(array.nbytes for array in self._arrays.values())

    def forget(self) -> None:
        """Give the memory back; the summary stays."""
        self._follower, self._arrays = None, {}

    def look(self, *, whole: bool = False) -> None:
        """Read what is new, unless reading took long, and that was not long ago.

        Parameters
        ----------
        whole
            The arrays are needed, and not the summary alone.
        """
        start = time.monotonic()
        missing = whole and not self._arrays and self._follower is None
        # Asked for first: what is written while it is read differs from this then.
        now = tuple(stamp(self._folder / name) for name in (HISTORY, LOCK, CONFIG))
        going = self.summary["state"] in ("running", "unknown")
        anew = self._follower is None and bool(self._stamp)
        if not missing and (start < self._due or (now == self._stamp and not going)):
            return
        try:
            if is_written(self._folder):
                changed = self._follow()
            elif is_saved(self._folder):
                changed = self._load(now)
            else:
                raise FileNotFoundError(errno.ENOENT, "it is not there any more")
            if changed or missing:
                self.version = next(_VERSIONS)
                self.summary = self._summarised()
        except (EverybatchError, OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            self.forget()
            self.version = next(_VERSIONS)
            self.summary = {"state": "unreadable", "message": _sentence(error)}
        self._stamp = now
        rest = _PATIENCE * (time.monotonic() - start)
        # What was read from its beginning again, because it had been forgotten, may have to be so once more.
        self._due = time.monotonic() + (rest if anew else min(rest, _LONGEST))

    # ---- reading

    def _follow(self, *, narrow: bool = False) -> bool:
        """Read on in the folder of a run; tell whether anything changed."""
        if self._follower is None:
            self._follower = Follower(self._folder, self._columns)
            self.narrow, self._checked = narrow, False
        follower = self._follower
        before = follower.columns
        new = follower.look()
        if before is not None and follower.columns is not before:  # another run has taken its place
            self.forget()
            return self._follow()
        if not follower.begun:
            return self._wait(follower)
        if not self.narrow and self.nbytes > self._most_bytes:
            self.forget()
            return self._follow(narrow=True)
        if not new and follower.state == self.summary["state"]:
            return False
        # A process that was killed leaves a torn record at most.
        self._damaged_at = follower.end if follower.state == "lost" and follower.is_damaged else None
        self._arrays = _without_requested(follower.arrays())
        if new or not self._config:
            self._config = check_config(follower.config())
        self._config["status"] = {**self._config["status"], "state": follower.state}
        if not self._checked and not self.narrow:  # once: that they fit together
            check_arrays(self._arrays, self._config)
            self._checked = True
        return True

    def _wait(self, follower: Follower) -> bool:
        """Wait for a run that has not written how it began; tell whether that is new.

        Raises
        ------
        FileFormatError
            Nobody will write it.
        """
        if follower.state != "running":
            damaged = "it is damaged at its beginning" if follower.is_damaged else ""
            raise FileFormatError(damaged or "its process has not written how it began")
        self._config, self._arrays = {}, {}
        return bool(self.summary["message"] != _BEGINS)

    def _columns(self, columns: Columns) -> Table:
        """Return what holds rows of these columns, without those that would take too much room."""
        table = Table(columns, REQUESTED)
        kept, all_bytes = table.row_bytes, sum(kind.itemsize for kind in columns.types.values())
        if kept * stamp(self._folder / HISTORY)[1] > self._most_bytes * all_bytes:
            self.narrow = True
        return Table(columns, {*REQUESTED, *_BY_CLASS}) if self.narrow else table

    def _load(self, now: tuple[Any, ...]) -> bool:
        """Read a saved run, if it is another one than before, or not there any more."""
        if now == self._stamp and self._arrays:
            return False
        run = load_run(self._folder)
        self._follower, self._damaged_at, self._config = None, None, run.config
        arrays = _without_requested(run._arrays)
        self.narrow = sum(array.nbytes for array in arrays.values()) > self._most_bytes
        if self.narrow:
            arrays = {name: array for name, array in arrays.items() if name not in _BY_CLASS}
            arrays |= nothing_yet(arrays, Counts(classes=len(run.classes)))
        self._arrays = arrays
        return True

    # ---- in short

    def _summarised(self) -> dict[str, Any]:
        if not self._config:
            return {"state": "unknown", "message": _BEGINS}
        config, status = self._config, self._config["status"]
        training = config["training"]
        steps, total, per_epoch = len(self.train_loss), training.get("total_steps"), epoch_steps(config)
        best = MEASURES["test_accuracy"].best_of(self)
        seconds = self.train_seconds
        state = str(status["state"])
        can_go_on = state in ("lost", "interrupted") and not is_metered(config)
        left = None
        if state == "running" and isinstance(total, int) and steps:
            recent = self._recent_seconds()
            left = recent * max(0, total - steps)
        return {
            "state": state,
            "message": _message(status) if self._damaged_at is None else _DAMAGED.format(self._damaged_at),
            "steps": steps,
            "total": total if isinstance(total, int) else steps,
            "epochs": None if per_epoch is None else steps / per_epoch,
            "network": str(config["network"].get("name") or "network"),
            "dataset": str(config["dataset"].get("name") or "data set"),
            "started": str(config.get("started") or ""),
            "seconds": float(seconds.sum() + self.eval_seconds.sum()),
            "left": left,
            "step_seconds": _number(self._recent_seconds()) if steps else None,
            "last": {name: _last(self, name) for name in ("train_loss", "test_loss", "test_accuracy")},
            "best": None
            if best is None
            else {"accuracy": float(self.test_accuracy[best]), "step": int(self.eval_step[best])},
            "resume": self._resume if can_go_on and self._damaged_at is None else None,
        }

    def _recent_seconds(self) -> float:
        """Return seconds of a step with what was measured after it, of late."""
        steps = len(self.train_seconds)
        first = max(0, steps - _RECENT)
        measured = self.eval_seconds[np.searchsorted(self.eval_step, first, "right") :]
        return float(self.train_seconds[first:].sum() + measured.sum()) / max(1, steps - first)


def _without_requested(arrays: Mapping[str, Array]) -> dict[str, Array]:
    return {name: array for name, array in arrays.items() if name not in REQUESTED}


def _last(run: Watched, name: str) -> float | None:
    values = getattr(run, name)
    return _number(float(values[-1])) if len(values) else None


def _number(value: float) -> float | None:
    """JSON has nothing else for what is not finite."""
    return value if math.isfinite(value) else None


def _message(status: dict[str, Any]) -> str:
    if status.get("diverged_at") is not None:
        return f"at step {status['diverged_at']:,}"
    return "" if status["state"] == "lost" else str(status.get("message") or "")


def _sentence(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, ArgumentError | FileFormatError):
        return " ".join(str(error).split())
    return f"its files are not what a run writes ({type(error).__name__})"
