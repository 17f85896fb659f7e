"""`train`: the front of the Rust training loop."""

from __future__ import annotations

import contextlib
import json
import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from everybatch import _core
from everybatch._arguments import choice, choices, flag, functions, numbers, real, test_images, whole
from everybatch._core import Model, Network, Step
from everybatch._progress import ProgressBar
from everybatch._provenance import describe_dataset, hardware, versions
from everybatch.dataset import Dataset
from everybatch.errors import ArgumentError
from everybatch.run import Run

__all__ = ["train"]

_RECORDABLE = ("predictions",)
_OPTIMIZERS = ("sgd", "adam", "adamw")
_PRECISIONS = ("float32", "bfloat16")


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
    choice(optimizer, "optimizer", _OPTIMIZERS)
    recorded = choices(record, "record", _RECORDABLE)
    called = functions(callbacks, "callbacks")
    settings: dict[str, Any] = {
        "epochs": whole(epochs, "epochs"),
        "batch_size": whole(batch_size, "batch_size"),
        "optimizer": optimizer,
        "lr": real(lr, "lr"),
        "weight_decay": _weight_decay(weight_decay, optimizer),
        "momentum": real(momentum, "momentum"),
        "nesterov": flag(nesterov, "nesterov"),
        "betas": numbers(betas, "betas", 2),
        "eps": real(eps, "eps"),
        "seed": whole(seed, "seed", least=0),
        "shuffle": flag(shuffle, "shuffle"),
        "device": _core.resolve_device(str(device)),
        "precision": choice(precision, "precision", _PRECISIONS),
    }
    if optimizer != "sgd" and (momentum or nesterov):
        raise ArgumentError(f"momentum and nesterov belong to optimizer='sgd'; {optimizer!r} has betas")
    every = choice(evaluate_every, "evaluate_every", ("epoch",)) if isinstance(evaluate_every, str) else None
    every_steps = whole(evaluate_every, "evaluate_every") if every is None else None
    measured = test_images(evaluate_on, dataset.test_labels, settings["seed"])
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
        if cuda and precision == "float32":  # cuDNN would otherwise round to TensorFloat-32
            stack.enter_context(torch.backends.cudnn.flags(enabled=True, allow_tf32=False))
        bar = stack.enter_context(ProgressBar(model.network.name, steps)) if progress else None
        arrays, trained, state, message, diverged_at, raised = _core.train(
            model,
            dataset,
            **settings,
            evaluate_every=every_steps,
            evaluate_on=None if evaluate_on is None else measured.tolist(),
            record_predictions="predictions" in recorded,
            progress=bar,
            callbacks=called,
        )

    arrays["test_indices"] = measured
    config = {
        "network": json.loads(trained.network.to_json()),
        "dataset": describe_dataset(dataset),
        "training": {
            **settings,
            "steps": steps,
            "steps_per_epoch": steps_per_epoch,
            "evaluate_every": every or every_steps,
            "evaluate_on": _as_given(evaluate_on, measured),
            "record": recorded,
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
    return (
        f"the loss became NaN or infinite with the weights after {step} of {run.config['training']['steps']} steps, "
        f"and the run ended there. A smaller lr than {run.config['training']['lr']:g} may help."
    )


def _as_given(evaluate_on: object, measured: npt.NDArray[np.int64]) -> object:
    """What to pass as `evaluate_on` to measure the same images again, in JSON's types."""
    if evaluate_on is None or isinstance(evaluate_on, (int, float)):
        return evaluate_on
    return measured.tolist()


def _weight_decay(given: float | None, optimizer: str) -> float:
    if given is None:
        return 0.01 if optimizer == "adamw" else 0.0
    return real(given, "weight_decay")
