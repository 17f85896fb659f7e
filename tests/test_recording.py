"""What `train(record=("losses", "examples"))` records of single images, against NumPy and PyTorch."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn
from torch.nn import functional

import everybatch as eb
import reference
from everybatch._measures import EVENTS, SUMS
from everybatch.errors import ArgumentError
from same_runs import assert_same
from sweeping import swept

Array = npt.NDArray[Any]

ALL = ("predictions", "losses", "examples")
PASSES = ("training_eval_step", "training_predictions", "training_margins", "training_losses")
OVER_THE_RUN = ("step_sums", "step_votes", "step_events", "test_sums", "test_votes", "test_events")


def recorded(network: eb.Network | eb.Model, data: eb.Dataset, **given: Any) -> eb.Run:
    arguments = {"batch_size": 32, "steps": 12, "record": ALL, "progress": False, "device": "cpu"}
    return eb.train(network, data, **arguments | given)


def events_of(right: Array, taken: Array) -> Array:
    """(images, 5) by their definitions, of right predictions (looks, images), bool, after so many steps (looks,)."""
    found = np.zeros((right.shape[1], len(EVENTS)), int)
    for image, seen in enumerate(right.T):
        first = np.flatnonzero(seen)
        wrong = np.flatnonzero(~seen)
        lasting = 0 if not len(wrong) else wrong[-1] + 1
        found[image] = (
            len(wrong),
            np.sum(seen[:-1] & ~seen[1:]),
            taken[first[0]] if len(first) else -1,
            taken[lasting] if lasting < len(seen) else -1,
            -1 if not len(seen) else seen[-1],
        )
    return found


def votes_of(predictions: Array, classes: int) -> Array:
    """(images, classes) of predictions (looks, images)."""
    return np.stack([np.bincount(column, minlength=classes) for column in predictions.T.astype(int)])


def numbers_of(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """(images, 5) float64 of `SUMS`, by PyTorch: what one look adds."""
    logits = logits.detach().double()
    rest = logits.clone()
    rest[torch.arange(len(labels)), labels] = -torch.inf
    margin = logits[torch.arange(len(labels)), labels] - rest.max(1).values
    p = logits.softmax(1)[torch.arange(len(labels)), labels]
    return torch.stack([margin, margin.tanh(), p, p**2, functional.cross_entropy(logits, labels, reduction="none")], 1)


# ---- losses ----------------------------------------------------------------------------------------


# Expected: the mean of float16 losses is the loss of the same evaluation in float32, to float16's 11 bits.
@pytest.mark.parametrize("given", [{}, {"evaluate_on": 20, "evaluate_every": 5}, {"kernels": "fused", "ema": 0.5}])
def test_losses_are_those_of_the_curves(tiny: eb.Network, glyphs: eb.Dataset, given: dict[str, Any]) -> None:
    run = recorded(tiny, glyphs, **given)
    assert run.losses.dtype == np.float16
    assert run.losses.shape == run.predictions.shape == (len(run.eval_step), len(run.test_indices))
    np.testing.assert_allclose(run.losses.astype(float).mean(1), run.test_loss, rtol=5e-4)


# Expected: PyTorch's cross-entropy in float64, with the weights before and after training.
def test_losses_are_pytorchs(glyphs: eb.Dataset) -> None:
    before = eb.Network([eb.Flatten(), eb.Linear(784, 10)]).initialize(seed=3)
    run = recorded(before, glyphs)
    images = reference.pixels(glyphs.test_images, glyphs.mean, glyphs.std).flatten(1).double()
    labels = torch.tensor(glyphs.test_labels)
    for row, model in ((0, before), (-1, run.model)):
        weight, bias = model.state_dict().values()
        logits = functional.linear(images, weight.double(), bias.double())
        expected = functional.cross_entropy(logits, labels, reduction="none")
        np.testing.assert_allclose(run.losses[row], expected, rtol=1e-3, atol=1e-4)


def test_a_loss_beyond_float16_is_its_largest_number(glyphs: eb.Dataset) -> None:
    model = eb.Network([eb.Flatten(), eb.Linear(784, 10)]).initialize(seed=3)
    for tensor in model.state_dict().values():
        tensor.mul_(1e6)
    run = recorded(model, glyphs, lr=0.0, steps=1)
    assert run.test_loss[0] > 1e5
    assert run.losses.max() == np.finfo(np.float16).max


# ---- examples: the test images ---------------------------------------------------------------------


# Expected: NumPy, from the predictions and losses of the same run.
@pytest.mark.parametrize(
    "given",
    [
        {"steps": 40},
        {"steps": 30, "evaluate_every": 7, "evaluate_on": slice(5, 50), "optimizer": "sgd", "lr": 0.3},
        {"epochs": 4, "steps": None, "ema": 0.8, "validation": 20, "kernels": "fused"},
    ],
    ids=str,
)
def test_test_images_are_summed_up(tiny: eb.Network, glyphs: eb.Dataset, given: dict[str, Any]) -> None:
    run = recorded(tiny, glyphs, **given)
    labels = glyphs.test_labels[run.test_indices]
    looks = len(run.eval_step)
    np.testing.assert_array_equal(run.test_votes, votes_of(run.predictions, 10))
    np.testing.assert_array_equal(run.test_events, events_of(run.predictions == labels, run.eval_step))
    losses = run.losses.astype(float)
    sums = dict(zip(SUMS, run.test_sums.T, strict=True))
    np.testing.assert_allclose(sums["loss"], losses.sum(0), atol=2e-3 * looks)
    np.testing.assert_allclose(sums["probability"], np.exp(-losses).sum(0), atol=2e-3 * looks)
    np.testing.assert_allclose(sums["probability_squared"], np.exp(-2 * losses).sum(0), atol=2e-3 * looks)
    # A margin is above 0 where the prediction is right, and tanh lies between -1 and 1.
    right = run.test_votes[np.arange(len(labels)), labels]
    assert np.all(np.abs(sums["tanh_margin"]) <= looks)
    assert np.all(sums["margin"][right == looks] > 0)
    assert np.all(sums["margin"][right == 0] < 0)


# Expected: PyTorch's forward pass in float64, with the checkpoints after every step.
def test_sums_are_pytorchs(glyphs: eb.Dataset, tmp_path: Path) -> None:
    before = eb.Network([eb.Flatten(), eb.Linear(784, 10)]).initialize(seed=3)
    run = recorded(before, glyphs, steps=5, checkpoints=tmp_path / "weights", checkpoint_every=1)
    images = reference.pixels(glyphs.test_images, glyphs.mean, glyphs.std).flatten(1).double()
    labels = torch.tensor(glyphs.test_labels)
    expected = torch.zeros(len(labels), len(SUMS), dtype=torch.float64)
    for model in (before, *(eb.Model.load(path) for path in run.checkpoints.values())):
        weight, bias = model.state_dict().values()
        expected += numbers_of(functional.linear(images, weight.double(), bias.double()), labels)
    np.testing.assert_allclose(run.test_sums, expected, rtol=1e-5, atol=1e-5)


# ---- examples: the training images in their steps --------------------------------------------------


class Noting(nn.Module):
    """A network that keeps the logits of what it is trained on."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.logits: list[torch.Tensor] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.module(x)
        if self.training:
            self.logits.append(logits.detach())
        return logits


# Expected: the logits of a plain PyTorch loop on the same batches, from the same weights.
@pytest.mark.parametrize("validation", [None, 25])
@pytest.mark.parametrize("kernels", ["exact", "fused"])
def test_steps_are_those_of_a_plain_loop(glyphs: eb.Dataset, validation: int | None, kernels: str) -> None:
    network, module = eb.networks.lenet5(), Noting(reference.lenet5())
    model = network.initialize(seed=1)
    module.module.load_state_dict(model.state_dict())
    run = recorded(model, glyphs, steps=15, lr=1e-3, validation=validation, kernels=kernels, label_smoothing=0.0)
    images = reference.pixels(glyphs.train_images, glyphs.mean, glyphs.std)
    labels = torch.tensor(glyphs.train_labels)
    batches = [torch.tensor(run.batch_indices(step)) for step in range(run.steps)]
    test = reference.pixels(glyphs.test_images, glyphs.mean, glyphs.std), torch.tensor(glyphs.test_labels)
    reference.train(
        module, ((images[b], labels[b]) for b in batches), test, lambda given: torch.optim.Adam(given, lr=1e-3)
    )
    held_out = [] if validation is None else run.validation_indices
    assert run.trained_indices.tolist() == sorted(set(range(len(labels))) - set(held_out))
    place = {image: place for place, image in enumerate(run.trained_indices.tolist())}
    sums, votes = np.zeros(run.step_sums.shape), np.zeros(run.step_votes.shape, int)
    seen: dict[int, list[tuple[int, bool]]] = {image: [] for image in place}
    for step, (batch, logits) in enumerate(zip(batches, module.logits, strict=True)):
        for image, numbers, chosen in zip(
            batch.tolist(), numbers_of(logits, labels[batch]).numpy(), logits.argmax(1).tolist(), strict=True
        ):
            sums[place[image]] += numbers
            votes[place[image], chosen] += 1
            seen[image].append((step, chosen == int(labels[image])))
    np.testing.assert_allclose(run.step_sums, sums, rtol=1e-3, atol=2e-3)
    np.testing.assert_array_equal(run.step_votes, votes)
    for image, looks in seen.items():
        taken, right = (np.array(column) for column in zip(*looks, strict=True))
        assert run.step_events[place[image]].tolist() == events_of(right[:, None].astype(bool), taken)[0].tolist()


def test_what_was_never_seen_says_so(tiny: eb.Network, glyphs: eb.Dataset) -> None:
    run = recorded(tiny, glyphs, steps=2, validation=30)
    seen = np.zeros(130, bool)
    seen[np.concatenate([run.batch_indices(step) for step in range(2)])] = True
    unseen = ~seen[run.trained_indices]
    assert 0 < unseen.sum() < 100
    assert not run.step_sums[unseen].any()
    assert not run.step_votes[unseen].any()
    assert np.all(run.step_events[unseen] == [0, 0, -1, -1, -1])
    assert np.all(run.step_votes.sum(1) == seen[run.trained_indices])


def test_augmented_images_count_as_the_step_saw_them(tiny: eb.Network, glyphs: eb.Dataset) -> None:
    plain = recorded(tiny, glyphs, steps=1)
    turned = recorded(tiny, glyphs, steps=1, augment=eb.Augment(rotate=40, shift=6))
    batch = plain.batch_indices(0)
    assert np.all(plain.step_sums[batch, 4] != turned.step_sums[batch, 4])
    assert turned.step_sums[:, 4].sum() / 32 == pytest.approx(float(turned.train_loss[0]), rel=1e-5)
    assert plain.step_sums[:, 4].sum() / 32 == pytest.approx(float(plain.train_loss[0]), rel=1e-5)


# ---- passes over the training images ---------------------------------------------------------------


# Expected: PyTorch's forward pass in evaluation mode, with the weights of the checkpoints.
# By NumPy, from the predictions and the losses of each evaluation.
def test_images_come_as_a_table(tiny: eb.Network, glyphs: eb.Dataset) -> None:
    pytest.importorskip("pandas")
    run = recorded(tiny, glyphs, steps=3, validation=30)
    table = run.images_table()
    right = run.predictions == glyphs.test_labels
    assert table.index.tolist() == run.test_indices.tolist()
    assert (table.times == 4).all()
    np.testing.assert_array_equal(table.wrong, (~right).sum(0))
    np.testing.assert_allclose(table.loss, run.losses.astype(float).mean(0), rtol=2e-3)
    probability = np.exp(-run.losses.astype(float))
    np.testing.assert_allclose(table.probability_std, probability.std(0), atol=2e-3)
    never = ~right.any(axis=0)
    np.testing.assert_array_equal(table.first_learned.isna(), never)
    np.testing.assert_array_equal(table.first_learned[~never].astype(int), run.eval_step[right.argmax(0)[~never]])
    np.testing.assert_array_equal(table.right_at_last.astype(bool), right[-1])
    assert table.voted.tolist() == [glyphs.classes[np.bincount(votes).argmax()] for votes in run.predictions.T]
    trained = run.images_table("train")
    assert trained.index.tolist() == run.trained_indices.tolist()
    seen = np.isin(run.trained_indices, np.concatenate([run.batch_indices(step) for step in range(3)]))
    np.testing.assert_array_equal(trained.times > 0, seen)
    rest = trained[~seen]
    assert rest[["margin", "loss", "probability_std"]].isna().all(axis=None)
    assert rest[["first_learned", "right_at_last", "voted"]].isna().all(axis=None)
    with pytest.raises(ArgumentError, match="choose one of 'test', 'train'"):
        run.images_table("validation")
    with pytest.raises(AttributeError, match="examples"):
        recorded(tiny, glyphs, steps=1, record=()).images_table()


@pytest.mark.parametrize("given", [{}, {"ema": 0.5, "validation": 40, "augment": eb.Augment(shift=2)}], ids=str)
def test_passes_are_those_of_the_checkpoints(glyphs: eb.Dataset, tmp_path: Path, given: dict[str, Any]) -> None:
    folder = tmp_path / "weights"
    network, module = eb.networks.lenet5(), reference.lenet5()
    run = recorded(network, glyphs, measure_training=4, checkpoints=folder, checkpoint_every=1, **given)
    assert run.training_eval_step.tolist() == [3, 6, 9, 12]
    images = reference.pixels(glyphs.train_images, glyphs.mean, glyphs.std)[run.trained_indices.copy()]
    labels = torch.tensor(glyphs.train_labels)[run.trained_indices.copy()]
    for row, step in enumerate(run.training_eval_step):
        module.load_state_dict(eb.Model.load(run.checkpoints[int(step)]).state_dict())
        module.eval()
        with torch.no_grad():
            logits = module(images)
        numbers = numbers_of(logits, labels)
        np.testing.assert_allclose(run.training_margins[row], numbers[:, 0], rtol=2e-3, atol=2e-3)
        np.testing.assert_allclose(run.training_losses[row], numbers[:, 4], rtol=2e-3, atol=2e-3)
        clear = (logits.topk(2).values.diff().abs() > 1e-4).flatten().numpy()
        np.testing.assert_array_equal(run.training_predictions[row][clear], logits.argmax(1).numpy()[clear])
    assert len(run.training_eval_seconds) == 4
    assert run.training_predictions.dtype == np.uint8


@pytest.mark.parametrize(
    ("steps", "passes", "expected"),
    [(10, 4, [2, 5, 8, 10]), (3, 20, [1, 2, 3]), (7, 1, [7]), (5, 0, [])],
)
def test_passes_lie_evenly(tiny: eb.Network, glyphs: eb.Dataset, steps: int, passes: int, expected: list[int]) -> None:
    rounded = sorted({round(steps * k / passes) for k in range(1, passes + 1)} - {0})
    assert rounded == expected
    run = recorded(tiny, glyphs, steps=steps, measure_training=passes, record=("examples",))
    assert run.training_eval_step.tolist() == expected
    for name in PASSES[1:]:
        assert getattr(run, name).shape == (len(expected), 130)


def test_recording_changes_nothing_else(tiny: eb.Network, glyphs: eb.Dataset) -> None:
    plain = recorded(tiny, glyphs, record=())
    run = recorded(tiny, glyphs)
    for name, array in plain._arrays.items():
        if not name.endswith("seconds"):
            np.testing.assert_array_equal(array, run._arrays[name], err_msg=name)
    weights = plain.model.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in run.model.state_dict().items())


# ---- what is asked for -----------------------------------------------------------------------------


def test_what_cannot_work_is_refused(tiny: eb.Network, glyphs: eb.Dataset) -> None:
    with pytest.raises(ArgumentError, match=r'measure_training is 3, and .* record=\("examples",\) alone'):
        recorded(tiny, glyphs, record=("losses",), measure_training=3)
    with pytest.raises(ArgumentError, match="measure_training is -1: it must be at least 0"):
        recorded(tiny, glyphs, measure_training=-1)
    with pytest.raises(ArgumentError, match='record has "losses", which are those of all test images'):
        recorded(tiny, glyphs, record=("losses", "examples"), tolerance=0.01)


def test_what_was_not_asked_for_says_how(tiny: eb.Network, glyphs: eb.Dataset) -> None:
    run = recorded(tiny, glyphs, record=("losses",), steps=1)
    assert not set(run._arrays) & {*PASSES, *OVER_THE_RUN, "trained_indices", "predictions"}
    for name in (*PASSES, *OVER_THE_RUN, "trained_indices"):
        with pytest.raises(AttributeError, match=r"train with record=\('examples',\)"):
            getattr(run, name)
    run = recorded(tiny, glyphs, record=("examples",), steps=1)
    with pytest.raises(AttributeError, match=r"train with record=\('losses',\)"):
        _ = run.losses


# Expected: NumPy on the complete passes, whose predictions a run without a tolerance gives.
def test_with_a_tolerance_complete_passes_count(tiny: eb.Network) -> None:
    data = eb.datasets.glyphs(train=3_000, test=1_500, seed=6)
    given: dict[str, Any] = {"steps": 40, "batch_size": 64}
    exact = recorded(tiny, data, **given)
    run = recorded(tiny, data, record=("examples",), tolerance=0.005, validation=None, **given)
    complete = run.images_measured == 1_500
    assert 2 <= complete.sum() < 30
    right = exact.predictions[complete] == data.test_labels
    np.testing.assert_array_equal(run.test_votes, votes_of(exact.predictions[complete], 10))
    np.testing.assert_array_equal(run.test_events, events_of(right, run.eval_step[complete]))
    np.testing.assert_array_equal(run.step_votes, exact.step_votes)
    np.testing.assert_array_equal(run.training_predictions, exact.training_predictions)


# Patience on validation images that are all measured ends the run, and the test images are then measured once more.
def test_weights_that_are_measured_twice_count_once(tiny: eb.Network) -> None:
    data = eb.datasets.glyphs(train=3_000, test=1_500, seed=6)
    given: dict[str, Any] = {"steps": 500, "validation": 200, "patience": 1, "lr": 0.03, "complete_every": 10_000}
    run = recorded(tiny, data, record=("examples",), tolerance=0.2, **given)
    assert run.state == "stopped"
    complete = int((run.images_measured == 1_500).sum())
    assert np.all(run.test_votes.sum(1) == complete)


# Expected: a file of 300 classes, by NumPy from the predictions.
def test_many_classes(tmp_path: Path) -> None:
    classes = 300
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (3 * classes, 6, 6), dtype=np.uint8)
    labels = np.arange(3 * classes) % classes
    data = eb.Dataset(
        images[: 2 * classes], labels[: 2 * classes], images[2 * classes :], labels[2 * classes :], name="noise"
    )
    network = eb.Network([eb.Flatten(), eb.Linear(36, classes)], input_shape=(1, 6, 6))
    run = recorded(network, data, steps=20, lr=0.05, folder=tmp_path / "run")
    assert run.training_predictions.dtype == np.uint16
    assert run.training_predictions.max() > 255
    np.testing.assert_array_equal(run.test_votes, votes_of(run.predictions, classes))
    np.testing.assert_array_equal(run.test_events, events_of(run.predictions == data.test_labels, run.eval_step))
    assert run.step_votes.sum() == sum(len(run.batch_indices(step)) for step in range(20))
    final = run.model.predict(data.train_images)
    assert np.mean(run.training_predictions[-1] == final) > 0.99
    assert_same(eb.load_run(tmp_path / "run"), run)


# ---- how runs end ----------------------------------------------------------------------------------


def test_nothing_counts_after_a_loss_that_is_no_number(tiny: eb.Network, glyphs: eb.Dataset) -> None:
    with pytest.warns(RuntimeWarning, match="NaN or infinite"):
        run = recorded(tiny, glyphs, lr=1e20, optimizer="sgd", steps=30)
    assert run.diverged_at is not None
    sound = np.isfinite(run.test_loss)
    assert not sound.all()
    taken = int(np.isfinite(run.train_loss).sum())
    for name in OVER_THE_RUN:
        assert np.isfinite(getattr(run, name)).all()
    right = run.predictions == glyphs.test_labels
    np.testing.assert_array_equal(run.test_events, events_of(right[sound], run.eval_step[sound]))
    assert run.step_votes.sum() == 32 * taken
    assert np.all(run.training_eval_step <= run.diverged_at)


def test_ctrl_c_leaves_what_there_is(tiny: eb.Network, glyphs: eb.Dataset) -> None:
    def interrupt(step: eb.Step) -> None:
        if step.step == 7:
            os.kill(os.getpid(), signal.SIGINT)

    run = recorded(tiny, glyphs, callbacks=interrupt, measure_training=4)
    assert run.interrupted
    assert run.training_eval_step.tolist() == [3, 6]
    assert np.all(run.test_votes.sum(1) == len(run.eval_step))
    assert run.step_votes.sum() == sum(len(run.batch_indices(step)) for step in range(run.steps))


# ---- files -----------------------------------------------------------------------------------------


def test_a_saved_run_has_it_all(tiny: eb.Network, glyphs: eb.Dataset, tmp_path: Path) -> None:
    run = recorded(tiny, glyphs, validation=20)
    run.save(tmp_path / "saved")
    loaded = eb.load_run(tmp_path / "saved")
    assert loaded._arrays.keys() == run._arrays.keys()
    assert_same(loaded, run)
    assert {name: array.dtype for name, array in loaded._arrays.items()} == {
        name: array.dtype for name, array in run._arrays.items()
    }
    assert not any(name in run.history() for name in (*PASSES, *OVER_THE_RUN, "losses"))  # one number a step there


@pytest.mark.parametrize("given", [{}, {"validation": 30, "ema": 0.9, "augment": eb.Augment(shift=1)}], ids=str)
def test_a_folder_has_what_there_is_while_the_run_goes_on(
    tiny: eb.Network, glyphs: eb.Dataset, tmp_path: Path, given: dict[str, Any]
) -> None:
    folder, seen = tmp_path / "run", {}

    def look(step: eb.Step) -> None:
        if step.step in (1, 8):
            seen[step.step] = eb.load_run(folder)

    run = recorded(tiny, glyphs, folder=folder, callbacks=look, keep_state_every=0, measure_training=4, **given)
    with pytest.raises(AttributeError, match="has no step_sums yet: its folder has it some seconds after"):
        _ = seen[1].step_sums  # no state is kept yet
    early = seen[8]
    assert early.state == "running"
    assert early.training_eval_step.tolist() == [3, 6]
    for name in ("losses", *PASSES):
        there = getattr(early, name)
        np.testing.assert_array_equal(there, getattr(run, name)[: len(there)], err_msg=name)
    assert len(early.losses) == 9
    # The state is that after the seventh step.
    assert np.all(early.test_votes.sum(1) == 8)
    np.testing.assert_array_equal(early.test_votes, votes_of(run.predictions[:8], 10))
    assert early.step_votes.sum() == sum(len(run.batch_indices(step)) for step in range(7))
    np.testing.assert_array_equal(early.trained_indices, run.trained_indices)
    assert_same(eb.load_run(folder), run)


OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "everything": {
        "validation": 30,
        "ema": 0.8,
        "augment": eb.Augment(shift=2, erase=0.3),
        "optimizer": "sgd",
        "momentum": 0.9,
        "schedule": "one_cycle",
        "kernels": "fused",
        "evaluate_every": 3,
    },
    "diverging soon": {"optimizer": "sgd", "lr": 0.8, "momentum": 0.9},
}


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("at", [1, 3, 8])
def test_a_resumed_run_is_the_uncut_one(
    glyphs: eb.Dataset, tmp_path: Path, options: str, at: int, stop_at: Callable[[int], Callable[[eb.Step], None]]
) -> None:
    network = eb.networks.lenet5(dropout=0.3)
    given = OPTIONS[options] | {"measure_training": 5}
    whole = recorded(network, glyphs, **given)
    cut = recorded(network, glyphs, folder=tmp_path / "run", callbacks=stop_at(at), **given)
    assert (cut.state, cut.steps) == ("interrupted", at)
    assert_same(eb.resume(tmp_path / "run", glyphs, progress=False), whole)
    assert_same(eb.load_run(tmp_path / "run"), whole)


@pytest.fixture
def stop_at() -> Callable[[int], Callable[[eb.Step], None]]:
    def stop_at(at: int) -> Callable[[eb.Step], None]:
        def interrupt(step: eb.Step) -> None:
            if step.step == at:
                raise KeyboardInterrupt

        return interrupt

    return stop_at


def test_a_run_that_is_made_longer_goes_on_with_its_passes(
    tiny: eb.Network, glyphs: eb.Dataset, tmp_path: Path
) -> None:
    short = recorded(tiny, glyphs, folder=tmp_path / "run", measure_training=4)
    assert short.training_eval_step.tolist() == [3, 6, 9, 12]
    run = eb.resume(tmp_path / "run", glyphs, steps=40, progress=False)
    assert run.training_eval_step.tolist() == [3, 6, 9, 12, 20, 30, 40]  # every tenth of 40 from then on
    np.testing.assert_array_equal(run.training_margins[:4], short.training_margins)
    whole = recorded(tiny, glyphs, steps=40, measure_training=4)
    for name in OVER_THE_RUN:
        np.testing.assert_array_equal(getattr(run, name), getattr(whole, name), err_msg=name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"training_eval_step": np.array([0, 6, 9, 12])}, "must rise from pass to pass, within 1 to 12 steps"),
        ({"training_predictions": np.full((4, 130), 10, np.uint8)}, "'training_predictions' holds 10"),
        ({"trained_indices": np.arange(1, 131)}, "'trained_indices' must index the train set"),
        ({"test_votes": np.full((60, 10), -1, np.int32)}, "'test_votes' holds a negative count"),
        ({"step_events": np.full((130, 5), -2, np.int32)}, "'step_events' holds a number below -1"),
        ({"step_sums": np.zeros((130, 4))}, r"'step_sums' of shape \(130, 4\) holds 4 sums, but a row of them holds 5"),
        ({"step_sums": np.zeros((129, 5))}, "129 trained images"),
        ({"losses": np.zeros((13, 60), np.float32)}, "'losses' has dtype float32; it must be float16"),
    ],
)
def test_arrays_that_cannot_be_are_refused(
    tiny: eb.Network, glyphs: eb.Dataset, change: dict[str, Array], message: str
) -> None:
    run = recorded(tiny, glyphs, measure_training=4)
    with pytest.raises(ArgumentError, match=message):
        eb.Run(run._arrays | change, run.config)


def test_a_sweep_records_it(glyphs: eb.Dataset, tmp_path: Path) -> None:
    given: dict[str, Any] = {"steps": 6, "record": ("losses", "examples"), "measure_training": 3}
    sweep = swept(glyphs, tmp_path / "store", {"lr": [1e-3, 1e-2]}, **given)
    assert len(sweep.runs) == 2
    for run in sweep.runs:
        training = run.config["training"]
        alone = recorded(eb.networks.lenet5(), glyphs, lr=training["lr"], seed=training["seed"], **given)
        assert run.training_eval_step.tolist() == [2, 4, 6]
        np.testing.assert_allclose(run.step_sums, alone.step_sums, rtol=1e-3, atol=1e-4)  # one thread there
