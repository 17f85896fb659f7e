"""`resume`: the result is that of a run that never ended, to the last bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import everybatch as eb
from everybatch.folder import Journal
from everybatch.resuming import resume

DATA = eb.datasets.glyphs(train=640, test=100)

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "ema": {"ema": 0.9},
    "best": {"select": "best", "patience": 50, "validation": 100, "monitor": "validation_loss"},
    "plateau": {"schedule": eb.schedules.plateau(patience=1), "validation": 100, "optimizer": "sgd", "momentum": 0.9},
    "augmented": {"augment": eb.Augment(shift=2, rotate=5), "schedule": "one_cycle", "evaluate_every": 3},
    "recorded": {"record": ("predictions", "grad_norm"), "kernels": "fused", "evaluate_on": 50},
}


def assert_same(one: eb.Run, other: eb.Run) -> None:
    assert one._arrays.keys() == other._arrays.keys()
    for name, array in one._arrays.items():
        if not name.endswith("seconds"):
            np.testing.assert_array_equal(array, other._arrays[name], err_msg=name)
    assert (one.state, one.model_step) == (other.state, other.model_step)
    weights = other.model.state_dict()
    for name, value in one.model.state_dict().items():
        np.testing.assert_array_equal(np.asarray(value), np.asarray(weights[name]), err_msg=name)


def train(folder: Path | None = None, callback: Callable[[eb.Step], object] | tuple[()] = (), **given: Any) -> eb.Run:
    return eb.train(
        eb.networks.lenet5(),
        DATA,
        steps=25,
        deterministic=True,
        progress=False,
        folder=folder,
        callbacks=callback,
        **given,
    )


@pytest.mark.filterwarnings("ignore::everybatch.errors.SelectionWarning")
@pytest.mark.parametrize("given", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("step", [1, 14])
def test_an_interrupted_run_goes_on(tmp_path: Path, step: int, given: dict[str, Any]) -> None:
    def interrupt(now: eb.Step) -> None:
        if now.step == step:
            raise KeyboardInterrupt

    assert train(tmp_path / "run", interrupt, **given).state == "interrupted"
    run = resume(tmp_path / "run", progress=False)
    assert_same(run, train(**given))
    assert_same(eb.load_run(tmp_path / "run"), run)


def test_a_run_with_a_tolerance_that_was_stopped_goes_on(tmp_path: Path) -> None:
    # The stop makes a complete pass where the run that never ended has an estimate.
    data = eb.datasets.glyphs(train=640, test=1500)

    def stop(now: eb.Step) -> None:
        if now.step == 12:
            raise eb.StopTraining

    given: dict[str, Any] = {"steps": 20, "tolerance": 0.02, "deterministic": True, "progress": False}
    whole = eb.train(eb.networks.lenet5(), data, **given)
    assert whole.images_measured[12] < 1500
    stopped = eb.train(eb.networks.lenet5(), data, folder=tmp_path / "run", callbacks=stop, **given)
    assert stopped.images_measured[12] == 1500
    assert_same(eb.load_run(tmp_path / "run"), stopped)
    assert_same(resume(tmp_path / "run", data, progress=False), whole)


def test_a_lost_run_goes_on_from_its_state_or_its_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train()
    for kept_at in (None, 7):
        folder = tmp_path / str(kept_at)
        keep = Journal.keep

        def sometimes(self: Journal, state: bytes, step: int, kept_at: int | None = kept_at, keep: Any = keep) -> None:
            if step == kept_at:
                keep(self, state, step)

        with monkeypatch.context() as patch:
            patch.setattr(Journal, "keep", sometimes)
            patch.setattr(Journal, "end", lambda *_: None)  # as if killed at its last step
            train(folder, lambda _: None, keep_state_every=0)
        lost = eb.load_run(folder)
        assert (lost.state, lost.steps) == ("lost", 25)
        assert_same(resume(folder, DATA, progress=False), whole)
        assert_same(eb.load_run(folder), whole)


def test_a_run_that_goes_on_keeps_its_state_as_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(now: eb.Step) -> None:
        if now.step == 5:
            raise KeyboardInterrupt

    train(tmp_path / "run", interrupt, keep_state_every=0)
    kept = []
    monkeypatch.setattr(Journal, "keep", lambda _, __, step: kept.append(step))
    resume(tmp_path / "run", progress=False, callbacks=lambda _: None)
    assert kept == list(range(6, 26))


def test_what_cannot_go_on_says_why(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no run in"):
        resume(tmp_path / "run")
    train(tmp_path / "run")
    with pytest.raises(eb.errors.ArgumentError, match="is finished"):
        resume(tmp_path / "run")
