"""Models for other programs: what they compute there equals `Model.logits`, which the Rust core computes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

import everybatch as eb
import reference
from everybatch.errors import ArgumentError
from everybatch.export._onnx_graph import Graph
from everybatch.export._torch_module import _modules
from random_networks import ACTIVATIONS
from test_parity import every_layer

Array = np.ndarray

NETWORKS: dict[str, Callable[[], eb.Network]] = {
    "lenet5": eb.networks.lenet5,
    "resnet": lambda: eb.networks.resnet(stages=[4, 8], blocks=2, dropout=0.2),
    "resnet, average": lambda: eb.networks.resnet(stages=[4], blocks=1, last_pool="avg"),
    "every layer": lambda: every_layer()[0],
    "adaptive pool, more activations": lambda: adaptive(),
}


def adaptive() -> eb.Network:
    """Pooling to larger and smaller maps, in windows that overlap, and activations that no other network has."""
    more = ("elu", "selu", "mish", "hardswish", "relu6", "hardsigmoid")
    elu, selu, mish, hardswish, relu6, hardsigmoid = (eb.Activation(name) for name in more)
    return eb.Network(
        [
            eb.Conv2d(1, 6, (3, 5), stride=2, dilation=2),
            elu,
            eb.AdaptiveAvgPool2d((5, 20)),
            eb.Residual(
                [eb.Conv2d(6, 6, 3, padding=1), selu, eb.AdaptiveAvgPool2d((3, 8))], [eb.MaxPool2d((3, 6), (1, 2))]
            ),
            mish,
            eb.Conv2d(6, 6, 1),
            hardswish,
            eb.AdaptiveAvgPool2d(2),
            relu6,
            eb.Flatten(),
            eb.Linear(24, 20),
            hardsigmoid,
            eb.Linear(20, 10),
        ]
    )


def settled(network: eb.Network) -> eb.Model:
    """Return a model whose batch norm and normalisation matter: statistics and scales far from 0 and 1."""
    channels = network.input_shape[0]
    model = network.initialize(seed=1, mean=[0.1, 0.2, 0.3][:channels], std=[0.3, 0.4, 0.5][:channels])
    generator = torch.Generator().manual_seed(0)
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and tensor.ndim == 1:
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + (0.5 if "var" in name else 0.1))
    return model


def pictures(model: eb.Model, count: int) -> Array:
    """Return images (N, H, W) or (N, H, W, C) uint8."""
    channels, height, width = model.network.input_shape
    shape = (count, height, width) if channels == 1 else (count, height, width, channels)
    return np.random.default_rng(count).integers(0, 256, shape, dtype=np.uint8)


def pixels(images: Array) -> Array:
    """Return the same as (N, C, H, W) float32 in [0, 1]."""
    images = images[:, None] if images.ndim == 3 else np.moveaxis(images, -1, 1)
    return np.ascontiguousarray(images, dtype=np.float32) / 255


def assert_close(given: Array, expected: Array) -> None:
    assert given.dtype == np.float32
    assert np.ptp(expected) > 0.01  # or equality would mean little
    np.testing.assert_allclose(given, expected, rtol=1e-5, atol=1e-5)


def run_onnx(path: Path, images: Array) -> Array:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"images": images})
    return logits


def compute(module: nn.Module, images: Array) -> Array:
    with torch.no_grad():
        return module(torch.from_numpy(images)).numpy()


# ---- PyTorch ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
def test_torch_module_gives_the_models_logits(name: str) -> None:
    model = settled(NETWORKS[name]())
    images = pictures(model, 7)
    module = eb.export.torch_module(model)
    mean, std = (torch.tensor(values).reshape(1, -1, 1, 1) for values in (model.mean, model.std))
    normalised = ((torch.from_numpy(pixels(images)) - mean) / std).numpy()
    assert_close(compute(module, normalised), model.logits(images))
    from_pixels = eb.export.torch_module(model, normalize=True)
    assert_close(compute(from_pixels, pixels(images)), model.logits(images))


def test_torch_module_gives_the_logits_of_a_trained_model(quick: Callable[..., eb.Run], glyphs: eb.Dataset) -> None:
    model = quick(lr=0.01).model
    module = eb.export.torch_module(model, normalize=True)
    assert_close(compute(module, pixels(glyphs.test_images)), model.logits(glyphs.test_images))


@pytest.mark.parametrize("normalize", [False, True])
def test_the_state_dict_has_the_models_names_and_values(normalize: bool) -> None:
    model = settled(NETWORKS["every layer"]())
    state = eb.export.torch_module(model, normalize=normalize).state_dict()
    assert list(state) == list(model.state_dict())
    for name, tensor in model.state_dict().items():
        assert torch.equal(state[name], tensor), name
    every_layer()[1].load_state_dict(state)  # the module of plain PyTorch; strict


def test_the_module_is_of_pytorchs_own_layers_and_ready_to_use() -> None:
    module = eb.export.torch_module(eb.networks.lenet5(dropout=0.5).initialize())
    assert isinstance(module, nn.Sequential)
    assert {type(layer).__module__.split(".")[0] for layer in module} == {"torch"}
    assert not any(part.training for part in module.modules())
    assert all(weight.requires_grad for weight in module.parameters())
    module.train()(torch.rand(2, 1, 28, 28)).sum().backward()
    assert all(weight.grad is not None for weight in module.parameters())


def test_the_module_shares_nothing_with_the_model() -> None:
    model = eb.networks.lenet5().initialize()
    module = eb.export.torch_module(model)
    before = model.state_dict()["0.weight"].clone()
    with torch.no_grad():
        for weight in module.parameters():
            weight.zero_()
    assert torch.equal(model.state_dict()["0.weight"], before)


def test_torchs_random_numbers_and_settings_stay_and_do_not_matter() -> None:
    model = settled(NETWORKS["lenet5"]())
    images = pictures(model, 2)
    before = torch.get_rng_state()
    with torch.inference_mode(), torch.device("meta"):
        module = eb.export.torch_module(model, normalize=True)
    assert torch.equal(torch.get_rng_state(), before)
    assert not any(weight.is_inference() for weight in module.parameters())
    assert_close(compute(module, pixels(images)), model.logits(images))


def test_a_model_that_was_never_trained_takes_pixels_as_they_are(tmp_path: Path) -> None:
    model = eb.networks.lenet5().initialize(seed=3)
    images = pictures(model, 3)
    expected = model.logits(images)
    assert_close(compute(eb.export.torch_module(model, normalize=True), pixels(images)), expected)
    assert_close(compute(eb.export.torch_module(model), pixels(images)), expected)
    eb.export.onnx(model, tmp_path / "net.onnx")
    assert_close(run_onnx(tmp_path / "net.onnx", pixels(images)), expected)


KNOWN = ["<zero>", "\u00e9\u4e00", *(str(number) for number in range(2, 10))]


def informed(name: str) -> eb.Model:
    model = settled(NETWORKS[name]())
    model.classes = KNOWN
    return model


@pytest.mark.parametrize("normalize", [False, True])
def test_the_module_knows_what_the_model_knows(normalize: bool) -> None:
    module = eb.export.torch_module(informed("lenet5"), normalize=normalize)
    assert (module.classes, module.input_shape) == (tuple(KNOWN), (1, 28, 28))
    assert (module.pixel_mean, module.pixel_std) == ((0.1,), (0.3,))
    plain = eb.export.torch_module(eb.networks.lenet5().initialize())
    assert (plain.classes, plain.pixel_mean) == (None, None)


# ---- TorchScript -----------------------------------------------------------------------------------------------------

# Reads NAME.pt and NAME-COUNT.npy, writes NAME-COUNT.out.npy, where everybatch cannot be imported.
READER = """
import sys, warnings
sys.modules["everybatch"] = None
import numpy as np, torch
for name, *counts in (word.split(",") for word in sys.argv[1:]):
    module = torch.jit.load(f"{name}.pt")
    for count in counts:
        logits = module(torch.from_numpy(np.load(f"{name}-{count}.npy")))
        np.save(f"{name}-{count}.out.npy", logits.detach().numpy())
"""


def test_torchscript_runs_where_there_is_no_everybatch(tmp_path: Path) -> None:
    expected: dict[str, Array] = {}
    for number, build in enumerate(NETWORKS.values()):
        model = settled(build())
        eb.export.torchscript(model, tmp_path / f"{number}.pt")
        for count in (1, 7):
            images = pictures(model, count)
            np.save(tmp_path / f"{number}-{count}.npy", pixels(images))
            expected[f"{number}-{count}.out.npy"] = model.logits(images)
    words = [f"{number},1,7" for number in range(len(NETWORKS))]
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", READER, *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    for name, logits in expected.items():
        assert_close(np.load(tmp_path / name), logits)


@pytest.mark.filterwarnings(r"ignore:`torch\.jit\.load` is:DeprecationWarning")  # see eb.export.torchscript
def test_torchscript_without_normalisation(tmp_path: Path) -> None:
    model = settled(NETWORKS["lenet5"]())
    images = pictures(model, 3)
    eb.export.torchscript(model, tmp_path / "net.pt", normalize=False)
    module = torch.jit.load(tmp_path / "net.pt")
    assert not module.training
    assert_close(compute(module, (pixels(images) - np.float32(0.1)) / np.float32(0.3)), model.logits(images))


@pytest.mark.filterwarnings(r"ignore:`torch\.jit\.load` is:DeprecationWarning")
def test_torchscript_has_a_file_with_what_the_model_knows(tmp_path: Path) -> None:
    for model, names in ((informed("lenet5"), KNOWN), (eb.networks.lenet5().initialize(), None)):
        eb.export.torchscript(model, tmp_path / "net.pt", overwrite=True)
        more: dict[str, Any] = {"everybatch.json": ""}
        torch.jit.load(tmp_path / "net.pt", _extra_files=more)
        told = json.loads(more["everybatch.json"])
        assert told == {"classes": names, "input_shape": [1, 28, 28], "mean": model.mean, "std": model.std}


# ---- ONNX ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
def test_onnxruntime_gives_the_models_logits(name: str, tmp_path: Path) -> None:
    model = settled(NETWORKS[name]())
    eb.export.onnx(model, tmp_path / "net.onnx")
    for count in (1, 7):
        images = pictures(model, count)
        assert_close(run_onnx(tmp_path / "net.onnx", pixels(images)), model.logits(images))


def test_onnx_without_normalisation(tmp_path: Path) -> None:
    model = settled(NETWORKS["lenet5"]())
    images = pictures(model, 3)
    eb.export.onnx(model, tmp_path / "net.onnx", normalize=False)
    normalised = (pixels(images) - np.float32(0.1)) / np.float32(0.3)
    assert_close(run_onnx(tmp_path / "net.onnx", normalised), model.logits(images))


def test_the_onnx_file_is_valid_and_says_what_it_takes(tmp_path: Path) -> None:
    model = settled(NETWORKS["every layer"]())
    eb.export.onnx(model, tmp_path / "net.onnx")
    onnx.checker.check_model(tmp_path / "net.onnx", full_check=True)
    written = onnx.load(tmp_path / "net.onnx")
    (images,), (logits,) = written.graph.input, written.graph.output
    assert (images.name, logits.name) == ("images", "logits")
    sizes = [dim.dim_param or dim.dim_value for dim in images.type.tensor_type.shape.dim]
    assert sizes == ["batch", 3, 28, 28]
    assert [dim.dim_param or dim.dim_value for dim in logits.type.tensor_type.shape.dim] == ["batch", 10]
    assert (written.producer_name, written.producer_version) == ("everybatch", eb.__version__)
    assert "pixels in [0, 1]" in written.doc_string
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in written.graph.initializer}
    for name, tensor in model.state_dict().items():
        if not name.endswith("num_batches_tracked"):  # counts nothing that matters after training
            assert np.array_equal(weights[name], tensor.numpy()), name


def test_the_onnx_file_of_a_network_without_a_name_is_valid(tmp_path: Path) -> None:
    layers = [eb.Flatten(), eb.Linear(16, 3)]
    eb.export.onnx(eb.Network(layers, input_shape=(1, 4, 4), name="").initialize(seed=0), tmp_path / "net.onnx")
    onnx.checker.check_model(tmp_path / "net.onnx", full_check=True)


def test_the_onnx_file_has_metadata_of_what_the_model_knows(tmp_path: Path) -> None:
    eb.export.onnx(informed("lenet5"), tmp_path / "net.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    told = {name: json.loads(text) for name, text in session.get_modelmeta().custom_metadata_map.items()}
    assert told == {"classes": KNOWN, "input_shape": [1, 28, 28], "mean": [0.1], "std": [0.3]}
    eb.export.onnx(eb.networks.lenet5().initialize(), tmp_path / "bare.onnx")
    assert [entry.key for entry in onnx.load(tmp_path / "bare.onnx").metadata_props] == ["input_shape"]


def test_dropout_at_the_end_does_not_hide_the_logits(tmp_path: Path) -> None:
    network = eb.Network([eb.Flatten(), eb.Linear(784, 5), eb.Dropout(0.5)])
    model = settled(network)
    images = pictures(model, 4)
    eb.export.onnx(model, tmp_path / "net.onnx")
    assert_close(run_onnx(tmp_path / "net.onnx", pixels(images)), model.logits(images))


# ---- layers ----------------------------------------------------------------------------------------------------------


def test_batch_norm_of_features(tmp_path: Path) -> None:
    tree: list[dict[str, Any]] = [
        {"type": "Linear", "in_features": 6, "out_features": 5, "bias": True},
        {"type": "BatchNorm1d", "num_features": 5, "eps": 1e-3, "momentum": 0.2},
    ]
    plain = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5, eps=1e-3, momentum=0.2))
    for _ in range(3):
        plain(3 * torch.rand(20, 6))  # running statistics
    plain.eval()
    module = nn.Sequential(*_modules(tree, ""))
    module.load_state_dict(plain.state_dict())
    x = torch.rand(7, 6)
    expected = plain(x).detach().numpy()
    assert module[1].momentum == 0.2
    assert_close(compute(module.eval(), x.numpy()), expected)

    graph = Graph(plain.state_dict())
    last = graph.layers(tree, "x", "")
    tensors = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None, size])
        for name, size in (("x", 6), (last, 5))
    ]
    made = onnx.helper.make_graph(graph.nodes, "features", [tensors[0]], [tensors[1]], graph.tensors)
    proto = onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    assert_close(session.run(None, {"x": x.numpy()})[0], expected)


@pytest.mark.parametrize(
    ("layer", "what"),
    [
        ({"type": "Capsule"}, "layer 1.body.0 is of the kind 'Capsule'"),
        ({"type": "Activation", "function": "maxout"}, "layer 1.body.0 is of the kind 'maxout'"),
    ],
)
@pytest.mark.parametrize("export", ["onnx", "torchscript"])
def test_an_unknown_layer_is_named(
    export: str, layer: dict[str, Any], what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = [{"type": "Flatten"}, {"type": "Residual", "body": [layer], "shortcut": [], "activation": None}]
    for module in ("_onnx", "_torch_module"):
        monkeypatch.setattr(f"everybatch.export.{module}.layers_of", lambda _: tree)
    with pytest.raises(ArgumentError, match=what):
        getattr(eb.export, export)(eb.networks.lenet5().initialize(), tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


def test_every_kind_of_layer_and_activation_is_in_the_tests() -> None:
    kinds: set[str] = set()
    functions: set[str] = set()

    def walk(layers: list[dict[str, Any]]) -> None:
        for layer in layers:
            kinds.add(layer["type"])
            if layer["type"] == "Activation":
                functions.add(layer["function"])
            walk(layer.get("body", []) + layer.get("shortcut", []))
            if layer["type"] == "Residual":
                functions.add((layer["activation"] or {}).get("function"))

    for build in NETWORKS.values():
        walk(eb.export._given.layers_of(build().initialize()))
    # BatchNorm1d has a test of its own, and a SqueezeExcitation is a Gate.
    assert kinds >= set(eb.layers.__all__) - {"BatchNorm1d", "SqueezeExcitation"}
    assert functions - {None} == set(ACTIVATIONS)


def test_the_reference_module_of_plain_pytorch_agrees() -> None:
    model = settled(eb.networks.lenet5())
    plain = reference.lenet5()
    plain.load_state_dict(eb.export.torch_module(model).state_dict())
    images = pictures(model, 5)
    assert_close(compute(plain.eval(), reference.pixels(images, model.mean, model.std).numpy()), model.logits(images))
