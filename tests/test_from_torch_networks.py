"""`from_torch` on the networks of torchvision and of the studies: the same logits, the same losses in training."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import everybatch as eb
import modules_of_people as people
import torchvision_networks as vision
from everybatch._threads import torch_threads
from lab_modules import assert_same_logits, both, unsettle
from parity import ADAM, STEPS, Optimizer, assert_same
from random_networks import random_network
from test_parity import every_layer
from test_parity_networks import LARGE, SMALL, Case

# Adam's first steps follow the signs of the gradients: rounding that turns one shows in the third digit of a loss.
SGD: Optimizer = partial(torch.optim.SGD, lr=0.01)
BY_SGD: dict[str, Any] = {"optimizer": "sgd", "lr": 0.01, "kernels": "exact"}
SLOW = pytest.mark.slow


# ---- the studies -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [*SMALL.values(), *(pytest.param(case, marks=SLOW) for case in LARGE.values())])
def test_the_networks_of_the_studies_are_those_of_the_builders(case: Case) -> None:
    """What these train to is compared with PyTorch in test_parity_networks."""
    module = unsettle(case.module())
    model = eb.from_torch(module, (1, 28, 28))
    network = case.build()
    kept = [
        layer for layer in network.layers if not (layer.kind.startswith("Dropout") and layer.to_json().endswith("0.0}"))
    ]
    assert model.network.layers == kept
    assert_same_logits(model, module)


def without_dropout(network: eb.Network) -> list[dict[str, Any]]:
    """The tree without layers that drop nothing, which a module does not tell."""

    def kept(layers: list[dict[str, Any]]) -> list[dict[str, Any]]:
        inner = [
            layer | {name: kept(layer[name]) for name in ("body", "shortcut") if name in layer} for layer in layers
        ]
        return [layer for layer in inner if layer.get("p") != 0]

    return kept(json.loads(network.to_json())["layers"])


def test_every_layer() -> None:
    network, module = every_layer()
    model = eb.from_torch(unsettle(module), network.input_shape)
    assert without_dropout(network) == json.loads(model.network.to_json())["layers"]
    assert_same_logits(model, module)


# ---- torchvision -----------------------------------------------------------------------------------------------------


def pictures(side: int, steps: int, batch: int) -> eb.Dataset:
    """Glyphs in three channels, each glyph in the middle of so many pixels."""
    grey = eb.datasets.glyphs(train=steps * batch, test=6, seed=4)

    def framed(images: np.ndarray) -> np.ndarray:
        images = images.repeat(side // 28, 1).repeat(side // 28, 2)
        edge = (side - images.shape[1]) // 2
        images = np.pad(images, ((0, 0), (edge, edge), (edge, edge)))
        return np.stack([images, 255 - images, images // 2], axis=-1)

    return eb.Dataset(framed(grey.train_images), grey.train_labels, framed(grey.test_images), grey.test_labels)


VISION: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "resnet18": (partial(vision.resnet18, num_classes=10), 32),
    "resnet50": (partial(vision.resnet50, num_classes=10), 32),
    "vgg11_bn": (partial(vision.vgg11_bn, num_classes=10), 32),
    "alexnet": (partial(vision.alexnet, num_classes=10), 64),
}


@pytest.mark.parametrize(
    "name", ["resnet18", *(pytest.param(name, marks=SLOW) for name in VISION if name != "resnet18")]
)
def test_torchvisions_networks(name: str) -> None:
    build, side = VISION[name]
    module = unsettle(build())
    assert_same_logits(eb.from_torch(module, (3, side, side), share=True), module)


def narrow(module: nn.Module) -> None:
    """Leave 64 of torchvision's 4,096 hidden units, if there are any, whose weights would take most of the time."""
    classifier = getattr(module, "classifier", [])
    features = None
    for place, layer in enumerate(classifier):
        if isinstance(layer, nn.Linear):
            classifier[place] = nn.Linear(features or layer.in_features, min(64, layer.out_features))
            features = classifier[place].out_features


@pytest.mark.slow
@pytest.mark.parametrize(
    ("build", "side"),
    [
        (partial(vision.resnet18, num_classes=10), 32),
        (partial(vision.vgg11_bn, num_classes=10, dropout=0), 32),
        (partial(vision.alexnet, num_classes=10, dropout=0), 64),
    ],
    ids=["resnet18", "vgg11_bn", "alexnet"],
)
def test_torchvisions_networks_train_as_in_pytorch(build: Callable[[], nn.Module], side: int) -> None:
    torch.manual_seed(0)
    module = build()
    narrow(module)
    with torch_threads(1):
        run, plain = both(module, pictures(side, STEPS, 4), SGD, batch_size=4, **BY_SGD)
    assert run.steps == STEPS
    assert_same(run, plain)


def test_torchvision_itself() -> None:
    models = pytest.importorskip("torchvision.models")
    for name, (_, side) in VISION.items():
        module = unsettle(getattr(models, name)(num_classes=10))
        assert_same_logits(eb.from_torch(module, (3, side, side)), module)


# ---- modules of people -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "build",
    [
        people.BlitzNet,
        people.LeNetTanh,
        partial(people.CifarResNet, people.KuangliuBlock),
        partial(people.CifarResNet, people.PreActBlock),
        people.SumOfBranches,
    ],
    ids=["blitz", "LeNet", "resnet", "pre-activation", "branches"],
)
def test_they_train_as_in_pytorch(build: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    module = build()
    first = next(module.parameters())
    data = pictures(32, STEPS, 16)
    if first.shape[1] == 1:
        side = slice(2, 30) if isinstance(module, people.SumOfBranches) else slice(None)
        parts = [images[:, side, side, 0] for images in (data.train_images, data.test_images)]
        data = eb.Dataset(parts[0], data.train_labels, parts[1], data.test_labels)
    with torch_threads(1):  # which add up in the same order on both sides; a residual network makes much of a last bit
        run, plain = both(module, data, SGD, batch_size=16, **BY_SGD)
    assert run.steps == STEPS
    assert_same(run, plain)


def test_log_softmax_has_the_same_loss() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(784, 32), nn.Hardswish(), nn.Linear(32, 10), nn.LogSoftmax(1))
    run, plain = both(module, eb.datasets.glyphs(train=16 * STEPS, test=50), ADAM, batch_size=16, lr=1e-3)
    assert_same(run, plain)


# ---- any networks ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(60))
def test_property_what_is_exported_comes_back(seed: int) -> None:
    network = random_network(seed)
    module = unsettle(eb.export.torch_module(network.initialize(seed)))
    model = eb.from_torch(module, network.input_shape)
    assert_same_logits(model, module)
    again = eb.export.torch_module(model)
    assert [tuple(t.shape) for t in again.state_dict().values()] == [
        tuple(t.shape) for t in module.state_dict().values()
    ]
    assert_same_logits(eb.from_torch(again, network.input_shape), module)
