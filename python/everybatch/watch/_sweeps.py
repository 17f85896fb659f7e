"""How far a sweep is, from its store alone."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

from everybatch.errors import EverybatchError
from everybatch.sweeps import load_sweep
from everybatch.sweeps._claims import count_claimed
from everybatch.sweeps._store import TRIALS

__all__ = ["WatchedSweep"]

_PATIENCE = 20
_OFTEN = 2.0
"""Seconds from one reading to the next, at least."""
_BEST = 20
"""Trials that are listed."""


class WatchedSweep:
    """A sweep below the folder that is watched.

    Parameters
    ----------
    folder
        Its store.
    name
        Its path below the folder that is watched.
    resume
        The command that goes on with it.
    """

    def __init__(self, folder: Path, name: str, resume: str) -> None:
        self._folder, self._name, self._resume = folder, name, resume
        self.trials: frozenset[str] = frozenset()
        """Paths of the trials that can be shown, below the folder that is watched."""
        self.summary: dict[str, Any] = {"message": "", "total": 0, "counts": {}, "best": [], "running": 0}
        self._due = 0.0

    def look(self) -> None:
        """Read the store again, unless that was just done."""
        start = time.monotonic()
        if start < self._due:
            return
        try:
            self._read()
        except (EverybatchError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            self.summary = {**self.summary, "message": " ".join(str(error).split())}
        self._due = time.monotonic() + max(_OFTEN, _PATIENCE * (time.monotonic() - start))

    def _read(self) -> None:
        if "::" in str(self._folder) or "://" in str(self._folder):
            raise ValueError("a path with :: or :// in it names another file system")
        sweep = load_sweep(self._folder)
        by = "final_validation_accuracy"
        if not any(math.isfinite(trial.value(by)) for trial in sweep.trials if trial.has_run):
            by = "final_test_accuracy"
        ranked = [
            trial
            for trial in sweep.trials
            if trial.has_run and trial.state != "diverged" and math.isfinite(trial.value(by))
        ]
        ranked.sort(key=lambda trial: -trial.value(by))
        counts = dict(sweep._counted())
        missing = [trial.key for trial in sweep.trials if trial.state == "missing"]
        running = count_claimed(self._folder, missing)
        best: list[dict[str, Any]] = [
            {
                "name": self._below(trial.key),
                "settings": ", ".join(f"{name}={value}" for name, value in trial.settings.items()),
                "accuracy": trial.value(by),
                "state": trial.state,
            }
            for trial in ranked[:_BEST]
        ]
        self.trials = frozenset(one["name"] for one in best)
        self.summary = {
            "message": "",
            "total": len(sweep),
            "counts": counts,
            "running": running,
            "by": by.removeprefix("final_").replace("_", " "),
            "best": best,
            "resume": self._resume if missing and not running else None,
        }

    def _below(self, key: str) -> str:
        return "/".join(filter(None, (self._name, TRIALS, key)))
