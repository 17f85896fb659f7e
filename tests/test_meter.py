"""`eb.Meter`: what it measures of a loop of one's own, against `eb.train` with the same weights and PyTorch by hand."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812

import everybatch as eb
from everybatch.errors import ArgumentError
from metering import Itself, by_hand, net, pixels, steps

SECONDS = {"train_seconds", "eval_seconds", "training_eval_seconds"}


@pytest.fixture(scope="module")
def many() -> eb.Dataset:
    """Enough test images for estimates."""
    return eb.datasets.glyphs(train=400, test=1_200, seed=6)


def replayed(model: eb.Model, data: eb.Dataset, how: dict[str, Any], metered: dict[str, Any]) -> tuple[eb.Run, eb.Run]:
    """A run of `eb.train`, and one of a meter that is shown the same weights step by step."""
    weights: list[dict[str, torch.Tensor]] = []
    run = eb.train(
        model,
        data,
        batch_size=32,
        steps=12,
        device="cpu",
        deterministic=True,
        progress=False,
        callbacks=lambda step: weights.append(copy.deepcopy(step.model().state_dict())),
        **how,
    )
    module = eb.export.torch_module(model)
    meter = eb.Meter(module, data, batch_size=32, steps=12, deterministic=True, **how, **metered)
    for place, state in enumerate(weights):
        module.load_state_dict(state)
        told: dict[str, Any] = {"accuracy": run.train_accuracy[place]}
        if "examples" in how.get("record", ()):
            told = told_of_batch(model, run, place, data)
        meter.step(run.train_loss[place], lr=run.lr[place], **told)
    assert meter.measured_by == "plan", meter.reason
    return run, meter.end()


def told_of_batch(model: eb.Model, run: eb.Run, step: int, data: eb.Dataset) -> dict[str, Any]:
    """Indices, and logits with which everything follows that is asked for below: those of `step_votes`."""
    indices = run.batch_indices(step)
    return {"indices": indices, "logits": torch.zeros(len(indices), data.num_classes)}


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"record": ("predictions", "losses"), "validation": 40, "evaluate_every": 5, "seed": 3},
        {"tolerance": 0.02, "complete_every": 5, "seed": 2},
        {"tolerance": 0.02, "validation": 0.1, "evaluate_every": 5, "evaluate_on": slice(0, 1_100)},
    ],
    ids=["complete", "recording", "estimates", "estimates of a part"],
)
def test_the_same_weights_give_the_arrays_of_train(tiny: eb.Network, many: eb.Dataset, how: dict[str, Any]) -> None:
    run, metered = replayed(tiny.initialize(0), many, how, {})
    assert metered._arrays.keys() == run._arrays.keys()
    for name in run._arrays.keys() - SECONDS:
        np.testing.assert_array_equal(getattr(metered, name), getattr(run, name), err_msg=name)
    assert metered.state == run.state == "finished"
    if "tolerance" in how:
        assert (metered.images_measured < len(metered.test_indices)).any()


def test_what_becomes_of_each_image_is_that_of_train(tiny: eb.Network, glyphs: eb.Dataset) -> None:
    run, metered = replayed(tiny.initialize(0), glyphs, {"record": "examples", "measure_training": 3}, {})
    assert metered._arrays.keys() == run._arrays.keys()
    for name in run._arrays.keys() - SECONDS - {"step_sums", "step_events", "train_accuracy", "step_votes"}:
        np.testing.assert_array_equal(getattr(metered, name), getattr(run, name), err_msg=name)
    np.testing.assert_array_equal(metered.step_votes.sum(axis=1), run.step_votes.sum(axis=1))  # the same images
    assert metered.training_eval_step.tolist() == [4, 8, 12]


def test_a_plain_loop_gives_the_arrays_of_train(tiny: eb.Network, glyphs: eb.Dataset) -> None:
    model = tiny.initialize(0)
    how: dict[str, Any] = {"batch_size": 32, "epochs": 2, "lr": 0.01, "seed": 7}
    run = eb.train(model, glyphs, device="cpu", progress=False, deterministic=True, **how)
    module = eb.export.torch_module(model).train()
    images, labels = pixels(glyphs.train_images, glyphs.mean, glyphs.std), torch.tensor(glyphs.train_labels)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    with eb.Meter(module, glyphs, batch_size=32, deterministic=True) as meter:
        for step in range(run.steps):
            batch = torch.tensor(run.batch_indices(step))
            logits = module(images[batch])
            loss = F.cross_entropy(logits, labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            meter.step(loss, lr=optimizer.param_groups[0]["lr"], indices=batch, logits=logits)
    metered = meter.run
    for name in ("train_loss", "test_loss"):
        np.testing.assert_allclose(getattr(metered, name), getattr(run, name), rtol=1e-4, err_msg=name)
    for name in ("train_accuracy", "test_accuracy", "class_accuracy", "lr", "eval_step"):
        np.testing.assert_allclose(getattr(metered, name), getattr(run, name), atol=1 / 30, err_msg=name)
    np.testing.assert_array_equal(metered.eval_epoch, run.eval_epoch)
    trained, given = metered.model.state_dict(), module.state_dict()
    assert all(torch.equal(trained[name], given[name]) for name in given)


@pytest.mark.parametrize("wrap", [lambda module: module, Itself], ids=["plan", "module"])
def test_figures_are_those_by_hand(glyphs: eb.Dataset, wrap: Any) -> None:
    inner = net()
    module = wrap(inner)
    images = pixels(glyphs.test_images, glyphs.mean, glyphs.std)
    expected = [by_hand(module, images, glyphs.test_labels)]
    with eb.Meter(module, glyphs, record=("predictions",), chunk=17) as meter:
        for loss in steps(module, glyphs, 6):
            meter.step(loss)
            expected.append(by_hand(module, images, glyphs.test_labels))
    assert meter.measured_by == ("plan" if module is inner else "module"), meter.reason
    run = meter.run
    np.testing.assert_allclose(run.test_loss, [loss for loss, _, _ in expected], rtol=1e-5)
    np.testing.assert_allclose(run.test_accuracy, [accuracy for _, accuracy, _ in expected], atol=1e-6)
    np.testing.assert_array_equal(run.predictions, [predicted for _, _, predicted in expected])
    assert (meter.test_loss, meter.test_accuracy) == (run.test_loss[-1], run.test_accuracy[-1])
    found = meter.evaluate()
    assert found.loss == pytest.approx(expected[-1][0], rel=1e-5)
    assert found.confusion.tolist() == run.confusion.tolist()
    assert found.classes == glyphs.classes


def test_a_plan_measures_as_the_model_evaluates(glyphs: eb.Dataset) -> None:
    module = net()
    with eb.Meter(module, glyphs, deterministic=True) as meter:
        for loss in steps(module, glyphs, 3):
            meter.step(loss)
    found = meter.run.model.evaluate(glyphs)
    assert np.float32(found.loss) == meter.run.test_loss[-1]
    assert found.confusion.tolist() == meter.run.confusion.tolist()
    assert meter.run.model.classes == glyphs.classes


def test_estimates_of_a_module_that_is_run(many: eb.Dataset) -> None:
    module = Itself(net())
    images, expected = pixels(many.test_images, many.mean, many.std), []
    with eb.Meter(module, many, tolerance=0.02) as meter:
        for loss in steps(module, many, 30, lr=0.02):
            meter.step(loss)
            expected.append(by_hand(module, images, many.test_labels)[1])
    run = meter.run
    assert meter.measured_by == "module"
    complete = run.images_measured == 1_200
    assert complete[[0, -1]].all()
    assert complete.mean() < 0.7
    off, error = run.test_accuracy[1:] - expected, run.test_accuracy_error[1:]
    np.testing.assert_allclose(off[complete[1:]], 0, atol=1e-6)
    assert np.mean(np.abs(off[~complete[1:]]) <= 2 * error[~complete[1:]] + 1e-6) > 0.8


def test_validation_images_are_measured_and_the_others_named(glyphs: eb.Dataset) -> None:
    module = net()
    meter = eb.Meter(module, glyphs, validation=0.2, seed=4)
    same = eb.train(eb.networks.lenet5(), glyphs, validation=0.2, seed=4, steps=1, progress=False, device="cpu")
    np.testing.assert_array_equal(meter.run.validation_indices, same.validation_indices)
    held_out = meter.run.validation_indices
    assert sorted([*meter.trained_indices, *held_out]) == list(range(130))
    images = pixels(glyphs.train_images[held_out], glyphs.mean, glyphs.std)
    loss, accuracy, _ = by_hand(module, images, glyphs.train_labels[held_out])
    assert meter.run.validation_loss[0] == pytest.approx(loss, rel=1e-5)
    assert meter.run.validation_accuracy[0] == pytest.approx(accuracy)


def test_a_last_measurement_is_made_once_and_complete(many: eb.Dataset) -> None:
    module = net()
    meter = eb.Meter(module, many, evaluate_every=4)
    for loss in steps(module, many, 6):
        meter.step(loss)
    run = meter.end()
    assert run.eval_step.tolist() == [0, 4, 6]
    assert meter.end() is run is meter.run
    estimated = eb.Meter(module, many, tolerance=0.1, complete_every=100)
    for loss in steps(module, many, 3):
        estimated.step(loss)
    assert estimated.run.images_measured[-1] < 1_200
    assert estimated.end().images_measured[-1] == 1_200
    assert estimated.run.eval_step.tolist() == [0, 1, 2, 3]


def test_seconds_are_those_between_the_calls(glyphs: eb.Dataset) -> None:
    module = net()
    with eb.Meter(module, glyphs) as meter:
        for loss in steps(module, glyphs, 2):
            meter.step(loss)
    run = meter.run
    assert (run.train_seconds > 0).all()
    assert (run.eval_seconds > 0).all()
    assert run.seconds.shape == (2, 2)


def test_a_loss_that_is_no_number_ends_nothing(glyphs: eb.Dataset) -> None:
    module = net()
    meter = eb.Meter(module, glyphs, record="examples", evaluate_every=2)
    with pytest.warns(RuntimeWarning, match="with the weights after 0 steps"):
        meter.step(float("nan"))  # as of a batch that a gradient scaler leaves out
    assert meter.run.diverged_at == 0
    meter.step(torch.tensor(1.5, requires_grad=True))
    assert meter.run.diverged_at is None
    meter.step(np.float32(1.25))
    run = meter.end()
    np.testing.assert_array_equal(run.train_loss, np.float32([np.nan, 1.5, 1.25]))
    assert (run.state, run.eval_step.tolist()) == ("finished", [0, 2, 3])
    assert run.test_votes.sum(axis=1).tolist() == [3] * 60
    assert run.confusion.sum() == 60


def test_weights_that_are_no_numbers(glyphs: eb.Dataset) -> None:
    module = net()
    meter = eb.Meter(module, glyphs)
    meter.step(1.0)
    with torch.no_grad():
        module.fc.weight[0, 0] = torch.nan
    with pytest.warns(RuntimeWarning, match="after 2 steps"):
        meter.step(1.0)
    run = meter.end()
    assert (run.state, run.diverged_at) == ("diverged", 2)
    assert np.isnan(run.test_loss[-1])
    assert np.isfinite(run.test_loss[:-1]).all()
    assert run.best_step in (0, 1)
    assert "diverged" in repr(run)


def test_images_of_steps_are_told_at_all_of_them_or_at_none(glyphs: eb.Dataset) -> None:
    module, logits = net(), torch.zeros(2, 10)
    meter = eb.Meter(module, glyphs, record="examples", validation=[7])
    meter.step(1.0, indices=[3, 5], logits=logits)
    for wrong, message in [
        ({}, "step 1 tells nothing of its images, and those before it did"),
        ({"indices": [3, 3], "logits": logits}, "training image 3 twice"),
        ({"indices": [3, 130], "logits": logits}, "training image 130, and there are 130"),
        ({"indices": [3, 7], "logits": logits}, "training image 7, which is held out"),
        ({"indices": [3, 5]}, "logits is missing"),
        ({"indices": [3, 5], "logits": logits, "accuracy": 0.5}, "accuracy is given, and follows"),
    ]:
        with pytest.raises(ArgumentError, match=message):
            meter.step(1.0, **wrong)
    assert meter.steps == 1
    assert meter.end().step_votes.sum() == 2
    silent = eb.Meter(module, glyphs, record="examples")
    silent.step(1.0)
    with pytest.raises(ArgumentError, match="step 1 tells of its images, and those before it did not"):
        silent.step(1.0, indices=[3, 5], logits=logits)
    with pytest.raises(AttributeError, match="its meter was not told which images were in the batches"):
        silent.end().step_sums  # noqa: B018
    assert silent.run.test_votes.sum() == 2 * 60
