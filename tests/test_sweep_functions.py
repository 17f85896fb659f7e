"""Functions of the user's own in a sweep: what they may do, and what becomes of what they should not."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
import torch

import everybatch as eb
from everybatch.errors import ArgumentError
from everybatch.sweeps import median
from everybatch.sweeps.backends import packed
from metering import net
from sweeping import swept

RULE = median(every=4, min_trials=1)


def trained(data: eb.Dataset, **given: Any) -> eb.Run:
    """A run of a small network on 28 by 28 pixels."""
    layers = [eb.Flatten(), eb.Linear(784, 10)]
    fixed: dict[str, Any] = {"steps": 2, "batch_size": 32, "progress": False, "device": "cpu"}
    return eb.train(eb.Network(layers, input_shape=(1, 28, 28)), data, **fixed | given)


@pytest.mark.parametrize("backend", ["serial", "packed"])
def test_what_a_function_does_to_its_config_reaches_no_other_trial(
    glyphs: eb.Dataset, tmp_path: Path, backend: str, tiny: eb.Network
) -> None:
    seen = []

    def train_one(config: dict[str, Any]) -> eb.Run:
        config["sizes"].append(16)
        seen.append((config["sizes"], config["options"].pop("lr"), config["more"][0] is tiny))
        return trained(glyphs)

    space = [{"x": x, "options": {"lr": 0.1}} for x in (1, 2)]
    given: dict[str, Any] = {"sizes": [8], "more": (tiny,), "seeds": 2, "backend": backend}
    with pytest.warns(RuntimeWarning, match="the function changed something"):  # `seen`
        made = eb.sweep(train_one, space, store=tmp_path / "s", progress=False, **given)
    assert seen == [([8, 16], 0.1, True)] * 4
    assert {trial.state for trial in made.trials} == {"finished"}


def test_a_run_that_has_not_ended_fails(glyphs: eb.Dataset, tmp_path: Path) -> None:
    def train_one(config: dict[str, Any]) -> eb.Run:
        module = net()
        with eb.Meter(module, glyphs, evaluate_on=10) as meter:
            if config["within"]:
                return meter.run
        return meter.run

    (within, after) = eb.sweep(
        train_one, {"within": [True, False]}, store=tmp_path / "s", backend="serial", progress=False
    ).trials
    assert within.state == "failed"
    assert "a run that has not ended (its state is 'running')" in within.message
    assert after.state != "failed"


def test_an_exception_that_cannot_say_what_it_is_fails_its_trial_alone(glyphs: eb.Dataset, tmp_path: Path) -> None:
    class UnspeakableError(Exception):
        def __str__(self) -> str:
            raise ValueError("no text")

    def train_one(config: dict[str, Any]) -> eb.Run:
        if config["x"]:
            raise UnspeakableError
        return trained(glyphs)

    made = eb.sweep(train_one, {"x": [1, 0]}, store=tmp_path / "s", backend="serial", progress=False)
    assert [(trial.state, trial.message) for trial in made.trials] == [("failed", "UnspeakableError"), ("finished", "")]


def test_a_second_training_that_goes_to_its_end_is_not_pruned(glyphs: eb.Dataset, tmp_path: Path) -> None:
    given: dict[str, Any] = {"steps": 12, "validation": 30}

    def train_one(config: dict[str, Any]) -> eb.Run:
        first = trained(glyphs, lr=config["lr"], **given)
        return trained(glyphs, lr=1e-2, **given) if config["twice"] else first

    configs = [{"lr": 1e-2, "twice": True}, {"lr": 1e-9, "twice": False}, {"lr": 1e-9, "twice": True}]
    made = eb.sweep(train_one, configs, store=tmp_path / "s", backend="serial", pruning=RULE, progress=False)
    assert [(trial.state, trial.row["steps"]) for trial in made.trials] == [
        ("finished", 12),
        ("pruned", 4),
        ("finished", 12),
    ]


@pytest.mark.parametrize("backend", ["serial", "packed"])
def test_a_range_test_is_none_of_the_trainings_that_are_pruned(
    glyphs: eb.Dataset, tmp_path: Path, backend: str
) -> None:
    network = eb.Network([eb.Flatten(), eb.Linear(784, 10)], input_shape=(1, 28, 28))

    def train_one(config: dict[str, Any]) -> eb.Run:
        eb.find_lr(network, glyphs, start=1e-4, steps=20, batch_size=32, device="cpu")
        return trained(glyphs, lr=config["lr"], steps=12, validation=30)

    space = {"lr": [1e-2, 1e-9]}
    made = eb.sweep(train_one, space, store=tmp_path / "s", backend=backend, pruning=RULE, progress=False)
    assert [trial.state for trial in made.trials] == ["finished", "pruned"], made.tracebacks()


def test_pruning_that_cannot_look_at_a_run_is_told(glyphs: eb.Dataset, tmp_path: Path) -> None:
    def train_one(config: dict[str, Any]) -> eb.Run:
        module = net(config["seed"])
        with eb.Meter(module, glyphs, validation=30, evaluate_on=10) as meter:
            for _ in range(5):
                loss = module(torch.zeros(2, 1, 28, 28)).sum()
                loss.backward()
                meter.step(loss)
        return meter.run

    given: dict[str, Any] = {"backend": "serial", "pruning": RULE, "progress": False}
    with pytest.warns(RuntimeWarning, match="pruning looks at the trainings of eb.train alone"):
        made = eb.sweep(train_one, {"x": [1]}, store=tmp_path / "s", **given)
    assert [trial.state for trial in made.trials] == ["finished"]


def test_packed_keeps_a_data_set_for_those_that_use_it(
    glyphs: eb.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[int] = []
    packs: list[Any] = []

    class Watched(packed._Pack):
        def _lend(self, *arguments: Any) -> Any:
            data = super()._lend(*arguments)
            packs.append(self)
            kept.append(len(self._data))
            return data

    monkeypatch.setattr(packed, "_Pack", Watched)
    way = eb.sweeps.packed(workers=2)

    def train_one(config: dict[str, Any]) -> eb.Run:
        arrays = (glyphs.train_images, glyphs.train_labels, glyphs.test_images, glyphs.test_labels)
        data = eb.Dataset(*arrays, mean=config["mean"], std=1.0)
        trained(data)
        return trained(data)

    space = {"mean": [0.1, 0.2, 0.3, 0.4, 0.5]}
    assert len(eb.sweep(train_one, space, store=tmp_path / "s", backend=way, progress=False).runs) == 5
    assert max(kept) <= 2
    assert not packs[0]._data


def test_names_in_a_config_are_text(glyphs: eb.Dataset, tmp_path: Path) -> None:
    def train_one(config: dict[str, Any]) -> eb.Run:
        return trained(glyphs)

    configs = [{"w": {1: 5}}, {"w": {"1": 5}}]
    with pytest.raises(ArgumentError, match="w has the key 1: names in a config are text, such as '1'"):
        eb.sweep(train_one, configs, store=tmp_path / "s", backend="serial", progress=False)


def test_a_pivot_tells_true_from_one(glyphs: eb.Dataset, tmp_path: Path) -> None:
    def train_one(config: dict[str, Any]) -> eb.Run:
        return trained(glyphs, steps=3 if config["x"] is True else 2)

    made = eb.sweep(train_one, {"x": [1, True, 2]}, store=tmp_path / "s", backend="serial", progress=False)
    pivot = made.pivot("seed", "x", "steps", "count")
    assert {str(name): pivot.loc[0, name] for name in pivot.columns} == {"1": 1, "True": 1, "2": 1}
    assert set(made.pivot("x", "seed", "steps", "max")[0]) == {2, 3}


@pytest.mark.parametrize("backend", ["serial", "packed"])
def test_a_trial_goes_on_with_its_own_threads_where_no_other_shares_them(
    glyphs: eb.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, going_on: list[Any], backend: str
) -> None:
    """Torch's number of threads is the whole process's, and the last digits of a run depend on it."""
    from everybatch.sweeps import _going

    def interrupt(step: eb.Step) -> None:
        if step.step == 3:
            raise KeyboardInterrupt

    train = _going.train
    space, given = {"lr": [1e-3, 1e-2]}, {"backend": backend, "keep_state_every": 0.001}
    with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
        patch.setattr(_going, "train", lambda *these, **more: train(*these, **more, callbacks=interrupt))
        cut = swept(glyphs, tmp_path / "s", space, threads=2, **given)
        assert cut.interrupted
    assert list((tmp_path / "s" / "going").iterdir())
    made = swept(glyphs, tmp_path / "s", space, threads=1, **given)
    threads = [run.config["hardware"]["threads"] for run in made.runs]
    assert threads == ([1, 1] if backend == "packed" else [2, 1])
    assert len(going_on) == (0 if backend == "packed" else 1)
