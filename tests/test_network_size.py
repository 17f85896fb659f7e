"""Networks that are too large are refused by arithmetic, with the number, and at once; large honest ones are not."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
import torch

import everybatch as eb
from everybatch.errors import ArgumentError, ShapeError

Quick = Callable[..., eb.Run]


def network(*layers: eb.Layer, channels: int, shape: tuple[int, int, int] = (1, 28, 28)) -> eb.Network:
    return eb.Network([*layers, eb.GlobalAvgPool(), eb.Linear(channels, 10)], input_shape=shape)


def machine() -> int:
    """Bytes of memory, from the kernel's count of pages."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


# The numbers are PyTorch's sizes, (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1, multiplied.
@pytest.mark.parametrize(
    ("layers", "channels", "number"),
    [
        ([eb.Conv2d(1, 2**20, 3, padding=1)], 2**20, 2**20 * 28**2),
        ([eb.Conv2d(1, 2**20, 13, padding=1024)], 2**20, 2**20 * 2064**2),
        ([eb.Conv2d(1, 2, 3, padding=1024), eb.Conv2d(2, 8, 3, padding=1024)], 8, 8 * 4120**2),
        ([eb.Conv2d(1, 8, 3, padding=1024)], 8, 8 * 2074**2),
        ([eb.Residual([eb.Conv2d(1, 2**20, 1)], [eb.Conv2d(1, 2**20, 1)])], 2**20, 2**20 * 28**2),
    ],
)
def test_maps_that_are_too_large_are_refused(layers: list[eb.Layer], channels: int, number: int) -> None:
    with pytest.raises(ShapeError, match=rf"(Conv2d).*at most {2**24} numbers.*gives {number}, \({channels}, "):
        network(*layers, channels=channels)


def test_so_are_weights(quick: Quick) -> None:
    with pytest.raises(ArgumentError, match=f"{2**40} weights take more memory.*at most {2**30}"):
        eb.Linear(2**20, 2**20)
    wide = 2**15
    middle = -(-machine() // (4 * wide**2)) + 1  # layers of 4 GiB each, one more than there is memory for
    layers = [eb.Flatten(), eb.Linear(784, wide), *[eb.Linear(wide, wide)] * middle, eb.Linear(wide, 10)]
    large = eb.Network(layers)
    expected = sum(2 * [wide] + [784 * wide, middle * (wide**2 + wide), wide * 10 + 10]) - wide
    assert large.num_parameters == expected
    assert f"{expected:,}" in large.summary()
    with pytest.raises(ArgumentError, match=rf"does not fit into memory: its {expected} weights take [\d.]+ GiB"):
        large.initialize()
    with pytest.raises(ArgumentError, match=f"its {expected} weights"):
        quick(large)


def test_batches_are_held_against_the_memory(quick: Quick) -> None:
    # 16 MiB of float32 for each image in each layer: not many layers are too many for 32 images.
    layers = -(-machine() // (2**24 * 32)) * 2
    deep = network(eb.Conv2d(1, 5350, 1), *[eb.Activation("relu")] * layers, channels=5350)
    with pytest.raises(ArgumentError, match=r"batches of 32 takes at least .* GiB for the weights and .* GiB for what"):
        quick(deep, batch_size=32)


def test_sizes_that_no_layer_has_are_refused() -> None:
    cases: list[tuple[Callable[[], Any], str]] = [
        (lambda: eb.Conv2d(1, 2**70, 3), "1180591620717411303424"),
        (lambda: eb.Conv2d(1, 8, 2**20), str(8 * 2**40)),
        (lambda: eb.Conv2d(1, 8, 3, padding=2000), "padding is .2000, 2000.*1024"),
        (lambda: eb.Network([eb.Flatten(), eb.Linear(2**20, 10)], (16384, 16384, 16384)), f"at most {2**24} numbers"),
    ]
    for build, message in cases:
        with pytest.raises(ArgumentError, match=message):
            build()
    with pytest.raises(ShapeError, match="at least 2095105 pixels"):
        network(eb.Conv2d(1, 8, 3, dilation=2**20, padding=1024), channels=8)


def test_blocks_of_blocks_are_counted() -> None:
    def nested(times: int, width: int) -> eb.Layer:
        block = eb.Residual([eb.Activation("relu")])
        for _ in range(times):
            block = eb.Residual([block] * width)
        return block

    with pytest.raises(ArgumentError, match="more than 100000 layers"):
        nested(30, 2)
    with pytest.raises(ArgumentError, match="more than 100000 layers"):
        network(*[eb.Activation("relu")] * 100_001, channels=1)
    assert nested(31, 1).kind == "Residual"
    with pytest.raises(ArgumentError, match="more than 32 deep"):
        nested(32, 1)
    text = '{"type":"Residual","body":[' * 50_000
    with pytest.raises(ArgumentError, match=r"not a layer.*recursion limit"):
        eb.Layer.from_json(text)


# torchvision's ResNet-152 has 60 million parameters in 515 layers of these kinds; this is about as large.
def test_large_honest_networks_have_a_summary() -> None:
    body = [eb.Conv2d(256, 256, 3, padding=1, bias=False), eb.BatchNorm2d(256), eb.Activation("relu")]
    blocks = [eb.Residual(body * 2, activation="relu") for _ in range(100)]
    large = network(eb.Conv2d(3, 256, 7, stride=2, padding=3), *blocks, channels=256, shape=(3, 224, 224))
    plain = torch.nn.Conv2d(256, 256, 3, bias=False, device="meta")
    assert large.num_parameters > 200 * sum(weights.numel() for weights in plain.parameters())
    assert large.summary().count("\n") == 100 * 7 + 3 + 5
