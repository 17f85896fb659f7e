"""Learning-rate schedules, with the formulas and defaults of `torch.optim.lr_scheduler`.

A schedule is plain data for ``train(schedule=...)``. The run's ``lr`` is the rate that it starts from, or rises to and
falls from (`one_cycle`, `warmup`), and it moves after every optimizer step; wherever a schedule counts, it counts
steps, and ``"epoch"`` stands for the steps of an epoch.

``train(augment_schedule=..., label_smoothing_schedule=...)`` take them too: there a schedule is one of factors, and its
numbers are those for ``lr=1``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from everybatch import _core
from everybatch._arguments import choice, flag, real, steps_or_epoch, whole
from everybatch.errors import ArgumentError

__all__ = [
    "Schedule",
    "constant",
    "cosine",
    "exponential",
    "linear",
    "multistep",
    "one_cycle",
    "plateau",
    "step",
    "warmup",
]

_MOST_RATES = 10**8  # 800 MB


class Schedule:
    """How the learning rate moves: made by the functions of `everybatch.schedules`.

    Attributes
    ----------
    data : dict
        The schedule as JSON holds it: its ``"type"`` and its numbers.

    Raises
    ------
    ArgumentError
        There is no such schedule, or one of its numbers cannot work.
    """

    def __init__(self, data: dict[str, Any]) -> None:
        self.data: dict[str, Any] = json.loads(json.dumps(data))  # a copy, of nothing but what JSON holds
        # The core checks every number, here and not in the midst of a program. The rate is none of the schedule's.
        _core.learning_rates(self.data, 1e-3, 1, 1)

    def rates(self, steps: int, lr: float = 1e-3, steps_per_epoch: int = 1) -> npt.NDArray[np.float64]:
        """Return the learning rate (steps,) float64 of each step of a run of so many steps.

        A plateau is never reached here, for nothing is measured.

        Parameters
        ----------
        steps
            Of the whole run.
        lr
            The run's learning rate.
        steps_per_epoch
            What ``"epoch"`` stands for.

        Raises
        ------
        ArgumentError
            One of the numbers cannot work, lr lies below the schedule's lowest rate, or the steps are more than 10^8.

        Examples
        --------
        >>> import everybatch as eb
        >>> eb.schedules.step(every=2, gamma=0.5).rates(5, lr=0.1)
        array([0.1  , 0.1  , 0.05 , 0.05 , 0.025])
        """
        check_lr(self, real(lr, "lr"))
        if not 0 <= real(lr, "lr") < math.inf:
            raise ArgumentError(f"lr is {lr}: it must be a finite number, 0 or above")
        if whole(steps, "steps") > _MOST_RATES:
            raise ArgumentError(f"steps is {steps}: rates are given for at most {_MOST_RATES} steps at a time")
        return _core.learning_rates(
            self.data, real(lr, "lr"), whole(steps, "steps"), whole(steps_per_epoch, "steps_per_epoch")
        )

    def to_json(self) -> str:
        """Return the schedule as a JSON object."""
        return json.dumps(self.data)

    @property
    def listens(self) -> bool:
        """Whether it moves by what is measured."""
        return "plateau" in (self.data["type"], self.data.get("then", {}).get("type"))

    def __eq__(self, other: object) -> bool:
        return self.data == other.data if isinstance(other, Schedule) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.data["type"])  # not of the numbers: 1 and 1.0 are equal, and their JSON is not

    def __repr__(self) -> str:
        numbers = ", ".join(f"{name}={value!r}" for name, value in self.data.items() if name not in ("type", "then"))
        then = f", then={Schedule(self.data['then'])!r}" if "then" in self.data else ""
        return f"schedules.{self.data['type']}({numbers}{then})"


def constant() -> Schedule:
    """Keep the rate: what `train` does unless told otherwise."""
    return Schedule({"type": "constant"})


def step(every: int | str = "epoch", gamma: float = 0.1) -> Schedule:
    """Multiply the rate by `gamma` after every so many steps (StepLR).

    Parameters
    ----------
    every
        A number of steps, or "epoch".
    gamma
        Above 0.
    """
    return Schedule({"type": "step", "every": steps_or_epoch(every, "every"), "gamma": _finite(gamma, "gamma")})


def multistep(milestones: Sequence[int], gamma: float = 0.1) -> Schedule:
    """Multiply the rate by `gamma` after each of these numbers of steps (MultiStepLR)."""
    if not isinstance(milestones, Iterable):
        raise TypeError(f"milestones must be numbers of steps that rise, not {milestones!r}")
    numbers = [whole(number, f"milestones[{index}]") for index, number in enumerate(milestones)]
    return Schedule({"type": "multistep", "milestones": numbers, "gamma": _finite(gamma, "gamma")})


def exponential(final_lr: float) -> Schedule:
    """Move the rate to `final_lr` at the last step, by the same factor at each step (ExponentialLR)."""
    return Schedule({"type": "exponential", "final_lr": _finite(final_lr, "final_lr")})


def linear(final_lr: float = 0.0, begin: float = 0.0, end: float = 1.0) -> Schedule:
    """Move the rate to `final_lr` in a straight line, and keep it before and after (LinearLR within SequentialLR).

    Parameters
    ----------
    final_lr
        0 or above.
    begin, end
        After which shares of the run's steps the line begins and ends, in [0, 1], rounded to whole steps:
        ``linear(begin=0.7)`` keeps the rate and has it fall over the last 30 % of the run, to 0 after the last step.
        Where they are equal the rate jumps.

    Examples
    --------
    >>> import everybatch as eb
    >>> eb.schedules.linear(begin=0.5).rates(8, lr=1.0)
    array([1.  , 1.  , 1.  , 1.  , 1.  , 0.75, 0.5 , 0.25])
    """
    numbers = {"final_lr": final_lr, "begin": begin, "end": end}
    return Schedule({"type": "linear", **{name: _finite(value, name) for name, value in numbers.items()}})


def cosine(min_lr: float = 0.0) -> Schedule:
    """Lower the rate towards `min_lr` along half a cosine over the run (Loshchilov & Hutter 2016; CosineAnnealingLR).

    Parameters
    ----------
    min_lr
        At most ``lr``. The rate would come to it after the last step.

    Examples
    --------
    >>> import everybatch as eb
    >>> eb.schedules.cosine().rates(4, lr=1.0).round(3)
    array([1.   , 0.854, 0.5  , 0.146])
    """
    return Schedule({"type": "cosine", "min_lr": _finite(min_lr, "min_lr")})


def one_cycle(
    pct_start: float = 0.3,
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
    *,
    cycle_momentum: bool = True,
    base_momentum: float = 0.85,
    max_momentum: float = 0.95,
) -> Schedule:
    """Raise the rate to ``lr`` and lower it again, along two half cosines (Smith & Topin 2017; OneCycleLR).

    Parameters
    ----------
    pct_start
        Share of the steps that go up, between 0 and 1.
    div_factor
        The first rate is ``lr / div_factor``.
    final_div_factor
        The last rate is the first divided by this.
    cycle_momentum
        Whether the momentum, or the first beta of an optimizer that has betas, moves the other way.
    base_momentum, max_momentum
        Between which it moves; both between 0 and 1.
    """
    return Schedule(
        {
            "type": "one_cycle",
            "pct_start": _finite(pct_start, "pct_start"),
            "div_factor": _finite(div_factor, "div_factor"),
            "final_div_factor": _finite(final_div_factor, "final_div_factor"),
            "cycle_momentum": flag(cycle_momentum, "cycle_momentum"),
            "base_momentum": _finite(base_momentum, "base_momentum"),
            "max_momentum": _finite(max_momentum, "max_momentum"),
        }
    )


def plateau(
    factor: float = 0.1, patience: int = 10, threshold: float = 1e-4, cooldown: int = 0, min_lr: float = 0.0
) -> Schedule:
    """Multiply the rate by `factor` when the measurements stop improving (ReduceLROnPlateau).

    It follows the curve that ``train(monitor=...)`` names, at each evaluation after the first step.

    Parameters
    ----------
    factor
        Between 0 and 1.
    patience
        So many evaluations in a row may bring nothing better; the next one that does not lowers the rate.
    threshold
        An improvement by a smaller share of the best value is none.
    cooldown
        Evaluations after a reduction that do not count.
    min_lr
        The rate does not fall below; at most ``lr``.
    """
    return Schedule(
        {
            "type": "plateau",
            "factor": _finite(factor, "factor"),
            "patience": whole(patience, "patience", least=0),
            "threshold": _finite(threshold, "threshold"),
            "cooldown": whole(cooldown, "cooldown", least=0),
            "min_lr": _finite(min_lr, "min_lr"),
        }
    )


def warmup(steps: int, then: Schedule | str = "constant", start_factor: float = 1 / 3) -> Schedule:
    """Raise the rate in a straight line, then follow another schedule (LinearLR within SequentialLR).

    Parameters
    ----------
    steps
        Of the straight line.
    then
        What follows, over the remaining steps.
    start_factor
        The first rate is ``start_factor * lr``, in (0, 1].
    """
    return Schedule(
        {
            "type": "warmup",
            "steps": whole(steps, "steps"),
            "start_factor": _finite(start_factor, "start_factor"),
            "then": as_schedule(then, "then").data,
        }
    )


def as_schedule(given: object, name: str = "schedule") -> Schedule:
    """Take a schedule, its data, the name of one that needs no numbers, or None for a constant rate."""
    if given is None:
        return constant()
    if isinstance(given, Schedule):
        return given
    if isinstance(given, dict):  # as a run's config keeps it
        return Schedule(given)
    if not isinstance(given, str):
        raise TypeError(f"{name} must be a schedule of eb.schedules or its name, not {given!r}")
    return BY_NAME[choice(given, name, tuple(BY_NAME))]()


def check_lr(schedule: Schedule, lr: float) -> None:
    """Refuse a learning rate below the lowest one of a schedule that is to lower it."""
    for data in (schedule.data, schedule.data.get("then", {})):
        least = data.get("min_lr", 0.0)
        if 0 <= lr < least:
            raise ArgumentError(
                f"the schedule {data['type']} lowers the learning rate to min_lr, and min_lr {least:g} lies above "
                f"lr {lr:g}: give a smaller min_lr or a larger lr (schedules.exponential can raise the rate)"
            )


BY_NAME = {
    "constant": constant,
    "cosine": cosine,
    "linear": linear,
    "one_cycle": one_cycle,
    "plateau": plateau,
    "step": step,
}
"""The schedules that need no numbers."""


def _finite(value: float, name: str) -> float:
    number = real(value, name)
    if not math.isfinite(number):
        raise ArgumentError(f"{name} is {number}: it must be a finite number")
    return number
