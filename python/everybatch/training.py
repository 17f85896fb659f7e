"""`train`: the front of the Rust training loop."""

from __future__ import annotations

import contextlib
import json
import math
import operator
import warnings
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from everybatch import _core
from everybatch._core import Model, Network, Step
from everybatch._draw import draw
from everybatch._progress import ProgressBar
from everybatch._provenance import describe_dataset, hardware, versions
from everybatch.dataset import Dataset
from everybatch.errors import ArgumentError, suggest
from everybatch.run import Run

__all__ = ["train"]

_RECORDABLE = ("predictions",)
_OPTIMIZERS = ("sgd", "adam", "adamw")


def train(
    network: Network | Model,
    dataset: Dataset,
    *,
    epochs: int = 1,
    batch_size: int = 64,
    optimizer: str = "adam",
    lr: float = 1e-3,
    weight_decay: float | None = None,
    momentum: float = 0.0,
    nesterov: bool = False,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    evaluate_every: int | str = 1,
    evaluate_on: int | float | Sequence[int] | npt.NDArray[np.integer[Any]] | None = None,
    record: Sequence[str] = (),
    seed: int = 0,
    shuffle: bool = True,
    device: str = "auto",
    precision: str = "float32",
    progress: bool = True,
    callbacks: Callable[[Step], object] | Iterable[Callable[[Step], object]] = (),
) -> Run:
    """Train a classifier and measure the whole test set after every batch.

    The loss is the mean cross-entropy. Images are normalised with the data set's mean and standard deviation (a model
    that was trained before keeps its own).

    Parameters
    ----------
    network
        What to train: a `Network`, which starts from fresh weights drawn with `seed`, or a `Model`, from whose weights
        training goes on. The model itself is left as it is; the trained one is `run.model`.
    dataset
        Training and test images.
    epochs
        Passes over the training images.
    batch_size
        Images of a batch. The last batch of an epoch may be smaller.
    optimizer
        "sgd", "adam" or "adamw", with the formulas and defaults of `torch.optim`.
    lr
        Learning rate.
    weight_decay
        PyTorch's default unless given: 0, and 0.01 for "adamw".
    momentum, nesterov
        Of "sgd".
    betas, eps
        Of "adam" and "adamw".
    evaluate_every
        Measure the test set after every n-th step, or "epoch". Before the first step and after the last it always is.
    evaluate_on
        Measure a part of the test set: a number of images or a share in (0, 1), drawn with `seed` from all classes
        alike, or the indices of the images.
    record
        ``("predictions",)`` keeps the predicted class of every measured image at every evaluation.
    seed
        Of the fresh weights, the batch order and dropout.
    shuffle
        Whether each epoch has a new order; otherwise it is the data set's own.
    device
        "auto" (the GPU if there is one), "cpu", "cuda" or "cuda:1".
    precision
        "float32", or "bfloat16" for the convolutions and matrix products (weights, normalisation statistics and loss
        stay float32); refused on a CPU without the instructions for it.
    progress
        Whether to draw a progress bar.
    callbacks
        Functions called after every step with a `Step`. Raising `StopTraining` ends the run after one more
        measurement; any other exception ends it, and carries what was recorded as its attribute ``run``.

    Returns
    -------
    Run
        Everything measured. Ctrl-C returns what there is until then, ``run.interrupted`` being true. A loss that
        becomes NaN or infinite ends the run at that step with a warning; ``run.diverged_at`` tells the step.

    Raises
    ------
    ArgumentError
        An argument has a value that cannot work.
    ShapeError
        The network cannot take images of this shape; the message names the layer.
    DeviceError
        The device is not there, or lacks the precision.
    TypeError
        An argument is of the wrong type.
    """
    if not isinstance(network, (Network, Model)):
        hint = ": wrap the layers in eb.Network([...])" if isinstance(network, (list, tuple)) else ""
        raise TypeError(f"network must be a Network or a Model, not {type(network).__name__}{hint}")
    if not isinstance(dataset, Dataset):
        raise TypeError(f"dataset must be an everybatch Dataset, not {type(dataset).__name__}: see eb.Dataset")
    if optimizer not in _OPTIMIZERS:
        raise ArgumentError(
            f"optimizer is {optimizer!r}: choose one of {', '.join(map(repr, _OPTIMIZERS))}."
            f"{suggest(str(optimizer), _OPTIMIZERS)}"
        )
    recorded = _recorded(record)
    functions = _functions(callbacks)
    settings: dict[str, Any] = {
        "epochs": _whole(epochs, "epochs"),
        "batch_size": _whole(batch_size, "batch_size"),
        "optimizer": optimizer,
        "lr": float(lr),
        "weight_decay": _weight_decay(weight_decay, optimizer),
        "momentum": float(momentum),
        "nesterov": bool(nesterov),
        "betas": (float(betas[0]), float(betas[1])),
        "eps": float(eps),
        "seed": _whole(seed, "seed", least=0),
        "shuffle": bool(shuffle),
        "device": _core.resolve_device(device),
        "precision": precision,
    }
    if optimizer != "sgd" and (momentum or nesterov):
        raise ArgumentError(f"momentum and nesterov belong to optimizer='sgd'; {optimizer!r} has betas")
    every = _every(evaluate_every)
    measured = _measured(dataset, evaluate_on, settings["seed"])
    if settings["batch_size"] > len(dataset.train_labels):
        raise ArgumentError(
            f"batch_size is {batch_size}, and the data set has {len(dataset.train_labels)} training images: "
            "choose a smaller one"
        )
    steps_per_epoch = math.ceil(len(dataset.train_labels) / settings["batch_size"])
    steps = steps_per_epoch * settings["epochs"]
    model = network if isinstance(network, Model) else network.initialize(settings["seed"])
    started = datetime.now(UTC)

    with contextlib.ExitStack() as stack:
        # Dropout draws from torch's global generator: give it back to the caller as it was.
        cuda = settings["device"].startswith("cuda")
        stack.enter_context(torch.random.fork_rng(devices=[settings["device"]] if cuda else []))
        bar = stack.enter_context(ProgressBar(model.network.name, steps)) if progress else None
        arrays, trained, state, message, diverged_at, raised = _core.train(
            model,
            dataset,
            **settings,
            evaluate_every=every if isinstance(every, int) else None,
            evaluate_on=None if evaluate_on is None else measured.tolist(),
            record_predictions="predictions" in recorded,
            progress=bar,
            callbacks=functions,
        )

    arrays["test_indices"] = measured
    config = {
        "network": json.loads(trained.network.to_json()),
        "dataset": describe_dataset(dataset),
        "training": {
            **settings,
            "steps": steps,
            "steps_per_epoch": steps_per_epoch,
            "evaluate_every": every,
            "evaluate_on": len(measured),
            "record": list(recorded),
            "from_model": isinstance(network, Model),
        },
        "versions": versions(),
        "hardware": hardware(settings["device"]),
        "status": {"state": state, "message": message, "diverged_at": diverged_at},
        "started": started.isoformat(timespec="seconds"),
    }
    run = Run(arrays, config, trained)
    if raised is not None:
        raised.run = run  # type: ignore[attr-defined]
        raise raised
    if diverged_at is not None:
        warnings.warn(_divergence(run, diverged_at), RuntimeWarning, stacklevel=2)
    return run


def _divergence(run: Run, step: int) -> str:
    epoch, batch = divmod(step, run.config["training"]["steps_per_epoch"])
    return (
        f"the loss became NaN or infinite with the weights after {step} steps (epoch {epoch + 1}, batch {batch + 1}), "
        f"and the run ended there. A smaller lr than {run.config['training']['lr']:g} may help."
    )


def _whole(value: object, name: str, least: int = 1) -> int:
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{name} must be a whole number, not {value!r}") from None
    if not least <= number < 2**63:
        raise ArgumentError(f"{name} is {number}: it must be at least {least}")
    return number


def _weight_decay(given: float | None, optimizer: str) -> float:
    if given is None:
        return 0.01 if optimizer == "adamw" else 0.0
    return float(given)


def _recorded(record: Sequence[str]) -> tuple[str, ...]:
    names = (record,) if isinstance(record, str) else tuple(record)
    for name in names:
        if name not in _RECORDABLE:
            raise ArgumentError(
                f"record has {name!r}: it may hold {', '.join(map(repr, _RECORDABLE))}."
                f"{suggest(str(name), _RECORDABLE)}"
            )
    return names


def _functions(
    callbacks: Callable[[Step], object] | Iterable[Callable[[Step], object]],
) -> list[Callable[[Step], object]]:
    functions = [callbacks] if callable(callbacks) else list(callbacks)
    for function in functions:
        if not callable(function):
            raise TypeError(f"callbacks must be functions, and {function!r} is not")
    return functions


def _every(given: int | str) -> int | str:
    if isinstance(given, str):
        if given != "epoch":
            raise ArgumentError(f"evaluate_every is {given!r}: give a number of steps, or 'epoch'")
        return given
    return _whole(given, "evaluate_every")


def _measured(
    dataset: Dataset, given: int | float | Sequence[int] | npt.NDArray[np.integer[Any]] | None, seed: int
) -> npt.NDArray[np.int64]:
    """Indices (n,) of the test images that are measured."""
    count = len(dataset.test_labels)
    if given is None:
        return np.arange(count, dtype=np.int64)
    if isinstance(given, float):
        if not 0 < given < 1:
            raise ArgumentError(f"evaluate_on is {given}: a share must lie between 0 and 1")
        given = max(1, round(given * count))
    if isinstance(given, (int, np.integer)) and not isinstance(given, bool):
        chosen = draw(dataset.test_labels, int(given), (seed, 1), "evaluate_on")
        indices: npt.NDArray[np.int64] = np.arange(count, dtype=np.int64)[chosen]
        return indices
    try:
        named = np.asarray(given)
    except ValueError as error:
        raise TypeError(f"evaluate_on must be a number, a share, or indices of test images ({error})") from error
    if named.ndim != 1 or named.dtype.kind not in "iu":
        raise TypeError(f"evaluate_on must be a number, a share, or a list of indices of test images, not {given!r}")
    if named.size == 0:
        raise ArgumentError("evaluate_on names no test image")
    wrong = (named < 0) | (named >= count)
    if wrong.any():
        raise ArgumentError(f"evaluate_on names test image {named[wrong][0]}, and there are {count}")
    if len(np.unique(named)) < len(named):
        raise ArgumentError("evaluate_on names a test image more than once")
    return named.astype(np.int64)
