"""`Trial`: one training of a sweep: what was asked for, what became of it, and its run."""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from everybatch._measure import Measure
from everybatch._measures import MEASURES, RESULTS
from everybatch.run import Run

if TYPE_CHECKING:
    from everybatch.sweeps._store import Store

__all__ = ["COUNTS", "LABEL", "NUMBERS", "Trial", "count_states", "measure_of"]

LABEL = "label"
"""The setting that names a config of a list, and changes nothing."""
COUNTS = ("parameters", "steps")
NUMBERS = ("parameters", *(f"{which}_{name}" for name in RESULTS for which in ("best", "final")), "steps", "seconds")
"""What the store keeps of a run in a row."""


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Trial:
    """One training of a sweep. `Sweep.trials` gives them; the pictures of sweeps take a list of them.

    Parameters
    ----------
    number
        Its place in the sweep, from 0; the order in which trials begin.
    key
        Its name in the store: a hash of what decides its numbers.
    config
        All that was asked for, by name, in JSON's types; networks by their names.
    seed
        The seed that it was trained with.
    contents
        A digest of each network in the config, for those that share a name.
    columns
        Names of the settings that the sweep went through.
    row
        What the store knows of it, as in its ``trial.json``; empty before it is trained.
    store
        Where its run is; None for one that is only planned.
    given
        The config of one that is planned, as it was given.
    """

    number: int
    key: str
    config: dict[str, Any]
    seed: int
    contents: dict[str, str] = dataclasses.field(default_factory=dict)
    columns: tuple[str, ...] = ()
    row: dict[str, Any] = dataclasses.field(default_factory=dict)
    store: Store | None = None
    given: dict[str, Any] = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def settings(self) -> dict[str, Any]:
        """The settings that the sweep went through, and the seed, in JSON's types."""
        return {name: self.setting(name) for name in (*self.columns, "seed")}

    def setting(self, name: str) -> Any:
        """Return one setting of the config, or the ``"seed"``; None if it was not asked for."""
        return self.seed if name == "seed" else self.config.get(name)

    @property
    def state(self) -> str:
        """``"finished"``, ``"pruned"``, ``"stopped"``, ``"diverged"``, ``"failed"``; ``"missing"`` before training."""
        return str(self.row.get("status", "missing"))

    @property
    def message(self) -> str:
        """What ended it early, or made it fail, in a sentence; empty otherwise."""
        return str(self.row.get("message", ""))

    @property
    def has_run(self) -> bool:
        """Whether it was trained, to its end or not: it is neither failed nor missing."""
        return self.state not in ("failed", "missing")

    @property
    def path(self) -> str | None:
        """Its folder in the store, for `everybatch.load_run`; None if it has no run."""
        return self.store.path_of(self.key) if self.store is not None and self.has_run else None

    @property
    def run(self) -> Run | None:
        """Its run, read from the store whenever it is asked for; None if it has none.

        Raises
        ------
        FileNotFoundError, FileFormatError
            It is not there any more, or not whole.
        """
        return self.store.load_run(self.key) if self.store is not None and self.has_run else None

    @property
    def error(self) -> str | None:
        """The traceback of a trial that failed, read from the store; None for any other."""
        return self.store.traceback_of(self.key) if self.store is not None and self.state == "failed" else None

    @property
    def numbers(self) -> dict[str, float | int | None]:
        """Parameters, best and final accuracies and losses, steps and seconds, as in `Sweep.table`.

        None where there is none. A trial that diverged has what was measured, before and after.
        """
        return {name: self.row.get(name) for name in NUMBERS}

    def value(self, name: str) -> float:
        """Return one of `numbers` to compare trials by: NaN where there is none, or the trial diverged.

        Weights that are not numbers still get some images right, and what they reached before is not what the trial
        came to; so no accuracy or loss of a trial that diverged counts. What it cost does.
        """
        number = self.row.get(name)
        counts = number is not None and (self.state != "diverged" or measure_of(name) is None)
        return float(number) if counts else float("nan")  # type: ignore[arg-type] # a number

    def __repr__(self) -> str:
        settings = "".join(f"{name}={value!r}, " for name, value in self.settings.items())
        return f"<Trial {self.number}: {settings}{self.state}>"


def measure_of(number: str) -> Measure[Any] | None:
    """Return the measure that one of `NUMBERS` is the best or the final value of; None if it is of none."""
    which, _, name = number.partition("_")
    return MEASURES[name] if which in ("best", "final") and name in RESULTS else None


def count_states(trials: Iterable[Trial]) -> Counter[str]:
    """Return how many trials are in which state, the most frequent first."""
    counted = Counter(trial.state for trial in trials).items()
    return Counter(dict(sorted(counted, key=lambda entry: (-entry[1], entry[0] != "finished", entry[0]))))
