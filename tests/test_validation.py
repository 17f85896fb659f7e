"""Held-out images: which they are, what is measured on them, and what the measurements decide."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import everybatch as eb
from everybatch.errors import ArgumentError, SelectionWarning
from everybatch.plots._labels import automatic_labels
from everybatch.run import Run
from test_run import example_arrays, example_config

Quick = Callable[..., eb.Run]
CURVES = ("validation_loss", "validation_accuracy", "validation_class_accuracy", "validation_indices")


@pytest.fixture(scope="module")
def validated(tiny: eb.Network, glyphs: eb.Dataset) -> eb.Run:
    """Two epochs on 104 of the 130 images, measured on the other 26 too."""
    return eb.train(tiny, glyphs, epochs=2, batch_size=20, validation=0.2, seed=4, progress=False, device="cpu")


# ---- which images --------------------------------------------------------------------------------


def test_a_share_is_drawn_from_all_classes_alike(validated: eb.Run, glyphs: eb.Dataset) -> None:
    held_out = validated.validation_indices
    assert held_out.dtype == np.int64
    assert len(held_out) == len(np.unique(held_out)) == 26
    assert (np.diff(held_out) > 0).all()
    have, drawn = (np.bincount(glyphs.train_labels[part], minlength=10) for part in (slice(None), held_out))
    assert np.abs(drawn - 0.2 * have).max() < 1


def test_a_count_and_its_share_name_the_same_images(quick: Quick, validated: eb.Run) -> None:
    np.testing.assert_array_equal(quick(validation=26, seed=4).validation_indices, validated.validation_indices)
    np.testing.assert_array_equal(quick(validation=np.int64(26), seed=4).validation_indices, quick(
        validation=np.float64(0.2), seed=4).validation_indices)  # fmt: skip


def test_the_seed_decides(quick: Quick, validated: eb.Run) -> None:
    np.testing.assert_array_equal(quick(validation=0.2, seed=4).validation_indices, validated.validation_indices)
    assert not np.array_equal(quick(validation=0.2, seed=5).validation_indices, validated.validation_indices)


@pytest.mark.parametrize("form", [list, tuple, np.array, torch.tensor])
def test_indices_are_taken_as_given(quick: Quick, form: Any) -> None:
    run = quick(validation=form([7, 3, 129]))
    assert run.validation_indices.tolist() == [7, 3, 129]
    assert run.config["training"]["validation"] == [7, 3, 129]


# The same images by NumPy's own indexing.
@pytest.mark.parametrize(
    "part",
    [
        slice(100, None),
        slice(None, None, 7),
        slice(20, 3, -2),
        slice(-5, 1000),
        np.arange(130) % 3 == 1,
        (np.arange(130) > 120).tolist(),
        torch.arange(130) < 9,
    ],
)
def test_masks_and_slices(quick: Quick, part: Any) -> None:
    right = np.arange(130)[np.asarray(part) if not isinstance(part, slice) else part].tolist()
    run = quick(validation=part, steps=1, evaluate_on=slice(3, 9))
    assert run.validation_indices.tolist() == right
    assert run.config["training"]["validation"] == right
    assert run.config["training"]["evaluate_on"] == [3, 4, 5, 6, 7, 8]


def test_batches_hold_every_other_image_once_an_epoch_and_never_those(validated: eb.Run) -> None:
    others = np.setdiff1d(np.arange(130), validated.validation_indices)
    assert validated.steps == 12
    assert validated.epochs == 2
    for epoch in range(2):
        batches = [validated.batch_indices(6 * epoch + batch) for batch in range(6)]
        assert [len(batch) for batch in batches] == [20, 20, 20, 20, 20, 4]
        np.testing.assert_array_equal(np.sort(np.concatenate(batches)), others)


def test_the_named_batch_is_the_one_that_was_trained_on(quick: Quick, glyphs: eb.Dataset) -> None:
    # PyTorch's loss, in training mode, of the images that batch_indices names.
    network = eb.Network([eb.Flatten(), eb.Linear(784, 10)])
    run = quick(network, validation=[0, 1, 2, 60, 129], seed=2)
    state, batch = network.initialize(2).state_dict(), run.batch_indices(0)
    pixels = (torch.tensor(glyphs.train_images[batch]).flatten(1) / 255 - glyphs.mean[0]) / glyphs.std[0]
    logits = torch.nn.functional.linear(pixels.float(), state["1.weight"], state["1.bias"])
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(glyphs.train_labels[batch]))
    assert run.train_loss[0] == pytest.approx(loss.item(), rel=1e-5)


def test_without_shuffling_the_order_is_that_of_the_others(quick: Quick) -> None:
    run = quick(validation=[0, 5, 129], shuffle=False)
    order = np.concatenate([run.batch_indices(step) for step in range(run.steps)])
    np.testing.assert_array_equal(order, np.setdiff1d(np.arange(130), [0, 5, 129]))


# ---- what is measured ----------------------------------------------------------------------------


def test_arrays(validated: eb.Run) -> None:
    shapes = {"loss": (13,), "accuracy": (13,), "class_accuracy": (13, 10)}
    for name, shape in shapes.items():
        array = getattr(validated, f"validation_{name}")
        assert (array.dtype, array.shape) == (np.float32, shape)
        assert not array.flags.writeable


def test_figures_are_those_of_the_model_on_these_images(quick: Quick, glyphs: eb.Dataset) -> None:
    models: list[eb.Model] = []
    run = quick(validation=0.2, evaluate_every=2, callbacks=lambda step: models.append(step.model()))
    images, labels = (part[run.validation_indices] for part in (glyphs.train_images, glyphs.train_labels))
    for row, step in enumerate(run.eval_step):
        if step == 0:
            continue
        measured = models[step - 1].evaluate(images, labels)
        assert run.validation_loss[row] == np.float32(measured.loss)
        assert run.validation_accuracy[row] == np.float32(measured.accuracy)
        np.testing.assert_array_equal(run.validation_class_accuracy[row], measured.class_accuracy)
        tested = models[step - 1].evaluate(glyphs)
        assert run.test_loss[row] == np.float32(tested.loss)  # the curves are kept apart


def test_a_callback_sees_them(quick: Quick) -> None:
    seen: list[tuple[Any, ...]] = []
    run = quick(validation=0.2, callbacks=lambda s: seen.append((s.validation_loss, s.validation_accuracy, s.examples)))
    np.testing.assert_array_equal([row[0] for row in seen], run.validation_loss[1:])
    np.testing.assert_array_equal([row[1] for row in seen], run.validation_accuracy[1:])
    assert {row[2] for row in seen} == {104}
    quick(callbacks=lambda s: seen.append((s.validation_loss, s.validation_accuracy, s.examples)))
    assert seen[-1] == (None, None, 130)


def test_a_run_without_them_says_how_to_get_them(quick: Quick) -> None:
    run = quick()
    for name in CURVES:
        with pytest.raises(AttributeError, match=r"no validation images: train with validation=0\.1"):
            getattr(run, name)


def test_the_history_has_their_columns(validated: eb.Run, quick: Quick) -> None:
    table = validated.history()
    names = ["step", "epoch", "train_loss", "train_accuracy", "lr", "validation_loss", "validation_accuracy"]
    assert list(table.columns[:9]) == [*names, "test_loss", "test_accuracy"]
    np.testing.assert_array_equal(table["validation_loss"], validated.validation_loss)
    np.testing.assert_array_equal(table["validation_accuracy"], validated.validation_accuracy)
    np.testing.assert_array_equal(table["lr"][1:], validated.lr)
    assert np.isnan(table["lr"][0])
    assert not [name for name in quick().history().columns if "validation" in name]


def test_saved_and_loaded_runs_keep_them(validated: eb.Run, tmp_path: Path) -> None:
    validated.save(tmp_path / "run")
    loaded = eb.load_run(tmp_path / "run")
    for name in (*CURVES, "lr"):
        assert getattr(loaded, name).tobytes() == getattr(validated, name).tobytes()
    np.testing.assert_array_equal(loaded.batch_indices(3), validated.batch_indices(3))
    assert loaded.model_step == validated.model_step == 12
    assert loaded.config == validated.config


def test_a_run_has_all_of_them_or_none() -> None:
    arrays = example_arrays()
    with_all = arrays | {
        "validation_loss": arrays["test_loss"],
        "validation_accuracy": arrays["test_accuracy"],
        "validation_class_accuracy": arrays["class_accuracy"],
        "validation_indices": np.arange(5),
    }
    assert Run(with_all, example_config()).validation_indices.tolist() == [0, 1, 2, 3, 4]
    for name in CURVES:
        with pytest.raises(ArgumentError, match=f"array '{name}' is missing"):
            Run({key: array for key, array in with_all.items() if key != name}, example_config())
    with pytest.raises(ArgumentError, match="'validation_indices' must index the train set of 22 images"):
        Run(with_all | {"validation_indices": np.array([22])}, example_config())


# ---- what they decide ----------------------------------------------------------------------------

JUMPING: dict[str, Any] = {"lr": 0.02, "epochs": 6, "validation": 0.3}
"""A rate at which the curves jump, so that the best of the 18 steps is not the last."""


def best_of(run: eb.Run, monitor: str) -> int:
    """The step of the best evaluation after the first step, by NumPy."""
    values, steps = getattr(run, monitor)[1:], run.eval_step[1:]
    return int(steps[values.argmin() if monitor.endswith("loss") else values.argmax()])


@pytest.mark.parametrize("monitor", ["validation_loss", "validation_accuracy"])
def test_the_best_weights_are_those_of_the_best_evaluation(quick: Quick, glyphs: eb.Dataset, monitor: str) -> None:
    run = quick(**JUMPING, select="best", monitor=monitor)
    best = best_of(run, monitor)
    assert run.model_step == best < run.steps
    row = int(np.flatnonzero(run.eval_step == best)[0])
    assert np.float32(run.model.evaluate(glyphs).loss) == run.test_loss[row]
    assert run.model_accuracy == run.test_accuracy[row]
    assert run.final_accuracy == run.test_accuracy[-1]
    # A run that ends there has the same weights, and both went the same way.
    until = quick(**(JUMPING | {"epochs": 1, "steps": best}))
    for name, tensor in until.model.state_dict().items():
        assert torch.equal(tensor, run.model.state_dict()[name]), name
    np.testing.assert_array_equal(run.train_loss[:best], until.train_loss)


def test_the_last_weights_are_the_default(quick: Quick, glyphs: eb.Dataset) -> None:
    run = quick(**JUMPING)
    assert run.model_step == run.steps
    assert np.float32(run.model.evaluate(glyphs).loss) == run.test_loss[-1]
    assert run.model_accuracy == run.final_accuracy
    assert run.config["training"]["monitor"] is None  # nothing is decided
    assert quick(**JUMPING, patience=99).config["training"]["monitor"] == "validation_loss"


def test_the_selected_weights_are_saved(quick: Quick, tmp_path: Path) -> None:
    run = quick(**JUMPING, select="best")
    run.save(tmp_path / "run")
    loaded = eb.load_run(tmp_path / "run")
    assert loaded.model_step == run.model_step < run.steps
    for name, tensor in run.model.state_dict().items():
        assert torch.equal(tensor, loaded.model.state_dict()[name])
    assert f"<td>of step {run.model_step:,}, test accuracy {run.model_accuracy:.2%}</td>" in loaded._repr_html_()


@pytest.mark.parametrize("min_delta", [0.0, 0.05])
@pytest.mark.parametrize("monitor", ["validation_loss", "validation_accuracy"])
def test_patience_counts_evaluations_without_a_better_one(quick: Quick, monitor: str, min_delta: float) -> None:
    arguments = JUMPING | {"epochs": 20}
    whole = quick(**arguments)
    run = quick(**arguments, monitor=monitor, patience=3, min_delta=min_delta)
    # By hand, on the curve of the run that went on.
    best, stale, end = np.inf, 0, whole.steps
    values = getattr(whole, monitor)[1:].astype(np.float64)
    for step, value in enumerate(values if monitor.endswith("loss") else -values, 1):
        best, stale = (value, 0) if value < best - min_delta else (best, stale + 1)
        if stale == 3:
            end = step
            break
    assert run.steps == end < whole.steps
    assert run.state == "stopped"
    assert f"{monitor} did not improve in 3 measurements" in run.config["status"]["message"]
    np.testing.assert_array_equal(getattr(run, monitor), getattr(whole, monitor)[: end + 1])


def test_min_delta_matters_to_the_choice_too(quick: Quick) -> None:
    run = quick(**JUMPING, select="best", min_delta=1e6)
    assert run.model_step == 1  # no later one is better by a million


# ---- the warning ---------------------------------------------------------------------------------

DECIDING: list[dict[str, Any]] = [
    {"select": "best"},
    {"patience": 2},
    {"schedule": "plateau"},
    {"schedule": eb.schedules.warmup(2, "plateau")},
]


@pytest.mark.parametrize("arguments", DECIDING)
@pytest.mark.parametrize("monitor", [None, "test_accuracy"])
def test_a_warning_when_the_test_images_decide(quick: Quick, arguments: dict[str, Any], monitor: str | None) -> None:
    with pytest.warns(SelectionWarning) as caught:
        quick(monitor=monitor, **arguments)
    assert [str(warning.message) for warning in caught] == [
        f"{monitor or 'test_loss'} decides about this run, so that its accuracy on these test images is no estimate "
        "for new ones. Give validation=0.1 to decide by images held out of the training set."
    ]
    assert caught[0].filename.endswith("conftest.py")  # where train was called


def test_a_warning_when_they_decide_in_spite_of_a_validation_set(quick: Quick) -> None:
    with pytest.warns(SelectionWarning, match="test_accuracy decides"):
        quick(validation=0.2, monitor="test_accuracy", select="best")


@pytest.mark.parametrize("arguments", [*({"validation": 0.2} | case for case in DECIDING), {}])
def test_no_warning_otherwise(quick: Quick, arguments: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quick(**arguments)


def test_the_warning_can_be_made_an_error_before_anything_is_trained(quick: Quick) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", SelectionWarning)
        with pytest.raises(SelectionWarning):
            quick(select="best", callbacks=lambda _: pytest.fail("the training began"))


# ---- labels of runs ------------------------------------------------------------------------------


def test_runs_that_differ_in_what_they_hold_out_are_told_apart(quick: Quick) -> None:
    runs = [quick(validation=0.2), quick(validation=0.1)]
    assert automatic_labels(runs, ["a", "b"]) == ["validation 0.2", "validation 0.1"]
