"""NaN and infinity come through training and measuring as in PyTorch, and a run that breaks says when."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch.nn import functional

import everybatch as eb
from everybatch.errors import ArgumentError
from random_networks import random_network
from test_train import has_bfloat16

Quick = Callable[..., eb.Run]
NOT_FINITE = (np.nan, np.inf, -np.inf)
PLANTED = (*NOT_FINITE, 1e30, -3e38)


def planted(seed: int, values: tuple[float, ...]) -> tuple[eb.Model, npt.NDArray[np.uint8], str]:
    """A random network with one of the values somewhere in its weights or statistics, images, and what was done.

    Every fifth network has a normalisation that makes very large or very small pixels too.
    """
    random = np.random.default_rng(seed)
    network = random_network(seed)
    channels, height, width = network.input_shape
    std = random.choice([1e-30, 1e-37, 1e30]) if seed % 5 == 4 else 0.3
    model = network.initialize(seed=seed, mean=[0.4] * channels, std=[std] * channels)
    tensors = {name: tensor for name, tensor in model.state_dict().items() if tensor.is_floating_point()}
    name = list(tensors)[int(random.integers(len(tensors)))]
    flat = tensors[name].detach().view(-1)
    value = values[random.integers(len(values))]
    flat[int(random.integers(len(flat)))] = value
    images = random.integers(0, 256, (9, height, width, channels), dtype=np.uint8)
    return model, images, f"seed {seed}: {value} in {name} of {network.to_json()}"


def by_pytorch(model: eb.Model, images: npt.NDArray[np.uint8]) -> torch.Tensor:
    # In the usual order of memory: channels-last, libtorch's own operators make something else of infinity times zero.
    count, height, width, channels = images.shape
    pixels = torch.empty(count, channels, height, width).copy_(torch.from_numpy(images).permute(0, 3, 1, 2)) / 255
    with torch.no_grad():
        logits: torch.Tensor = eb.export.torch_module(model, normalize=True)(pixels)
    return logits


# The expected values of this part are those of PyTorch's own layers, by export.torch_module.


@pytest.mark.parametrize("seeds", [range(start, start + 50) for start in range(0, 150, 50)], ids=str)
def test_logits_are_pytorchs_whatever_is_in_the_weights(seeds: range) -> None:
    for seed in seeds:
        model, images, what = planted(seed, PLANTED)
        expected = by_pytorch(model, images)
        logits = model.logits(images)
        np.testing.assert_allclose(logits, expected.numpy(), rtol=1e-3, atol=1e-4, err_msg=what)
        # The first NaN counts as the greatest, as in torch.argmax.
        np.testing.assert_array_equal(model.predict(images), torch.from_numpy(logits).argmax(1).numpy(), err_msg=what)


@pytest.mark.skipif(not has_bfloat16(), reason="this CPU has no bfloat16 instructions")
def test_so_are_losses_in_bfloat16() -> None:
    label = np.array([1])
    for seed in range(300, 340):
        model, images, what = planted(seed, NOT_FINITE)
        for image, logits in zip(images[:3], by_pytorch(model, images), strict=False):
            loss = functional.cross_entropy(logits[None], torch.from_numpy(label)).item()
            found = model.evaluate(image[None], label, precision="bfloat16").loss
            np.testing.assert_allclose(found, loss, rtol=0.2, atol=0.2, err_msg=what)


def test_losses_accuracies_and_confusion_follow_the_predictions(tiny: eb.Network, glyphs: eb.Dataset) -> None:
    model = tiny.initialize(seed=1, mean=glyphs.mean, std=glyphs.std)
    model.state_dict()["0.weight"].detach()[3, 0, 2, 2] = np.nan
    measured = model.evaluate(glyphs)
    assert np.isnan(measured.loss)
    predicted = model.predict(glyphs.test_images)
    labels = np.asarray(glyphs.test_labels)
    np.testing.assert_array_equal(predicted, torch.from_numpy(model.logits(glyphs.test_images)).argmax(1).numpy())
    assert measured.accuracy == pytest.approx((predicted == labels).mean())
    expected = [(predicted[labels == digit] == digit).mean() for digit in range(10)]
    np.testing.assert_allclose(measured.class_accuracy, expected)
    assert measured.confusion.sum(axis=0)[0] == len(labels) == (predicted == 0).sum()


# ---- when a run breaks ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole() -> eb.Dataset:
    """Three batches of 32."""
    return eb.datasets.glyphs(train=96, test=40, seed=2)


def breaking(norm: bool, activation: str) -> eb.Network:
    first = [eb.Conv2d(1, 8, 5, stride=2), *([eb.BatchNorm2d(8)] if norm else []), eb.Activation(activation)]
    rest = [eb.MaxPool2d(2), eb.Flatten(), eb.Linear(288, 20), eb.Activation(activation), eb.Linear(20, 10)]
    return eb.Network(first + rest)


def by_plain_loop(model: eb.Model, data: eb.Dataset, lr: float, every: int) -> int:
    """Steps that PyTorch takes before it computes the first loss that is not finite; batches are in order."""
    module = eb.export.torch_module(model)
    sgd = torch.optim.SGD(module.parameters(), lr=lr)

    def loss_of(images: Any, labels: Any) -> torch.Tensor:
        pixels = torch.tensor(images).reshape(-1, 1, 28, 28) / 255
        normalised = (pixels - np.float32(data.mean[0])) / np.float32(data.std[0])
        losses = functional.cross_entropy(module(normalised), torch.tensor(labels), reduction="none")
        # Of a test set, the mean is taken in float64: one of losses near the largest float32 is one of them.
        return losses.mean() if module.training else losses.double().mean()

    for step in range(12):
        if step % every == 0:
            module.eval()
            with torch.no_grad():
                if not loss_of(data.test_images, data.test_labels).isfinite():
                    return step
        batch = slice(32 * (step % 3), 32 * (step % 3) + 32)
        module.train()
        loss = loss_of(data.train_images[batch], data.train_labels[batch])
        if not loss.isfinite():
            return step
        sgd.zero_grad()
        loss.backward()
        sgd.step()
    raise AssertionError("it did not diverge")


@pytest.mark.parametrize("kernels", ["exact", "fused"])
@pytest.mark.parametrize("every", [1, 100])
def test_a_run_breaks_where_a_plain_loop_does(kernels: str, every: int, whole: eb.Dataset) -> None:
    steps = set()
    for norm, activation, lr in [
        (False, "leaky_relu", 10.0),
        (False, "leaky_relu", 1e3),
        (False, "relu", 1e5),
        (False, "silu", 1e10),
        (True, "relu", 1e3),
        (True, "relu", 1e5),
        (True, "relu", 1e15),
        (True, "silu", 1e30),
    ]:
        model = breaking(norm, activation).initialize(seed=1, mean=whole.mean, std=whole.std)
        with pytest.warns(RuntimeWarning, match="NaN or infinite"):
            run = eb.train(
                model, whole, steps=12, batch_size=32, shuffle=False, optimizer="sgd", lr=lr, kernels=kernels,
                evaluate_every=every, device="cpu", progress=False,
            )  # fmt: skip
        assert run.diverged_at == by_plain_loop(model, whole, lr, every), (norm, activation, lr)
        steps.add(run.diverged_at)
    assert steps >= {1, 2, 3}


# ---- extreme numbers -----------------------------------------------------------------------------

EXTREME = {"lr": (1e-300, 1e38, 4e38, 1.7e308), "weight_decay": (1e-300, 1e39, 1.7e308), "ema": (5e-324, 1 - 1e-16)}
EXTREME |= {"label_smoothing": (1e-300, 1 - 1e-16)}
ADAM = {"eps": (0.0, 1e-300, 1e39, 1.7e308), "betas": ((0.0, 0.0), (1 - 1e-16, 1 - 1e-16), (5e-324, 5e-324))}
OPTIMIZERS: dict[str, dict[str, tuple[Any, ...]]] = {
    "sgd": EXTREME | {"momentum": (1e-300, 1e39, 1.7e308)},
    "adam": EXTREME | ADAM,
    "adamw": EXTREME | ADAM,
}


@pytest.mark.filterwarnings("ignore:.*NaN or infinite:RuntimeWarning")
@pytest.mark.parametrize("kernels", ["exact", "fused"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_extreme_numbers_make_a_run(quick: Quick, kernels: str, optimizer: str) -> None:
    """Diverged or not. PyTorch's own foreach kernels refuse numbers that float32 does not hold."""
    for name, values in OPTIMIZERS[optimizer].items():
        for value in values:
            run = quick(optimizer=optimizer, kernels=kernels, steps=3, **{name: value})
            assert run.state in ("finished", "diverged"), (name, value)
            if name == "lr" and value > 1:
                assert run.diverged_at == 1


# ---- very long runs ------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [{"steps": 2**53}, {"epochs": 2**50}])
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_a_run_of_any_length_begins_at_once(quick: Quick, length: dict[str, int], schedule: str) -> None:
    def enough(step: eb.Step) -> None:
        if step.step == 3:
            raise eb.StopTraining

    run = quick(schedule=schedule, callbacks=enough, **length)
    assert run.steps == 3
    assert run.state == "stopped"


def test_and_listens_to_ctrl_c(quick: Quick) -> None:
    def interrupt(step: eb.Step) -> None:
        if step.step == 2:
            threading.Timer(0, os.kill, (os.getpid(), signal.SIGINT)).start()

    assert quick(steps=2**53, callbacks=interrupt).interrupted


@pytest.mark.parametrize("length", [{"steps": 2**53 + 1}, {"steps": 2**62}, {"epochs": 2**62}])
def test_what_is_too_long_is_refused(quick: Quick, length: dict[str, int]) -> None:
    ((name, number),) = length.items()
    with pytest.raises(ArgumentError, match=f"{name} is {number}.*at most {2**53} steps"):
        quick(**length)
