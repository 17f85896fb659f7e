"""What a store says of a sweep: which trials it asked for, and their runs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

from everybatch.errors import FileFormatError
from everybatch.run import Run, load_run
from everybatch.runs._files import MODEL
from everybatch.sweeps._index import Row, is_asked
from everybatch.sweeps._store import SWEEP, Store
from everybatch.sweeps._trials import Trial, contents, shown

__all__ = [
    "ORIGIN",
    "Asked",
    "Description",
    "asked_of",
    "describe",
    "load_stored",
    "read_description",
    "told_apart",
    "write_description",
]

FORMAT = 1

ORIGIN: ContextVar[dict[str, Any] | None] = ContextVar("ORIGIN", default=None)
"""What the sweep that is begun comes from, if not from a script; its description keeps it, so that it can go on."""


@dataclasses.dataclass(frozen=True)
class Asked:
    """A trial that a sweep asked for, in JSON's types."""

    key: str
    config: dict[str, Any]
    seed: int
    contents: dict[str, str] = dataclasses.field(default_factory=dict)
    """A digest of each network, for those that share a name."""


@dataclasses.dataclass(frozen=True)
class Description:
    """A sweep: its trials in order, and the settings that it went through."""

    trials: list[Asked]
    columns: list[str]
    origin: dict[str, Any] | None = None
    """See `ORIGIN`."""


def describe(trials: Sequence[Trial], columns: Sequence[str]) -> Description:
    """Return the description of planned trials, as it will be read again."""
    asked = [Asked(t.key, json.loads(json.dumps(shown(t.config))), t.seed, contents(t.config)) for t in trials]
    return Description(asked, list(columns), ORIGIN.get())


def write_description(store: Store, description: Description) -> None:
    """Keep a description in the store, instead of the one of the sweep before."""
    store.write_json(SWEEP, {"format": FORMAT, **dataclasses.asdict(description)})


def read_description(store: Store, rows: dict[str, Row]) -> Description:
    """Return the description of the last sweep; without any, that of all trials that are stored.

    Raises
    ------
    FileFormatError
        The file is not what a sweep writes.
    """
    content = store.read_json(SWEEP)
    if content is None:
        trials = [asked_of(row) for row in rows.values()]
        return Description(trials, list(dict.fromkeys(name for trial in trials for name in trial.config)))
    try:
        if content["format"] != FORMAT:
            raise FileFormatError(
                f"{store.name}/{SWEEP} has format {content['format']!r}; this version of everybatch reads format "
                f"{FORMAT}"
            )
        if not all(map(is_asked, content["trials"])) or not all(isinstance(name, str) for name in content["columns"]):
            raise FileFormatError(f"{store.name}/{SWEEP} is not what a sweep writes: its trials or columns are damaged")
        return Description(
            [Asked(**trial) for trial in content["trials"]], list(content["columns"]), content.get("origin")
        )
    except (KeyError, TypeError, AttributeError) as error:
        what = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise FileFormatError(f"{store.name}/{SWEEP} is not what a sweep writes: {what}") from error


def asked_of(row: Row) -> Asked:
    """Return what was asked for where a trial's row was the answer."""
    return Asked(row["key"], row["config"], row["seed"], row.get("contents") or {})


def told_apart(trials: Sequence[Asked]) -> list[Asked]:
    """Return trials whose networks all have names of their own: those that share one get a part of their digest."""
    found: dict[tuple[str, str], set[str]] = {}
    for trial in trials:
        for name, digest in trial.contents.items():
            found.setdefault((name, str(trial.config.get(name))), set()).add(digest)
    made = []
    for trial in trials:
        shared = {
            name: f"{trial.config[name]} {digest}"
            for name, digest in trial.contents.items()
            if len(found[name, str(trial.config.get(name))]) > 1
        }
        made.append(dataclasses.replace(trial, config={**trial.config, **shared}) if shared else trial)
    return made


def load_stored(store: Store, key: str) -> Run:
    """Return the run of a stored trial.

    Raises
    ------
    FileNotFoundError, FileFormatError
        It is not there any more, or not whole.
    """
    with store.fetched(key) as folder:
        run = load_run(folder)
        if store.reaches != "machine" and (folder / MODEL).exists():
            run.model  # noqa: B018 - read now, for the copy in this folder goes away
        return run
