"""The model that a run begins with: its logits stand for the data set's classes, in the data set's order."""

from __future__ import annotations

import json

import numpy as np
import numpy.typing as npt
import torch

from everybatch._classes import are_numbers, matched
from everybatch._core import Model, Network
from everybatch.dataset import Dataset
from everybatch.datasets._folder_read import background_of
from everybatch.errors import ArgumentError

__all__ = ["RENAME", "beginning", "reordered"]

RENAME = "train a model.copy() whose classes are set to None"
"""How to train the weights for other classes, in the words of messages."""

# Layers that treat every channel, or every number of a vector, alike and by itself.
_EACH_ALIKE = {
    "Activation",
    "AdaptiveAvgPool2d",
    "AvgPool2d",
    "Dropout",
    "Dropout2d",
    "Flatten",
    "GlobalAvgPool",
    "GlobalMaxPool",
    "MaxPool2d",
}


def beginning(network: Network | Model, dataset: Dataset, seed: int) -> Model:
    """Return a new model with fresh weights, or with those of the given one, which is left as it is.

    Raises
    ------
    ArgumentError
        A model's classes are others than the data set's, or in another order that its layers cannot be brought to.
    """
    model = network.initialize(seed) if isinstance(network, Network) else network.copy()
    count = model.network.num_classes
    if count != dataset.num_classes:
        return model  # the core knows what to say
    names = dataset.classes
    if isinstance(network, Model):
        labels = np.arange(count)
        found = matched(network.classes, count, names, labels, data=f"data set {dataset.name!r}", way_out=RENAME)
        if (found.numbers != labels).any():
            model = reordered(model, found.numbers)
        elif are_numbers(names) and network.classes is not None:
            names = network.classes
    model.classes = names
    ground = background_of(dataset.source)
    if ground is not None:
        model.background = ground
    return model


def reordered(model: Model, order: npt.NDArray[np.int64]) -> Model:
    """Return a copy whose logit `i` is the given model's logit `order[i]`.

    Raises
    ------
    ArgumentError
        The network does not end in layers of which that is possible.
    """
    changed = model.copy()
    state = changed.state_dict()
    rows = torch.from_numpy(np.ascontiguousarray(order))
    layers = json.loads(model.network.to_json())["layers"]
    for index in reversed(range(len(layers))):
        kind = layers[index]["type"]
        if kind in _EACH_ALIKE:
            continue
        makes_logits = kind in ("Linear", "Conv2d") and layers[index].get("groups", 1) == 1
        if not (makes_logits or kind.startswith("BatchNorm")):
            break
        tensors = [tensor for name, tensor in state.items() if name.split(".")[0] == str(index) and tensor.ndim]
        if any(len(tensor) != len(order) for tensor in tensors):
            break
        for tensor in tensors:
            tensor.copy_(tensor[rows])
        if makes_logits:
            return changed
    raise ArgumentError(
        f"the classes of the data set are in another order than the model's, and network {model.network.name!r} does "
        "not end in a layer whose outputs can be put into that order: give the data set the model's order, "
        "classes=model.classes"
    )
