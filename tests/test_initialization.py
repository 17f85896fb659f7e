"""Fresh weights have the distributions of PyTorch's own layers, and depend on the seed alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

import everybatch as eb

# Layers with many weights, so that distributions can be compared; each as a whole network and by PyTorch.
LAYERS = {
    "convolution": (
        [eb.Conv2d(3, 400, 7), eb.GlobalAvgPool(), eb.Linear(400, 10)],
        lambda: nn.Conv2d(3, 400, 7),
    ),
    "grouped convolution": (
        [eb.Conv2d(16, 4000, (3, 1), groups=8), eb.GlobalAvgPool(), eb.Linear(4000, 10)],
        lambda: nn.Conv2d(16, 4000, (3, 1), groups=8),
    ),
    "linear": ([eb.Flatten(), eb.Linear(100, 3000), eb.Linear(3000, 10)], lambda: nn.Linear(100, 3000)),
}
SHAPES = {"convolution": (3, 8, 8), "grouped convolution": (16, 8, 8), "linear": (1, 10, 10)}


def pooled(tensors: list[torch.Tensor]) -> np.ndarray:
    return np.sort(torch.cat([t.detach().flatten() for t in tensors]).numpy())


def largest_gap(a: np.ndarray, b: np.ndarray) -> float:
    """The Kolmogorov-Smirnov statistic of two sorted samples."""
    both = np.concatenate([a, b])
    shares = [np.searchsorted(sample, both, side="right") / len(sample) for sample in (a, b)]
    return float(np.abs(shares[0] - shares[1]).max())


@pytest.mark.parametrize("part", ["weight", "bias"])
@pytest.mark.parametrize("name", LAYERS)
def test_distribution_is_that_of_pytorchs_layer(name: str, part: str) -> None:
    layers, plain = LAYERS[name]
    network = eb.Network(layers, input_shape=SHAPES[name])
    key = f"{1 if name == 'linear' else 0}.{part}"
    seeds = range(1 if part == "weight" else 4)
    ours = pooled([network.initialize(seed).state_dict()[key] for seed in seeds])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = pooled([getattr(plain(), part) for _ in seeds])
    assert ours.shape == theirs.shape
    # 1.95 sqrt((n + m) / nm) is exceeded once in a thousand times by equal distributions (Smirnov's limit law:
    # 2 exp(-2 * 1.95**2) = 0.001). Seeds are fixed, so the outcome is too.
    assert largest_gap(ours, theirs) < 1.95 * math.sqrt(2 / len(ours))
    bound = theirs[-1]  # PyTorch's maximum lies just below the true bound
    assert np.abs(ours).max() == pytest.approx(bound, rel=0.01)


def test_batch_norm_starts_as_pytorchs() -> None:
    network = eb.Network([eb.BatchNorm2d(3), eb.GlobalAvgPool(), eb.Linear(3, 2)], input_shape=(3, 4, 4))
    state = network.initialize(0).state_dict()
    for name, tensor in nn.BatchNorm2d(3).state_dict().items():
        assert torch.equal(state[f"0.{name}"], tensor), name
        assert state[f"0.{name}"].dtype == tensor.dtype, name


def test_biases_are_bound_by_their_layers_fan_in() -> None:
    state = eb.networks.lenet5().initialize(0).state_dict()
    for name, fan_in in {"0": 25, "4": 6 * 25, "8": 16 * 25, "12": 120, "14": 84}.items():
        for part in ("weight", "bias"):
            values = state[f"{name}.{part}"].abs()
            assert 0.5 / math.sqrt(fan_in) < values.max() <= 1 / math.sqrt(fan_in) + 1e-7, (name, part)


def test_the_seed_decides_and_torchs_generator_is_left_alone(tiny: eb.Network) -> None:
    before = torch.get_rng_state()
    first, again, other = (tiny.initialize(seed).state_dict() for seed in (4, 4, 5))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["0.weight"], other["0.weight"])
    assert not torch.equal(first["5.weight"], other["5.weight"])


def test_layers_of_one_shape_get_different_weights() -> None:
    network = eb.Network([eb.Flatten(), eb.Linear(16, 16), eb.Linear(16, 16)], input_shape=(1, 4, 4))
    state = network.initialize(0).state_dict()
    assert not torch.equal(state["1.weight"], state["2.weight"])
