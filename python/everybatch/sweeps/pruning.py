"""Pruning: trials that stay behind earlier ones on the validation images are ended before their time.

A trial is compared with those before it in the sweep's order alone, whichever worker trains them and when: it waits
until each of them has come as far, or has ended. So the same trials are pruned on every backend, and after a restart.
With a tolerance, what is compared may be estimates.
"""

from __future__ import annotations

import dataclasses
import statistics
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from everybatch._arguments import choice, real, whole
from everybatch._core import Step
from everybatch._measures import MEASURES, MONITORS
from everybatch.errors import ArgumentError
from everybatch.run import Run

__all__ = ["Pruning", "Referee", "median", "successive_halving"]

_LEAST_ETA = 1.1
_MONITORS = tuple(name for name in MONITORS if MEASURES[name].part == "validation")


@dataclasses.dataclass(frozen=True)
class Pruning:
    """A rule that ends trials: `median` or `successive_halving`."""

    rule: str
    monitor: str
    every: int
    """Median: steps between looks. Successive halving: steps before the first one."""
    eta: float = 0.0
    warmup: int = 0
    least: int = 1

    def is_rung(self, step: int, total: int) -> bool:
        """Whether a trial is looked at after so many of its steps."""
        if step >= total:
            return False
        if self.rule == "median":
            return step % self.every == 0 and step > self.warmup
        if step % self.every:
            return False
        looks, exact = 1, 1.0  # the rung, in multiples of the first one
        while looks * self.every < step:
            exact *= self.eta
            looks = max(looks + 1, round(exact))
        return looks * self.every == step

    def value(self, step: Step) -> float:
        """The monitored value of a running trial.

        Raises
        ------
        ArgumentError
            It holds no images out.
        """
        value: float | None = getattr(step, self.monitor)
        if value is None:
            raise ArgumentError("pruning follows validation images: train with validation=0.1, for example")
        return value

    def value_of(self, run: Run, step: int) -> float:
        """The monitored value that a stored run had when it had taken so many steps."""
        at = int(np.searchsorted(run.eval_step, step, side="right")) - 1  # 0 is measured always
        return float(getattr(run, self.monitor)[at])

    def ends(self, own: float, others: Sequence[float]) -> bool:
        """Whether a trial with the value `own` ends, given those of earlier trials after as many steps."""
        others = [value for value in others if value == value]
        if len(others) < self.least:
            return False
        if own != own:
            return True  # not a number: it will not come back
        sign = MEASURES[self.monitor].sign  # below, small is good
        mine, theirs = sign * own, sorted(sign * value for value in others)
        if self.rule == "median":
            return mine > statistics.median(theirs)
        kept = max(1, int((len(theirs) + 1) / self.eta))  # of all that have come so far, this one among them
        return sum(value < mine for value in theirs) >= kept

    @property
    def reason(self) -> str:
        """Why it ends a trial, as a clause."""
        if self.rule == "median":
            return f"its {self.monitor} was worse than the median of earlier trials"
        return f"its {self.monitor} was not among the best 1/{self.eta:g} so far"

    def to_dict(self) -> dict[str, Any]:
        """The rule in JSON's types."""
        return dataclasses.asdict(self)


def median(*, monitor: str = "validation_accuracy", every: int = 100, warmup: int = 0, min_trials: int = 4) -> Pruning:
    """End a trial whose value is worse than the median of earlier trials after as many steps.

    After the median stopping rule (Golovin et al. 2017), which compares the best value so far with the median of the
    earlier trials' means until then; here the last value of each counts.

    Parameters
    ----------
    monitor
        "validation_accuracy" or "validation_loss".
    every
        Steps between two looks; each looks at the last measurement until then.
    warmup
        Steps in which no trial is ended.
    min_trials
        Earlier trials that must have come as far.

    Raises
    ------
    ArgumentError
        A number cannot work.
    """
    return Pruning(
        "median",
        choice(monitor, "monitor", _MONITORS),
        whole(every, "every"),
        warmup=whole(warmup, "warmup", least=0),
        least=whole(min_trials, "min_trials"),
    )


def successive_halving(*, monitor: str = "validation_accuracy", min_steps: int = 100, eta: float = 3.0) -> Pruning:
    """End a trial that is not among the best 1/eta so far after `min_steps`, `min_steps` times eta, and so on.

    Where eta is no whole number, the steps are the nearest multiples of `min_steps`.

    The asynchronous form (Li et al. 2018), in the sweep's order: a trial is compared with those before it that have
    come as far, and the first ones to come there go on.

    Parameters
    ----------
    monitor
        "validation_accuracy" or "validation_loss".
    min_steps
        Steps before the first look.
    eta
        One of so many trials goes on, and each look is so many times as many steps away as the one before; at
        least 1.1.

    Raises
    ------
    ArgumentError
        A number cannot work.
    """
    factor = real(eta, "eta")
    if not _LEAST_ETA <= factor < float("inf"):
        raise ArgumentError(f"eta is {eta}: it must be a finite number from {_LEAST_ETA} on; 3 is usual")
    return Pruning("successive_halving", choice(monitor, "monitor", _MONITORS), whole(min_steps, "min_steps"), factor)


class Referee:
    """Knows how far each trial has come, and decides as soon as that is possible. May be asked from several threads."""

    def __init__(self, rule: Pruning, trials: int) -> None:
        self._rule = rule
        self._values: list[dict[int, float]] = [{} for _ in range(trials)]
        self._ended = [False] * trials
        self._changed = threading.Condition()

    def came(self, number: int, step: int, value: float) -> None:
        """A trial has come to a rung."""
        with self._changed:
            self._values[number][step] = value
            self._changed.notify_all()

    def ended(self, number: int) -> None:
        """A trial has ended, in whatever way, and comes no further."""
        with self._changed:
            self._ended[number] = True
            self._changed.notify_all()

    def verdict(self, number: int, step: int) -> bool | None:
        """Whether a trial ends at the rung that it has come to; None as long as an earlier one may still come there."""
        with self._changed:
            earlier = range(number)
            if any(step not in self._values[other] and not self._ended[other] for other in earlier):
                return None
            there = [self._values[other][step] for other in earlier if step in self._values[other]]
            return self._rule.ends(self._values[number][step], there)

    def wait(self, seconds: float) -> None:
        """Wait until a trial has come to a rung or ended, or so long."""
        with self._changed:
            self._changed.wait(seconds)

    def ask(self, number: int, step: int, value: float) -> bool:
        """Tell that a trial has come to a rung, and wait for the verdict."""
        self.came(number, step, value)
        with self._changed:
            while (said := self.verdict(number, step)) is None:
                self._changed.wait()
        return said
