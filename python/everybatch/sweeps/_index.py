"""The rows of a store: read from its index as far as that goes, and from the trials' own folders beyond."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any, TypeGuard

from everybatch._core import CHOICES
from everybatch._log import logger
from everybatch._trial import COUNTS, NUMBERS
from everybatch.errors import FileFormatError
from everybatch.sweeps._store import FAILED, INDEX, ROW, TRIALS, Store

__all__ = ["Index", "Row", "is_asked", "read_row"]

Row = dict[str, Any]
"""What ``trial.json`` holds: key, config, seed, and the numbers of `_summary.summarise`, in JSON's types."""

FORMAT = 1
STATUSES = (*CHOICES["state"], "pruned")
_SECONDS = 2.0
_SHARE = 20  # of the time at most goes into writing the index


class Index:
    """The rows of all trials in a store, by key."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.rows = _listed(store)
        """What is known of the trials by now."""
        self._written = float("-inf")
        self._took = 0.0
        self._behind = self._read_beyond()

    def add(self, row: Row) -> None:
        """Take a row in; the file follows now and then, and with `write`."""
        self.rows[row["key"]] = row
        self._behind = True
        if time.monotonic() - self._written > max(_SECONDS, _SHARE * self._took):
            self.write()

    def look(self, key: str) -> Row | None:
        """Return the row of a trial that another sweep may have stored since; None if there is none."""
        row = read_row(self._store, TRIALS, key) or read_row(self._store, FAILED, key)
        if row is not None:
            self.rows[key] = row
            self._behind = True
        return row

    def look_at_pruned(self, keys: Iterable[str]) -> None:
        """Take in what other sweeps have stored instead of those trials that were pruned, such as whole runs."""
        for key in keys:
            if key in self.rows and self.rows[key]["status"] == "pruned":
                self.look(key)

    def write(self) -> None:
        """Bring the file up to date, if that can be done: what it lacks is read from the folders of the trials."""
        if not self._behind:
            return
        start = time.monotonic()
        try:
            self._store.write_json(INDEX, {"format": FORMAT, "rows": list(self.rows.values())})
            self._behind = False
        except OSError as error:
            logger.warning("the sweep goes on, but its index cannot be written: %s", error)
        self._written = time.monotonic()
        self._took = self._written - start

    def _read_beyond(self) -> bool:
        """Make the rows those of the folders that are there; tell whether that changed anything."""
        done = self._store.keys(TRIALS)
        failed = self._store.keys(FAILED) - done
        there = {key: row for key, row in self.rows.items() if key in (failed if row["status"] == "failed" else done)}
        # Of one that was pruned, a sweep without the rule may have stored the whole run since, and another one that
        # was begun before that may have written the index after it.
        known = {
            key: read_row(self._store, TRIALS, key) if row["status"] == "pruned" else row for key, row in there.items()
        }
        for kind, keys in ((TRIALS, done), (FAILED, failed)):
            known |= {key: read_row(self._store, kind, key) for key in sorted(keys - there.keys())}
        before, self.rows = self.rows, {key: row for key, row in known.items() if row is not None}
        return self.rows != before


def _listed(store: Store) -> dict[str, Row]:
    try:
        content = store.read_json(INDEX)
        if content is None or content["format"] != FORMAT:
            return {}
        return {row["key"]: row for row in content["rows"] if _is_row(row)}
    except (FileFormatError, KeyError, TypeError):
        return {}  # it is made again


def _is_row(row: Any) -> TypeGuard[Row]:
    """Whether something is what `_perform` writes, as far as others rely on it."""
    if not isinstance(row, dict) or not is_asked(row) or row.get("status") not in STATUSES:
        return False
    return all(_is_number(row.get(name), name) for name in NUMBERS) and (
        row["status"] != "failed" or isinstance(row.get("rungs"), dict)
    )


def _is_number(value: object, name: str) -> bool:
    """Whether a value can be one of `NUMBERS`, in tables too."""
    if isinstance(value, int) and not isinstance(value, bool):
        return abs(value) < 1 << 63
    return value is None or (isinstance(value, float) and name not in COUNTS)


def is_asked(entry: Mapping[str, Any]) -> bool:
    """Whether an entry names a trial: its key, config and seed."""
    kinds = {"key": str, "config": dict, "seed": int}
    return all(isinstance(entry.get(name), kind) for name, kind in kinds.items()) and isinstance(
        entry.get("contents", {}), dict
    )


def read_row(store: Store, kind: str, key: str) -> Row | None:
    """A trial's own row without its traceback; None if it cannot be read, and the trial is as good as missing."""
    try:
        row = store.read_json(kind, key, ROW)
    except FileFormatError:
        return None
    if not _is_row(row) or row["key"] != key:
        return None
    row.pop("traceback", None)
    return row
