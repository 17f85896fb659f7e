"""Sweeps that are cut off in the middle of a trial, and go on inside of it."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import everybatch as eb
from everybatch._trial import Trial
from everybatch.errors import InternalError
from everybatch.folder import _journal
from everybatch.sweeps._claims import Hold
from everybatch.sweeps._going import Going
from everybatch.sweeps._perform import give_up
from everybatch.sweeps._store import LocalStore
from same_runs import assert_same
from sweeping import job_of

DATA = eb.datasets.glyphs(train=640, test=100)

CODE = """
import everybatch as eb
data = eb.datasets.glyphs(train=640, test=100)
space = {space}
eb.sweep(space, data, store={store!r}, progress=False, device="cpu", **{given})
"""


def has_state(store: Path) -> bool:
    return bool(list(store.glob("going/*/state.records")))


def killed_on_its_way(
    store: Path,
    space: str,
    given: dict[str, Any],
    pruning: str = "None",
    enough: Callable[[Path], bool] = has_state,
) -> None:
    """Run a sweep in a process of its own, and kill it when a state was kept, or what is there is enough."""
    text = repr(given)[:-1] + f", 'pruning': {pruning}}}"
    code = CODE.format(store=str(store), space=space, given=text)
    with subprocess.Popen([sys.executable, "-c", code], start_new_session=True) as process:
        end = time.monotonic() + 120
        while not enough(store):
            assert process.poll() is None, "it ended before it was killed"
            assert time.monotonic() < end
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)


GIVEN: dict[str, Any] = {"network": "lenet5", "steps": 300, "evaluate_every": 10, "keep_state_every": 0.05}


@pytest.mark.parametrize("backend", ["serial", "packed"])
def test_a_sweep_goes_on_inside_of_a_trial(tmp_path: Path, going_on: list[Any], backend: str) -> None:
    given = {**GIVEN, "backend": backend}
    killed_on_its_way(tmp_path / "cut", "{'lr': [0.001]}", given)
    space = {"lr": [0.001]}
    sweep = eb.sweep(space, DATA, store=tmp_path / "cut", progress=False, device="cpu", **given)
    assert len(going_on) == 1
    assert not list((tmp_path / "cut" / "going").iterdir())
    whole = eb.sweep(space, DATA, store=tmp_path / "whole", progress=False, device="cpu", **given)
    assert_same(sweep.runs[0], whole.runs[0])
    assert sweep.runs[0].state == "finished"
    assert sweep.runs.trials == whole.runs.trials  # how often the state is kept is nothing that a trial is known by


def test_a_sweep_that_prunes_goes_on_with_what_it_had_seen(tmp_path: Path) -> None:
    rule = "eb.sweeps.median(every=20, min_trials=1)"
    given = {**GIVEN, "validation": 100, "backend": "serial"}
    space = {"lr": [0.001, 1e-7]}
    killed_on_its_way(tmp_path / "cut", repr(space), given, rule)
    pruning = eb.sweeps.median(every=20, min_trials=1)
    both = [
        eb.sweep(space, DATA, store=tmp_path / name, progress=False, device="cpu", pruning=pruning, **given)
        for name in ("cut", "whole")
    ]
    cut, whole = (sweep.table() for sweep in both)
    assert whole["status"].tolist() == ["finished", "pruned"]
    assert cut["status"].tolist() == ["finished", "pruned"]
    for one, other in zip(both[0].runs, both[1].runs, strict=True):
        assert_same(one, other)


def test_a_trial_that_goes_on_tells_what_the_rule_saw(tmp_path: Path) -> None:
    def interrupt(step: eb.Step) -> None:
        if step.step == 50:
            raise KeyboardInterrupt

    run = eb.train(
        eb.networks.lenet5(),
        DATA,
        steps=300,
        validation=100,
        evaluate_every=7,
        progress=False,
        folder=tmp_path / "run",
        callbacks=interrupt,
    )
    for rule in (
        eb.sweeps.median(every=20),
        eb.sweeps.successive_halving(min_steps=5, eta=2, monitor="validation_loss"),
    ):
        expected = [(step, rule.value_of(run, step)) for step in range(1, 51) if rule.is_rung(step, 300)]
        assert len(expected) >= 2
        assert list(Going(tmp_path / "run").rungs(rule)) == expected


def test_a_short_trial_leaves_nothing_and_one_elsewhere_keeps_nothing(tmp_path: Path) -> None:
    for store in (str(tmp_path / "here"), "memory://going"):
        given: dict[str, Any] = {"network": "lenet5", "steps": 5, "backend": "serial", "progress": False}
        assert len(eb.sweep({"lr": [0.001]}, DATA, store=store, **given).runs) == 1
    assert not list((tmp_path / "here" / "going").iterdir())


def test_a_damaged_trial_is_trained_anew(tmp_path: Path) -> None:
    killed_on_its_way(tmp_path / "cut", "{'lr': [0.001]}", {**GIVEN, "backend": "serial"})
    (state,) = (tmp_path / "cut").glob("going/*/state.records")
    state.write_bytes(state.read_bytes()[:-1])
    given = {**GIVEN, "backend": "serial"}
    sweep = eb.sweep({"lr": [0.001]}, DATA, store=tmp_path / "cut", progress=False, device="cpu", **given)
    assert [run.state for run in sweep.runs] == ["finished"]


def test_a_trial_whose_folder_cannot_be_written_is_trained_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = []

    def full(folder: Path) -> None:
        refused.append(folder)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))

    given: dict[str, Any] = {"network": "lenet5", "steps": 3, "backend": "serial", "progress": False, "device": "cpu"}
    undisturbed = eb.sweep({"lr": [0.001]}, DATA, store=tmp_path / "undisturbed", **given)
    monkeypatch.setattr(_journal, "make_folders", full)
    sweep = eb.sweep({"lr": [0.001]}, DATA, store=tmp_path / "s", **given)
    assert len(refused) == 1
    assert [trial.state for trial in sweep.trials] == ["finished"]
    assert_same(sweep.runs[0], undisturbed.runs[0])


def test_nothing_is_left_of_a_trial_that_is_given_up(tmp_path: Path) -> None:
    store = LocalStore("s", tmp_path / "s")
    store.prepare()
    trial = Trial(0, "0123456789abcdef0123", {}, 0, given={"checkpoint_every": 2})
    job = job_of(trials=[trial], dataset=DATA, keep_models=True)
    for folder in (store.under_way(trial.key), store.under_way(f"{trial.key}-weights")):
        assert folder is not None
        folder.mkdir(parents=True)
        (folder / "step_000002.safetensors").touch()
    row = give_up(job, 0, store, InternalError("its worker process was killed"))
    assert row["message"] == "InternalError: its worker process was killed"
    assert store.keys("failed") == {trial.key}
    assert not list((tmp_path / "s" / "going").iterdir())


def test_what_is_left_of_a_stored_trial_goes_with_the_next_sweep(tmp_path: Path) -> None:
    given: dict[str, Any] = {"network": "lenet5", "steps": 2, "backend": "serial", "progress": False, "device": "cpu"}
    (trial, held) = eb.sweep({"lr": [0.001, 0.01]}, DATA, store=tmp_path / "s", **given).trials
    for name in (trial.key, f"{trial.key}-weights", held.key, "another"):
        (tmp_path / "s" / "going" / name).mkdir()
    hold = Hold(tmp_path / "s", held.key)  # of a sweep that trains it whole, for example
    eb.sweep({"lr": [0.001, 0.01]}, DATA, store=tmp_path / "s", **given)
    hold.close()
    assert {path.name for path in (tmp_path / "s" / "going").iterdir()} == {held.key, "another"}


def test_an_index_that_cannot_be_written_ends_no_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write = LocalStore._write

    def full(self: LocalStore, name: str, content: bytes) -> None:
        if name == "index.json":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)
        write(self, name, content)

    monkeypatch.setattr(LocalStore, "_write", full)
    given: dict[str, Any] = {"network": "lenet5", "steps": 1, "backend": "serial", "progress": False, "device": "cpu"}
    sweep = eb.sweep({"lr": [0.001, 0.01]}, DATA, store=tmp_path / "s", **given)
    assert [trial.state for trial in sweep.trials] == ["finished"] * 2
    assert [trial.state for trial in eb.load_sweep(tmp_path / "s").trials] == ["finished"] * 2
    assert "its index cannot be written" in caplog.text
