"""Averaged weights and smoothed labels: the same as PyTorch's."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import everybatch as eb
import reference
from everybatch.errors import ArgumentError
from parity import assert_same
from test_parity import plain_tiny

Quick = Callable[..., eb.Run]
STEPS = 30


@pytest.fixture(scope="module")
def data() -> eb.Dataset:
    return eb.datasets.glyphs(train=16 * STEPS, test=100)


def plain_run(
    run: eb.Run, start: eb.Model, module: torch.nn.Module, data: eb.Dataset, *, decay: float | None, smoothing: float
) -> tuple[reference.Losses, torch.nn.Module]:
    """PyTorch's own loop over the batches of `run`: its losses, and what it measured with."""
    module.load_state_dict(start.state_dict())
    measured: Any = module
    if decay is not None:
        measured = AveragedModel(module, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
    optimizer = torch.optim.Adam(module.parameters(), lr=2e-3)
    images = reference.pixels(data.train_images, data.mean, data.std)
    labels = torch.tensor(data.train_labels)
    test = reference.pixels(data.test_images, data.mean, data.std), torch.tensor(data.test_labels)
    train_losses, test_losses = [], [reference.mean_loss(measured, *test)]
    for step in range(run.steps):
        batch = torch.tensor(run.batch_indices(step))
        module.train()
        loss = functional.cross_entropy(module(images[batch]), labels[batch], label_smoothing=smoothing)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if decay is not None:
            measured.update_parameters(module)
        train_losses.append(loss.item())
        test_losses.append(reference.mean_loss(measured, *test))
    return reference.Losses(np.array(train_losses), np.array(test_losses)), measured


def both(
    network: eb.Network, module: torch.nn.Module, data: eb.Dataset, *, decay: float | None = None, smoothing: float = 0
) -> tuple[eb.Run, reference.Losses, torch.nn.Module]:
    start = network.initialize(seed=1)
    run = eb.train(
        start,
        data,
        batch_size=16,
        lr=2e-3,
        ema=decay,
        label_smoothing=smoothing,
        seed=7,
        progress=False,
        device="cpu",
    )
    assert run.steps == STEPS
    return run, *plain_run(run, start, module, data, decay=decay, smoothing=smoothing)


# ---- averaged weights ----------------------------------------------------------------------------


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9, 0.999])
def test_averaged_weights_are_pytorchs(decay: float, tiny: eb.Network, data: eb.Dataset) -> None:
    run, losses, average = both(tiny, plain_tiny(), data, decay=decay)
    assert_same(run, losses)
    state: Any = average.state_dict()
    for name, tensor in run.model.state_dict().items():
        if name.endswith("num_batches_tracked"):  # a count: PyTorch averages it too, in whole numbers
            assert tensor.item() == STEPS
            continue
        torch.testing.assert_close(tensor, state[f"module.{name}"], rtol=1e-4, atol=1e-6, msg=name)


def test_averaged_lenet5(data: eb.Dataset) -> None:
    run, losses, _ = both(eb.networks.lenet5(), reference.lenet5(), data, decay=0.8)
    assert_same(run, losses)


def test_the_average_is_measured_and_does_not_meddle_with_training(quick: Quick, glyphs: eb.Dataset) -> None:
    seen: list[eb.Model] = []
    run = quick(ema=0.9, epochs=2, callbacks=lambda step: seen.append(step.model()))
    plain = quick(epochs=2)
    np.testing.assert_array_equal(run.train_loss, plain.train_loss)
    assert run.test_loss[0] == plain.test_loss[0]
    assert run.test_loss[1] == plain.test_loss[1]  # the first step's weights are the average of one
    assert (run.test_loss[2:] != plain.test_loss[2:]).all()
    for step in (4, 10):
        assert np.float32(seen[step - 1].evaluate(glyphs).loss) == run.test_loss[step]
    assert np.float32(run.model.evaluate(glyphs).loss) == run.test_loss[-1]


def test_the_best_average_can_be_chosen(quick: Quick, glyphs: eb.Dataset) -> None:
    run = quick(ema=0.7, lr=0.05, epochs=6, validation=0.3, select="best")
    best = int(run.eval_step[1:][run.validation_loss[1:].argmin()])
    assert run.model_step == best < run.steps
    assert np.float32(run.model.evaluate(glyphs).loss) == run.test_loss[best]


# Against torch.optim.swa_utils.AveragedModel, which is given the weights and statistics of each step of a run without
# averages. Two trainings that round differently, as "fused" and a loop of PyTorch, part by more than an average may be
# wrong: in 30 steps of this network, PyTorch in float64 makes 0.09 of a difference of 1e-7 in the first weights.
@pytest.mark.parametrize("kernels", ["exact", "fused"])
def test_the_average_is_that_of_the_steps_own_weights(kernels: str, quick: Quick, tmp_path: Path) -> None:
    network = eb.networks.resnet(stages=(8, 16))
    options: dict[str, Any] = {
        "kernels": kernels,
        "optimizer": "sgd",
        "lr": 0.05,
        "epochs": 6,
        "evaluate_every": "epoch",
    }
    run = quick(network, ema=0.9, **options)
    plain = quick(network, checkpoints=tmp_path / "kept", checkpoint_every=1, **options)
    np.testing.assert_array_equal(run.train_loss, plain.train_loss)
    module = eb.export.torch_module(plain.model)
    average = AveragedModel(module, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    kept = sorted((tmp_path / "kept").iterdir())
    assert len(kept) == run.steps == 30
    for path in kept:
        module.load_state_dict(eb.Model.load(path).state_dict())
        average.update_parameters(module)
    for name, tensor in run.model.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            expected = average.module.state_dict()[name]
            torch.testing.assert_close(tensor, expected, rtol=1e-5, atol=1e-6, msg=name)


# ---- label smoothing -----------------------------------------------------------------------------


@pytest.mark.parametrize("smoothing", [0.05, 0.3])
def test_smoothed_labels_are_pytorchs(smoothing: float, tiny: eb.Network, data: eb.Dataset) -> None:
    # The test loss of the plain loop is F.cross_entropy without smoothing.
    run, losses, _ = both(tiny, plain_tiny(), data, smoothing=smoothing)
    assert_same(run, losses)
    sharp, _, _ = both(tiny, plain_tiny(), data)
    assert run.test_loss[0] == sharp.test_loss[0]
    assert run.train_loss[0] != sharp.train_loss[0]


def test_both_together(tiny: eb.Network, data: eb.Dataset) -> None:
    run, losses, _ = both(tiny, plain_tiny(), data, decay=0.9, smoothing=0.1)
    assert_same(run, losses)


def test_validation_losses_are_not_smoothed(quick: Quick, glyphs: eb.Dataset) -> None:
    run = quick(label_smoothing=0.2, validation=0.2)
    held_out = run.validation_indices
    logits = torch.tensor(run.model.logits(glyphs.train_images[held_out]))
    loss = functional.cross_entropy(logits, torch.tensor(glyphs.train_labels[held_out]))
    assert run.validation_loss[-1] == pytest.approx(loss.item(), rel=1e-5)


# ---- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ema", "label_smoothing"])
@pytest.mark.parametrize(
    ("value", "error"),
    [(1.0, ArgumentError), (-0.1, ArgumentError), (float("nan"), ArgumentError), ("x", TypeError), (True, TypeError)],
)
def test_shares_that_are_none(quick: Quick, name: str, value: Any, error: type[Exception]) -> None:
    call = partial(quick, callbacks=lambda _: pytest.fail("the training began"))
    with pytest.raises(error, match=f"{name} (is|must)"):
        call(**{name: value})
