"""What a meter is told: each argument alone and with the others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import everybatch as eb
from everybatch.errors import ArgumentError, ShapeError
from metering import net


@pytest.fixture(scope="module")
def meter(glyphs: eb.Dataset) -> eb.Meter:
    return eb.Meter(net(), glyphs, evaluate_every=1000)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"loss": torch.ones(3)}, ShapeError, r"loss has the shape \(3,\): give the mean over the batch"),
        ({"loss": "low"}, TypeError, "loss must be a number, not 'low'"),
        ({"loss": None}, TypeError, "loss must be a number, not None"),
        ({"loss": True}, TypeError, "loss must be a number"),
        ({"loss": torch.tensor(1j)}, TypeError, "loss must be a number"),
        ({"lr": [0.1, 0.2]}, ArgumentError, "lr has 2 numbers: give one"),
        ({"lr": "fast"}, TypeError, "lr must be a number"),
        ({"accuracy": 97.5}, ArgumentError, r"accuracy is 97.5: .* in \[0, 1\]"),
        ({"indices": [0.5], "logits": torch.zeros(1, 10)}, TypeError, "indices must be whole numbers"),
        ({"indices": [1], "logits": torch.zeros(1, 9)}, ShapeError, r"logits have the shape \[1, 9\]"),
        ({"indices": [1, 2], "logits": torch.zeros(1, 10)}, ShapeError, "2 indices"),
        ({"indices": [1], "logits": torch.zeros(1, 10, dtype=torch.long)}, TypeError, "logits must be floats"),
    ],
)
def test_steps_that_cannot_be(meter: eb.Meter, given: dict[str, Any], error: type[Exception], message: str) -> None:
    before = meter.steps
    with pytest.raises(error, match=message):
        meter.step(**{"loss": 1.0} | given)
    assert meter.steps == before


def test_losses_and_rates_in_all_forms(glyphs: eb.Dataset) -> None:
    meter = eb.Meter(net(), glyphs, evaluate_every=100)
    loss = torch.tensor(0.5, requires_grad=True)
    meter.step(loss, lr=[0.1], accuracy=torch.tensor(0.25))
    meter.step(np.float64(0.25), lr=torch.tensor(0.5))
    meter.step(torch.ones(1, 1), lr=np.float32(0.25))
    meter.step(2, lr=1)
    run = meter.end()
    assert run.train_loss.tolist() == [0.5, 0.25, 1.0, 2.0]
    assert run.lr.tolist() == [0.1, 0.5, 0.25, 1.0]
    np.testing.assert_array_equal(run.train_accuracy, np.float32([0.25, np.nan, np.nan, np.nan]))
    assert loss.grad is None


def test_the_accuracy_of_a_batch_follows_from_its_logits(glyphs: eb.Dataset) -> None:
    meter = eb.Meter(net(), glyphs)
    logits = torch.nn.functional.one_hot(torch.tensor(glyphs.train_labels[[4, 9, 30, 2]]), 10).float()
    logits[3] = -logits[3]
    meter.step(1.0, indices=np.array([4, 9, 30, 2]), logits=logits.requires_grad_())
    assert meter.run.train_accuracy.tolist() == [0.75]


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"module": nn.Linear}, TypeError, "module must be a torch.nn.Module"),
        ({"module": "resnet"}, TypeError, "module must be a torch.nn.Module, not str"),
        ({"dataset": 3}, TypeError, "[Dd]ataset"),
        ({"inputs": "raw"}, ArgumentError, 'inputs must be "normalized"'),
        ({"inputs": 3}, TypeError, 'inputs must be "normalized"'),
        ({"inputs": ((0.1, 0.2), 1)}, ArgumentError, r"inputs \(mean\) has 2 numbers: it must have 1"),
        ({"inputs": (0, 0)}, ArgumentError, "it must be above 0"),
        ({"evaluate_every": "epoch"}, ArgumentError, "evaluate_every is 'epoch', and how long one is is not known"),
        ({"tolerance": 0.1, "complete_every": "epoch"}, ArgumentError, "complete_every is 'epoch'"),
        ({"complete_every": 3}, ArgumentError, "complete_every is given without tolerance"),
        ({"tolerance": 2}, ArgumentError, "tolerance is 2"),
        ({"tolerance": 0.1, "record": "predictions"}, ArgumentError, "with a tolerance most of them are not looked at"),
        ({"record": "grad_norm"}, ArgumentError, "which a meter cannot keep: gradients are clipped or gone"),
        ({"record": ["weights"]}, ArgumentError, "which a meter cannot keep: of the optimizer"),
        ({"record": ["pixels"]}, ArgumentError, "record is 'pixels'"),
        ({"measure_training": 3}, ArgumentError, "give its length, steps="),
        ({"measure_training": 3, "steps": 9}, ArgumentError, "measure_training is 3, and the training images are"),
        ({"validation": 130}, ArgumentError, "validation"),
        ({"batch_size": 131}, ArgumentError, "batch_size is 131, and there are 130 training images"),
        ({"batch_size": 0}, ArgumentError, "batch_size is 0"),
        ({"steps_per_epoch": 0}, ArgumentError, "steps_per_epoch is 0"),
        ({"steps": 0}, ArgumentError, "steps is 0"),
        ({"chunk": 0}, ArgumentError, "chunk is 0"),
        ({"precision": "tf32"}, ArgumentError, "torch.backends"),
        ({"precision": "float16"}, ArgumentError, "precision"),
        ({"live": 1}, TypeError, "live must be True or False"),
    ],
)
def test_meters_that_cannot_be(glyphs: eb.Dataset, given: dict[str, Any], error: type[Exception], message: str) -> None:
    arguments = {"module": net(), "dataset": glyphs} | given
    with pytest.raises(error, match=message):
        eb.Meter(**arguments)


def test_a_model_is_sent_to_train(glyphs: eb.Dataset, tiny: eb.Network) -> None:
    with pytest.raises(TypeError, match=r"not Model: a Model is trained and measured by eb\.train"):
        eb.Meter(tiny.initialize(0), glyphs)  # type: ignore[arg-type]


def test_a_module_that_normalises_by_itself_is_given_pixels(glyphs: eb.Dataset, tiny: eb.Network) -> None:
    model = eb.train(tiny, glyphs, steps=1, device="cpu", progress=False).model
    module = eb.export.torch_module(model, normalize=True)
    with pytest.raises(ArgumentError, match="normalises pixels by itself: give inputs='unit'"):
        eb.Meter(module, glyphs)
    assert eb.Meter(module, glyphs, inputs="unit").test_loss == pytest.approx(model.evaluate(glyphs).loss, rel=1e-4)


def test_images_of_another_size_than_the_module_takes(glyphs: eb.Dataset) -> None:
    with pytest.raises(RuntimeError, match=r"shape|mat1"):
        eb.Meter(nn.Sequential(nn.Flatten(), nn.Linear(100, 10)), glyphs)


def test_epochs_follow_from_the_batch_size(glyphs: eb.Dataset) -> None:
    meter = eb.Meter(net(), glyphs, batch_size=32, validation=30, evaluate_every="epoch")
    for _ in range(5):
        meter.step(1.0)
    assert meter.run.config["training"]["steps_per_epoch"] == 4
    assert meter.run.eval_step.tolist() == [0, 4]
    own = eb.Meter(net(), glyphs, batch_size=32, steps_per_epoch=3)
    assert own.run.config["training"]["steps_per_epoch"] == 3
