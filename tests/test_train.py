"""`train`: what is recorded, repeatable runs, ends before the end, callbacks."""

from __future__ import annotations

import _thread
import functools
import operator
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import everybatch as eb
from everybatch import _core
from everybatch._torch_check import TORCH_VERSION
from everybatch.errors import ArgumentError, DeviceError

Quick = Callable[..., eb.Run]
MEASURED = (
    "train_loss",
    "train_accuracy",
    "test_loss",
    "test_accuracy",
    "class_accuracy",
    "eval_step",
    "confusion",
    "predictions",
    "test_indices",
)


def assert_identical(a: eb.Run, b: eb.Run) -> None:
    """Bit for bit, in everything but seconds."""
    for name in MEASURED:
        assert getattr(a, name).tobytes() == getattr(b, name).tobytes(), name
    states = a.model.state_dict(), b.model.state_dict()
    for name in states[0]:
        assert torch.equal(states[0][name], states[1][name]), name


@pytest.fixture(scope="module")
def recorded(tiny: eb.Network, glyphs: eb.Dataset) -> eb.Run:
    """Two epochs of five steps, everything recorded."""
    return eb.train(
        tiny, glyphs, epochs=2, batch_size=32, record=("predictions",), seed=11, progress=False, device="cpu"
    )


# ---- what is recorded ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "dtype", "shape"),
    [
        ("train_loss", np.float32, (10,)),
        ("train_accuracy", np.float32, (10,)),
        ("train_seconds", np.float64, (10,)),
        ("test_loss", np.float32, (11,)),
        ("test_accuracy", np.float32, (11,)),
        ("class_accuracy", np.float32, (11, 10)),
        ("eval_step", np.int64, (11,)),
        ("eval_seconds", np.float64, (11,)),
        ("confusion", np.int64, (10, 10)),
        ("predictions", np.uint8, (11, 60)),
        ("test_indices", np.int64, (60,)),
    ],
)
def test_arrays(recorded: eb.Run, name: str, dtype: type, shape: tuple[int, ...]) -> None:
    array = getattr(recorded, name)
    assert (array.dtype, array.shape) == (dtype, shape)
    assert not array.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        array[...] = 0
    assert np.isfinite(array).all()


def test_seconds_are_positive(recorded: eb.Run) -> None:
    assert (recorded.train_seconds > 0).all()
    assert (recorded.eval_seconds > 0).all()


def test_the_last_evaluation_is_that_of_the_model(recorded: eb.Run, glyphs: eb.Dataset) -> None:
    # NumPy, from the logits of the weights that the run ended with.
    images, labels = glyphs.test_images, glyphs.test_labels
    logits = recorded.model.logits(images).astype(np.float64)
    predicted = recorded.model.predict(images)
    losses = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(60), labels]
    assert recorded.test_loss[-1] == pytest.approx(losses.mean(), rel=1e-6)
    assert recorded.test_accuracy[-1] == np.float32(np.mean(predicted == labels))
    confusion = np.zeros((10, 10), np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    np.testing.assert_array_equal(recorded.confusion, confusion)
    np.testing.assert_array_equal(
        recorded.class_accuracy[-1], (confusion.diagonal() / confusion.sum(axis=1)).astype(np.float32)
    )
    np.testing.assert_array_equal(recorded.predictions[-1], predicted)
    measured = recorded.model.evaluate(glyphs)
    assert measured.loss == pytest.approx(recorded.test_loss[-1], rel=1e-6)
    np.testing.assert_array_equal(measured.confusion, recorded.confusion)


def test_accuracies_follow_from_the_predictions_at_every_evaluation(recorded: eb.Run, glyphs: eb.Dataset) -> None:
    right = recorded.predictions == glyphs.test_labels
    np.testing.assert_array_equal(recorded.test_accuracy, right.mean(axis=1).astype(np.float32))
    by_class = [right[:, glyphs.test_labels == c].mean(axis=1) for c in range(10)]
    np.testing.assert_array_equal(recorded.class_accuracy, np.stack(by_class, axis=1).astype(np.float32))


def test_step_0_measures_the_untrained_weights(recorded: eb.Run, tiny: eb.Network, glyphs: eb.Dataset) -> None:
    untrained = tiny.initialize(11, mean=glyphs.mean, std=glyphs.std)
    np.testing.assert_array_equal(recorded.predictions[0], untrained.predict(glyphs.test_images))
    assert recorded.test_loss[0] == pytest.approx(untrained.evaluate(glyphs).loss, rel=1e-6)


def test_train_figures_are_of_the_batch_before_the_step(recorded: eb.Run, tiny: eb.Network, glyphs: eb.Dataset) -> None:
    # PyTorch in training mode, with the initial weights, on the images that batch_indices(0) names.
    state = tiny.initialize(11).state_dict()
    batch = recorded.batch_indices(0)
    pixels = (torch.tensor(glyphs.train_images[batch])[:, None] / 255 - glyphs.mean[0]) / glyphs.std[0]
    x = torch.nn.functional.conv2d(pixels.float(), state["0.weight"], stride=2)
    x = torch.nn.functional.batch_norm(x, None, None, training=True).relu()
    logits = torch.nn.functional.linear(
        torch.nn.functional.max_pool2d(x, 2).flatten(1), state["5.weight"], state["5.bias"]
    )
    labels = torch.tensor(glyphs.train_labels[batch])
    assert recorded.train_loss[0] == pytest.approx(torch.nn.functional.cross_entropy(logits, labels).item(), rel=1e-4)
    assert recorded.train_accuracy[0] == pytest.approx((logits.argmax(1) == labels).float().mean().item())


def test_it_learns(quick: Quick) -> None:
    run = quick(epochs=8, lr=3e-3)
    assert run.final_accuracy > 0.3  # a tenth would be chance
    assert run.train_loss[-5:].mean() < 0.5 * run.train_loss[0]


# ---- batches -------------------------------------------------------------------------------------


def test_an_epoch_covers_every_example_once(recorded: eb.Run) -> None:
    epochs = [np.concatenate([recorded.batch_indices(e * 5 + b) for b in range(5)]) for e in range(2)]
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch), np.arange(130))
    assert not np.array_equal(*epochs)
    assert [len(recorded.batch_indices(step)) for step in range(10)] == [32, 32, 32, 32, 2] * 2
    with pytest.raises(IndexError):
        recorded.batch_indices(10)


def test_without_shuffling_the_order_is_the_data_sets(quick: Quick) -> None:
    run = quick(shuffle=False, epochs=2)
    for epoch in range(2):
        order = np.concatenate([run.batch_indices(epoch * 5 + batch) for batch in range(5)])
        np.testing.assert_array_equal(order, np.arange(130))


def test_one_batch_may_hold_everything(quick: Quick) -> None:
    run = quick(batch_size=130, epochs=2)
    assert run.eval_step.tolist() == [0, 1, 2]
    assert len(run.batch_indices(1)) == 130


# ---- when and on what the test set is measured ---------------------------------------------------


@pytest.mark.parametrize(
    ("every", "expected"),
    [
        (1, list(range(11))),
        (4, [0, 4, 8, 10]),
        (5, [0, 5, 10]),
        (np.int64(100), [0, 10]),
        ("epoch", [0, 5, 10]),
    ],
)
def test_evaluate_every(quick: Quick, recorded: eb.Run, every: Any, expected: list[int]) -> None:
    run = quick(evaluate_every=every, epochs=2, seed=11)
    assert run.eval_step.tolist() == expected
    # Measuring more or less often changes nothing in training, and each figure is that of its step.
    np.testing.assert_array_equal(run.train_loss, recorded.train_loss)
    np.testing.assert_array_equal(run.test_loss, recorded.test_loss[expected])
    np.testing.assert_array_equal(run.class_accuracy, recorded.class_accuracy[expected])


def test_evaluate_on_a_number_draws_from_all_classes_alike(quick: Quick, glyphs: eb.Dataset) -> None:
    run = quick(evaluate_on=30)
    assert len(run.test_indices) == len(np.unique(run.test_indices)) == 30
    have, drawn = (np.bincount(glyphs.test_labels[i], minlength=10) for i in (slice(None), run.test_indices))
    assert np.abs(drawn - have / 2).max() < 1
    np.testing.assert_array_equal(run.confusion.sum(axis=1), drawn)
    np.testing.assert_array_equal(quick(evaluate_on=0.5).test_indices, run.test_indices)
    assert not np.array_equal(quick(evaluate_on=30, seed=1).test_indices, run.test_indices)


@pytest.mark.parametrize("form", [list, tuple, np.array, torch.tensor])
def test_evaluate_on_indices(quick: Quick, glyphs: eb.Dataset, form: Any) -> None:
    chosen = [7, 3, 59, 20]
    run = quick(evaluate_on=form(chosen), record="predictions")
    assert run.test_indices.tolist() == chosen
    np.testing.assert_array_equal(run.predictions[-1], run.model.predict(glyphs.test_images[chosen]))
    missing = np.setdiff1d(np.arange(10), glyphs.test_labels[chosen])
    assert np.isnan(run.class_accuracy[:, missing]).all()


def test_predictions_only_when_asked_for(quick: Quick) -> None:
    with pytest.raises(AttributeError, match="record"):
        quick().predictions  # noqa: B018


# ---- repeatable ----------------------------------------------------------------------------------


def with_dropout() -> eb.Network:
    return eb.Network(
        [
            eb.Conv2d(1, 8, 5, stride=4),
            eb.Dropout2d(0.2),
            eb.Activation("relu"),
            eb.Flatten(),
            eb.Dropout(0.5),
            eb.Linear(8 * 36, 10),
        ]
    )


def test_two_runs_with_one_seed_are_bit_identical(quick: Quick, recorded: eb.Run) -> None:
    assert_identical(quick(epochs=2, seed=11, record=("predictions",)), recorded)


def test_another_seed_differs(quick: Quick, recorded: eb.Run) -> None:
    other = quick(epochs=2, seed=12, record=("predictions",))
    assert not np.array_equal(other.train_loss, recorded.train_loss)
    assert not np.array_equal(other.batch_indices(0), recorded.batch_indices(0))


def test_dropout_is_repeatable_and_drops(quick: Quick) -> None:
    runs = [quick(with_dropout(), seed=seed, record="predictions") for seed in (1, 1, 2)]
    assert_identical(runs[0], runs[1])
    assert not np.array_equal(runs[0].train_loss, runs[2].train_loss)
    without = eb.Network([layer for layer in with_dropout().layers if "Dropout" not in layer.kind])
    model = with_dropout().initialize(1)
    bare = without.initialize(1)
    for mine, other in zip(bare.state_dict().values(), model.state_dict().values(), strict=True):
        mine.copy_(other)
    # Measured without dropout, trained with it.
    a, b = quick(model, seed=1), quick(bare, seed=1)
    assert a.test_loss[0] == b.test_loss[0]
    assert a.train_loss[0] != b.train_loss[0]


def test_torchs_generator_and_settings_are_left_alone(quick: Quick) -> None:
    before = torch.get_rng_state()
    settings = torch.get_num_threads(), torch.is_grad_enabled(), torch.get_default_dtype()
    quick(with_dropout())
    assert torch.equal(torch.get_rng_state(), before)
    assert (torch.get_num_threads(), torch.is_grad_enabled(), torch.get_default_dtype()) == settings


def test_a_run_does_not_depend_on_torchs_generator(quick: Quick) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        first = quick(with_dropout(), record="predictions")
        torch.manual_seed(2)
        assert_identical(quick(with_dropout(), record="predictions"), first)


def test_dropout_does_not_depend_on_what_else_draws(quick: Quick) -> None:
    alone = quick(with_dropout(), record="predictions")
    assert_identical(quick(with_dropout(), record="predictions", callbacks=lambda _: torch.rand(1)), alone)


def test_each_step_has_a_mask_of_its_own(quick: Quick) -> None:
    still = quick(with_dropout(), epochs=4, lr=0.0, optimizer="sgd", shuffle=False)
    assert len({*still.train_loss.tolist()}) == 4 * 5


def repeat(run: eb.Run, dataset: eb.Dataset) -> eb.Run:
    """Train again from what `run.config` tells."""
    import json

    config = run.config
    assert config["dataset"]["fingerprint"] == dataset.fingerprint
    training = config["training"]
    taken = set(eb.train.__kwdefaults__) - {"progress", "callbacks", "checkpoints", "folder", "live"}
    return eb.train(
        eb.Network.from_json(json.dumps(config["network"])),
        dataset,
        progress=False,
        **{name: training[name] for name in taken if name != "measure_training" or "examples" in training["record"]},
    )


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"optimizer": "sgd", "momentum": 0.9, "nesterov": True, "weight_decay": 1e-4, "lr": 0.1, "seed": 5},
        {"optimizer": "adamw", "betas": (0.7, 0.8), "eps": 1e-5, "shuffle": False, "batch_size": 50},
        {"evaluate_every": "epoch", "evaluate_on": 20, "epochs": 2},
        {"evaluate_on": 0.25, "evaluate_every": 3},
        {"evaluate_on": [4, 2, 30]},
        {"validation": 0.2, "select": "best", "patience": 3, "monitor": "validation_accuracy", "epochs": 3},
        {"steps": 7, "schedule": eb.schedules.warmup(3, "one_cycle"), "ema": 0.8, "label_smoothing": 0.1},
        {"augment": eb.Augment(shift=2, rotate=9, elastic=0.5, erase=0.4), "validation": [3, 1, 60]},
        {"augment": eb.Augment(shift=2), "augment_schedule": "cosine"},
        {"label_smoothing": 0.2, "label_smoothing_schedule": eb.schedules.linear(begin=0.5)},
        {"record": ("predictions", "losses", "examples", "weights"), "measure_training": 3, "weights_every": 2},
    ],
)
def test_the_config_is_enough_to_repeat_a_run(quick: Quick, glyphs: eb.Dataset, arguments: dict[str, Any]) -> None:
    run = quick(with_dropout(), **{"record": ("predictions",)} | arguments)
    assert_identical(repeat(run, glyphs), run)


def test_the_config_tells_what_was_used(recorded: eb.Run, glyphs: eb.Dataset) -> None:
    config = recorded.config
    training = config["training"]
    assert {"epochs", "batch_size", "optimizer", "lr", "weight_decay", "seed", "precision"} <= set(training)
    assert (training["total_steps"], training["steps_per_epoch"]) == (10, 5)
    assert training["device"] == "cpu"
    assert config["dataset"]["train"] == 130
    assert config["dataset"]["mean"] == list(glyphs.mean)
    assert {"everybatch", "torch", "numpy", "python"} <= set(config["versions"])
    assert config["versions"]["torch"].startswith(TORCH_VERSION)
    assert config["hardware"]["threads"] == torch.get_num_threads()
    assert config["status"] == {"state": "finished", "message": "", "diverged_at": None, "model_step": 10}


def test_training_goes_on_from_a_model(quick: Quick, glyphs: eb.Dataset) -> None:
    first = quick(optimizer="sgd", lr=0.05, shuffle=False)
    before = {name: tensor.clone() for name, tensor in first.model.state_dict().items()}
    second = quick(first.model, optimizer="sgd", lr=0.05, shuffle=False)
    for name, tensor in first.model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert second.test_loss[0] == first.test_loss[-1]
    assert not torch.equal(second.model.state_dict()["5.weight"], before["5.weight"])
    # Plain SGD has no memory, so two runs of an epoch are one run of two.
    both = quick(optimizer="sgd", lr=0.05, shuffle=False, epochs=2)
    np.testing.assert_array_equal(np.concatenate([first.train_loss, second.train_loss]), both.train_loss)
    for name, tensor in second.model.state_dict().items():
        assert torch.equal(tensor, both.model.state_dict()[name]), name


def test_a_model_keeps_its_normalisation(quick: Quick, tiny: eb.Network, glyphs: eb.Dataset) -> None:
    assert quick().model.mean == list(glyphs.mean)
    model = tiny.initialize(0, mean=[0.5], std=[0.25])
    run = quick(model)
    assert (run.model.mean, run.model.std) == ([0.5], [0.25])
    fresh = tiny.initialize(0)
    quick(fresh)
    assert fresh.mean is None


def test_colour(colour: eb.Dataset) -> None:
    run = eb.train(eb.networks.lenet5(in_channels=3), colour, batch_size=32, progress=False, device="cpu")
    assert run.model.network.input_shape == (3, 28, 28)
    np.testing.assert_array_equal(
        run.confusion.diagonal().sum(), (run.model.predict(colour.test_images) == colour.test_labels).sum()
    )


def test_saved_runs_come_back(quick: Quick, tmp_path: Any, glyphs: eb.Dataset) -> None:
    run = quick(record="predictions")
    run.save(tmp_path / "run")
    assert_identical(eb.load_run(tmp_path / "run"), run)
    assert eb.load_run(tmp_path / "run").config == run.config


# ---- callbacks -----------------------------------------------------------------------------------


def test_a_callback_sees_every_step(quick: Quick) -> None:
    seen: list[tuple[Any, ...]] = []

    def look(step: eb.Step) -> None:
        seen.append((step.step, step.epoch, step.train_loss, step.train_accuracy, step.eval_step, step.test_loss,
                     step.test_accuracy, step.total_steps))  # fmt: skip

    run = quick(epochs=2, evaluate_every=3, callbacks=look)
    measured = [0, 0, 3, 3, 3, 6, 6, 6, 9, 10]  # the latest of 0, 3, 6, 9, 10 after each step
    rows = [run.eval_step.tolist().index(step) for step in measured]
    assert [s[0] for s in seen] == list(range(1, 11))
    assert [s[1] for s in seen] == [0] * 5 + [1] * 5
    np.testing.assert_array_equal([s[2] for s in seen], run.train_loss)
    np.testing.assert_array_equal([s[3] for s in seen], run.train_accuracy)
    assert [s[4] for s in seen] == measured
    np.testing.assert_array_equal([s[5] for s in seen], run.test_loss[rows])
    np.testing.assert_array_equal([s[6] for s in seen], run.test_accuracy[rows])
    assert {s[7] for s in seen} == {10}


def test_callbacks_change_nothing_and_go_in_order(quick: Quick, recorded: eb.Run) -> None:
    order: list[str] = []
    run = quick(
        epochs=2,
        seed=11,
        record="predictions",
        callbacks=[lambda _: order.append("first"), lambda _: order.append("second")],
    )
    assert_identical(run, recorded)
    assert order == ["first", "second"] * 10


def test_a_callback_may_take_the_weights(quick: Quick, glyphs: eb.Dataset) -> None:
    models: list[eb.Model] = []
    run = quick(record="predictions", callbacks=lambda step: models.append(step.model()))
    for predictions, model in zip(run.predictions[1:], models, strict=True):
        np.testing.assert_array_equal(predictions, model.predict(glyphs.test_images))
    for name, tensor in models[-1].state_dict().items():
        assert torch.equal(tensor, run.model.state_dict()[name]), name


def test_a_step_has_the_weights_until_its_callback_ends(quick: Quick) -> None:
    kept: list[eb.Step] = []

    def keep(step: eb.Step) -> None:
        if step.step > 1:
            with pytest.raises(ArgumentError, match=r"model\(\) was asked of step 1 after its callback had ended"):
                kept[0].model()
        kept.append(step)
        assert step.model().network.name == "tiny"

    def fail(step: eb.Step) -> None:
        raise RuntimeError

    run = quick(callbacks=[keep, keep])
    assert len(kept) == 2 * run.steps
    with pytest.raises(RuntimeError):
        quick(callbacks=[kept.append, fail])
    for step in kept:
        with pytest.raises(ArgumentError, match="call it within the callback"):
            step.model()
    assert [step.step for step in kept] == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 1]  # numbers stay
    assert kept[-2].train_loss == run.train_loss[-1]


def test_a_thread_of_a_callback_may_take_the_weights_and_train(quick: Quick, recorded: eb.Run) -> None:
    taken: list[eb.Model] = []
    inner: list[eb.Run] = []

    def work(step: eb.Step) -> None:
        taken.append(step.model())
        inner.append(quick(epochs=2, seed=11, record="predictions"))

    def start(step: eb.Step) -> None:
        if step.step == 2:
            thread = threading.Thread(target=work, args=(step,), daemon=True)
            thread.start()
            thread.join(60)

    assert_identical(quick(epochs=2, seed=11, record="predictions", callbacks=start), recorded)
    assert_identical(inner[0], recorded)
    assert len(taken) == 1


def test_a_callback_may_stop_the_run(quick: Quick) -> None:
    def stop(step: eb.Step) -> None:
        if step.step == 3:
            raise eb.StopTraining

    run = quick(callbacks=stop, evaluate_every="epoch", epochs=2)
    assert (run.state, run.steps, run.eval_step.tolist()) == ("stopped", 3, [0, 3])
    assert not run.interrupted
    run = quick(callbacks=stop)
    assert run.eval_step.tolist() == [0, 1, 2, 3]
    assert run.confusion.sum() == 60


def test_the_exception_of_a_callback_carries_the_run(quick: Quick, glyphs: eb.Dataset) -> None:
    def fail(step: eb.Step) -> None:
        if step.step == 4:
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine") as caught:
        quick(callbacks=[lambda _: None, fail], evaluate_every=2)
    run = caught.value.run  # type: ignore[attr-defined]
    assert isinstance(run, eb.Run)
    assert (run.state, run.steps, run.eval_step.tolist()) == ("failed", 4, [0, 2, 4])
    assert "mine" in run.config["status"]["message"]
    np.testing.assert_array_equal(run.confusion.diagonal().sum(), round(60 * run.final_accuracy))
    assert run.model.evaluate(glyphs).accuracy == pytest.approx(run.final_accuracy)
    assert caught.traceback[-1].name == "fail"  # the traceback leads to the callback


def test_a_keyboard_interrupt_in_a_callback_interrupts(quick: Quick) -> None:
    def interrupt(step: eb.Step) -> None:
        if step.step == 2:
            raise KeyboardInterrupt

    run = quick(callbacks=interrupt, epochs=3)
    assert (run.state, run.interrupted, run.steps) == ("interrupted", True, 2)


def test_a_callback_may_train(quick: Quick, recorded: eb.Run) -> None:
    inner: list[eb.Run] = []

    def nested(step: eb.Step) -> None:
        if step.step == 1:
            inner.append(quick(epochs=2, seed=11, record="predictions"))

    run = quick(epochs=2, seed=11, record="predictions", callbacks=nested)
    assert_identical(run, recorded)
    assert_identical(inner[0], recorded)


# ---- Ctrl-C, threads, divergence ---------------------------------------------------------------------

INTERRUPTED = """
    import sys, everybatch as eb
    data = eb.datasets.glyphs(train=6000, test=1000)
    network = eb.Network([eb.Conv2d(1, 8, 5, stride=2), eb.Flatten(), eb.Linear(1152, 10)])
    print("ready", flush=True)

    def say(step):
        if step.step == 5:
            print("running", flush=True)

    kept = {{"checkpoints": sys.argv[2], "checkpoint_every": 100}}
    run = eb.train(network, data, epochs=10**6, batch_size=20, progress=False, callbacks={callbacks}, **kept)
    steps, evaluations = run.steps, len(run.eval_step)
    assert run.interrupted and run.state == "interrupted", run.state
    assert run.eval_step.tolist() == list(range(evaluations)) and evaluations in (steps, steps + 1)
    assert len(run.train_seconds) == steps and len(run.class_accuracy) == evaluations
    assert abs(run.model.evaluate(data).accuracy - run.final_accuracy) < 1e-6
    print(run)
    run.save(sys.argv[1])
"""


@pytest.mark.parametrize("callbacks", ["say", "()"])
def test_ctrl_c_returns_the_run_so_far(callbacks: str, tmp_path: Any) -> None:
    code = textwrap.dedent(INTERRUPTED.format(callbacks=callbacks))
    kept = tmp_path / "kept"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "run"), str(kept)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        if callbacks == "say":
            assert process.stdout.readline() == "running\n"
        else:  # past the start: a Ctrl-C before the first step ends the script, as anywhere in Python
            while process.poll() is None and not list(kept.glob("step_*")):
                time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    assert "interrupted" in output
    assert eb.load_run(tmp_path / "run").interrupted


@pytest.mark.parametrize(
    "arguments",
    [
        {"record": ("predictions",), "evaluate_every": 3},
        {"record": ("predictions", "grad_norm"), "evaluate_every": "epoch", "validation": 0.2, "ema": 0.9},
        {
            "record": ("predictions",),
            "validation": 0.2,
            "select": "best",
            "patience": 3,
            "schedule": "plateau",
            "log_every": 1,
        },
    ],
)
def test_ctrl_c_during_the_first_measurement(
    quick: Quick, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, glyphs: eb.Dataset, arguments: dict[str, Any]
) -> None:
    train = _core.train

    def interrupted(*given: Any) -> Any:
        # Python heeds a signal between two of its own instructions. A path that tells its name has some, a `map` over C
        # functions none.
        given = tuple(os.fspath(each) if isinstance(each, Path) else each for each in given)
        return list(map(operator.call, [_thread.interrupt_main, functools.partial(train, *given)]))[1]

    monkeypatch.setattr(_core, "train", interrupted)
    run = quick(checkpoints=tmp_path / "kept", **arguments)
    assert (run.state, run.steps, run.eval_step.tolist(), run.model_step) == ("interrupted", 0, [0], 0)
    assert list(run.checkpoints) == []
    assert run.best_accuracy == run.final_accuracy == pytest.approx(run.model.evaluate(glyphs).accuracy)
    assert len(run.history()) == 1
    assert "0 steps" in repr(run)
    run.save(tmp_path / "run")
    assert_identical(eb.load_run(tmp_path / "run"), run)
    for picture in (eb.plots.accuracy, eb.plots.class_accuracy, eb.plots.class_bars, eb.plots.confusion):
        picture(run).figure.canvas.draw()
    for picture in (eb.plots.compare, eb.plots.losses):
        picture([run, run]).figure.canvas.draw()
    eb.export.csv(run, tmp_path / "run.csv")
    assert len((tmp_path / "run.csv").read_text().splitlines()) == 2  # the header and the first measurement


def test_other_threads_go_on_meanwhile(quick: Quick) -> None:
    count, done = 0, threading.Event()

    def work() -> None:
        nonlocal count
        while not done.is_set():
            count += 1
            time.sleep(0)

    # Between two callbacks the training thread is in the core alone. If that kept the lock, the other thread would
    # stand still, for within a callback Python does not hand it on: that would take 1000 s.
    seen: list[int] = []

    def look(_: eb.Step) -> None:
        seen.append(count)
        if len({*seen}) > 5:
            raise eb.StopTraining

    thread = threading.Thread(target=work, daemon=True)
    interval = sys.getswitchinterval()
    thread.start()
    sys.setswitchinterval(1000)
    try:
        # As many steps as it takes until the system lets the other thread run.
        run = quick(epochs=2000, evaluate_every="epoch", callbacks=look)
    finally:
        sys.setswitchinterval(interval)
        done.set()
        thread.join()
    assert run.state == "stopped"


def test_a_run_in_a_thread_is_the_same(quick: Quick, recorded: eb.Run) -> None:
    runs: list[eb.Run] = []
    thread = threading.Thread(target=lambda: runs.append(quick(epochs=2, seed=11, record="predictions")))
    thread.start()
    thread.join()
    assert_identical(runs[0], recorded)


@pytest.mark.parametrize("every", [1, 2, "epoch"])
def test_divergence_is_reported_where_it_happened(quick: Quick, every: int | str) -> None:
    with pytest.warns(RuntimeWarning, match="NaN or infinite.*lr"):
        run = quick(optimizer="sgd", lr=1e30, epochs=3, evaluate_every=every, record="predictions")
    step = run.diverged_at
    assert run.state == "diverged"
    assert step is not None
    assert 1 <= step < 15
    assert np.isfinite(run.train_loss[:step]).all()
    assert np.isfinite(run.test_loss[run.eval_step < step]).all()
    broken = [*run.train_loss[step:], *run.test_loss[run.eval_step == step]]
    assert not np.isfinite(broken).all()
    assert run.steps in (step, step + 1)
    assert run.eval_step[-1] <= step
    rows = len(run.eval_step)
    assert run.class_accuracy.shape == (rows, 10)
    assert run.predictions.shape == (rows, 60)
    assert len(run.eval_seconds) == rows
    assert len(run.train_seconds) == len(run.train_accuracy) == run.steps
    right = run.confusion.diagonal() / run.confusion.sum(axis=1)
    np.testing.assert_array_equal(run.class_accuracy[-1], right.astype(np.float32))


def test_divergence_before_the_first_step(quick: Quick, tiny: eb.Network) -> None:
    model = tiny.initialize(0)
    model.state_dict()["5.bias"].fill_(float("nan"))
    with pytest.warns(RuntimeWarning, match="after 0 of 5 steps"):
        run = quick(model)
    assert run.diverged_at == 0
    assert run.eval_step.tolist() == [0]


def test_a_learning_rate_of_0_changes_no_weight(quick: Quick, tiny: eb.Network) -> None:
    state = quick(lr=0).model.state_dict()
    for name, tensor in tiny.initialize(0).state_dict().items():
        assert torch.equal(tensor, state[name]) == ("running" not in name and "num_" not in name), name


# ---- precision, progress -------------------------------------------------------------------------


def has_bfloat16() -> bool:
    return "avx512_bf16" in Path("/proc/cpuinfo").read_text(encoding="utf-8")


def test_bfloat16_trains_or_is_refused(quick: Quick) -> None:
    arguments: dict[str, Any] = {"precision": "bfloat16", "epochs": 4, "lr": 3e-3}
    if not has_bfloat16():
        with pytest.raises(DeviceError, match=r"avx512_bf16.*float32"):
            quick(**arguments)
        return
    run, exact = quick(**arguments), quick(**arguments | {"precision": "float32"})
    # bfloat16 has 8 significant bits: half a percent on a figure, more where errors add up over 20 steps.
    np.testing.assert_allclose(run.train_loss[0], exact.train_loss[0], rtol=0.01)
    np.testing.assert_allclose(run.test_loss[:2], exact.test_loss[:2], rtol=0.01)
    np.testing.assert_allclose(run.test_loss, exact.test_loss, rtol=0.1)
    assert not np.array_equal(run.train_loss, exact.train_loss)
    assert run.train_loss.dtype == np.float32
    assert all(tensor.dtype != torch.bfloat16 for tensor in run.model.state_dict().values())
    assert run.config["training"]["precision"] == "bfloat16"
    np.testing.assert_array_equal(quick(**arguments).train_loss, run.train_loss)


def test_progress_goes_to_stderr_and_can_be_off(quick: Quick, capfd: pytest.CaptureFixture[str]) -> None:
    quick()
    assert capfd.readouterr() == ("", "")
    quick(progress=True)
    shown = capfd.readouterr()
    assert shown.out == ""
    assert "tiny" in shown.err
    assert "5/5" in shown.err
    assert "accuracy" in shown.err
