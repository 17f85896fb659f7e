"""Gates and squeeze-and-excitation (Hu et al. 2018) in every reader of a network, against plain PyTorch."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - as everyone writes it
from torch import Tensor, nn

import everybatch as eb
import reference
from lab_modules import assert_same_logits, unsettle
from lab_modules import both as both_of_module
from modules_of_people import WithMiddle
from parity import ADAM, assert_same, both

pytestmark = pytest.mark.usefixtures("two_threads")
GREY = (1, 28, 28)
SGD = partial(torch.optim.SGD, lr=0.02, momentum=0.9)
BY_SGD: dict[str, Any] = {"optimizer": "sgd", "lr": 0.02, "momentum": 0.9}


class TorchvisionSqueezeExcitation(nn.Module):
    """torchvision.ops.SqueezeExcitation of release 0.26, whose layers are convolutions of one pixel."""

    def __init__(
        self,
        input_channels: int,
        squeeze_channels: int,
        activation: Callable[..., nn.Module] = nn.ReLU,
        scale_activation: Callable[..., nn.Module] = nn.Sigmoid,
    ) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(input_channels, squeeze_channels, 1)
        self.fc2 = nn.Conv2d(squeeze_channels, input_channels, 1)
        self.activation = activation()
        self.scale_activation = scale_activation()

    def _scale(self, input: Tensor) -> Tensor:  # noqa: A002 - as it is there
        scale = self.avgpool(input)
        scale = self.fc1(scale)
        scale = self.activation(scale)
        scale = self.fc2(scale)
        return self.scale_activation(scale)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        scale = self._scale(input)
        return scale * input


def network() -> eb.Network:
    """Gates between layers, at the end of a block's body, and of vectors."""
    body = [eb.Conv2d(8, 8, 3, padding=1, bias=False), eb.BatchNorm2d(8), eb.SqueezeExcitation(8, 4)]
    return eb.Network(
        [
            eb.Conv2d(1, 8, 3, stride=2),
            eb.BatchNorm2d(8),
            eb.SqueezeExcitation(8, 2, "silu", "hardsigmoid"),
            eb.Activation("relu"),
            eb.Residual(body, activation="relu"),
            eb.SqueezeExcitation(8, 3),
            eb.BatchNorm2d(8),
            eb.MaxPool2d(3),
            eb.Gate([eb.AdaptiveAvgPool2d(1), eb.Conv2d(8, 4, 1), eb.Activation("relu"), eb.Conv2d(4, 8, 1)]),
            eb.Flatten(),
            eb.Linear(8 * 4 * 4, 12),
            eb.Gate([eb.Linear(12, 12), eb.Activation("sigmoid")]),
            eb.Linear(12, 10),
        ]
    )


def plain() -> nn.Sequential:
    """The same in plain PyTorch."""
    excite = reference.squeeze_excitation
    body = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), excite(8, 4))
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2),
        nn.BatchNorm2d(8),
        excite(8, 2, nn.SiLU, nn.Hardsigmoid),
        nn.ReLU(),
        reference.Block(body, activation=nn.ReLU()),
        excite(8, 3),
        nn.BatchNorm2d(8),
        nn.MaxPool2d(3),
        reference.Gate(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 4, 1), nn.ReLU(), nn.Conv2d(4, 8, 1))),
        nn.Flatten(),
        nn.Linear(8 * 4 * 4, 12),
        reference.Gate(nn.Sequential(nn.Linear(12, 12), nn.Sigmoid())),
        nn.Linear(12, 10),
    )


def settled() -> eb.Model:
    """A model whose batch norm matters."""
    model = network().initialize(seed=3, mean=[0.2], std=[0.4])
    generator = torch.Generator().manual_seed(0)
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and tensor.ndim == 1:
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + (0.5 if "var" in name else 0.1))
    return model


@torch.no_grad()
def expected_logits(model: eb.Model, images: np.ndarray) -> np.ndarray:
    module = plain()
    module.load_state_dict(model.state_dict())  # strict: every name and shape
    return module.eval()(reference.pixels(images, model.mean, model.std)).numpy()


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return eb.datasets.glyphs(train=1, test=130).test_images


# ---- measuring -------------------------------------------------------------------------------------------------------


def test_logits_are_those_of_evaluation_mode(images: np.ndarray) -> None:
    model = settled()
    np.testing.assert_allclose(model.logits(images), expected_logits(model, images), rtol=1e-4, atol=1e-5)


def test_the_loss_in_bfloat16_is_near(glyphs: eb.Dataset) -> None:
    model = settled()
    logits = torch.from_numpy(expected_logits(model, glyphs.test_images))
    expected = F.cross_entropy(logits, torch.tensor(glyphs.test_labels)).item()
    given = model.evaluate(glyphs, precision="bfloat16").loss
    assert given != model.evaluate(glyphs).loss
    assert given == pytest.approx(expected, rel=0.01)


# Zero times infinity is NaN, the sigmoid of infinity is 1 and that of minus infinity 0.
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 3e38])
@pytest.mark.parametrize(
    "name", ["0.bias", "2.body.3.bias", "4.body.2.body.1.weight", "5.body.3.weight", "8.body.3.bias"]
)
def test_what_is_not_finite_comes_out_as_in_pytorch(name: str, value: float, images: np.ndarray) -> None:
    model = settled()
    model.state_dict()[name].flatten()[:1].fill_(value)
    expected = expected_logits(model, images[:20])
    np.testing.assert_allclose(model.logits(images[:20]), expected, rtol=1e-3, atol=1e-4)


def test_a_gate_that_is_shut_and_one_that_is_open(images: np.ndarray) -> None:
    # sigmoid(-1000) is 0 and sigmoid(1000) is 1 in float32.
    model = settled()
    state = model.state_dict()
    state["5.body.3.weight"].zero_()
    state["5.body.3.bias"].copy_(torch.tensor([1000.0, -1000.0] * 4))
    logits = model.logits(images)
    np.testing.assert_allclose(logits, expected_logits(model, images), rtol=1e-4, atol=1e-5)
    state["6.running_mean"][1::2] += 3  # of what is shut: batch norm then shifts the map by a constant
    np.testing.assert_allclose(model.logits(images), expected_logits(model, images), rtol=1e-4, atol=1e-5)
    assert not np.allclose(model.logits(images), logits, atol=1e-3)


# ---- training --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kernels", "tolerance"), [("exact", 1e-5), ("fused", 1e-4)])
def test_twenty_steps_are_pytorchs(kernels: str, tolerance: float) -> None:
    data = eb.datasets.glyphs(train=20 * 16, test=60)
    run, losses = both(network(), plain(), data, SGD, batch_size=16, kernels=kernels, **BY_SGD)
    assert run.steps == 20
    assert_same(run, losses, tolerance)


def test_the_trained_weights_are_pytorchs() -> None:
    data, module = eb.datasets.glyphs(train=20 * 16, test=60), plain()
    run, _ = both(network(), module, data, SGD, batch_size=16, kernels="exact", **BY_SGD)
    state = module.state_dict()
    assert list(run.model.state_dict()) == list(state)
    for name, tensor in run.model.state_dict().items():
        torch.testing.assert_close(tensor, state[name], rtol=1e-4, atol=1e-5, msg=name)


def test_bfloat16_trains_alike() -> None:
    data = eb.datasets.glyphs(train=20 * 16, test=60)
    run = partial(eb.train, network(), data, batch_size=16, progress=False, device="cpu", **BY_SGD)
    np.testing.assert_allclose(run(precision="bfloat16").train_loss, run().train_loss, rtol=0.05)


def test_what_is_measured_on_the_way_is_the_models(glyphs: eb.Dataset) -> None:
    body = [eb.Dropout2d(0.2), *json_layers(eb.SqueezeExcitation(8, 2)), eb.Dropout(0.3)]
    layers = [eb.Conv2d(1, 8, 5, stride=3), eb.Gate(body), eb.Activation("relu"), eb.GlobalAvgPool(), eb.Linear(8, 10)]
    train = partial(eb.train, eb.Network(layers), glyphs, batch_size=40, progress=False, device="cpu", seed=5)
    run = train(record=("predictions",))
    logits = run.model.logits(glyphs.test_images)
    np.testing.assert_array_equal(run.predictions[-1], logits.argmax(1))
    loss = F.cross_entropy(torch.from_numpy(logits), torch.tensor(glyphs.test_labels)).item()
    assert run.test_loss[-1] == pytest.approx(loss, rel=1e-5)
    np.testing.assert_array_equal(train().train_loss, run.train_loss)  # masks follow the seed, those in a gate too


def json_layers(gate: eb.Layer) -> list[eb.Layer]:
    return [eb.Layer.from_json(json.dumps(layer)) for layer in json.loads(gate.to_json())["body"]]


def test_estimates_agree_with_complete_passes() -> None:
    data = eb.datasets.glyphs(train=640, test=600)
    train = partial(eb.train, network(), data, batch_size=16, progress=False, device="cpu", seed=5)
    exact, estimated = train(), train(tolerance=0.02)
    gap = np.abs(estimated.test_accuracy - exact.test_accuracy)
    assert np.mean(gap <= 0.02) >= 0.95  # what a tolerance promises of each measurement
    np.testing.assert_array_equal(estimated.train_loss, exact.train_loss)


# ---- files and other programs ----------------------------------------------------------------------------------------


@pytest.mark.filterwarnings(r"ignore:`torch\.jit\.load` is:DeprecationWarning")  # see eb.export.torchscript
def test_everything_comes_back(tmp_path: Path, images: np.ndarray) -> None:
    model = settled()
    logits = model.logits(images)
    assert eb.Network.from_json(model.network.to_json()) == model.network
    model.save(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(eb.Model.load(tmp_path / "model.safetensors").logits(images), logits)
    eb.export.torchscript(model, tmp_path / "model.pt")
    script = torch.jit.load(tmp_path / "model.pt")
    pixels = torch.from_numpy(images[:, None].astype(np.float32) / 255)
    with torch.no_grad():
        for count in (130, 1):  # another number of images than it was traced with
            np.testing.assert_allclose(script(pixels[:count]).numpy(), logits[:count], rtol=1e-4, atol=1e-5)
    module = eb.export.torch_module(model)
    assert list(module.state_dict()) == list(model.state_dict())
    again = eb.from_torch(module, GREY, mean=model.mean, std=model.std)
    read = [repr(layer).replace("AvgPool2d(4)", "AdaptiveAvgPool2d(1)") for layer in again.network.layers]
    assert read == [repr(layer) for layer in model.network.layers]  # a map of 4 x 4 to one pixel, in other words
    np.testing.assert_allclose(again.logits(images), logits, rtol=1e-5, atol=1e-6)


def test_names_are_those_of_the_layer_tree() -> None:
    state = (
        eb.Network([eb.Conv2d(1, 6, 3), eb.SqueezeExcitation(6, 2), eb.GlobalAvgPool(), eb.Linear(6, 2)])
        .initialize()
        .state_dict()
    )
    assert {name: tuple(tensor.shape) for name, tensor in state.items() if name.startswith("1.")} == {
        "1.body.1.weight": (3, 6),
        "1.body.1.bias": (3,),
        "1.body.3.weight": (6, 3),
        "1.body.3.bias": (6,),
    }


def test_the_summary_shows_what_is_within() -> None:
    lines = eb.networks.resnet(stages=(8, 16), squeeze_excitation=4).summary().splitlines()
    assert sum("Gate" in line and "(8, 7, 7)" in line for line in lines) == 2
    linear = [line.split() for line in lines if "Linear(16, 4)" in line.replace("body.", "")]
    assert [row[-1] for row in linear] == ["68", "68"]  # 16 * 4 + 4


# ---- from PyTorch ----------------------------------------------------------------------------------------------------


class Written(nn.Module):
    """Squeeze-and-excitation by hand: how the numbers are made, and how they are multiplied with the map."""

    def __init__(
        self, numbers: Callable[[Written, Tensor], Tensor], product: Callable[[Tensor, Tensor], Tensor]
    ) -> None:
        super().__init__()
        self.before = nn.Conv2d(16, 16, 3, padding=1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Sequential(nn.Linear(16, 4, bias=False), nn.ReLU(inplace=True), nn.Linear(4, 16), nn.Sigmoid())
        self.one, self.two = nn.Conv2d(16, 4, 1), nn.Conv2d(4, 16, 1)
        self.numbers, self.product = numbers, product

    def forward(self, x: Tensor) -> Tensor:
        x = self.before(x)
        return self.product(x, self.numbers(self, x))

    @property
    def kinds(self) -> list[str]:
        return ["GlobalAvgPool", "Linear", "Activation", "Linear", "Activation"]


def by_linear(self: Written, x: Tensor) -> Tensor:
    return self.fc(self.pool(x).flatten(1)).view(x.shape[0], x.shape[1], 1, 1)


def by_convolutions(self: Written, x: Tensor) -> Tensor:
    return torch.sigmoid(self.two(F.relu(self.one(x.mean((2, 3), keepdim=True)))))


def after_the_view(self: Written, x: Tensor) -> Tensor:
    b, c, _, _ = x.size()
    y = self.fc[:3](self.pool(x).view(b, c)).view(b, c, 1, 1)
    return F.dropout(F.hardsigmoid(y), 0.1, self.training)


NUMBERS: dict[str, Callable[[Written, Tensor], Tensor]] = {
    "linear": by_linear,
    "convolutions": by_convolutions,
    "mean": lambda self, x: self.fc(x.mean((2, 3)))[:, :, None, None],
    "unsqueeze": lambda self, x: self.fc(self.pool(x)[:, :, 0, 0]).unsqueeze(2).unsqueeze(-1),
    "pixels in a row": lambda self, x: self.fc(x.flatten(2).mean(-1))[..., None, None],
    "a pool of the map's size": lambda self, x: self.two(self.one(F.avg_pool2d(x, x.size()[2:])).relu()).sigmoid(),
    "maximum": lambda self, x: self.fc(F.adaptive_max_pool2d(x, 1).flatten(1)).reshape(len(x), -1, 1, 1),
    "after the view": after_the_view,
    "of its own gate": lambda self, x: self.fc((y := self.pool(x).flatten(1)) * y.sigmoid())[:, :, None, None],
}
PRODUCTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "times": lambda x, y: x * y,
    "turned": lambda x, y: y * x,
    "mul": torch.mul,
    "in place": lambda x, y: x.mul_(y),
    "by itself": lambda x, y: x.__imul__(y),
    "expand_as": lambda x, y: x * y.expand_as(x),
    "expand": lambda x, y: torch.multiply(y.expand(-1, -1, x.size(2), x.size(3)), x),
    "sigmoid after expand": lambda x, y: x * y.expand_as(x).sigmoid(),
    "in a sum": lambda x, y: x + x * y,
    "rectified": lambda x, y: F.relu(x * y),
}


@pytest.mark.parametrize("share", [False, True], ids=["copied", "shared"])
@pytest.mark.parametrize(
    ("numbers", "product"),
    [*((name, "times") for name in NUMBERS), *(("linear", name) for name in PRODUCTS), ("convolutions", "expand_as")],
)
def test_it_is_read_however_it_is_written(numbers: str, product: str, share: bool) -> None:
    torch.manual_seed(0)
    module = WithMiddle(Written(NUMBERS[numbers], PRODUCTS[product]))
    model = eb.from_torch(module, GREY, share=share)
    assert_same_logits(model, module)
    assert "Gate" in model.network.summary()


def test_what_is_read_is_squeeze_and_excitation() -> None:
    for number in ("linear", "mean", "unsqueeze", "pixels in a row"):
        model = eb.from_torch(WithMiddle(Written(NUMBERS[number], PRODUCTS["expand_as"])), GREY)
        (gate,) = [layer for layer in model.network.layers if layer.kind == "Gate"]
        expected = json.loads(eb.SqueezeExcitation(16, 4).to_json())
        expected["body"][1]["bias"] = False
        assert json.loads(gate.to_json()) == expected, number


@pytest.mark.parametrize("scale", [nn.Sigmoid, nn.Hardsigmoid])
def test_torchvisions_module(scale: Callable[[], nn.Module]) -> None:
    class Block(nn.Module):
        """As in MobileNetV3: expansion, depthwise, squeeze-and-excitation, projection."""

        def __init__(self) -> None:
            super().__init__()
            norm = partial(nn.BatchNorm2d, eps=0.001, momentum=0.01)
            self.block = nn.Sequential(
                nn.Sequential(nn.Conv2d(16, 32, 1, bias=False), norm(32), nn.Hardswish()),
                nn.Sequential(nn.Conv2d(32, 32, 5, padding=2, groups=32, bias=False), norm(32), nn.Hardswish()),
                TorchvisionSqueezeExcitation(32, 8, scale_activation=scale),
                nn.Sequential(nn.Conv2d(32, 16, 1, bias=False), norm(16)),
            )

        def forward(self, x: Tensor) -> Tensor:
            result = self.block(x)
            result += x
            return result

    torch.manual_seed(0)
    module = unsettle(WithMiddle(Block()))
    model = eb.from_torch(module, GREY)
    assert_same_logits(model, module)
    weights = {name: tensor for name, tensor in model.state_dict().items() if tuple(tensor.shape) == (8, 32, 1, 1)}
    assert [torch.equal(tensor, module.middle.block[2].fc1.weight) for tensor in weights.values()] == [True]


def test_torchvisions_module_trains_as_in_pytorch() -> None:
    torch.manual_seed(0)
    block = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), TorchvisionSqueezeExcitation(16, 4))
    data = eb.datasets.glyphs(train=20 * 16, test=60)
    run, losses = both_of_module(WithMiddle(block), data, ADAM, batch_size=16, lr=1e-3, kernels="exact")
    assert_same(run, losses, 1e-5)
