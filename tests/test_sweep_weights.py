"""Trials of a sweep that keep weights on the way."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import everybatch as eb
from everybatch.errors import ArgumentError
from everybatch.folder import read_state, recorded
from everybatch.sweeps import _going
from same_runs import assert_same
from sweeping import swept
from test_sweep_going import DATA, GIVEN, killed_on_its_way

SPACE = {"lr": [1e-3, 5e-3]}
KEEPING: dict[str, Any] = {"checkpoint_every": 2, "evaluate_every": 2}  # of six steps

CUT: dict[str, Any] = {**GIVEN, "backend": "serial", "checkpoint_every": 10}
STEPS = list(range(10, 301, 10))


def has_gone_far(store: Path) -> bool:
    """Whether the state that was kept last is of twenty steps or more."""
    for state in store.glob("going/*/state.records"):
        with contextlib.suppress(OSError, eb.errors.EverybatchError):  # it is being written
            kept = read_state(state.parent)
            if kept is not None:
                with contextlib.closing(kept):
                    return len(recorded(state.parent, kept)["train_loss"]) >= 20
    return False


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store, "cut", of a sweep that was killed in its only trial."""
    folder = tmp_path_factory.mktemp("killed")
    killed_on_its_way(folder / "cut", "{'lr': [0.001]}", CUT, enough=has_gone_far)
    shutil.copytree(folder / "cut", folder / "as it was")
    return folder


@pytest.fixture
def cut(killed: Path) -> Path:
    """That store, as it was when its process was killed."""
    shutil.rmtree(killed / "cut")
    shutil.copytree(killed / "as it was", killed / "cut")
    return killed / "cut"


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
    assert folders == {tmp_path / "s" / "trials" / trial.key / "weights" for trial in sweep.trials}
    assert not list((tmp_path / "s" / "going").iterdir())
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
    assert keys() == keys(checkpoint_every=None) == without
    keeping = {path.parent.name for path in (tmp_path / "s").glob("trials/*/weights")}
    assert keeping == {*every_second, *every_epoch}


def test_a_sweep_that_is_cut_off_goes_on_keeping(cut: Path, tmp_path: Path, going_on: list[Any]) -> None:
    one, whole = gone_on(cut), gone_on(tmp_path / "whole")
    assert len(going_on) == 1
    assert_same(one, whole)
    assert list(one.checkpoints) == STEPS
    for step, tensors in weights(whole).items():
        for tensor, its_like in zip(weights(one)[step], tensors, strict=True):
            np.testing.assert_array_equal(tensor, its_like)


@pytest.mark.parametrize("damage", ["history", "weights", "one file", "moved"])
def test_a_trial_that_lacks_something_is_trained_anew(
    cut: Path, tmp_path: Path, going_on: list[Any], damage: str
) -> None:
    (history,) = cut.glob("going/*/history.records")
    (kept,) = cut.glob("going/*-weights")
    store = cut
    if damage == "history":
        history.write_bytes(b"")
    elif damage == "weights":
        shutil.rmtree(kept)
    elif damage == "one file":
        (kept / "step_000010.safetensors").unlink()
    else:
        store = cut.rename(tmp_path / "moved")
    run = gone_on(store)
    assert not going_on
    assert (run.state, list(run.checkpoints)) == ("finished", STEPS)
    assert damage != "moved" or not cut.exists()
    cut.mkdir(exist_ok=True)  # for the next


def test_a_store_that_was_moved(tmp_path: Path) -> None:
    swept(DATA, tmp_path / "s", {"lr": [1e-3]}, **KEEPING)
    shutil.move(tmp_path / "s", tmp_path / "again")
    (run,) = eb.load_sweep(tmp_path / "again").runs
    assert {path.parents[3] for path in run.checkpoints.values()} == {tmp_path / "again"}
    assert list(weights(run)) == [2, 4, 6]
    (trial,) = (tmp_path / "again" / "trials").glob("[!.]*")
    assert eb.load_run(trial).checkpoints == run.checkpoints


def test_weights_of_a_trial_that_fails_go_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = _going.train

    def fails(*arguments: Any, **options: Any) -> eb.Run:
        run = train(*arguments, **options)
        assert len(run.checkpoints) == 3
        raise ValueError("after all")

    monkeypatch.setattr(_going, "train", fails)
    sweep = swept(DATA, tmp_path / "s", {"lr": [1e-3]}, **KEEPING)
    assert [trial.state for trial in sweep.trials] == ["failed"]
    assert not list((tmp_path / "s").rglob("step_*"))
    monkeypatch.undo()
    again = swept(DATA, tmp_path / "s", {"lr": [1e-3]}, retry_failed=True, **KEEPING)
    assert list(again.runs[0].checkpoints) == [2, 4, 6]


def full(*_: Any, **__: Any) -> eb.Run:
    """Fail as `train` and `resume` do in the middle of a training, when weights find no room."""
    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "step_000004.safetensors")
    error.run = None  # type: ignore[attr-defined] # what was recorded until then
    raise error


@pytest.mark.parametrize("backend", ["serial", "packed"])
def test_a_disk_that_is_full_fails_no_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    given: dict[str, Any] = {"space": {"lr": [1e-3]}, "backend": backend, **KEEPING}
    with monkeypatch.context() as patch:
        patch.setattr(_going, "train", full)
        with pytest.raises(OSError, match="weights of the trial could not be saved to") as caught:
            swept(DATA, tmp_path / "s", **given)
    assert caught.value.errno == errno.ENOSPC
    assert not list(tmp_path.glob("s/failed/*"))
    assert [trial.state for trial in eb.load_sweep(tmp_path / "s").trials] == ["missing"]
    (run,) = swept(DATA, tmp_path / "s", **given).runs  # there is room again
    assert list(run.checkpoints) == [2, 4, 6]


def test_a_disk_that_is_full_takes_nothing_from_a_trial_that_goes_on(
    cut: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.read_bytes() for path in cut.glob("going/*/*")}
    assert len(before) > 4
    monkeypatch.setattr(_going, "go_on", full)
    with pytest.raises(OSError, match="weights of the trial could not be saved to"):
        gone_on(cut)
    assert {path: path.read_bytes() for path in cut.glob("going/*/*")} == before
    assert not list(cut.glob("failed/*"))


def test_a_trial_that_another_sweep_trains_already_is_trained_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_going, "holder", lambda _: {"pid": 1})
    other = tmp_path / "s" / "going"
    sweep = swept(DATA, tmp_path / "s", {"lr": [1e-3]}, **KEEPING)
    assert list(sweep.runs[0].checkpoints) == [2, 4, 6]
    assert not other.exists()
    assert [path.name for path in (tmp_path / "s" / "trials").iterdir()] == [sweep.trials[0].key]


def test_a_stored_trial_keeps_its_weights_until_another_is_whole(tmp_path: Path) -> None:
    """That is: while one that was pruned is trained on, and when that comes to nothing."""
    given = {"validation": 100, "steps": 20, "checkpoint_every": 5, "evaluate_every": 5}
    rule = eb.sweeps.median(every=10, min_trials=1)
    space = {"lr": [1e-3, 1e-7]}
    pruned = swept(DATA, tmp_path / "s", space, pruning=rule, **given)
    assert [trial.state for trial in pruned.trials] == ["finished", "pruned"]
    assert list(pruned.runs[1].checkpoints) == [5, 10]

    def interrupted(*arguments: Any, **options: Any) -> eb.Run:
        def interrupt(step: eb.Step) -> None:
            if step.step == 17:
                raise KeyboardInterrupt

        return train(*arguments, **options, callbacks=interrupt)

    train = _going.train
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_going, "train", interrupted)
        assert swept(DATA, tmp_path / "s", space, **given).interrupted
    assert list(eb.load_sweep(tmp_path / "s").runs[1].checkpoints) == [5, 10]
    assert [list(run.checkpoints) for run in swept(DATA, tmp_path / "s", space, **given).runs] == [[5, 10, 15, 20]] * 2


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
