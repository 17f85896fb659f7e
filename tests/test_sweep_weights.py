"""Trials of a sweep that keep weights on the way."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import everybatch as eb
from everybatch.errors import ArgumentError
from everybatch.sweeps import _going
from same_runs import assert_same
from sweeping import swept
from test_sweep_going import DATA, GIVEN, killed_on_its_way

SPACE = {"lr": [1e-3, 5e-3]}
KEEPING: dict[str, Any] = {"checkpoint_every": 2, "evaluate_every": 2}  # of six steps


CUT: dict[str, Any] = {**GIVEN, "backend": "serial", "checkpoint_every": 100}


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store, "cut", of a sweep that was killed in its only trial."""
    folder = tmp_path_factory.mktemp("killed")
    killed_on_its_way(folder / "cut", "{'lr': [0.001]}", CUT)
    return folder


def gone_on(store: Path) -> eb.Run:
    return eb.sweep({"lr": [0.001]}, DATA, store=store, progress=False, device="cpu", **CUT).runs[0]


def weights(run: eb.Run) -> dict[int, list[np.ndarray[Any, Any]]]:
    return {
        step: [tensor.numpy() for tensor in eb.Model.load(path).state_dict().values()]
        for step, path in run.checkpoints.items()
    }


@pytest.mark.parametrize("backend", ["serial", "processes", "packed"])
def test_each_trial_keeps_its_own(tmp_path: Path, backend: str) -> None:
    sweep = swept(DATA, tmp_path / "s", SPACE, backend=backend, **KEEPING)
    folders = {path.parent for run in sweep.runs for path in run.checkpoints.values()}
    assert folders == {tmp_path / "s" / "weights" / trial.key for trial in sweep.trials}
    for run in sweep.runs:
        assert list(run.checkpoints) == [2, 4, 6]
        folder = run.config["training"]["checkpoints"]
        for step, kept in eb.evaluate_checkpoints(folder, DATA).items():
            (at,) = np.flatnonzero(run.eval_step == step)
            assert np.float32(kept.accuracy) == run.test_accuracy[at]
            assert np.float32(kept.loss) == run.test_loss[at]
    again = eb.load_sweep(tmp_path / "s")
    assert [list(run.checkpoints) for run in again.runs] == [[2, 4, 6]] * 2


def test_a_trial_that_keeps_weights_is_another_one(tmp_path: Path) -> None:
    def keys(**more: Any) -> list[str]:
        return [trial.key for trial in swept(DATA, tmp_path / "s", SPACE, evaluate_every=2, **more).trials]

    without, every_second, every_epoch = keys(), keys(checkpoint_every=2), keys(checkpoint_every="epoch")
    assert len({*without, *every_second, *every_epoch}) == 6
    assert keys() == without
    assert sorted(path.name for path in (tmp_path / "s" / "weights").iterdir()) == sorted(every_second + every_epoch)


def test_a_store_that_was_moved_while_a_trial_was_on_its_way(killed: Path, tmp_path: Path) -> None:
    shutil.copytree(killed / "cut", tmp_path / "moved")
    before = sorted(path.stat().st_mtime_ns for path in (killed / "cut").rglob("*"))
    run = gone_on(tmp_path / "moved")
    assert list(run.checkpoints) == [100, 200, 300]
    assert sorted(path.stat().st_mtime_ns for path in (killed / "cut").rglob("*")) == before


def test_a_sweep_that_is_cut_off_goes_on_keeping(killed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    go_on = _going.go_on
    monkeypatch.setattr(_going, "go_on", lambda *a, **k: calls.append(a) or go_on(*a, **k))
    cut, whole = gone_on(killed / "cut"), gone_on(tmp_path / "whole")
    assert len(calls) == 1
    assert_same(cut, whole)
    assert list(cut.checkpoints) == [100, 200, 300]
    for step, tensors in weights(whole).items():
        for one, other in zip(weights(cut)[step], tensors, strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_store_that_was_moved(tmp_path: Path) -> None:
    swept(DATA, tmp_path / "s", {"lr": [1e-3]}, **KEEPING)
    shutil.move(tmp_path / "s", tmp_path / "again")
    (run,) = eb.load_sweep(tmp_path / "again").runs
    assert {path.parents[2] for path in run.checkpoints.values()} == {tmp_path / "again"}
    assert list(weights(run)) == [2, 4, 6]


def test_weights_of_a_trial_that_fails_go_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = _going.train

    def fails(*arguments: Any, **options: Any) -> eb.Run:
        run = train(*arguments, **options)
        assert len(run.checkpoints) == 3
        raise ValueError("after all")

    monkeypatch.setattr(_going, "train", fails)
    sweep = swept(DATA, tmp_path / "s", {"lr": [1e-3]}, **KEEPING)
    assert [trial.state for trial in sweep.trials] == ["failed"]
    assert not list((tmp_path / "s" / "weights").iterdir())
    monkeypatch.undo()
    again = swept(DATA, tmp_path / "s", {"lr": [1e-3]}, retry_failed=True, **KEEPING)
    assert list(again.runs[0].checkpoints) == [2, 4, 6]


def test_weights_that_another_sweep_keeps_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = swept(DATA, tmp_path / "s", {"lr": [1e-3]}, **KEEPING)
    shutil.rmtree(tmp_path / "s" / "trials" / first.trials[0].key)
    (tmp_path / "s" / "index.json").unlink()
    monkeypatch.setattr(_going, "holder", lambda _: {"pid": 1})
    second = swept(DATA, tmp_path / "s", {"lr": [1e-3]}, **KEEPING)
    assert "another sweep trains the same trial" in next(iter(second.tracebacks().values()))
    assert len(list((tmp_path / "s" / "weights").glob("*/step_*"))) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"store": "memory://weights", **KEEPING}, "folder of this machine alone, not in memory://weights"),
        ({"backend": "ray", **KEEPING}, "workers of Ray may be on other machines"),
        ({"checkpoints": "kept"}, "checkpoints cannot be a setting of a sweep: give checkpoint_every="),
        ({"checkpoint_every": 0}, "checkpoint_every is 0"),
    ],
)
def test_what_cannot_be_kept_is_refused(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        swept(DATA, arguments.pop("store", tmp_path / "s"), SPACE, **arguments)
    assert not (tmp_path / "s").exists()
