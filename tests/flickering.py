"""Runs with predictions that were drawn, for tests of what can be told from them."""

from __future__ import annotations

from typing import Any

import numpy as np

import everybatch as eb
from everybatch._provenance import describe_dataset

__all__ = ["flickering_data", "flickering_run", "recorded_run"]


def flickering_data(
    images: int = 200, classes: int = 10, *, without: tuple[int, ...] = (), seed: int = 0
) -> eb.Dataset:
    """A data set of noise with so many test images, none of some classes."""
    draw = np.random.default_rng(seed)
    labels = draw.choice([each for each in range(classes) if each not in without], images)
    train = np.arange(2 * classes) % classes
    pixels = [draw.integers(0, 256, (count, 4, 4), dtype=np.uint8) for count in (len(train), images)]
    return eb.Dataset(pixels[0], train, pixels[1], labels, classes=[f"c{i}" for i in range(classes)], name="noise")


def recorded_run(
    data: eb.Dataset, predictions: Any, step: Any = None, /, *, per_epoch: int = 20, **changes: Any
) -> eb.Run:
    """A run whose recorded predictions are these; `step` has the steps before each measurement, else every step."""
    classes, labels = data.num_classes, data.test_labels
    predictions = np.asarray(predictions).astype(np.uint8 if classes <= 256 else np.uint16)
    step = np.arange(len(predictions)) if step is None else np.asarray(step)
    steps = int(step[-1]) if len(step) else 3
    right = predictions == labels
    of_class = [
        right[:, labels == c].mean(1) if (labels == c).any() else np.full(len(step), np.nan) for c in range(classes)
    ]
    confusion = np.zeros((classes, classes), np.int64)
    if len(step):
        np.add.at(confusion, (labels, predictions[-1].astype(int)), 1)
    arrays = {
        "train_loss": np.ones(steps, np.float32),
        "train_accuracy": np.ones(steps, np.float32),
        "train_seconds": np.full(steps, 0.01),
        "eval_step": step.astype(np.int64),
        "test_loss": np.ones(len(step), np.float32),
        "test_accuracy": right.mean(axis=1).astype(np.float32),
        "class_accuracy": np.stack(of_class, 1).astype(np.float32),
        "eval_seconds": np.full(len(step), 0.1),
        "confusion": confusion,
        "test_indices": np.arange(len(labels)),
        "predictions": predictions,
    } | changes
    config = {
        "network": {"name": "tiny", "layers": []},
        "dataset": describe_dataset(data),
        "training": {"batch_size": 1, "steps_per_epoch": per_epoch, "seed": 0, "shuffle": True},
        "status": {"state": "finished", "message": "", "diverged_at": None},
    }
    return eb.Run({name: array for name, array in arrays.items() if array is not None}, config)


def flickering_run(
    data: eb.Dataset, measurements: int = 60, *, seed: int = 0, step: Any = None, per_epoch: int = 20
) -> eb.Run:
    """A run that learns: each image is right from some moment on, the longer and the more often with lapses."""
    draw = np.random.default_rng(seed)
    labels, n = data.test_labels, len(data.test_labels)
    learned = draw.exponential(measurements / 8, n)
    lapses = draw.beta(0.4, 3, n)
    time = np.arange(measurements)[:, None]
    right = (time > learned) & (draw.random((measurements, n)) > lapses)
    wrong = (labels + draw.integers(1, data.num_classes, (measurements, n))) % data.num_classes
    return recorded_run(data, np.where(right, labels, wrong), step, per_epoch=per_epoch)
