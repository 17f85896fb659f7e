"""Every wrong argument raises the documented exception with a sentence that helps; nothing ends the process."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import everybatch as eb
from everybatch.errors import ArgumentError, DeviceError, EverybatchError, ShapeError

Quick = Callable[..., eb.Run]
NAN, INF = float("nan"), float("inf")

# ---- train: (arguments, exception, what the message says) ----------------------------------------

ARGUMENTS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"epochs": 0}, ArgumentError, "epochs is 0"),
    ({"epochs": -3}, ArgumentError, "epochs is -3.*at least 1"),
    ({"epochs": 1.5}, TypeError, "epochs must be a whole number"),
    ({"epochs": "2"}, TypeError, "epochs must be a whole number"),
    ({"epochs": True}, TypeError, "epochs must be a whole number"),
    ({"epochs": 2**70}, ArgumentError, "epochs is 1180591620717411303424.*(at most|less than)"),
    ({"batch_size": 0}, ArgumentError, "batch_size is 0"),
    ({"batch_size": 131}, ArgumentError, "batch_size is 131.*130 training images"),
    ({"batch_size": 2**70}, ArgumentError, "batch_size is 1180591620717411303424"),
    ({"batch_size": 2.0}, TypeError, "batch_size must be a whole number"),
    ({"optimizer": "adm"}, ArgumentError, "'adm'.*Did you mean 'adam'"),
    ({"optimizer": "Adam"}, ArgumentError, "Did you mean 'adam'"),
    ({"optimizer": "lamb"}, ArgumentError, "'sgd', 'adam', 'adamw'"),
    ({"optimizer": None}, TypeError, "optimizer.*None"),
    ({"lr": NAN}, ArgumentError, "(?i)lr is nan"),
    ({"lr": INF}, ArgumentError, "lr is inf"),
    ({"lr": -0.1}, ArgumentError, r"lr is -0\.1"),
    ({"lr": 10**400}, ArgumentError, "lr"),
    ({"lr": "fast"}, TypeError, "lr must be a number.*'fast'"),
    ({"lr": None}, TypeError, "lr must be a number.*None"),
    ({"weight_decay": -1}, ArgumentError, "weight_decay is -1"),
    ({"weight_decay": NAN}, ArgumentError, "(?i)weight_decay is nan"),
    ({"weight_decay": "x"}, TypeError, "weight_decay must be a number"),
    ({"momentum": 0.9}, ArgumentError, "momentum.*sgd"),
    ({"nesterov": True}, ArgumentError, "nesterov.*sgd"),
    ({"nesterov": "yes"}, TypeError, "nesterov must be"),
    ({"optimizer": "sgd", "nesterov": True}, ArgumentError, "nesterov needs a momentum"),
    ({"optimizer": "sgd", "momentum": -1}, ArgumentError, "momentum is -1"),
    ({"optimizer": "sgd", "momentum": "x"}, TypeError, "momentum must be a number"),
    ({"betas": 0.9}, TypeError, "betas"),
    ({"betas": (0.9,)}, ArgumentError, "betas"),
    ({"betas": (0.9, 0.99, 0.999)}, ArgumentError, "betas"),
    ({"betas": (0.9, 1.0)}, ArgumentError, r"betas.*\[0, 1\)"),
    ({"betas": (NAN, 0.9)}, ArgumentError, "betas"),
    ({"betas": ("a", 0.9)}, TypeError, "betas"),
    ({"eps": -1}, ArgumentError, "eps is -1"),
    ({"eps": NAN}, ArgumentError, "(?i)eps is nan"),
    ({"evaluate_every": 0}, ArgumentError, "evaluate_every is 0"),
    ({"evaluate_every": -1}, ArgumentError, "evaluate_every is -1"),
    ({"evaluate_every": 1.5}, TypeError, "evaluate_every"),
    ({"evaluate_every": None}, TypeError, "evaluate_every"),
    ({"evaluate_every": "epochs"}, ArgumentError, "'epochs'.*'epoch'"),
    ({"evaluate_every": 2**70}, ArgumentError, "evaluate_every is 1180591620717411303424"),
    ({"evaluate_on": 0}, ArgumentError, "evaluate_on=0"),
    ({"evaluate_on": -5}, ArgumentError, "evaluate_on=-5"),
    ({"evaluate_on": 61}, ArgumentError, "evaluate_on=61.*60"),
    ({"evaluate_on": 10**30}, ArgumentError, "evaluate_on"),
    ({"evaluate_on": 0.0}, ArgumentError, "share"),
    ({"evaluate_on": 1.5}, ArgumentError, "share"),
    ({"evaluate_on": NAN}, ArgumentError, "share"),
    ({"evaluate_on": True}, TypeError, "evaluate_on"),
    ({"evaluate_on": "half"}, TypeError, "evaluate_on.*'half'"),
    ({"evaluate_on": []}, ArgumentError, "no test image"),
    ({"evaluate_on": [60]}, ArgumentError, "test image 60.*60"),
    ({"evaluate_on": [-1]}, ArgumentError, "test image -1"),
    ({"evaluate_on": [1, 1]}, ArgumentError, "more than once"),
    ({"evaluate_on": [0.5]}, TypeError, "evaluate_on"),
    ({"evaluate_on": [[1, 2]]}, TypeError, "evaluate_on"),
    ({"evaluate_on": [[1], [1, 2]]}, TypeError, "evaluate_on"),
    ({"record": ("prediction",)}, ArgumentError, "Did you mean 'predictions'"),
    ({"record": "all"}, ArgumentError, "'all'.*'predictions'"),
    ({"record": (3,)}, TypeError, "record.*3"),
    ({"record": 5}, TypeError, "record"),
    ({"seed": -1}, ArgumentError, "seed is -1"),
    ({"seed": 2**63}, ArgumentError, "seed is 9223372036854775808.*(at most|less than)"),
    ({"seed": 1.5}, TypeError, "seed must be a whole number"),
    ({"seed": None}, TypeError, "seed must be a whole number"),
    ({"shuffle": "no"}, TypeError, "shuffle must be"),
    ({"device": "gpu"}, ArgumentError, "device.*gpu.*auto.*cpu.*cuda"),
    ({"device": "cdua"}, ArgumentError, "Did you mean .cuda"),
    ({"device": "cuda:-1"}, ArgumentError, "cuda:-1"),
    ({"device": "cuda:99999999999999999999"}, EverybatchError, "cuda:99999999999999999999"),
    ({"device": "cuda:99"}, DeviceError, "cuda:99"),
    ({"device": None}, (TypeError, ArgumentError), "device.*None"),
    ({"precision": "bfloat"}, ArgumentError, "Did you mean .bfloat16"),
    ({"precision": "float64"}, ArgumentError, "precision.*float64"),
    ({"precision": 3}, TypeError, "precision"),
    ({"callbacks": 5}, TypeError, "callbacks"),
    ({"callbacks": [5]}, TypeError, "callbacks must.*functions.*5"),
    ({"optimzer": "sgd"}, TypeError, "optimzer"),
]


def named(case: tuple[dict[str, Any], type[Exception], str]) -> str:
    return ", ".join(f"{name}={str(value)[:24]}" for name, value in case[0].items())


@pytest.mark.parametrize("case", ARGUMENTS, ids=named)
def test_wrong_arguments_of_train(quick: Quick, case: tuple[dict[str, Any], type[Exception], str]) -> None:
    arguments, error, match = case
    with pytest.raises(error, match=match) as caught:
        quick(**arguments)
    assert type(caught.value).__module__ in ("builtins", "everybatch.errors")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("device", ["cuda", "cuda:0"])
def test_a_device_that_is_not_there(quick: Quick, device: str) -> None:
    with pytest.raises(DeviceError, match=r'no CUDA device.*device="cpu"'):
        quick(device=device)
    assert quick(device="auto").config["training"]["device"] == "cpu"


# ---- train: networks and data that do not belong together ----------------------------------------


@pytest.mark.parametrize("given", [None, [eb.Flatten(), eb.Linear(784, 10)], torch.nn.Linear(784, 10), "lenet5"])
def test_only_networks_and_models_are_trained(glyphs: eb.Dataset, given: Any) -> None:
    hint = r"eb\.Network\(\[" if isinstance(given, list) else type(given).__name__
    with pytest.raises(TypeError, match=f"network must be a Network or a Model.*{hint}"):
        eb.train(given, glyphs)


@pytest.mark.parametrize("given", [None, (np.zeros((2, 28, 28)), [0, 1]), "mnist"])
def test_only_datasets_are_trained_on(tiny: eb.Network, given: Any) -> None:
    with pytest.raises(TypeError, match=r"dataset must be an everybatch Dataset.*eb\.Dataset"):
        eb.train(tiny, given)


def sized(height: int, width: int, *channels: int, classes: int = 10, count: int = 40) -> eb.Dataset:
    images = np.zeros((count, height, width, *channels), np.uint8)
    images[::2] = 255
    labels = np.arange(count) % classes
    return eb.Dataset(images, labels, images, labels)


@pytest.mark.parametrize(
    ("network", "data", "error", "match"),
    [
        ("lenet5", lambda: sized(28, 28, classes=5), ArgumentError, "10 logits.*5 classes.*num_classes=5"),
        ("lenet5", lambda: sized(28, 28, classes=11), ArgumentError, "10 logits.*11 classes"),
        ("lenet5", lambda: sized(32, 32), ShapeError, r"\(1, 32, 32\).*lenet5.*\(1, 28, 28\): resize"),
        ("lenet5", lambda: sized(20, 28), ShapeError, r"\(1, 20, 28\).*lenet5.*\(1, 28, 28\)"),
        ("lenet5", lambda: sized(28, 28, 3), ShapeError, r"\(3, 28, 28\).*lenet5.*turn them grey"),
        ("resnet", lambda: sized(28, 28, 4), ShapeError, r"\(4, 28, 28\).*resnet"),
    ],
)
def test_data_that_does_not_fit_the_network(
    network: str, data: Callable[[], eb.Dataset], error: type[Exception], match: str
) -> None:
    built = getattr(eb.networks, network)()
    for given in (built, built.initialize(0)):
        with pytest.raises(error, match=match):
            eb.train(given, data(), batch_size=10, progress=False, device="cpu")


def test_images_of_another_shape_are_refused_though_the_layers_would_take_them() -> None:
    layers = [eb.Conv2d(1, 4, 3), eb.GlobalAvgPool(), eb.Linear(4, 10)]
    for given in (eb.Network(layers), eb.Network(layers).initialize(0)):
        with pytest.raises(ShapeError, match=r"\(1, 17, 23\).*takes \(1, 28, 28\).*input_shape"):
            eb.train(given, sized(17, 23), batch_size=20, progress=False, device="cpu")
    network = eb.Network(layers, input_shape=(1, 17, 23))
    run = eb.train(network, sized(17, 23), batch_size=20, progress=False, device="cpu")
    assert run.model.input_shape == (1, 17, 23)
    turned = eb.networks.resnet(input_size=(17, 23), stages=(2,), blocks=1)
    with pytest.raises(ShapeError, match=r"height and width look exchanged"):
        eb.train(turned, sized(23, 17), batch_size=20, progress=False, device="cpu")


def test_one_image_at_one_pixel_has_no_variance() -> None:
    with pytest.raises(ArgumentError, match=r"last batch.*9 \(BatchNorm2d\).*lenet5.*batch_size"):
        eb.train(eb.networks.lenet5(), sized(28, 28, count=41), batch_size=20, progress=False, device="cpu")


def test_a_model_of_other_channels_keeps_its_message(colour: eb.Dataset) -> None:
    model = eb.networks.lenet5().initialize(0, mean=[0.1], std=[0.3])
    with pytest.raises(ShapeError, match=r"\(3, 28, 28\).*turn them grey"):
        eb.train(model, colour, progress=False, device="cpu")


# ---- layers, networks, builders: (call, exception, what the message says) ------------------------

FLAT = [eb.Flatten(), eb.Linear(784, 10)]
CALLS: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "no channels": (lambda: eb.Conv2d(0, 1, 3), ArgumentError, "Conv2d.*in_channels is 0"),
    "negative channels": (lambda: eb.Conv2d(1, -1, 3), ArgumentError, "out_channels is -1"),
    "huge channels": (lambda: eb.Conv2d(1, 10**30, 3), ArgumentError, "1000000000000000000000000000000"),
    "huge kernel": (lambda: eb.Conv2d(1, 8, 2**70), ArgumentError, "1180591620717411303424"),
    "huge dilation": (lambda: eb.Conv2d(1, 8, 3, dilation=2**62), ArgumentError, "dilation is"),
    "kernel of 0": (lambda: eb.Conv2d(1, 8, (3, 0)), ArgumentError, "kernel_size is 0"),
    "float kernel": (lambda: eb.Conv2d(1, 8, 3.0), TypeError, "^[^\n]*kernel_size[^\n]*$"),
    "three kernels": (lambda: eb.Conv2d(1, 8, (3, 3, 3)), ArgumentError, "3 numbers"),
    "text for a kernel": (lambda: eb.Conv2d(1, 8, "3"), TypeError, "^[^\n]*kernel_size[^\n]*$"),
    "padding by name": (lambda: eb.Conv2d(1, 8, 3, padding="same"), TypeError, "^[^\n]*padding[^\n]*$"),
    "negative padding": (lambda: eb.Conv2d(1, 8, 3, padding=-1), ArgumentError, "padding is"),
    "groups": (lambda: eb.Conv2d(3, 8, 3, groups=2), ArgumentError, "groups=2.*3.*8"),
    "more than memory": (lambda: eb.Conv2d(2**20, 2**20, 2**20), ArgumentError, "memory"),
    "stride 0": (lambda: eb.MaxPool2d(2, stride=0), ArgumentError, "stride is 0"),
    "pool padding": (lambda: eb.MaxPool2d(2, padding=2), ArgumentError, "padding.*half"),
    "huge pool padding": (lambda: eb.MaxPool2d(2, padding=2**63 - 1), ArgumentError, "padding"),
    "pool padding that wraps": (lambda: eb.AvgPool2d(2, padding=2**62), ArgumentError, "padding"),
    "pool of None": (lambda: eb.MaxPool2d(None), TypeError, "^[^\n]*kernel_size[^\n]*$"),
    "features": (lambda: eb.Linear(-1, 3), ArgumentError, "in_features is -1"),
    "huge features": (lambda: eb.Linear(2**70, 3), ArgumentError, "1180591620717411303424"),
    "hugely negative": (lambda: eb.Linear(3, -(2**70)), ArgumentError, "-1180591620717411303424"),
    "half a feature": (lambda: eb.Linear(3.5, 3), TypeError, "in_features"),
    "too many weights": (lambda: eb.Linear(2**20, 2**20), ArgumentError, "Linear.*memory"),
    "eps": (lambda: eb.BatchNorm2d(3, eps=0), ArgumentError, "eps is 0"),
    "eps of vectors": (lambda: eb.BatchNorm1d(3, eps=0), ArgumentError, "BatchNorm1d: eps is 0"),
    "eps NaN": (lambda: eb.BatchNorm2d(3, eps=NAN), ArgumentError, "(?i)eps is nan"),
    "momentum": (lambda: eb.BatchNorm2d(3, momentum=2), ArgumentError, "momentum is 2"),
    "dropout 1": (lambda: eb.Dropout(1.0), ArgumentError, r"p is 1.*\[0, 1\)"),
    "dropout NaN": (lambda: eb.Dropout2d(NAN), ArgumentError, "(?i)p is nan"),
    "dropout text": (lambda: eb.Dropout("x"), TypeError, "'p'"),
    "activation": (lambda: eb.Activation("rellu"), ArgumentError, 'Did you mean "relu"'),
    "activation function": (lambda: eb.Activation(torch.relu), TypeError, "function"),
    "slope of another": (lambda: eb.Activation("relu", negative_slope=0.1), ArgumentError, "leaky_relu"),
    "slope NaN": (lambda: eb.Activation("leaky_relu", negative_slope=NAN), ArgumentError, "finite"),
    "empty body": (lambda: eb.Residual([]), ArgumentError, "body is empty"),
    "body of numbers": (lambda: eb.Residual([1]), TypeError, "body"),
    "body is a layer": (lambda: eb.Residual(eb.Flatten()), TypeError, "body"),
    "block's activation": (lambda: eb.Residual([eb.Flatten()], activation="foo"), ArgumentError, '"foo"'),
    "a layer that is none": (lambda: eb.Residual([eb.Flatten()], activation=eb.Flatten()), ArgumentError, "Flatten"),
    "empty gate": (lambda: eb.Gate([]), ArgumentError, "Gate: the body is empty"),
    "gate of a layer": (lambda: eb.Gate(eb.Flatten()), TypeError, "body"),
    "gate without a body": (lambda: eb.Layer.from_json('{"type": "Gate"}'), ArgumentError, "missing field `body`"),
    "gate with a shortcut": (
        lambda: eb.Layer.from_json('{"type": "Gate", "body": [{"type": "Flatten"}], "shortcut": []}'),
        ArgumentError,
        "unknown field `shortcut`",
    ),
    "deep gates": (lambda: eb.Layer.from_json('{"type":"Gate","body":[' * 5000), ArgumentError, "recursion limit"),
    "squeeze to none": (
        lambda: eb.SqueezeExcitation(8),
        ArgumentError,
        "8 channels cannot reduce them 16 times: give a reduction from 1 to 8",
    ),
    "reduction 0": (lambda: eb.SqueezeExcitation(8, 0), ArgumentError, "reduce them 0 times"),
    "reduction -1": (lambda: eb.SqueezeExcitation(2**63 - 1, -1), ArgumentError, "reduce them -1 times"),
    "squeeze of none": (lambda: eb.SqueezeExcitation(0, 0), ArgumentError, "0 channels: give at least one"),
    "squeeze of many": (lambda: eb.SqueezeExcitation(2**63 - 1), ArgumentError, "in_features is 9223372036854775807"),
    "half a reduction": (lambda: eb.SqueezeExcitation(8, 0.5), TypeError, "reduction"),
    "squeeze without activation": (
        lambda: eb.SqueezeExcitation(8, 2, activation=None),
        TypeError,
        "'activation': must be a name or a layer, not a NoneType",
    ),
    "scale by a layer": (
        lambda: eb.SqueezeExcitation(8, 2, scale_activation=eb.Flatten()),
        ArgumentError,
        "is not an activation",
    ),
    "squeeze of a narrow stage": (
        lambda: eb.networks.resnet(stages=(8, 64), squeeze_excitation=16),
        ArgumentError,
        "8 channels cannot reduce them 16 times",
    ),
    "squeeze by True": (lambda: eb.networks.resnet(squeeze_excitation="16"), TypeError, "squeeze_excitation"),
    "activation 3": (lambda: eb.Residual([eb.Flatten()], activation=3), TypeError, "activation"),
    "empty network": (lambda: eb.Network([]), ArgumentError, "at least one layer"),
    "network of text": (lambda: eb.Network("abc"), TypeError, "layers"),
    "network of numbers": (lambda: eb.Network([1]), TypeError, "layers"),
    "nested list": (lambda: eb.Network([[eb.Flatten()]]), TypeError, "layers"),
    "two-sided input": (lambda: eb.Network(FLAT, input_shape=(28, 28)), ArgumentError, "channels, height, width"),
    "empty input": (lambda: eb.Network(FLAT, input_shape=(0, 28, 28)), ArgumentError, "input_shape is"),
    "huge input": (lambda: eb.Network(FLAT, input_shape=(1, 2**70, 28)), ArgumentError, "1180591620717411303424"),
    "float input": (lambda: eb.Network(FLAT, input_shape=(1, 28.0, 28)), TypeError, "input_shape"),
    "10,001 classes": (lambda: eb.Network([eb.Flatten(), eb.Linear(784, 10_001)]), EverybatchError, "10000"),
    "seed": (lambda: eb.Network(FLAT).initialize(-1), ArgumentError, "seed"),
    "huge seed": (lambda: eb.Network(FLAT).initialize(2**64), ArgumentError, "18446744073709551616"),
    "two means": (lambda: eb.Network(FLAT).initialize(mean=[0.1, 0.2]), ArgumentError, "mean"),
    "two of both": (
        lambda: eb.Network(FLAT).initialize(mean=[0.1, 0.2], std=[1.0, 1.0]),
        ArgumentError,
        "2 entries.*1 channel",
    ),
    "std 0": (lambda: eb.Network(FLAT).initialize(std=[0.0]), ArgumentError, "std"),
    "no stages": (lambda: eb.networks.resnet(stages=[]), ArgumentError, "stages is empty"),
    "stage of 1.5": (lambda: eb.networks.resnet(stages=[1.5]), TypeError, "stages"),
    "stages of text": (lambda: eb.networks.resnet(stages="wide"), TypeError, "stages|wide"),
    "blocks": (lambda: eb.networks.resnet(blocks=(1, 2)), ArgumentError, "blocks has 2 entries.*3"),
    "a billion blocks": (lambda: eb.networks.resnet(blocks=10**9), ArgumentError, "1000 blocks"),
    "even kernel": (lambda: eb.networks.resnet(kernel_size=4), ArgumentError, "kernel_size is 4.*odd"),
    "huge stem": (lambda: eb.networks.resnet(stem_kernel_size=2**70 + 1), ArgumentError, "1180591620717411303425"),
    "activations": (lambda: eb.networks.resnet(activation=["relu", "rel"]), ArgumentError, 'Did you mean "relu"'),
    "no activations": (lambda: eb.networks.resnet(activation=[]), ArgumentError, "activation is an empty list"),
    "shortcut": (lambda: eb.networks.resnet(shortcut="projektion"), ArgumentError, 'Did you mean "projection"'),
    "last pool": (lambda: eb.networks.resnet(last_pool="maxx"), ArgumentError, 'Did you mean "max"'),
    "dropout": (lambda: eb.networks.resnet(dropout=1), ArgumentError, "p is 1"),
    "three sizes": (lambda: eb.networks.resnet(input_size=(1, 2, 3)), ArgumentError, "3 numbers"),
    "one class": (lambda: eb.networks.resnet(num_classes=1), ShapeError, "at least two"),
    "lenet size": (lambda: eb.networks.lenet5(input_size=32), ShapeError, r"12 \(Linear\)"),
    "lenet pool": (lambda: eb.networks.lenet5(pool="mean"), ArgumentError, '"max", "avg"'),
    "lenet classes": (lambda: eb.networks.lenet5(num_classes=2**70), ArgumentError, "1180591620717411303424"),
    "positional option": (lambda: eb.networks.lenet5("relu"), TypeError, "positional"),
    "JSON": (lambda: eb.Network.from_json("{}"), ArgumentError, "not a network.*name"),
    "JSON of a number": (lambda: eb.Network.from_json(3), TypeError, "text"),
    "JSON layer": (lambda: eb.Layer.from_json('{"type":"Conv3d"}'), ArgumentError, "Conv3d.*Conv2d"),
    "deep JSON": (
        lambda: eb.Layer.from_json('{"type":"Residual","body":[' * 5000),
        ArgumentError,
        "recursion|deep",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_wrong_arguments_of_layers_networks_and_builders(name: str) -> None:
    call, error, match = CALLS[name]
    with pytest.raises(error, match=match) as caught:
        call()
    assert type(caught.value).__module__ in ("builtins", "everybatch.errors")


# ---- files ---------------------------------------------------------------------------------------


def test_a_folder_that_cannot_be_written(quick: Quick, tmp_path: Path) -> None:
    run = quick()
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="file"):
        run.save(tmp_path / "file" / "run")
    with pytest.raises(FileExistsError):
        run.save(tmp_path / "file")
    with pytest.raises(OSError, match="proc"):
        run.save("/proc/run")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


# ---- what could end the process, each in one of its own ------------------------------------------

FATAL = {
    "blocks within blocks": """
        def nest():
            layer = eb.Activation("relu")
            for _ in range(3000):
                layer = eb.Residual([layer])
            return layer
        threading.stack_size(256 * 1024)
        expect(ArgumentError, "deep", nest)
        """,
    "more weights than memory": """
        network = eb.Network([eb.Flatten(), eb.Linear(784, 2**19), eb.Linear(2**19, 10)])
        limit_memory()
        expect(EverybatchError, "memory|alloc", lambda: network.initialize(0))
        """,
    "maps larger than memory": """
        network = eb.Network([eb.Conv2d(1, 2**14, 1), eb.GlobalAvgPool(), eb.Linear(2**14, 10)])
        data = eb.datasets.glyphs(train=60, test=60)
        limit_memory()
        # By arithmetic, or what libtorch says where the machine has the memory and this process may not use it.
        expect(EverybatchError, "memory|libtorch", lambda: eb.train(network, data, batch_size=60, progress=False))
        """,
    "rows of NaN in every weight": """
        model = eb.networks.lenet5().initialize(0)
        for tensor in model.state_dict().values():
            tensor.fill_(float("nan")) if tensor.is_floating_point() else tensor.fill_(-1)
        data = eb.datasets.glyphs(train=60, test=60)
        print(model.evaluate(data), model.predict(data.test_images)[:3], model.predict_proba(data.test_images)[:1])
        """,
    "weights resized to nothing": """
        model = eb.networks.lenet5().initialize(0)
        for tensor in model.state_dict().values():
            tensor.resize_(0)
        print(model.predict(eb.datasets.glyphs(train=1, test=5).test_images))
        """,
}  # fmt: skip

PREAMBLE = """
import re, resource, threading
import everybatch as eb
from everybatch.errors import ArgumentError, EverybatchError

def limit_memory():
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 10**9, used + 10**9))

def expect(error, match, call):
    caught = []
    def work():
        try:
            call()
        except BaseException as error:
            caught.append(error)
    thread = threading.Thread(target=work)  # whose stack is as small as asked for
    thread.start()
    thread.join()
    assert caught, "nothing was raised"
    assert isinstance(caught[0], error) and re.search(match, str(caught[0])), repr(caught[0])
"""


@pytest.mark.parametrize("name", FATAL)
def test_the_process_lives_on(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PREAMBLE + textwrap.dedent(FATAL[name])],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
