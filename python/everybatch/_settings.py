"""The settings of a run: each argument of `train` checked, alone and with the others, before anything is computed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from everybatch import _core
from everybatch._arguments import (
    choice,
    choices,
    flag,
    numbers,
    optional,
    part_of,
    real,
    steps_or_epoch,
    whole,
)
from everybatch._class_weight import BALANCED, class_weights
from everybatch._core import CHOICES, DEFAULTS
from everybatch._measures import MEASURES, MONITORS, RECORDABLE
from everybatch._optimizers import OPTIONS, options_of, recorded_options
from everybatch.augment import Augment
from everybatch.dataset import Dataset
from everybatch.errors import ArgumentError
from everybatch.schedules import Schedule, as_schedule, check_lr

__all__ = ["Settings"]


def _one_of(option: str) -> Callable[[object, str], str]:
    return partial(choice, known=CHOICES[option])


def _seconds(given: object, name: str) -> float:
    seconds = real(given, name)
    if not 0 <= seconds < math.inf:
        raise ArgumentError(f"{name} is {seconds}: it must be a finite number of seconds, 0 or above")
    return seconds


def _augment(given: object, name: str) -> Augment | None:
    if given is None or isinstance(given, Augment):
        return given
    if isinstance(given, dict):  # as a run's config keeps it
        return Augment(**given)
    raise TypeError(f"{name} must be an eb.Augment, not {given!r}")


# By argument of `train`, the check of its value alone. What each means is told there, and in the core's TrainConfig.
_CHECKS: dict[str, Callable[[Any, str], Any]] = {
    "epochs": whole,
    "steps": optional(whole),
    "batch_size": whole,
    "optimizer": _one_of("optimizer"),
    "lr": real,
    "schedule": as_schedule,
    "weight_decay": optional(real),
    "momentum": optional(real),
    "nesterov": optional(flag),
    "betas": optional(partial(numbers, count=2)),
    "eps": optional(real),
    "alpha": optional(real),
    "centered": optional(flag),
    "momentum_decay": optional(real),
    "adjust_lr": optional(_one_of("adjust_lr")),
    "adamw_lr_ratio": optional(real),
    "label_smoothing": real,
    "label_smoothing_schedule": optional(as_schedule),
    "clip_grad_norm": optional(real),
    "ema": optional(real),
    "augment": _augment,
    "augment_schedule": optional(as_schedule),
    "evaluate_every": steps_or_epoch,
    "tolerance": optional(real),
    "complete_every": optional(steps_or_epoch),
    "record": partial(choices, known=RECORDABLE),
    "measure_training": partial(whole, least=0),
    "weights_every": optional(steps_or_epoch),
    "monitor": optional(partial(choice, known=MONITORS)),
    "select": partial(choice, known=("last", "best")),
    "patience": optional(whole),
    "min_delta": real,
    "checkpoint_every": steps_or_epoch,
    "keep_state_every": _seconds,
    "log_every": optional(whole),
    "seed": partial(whole, least=0),
    "shuffle": flag,
    "device": lambda given, _: _core.resolve_device(str(given)),
    "precision": _one_of("precision"),
    "deterministic": flag,
    "kernels": optional(_one_of("kernels")),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What `train` was asked to do. Made by `check`."""

    values: dict[str, Any]
    """The arguments by name; where None was given, what it stands for. Which images are held out is told below."""
    steps_per_epoch: int
    test_indices: npt.NDArray[np.int64]
    validation_indices: npt.NDArray[np.int64] | None
    trained_indices: npt.NDArray[np.int64]
    class_weights: list[float] | None
    """Of each class, in the training loss."""

    @classmethod
    def check(cls, dataset: Dataset, /, **given: Any) -> Settings:
        """Check the arguments of `train`, or of those at least that are checked here.

        Raises
        ------
        ArgumentError, TypeError
            With the argument's name.
        """
        values = {name: check(given[name], name) for name, check in _CHECKS.items()}
        optimizer, seed, batch_size = (values[name] for name in ("optimizer", "seed", "batch_size"))
        values = {name: value for name, value in values.items() if name not in OPTIONS} | options_of(optimizer, values)
        if values["steps"] is not None and values["epochs"] != 1:
            raise ArgumentError(f"epochs is {values['epochs']} and steps is {values['steps']}: give one of them")
        check_lr(values["schedule"], values["lr"])
        test = _part(given["evaluate_on"], dataset.test_labels, (seed, 1), "evaluate_on", "test image")
        held_out = _part(given["validation"], dataset.train_labels, (seed, 2), "validation", "training image")
        left = len(dataset.train_labels) - (0 if held_out is None else len(held_out))
        if not left:
            raise ArgumentError("validation holds out every training image: leave some to train on")
        if batch_size > left:
            raise ArgumentError(
                f"batch_size is {batch_size}, and there are {left} training images"
                f"{'' if held_out is None else ' beside those held out'}: choose a smaller one"
            )
        defaults = {
            "monitor": "test_loss" if held_out is None else "validation_loss",
            "kernels": "exact" if values["precision"] == "float32" else "fused",
        }
        trained = np.setdiff1d(np.arange(len(dataset.train_labels)), [] if held_out is None else held_out)
        weights = given["class_weight"]
        if weights is not None:
            weights = class_weights(weights, dataset.train_labels[trained], dataset.classes)
        settings = cls(
            values={
                **values,
                **{name: default for name, default in defaults.items() if values[name] is None},
                "validation": _as_given(given["validation"], held_out),
                "evaluate_on": _as_given(given["evaluate_on"], test),
                "class_weight": BALANCED if isinstance(given["class_weight"], str) else weights,
            },
            steps_per_epoch=math.ceil(left / batch_size),
            test_indices=np.arange(len(dataset.test_labels)) if test is None else test,
            validation_indices=held_out,
            trained_indices=trained,
            class_weights=weights,
        )
        # What only the core knows. Which images are held out does not matter to it, only whether there are any.
        checked = settings.for_core() | {"validation": [] if held_out is None else [0], "evaluate_on": None}
        _core.check_settings(checked, values["device"], settings.steps_per_epoch)
        if not settings._decides:
            monitor, min_delta = values["monitor"], values["min_delta"]
            if monitor is not None and not settings._follows:
                raise ArgumentError(
                    f"monitor is {monitor!r}, and nothing follows it: give select='best', patience or a plateau"
                )
            if min_delta:
                raise ArgumentError(f"min_delta is {min_delta}, and belongs to select='best' or patience: give one")
        return settings

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole run."""
        steps: int = self.values["steps"] or self.values["epochs"] * self.steps_per_epoch
        return steps

    @property
    def monitor(self) -> str:
        """The curve that measurements are judged by."""
        return str(self.values["monitor"])

    @property
    def _decides(self) -> bool:
        """Whether measurements decide about weights or length."""
        return self.values["select"] == "best" or self.values["patience"] is not None

    @property
    def _follows(self) -> bool:
        """Whether they decide about anything."""
        return self._decides or bool(self.values["schedule"].listens)

    @property
    def selects_on_test(self) -> bool:
        """Whether the test images have a say in what becomes of the run."""
        return self._follows and MEASURES[self.monitor].part == "test"

    @property
    def of_run(self) -> dict[str, npt.NDArray[np.int64]]:
        """By the names of the arrays, which images the run is of."""
        of_run = {"test_indices": self.test_indices}
        if self.validation_indices is not None:
            of_run["validation_indices"] = self.validation_indices
        if "examples" in self.values["record"]:
            of_run["trained_indices"] = self.trained_indices
        return of_run

    def for_core(self, *, checkpoints: bool = False) -> dict[str, Any]:
        """Return the core's `TrainConfig`: all that it calls by the same name, and what it names otherwise.

        Parameters
        ----------
        checkpoints
            Whether weights are to be kept on the way.
        """
        values = self._plain()
        optimizer, steps = values["optimizer"], values["steps"]
        watch = {name: values[name] for name in DEFAULTS["train"]["watch"] if name in values}
        return {
            **{name: values[name] for name in DEFAULTS["train"] if name in values},
            "length": {"epochs": values["epochs"]} if steps is None else {"steps": steps},
            "method": {optimizer: {name: values[name] for name in DEFAULTS["optimizers"][optimizer]}},
            "class_weight": self.class_weights,
            "validation": [] if self.validation_indices is None else self.validation_indices,
            "evaluate_on": None if values["evaluate_on"] is None else self.test_indices,
            "watch": {**watch, "keep_best": values["select"] == "best"},
            "checkpoints": {"every": values["checkpoint_every"]} if checkpoints else None,
        }

    def for_config(self) -> dict[str, Any]:
        """Return what a `Run` keeps, in JSON's types: the arguments that would repeat it, and what follows."""
        plain = self._plain()
        options = {name: plain.pop(name) for name in OPTIONS if name in plain}
        # So that trials of sweeps of earlier versions are known again:
        if "examples" not in plain["record"]:
            del plain["measure_training"]
        if plain["class_weight"] == BALANCED:
            plain["class_weights"] = self.class_weights
        told = plain | dict.fromkeys(OPTIONS) | recorded_options(plain["optimizer"], options)
        places = {name: place for place, name in enumerate(_CHECKS)}
        return {
            **{name: told[name] for name in sorted(told, key=lambda name: places.get(name, len(places)))},
            "monitor": self.monitor if self._follows else None,
            "steps_per_epoch": self.steps_per_epoch,
            "total_steps": self.total_steps,
        }

    def _plain(self) -> dict[str, Any]:
        augment = self.values["augment"]
        schedules = {name: value.data for name, value in self.values.items() if isinstance(value, Schedule)}
        return {**self.values, **schedules, "augment": None if augment is None else augment.to_dict()}


def _part(
    given: object, labels: npt.NDArray[np.int64], seed: tuple[int, int], name: str, noun: str
) -> npt.NDArray[np.int64] | None:
    return None if given is None else part_of(given, labels, seed, name, noun)


def _as_given(given: object, indices: npt.NDArray[np.int64] | None) -> object:
    """What to pass to name the same images again, in JSON's types."""
    if given is None or indices is None:
        return None
    if isinstance(given, (int, float)):
        return given
    if isinstance(given, np.integer):
        return int(given)
    if isinstance(given, np.floating):
        return float(given)
    return indices.tolist()
