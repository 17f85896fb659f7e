"""The settings of a run: each argument of `train` checked, alone and with the others, before anything is computed."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from everybatch import _core
from everybatch._arguments import (
    choice,
    choices,
    flag,
    numbers,
    optional_whole,
    part_of,
    real,
    steps_or_epoch,
    whole,
)
from everybatch._measures import MEASURES, MONITORS, RECORDABLE
from everybatch.augment import Augment
from everybatch.dataset import Dataset
from everybatch.errors import ArgumentError
from everybatch.schedules import Schedule, as_schedule, check_lr

__all__ = ["Settings"]

_OPTIMIZERS = ("sgd", "adam", "adamw")
_PRECISIONS = ("float32", "tf32", "bfloat16")
_KERNELS = ("exact", "fused")
_MOST_STEPS = 2**53  # beyond, float64 does not tell two steps apart


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What `train` was asked to do, in plain types. Made by `check`."""

    epochs: int
    steps: int | None
    batch_size: int
    optimizer: str
    lr: float
    schedule: Schedule
    weight_decay: float
    momentum: float
    nesterov: bool
    betas: tuple[float, ...]
    eps: float
    label_smoothing: float
    ema: float | None
    augment: Augment | None
    evaluate_every: int | None  # None: every epoch
    record: list[str]
    monitor: str
    select: str
    patience: int | None
    min_delta: float
    checkpoint_every: int | None  # None: every epoch
    log_every: int | None
    seed: int
    shuffle: bool
    device: str
    precision: str
    deterministic: bool
    kernels: str
    steps_per_epoch: int
    total_steps: int
    test_indices: npt.NDArray[np.int64]
    validation_indices: npt.NDArray[np.int64] | None
    validation: object  # as given, in JSON's types
    evaluate_on: object

    @classmethod
    def check(cls, dataset: Dataset, **given: Any) -> Settings:
        """Check the arguments of `train`.

        Raises
        ------
        ArgumentError, TypeError
            With the argument's name.
        """
        optimizer = choice(given["optimizer"], "optimizer", _OPTIMIZERS)
        seed = whole(given["seed"], "seed", least=0)
        momentum, nesterov = real(given["momentum"], "momentum"), flag(given["nesterov"], "nesterov")
        if optimizer != "sgd" and (momentum or nesterov):
            raise ArgumentError(f"momentum and nesterov belong to optimizer='sgd'; {optimizer!r} has betas")
        epochs, steps = whole(given["epochs"], "epochs"), optional_whole(given["steps"], "steps")
        if steps is not None and epochs != 1:
            raise ArgumentError(f"epochs is {epochs} and steps is {steps}: give one of them")
        schedule, lr = as_schedule(given["schedule"]), real(given["lr"], "lr")
        check_lr(schedule, lr)
        test = _part(given["evaluate_on"], dataset.test_labels, (seed, 1), "evaluate_on", "test image")
        held_out = _part(given["validation"], dataset.train_labels, (seed, 2), "validation", "training image")
        left = len(dataset.train_labels) - (0 if held_out is None else len(held_out))
        if not left:
            raise ArgumentError("validation holds out every training image: leave some to train on")
        batch_size = whole(given["batch_size"], "batch_size")
        if batch_size > left:
            raise ArgumentError(
                f"batch_size is {batch_size}, and there are {left} training images"
                f"{'' if held_out is None else ' beside those held out'}: choose a smaller one"
            )
        steps_per_epoch = math.ceil(left / batch_size)
        total_steps = epochs * steps_per_epoch if steps is None else steps
        if total_steps > _MOST_STEPS:
            what = f"epochs is {epochs}, of {steps_per_epoch} steps each" if steps is None else f"steps is {steps}"
            raise ArgumentError(f"{what}: a run takes at most {_MOST_STEPS} steps")
        monitor = _monitor(given["monitor"], held_out is not None)
        select = choice(given["select"], "select", ("last", "best"))
        patience, min_delta = optional_whole(given["patience"], "patience"), real(given["min_delta"], "min_delta")
        if select == "last" and patience is None:
            if given["monitor"] is not None and not schedule.listens:
                raise ArgumentError(
                    f"monitor is {monitor!r}, and nothing follows it: give select='best', patience or a plateau"
                )
            if min_delta:
                raise ArgumentError(f"min_delta is {min_delta}, and belongs to select='best' or patience: give one")
        precision = choice(given["precision"], "precision", _PRECISIONS)
        settings = cls(
            epochs=epochs,
            steps=steps,
            batch_size=batch_size,
            optimizer=optimizer,
            lr=lr,
            schedule=schedule,
            weight_decay=_weight_decay(given["weight_decay"], optimizer),
            momentum=momentum,
            nesterov=nesterov,
            betas=numbers(given["betas"], "betas", 2),
            eps=real(given["eps"], "eps"),
            label_smoothing=real(given["label_smoothing"], "label_smoothing"),
            ema=None if given["ema"] is None else real(given["ema"], "ema"),
            augment=_augment(given["augment"]),
            evaluate_every=steps_or_epoch(given["evaluate_every"], "evaluate_every"),
            record=choices(given["record"], "record", RECORDABLE),
            monitor=monitor,
            select=select,
            patience=patience,
            min_delta=min_delta,
            checkpoint_every=steps_or_epoch(given["checkpoint_every"], "checkpoint_every"),
            log_every=optional_whole(given["log_every"], "log_every"),
            seed=seed,
            shuffle=flag(given["shuffle"], "shuffle"),
            device=_core.resolve_device(str(given["device"])),
            precision=precision,
            deterministic=flag(given["deterministic"], "deterministic"),
            kernels=_kernels(given["kernels"], precision),
            steps_per_epoch=steps_per_epoch,
            total_steps=total_steps,
            test_indices=np.arange(len(dataset.test_labels)) if test is None else test,
            validation_indices=held_out,
            validation=_as_given(given["validation"], held_out),
            evaluate_on=_as_given(given["evaluate_on"], test),
        )
        # What only the core knows. Which images are held out does not matter to it, only whether there are any.
        checked = settings.for_core(None) | {"validation": [] if held_out is None else [0], "evaluate_on": None}
        _core.check_settings(checked, settings.total_steps)
        return settings

    @property
    def selects_on_test(self) -> bool:
        """Whether the test images have a say in what becomes of the run."""
        decides = self.select == "best" or self.patience is not None or self.schedule.listens
        return decides and MEASURES[self.monitor].part == "test"

    def for_core(self, checkpoints: Path | None) -> dict[str, Any]:
        """Return what the core's `train` takes."""
        shared = (
            "epochs steps batch_size optimizer lr weight_decay momentum nesterov betas eps label_smoothing ema "
            "evaluate_every monitor patience min_delta checkpoint_every seed shuffle device precision kernels "
            "deterministic"
        )
        return {
            **{name: getattr(self, name) for name in shared.split()},
            "schedule": self.schedule.to_json(),
            "augment": None if self.augment is None else self.augment.to_json(),
            "validation": [] if self.validation_indices is None else self.validation_indices.tolist(),
            "evaluate_on": None if self.evaluate_on is None else self.test_indices.tolist(),
            "record": self.record,
            "keep_best": self.select == "best",
            "checkpoints": checkpoints,
        }

    def for_config(self) -> dict[str, Any]:
        """Return what a `Run` keeps, in JSON's types: the arguments that would repeat it, and what follows."""
        names = [field.name for field in dataclasses.fields(self)]
        kept = {name: getattr(self, name) for name in names if not name.endswith("_indices")}
        for name in ("evaluate_every", "checkpoint_every"):
            kept[name] = "epoch" if kept[name] is None else kept[name]
        if self.select == "last" and self.patience is None and not self.schedule.listens:
            kept["monitor"] = None  # nothing follows it
        kept["schedule"] = self.schedule.data
        kept["augment"] = None if self.augment is None else self.augment.to_dict()
        return kept


def _monitor(given: object, has_validation: bool) -> str:
    if given is None:
        return "validation_loss" if has_validation else "test_loss"
    monitor = choice(given, "monitor", MONITORS)
    if MEASURES[monitor].needs == "validation" and not has_validation:
        raise ArgumentError(f"monitor is {monitor!r}, and there is no validation set: give validation=0.1, for example")
    return monitor


def _kernels(given: object, precision: str) -> str:
    if given is None:
        return "exact" if precision == "float32" else "fused"
    return choice(given, "kernels", _KERNELS)


def _augment(given: object) -> Augment | None:
    if given is None or isinstance(given, Augment):
        return given
    if isinstance(given, dict):  # as a run's config keeps it
        return Augment(**given)
    raise TypeError(f"augment must be an eb.Augment, not {given!r}")


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
    return indices.tolist()


def _weight_decay(given: object, optimizer: str) -> float:
    if given is None:
        return 0.01 if optimizer == "adamw" else 0.0
    return real(given, "weight_decay")
