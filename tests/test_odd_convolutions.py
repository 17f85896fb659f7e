"""Convolutions of shapes that hardly anybody uses, against PyTorch with its usual order of memory.

oneDNN computes some of them wrongly where channels lie last, and crashes on others (libtorch 2.11).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import everybatch as eb
from everybatch.errors import ShapeError
from parity import ADAM, Optimizer, assert_same, both

# One channel in each group, and strides that leave one column of several rows.
MISREAD: dict[str, dict[str, Any]] = {
    "first layer": {"kernel_size": (3, 27), "stride": (1, 2)},
    "longer strides": {"kernel_size": (3, 26), "stride": (2, 3)},
    "padded": {"kernel_size": (5, 29), "stride": (1, 2), "padding": (2, 1)},
    "dilated": {"kernel_size": (2, 14), "stride": (1, 3), "dilation": (3, 2)},
    "groups": {"groups": 4, "kernel_size": (3, 27), "stride": (1, 2)},
}


def layers(build: Any, groups: int = 1, **given: Any) -> list[Any]:
    """Return the convolution with what is needed before it, by the layers of everybatch or PyTorch's modules."""
    before = [build.Conv2d(1, groups, 1)] if groups > 1 else []
    return [*before, build.Conv2d(groups, 8, groups=groups, **given)]


def pair(given: dict[str, Any]) -> tuple[eb.Network, nn.Module]:
    convolutions = layers(nn, **given)
    features = nn.Sequential(*convolutions, nn.Flatten())(torch.zeros(1, 1, 28, 28)).shape[1]
    module = nn.Sequential(*convolutions, nn.ReLU(), nn.Flatten(), nn.Linear(features, 10))
    ends = [eb.Activation("relu"), eb.Flatten(), eb.Linear(features, 10)]
    return eb.Network([*layers(eb, **given), *ends]), module


# Computed transposed, gradients have an order of memory that is not their weight's, which kernels of SGD do not heed.
OPTIMIZERS: dict[str, tuple[Optimizer, dict[str, Any]]] = {
    "adam": (ADAM, {"lr": 1e-3}),
    "sgd": (partial(torch.optim.SGD, lr=0.05, momentum=0.9), {"lr": 0.05, "momentum": 0.9}),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("kernels", ["exact", "fused"])
@pytest.mark.parametrize("name", MISREAD)
def test_training_and_measuring_are_pytorchs(name: str, kernels: str, optimizer: str) -> None:
    network, module = pair(MISREAD[name])
    data = eb.datasets.glyphs(train=80, test=40)
    plain, given = OPTIMIZERS[optimizer]
    run, losses = both(network, module, data, plain, batch_size=8, optimizer=optimizer, kernels=kernels, **given)
    assert_same(run, losses)
    for key, weights in run.model.state_dict().items():
        torch.testing.assert_close(weights, module.state_dict()[key], rtol=1e-3, atol=1e-4)


# Modules with channels last, whose grey weights have two orders of memory at once.
@pytest.mark.parametrize("kernels", ["exact", "fused"])
def test_modules_with_channels_last_train_as_others(kernels: str) -> None:
    data = eb.datasets.glyphs(train=80, test=40)
    layers = [nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3456, 10)]
    given: dict[str, Any] = {"optimizer": "sgd", "lr": 0.05, "batch_size": 8, "kernels": kernels, "progress": False}
    plain, last = nn.Sequential(*layers), nn.Sequential(*layers).to(memory_format=torch.contiguous_format)
    runs = []
    for module in (plain, last.to(memory_format=torch.channels_last)):
        model = eb.from_torch(module, (1, 28, 28), mean=data.mean, std=data.std)
        runs.append(eb.train(model, data, **given))
    np.testing.assert_allclose(runs[1].train_loss, runs[0].train_loss, rtol=1e-4)


# oneDNN leaves parts of these gradients as the memory was where strides are longer than the map, but in float32.
@pytest.mark.parametrize("kernels", ["exact", "fused"])
def test_gradients_of_narrow_maps_are_whole_in_bfloat16(kernels: str) -> None:
    random = np.random.default_rng(0)
    labels = np.arange(300) % 3
    bars = random.integers(0, 256, (3, 16, 1))[labels] + random.normal(0, 40, (300, 16, 1))
    images = np.clip(bars, 0, 255).astype(np.uint8)
    data = eb.Dataset(images[:250], labels[:250], images[250:], labels[250:])
    body: list[eb.Layer] = []
    for before, after, stride in ((1, 8, 1), (8, 16, 2), (16, 16, 2)):
        body += [eb.Conv2d(before, after, 3, stride=stride, padding=1), eb.BatchNorm2d(after), eb.Activation("relu")]
    network = eb.Network([*body, eb.GlobalAvgPool(), eb.Linear(16, 3)], input_shape=(1, 16, 1))
    given: dict[str, Any] = {"optimizer": "sgd", "lr": 0.02, "batch_size": 50, "epochs": 4, "record": "grad_norm"}
    given |= {"kernels": kernels, "progress": False, "seed": 1}
    waste = [torch.full((size,), float("nan")) for size in range(1000, 200_000, 7919)]  # what memory may hold
    del waste
    half, whole = (eb.train(network, data, precision=each, **given) for each in ("bfloat16", "float32"))
    np.testing.assert_allclose(half.grad_norm, whole.grad_norm, rtol=0.2)
    assert all(bool(torch.isfinite(weights).all()) for weights in half.model.state_dict().values())


@pytest.mark.parametrize("name", MISREAD)
def test_bfloat16_is_near(name: str) -> None:
    network, _ = pair(MISREAD[name])
    data = eb.datasets.glyphs(train=80, test=40)
    runs = [eb.train(network, data, batch_size=8, precision=kind, progress=False) for kind in ("float32", "bfloat16")]
    np.testing.assert_allclose(runs[1].train_loss, runs[0].train_loss, rtol=0.05)
    np.testing.assert_allclose(runs[1].test_loss, runs[0].test_loss, rtol=0.05)


def draw(seed: int) -> eb.Network:
    """Return a small network with a convolution of any shape, every other one of which leaves a single column."""
    random = np.random.default_rng(seed)

    def pairs(low: int, high: int) -> tuple[int, int]:
        first, second = (int(number) for number in random.integers(low, high, 2))
        return first, second

    (height, width), channels = pairs(1, 14), int(random.choice([1, 1, 2, 3, 4]))
    kernel, stride, dilation = pairs(1, 9), pairs(1, 4), pairs(1, 3)
    padding = int(random.integers(0, kernel[0] + 1)), int(random.integers(0, kernel[1] + 1))
    if random.integers(2):
        kernel = kernel[0], max(1, (width + 2 * padding[1] - int(random.integers(stride[1])) - 1) // dilation[1] + 1)
    groups = int(random.choice([1, channels]))
    outputs = groups * int(random.choice([1, 2, 8]))
    options: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    odd = eb.Conv2d(channels, outputs, kernel, bias=bool(random.integers(2)), **options)
    after: list[eb.Layer] = [eb.BatchNorm2d(outputs), eb.Activation("relu")][int(random.integers(3)) :]
    if random.integers(3) == 0:
        after.append(eb.Residual([eb.Conv2d(outputs, outputs, 3, padding=1)]))
    before = [] if channels == 1 else [eb.Conv2d(1, channels, 1)]
    ends = [eb.GlobalAvgPool(), eb.Linear(outputs, 3)]
    return eb.Network([*before, odd, *after, *ends], input_shape=(1, height, width))


def test_random_shapes_are_pytorchs() -> None:
    found = 0
    for seed in range(600):
        try:
            model = draw(seed).initialize(seed=seed)
        except ShapeError:  # the kernel is larger than the image, or meets only padding
            continue
        found += 1
        images = np.random.default_rng(seed).integers(0, 256, (5, *model.input_shape[1:]), dtype=np.uint8)
        module = eb.export.torch_module(model).eval()
        with torch.no_grad():
            expected = module(torch.from_numpy(images)[:, None].float() / 255).numpy()
        gap = np.abs(model.logits(images) - expected).max()
        assert gap <= 1e-4 * max(1, np.abs(expected).max()), (seed, gap, model.network.summary())
    assert found > 300


# The one pixel lies in column 1 of 3, or row 3 of 7, and the taps in the even ones. PyTorch gives the bias alone.
@pytest.mark.parametrize(
    ("given", "along"),
    [
        ({"kernel_size": 1, "stride": (1, 2), "padding": (0, 1)}, "width"),
        ({"kernel_size": (2, 1), "stride": (2, 1), "padding": (3, 0), "dilation": (2, 1)}, "height"),
    ],
)
def test_a_kernel_that_meets_only_padding_is_refused(given: dict[str, Any], along: str) -> None:
    with pytest.raises(ShapeError, match=rf"layer 0 \(Conv2d\).*along the {along} it meets only padding"):
        eb.Network([eb.Conv2d(1, 4, **given), eb.GlobalAvgPool(), eb.Linear(4, 2)], input_shape=(1, 1, 1))


# 48 to 48 channels on 14x14: 88 million numbers as one product, 354 MB for one image, where the kernels are 2 MB.
def test_no_product_is_larger_than_memory_is_there_for() -> None:
    body = [eb.Conv2d(1, 48, 1), eb.Conv2d(48, 48, 15, padding=7), eb.GlobalAvgPool(), eb.Linear(48, 10)]
    model = eb.Network(body, input_shape=(1, 14, 14)).initialize(seed=0)
    images = np.random.default_rng(0).integers(0, 256, (3, 14, 14), dtype=np.uint8)
    module = eb.export.torch_module(model).eval()
    with torch.no_grad():
        expected = module(torch.from_numpy(images)[:, None].float() / 255).numpy()
    np.testing.assert_allclose(model.logits(images), expected, rtol=1e-4, atol=1e-5)
