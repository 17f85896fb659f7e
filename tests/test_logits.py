"""A network should end in logits that can take any value; `train` warns of one that does not."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import everybatch as eb
from everybatch.errors import LogitsWarning

Quick = Callable[..., eb.Run]

LINEAR: list[Any] = [eb.Flatten(), eb.Linear(784, 10)]
TORCHS = {
    "relu": nn.ReLU(),
    "softplus": nn.Softplus(),
    "gelu": nn.GELU(),
    "silu": nn.SiLU(),
    "tanh": nn.Tanh(),
    "sigmoid": nn.Sigmoid(),
    "relu6": nn.ReLU6(),
    "elu": nn.ELU(),
    "selu": nn.SELU(),
    "mish": nn.Mish(),
    "hardswish": nn.Hardswish(),
    "hardsigmoid": nn.Hardsigmoid(),
}


@pytest.mark.parametrize("function", TORCHS)
def test_an_activation_at_the_end_is_warned_of_with_pytorchs_bounds(quick: Quick, function: str) -> None:
    with pytest.warns(LogitsWarning, match=f"ends in the activation '{function}'") as caught:
        quick(eb.Network([*LINEAR, eb.Activation(function)]), steps=1)
    assert len(caught) == 1
    assert caught[0].filename == __file__.replace("test_logits", "conftest")  # where `train` is called
    text = str(caught[0].message)
    values = TORCHS[function](torch.linspace(-30, 30, 600_001, dtype=torch.float64))
    lowest = float(re.findall(r"(?:below|between) (-?[\d.]+)", text)[0].rstrip("."))
    assert lowest == pytest.approx(values.min().item(), abs=1e-3)
    if values.max() <= 1:
        # The best logits that it can give, measured by PyTorch's cross-entropy.
        best = torch.full((1, 10), values.min().item(), dtype=torch.float64)
        best[0, 3] = values.max()
        floor = nn.functional.cross_entropy(best, torch.tensor([3])).item()
        assert f"a loss below {floor:.3f} or a probability above {np.exp(-floor):.3f}" in text


@pytest.mark.parametrize(
    "layers",
    [
        [eb.Conv2d(1, 10, 3), eb.Activation("relu"), eb.GlobalAvgPool()],
        [eb.Conv2d(1, 10, 28), eb.Activation("relu"), eb.Dropout(0.1), eb.Flatten()],
        [eb.Conv2d(1, 10, 3), eb.Residual([eb.Conv2d(10, 10, 3, padding=1)], activation="relu"), eb.GlobalMaxPool()],
        [eb.Conv2d(1, 10, 3), eb.Activation("relu"), eb.SqueezeExcitation(10, 5), eb.GlobalAvgPool()],
    ],
)
def test_what_follows_may_let_the_bounds_pass(quick: Quick, layers: list[Any]) -> None:
    with pytest.warns(LogitsWarning, match="cannot fall below 0"):
        quick(eb.Network(layers).initialize(0), steps=1)


@pytest.mark.parametrize(
    "layers",
    [
        LINEAR,
        [*LINEAR, eb.Activation("leaky_relu")],
        [*LINEAR, eb.Activation("relu"), eb.Linear(10, 10)],
        [*LINEAR, eb.Activation("tanh"), eb.BatchNorm1d(10)],
        [*LINEAR, eb.Activation("relu"), eb.Gate([eb.Linear(10, 10)])],
        [
            eb.Conv2d(1, 10, 3),
            eb.Residual([eb.Conv2d(10, 10, 3, padding=1), eb.Activation("relu")]),
            eb.GlobalAvgPool(),
        ],
    ],
)
def test_other_ends_are_not(quick: Quick, layers: list[Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quick(eb.Network(layers), steps=1)
