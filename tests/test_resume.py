"""`resume`: the result is that of a run that never ended, to the last bit."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

import everybatch as eb
from everybatch.errors import FileFormatError
from everybatch.folder import Follower, Journal, _journal
from everybatch.folder._files import WHERE
from everybatch.folder._records import Payload, record, whole_records
from everybatch.folder._state import Kept
from everybatch.resuming import resume
from everybatch.runs import _read as reading
from same_runs import assert_same

DATA = eb.datasets.glyphs(train=640, test=100)

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "ema": {"ema": 0.9},
    "best": {"select": "best", "patience": 50, "validation": 100, "monitor": "validation_loss"},
    "plateau": {"schedule": eb.schedules.plateau(patience=1), "validation": 100, "optimizer": "sgd", "momentum": 0.9},
    "augmented": {"augment": eb.Augment(shift=2, rotate=5), "schedule": "one_cycle", "evaluate_every": 3},
    "falling": {
        "augment": eb.Augment(shift=2, elastic=0.5, erase=0.5),
        "augment_schedule": eb.schedules.linear(begin=0.2, end=0.8),
        "label_smoothing": 0.2,
        "label_smoothing_schedule": "cosine",
    },
    "bfloat16": {"precision": "bfloat16", "optimizer": "adamw", "label_smoothing": 0.1},
    "recorded": {"record": ("predictions", "grad_norm"), "kernels": "fused", "evaluate_on": 50},
}


def train(folder: Path | None = None, callback: Callable[[eb.Step], object] | tuple[()] = (), **given: Any) -> eb.Run:
    always = {"steps": 25, "deterministic": True, "progress": False, "folder": folder, "callbacks": callback}
    return eb.train(eb.networks.lenet5(dropout=0.2), DATA, **{**always, **given})


def interrupt_at(step: int) -> Callable[[eb.Step], object]:
    def interrupt(now: eb.Step) -> None:
        if now.step == step:
            raise KeyboardInterrupt

    return interrupt


@pytest.mark.filterwarnings("ignore::everybatch.errors.SelectionWarning")
@pytest.mark.parametrize("given", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("step", [1, 14])
def test_an_interrupted_run_goes_on(tmp_path: Path, step: int, given: dict[str, Any]) -> None:
    assert train(tmp_path / "run", interrupt_at(step), **given).state == "interrupted"
    run = resume(tmp_path / "run", progress=False)
    assert_same(run, train(**given))
    assert_same(eb.load_run(tmp_path / "run"), run)


class Noted(Payload):
    """Notes how many bytes are read at once."""

    def __init__(self, payload: Payload) -> None:
        super().__init__(payload._file, payload._start, payload.length)
        self.pieces: list[int] = []

    def read(self, start: int, length: int) -> bytes:
        self.pieces.append(length)
        return super().read(start, length)


def noted_states(monkeypatch: pytest.MonkeyPatch, module: ModuleType) -> list[Noted]:
    """Give a list that will have the states which the module reads."""

    def read_state(folder: Path) -> Kept | None:
        kept = read(folder)
        assert kept is not None
        states.append(Noted(kept.tensors))
        return dataclasses.replace(kept, tensors=states[-1])

    states: list[Noted] = []
    read = module.read_state
    monkeypatch.setattr(module, "read_state", read_state)
    return states


# A large network's state takes gigabytes: a run that had room for itself alone could not go on if all of it were held.
def test_a_state_is_read_by_tensors_and_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(tmp_path / "run", interrupt_at(14))
    states = noted_states(monkeypatch, _journal)
    closed: list[bool] = []
    resume(tmp_path / "run", progress=False, callbacks=lambda _: closed.append(states[0].closed))
    assert closed == [True] * 11
    tensors = eb.networks.lenet5().initialize().state_dict().values()
    assert max(states[0].pieces) == max(4 * tensor.numel() for tensor in tensors)


@pytest.mark.filterwarnings("ignore::everybatch.errors.SelectionWarning")
def test_of_a_state_that_is_looked_at_the_weights_that_count_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def copy(step: eb.Step) -> None:
        if step.step == 14:
            shutil.copytree(tmp_path / "run", tmp_path / "going")

    run = train(tmp_path / "run", copy, select="best", keep_state_every=0)
    states = noted_states(monkeypatch, reading)
    going = eb.load_run(tmp_path / "going")
    assert 1 <= going.model_step <= 14
    assert states[0].closed
    assert len(states) == 1
    # One of four parts of one size: weights, the best ones, and Adam's two means.
    assert sum(states[0].pieces) < 0.3 * states[0].length
    assert run.state == "finished"


def test_a_run_with_a_tolerance_that_was_stopped_goes_on(tmp_path: Path) -> None:
    # The stop makes a complete pass where the run that never ended has an estimate.
    data = eb.datasets.glyphs(train=640, test=1500)

    def stop(now: eb.Step) -> None:
        if now.step == 12:
            raise eb.StopTraining

    def stop_again(now: eb.Step) -> None:
        if now.step == 15:
            raise eb.StopTraining

    given: dict[str, Any] = {"steps": 20, "tolerance": 0.02, "deterministic": True, "progress": False}
    whole = eb.train(eb.networks.lenet5(), data, **given)
    assert whole.images_measured[12] < 1500
    stopped = eb.train(eb.networks.lenet5(), data, folder=tmp_path / "run", callbacks=stop, **given)
    assert stopped.images_measured[12] == 1500
    assert_same(eb.load_run(tmp_path / "run"), stopped)
    assert_same(resume(tmp_path / "run", data, progress=False), whole)
    assert_same(eb.load_run(tmp_path / "run"), whole)
    eb.train(eb.networks.lenet5(), data, folder=tmp_path / "twice", callbacks=stop, **given)
    assert resume(tmp_path / "twice", data, progress=False, callbacks=stop_again).images_measured[12] < 1500
    assert_same(resume(tmp_path / "twice", data, progress=False), whole)


def test_a_lost_run_goes_on_from_its_state_or_its_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train()
    for kept_at in (None, 7):
        folder = tmp_path / str(kept_at)
        keep = Journal.keep

        def sometimes(
            self: Journal, state: bytes, step: int, at: int, kept_at: int | None = kept_at, keep: Any = keep
        ) -> None:
            if step == kept_at:
                keep(self, state, step, at)

        with monkeypatch.context() as patch:
            patch.setattr(Journal, "keep", sometimes)
            patch.setattr(Journal, "end", lambda *_: None)  # as if killed at its last step
            train(folder, lambda _: None, keep_state_every=0)
        lost = eb.load_run(folder)
        assert (lost.state, lost.steps) == ("lost", 25)
        assert_same(resume(folder, DATA, progress=False), whole)
        assert_same(eb.load_run(folder), whole)


def test_a_run_that_goes_on_keeps_its_state_as_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(tmp_path / "run", interrupt_at(5), keep_state_every=0)
    kept = []
    monkeypatch.setattr(Journal, "keep", lambda _, __, step, ___: kept.append(step))
    resume(tmp_path / "run", progress=False, callbacks=lambda _: None)
    assert kept == list(range(6, 26))


def test_what_cannot_go_on_says_why(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no run in"):
        resume(tmp_path / "run")
    train(tmp_path / "run")
    with pytest.raises(eb.errors.ArgumentError, match="is finished, and has nothing to go on with: give epochs="):
        resume(tmp_path / "run")
    with pytest.raises(eb.errors.ArgumentError, match="after 25 steps, and is to take 20 in all"):
        resume(tmp_path / "run", steps=20)
    with pytest.raises(eb.errors.ArgumentError, match="give one of them"):
        resume(tmp_path / "run", steps=30, epochs=2)
    with pytest.raises(eb.errors.ArgumentError, match="trained on other images than those of 'glyphs' here"):
        resume(tmp_path / "run", eb.datasets.glyphs(train=641, test=100), steps=30)


def test_a_finished_run_is_made_longer(tmp_path: Path) -> None:
    whole = train(steps=40, evaluate_every=10, schedule=eb.schedules.multistep([30], gamma=0.1))
    given: dict[str, Any] = {"evaluate_every": 10, "schedule": eb.schedules.multistep([30], gamma=0.1)}
    assert train(tmp_path / "run", **given).state == "finished"
    run = resume(tmp_path / "run", epochs=4, progress=False)
    assert run.eval_step.tolist() == [0, 10, 20, 25, 30, 40]  # what was measured at its former end stays
    assert run.config["training"]["total_steps"] == 40
    np.testing.assert_array_equal(run.train_loss, whole.train_loss)
    np.testing.assert_array_equal(run.test_loss[[0, 1, 2, 4, 5]], whole.test_loss)
    weights = whole.model.state_dict()
    for name, value in run.model.state_dict().items():
        np.testing.assert_array_equal(np.asarray(value), np.asarray(weights[name]), err_msg=name)
    loaded = eb.load_run(tmp_path / "run")
    assert_same(loaded, run)
    assert loaded.config["training"]["epochs"] == 4
    assert resume(tmp_path / "run", steps=41, progress=False).steps == 41  # and once more


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine", eb.schedules.warmup(3, then="cosine")], ids=str)
def test_a_schedule_over_the_whole_length_is_not_made_longer(tmp_path: Path, schedule: Any) -> None:
    train(tmp_path / "run", schedule=schedule)
    before = eb.load_run(tmp_path / "run")
    with pytest.raises(eb.errors.ArgumentError, match="laid out over all of its steps"):
        resume(tmp_path / "run", steps=30, progress=False)
    after = eb.load_run(tmp_path / "run")
    assert_same(after, before)
    assert after.config == before.config


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"augment": eb.Augment(shift=1), "augment_schedule": "linear"}, "the strength of augmentation"),
        ({"label_smoothing": 0.1, "label_smoothing_schedule": "one_cycle"}, "label smoothing"),
    ],
)
def test_what_falls_over_the_whole_length_neither(tmp_path: Path, given: dict[str, Any], what: str) -> None:
    train(tmp_path / "run", **given)
    with pytest.raises(eb.errors.ArgumentError, match=f"{what} of this run is laid out over all of its steps"):
        resume(tmp_path / "run", steps=30, progress=False)


def test_what_falls_by_steps_may_fall_for_longer(tmp_path: Path) -> None:
    steps = eb.schedules.multistep([10, 28], gamma=0.3)
    given: dict[str, Any] = {"augment": eb.Augment(shift=2), "augment_schedule": steps}
    train(tmp_path / "run", **given)
    longer = resume(tmp_path / "run", steps=32, progress=False)
    np.testing.assert_array_equal(longer.train_loss, train(**given, steps=32).train_loss)


def test_the_kept_state_does_not_grow(tmp_path: Path) -> None:
    sizes = []

    def look(step: eb.Step) -> None:
        if step.step > 1:
            sizes.append((tmp_path / "run" / "state.records").stat().st_size)

    train(tmp_path / "run", look, keep_state_every=0, record=("predictions",))
    # The predictions of a measurement alone are 100 bytes, and there are 24 of them.
    assert max(sizes) - min(sizes) < 100


def test_a_run_on_its_way_has_a_model_and_a_confusion_matrix(tmp_path: Path) -> None:
    seen = []

    def look(step: eb.Step) -> None:
        if step.step == 20:
            run = eb.load_run(tmp_path / "run")
            seen.append((run.model_step, run.model.evaluate(DATA), run))

    train(tmp_path / "run", look, keep_state_every=0, ema=0.9)
    ((step, evaluation, run),) = seen
    assert (step, run.steps, run.state) == (19, 20, "running")  # the state is kept after the callbacks
    assert np.float32(evaluation.loss) == run.test_loss[19]
    np.testing.assert_array_equal(run.confusion, evaluation.confusion)
    assert "running" in repr(run)


@pytest.mark.parametrize("where", ['{"rows": [2, 3], "history": Infinity}', '{"rows": [1e999, 3], "history": 4}'])
def test_a_state_that_does_not_say_where_it_belongs(tmp_path: Path, where: str) -> None:
    train(tmp_path / "run", steps=2)
    path = tmp_path / "run" / "state.records"
    with path.open("rb") as file:
        (_, _, _), (kind, tensors, _) = whole_records(file)
    path.write_bytes(record(WHERE, where.encode()) + record(kind, tensors))
    with pytest.raises(FileFormatError, match=r"state\.records does not say what was recorded then"):
        eb.resume(tmp_path / "run", DATA, progress=False)


def test_a_run_without_a_state_says_what_it_lacks(tmp_path: Path) -> None:
    def look(step: eb.Step) -> None:
        if step.step == 1:
            run = eb.load_run(tmp_path / "run")
            with pytest.raises(AttributeError, match="has no confusion yet"):
                _ = run.confusion
            with pytest.raises(AttributeError, match="has no model yet"):
                _ = run.model
            run.save(tmp_path / "copy")
            copy = eb.load_run(tmp_path / "copy")
            assert (copy.steps, copy.state) == (1, "lost")

    assert train(tmp_path / "run", look).state == "finished"


def test_an_interrupted_run_says_how_to_go_on(tmp_path: Path) -> None:
    run = train(tmp_path / "run", interrupt_at(1))
    assert f"go on with everybatch.resume({str(tmp_path / 'run')!r})" in repr(run)
    assert "go on with" not in repr(train(callback=interrupt_at(1)))


def test_weights_that_were_kept_after_the_state_are_kept_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train(checkpoints=tmp_path / "whole", checkpoint_every=5)
    keep = Journal.keep

    def early(self: Journal, state: bytes, step: int, model_step: int) -> None:
        if step == 7:
            keep(self, state, step, model_step)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "keep", early)
        patch.setattr(Journal, "end", lambda *_: None)
        train(tmp_path / "run", lambda _: None, keep_state_every=0, checkpoints=tmp_path / "kept", checkpoint_every=5)
    run = resume(tmp_path / "run", progress=False)
    assert_same(run, whole)
    assert list(run.checkpoints) == list(whole.checkpoints) == [5, 10, 15, 20, 25]
    for step, path in run.checkpoints.items():
        weights = eb.Model.load(whole.checkpoints[step]).state_dict()
        for name, value in eb.Model.load(path).state_dict().items():
            np.testing.assert_array_equal(np.asarray(value), np.asarray(weights[name]), err_msg=name)


def test_callbacks_given_again_see_the_steps_that_are_left(tmp_path: Path) -> None:
    seen: list[int] = []

    def look(step: eb.Step) -> None:
        seen.append(step.step)
        if step.step == 14 and len(seen) == 14:
            raise KeyboardInterrupt

    train(tmp_path / "run", look)
    resume(tmp_path / "run", progress=False, callbacks=look)
    assert seen == [*range(1, 15), *range(15, 26)]


def test_a_run_goes_on_with_the_threads_that_it_began_with(tmp_path: Path) -> None:
    # On images as many as these, sums of two threads have other last digits than those of one.
    data = eb.datasets.glyphs(train=640, test=1500)
    seen = []

    given: dict[str, Any] = {"steps": 10, "deterministic": True, "progress": False}
    had = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        whole = eb.train(eb.networks.lenet5(), data, **given)
        eb.train(eb.networks.lenet5(), data, folder=tmp_path / "run", callbacks=interrupt_at(5), **given)
        torch.set_num_threads(1)
        run = resume(tmp_path / "run", data, progress=False, callbacks=lambda _: seen.append(torch.get_num_threads()))
        assert_same(run, whole)
        assert seen == [2] * 5
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(had)


@pytest.mark.parametrize("state", ["kept", "gone"])
def test_data_that_are_others_are_refused(tmp_path: Path, state: str) -> None:
    def arrays(data: eb.Dataset, **given: Any) -> eb.Dataset:
        return eb.Dataset(data.train_images, data.train_labels, data.test_images, data.test_labels, **given)

    # Other digits by the name of those that are found.
    data = arrays(eb.datasets.glyphs(train=640, test=100, seed=1), mean=0.5, std=0.5, name="glyphs")
    network = eb.networks.lenet5()
    eb.train(network, data, steps=4, folder=tmp_path / "run", progress=False, callbacks=interrupt_at(1))
    if state == "gone":
        (tmp_path / "run" / "state.records").unlink()
    with pytest.raises(TypeError, match="must be an everybatch Dataset, not str"):
        resume(tmp_path / "run", "glyphs")  # type: ignore[arg-type]
    with pytest.raises(eb.errors.ArgumentError, match="other images than what is found as 'glyphs': give dataset="):
        resume(tmp_path / "run")
    with pytest.raises(eb.errors.ArgumentError, match=r"a mean of \[0.5\], and it is \[0.25\]"):
        resume(tmp_path / "run", arrays(data, mean=0.25, std=0.5))
    assert resume(tmp_path / "run", arrays(data, mean=0.5, std=0.5), progress=False).steps == 4


def test_what_was_taken_away(tmp_path: Path) -> None:
    train(tmp_path / "run", interrupt_at(7), checkpoints=tmp_path / "kept", checkpoint_every=5)
    shutil.rmtree(tmp_path / "kept")
    beginning = tmp_path / "run" / "beginning.safetensors"
    beginning.rename(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError, match=r"beginning\.safetensors is missing: the run cannot go on without"):
        resume(tmp_path / "run")
    (tmp_path / "elsewhere").rename(beginning)
    assert list(resume(tmp_path / "run", progress=False).checkpoints) == [10, 15, 20, 25]


def test_a_run_that_is_read_while_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def copy(step: eb.Step) -> None:
        if step.step in {5, 15}:
            shutil.copytree(tmp_path / "run", tmp_path / str(step.step))

    train(tmp_path / "run", copy, keep_state_every=0)
    follower = Follower(tmp_path / "5")
    follower.look()
    early = follower.end
    read = reading.read_state

    def later(folder: Path) -> Any:
        for name in ("history.records", "state.records"):
            shutil.copy(tmp_path / "15" / name, folder / name)
        return read(folder)

    with monkeypatch.context() as patch:
        patch.setattr(reading, "read_state", later)
        run = eb.load_run(tmp_path / "5")  # its state is kept between the two looks
    assert (run.steps, run.model_step) == (15, 14)
    assert not follower.is_damaged  # what came since is whole
    assert follower.end > early


def test_weights_are_not_kept_in_the_folder_of_the_run(tmp_path: Path) -> None:
    with pytest.raises(eb.errors.ArgumentError, match="which holds a run and nothing else: choose another folder"):
        train(tmp_path / "run", checkpoints=tmp_path / "run" / "weights")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")])
def test_the_state_is_kept_after_a_number_of_seconds(tmp_path: Path, seconds: float) -> None:
    with pytest.raises(eb.errors.ArgumentError, match="it must be a finite number of seconds, 0 or above"):
        train(tmp_path / "run", keep_state_every=seconds)


def test_a_folder_whose_run_has_not_begun_says_so(tmp_path: Path) -> None:
    Journal(tmp_path / "run").close()
    (tmp_path / "run" / "history.records").unlink()
    with pytest.raises(FileNotFoundError, match="holds no run yet"):
        eb.load_run(tmp_path / "run")


# A state is kept at such an end, too: no step is taken again, and what was measured there once more is measured again.
@pytest.mark.parametrize("tolerance", [None, 0.02])
def test_a_run_that_ran_out_of_patience_is_at_its_end(tmp_path: Path, tolerance: float | None) -> None:
    data = eb.datasets.glyphs(train=640, test=1200)
    given: dict[str, Any] = {"lr": 0.0, "patience": 3, "validation": 100, "monitor": "validation_loss"}
    given |= {"tolerance": tolerance, "steps": 25, "deterministic": True, "progress": False}
    network = eb.Network([eb.Flatten(), eb.Linear(784, 10)])  # no batch norm, whose statistics would move
    run = eb.train(network, data, **given, folder=tmp_path / "run")
    assert (run.state, run.steps) == ("stopped", 4)  # the first is the best
    taken: list[int] = []
    again = resume(tmp_path / "run", data, progress=False, callbacks=lambda step: taken.append(step.step))
    assert taken == []
    assert_same(again, run)
    assert_same(eb.load_run(tmp_path / "run"), run)
    if tolerance is not None:
        assert run.images_measured[-1] == 1200


def test_a_lost_run_that_is_to_be_shorter_has_no_weights_of_later_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "keep", lambda *_: None)
        patch.setattr(Journal, "end", lambda *_: None)
        train(tmp_path / "run", checkpoints=tmp_path / "kept", checkpoint_every=5)
    run = resume(tmp_path / "run", steps=12, progress=False)
    assert (run.steps, list(run.checkpoints)) == (12, [5, 10])


# What SIGKILL leaves while the weights are written that a run begins with: docs/going_on.md begins every attempt alike.
@pytest.mark.parametrize("torn", [b"", b"\xebBr\nbegn"])
def test_a_folder_whose_process_was_killed_before_the_run_began_is_taken_over(tmp_path: Path, torn: bytes) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "history.records").write_bytes(torn)
    (folder / ".beginning.safetensors.wr17El.partial").write_bytes(b"half of the weights")
    with pytest.raises(FileNotFoundError, match="holds no run yet"):
        eb.load_run(folder)
    with pytest.raises(FileNotFoundError, match="had not begun"):
        eb.resume(folder, eb.datasets.glyphs(train=20, test=10))
    run = train(folder)
    assert_same(eb.load_run(folder), run)
    assert not list(folder.glob(".*"))


def test_a_folder_with_anything_else_is_not_taken_over(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    train(folder)
    (folder / "history.records").write_bytes(b"")  # lost, but its model is there
    with pytest.raises(FileExistsError, match="is not empty"):
        train(folder)
    assert (folder / "model.safetensors").exists()
