"""The builders: parameter counts, what each option changes, other images, and the errors of what does not fit."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from torch import nn

import everybatch as eb
import reference
import reference_networks as plain
from everybatch.errors import ArgumentError, ShapeError

NAMES = list(eb.networks.__all__)
# Options that make each network small, so that a test can build and train it in no time.
NARROW: dict[str, dict[str, Any]] = {
    "alexnet": {"widths": 4, "hidden": 8},
    "convnet": {"widths": 4, "hidden": (8, 6)},
    "deep_resnet": {"widths": (4, 4, 6, 8)},
    "kernel_net": {"widths": 4, "hidden": 8},
    "lenet5": {},
    "resnet": {"stages": (4, 8)},
    "resnet18": {"widths": 4},
    "resnet34": {"widths": (4, 4, 6, 8)},
    "vgg11": {"widths": 4, "hidden": 8},
    "vgg13": {"widths": 4, "hidden": 8},
    "wide_resnet": {"width": 1, "stem_channels": 4},
}


def build(name: str, **options: Any) -> eb.Network:
    network: eb.Network = getattr(eb.networks, name)(**options)
    return network


def narrow(name: str, **options: Any) -> eb.Network:
    return build(name, **NARROW[name] | options)


def tree(network: eb.Network) -> list[dict[str, Any]]:
    """Every layer as a dict, those in residual blocks after their block, in forward order."""
    flat: list[dict[str, Any]] = []

    def visit(layers: list[dict[str, Any]]) -> None:
        for layer in layers:
            flat.append(layer)
            visit(layer.get("body", []))
            visit(layer.get("shortcut", []))

    visit(json.loads(network.to_json())["layers"])
    return flat


def kinds(network: eb.Network) -> list[str]:
    return [layer["type"] for layer in tree(network)]


def of_kind(network: eb.Network, kind: str) -> list[dict[str, Any]]:
    return [layer for layer in tree(network) if layer["type"] == kind]


# ---- parameter counts: published, and those of the same network in PyTorch -----------------------


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


# The numbers are those that the studies give; None where they give none.
COUNTS: dict[str, tuple[dict[str, Any], int | None, Callable[[], nn.Module]]] = {
    "lenet5": ({}, 61_990, reference.lenet5),
    "alexnet": ({}, 28_513_994, plain.alexnet),
    "vgg11": ({}, 128_806_154, partial(plain.vgg, plain.VGG11)),
    "vgg13": ({}, None, partial(plain.vgg, plain.VGG13)),
    "resnet18": ({}, 11_172_810, plain.resnet18),
    "resnet34": ({}, None, plain.resnet34),
    "deep_resnet": ({}, 21_280_970, plain.deep_resnet),
    "deep_resnet, 7x7": ({"stem_kernel_size": 7}, None, partial(plain.deep_resnet, 7)),
    "deep_resnet, norm": ({"block_norm": True}, None, partial(plain.deep_resnet, block_norm=True)),
    "wide_resnet": ({"depth": 16, "width": 4}, 2_748_602, plain.wide_resnet),
    "wide_resnet, pre-activation": ({"pre_activation": True}, 2_748_602, plain.pre_activation_wide_resnet),
    "convnet": ({}, 26_585_098, plain.convnet),
    "resnet": ({}, 2_778_314, reference.resnet),
    "resnet, 4 stages": ({"stages": (64, 64, 128, 256)}, None, partial(reference.resnet, (64, 64, 128, 256))),
    "resnet, 8 stages": (
        {"stages": (64, 64, 64, 128, 128, 256, 256, 256)},
        None,
        partial(reference.resnet, (64, 64, 64, 128, 128, 256, 256, 256)),
    ),
}


@pytest.mark.parametrize("case", COUNTS)
def test_parameters_are_those_published_and_those_of_pytorch(case: str) -> None:
    options, published, module = COUNTS[case]
    network = build(case.partition(",")[0], **options)
    assert network.num_parameters == count(module())
    assert published in (None, network.num_parameters)


@pytest.mark.parametrize(("kernel_size", "published"), [(3, 1_219_530), (5, 1_252_298)])
def test_kernel_net_counts_its_statistics_as_the_study_does(kernel_size: int, published: int) -> None:
    network, module = eb.networks.kernel_net(kernel_size=kernel_size), plain.kernel_net(kernel_size)
    statistics = sum(b.numel() for name, b in module.named_buffers() if "running" in name)
    assert network.num_parameters + statistics == published
    assert f"Total: {published:,}" in network.summary()
    assert network.num_parameters == count(module)


# torchvision's models for 1,000 classes have so many parameters, by its documentation; each class more or less changes
# the last layer's weights and bias.
TORCHVISION = {
    "vgg11": ({"pools": 5}, 132_863_336, 4097),
    "vgg13": ({"pools": 5}, 133_047_848, 4097),
    "resnet18": ({"stem_kernel_size": 7, "stem_stride": 2, "stem_pool": True}, 11_689_512, 513),
    "resnet34": ({"stem_kernel_size": 7, "stem_stride": 2, "stem_pool": True}, 21_797_672, 513),
}


@pytest.mark.parametrize("name", TORCHVISION)
def test_the_originals_for_photographs_have_torchvisions_parameters(name: str) -> None:
    options, thousand, per_class = TORCHVISION[name]
    network = build(name, in_channels=3, num_classes=200, input_size=224, **options)
    assert network.num_parameters == thousand - 800 * per_class
    assert "(512, 7, 7)" in network.summary()


def test_resnets_have_pytorchs_tensors_in_pytorchs_order() -> None:
    stages = (64, 64, 128, 256)
    state = eb.networks.resnet(stages=stages).initialize(0).state_dict()
    expected = reference.resnet(stages).state_dict()
    assert {k: v.shape for k, v in state.items()} == {k: v.shape for k, v in expected.items()}
    assert list(state) == list(expected)


def test_lenet5_has_as_many_parameters_as_published() -> None:
    assert eb.networks.lenet5(batch_norm=False).num_parameters == 61_706
    assert eb.networks.lenet5(in_channels=3, num_classes=7).num_parameters == count(reference.lenet5(7, 3))


# ---- options -------------------------------------------------------------------------------------


def test_every_builder_has_the_common_options_as_keywords() -> None:
    for name in NAMES:
        parameters = inspect.signature(getattr(eb.networks, name)).parameters
        assert {p.kind for p in parameters.values()} == {inspect.Parameter.KEYWORD_ONLY}, name
        assert {"activation", "dropout", "batch_norm", "in_channels", "num_classes", "input_size"} <= set(parameters)


@pytest.mark.parametrize("name", NAMES)
def test_other_images_and_classes(name: str) -> None:
    size = (31, 29) if name == "lenet5" else (32, 40)
    network = narrow(name, in_channels=3, num_classes=7, input_size=size)
    assert (network.name, network.input_shape, network.num_classes) == (name, (3, *size), 7)
    assert eb.Network.from_json(network.to_json()) == network


@pytest.mark.parametrize("name", NAMES)
def test_activations_go_by_position_and_repeat(name: str) -> None:
    mixed = tree(narrow(name, activation=["tanh", "gelu", "silu"]))
    # A block's own activation comes after those in its body, and shortcuts have none.
    functions: list[str] = []
    pending: list[tuple[int, str]] = []
    for index, layer in enumerate(mixed):
        while pending and pending[0][0] <= index:
            functions.append(pending.pop(0)[1])
        if layer["type"] == "Residual" and layer["activation"] is not None:
            inside = len(layer["body"]) + len(layer["shortcut"])
            pending.append((index + 1 + inside, layer["activation"]["function"]))
        elif layer["type"] == "Activation":
            functions.append(layer["function"])
    assert len(functions) > 3
    assert functions == [["tanh", "gelu", "silu"][index % 3] for index in range(len(functions))]


@pytest.mark.parametrize("name", NAMES)
def test_batch_norm_can_be_had_or_not(name: str) -> None:
    with_norm, without = (set(kinds(narrow(name, batch_norm=wanted))) for wanted in (True, False))
    assert with_norm - without == {"BatchNorm2d"} | ({"BatchNorm1d"} if name == "kernel_net" else set())
    assert all(conv["bias"] for conv in of_kind(narrow(name, batch_norm=False), "Conv2d"))  # nothing else shifts


# The number of dropout layers, by the papers and studies: one before each hidden dense layer (AlexNet), or after each
# (VGG), or one in each of the 6 blocks of WRN-16, or one before the last layer.
DROPOUTS = {"alexnet": 2, "vgg11": 2, "vgg13": 2, "convnet": 2, "wide_resnet": 6}


@pytest.mark.parametrize("name", NAMES)
def test_dropout_can_be_had_or_not(name: str) -> None:
    assert "Dropout" not in kinds(narrow(name, dropout=0))
    layers = of_kind(narrow(name, dropout=0.25), "Dropout")
    assert [layer["p"] for layer in layers] == [0.25] * DROPOUTS.get(name, 1)


def test_where_dropout_lies() -> None:
    tail = ["Flatten", "Dropout", "Linear", "Activation", "Dropout", "Linear", "Activation", "Linear"]
    assert kinds(eb.networks.alexnet())[-8:] == tail
    tail = ["Flatten", "Linear", "Activation", "Dropout", "Linear", "Activation", "Dropout", "Linear"]
    assert kinds(eb.networks.vgg11())[-8:] == tail
    assert kinds(narrow("convnet", dropout=0.5))[-8:] == tail
    assert kinds(eb.networks.deep_resnet())[-3:] == ["GlobalAvgPool", "Dropout", "Linear"]
    for pre_activation in (False, True):
        network = narrow("wide_resnet", dropout=0.3, pre_activation=pre_activation)
        for block in of_kind(network, "Residual"):
            body = [layer["type"] for layer in block["body"]]
            first, second = (index for index, kind in enumerate(body) if kind == "Conv2d")
            assert first < body.index("Dropout") < second


@pytest.mark.parametrize("name", [name for name in NAMES if name != "lenet5"])
def test_kernel_size_is_that_of_the_convolutions(name: str) -> None:
    sizes = {conv["kernel_size"][0] for conv in of_kind(narrow(name, kernel_size=5), "Conv2d")}
    # The first convolution has a size of its own in some networks, projections are 1x1, and kernel_net has 3x3
    # convolutions outside its block.
    assert 5 in sizes
    assert sizes <= {5, 7 if name == "resnet" else 3, 1}
    with pytest.raises(ArgumentError, match=r"kernel_size is 4.*odd"):
        narrow(name, kernel_size=4)


def test_block_norm_follows_every_block() -> None:
    for name in ("resnet", "resnet18", "resnet34", "deep_resnet"):
        top = [layer.kind for layer in narrow(name, block_norm=True).layers]
        after = {top[index + 1] for index, kind in enumerate(top) if kind == "Residual"}
        assert after == {"BatchNorm2d"}, name
        assert top.count("Residual") == {"resnet": 4, "resnet18": 8}.get(name, 16)


@pytest.mark.parametrize("name", ["resnet", "resnet18", "resnet34", "deep_resnet", "wide_resnet"])
def test_squeeze_and_excitation_ends_every_body(name: str) -> None:
    # Hu et al. 2018, figure 3: after the last layer of a block's body, before the sum.
    for options in [{}, {"pre_activation": True}] if name == "wide_resnet" else [{}]:
        plain, network = narrow(name, **options), narrow(name, squeeze_excitation=2, **options)
        assert narrow(name, squeeze_excitation=None, **options) == plain
        blocks = list(zip(of_kind(plain, "Residual"), of_kind(network, "Residual"), strict=True))
        assert len(blocks) >= 4
        for before, block in blocks:
            width = [layer for layer in block["body"] if layer["type"] == "Conv2d"][-1]["out_channels"]
            gate = json.loads(eb.SqueezeExcitation(width, 2).to_json())
            assert block == before | {"body": [*before["body"], gate]}


def test_deep_resnet_is_that_of_the_study() -> None:
    top = eb.networks.deep_resnet().layers
    stem = [
        eb.Conv2d(1, 64, 3, padding=1, bias=False),
        eb.BatchNorm2d(64),
        eb.Activation("leaky_relu", negative_slope=0.01),
        eb.MaxPool2d(3, stride=2, padding=1),
    ]
    assert top[:4] == stem
    assert top[-2] == eb.Dropout(0.3)


def test_vgg_pools_after_the_first_stages() -> None:
    for pools, last in ((0, 28), (1, 14), (2, 7), (4, 1)):
        network = narrow("vgg11", pools=pools)
        assert kinds(network).count("MaxPool2d") == pools
        assert f"(4, {last}, {last})" in network.summary()


def test_wide_resnets_of_other_depths_and_widths() -> None:
    network = eb.networks.wide_resnet(depth=22, width=2, stem_channels=8)
    assert kinds(network).count("Residual") == 9
    assert [conv["out_channels"] for conv in of_kind(network, "Conv2d")][-1] == 8 * 2 * 4
    # Zagoruyko & Komodakis 2016, table 4: WRN-16-8 has 11.0M parameters for 32x32 colour images.
    wide = eb.networks.wide_resnet(width=8, in_channels=3, pre_activation=True, input_size=32)
    assert round(wide.num_parameters / 1e6, 1) == 11.0


def test_builders_follow_their_options() -> None:
    small = eb.networks.resnet(
        stages=(8, 16),
        blocks=(1, 2),
        stem_channels=4,
        stem_kernel_size=3,
        stem_stride=1,
        stem_pool=False,
        kernel_size=5,
        activation=["softplus", "relu"],
        shortcut="projection_bn",
        dropout=0.3,
        last_pool="avg",
        in_channels=3,
        num_classes=5,
        input_size=(20, 24),
    )
    assert (small.input_shape, small.num_classes) == ((3, 20, 24), 5)
    assert [layer.kind for layer in small.layers] == [
        "Conv2d", "BatchNorm2d", "Activation", "Residual", "Residual", "Residual", "GlobalAvgPool", "Dropout", "Linear",
    ]  # fmt: skip
    first, second = (json.loads(layer.to_json()) for layer in small.layers[3:5])
    assert [layer["type"] for layer in first["shortcut"]] == ["Conv2d", "BatchNorm2d"]
    assert first["body"][0]["kernel_size"] == [5, 5]
    assert first["body"][0]["stride"] == [1, 1]
    assert second["body"][0]["stride"] == [2, 2]
    # By position: the stem's, then each block's inner and outer one.
    assert json.loads(small.layers[2].to_json())["function"] == "softplus"
    assert (first["body"][2]["function"], first["activation"]["function"]) == ("relu", "softplus")
    assert (second["body"][2]["function"], second["activation"]["function"]) == ("relu", "softplus")
    avg = eb.networks.lenet5(pool="avg", activation=("tanh", "sigmoid"), dropout=0.2, input_size=(29, 31))
    assert [layer.kind for layer in avg.layers].count("AvgPool2d") == 2
    assert [json.loads(x.to_json())["function"] for x in avg.layers if x.kind == "Activation"] == [
        "tanh", "sigmoid", "tanh", "sigmoid",
    ]  # fmt: skip
    assert avg.layers[-2] == eb.Dropout(0.2)


@pytest.mark.parametrize("name", NAMES)
def test_every_network_trains_and_is_measured(name: str, quick: Callable[..., eb.Run]) -> None:
    run = quick(narrow(name, dropout=0.25))
    assert run.steps == 5
    assert run.test_loss.shape == (6,)
    assert run.train_loss.max() < 10  # about ln 10 at the start


# ---- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "parts"),
    [
        # 28 -> 7 by the original's first convolution, -> 3 -> 1 by pooling; the third pooling needs two pixels.
        (
            "alexnet",
            {"stem_kernel_size": 11, "stem_stride": 4},
            ["12 (MaxPool2d)", "(256, 1, 1)", "at least 2 pixels in height"],
        ),
        ("alexnet", {"input_size": (28, 7)}, ["12 (MaxPool2d)", "(256, 7, 1)", "at least 2 pixels in width"]),
        ("vgg11", {"pools": 5}, ["20 (MaxPool2d)", "(512, 1, 1)", "at least 2 pixels"]),
        ("vgg13", {"pools": 5}, ["24 (MaxPool2d)", "(512, 1, 1)", "at least 2 pixels"]),
        ("convnet", {"input_size": 3}, ["7 (MaxPool2d)", "(128, 1, 1)", "at least 2 pixels"]),
        ("kernel_net", {"input_size": 4}, ["4 (Conv2d)", "(32, 2, 2)", "at least 3 pixels"]),
        ("lenet5", {"input_size": 32}, ["(Linear)", "(480,)", "(120,)"]),
    ],
)
def test_images_that_do_not_fit_name_the_layer_and_both_shapes(
    name: str, options: dict[str, Any], parts: list[str]
) -> None:
    with pytest.raises(ShapeError) as caught:
        build(name, **options)
    for part in [f'"{name}"', *parts]:
        assert part in str(caught.value)


def test_the_originals_first_convolution_fits_larger_images() -> None:
    assert eb.networks.alexnet(stem_kernel_size=11, stem_stride=4, input_size=29).num_classes == 10


@pytest.mark.parametrize(
    ("name", "options", "error", "match"),
    [
        ("alexnet", {"widths": (8, 8)}, ArgumentError, "widths has 2 entries.*5"),
        ("alexnet", {"hidden": ()}, ArgumentError, "hidden has 0 entries.*2"),
        ("alexnet", {"stem_stride": 0}, ArgumentError, "stride is 0"),
        ("alexnet", {"stem_kernel_size": 2}, ArgumentError, "stem_kernel_size is 2.*odd"),
        ("alexnet", {"dropout": 1.0}, ArgumentError, "p is 1"),
        ("vgg11", {"pools": 6}, ArgumentError, "pools is 6"),
        ("vgg11", {"widths": "wide"}, TypeError, "widths"),
        ("vgg13", {"pools": 1.5}, TypeError, "pools"),
        ("resnet18", {"widths": (8, 8, 8)}, ArgumentError, "widths has 3 entries.*4"),
        ("resnet34", {"activation": []}, ArgumentError, "activation is an empty list"),
        ("deep_resnet", {"activation": "leaky"}, ArgumentError, 'Did you mean "leaky_relu"'),
        ("kernel_net", {"hidden": (8, 8)}, TypeError, "hidden"),
        ("kernel_net", {"kernel_size": 0}, ArgumentError, "kernel_size is 0"),
        ("convnet", {"num_classes": 10_001}, ArgumentError, "10000"),
        ("convnet", {"in_channels": 0}, ArgumentError, "input_shape"),
        ("convnet", {"widths": 2**70}, ArgumentError, "1180591620717411303424"),
        ("wide_resnet", {"depth": 18}, ArgumentError, r"depth is 18.*6n \+ 4.*16"),
        ("wide_resnet", {"depth": -2}, ArgumentError, "depth is -2"),
        ("wide_resnet", {"width": 0}, ArgumentError, "width is 0"),
        ("wide_resnet", {"dropout": float("nan")}, ArgumentError, "(?i)p is nan"),
    ],
)
def test_wrong_options(name: str, options: dict[str, Any], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        build(name, **options)


def test_a_single_image_has_no_variance_in_a_vector(quick: Callable[..., eb.Run]) -> None:
    # 130 images in batches of 43 leave one.
    with pytest.raises(ArgumentError, match=r"last batch.*11 \(BatchNorm1d\).*kernel_net.*batch_size"):
        quick(narrow("kernel_net"), batch_size=43)
