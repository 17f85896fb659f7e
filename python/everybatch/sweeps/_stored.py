"""What a store says of a sweep: which trials it asked for, and what became of them."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import Any

from everybatch._trial import Trial
from everybatch.errors import FileFormatError
from everybatch.sweeps._index import Index, Row, is_asked
from everybatch.sweeps._store import SWEEP, Store, open_store

__all__ = ["ORIGIN", "Description", "open_trials", "with_results", "write_description"]

FORMAT = 1

ORIGIN: ContextVar[dict[str, Any] | None] = ContextVar("ORIGIN", default=None)
"""What the sweep that is begun comes from, if not from a script; its description keeps it, so that it can go on."""

_KEPT = ("key", "config", "seed", "contents")
"""What a description keeps of a trial."""


@dataclasses.dataclass(frozen=True)
class Description:
    """A sweep: its trials in order, and the settings that it went through."""

    trials: list[Trial]
    columns: tuple[str, ...]


def open_trials(path: str | os.PathLike[str], *, everything: bool = False) -> tuple[Store, Description]:
    """Open a store, and return it with the last sweep; with `everything`, also the trials of those before.

    Raises
    ------
    FileNotFoundError
        There is no sweep at this path.
    FileFormatError
        Its files are not what a sweep writes.
    """
    store = open_store(path)
    if not store.exists():
        raise FileNotFoundError(f"there is no sweep at {store.name}: the folder does not exist")
    rows = Index(store).rows
    described = _read(store, rows)
    trials = described.trials
    if everything:
        known = {trial.key for trial in trials}
        trials = trials + [_asked(len(trials), row) for key, row in rows.items() if key not in known]
    if not trials:
        raise FileNotFoundError(f"{store.name} holds no sweep")
    return store, with_results(Description(trials, described.columns), rows, store)


def with_results(described: Description, rows: Mapping[str, Row], store: Store) -> Description:
    """Return a sweep whose trials know what became of them.

    Their networks have names of their own: those that share one get a part of their digest.
    """
    found: dict[tuple[str, str], set[str]] = {}
    for trial in described.trials:
        for name, digest in trial.contents.items():
            found.setdefault((name, str(trial.config.get(name))), set()).add(digest)
    made = []
    for number, trial in enumerate(described.trials):
        shared = {
            name: f"{trial.config[name]} {digest}"
            for name, digest in trial.contents.items()
            if len(found[name, str(trial.config.get(name))]) > 1
        }
        config, row = {**trial.config, **shared} if shared else trial.config, rows.get(trial.key, {})
        made.append(Trial(number, trial.key, config, trial.seed, trial.contents, described.columns, row, store))
    return Description(made, described.columns)


def write_description(store: Store, trials: Sequence[Trial], columns: Sequence[str]) -> None:
    """Keep in the store what a sweep asks for, instead of what the one before did."""
    asked = [{name: getattr(trial, name) for name in _KEPT} for trial in trials]
    store.write_json(SWEEP, {"format": FORMAT, "trials": asked, "columns": list(columns), "origin": ORIGIN.get()})


def _read(store: Store, rows: dict[str, Row]) -> Description:
    """Return the last sweep, as it was asked for; without any description, that of all trials that are stored.

    Raises
    ------
    FileFormatError
        The file is not what a sweep writes.
    """
    content = store.read_json(SWEEP)
    if content is None:
        trials = [_asked(number, row) for number, row in enumerate(rows.values())]
        return Description(trials, tuple(dict.fromkeys(name for trial in trials for name in trial.config)))
    try:
        if content["format"] != FORMAT:
            raise FileFormatError(
                f"{store.name}/{SWEEP} has format {content['format']!r}; this version of everybatch reads format "
                f"{FORMAT}"
            )
        asked, columns = content["trials"], content["columns"]
        if not all(is_asked(entry) and entry.keys() <= set(_KEPT) for entry in asked) or not all(
            isinstance(name, str) for name in columns
        ):
            raise FileFormatError(f"{store.name}/{SWEEP} is not what a sweep writes: its trials or columns are damaged")
        return Description([_asked(number, entry) for number, entry in enumerate(asked)], tuple(columns))
    except (KeyError, TypeError, AttributeError) as error:
        what = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise FileFormatError(f"{store.name}/{SWEEP} is not what a sweep writes: {what}") from error


def _asked(number: int, entry: Mapping[str, Any]) -> Trial:
    """Return the trial that an entry of a description, or a trial's row, stands for."""
    return Trial(number, entry["key"], entry["config"], entry["seed"], entry.get("contents") or {})
