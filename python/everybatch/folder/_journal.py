"""Writing a run's folder while the run goes on."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from everybatch._disk import as_path, explained, make_folders, names_to_disk, whole_file
from everybatch._log import logger
from everybatch._measures import ARRAYS, REQUESTED
from everybatch.folder._files import (
    BEGINNING,
    BEGUN,
    COLUMNS,
    ENDED,
    HISTORY,
    MODEL,
    ROWS,
    STATE,
    TENSORS,
    WHERE,
    WHOLE,
)
from everybatch.folder._lock import LOCK, Lock
from everybatch.folder._read import Follower, recorded
from everybatch.folder._records import Appender, Payload, Pieces, record, write_record
from everybatch.folder._rows import AXES, Columns, Counts, counts_of, cut
from everybatch.folder._state import read_state
from everybatch.folder._whole import packed
from everybatch.runs._files import fingerprint

if TYPE_CHECKING:
    from everybatch._core import Model
    from everybatch.run import Run

__all__ = ["Journal"]

Array = npt.NDArray[Any]

_FIRST = 2.0
"""Seconds after which the first state is kept: from then on there is a model to look at."""


class Journal:
    """The journal of one run, which holds its folder. The training loop gives it rows and states as they come.

    A disk that fails does not end the run: a warning is logged, and what could not be written is tried again with what
    comes next.

    Parameters
    ----------
    folder
        Where to; made if needed.
    keep_state_every
        Seconds from one kept state to the next.
    again
        Go on with the run that is in the folder.
    passing
        The folder is for going on alone, and goes away when the run has ended: nothing is kept of what is short, nor
        how it ended.

    Raises
    ------
    FileExistsError
        The folder is in use, or not empty.
    FileNotFoundError
        There is no run to go on with.
    FileFormatError
        A file is damaged.
    OSError
        The folder cannot be written.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        keep_state_every: float = 60.0,
        again: bool = False,
        passing: bool = False,
    ) -> None:
        self.folder = as_path(folder, "folder")
        if again and not (self.folder / HISTORY).exists():
            raise FileNotFoundError(f"there is no run in {self.folder} to go on with: give the folder= of a training")
        make_folders(self.folder)
        self.earlier = Follower(self.folder)
        """What was in the folder before."""
        self.state: Payload | None = None
        """From which the run goes on; None: from its beginning. Whoever reads it closes it."""
        self.history: dict[str, Array] = {}
        """What was recorded before it, by name."""
        self.rows = Counts()
        """How many are in the file, those after the state aside."""
        self._lock = Lock(self.folder)
        try:
            others = sorted(path.name for path in self.folder.iterdir() if path.name != LOCK)
            if again:
                self.earlier.look()
                kept = read_state(self.folder)
                if kept is not None:
                    self.state = kept.tensors
                    self.rows, self.history = kept.rows, recorded(self.folder, kept)
            elif others and not self._never_began(others):
                raise FileExistsError(
                    f"{self.folder} is not empty ({others[0]!r}): choose a folder for this run alone, such as "
                    f"{self.folder / 'run'}"
                )
            self._file = self._opened(new=not again)
        except BaseException:
            self._let_go()
            raise
        self._columns = self.earlier.columns
        self._goes_on, self._passing = again, passing
        self._beginning: Model | None = None  # not written yet
        self._told: bytes | None = None  # what a run that goes on says first
        self.keep_state_every = keep_state_every
        self._kept_at = time.monotonic() - (0.0 if passing else max(0.0, keep_state_every - _FIRST))
        self._fails = False

    def _never_began(self, names: Sequence[str]) -> bool:
        """Whether this is what a process left that was killed before its run began; then it is removed."""
        # The core's own name for a file that is being written, see Model.save.
        started = f".{BEGINNING}."
        if any(name not in (HISTORY, BEGINNING) and not name.startswith(started) for name in names):
            return False
        if HISTORY in names:
            self.earlier.look()
            if self.earlier.begun or self.earlier.is_damaged:
                return False
        for name in names:
            (self.folder / name).unlink()
        return True

    def _opened(self, *, new: bool) -> Appender:
        path = self.folder / HISTORY
        with explained("the run", self.folder):
            try:
                return Appender(path, self.earlier.end)
            except BaseException:
                if new:
                    with contextlib.suppress(OSError):
                        path.unlink()
                raise

    @contextlib.contextmanager
    def begin(self, told: Mapping[str, Any], model: Model | None = None) -> Iterator[None]:
        """Write what is known before the first step, and take it back if what follows fails: then no run began.

        A run that goes on writes it with its first rows: until then it may be refused, and the folder is as it was.

        Parameters
        ----------
        told
            ``config``, the ``arrays`` of the run as a whole, and the ``settings`` that the core is given.
        model
            With the weights that the run begins with; None for a run that goes on, or has none.

        Raises
        ------
        OSError
            It cannot be written.
        """
        begun = _json({**told, "format": 1})
        if self._goes_on:
            self._told = begun
            yield
            return
        try:
            self._beginning = model
            with explained("the run", self.folder):
                if not self._passing:
                    self._write_beginning()  # first: a run that has begun can be gone on with, whenever it is killed
                self._file.append(BEGUN, begun)
                if not self._passing:
                    self._file.sync()
                    names_to_disk(self.folder)
            yield
        except BaseException:
            if self._columns is None:  # nothing was measured
                for name in (HISTORY, BEGINNING, STATE):
                    with contextlib.suppress(OSError):
                        (self.folder / name).unlink()
            raise

    def write(self, added: Mapping[str, Array], ends: bool = False) -> bool:
        """Write the rows that come after `rows`, with which the run `ends` perhaps; tell whether to keep the state."""
        try:
            self._write(self.rows, added)
        except OSError as error:
            self._failed(error)
            return False
        self._fails = False
        is_due = time.monotonic() - self._kept_at >= self.keep_state_every
        return is_due or (ends and not self._passing)

    def keep(self, state: Pieces, step: int, model_step: int) -> None:
        """Keep the state after so many steps, which are all written, instead of the one before.

        Parameters
        ----------
        state
            A safetensors file.
        step, model_step
            Steps taken, and those before the weights that count.
        """
        self._kept_at = time.monotonic()
        try:
            self._write_beginning()
            self._file.sync()  # a state whose rows are lost is none
            where = {"step": step, "model_step": model_step, "rows": self.rows, "history": self._file.end}
            with whole_file(self.folder / STATE, overwrite=True) as file:
                file.write(record(WHERE, _json(where)))
                write_record(file, TENSORS, state)
        except OSError as error:
            self._failed(error)

    def end(self, run: Run, model: Model | None) -> None:
        """Write how the run ended: what is not written yet of its arrays, its model if it has one, and its config."""
        if self._passing:
            return
        try:
            self._end(run._arrays, run._config, model)
        except OSError as error:
            self._failed(error)

    def _end(self, arrays: Mapping[str, Array], config: Mapping[str, Any], model: Model | None) -> None:
        of_run = {name: array for name, array in arrays.items() if ARRAYS[name].dimensions[0] not in AXES}
        arrays = {name: array for name, array in arrays.items() if name not in of_run}
        whole = {name: of_run.pop(name) for name in REQUESTED if name in of_run}
        # The last measurement may be another one: what was an estimate is complete now. And a run that diverged on a
        # GPU has taken back what its device ran ahead.
        first = self.rows & _but_the_last_evaluation(counts_of(arrays))
        self._write(first, cut(arrays, first))
        if model is not None:
            model.save(str(self.folder / MODEL))
        if whole:
            self._file.append(WHOLE, packed(whole))
        end = {
            "config": config,
            "arrays": of_run,
            "model": None if model is None else fingerprint(self.folder / MODEL),
        }
        self._file.append(ENDED, _json(end))
        self._file.sync()

    def _write_beginning(self) -> None:
        if self._beginning is not None:
            self._beginning.save(str(self.folder / BEGINNING))
            self._beginning = None

    def close(self) -> None:
        """Give the folder up."""
        try:
            self._file.close()
        except OSError as error:  # as network file systems tell late that they have no room
            self._failed(error)
        self._let_go()

    def _let_go(self) -> None:
        if self.state is not None:
            self.state.close()
        self._lock.close()

    def _write(self, first: Counts, added: Mapping[str, Array]) -> None:
        if self._told is not None:
            self._file.append(BEGUN, self._told)
            self._write_last_again()
            self._told = None
        if self._columns is None:
            columns = Columns.of(added)
            self._file.append(COLUMNS, columns.told())
            self._columns = columns
        counts = counts_of(added)
        if counts.total() or first != self.rows:
            self._file.append(ROWS, self._columns.rows(first, added))
            self.rows = first + counts

    def _write_last_again(self) -> None:
        """Write the last measurement as the state knows it: a run that was stopped has completed it after that."""
        if self._columns is not None and self.rows["evaluations"]:
            last = _but_the_last_evaluation(self.rows)
            self._file.append(ROWS, self._columns.rows(last, cut(self.history, last)))

    def _failed(self, error: OSError) -> None:
        if not self._fails:  # once, and not five times a second
            logger.warning("the run goes on, but its folder %s cannot be written: %s", self.folder, error)
        self._fails = True


def _but_the_last_evaluation(counts: Counts) -> Counts:
    return counts - Counts(evaluations=1)


def _json(told: Mapping[str, Any]) -> bytes:
    def plain(value: Any) -> Any:
        return value.tolist()  # of NumPy

    return json.dumps(told, allow_nan=False, default=plain).encode()
