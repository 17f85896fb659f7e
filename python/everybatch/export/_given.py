"""Checks of what every export is given: a model or a run, and packages that only one export needs."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt

from everybatch._core import Model
from everybatch.errors import ArgumentError
from everybatch.run import Run

__all__ = ["as_model", "as_run", "description", "layers_of", "missing_package", "normalization_of", "unknown_layer"]


def as_model(given: object) -> Model:
    """Return `given` if it is a model; a run is told apart, because it has one."""
    if isinstance(given, Model):
        return given
    hint = ": pass run.model" if isinstance(given, Run) else ""
    raise TypeError(f"model must be an everybatch Model, not {type(given).__name__}{hint}")


def as_run(given: object) -> Run:
    """Return `given` if it is a run."""
    if isinstance(given, Run):
        return given
    raise TypeError(f"run must be an everybatch Run, not {type(given).__name__}")


def layers_of(model: Model) -> list[dict[str, Any]]:
    """Return the layer tree as plain data: each layer a dict with its ``"type"`` and PyTorch's arguments."""
    layers: list[dict[str, Any]] = json.loads(model.network.to_json())["layers"]
    return layers


def description(model: Model) -> dict[str, Any]:
    """Return what a file tells beside the weights: classes, shape of an image, how pixels are normalised.

    In JSON's types; None where the model does not know.
    """
    return {
        "classes": None if model.classes is None else list(model.classes),
        "input_shape": list(model.input_shape),
        "mean": model.mean,
        "std": model.std,
    }


def normalization_of(model: Model) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return mean and deviation of pixels in [0, 1], each (1, channels, 1, 1); 0 and 1 before any training."""
    channels = model.network.input_shape[0]
    mean = [0.0] * channels if model.mean is None else model.mean
    std = [1.0] * channels if model.std is None else model.std
    return (
        np.array(mean, np.float32).reshape(1, channels, 1, 1),
        np.array(std, np.float32).reshape(1, channels, 1, 1),
    )


def unknown_layer(kind: str, path: str) -> ArgumentError:
    """Return the error for a layer that an export has no counterpart for; `path` as in the names of the weights."""
    return ArgumentError(f"layer {path} is of the kind {kind!r}, which this export does not know")


def missing_package(name: str, package: str, extra: str) -> ImportError:
    """Return the error for an optional package that is not installed."""
    return ImportError(f'eb.export.{name} needs {package}: pip install "everybatch[{extra}]"')
