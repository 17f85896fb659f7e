"""What a `Meter` is asked to do, checked; and what the config of its run says of that."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch

from everybatch._arguments import numbers, optional_whole, real
from everybatch._settings import Settings
from everybatch.dataset import Dataset
from everybatch.errors import ArgumentError, ShapeError
from everybatch.training import train

__all__ = ["Inputs", "accuracy_of", "batch_of", "checked", "chunk_for", "for_config", "learning_rate", "loss_of"]

_DEFAULTS = {name: one.default for name, one in inspect.signature(train).parameters.items()}
_KEPT = (
    "validation",
    "evaluate_every",
    "evaluate_on",
    "tolerance",
    "complete_every",
    "record",
    "measure_training",
    "seed",
    "device",
    "precision",
    "deterministic",
)
"""Of what the config of a run says of its training, what a meter knows; the rest is None or left out."""
_NEEDS_TRAINING = {
    "grad_norm": "gradients are clipped or gone when it looks",
    "weights": "of the optimizer it knows nothing",
}
"""Words of ``record=`` that a meter cannot keep, and why."""
_PIXELS = 1 << 22
"""Numbers of the images that a module is given at a time, about."""


class Inputs:
    """What a module is given: pixels in [0, 1] less a mean, by a deviation; and then what a function makes of that.

    Parameters
    ----------
    given
        As the user says it.
    dataset
        Whose normalisation is meant unless another is given.
    """

    def __init__(self, given: object, dataset: Dataset) -> None:
        channels = dataset.image_shape[0]
        self.mean, self.std = [0.0] * channels, [1.0] * channels
        self.transform: Callable[[torch.Tensor], torch.Tensor] | None = None
        self.told: object = given
        """What a config says of it."""
        if isinstance(given, str) and given == "normalized":
            self.mean, self.std = list(dataset.mean), list(dataset.std)
        elif callable(given):
            self.transform = given
            name = getattr(given, "__qualname__", None) or type(given).__qualname__
            self.told = {"function": str(name)}
        elif isinstance(given, (tuple, list)) and len(given) == 2:
            self.mean, self.std = _channels(given[0], "mean", channels), _channels(given[1], "std", channels)
            if not all(value > 0 for value in self.std):
                raise ArgumentError(f"inputs has a std of {self.std}: it must be above 0")
            self.told = {"mean": self.mean, "std": self.std}
        elif not (isinstance(given, str) and given == "unit"):
            what = (
                'inputs must be "normalized" (by the mean and std of the data set), "unit" (pixels in [0, 1]), a pair '
                f"(mean, std), or a function of pixels in [0, 1], not {given!r}"
            )
            raise ArgumentError(what) if isinstance(given, (str, tuple, list)) else TypeError(what)


def _channels(given: object, name: str, channels: int) -> list[float]:
    if isinstance(given, (torch.Tensor, np.ndarray)):
        given = given.tolist()
    if isinstance(given, (int, float, np.integer, np.floating)):
        return [real(given, f"inputs ({name})")] * channels
    return list(numbers(given, f"inputs ({name})", channels))


def checked(
    dataset: Dataset,
    *,
    batch_size: int | None,
    steps_per_epoch: int | None,
    steps: int | None,
    measure_training: int | None,
    device: str,
    **given: Any,
) -> tuple[Settings, int | None]:
    """Check what a meter shares with `train`, and return it with the steps of an epoch, if they are known.

    Raises
    ------
    ArgumentError, TypeError
        With the argument's name.
    """
    batch_size, per_epoch = (
        optional_whole(batch_size, "batch_size"),
        optional_whole(steps_per_epoch, "steps_per_epoch"),
    )
    asked = given["record"]
    words = [asked] if isinstance(asked, str) else list(asked) if isinstance(asked, Iterable) else []
    for word, why in _NEEDS_TRAINING.items():
        if word in words:
            raise ArgumentError(f"record has {word!r}, which a meter cannot keep: {why}. It is recorded by eb.train")
    if measure_training is None:
        measure_training = _DEFAULTS["measure_training"]
    elif measure_training and steps is None:
        raise ArgumentError(
            f"measure_training is {measure_training}, and these passes lie evenly over the run: give its length, steps="
        )
    arguments = {
        **_DEFAULTS,
        **given,
        "batch_size": 1 if batch_size is None else batch_size,
        "steps": steps,
        "measure_training": measure_training,
        "device": device,
    }
    settings = Settings.check(dataset, **arguments)
    if per_epoch is None and batch_size is not None:
        per_epoch = settings.steps_per_epoch
    for name in ("evaluate_every", "complete_every"):
        if settings.values[name] == "epoch" and per_epoch is None:
            raise ArgumentError(
                f"{name} is 'epoch', and how long one is is not known: give steps_per_epoch=len(loader)"
            )
    return settings, per_epoch


def for_config(settings: Settings, batch_size: int | None, per_epoch: int | None) -> dict[str, Any]:
    """Return the section ``training`` of the config of a meter's run."""
    told = settings.for_config()
    steps: int | None = settings.values["steps"]
    if steps is None and "measure_training" in told:
        told["measure_training"] = 0  # there are no passes without them
    return {
        **{name: told[name] for name in _KEPT if name in told},
        "batch_size": batch_size,
        "steps": steps,
        "steps_per_epoch": per_epoch,
        "total_steps": steps,
        "optimizer": None,
        "lr": None,
        "shuffle": None,
        "checkpoints": None,
    }


def chunk_for(given: int | None, pixels: int) -> int:
    """Return how many images a module is given at a time; of so many pixels each."""
    chunk = optional_whole(given, "chunk")
    return min(1000, max(16, _PIXELS // max(1, pixels))) if chunk is None else chunk


def loss_of(given: object) -> float:
    """Return a loss as a number; gradients stay with the tensor.

    Raises
    ------
    ShapeError, TypeError
        It is none, or many.
    """
    return _number(given, "loss", "the mean over the batch, one number")


def learning_rate(given: object) -> float | None:
    """Return a learning rate, such as a scheduler gives in a list of one."""
    if given is None:
        return None
    if isinstance(given, (tuple, list)):
        if len(given) != 1:
            raise ArgumentError(f"lr has {len(given)} numbers: give one, such as that of the first group of parameters")
        given = given[0]
    return _number(given, "lr", "one number")


def accuracy_of(given: object) -> float | None:
    """Return the share of a batch that was predicted right."""
    if given is None:
        return None
    share = _number(given, "accuracy", "one number")
    if not (0 <= share <= 1 or math.isnan(share)):
        raise ArgumentError(f"accuracy is {share}: it is the share that was predicted right, in [0, 1]")
    return share


def batch_of(indices: object, logits: object) -> tuple[torch.Tensor, torch.Tensor]:
    """Return which images a batch held (n,) int64, and what the module made of them, float32, both on the CPU.

    Raises
    ------
    TypeError
        They are no numbers.
    """
    try:
        places, numbers_ = torch.as_tensor(indices).detach().cpu(), torch.as_tensor(logits).detach().cpu()
    except (RuntimeError, TypeError, ValueError) as error:
        raise TypeError(f"indices and logits must be arrays of numbers ({error})") from error
    if places.ndim != 1 or places.dtype.is_floating_point or places.dtype == torch.bool or places.is_complex():
        raise TypeError(f"indices must be whole numbers (n,), not {places.dtype} of shape {tuple(places.shape)}")
    if not numbers_.is_floating_point():
        raise TypeError(f"logits must be floats (n, classes), not {numbers_.dtype}")
    return places.long(), numbers_.float()


def _number(given: object, name: str, what: str) -> float:
    if isinstance(given, (torch.Tensor, np.ndarray)):
        if math.prod(given.shape) != 1:
            raise ShapeError(f"{name} has the shape {tuple(given.shape)}: give {what}")
        given = given.item()
    return real(given, name)
