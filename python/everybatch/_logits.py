"""What the last layers of a network let through: logits should be free to take any value."""

from __future__ import annotations

import json
import math
from typing import Any

from everybatch._core import Network

__all__ = ["bounded_logits"]

# Lowest and highest value that each activation gives. A leaky ReLU gives any.
_BOUNDS = {
    "relu": (0.0, math.inf),
    "softplus": (0.0, math.inf),
    "gelu": (-0.17, math.inf),
    "silu": (-0.278, math.inf),
    "sigmoid": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
    "relu6": (0.0, 6.0),
    "elu": (-1.0, math.inf),
    "selu": (-1.758, math.inf),
    "mish": (-0.309, math.inf),
    "hardswish": (-0.375, math.inf),
    "hardsigmoid": (0.0, 1.0),
}
# These give nothing beyond the bounds of what they are given, or nothing but that.
_PASSING = (
    "Flatten",
    "Dropout",
    "Dropout2d",
    "MaxPool2d",
    "AvgPool2d",
    "AdaptiveAvgPool2d",
    "GlobalMaxPool",
    "GlobalAvgPool",
)


def bounded_logits(network: Network) -> str | None:
    """Return what to warn of if the network ends in an activation that bounds its logits."""
    function = _last_activation(json.loads(network.to_json())["layers"])
    if function not in _BOUNDS:
        return None
    low, high = _BOUNDS[function]
    if high == math.inf:
        what = f"its logits cannot fall below {low:g}, where a class stops learning"
    else:
        odds = (network.num_classes - 1) * math.exp(low - high)  # of all other classes, at best
        what = (
            f"its logits lie between {low:g} and {high:g}, so that no image of {network.num_classes} classes can have "
            f"a loss below {math.log1p(odds):.3f} or a probability above {1 / (1 + odds):.3f}"
        )
    return (
        f"network {network.name!r} ends in the activation {function!r}: {what}. Leave that activation out: the "
        "loss is the cross-entropy of logits, which includes the softmax"
    )


def _last_activation(layers: list[dict[str, Any]]) -> str | None:
    for layer in reversed(layers):
        if layer["type"] == "Activation":
            return str(layer["function"])
        if layer["type"] == "Residual":
            return None if layer["activation"] is None else str(layer["activation"]["function"])
        if layer["type"] not in _PASSING and not _only_shrinks(layer):
            return None
    return None


def _only_shrinks(layer: dict[str, Any]) -> bool:
    """Tell whether it is a gate by numbers from 0 to 1, which leave values within bounds that hold 0."""
    if layer["type"] != "Gate" or layer["body"][-1]["type"] != "Activation":
        return False
    return _BOUNDS.get(layer["body"][-1]["function"]) == (0.0, 1.0)
