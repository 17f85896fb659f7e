"""`train` with a folder: what is in it while the run goes on, when it was killed, and at the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import everybatch as eb
from everybatch.folder import Journal

DATA = eb.datasets.glyphs(train=640, test=100)


def quick(**given: Any) -> eb.Run:
    return eb.train(eb.networks.lenet5(), DATA, **{"steps": 12, "progress": False, **given})


def assert_same(one: eb.Run, other: eb.Run) -> None:
    assert one._arrays.keys() == other._arrays.keys()
    for name, array in one._arrays.items():
        np.testing.assert_array_equal(array, other._arrays[name], err_msg=name)
        assert array.dtype == other._arrays[name].dtype


@pytest.mark.parametrize(
    "given", [{}, {"validation": 100, "record": ("predictions", "grad_norm"), "evaluate_every": 5}]
)
def test_a_finished_run_is_in_its_folder(tmp_path: Path, given: dict[str, Any]) -> None:
    run = quick(folder=tmp_path / "run", **given)
    again = eb.load_run(tmp_path / "run")
    assert_same(again, run)
    assert again.config == run.config
    assert again.state == "finished"
    weights = again.model.state_dict()
    assert all((weights[name] == value).all() for name, value in run.model.state_dict().items())


def test_a_run_can_be_loaded_while_it_goes_on(tmp_path: Path) -> None:
    seen = []

    def look(step: eb.Step) -> None:
        run = eb.load_run(tmp_path / "run")
        seen.append((run.state, run.steps, len(run.eval_step), "running" in repr(run)))
        with pytest.raises(AttributeError, match="has no model yet"):
            _ = run.model

    quick(folder=tmp_path / "run", callbacks=look)
    assert seen == [("running", step, step + 1, True) for step in range(1, 13)]


def test_a_run_that_was_stopped_says_so(tmp_path: Path) -> None:
    def enough(step: eb.Step) -> None:
        if step.step == 5:
            raise eb.StopTraining("enough")

    run = quick(folder=tmp_path / "run", callbacks=enough, evaluate_every=4)
    again = eb.load_run(tmp_path / "run")
    assert_same(again, run)
    assert (again.state, again.config["status"]["message"]) == ("stopped", "enough")


def test_an_error_of_a_callback_leaves_what_was_recorded(tmp_path: Path) -> None:
    def broken(step: eb.Step) -> None:
        if step.step == 5:
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken") as caught:
        quick(folder=tmp_path / "run", callbacks=broken)
    again = eb.load_run(tmp_path / "run")
    assert_same(again, caught.value.run)  # type: ignore[attr-defined]
    assert again.state == "failed"


def test_what_never_began_leaves_no_run(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "run")
    told: dict[str, Any] = {"config": {}, "arrays": {}, "settings": {}}
    with pytest.raises(MemoryError), journal.begin(told, eb.networks.lenet5().initialize()):
        raise MemoryError
    journal.close()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["lock"]
    assert quick(folder=tmp_path / "run").state == "finished"


def test_a_failure_of_the_core_takes_nothing_that_was_measured(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "run")
    told: dict[str, Any] = {"config": {}, "arrays": {}, "settings": {}}

    def fail() -> None:
        with journal.begin(told, eb.networks.lenet5().initialize()):
            journal.write({"train_loss": np.zeros(1, np.float32), "eval_step": np.zeros(1, np.int64)})
            raise MemoryError

    with pytest.raises(MemoryError):
        fail()
    journal.close()
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"lock", "history.records", "beginning.safetensors"}


def test_a_folder_with_a_run_is_refused_before_training(tmp_path: Path) -> None:
    quick(folder=tmp_path / "run")
    before = sorted(
        (path.name, path.stat().st_mtime_ns) for path in (tmp_path / "run").iterdir() if path.name != "lock"
    )
    with pytest.raises(FileExistsError, match="is not empty"):
        quick(folder=tmp_path / "run", callbacks=lambda _: pytest.fail("the training began"))
    assert before == sorted(
        (path.name, path.stat().st_mtime_ns) for path in (tmp_path / "run").iterdir() if path.name != "lock"
    )


def test_a_killed_run_is_lost_and_has_all_that_its_callbacks_saw(tmp_path: Path) -> None:
    code = f"""
import everybatch as eb
data = eb.datasets.glyphs(train=640, test=100)
def tell(step):
    print(step.step, step.test_loss, flush=True)
eb.train(eb.networks.lenet5(), data, steps=10**6, progress=False, folder={str(tmp_path / "run")!r}, callbacks=tell)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = [process.stdout.readline() for _ in range(30)]
        assert eb.load_run(tmp_path / "run").state == "running"
        os.kill(process.pid, signal.SIGKILL)
        told += process.stdout.read().splitlines(keepends=True)
    told = [line for line in told if line.endswith("\n")]
    run = eb.load_run(tmp_path / "run")
    assert run.state == "lost"
    assert run.steps >= len(told)
    expected = np.array([float(line.split()[1]) for line in told], np.float32)
    np.testing.assert_array_equal(run.test_loss[1 : len(told) + 1], expected)


def test_a_run_that_was_lost_before_it_measured_is_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "write", lambda *_: False)
        patch.setattr(Journal, "keep", lambda *_: None)
        patch.setattr(Journal, "end", lambda *_: None)
        whole = quick(folder=tmp_path / "run", validation=100)
    run = eb.load_run(tmp_path / "run")
    assert (run.state, run.steps, len(run.validation_loss)) == ("lost", 0, 0)
    assert run.test_accuracy.shape == (0,)
    assert "lost" in repr(run)
    again = eb.resume(tmp_path / "run", progress=False)
    np.testing.assert_array_equal(again.validation_loss, whole.validation_loss)
