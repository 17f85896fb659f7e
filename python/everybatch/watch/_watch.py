"""All that is below a folder, followed as far as someone looks at it."""

from __future__ import annotations

import secrets
import shlex
import threading
import time
import zlib
from collections import OrderedDict
from pathlib import Path
from typing import Any

from everybatch._disk import as_path
from everybatch.watch._asked import Asked
from everybatch.watch._charts import axis_end, series
from everybatch.watch._find import Found, find
from everybatch.watch._packed import Packed
from everybatch.watch._sweeps import WatchedSweep
from everybatch.watch._watched import Watched

__all__ = ["Watch"]

_OFTEN = 2.0
"""Seconds from one search for runs to the next, at least."""
_PATIENCE = 20
_AT_ONCE = 0.5
"""Seconds after which the rest of the runs waits for the next question."""
MOST_BYTES = 1 << 30
"""Memory for the histories of all runs that are followed; and a quarter of it for one of them."""


class Watch:
    """Follows what is below a folder. One thread at a time reads; nothing is read while nobody asks.

    Parameters
    ----------
    folder
        The folder; it may be a run itself, or a sweep's store.
    most_bytes
        Memory for the histories of all runs together.

    Raises
    ------
    FileNotFoundError, NotADirectoryError
        It is none.
    """

    def __init__(self, folder: str | Path, most_bytes: int = MOST_BYTES) -> None:
        self.given = Path(folder)
        root = as_path(folder, "folder")
        if not root.exists():
            raise FileNotFoundError(f"there is no folder {self.given} to watch")
        if not root.is_dir():
            raise NotADirectoryError(f"{self.given} is not a folder: give one with runs in it")
        self.root = root.resolve()
        self._most_bytes = most_bytes
        self._mark = secrets.token_hex(4)
        """What no other server has: a page may have something from the one before at this address."""
        self._lock = threading.RLock()
        self._found = Found()
        self._due = 0.0
        self._runs: dict[str, Watched] = {}
        self._sweeps: dict[str, WatchedSweep] = {}
        self._trials: dict[str, Watched] = {}
        self._used: OrderedDict[str, Watched] = OrderedDict()
        """Runs with a history in memory, the one that was not asked for longest first."""

    def overview(self) -> dict[str, Any]:
        """Return all runs and sweeps with what a list shows of them, in JSON's types."""
        with self._lock:
            self._search()
            until = time.monotonic() + _AT_ONCE
            for run in self._runs.values():
                if time.monotonic() < until:
                    run.look()
            for sweep in self._sweeps.values():
                sweep.look()
            self._tidy()
            return {
                "folder": str(self.given),
                "complete": self._found.complete,
                "runs": [
                    {"name": name, "path": str(self._shown(name)), "version": run.version, **run.summary}
                    for name, run in self._runs.items()
                ],
                "sweeps": [
                    {"name": name, "path": str(self._shown(name)), **sweep.summary}
                    for name, sweep in self._sweeps.items()
                ],
            }

    def curves(self, asked: Asked) -> bytes:
        """Return the curves of some runs as `Packed` bytes; those that the page has already are not sent again."""
        packed = Packed()
        with self._lock:
            self._search()
            told = [self._curves(name, known, asked, packed) for name, known in asked.runs]
            self._tidy()
        return packed.bytes({"runs": told})

    def summary(self, name: str) -> dict[str, Any]:
        """Return what is known of one run by now.

        Raises
        ------
        KeyError
            There is no such run.
        """
        with self._lock:
            self._search()
            run = self._runs[name]
            run.look(whole=True)
            return run.summary

    def run(self, name: str) -> Watched | None:
        """Return a run that was found, or a trial that a sweep lists; no other name leads anywhere."""
        if name in self._runs:
            return self._runs[name]
        if any(name in sweep.trials for sweep in self._sweeps.values()):
            return self._trials.setdefault(name, self._watched(name))
        return None

    def _curves(self, name: str, known: str | None, asked: Asked, packed: Packed) -> dict[str, Any]:
        run = self.run(name)
        if run is None:
            return {"name": name, "gone": True}
        run.look(whole=True)
        self._used[name] = run
        self._used.move_to_end(name)
        version = f"{self._mark}-{run.version}-{zlib.crc32(repr(asked.what).encode())}"
        if version == known:
            return {"name": name, "known": version, "same": True}
        told: dict[str, Any] = {"name": name, "known": version, "state": run.summary["state"], "narrow": run.narrow}
        if not run._arrays:
            return {**told, "message": run.summary["message"], "classes": [], "end": 0, "charts": {}}
        charts = {
            view.chart: [
                {"name": part, **packed.add(curve)} for part, curve in series(run, view, asked.axis, asked.classes)
            ]
            for view in asked.views
        }
        classes = run._config["dataset"]["classes"]
        return {**told, "classes": classes, "end": axis_end(run, asked.axis), "charts": charts}

    def _search(self) -> None:
        start = time.monotonic()
        if start < self._due:
            return
        self._found = find(self.root)
        self._runs = {name: self._runs.get(name) or self._watched(name) for name in self._found.runs}
        self._sweeps = {
            name: self._sweeps.get(name) or WatchedSweep(self.root / name, name, _resume_sweep(self._shown(name)))
            for name in self._found.sweeps
        }
        self._trials = {name: run for name, run in self._trials.items() if name in self._used}
        there = self._runs | self._trials
        self._used = OrderedDict((name, run) for name, run in self._used.items() if there.get(name) is run)
        self._due = time.monotonic() + max(_OFTEN, _PATIENCE * (time.monotonic() - start))

    def _watched(self, name: str) -> Watched:
        store = next((store for store in self._found.sweeps if name.startswith(f"{store}/" if store else "")), None)
        resume = _resume_run(self._shown(name)) if store is None else _resume_sweep(self._shown(store))
        return Watched(self.root / name, resume, self._most_bytes // 4)

    def _shown(self, name: str) -> Path:
        """Return a path as the user would give it."""
        return self.given / name if name else self.given

    def _tidy(self) -> None:
        """Forget histories until those that are left fit, first those that nobody looked at."""
        unseen = [run for name, run in self._runs.items() if name not in self._used]
        runs = [*unseen, *self._used.values()]
        total = sum(run.nbytes for run in runs)
        for run in runs:
            is_still = run.summary["state"] != "running" and run not in self._used.values()
            if is_still or total > self._most_bytes:
                total -= run.nbytes
                run.forget()
        self._used = OrderedDict((name, run) for name, run in self._used.items() if run.nbytes)


def _resume_run(path: Path) -> str:
    """Return the command that goes on with a run."""
    return f"everybatch resume {shlex.quote(str(path))}"


def _resume_sweep(path: Path) -> str:
    """Return the command that goes on with a sweep."""
    return f"everybatch sweeps {shlex.quote(str(path))} --resume"
