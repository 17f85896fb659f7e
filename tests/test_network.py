"""Networks as data: shapes, JSON, pickle, summary, and the errors that shape inference gives."""

from __future__ import annotations

import copy
import json
import pickle
import re

import pytest
import torch
from torch import nn

import everybatch as eb
from everybatch.errors import ArgumentError, ShapeError

LAYERS = [
    eb.Conv2d(4, 8, (3, 5), stride=2, padding=(1, 2), dilation=2, groups=4, bias=False),
    eb.Conv2d(1, 2, 3),
    eb.BatchNorm1d(7, eps=1e-3),
    eb.BatchNorm2d(8, eps=1e-3, momentum=0.2),
    eb.BatchNorm2d(3),
    eb.Activation("leaky_relu", negative_slope=0.25),
    eb.Activation("softplus"),
    eb.MaxPool2d(3, stride=2, padding=1),
    eb.AvgPool2d((2, 3)),
    eb.AdaptiveAvgPool2d((7, 6)),
    eb.AdaptiveAvgPool2d(1),
    eb.Activation("hardswish"),
    eb.GlobalAvgPool(),
    eb.GlobalMaxPool(),
    eb.Flatten(),
    eb.Linear(12, 10, bias=False),
    eb.Dropout(0.25),
    eb.Dropout2d(),
    eb.StochasticDepth(0.25),
    eb.Residual([eb.Conv2d(4, 8, 1), eb.BatchNorm2d(8)], shortcut=[eb.Conv2d(4, 8, 1)], activation="silu"),
    eb.Residual([eb.Residual([eb.Activation("tanh")], activation="gelu")]),
    eb.Residual([eb.Flatten()], activation=eb.Activation("leaky_relu", negative_slope=0.25)),
    eb.Gate([eb.AdaptiveAvgPool2d(1), eb.Residual([eb.Conv2d(4, 4, 1)]), eb.Activation("tanh")]),
    eb.SqueezeExcitation(24, 3, "silu", eb.Activation("hardsigmoid")),
]

# Functions that return layers of another kind.
MADE_OF_OTHERS = {"SqueezeExcitation"}


def kinds(layer: eb.Layer) -> str:
    return layer.kind


# ---- layers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", LAYERS, ids=kinds)
def test_layers_survive_json_pickle_copy_and_repr(layer: eb.Layer) -> None:
    assert eb.Layer.from_json(layer.to_json()) == layer
    assert json.loads(layer.to_json())["type"] == layer.kind
    assert pickle.loads(pickle.dumps(layer)) == layer
    assert copy.deepcopy(layer) == layer
    assert eval(repr(layer), vars(eb).copy()) == layer  # what is shown can be pasted back


def test_every_kind_of_layer_of_the_core_has_a_function() -> None:
    with pytest.raises(ArgumentError, match="expected one of") as unknown:
        eb.Layer.from_json('{"type": "?"}')
    listed = str(unknown.value).partition("expected one of")[2]
    assert sorted(re.findall("`(.+?)`", listed)) == sorted(set(eb.layers.__all__) - MADE_OF_OTHERS)


def test_layers_are_equal_by_value() -> None:
    assert eb.Conv2d(1, 2, 3) == eb.Conv2d(1, 2, (3, 3), stride=1)
    assert eb.Conv2d(1, 2, 3) != eb.Conv2d(1, 2, 3, bias=False)
    assert eb.MaxPool2d(2) == eb.MaxPool2d(2, stride=2) != eb.AvgPool2d(2)
    assert eb.Flatten() != "Flatten()"
    assert eb.Dropout() == eb.Dropout(0.5)  # PyTorch's default


def test_every_kind_is_covered_above() -> None:
    assert {layer.kind for layer in LAYERS} == set(eb.layers.__all__) - MADE_OF_OTHERS


def test_squeeze_and_excitation_is_a_gate() -> None:
    # Hu et al. 2018, section 3: pooling, a layer of C / r numbers with ReLU, one of C numbers with a sigmoid.
    body = [
        eb.GlobalAvgPool(), eb.Linear(40, 2), eb.Activation("relu"), eb.Linear(2, 40), eb.Activation("sigmoid"),
    ]  # fmt: skip
    assert eb.SqueezeExcitation(40) == eb.SqueezeExcitation(40, reduction=16) == eb.Gate(body)
    other = eb.SqueezeExcitation(8, 8, activation="gelu", scale_activation=eb.Activation("hardsigmoid"))
    assert json.loads(other.to_json())["body"][2::2] == [
        {"type": "Activation", "function": "gelu"},
        {"type": "Activation", "function": "hardsigmoid"},
    ]


# ---- networks ------------------------------------------------------------------------------------


def test_networks_survive_json_pickle_and_copy(tiny: eb.Network) -> None:
    for network in (tiny, eb.networks.resnet(), eb.networks.lenet5(in_channels=3)):
        same = eb.Network.from_json(network.to_json())
        assert same == network == pickle.loads(pickle.dumps(network)) == copy.deepcopy(network)
        assert (same.name, same.input_shape, same.layers) == (
            network.name,
            network.input_shape,
            network.layers,
        )
    assert tiny != eb.networks.lenet5()
    assert set(json.loads(tiny.to_json())) >= {"name", "input_shape", "layers"}


def test_a_network_can_be_built_anew_from_its_layers() -> None:
    network = eb.networks.resnet()
    assert eb.Network(network.layers, network.input_shape, network.name) == network
    assert eb.Network(tuple(network.layers), list(network.input_shape), name="resnet") == network


def test_sizes_are_pytorchs() -> None:
    layers = [
        eb.Conv2d(2, 4, (3, 5), stride=(2, 3), padding=(0, 2), dilation=(3, 1)),
        eb.AvgPool2d((3, 2), stride=2, padding=1),
        eb.MaxPool2d(2, stride=1),
    ]
    x = torch.zeros(1, 2, 37, 41)
    for layer in [
        nn.Conv2d(2, 4, (3, 5), stride=(2, 3), padding=(0, 2), dilation=(3, 1)),
        nn.AvgPool2d((3, 2), stride=2, padding=1),
        nn.MaxPool2d(2, stride=1),
    ]:
        x = layer(x)
    features = x.numel()
    network = eb.Network([*layers, eb.Flatten(), eb.Linear(features, 3)], input_shape=(2, 37, 41))
    shape = str(tuple(x.shape[1:]))
    assert shape in network.summary()
    with pytest.raises(ShapeError, match=re.escape(f"({features},)")):
        eb.Network([*layers, eb.Flatten(), eb.Linear(features + 1, 3)], input_shape=(2, 37, 41))


def test_summary_lists_every_layer_with_shape_and_parameters() -> None:
    text = eb.networks.resnet().summary()
    lines = text.splitlines()
    assert "resnet" in lines[0]
    assert "(1, 28, 28)" in lines[0]
    stem = next(line for line in lines if "Conv2d(1, 64, 7" in line)
    assert "(64, 14, 14)" in stem
    assert "3,136" in stem  # 7 * 7 * 64
    assert sum("Residual" in line for line in lines) == 6
    assert re.search(r"shortcut\.0 +Conv2d\(64, 128, 1, stride=2, bias=False\) +\(128, 4, 4\) +8,192", text)
    assert "2,778,314" in lines[-1]
    # Batch norm's statistics: a mean and a variance for each channel of the 13 batch norms.
    statistics = 2 * (64 + 4 * 64 + 4 * 128 + 4 * 256)
    assert f"{statistics:,}" in lines[-1]
    assert f"{2_778_314 + statistics:,}" in lines[-1]


def test_repr_tells_name_input_and_size(tiny: eb.Network) -> None:
    assert "tiny" in repr(tiny)
    assert "(1, 28, 28)" in repr(tiny)
    assert str(tiny.num_parameters) in repr(tiny)


def test_attributes_cannot_be_set(tiny: eb.Network) -> None:
    with pytest.raises(AttributeError):
        tiny.name = "other"  # type: ignore[misc]
    tiny.layers.clear()  # a copy
    assert len(tiny.layers) == 6


# ---- errors of shapes: the layer, what arrives, what it needs ------------------------------------

CHAIN = [eb.Conv2d(1, 8, 3), eb.MaxPool2d(2), eb.Flatten()]


@pytest.mark.parametrize(
    ("layers", "parts"),
    [
        ([*CHAIN, eb.Linear(1000, 10)], ["3 (Linear)", "(1352,)", "(1000,)", "in_features=1352"]),
        ([eb.Conv2d(3, 8, 3)], ["0 (Conv2d)", "(1, 28, 28)", "(3, height, width)", "in_channels=1"]),
        ([eb.Linear(784, 10)], ["0 (Linear)", "(1, 28, 28)", "(784,)", "Flatten"]),
        ([eb.Conv2d(1, 8, 3), eb.BatchNorm2d(4)], ["1 (BatchNorm2d)", "(8, 26, 26)", "(4, height, width)"]),
        ([eb.Flatten(), eb.Conv2d(1, 8, 3)], ["1 (Conv2d)", "(784,)", "image"]),
        ([eb.Flatten(), eb.MaxPool2d(2)], ["1 (MaxPool2d)", "(784,)", "image"]),
        ([eb.Flatten(), eb.BatchNorm2d(784)], ["1 (BatchNorm2d)", "(784,)", "image"]),
        ([eb.BatchNorm1d(1)], ["0 (BatchNorm1d)", "(1, 28, 28)", "(1,)", "BatchNorm2d"]),
        ([eb.Flatten(), eb.BatchNorm1d(10)], ["1 (BatchNorm1d)", "(784,)", "(10,)", "num_features=784"]),
        ([eb.GlobalAvgPool(), eb.GlobalMaxPool()], ["1 (GlobalMaxPool)", "(1,)", "image"]),
        ([eb.Flatten(), eb.Dropout2d()], ["1 (Dropout2d)", "(784,)", "image"]),
        ([eb.Conv2d(1, 8, 29)], ["0 (Conv2d)", "(1, 28, 28)", "29 pixels in height"]),
        ([eb.AvgPool2d((2, 30))], ["0 (AvgPool2d)", "(1, 28, 28)", "30 pixels in width"]),
        (
            [eb.Residual([eb.Conv2d(1, 8, 3, padding=1)])],
            ["0 (Residual)", "(8, 28, 28) and (1, 28, 28)", "shortcut"],
        ),
        (
            [eb.Residual([eb.Conv2d(1, 8, 3)], shortcut=[eb.Conv2d(1, 8, 1)])],
            ["0 (Residual)", "(8, 26, 26) and (8, 28, 28)"],
        ),
        (
            [eb.Residual([eb.Activation("relu"), eb.Residual([eb.Conv2d(2, 2, 1)])])],
            ["0.body.1.body.0 (Conv2d)", "(1, 28, 28)", "(2, height, width)"],
        ),
        (
            [eb.Conv2d(1, 8, 3), eb.SqueezeExcitation(4, 2)],
            ["1.body.1 (Linear)", "(8,)", "(4,)", "in_features=8"],
        ),
        (
            [eb.Conv2d(1, 8, 3), eb.Gate([eb.GlobalAvgPool(), eb.Linear(8, 4)])],
            ["1 (Gate)", "(8, 26, 26)", "one number for each of 8 channels", "it gives (4,)", "Linear(..., 8)"],
        ),
        (
            [eb.Residual([eb.Conv2d(1, 8, 3), eb.Gate([eb.Conv2d(8, 1, 1), eb.Activation("sigmoid")])])],
            ["0.body.1 (Gate)", "(8, 26, 26)", "it gives (1, 26, 26)", "GlobalAvgPool()"],
        ),
        ([eb.Flatten(), eb.SqueezeExcitation(784)], ["1.body.0 (GlobalAvgPool)", "(784,)", "image"]),
        ([eb.Conv2d(1, 10, 3)], ["0 (Conv2d", "(10, 26, 26)", "logits"]),
        ([eb.Flatten(), eb.Linear(784, 1)], ["1 (Linear", "(1,)", "at least two"]),
    ],
)
def test_a_layer_that_does_not_fit_is_named(layers: list[eb.Layer], parts: list[str]) -> None:
    with pytest.raises(ShapeError) as caught:
        eb.Network(layers, name="mine")
    for part in ["'mine'", *parts]:
        assert part.replace("'", '"') in str(caught.value).replace("'", '"')


def test_json_is_checked_like_layers_given_in_code(tiny: eb.Network) -> None:
    text = tiny.to_json()
    with pytest.raises(ArgumentError, match="out_features is 0"):
        eb.Network.from_json(text.replace('"out_features":10', '"out_features":0'))
    with pytest.raises(ShapeError, match=r"5 \(Linear\)"):
        eb.Network.from_json(text.replace('"in_features":288', '"in_features":289'))
    with pytest.raises(ArgumentError, match="not a network"):
        eb.Network.from_json(text[:-1])
    with pytest.raises(ArgumentError, match="unknown field"):
        eb.Network.from_json(text.replace('"bias"', '"biased"'))
