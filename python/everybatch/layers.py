"""The layers that a network is made of. Each function returns a `Layer`: plain data, with PyTorch's argument names.

Shapes are those of one example, (channels, height, width) or (features,).
"""

from everybatch._core import (
    Activation,
    AdaptiveAvgPool2d,
    AvgPool2d,
    BatchNorm1d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Dropout2d,
    Flatten,
    Gate,
    GlobalAvgPool,
    GlobalMaxPool,
    Linear,
    MaxPool2d,
    Residual,
    SqueezeExcitation,
    StochasticDepth,
)

__all__ = [
    "Activation",
    "AdaptiveAvgPool2d",
    "AvgPool2d",
    "BatchNorm1d",
    "BatchNorm2d",
    "Conv2d",
    "Dropout",
    "Dropout2d",
    "Flatten",
    "Gate",
    "GlobalAvgPool",
    "GlobalMaxPool",
    "Linear",
    "MaxPool2d",
    "Residual",
    "SqueezeExcitation",
    "StochasticDepth",
]
