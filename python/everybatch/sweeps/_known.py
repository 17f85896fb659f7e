"""Which stored trials need not be trained again."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable

from everybatch.dataset import Dataset
from everybatch.errors import ArgumentError, FileFormatError
from everybatch.runs._files import CONFIG
from everybatch.sweeps._index import Row
from everybatch.sweeps._store import TRIALS, Store
from everybatch.sweeps._summary import classes_told
from everybatch.sweeps.pruning import Pruning

__all__ = ["Known"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Known:
    """Tells, of the trials that a sweep asks for, those that it has no need to train."""

    store: Store
    dataset: Dataset | None
    """Whose classes they must have; None for a function of the user's own."""
    pruning: Pruning | None
    keep_models: bool
    retry_failed: bool

    def among(self, rows: Iterable[Row]) -> set[str]:
        """Return the keys of those that need not be trained again.

        Raises
        ------
        ArgumentError
            One was trained with other names of the classes.
        """
        ended = [row for row in rows if self._has_ended(row)]
        for row in ended:
            self._check_classes(row)
        # A run that never had a model, as a function may return one, has no parameters either.
        with_model = [row["key"] for row in ended if row["status"] != "failed" and row.get("parameters") is not None]
        lacking = set(with_model) - self.store.kept_models(with_model) if self.keep_models and with_model else set()
        return {row["key"] for row in ended} - lacking

    def counts(self, row: Row) -> bool:
        """Whether one of them need not be trained again; raises as `among` does."""
        return bool(self.among([row]))

    def _has_ended(self, row: Row) -> bool:
        if row["status"] == "failed":
            return not self.retry_failed
        # A trial that another rule has ended might have gone on.
        return row["status"] != "pruned" or (self.pruning is not None and row.get("pruning") == self.pruning.to_dict())

    def _check_classes(self, row: Row) -> None:
        """Refuse a run of the same images and labels under other names, which its key does not tell apart."""
        if self.dataset is None or row["status"] == "failed":
            return
        names = list(self.dataset.classes)
        if row.get("classes") == classes_told(names):
            return
        stored = self._stored_classes(row["key"])
        if stored is None or stored == names:
            return
        place = [was == here for was, here in zip(stored, names, strict=True)].index(False)  # as many, by its network
        raise ArgumentError(
            f"{self.store.name} holds the trial {row['key']}, which was trained on the same images and labels, but "
            f"with class {place} called {stored[place]!r}, and the data set calls it {names[place]!r}: give this sweep "
            "another store, or name the classes as they were, for the stored run would have the wrong names"
        )

    def _stored_classes(self, key: str) -> list[str] | None:
        """The names that a stored run has: rows of earlier versions do not tell; None if they cannot be read."""
        with contextlib.suppress(FileFormatError, KeyError, TypeError):
            content = self.store.read_json(TRIALS, key, CONFIG)
            return None if content is None else [str(name) for name in content["config"]["dataset"]["classes"]]
        return None
