"""Callbacks that are objects: what is called when, with what, and however the run ends."""

from __future__ import annotations

import contextlib
import gc
import signal
import types
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

import everybatch as eb
from everybatch.errors import ArgumentError

Quick = Callable[..., eb.Run]


class Listener:
    """Notes all calls; raises at one of them."""

    def __init__(self, at: str = "", error: BaseException | None = None, calls: list[str] | None = None) -> None:
        self.at, self.error = at, error
        self.calls: list[str] = [] if calls is None else calls
        self.start: eb.RunStart | None = None
        self.run: eb.Run | None = None

    def _hear(self, call: str) -> None:
        self.calls.append(call)
        if call == self.at:
            assert self.error is not None
            raise self.error

    def on_start(self, start: eb.RunStart) -> None:
        self.start = start
        self._hear(f"start {start.step}")

    def on_step(self, step: eb.Step) -> None:
        self._hear(f"step {step.step}")

    def on_evaluation(self, step: eb.Step) -> None:
        assert step.eval_step == step.step
        assert np.isfinite(step.test_loss)
        assert len(step.model().state_dict()) > 0
        self._hear(f"evaluation {step.step}")

    def on_end(self, run: eb.Run) -> None:
        self.run = run
        self._hear(f"end {run.state}")


def test_everything_is_told_in_order(quick: Quick) -> None:
    listener = Listener()
    run = quick(callbacks=listener, evaluate_every=2)
    steps = ["step 1", "evaluation 2", "step 2", "step 3", "evaluation 4", "step 4", "evaluation 5", "step 5"]
    assert listener.calls == ["start 0", "evaluation 0", *steps, "end finished"]
    assert listener.run is run
    assert listener.start is not None
    assert listener.start.total_steps == 5
    assert listener.start.config["training"] == run.config["training"]
    assert set(listener.start.config) == {"network", "dataset", "training", "versions", "hardware", "started"}


def test_the_numbers_are_the_runs(quick: Quick) -> None:
    seen: list[tuple[int, float, float, float]] = []

    class Look:
        def on_evaluation(self, step: eb.Step) -> None:
            seen.append((step.step, step.test_loss, step.train_loss, step.lr))

    run = quick(callbacks=[Look()], evaluate_every=2)
    assert [step for step, *_ in seen] == run.eval_step.tolist()
    np.testing.assert_array_equal([loss for _, loss, *_ in seen], run.test_loss)
    np.testing.assert_array_equal([loss for *_, loss, _ in seen[1:]], run.train_loss[[1, 3, 4]])
    assert np.isnan(seen[0][2:]).all()  # before the first step
    assert seen[-1][3] == run.lr[-1]


def test_objects_and_functions_go_together(quick: Quick) -> None:
    calls: list[str] = []

    class Second:
        def on_step(self, step: eb.Step) -> None:
            calls.append(f"second {step.step}")

        def on_end(self, run: eb.Run) -> None:
            calls.append(f"second end {run.steps}")

    def function(step: eb.Step) -> None:
        calls.append(f"function {step.step}")

    run = quick(callbacks=(Listener(calls=calls), function, Second()), steps=1)
    expected = ["start 0", "evaluation 0", "evaluation 1", "step 1", "function 1", "second 1", "end finished"]
    assert calls == [*expected, "second end 1"]
    plain = quick(steps=1)
    np.testing.assert_array_equal(run.test_loss, plain.test_loss)


def test_a_stop_brings_one_more_measurement(quick: Quick) -> None:
    listener = Listener("step 3", eb.StopTraining("enough"))
    run = quick(callbacks=listener, evaluate_every="epoch")
    assert listener.calls[-3:] == ["step 3", "evaluation 3", "end stopped"]
    assert run.config["status"]["message"] == "enough"
    listener = Listener("evaluation 3", eb.StopTraining())
    run = quick(callbacks=listener)
    assert listener.calls[-2:] == ["evaluation 3", "end stopped"]
    assert (run.steps, run.eval_step.tolist()) == (3, [0, 1, 2, 3])


@pytest.mark.parametrize("at", ["start 0", "evaluation 0"])
def test_a_stop_before_the_first_step(at: str, quick: Quick) -> None:
    listener = Listener(at, eb.StopTraining("no"))
    run = quick(callbacks=listener)
    assert listener.calls == ["start 0", "evaluation 0", "end stopped"]
    assert (run.state, run.steps, run.eval_step.tolist()) == ("stopped", 0, [0])
    assert run.config["status"]["message"] == "no"


@pytest.mark.parametrize("at", ["start 0", "evaluation 0", "evaluation 2", "step 2", "end finished"])
def test_an_exception_carries_the_run_and_every_end_is_told(at: str, quick: Quick) -> None:
    first, second = Listener(at, KeyError("mine")), Listener()
    with pytest.raises(KeyError, match="mine") as raised:
        quick(callbacks=[first, second])
    run: eb.Run = raised.value.run  # type: ignore[attr-defined]
    assert first.run is second.run is run
    assert run.state == ("finished" if at.startswith("end") else "failed")
    assert run.steps == {"start 0": 0, "evaluation 0": 0, "end finished": 5}.get(at, 2)
    assert second.calls[-1] == f"end {run.state}"
    assert at not in second.calls[:-1]  # those after it are not called
    assert len(run.test_loss) == run.steps + 1


def test_what_ends_raise_is_gathered(quick: Quick) -> None:
    listeners = [Listener("end failed", ValueError("two")), Listener("step 1", KeyError("one"))]
    with pytest.raises(KeyError, match="one") as raised:
        quick(callbacks=listeners)
    assert raised.value.__notes__ == ["on_end of a Listener raised, too: ValueError: two"]
    ends = [Listener("end finished", error) for error in (eb.StopTraining(), ValueError("a"), KeyError("b"))]
    with pytest.raises(ValueError, match="a") as second:
        quick(callbacks=ends)
    assert second.value.__notes__ == ["on_end of a Listener raised, too: KeyError: 'b'"]
    assert second.value.run.state == "finished"  # type: ignore[attr-defined]


def test_an_interrupted_run_is_told(quick: Quick) -> None:
    listener = Listener()

    def interrupt(step: eb.Step) -> None:
        if step.step == 2:
            signal.raise_signal(signal.SIGINT)

    run = quick(callbacks=[interrupt, listener])
    assert run.interrupted
    assert listener.run is run
    listener = Listener("start 0", KeyboardInterrupt())
    assert quick(callbacks=listener).state == "interrupted"
    assert listener.calls == ["start 0", "end interrupted"]


def test_a_run_that_diverges_is_told(quick: Quick) -> None:
    listener = Listener()
    with pytest.warns(RuntimeWarning, match="NaN or infinite"):
        run = quick(callbacks=listener, optimizer="sgd", lr=1e30)
    assert listener.calls[-1] == "end diverged"
    assert listener.run is run
    assert f"evaluation {run.diverged_at}" not in listener.calls


def test_patience_and_tolerance_are_told(tiny: eb.Network) -> None:
    data = eb.datasets.glyphs(train=320, test=1500, seed=3)
    listener = Listener()
    run = eb.train(tiny, data, batch_size=32, tolerance=0.05, progress=False, device="cpu", callbacks=listener)
    assert (run.images_measured < 1500).any()
    told = [int(call.split()[1]) for call in listener.calls if call.startswith("evaluation")]
    assert told == run.eval_step.tolist()


def test_a_run_that_goes_on_tells_where(tiny: eb.Network, glyphs: eb.Dataset, tmp_path: Path) -> None:
    given: dict[str, Any] = {"batch_size": 32, "steps": 8, "progress": False, "folder": tmp_path / "run"}
    seen: list[int] = []

    class Interrupt:
        def on_evaluation(self, step: eb.Step) -> None:
            if step.step == 3:
                seen.append(len(eb.load_run(tmp_path / "run").test_loss))
                raise KeyboardInterrupt

    eb.train(tiny, glyphs, callbacks=Interrupt(), **given)
    assert seen == [4]  # what it sees is in the folder
    listener = Listener()
    run = eb.resume(tmp_path / "run", glyphs, progress=False, callbacks=listener)
    assert listener.calls[:3] == ["start 3", "evaluation 4", "step 4"]
    assert listener.calls[-1] == "end finished"
    assert listener.run is run
    assert listener.start is not None
    assert (listener.start.total_steps, run.steps) == (8, 8)
    whole = eb.train(tiny, glyphs, **given | {"folder": None})
    np.testing.assert_array_equal(run.test_loss, whole.test_loss)


@pytest.mark.parametrize("error", [eb.StopTraining(), KeyboardInterrupt(), KeyError()])
def test_a_run_that_goes_on_may_be_ended_at_once(
    error: BaseException, tiny: eb.Network, glyphs: eb.Dataset, tmp_path: Path
) -> None:
    given: dict[str, Any] = {"batch_size": 32, "steps": 5, "progress": False}
    eb.train(tiny, glyphs, callbacks=Listener("step 3", KeyboardInterrupt()), folder=tmp_path / "run", **given)
    listener = Listener("start 3", error)
    with contextlib.suppress(KeyError):
        eb.resume(tmp_path / "run", glyphs, progress=False, callbacks=listener)
    assert listener.calls[0] == "start 3"
    assert len(listener.calls) == 2
    assert listener.run is not None
    assert listener.run.steps == 3
    run = eb.resume(tmp_path / "run", glyphs, progress=False)  # and still goes on
    np.testing.assert_array_equal(run.test_loss, eb.train(tiny, glyphs, **given).test_loss)


def test_the_config_is_a_copy(quick: Quick) -> None:
    class Change:
        def on_start(self, start: eb.RunStart) -> None:
            start.config["training"]["lr"] = 7

    assert quick(callbacks=Change()).config["training"]["lr"] == 1e-3


def test_find_lr_takes_objects(tiny: eb.Network, glyphs: eb.Dataset) -> None:
    listener = Listener()
    found = eb.find_lr(tiny, glyphs, steps=20, batch_size=32, callbacks=listener)
    assert listener.calls[0] == "start 0"
    assert listener.calls.count("step 1") == 1
    assert listener.run is not None
    assert len(found.lr) == listener.run.steps


# ---- what is none --------------------------------------------------------------------------------


class Keras:
    def on_epoch_end(self, epoch: int) -> None: ...


class Misspelt:
    def on_step(self, step: eb.Step) -> None: ...

    def on_evaluate(self, step: eb.Step) -> None: ...


class Both(Listener):
    def __call__(self, step: eb.Step) -> None: ...


class Async:
    async def on_end(self, run: eb.Run) -> None: ...


class Yields:
    def on_step(self, step: eb.Step) -> Any:
        yield step


class TwoArguments:
    def on_end(self, run: eb.Run, more: int) -> None: ...


class NoArguments:
    def on_end(self) -> None: ...


WRONG: list[tuple[Any, type[Exception], str]] = [
    (5, TypeError, "callbacks must be a function or a list of functions, or of objects with on_start, on_step,"),
    ("on_step", TypeError, "callbacks must be a function or a list"),
    ({"on_step": print}, TypeError, "callbacks must be a function or a list"),
    ([None], TypeError, "callbacks must hold functions, or objects with on_start.*, and None is none"),
    (object(), TypeError, "callbacks must be a function"),
    (
        Listener,
        TypeError,
        r"the class Listener, which has on_start: give an object of it, Listener\(\)",
    ),
    ([Keras()], ArgumentError, "a Keras, which has on_epoch_end, and nothing calls that: the methods are on_start"),
    (Misspelt(), ArgumentError, "a Misspelt, which has on_evaluate.*Did you mean 'on_evaluation'"),
    (Both(), ArgumentError, "a Both, which has on_start and can be called itself: two things could be meant"),
    (Async(), TypeError, "on_end of a Async would do nothing when it is called"),
    (Yields(), TypeError, "on_step of a Yields would do nothing"),
    (TwoArguments(), TypeError, "on_end of a TwoArguments is called with the Run, and cannot be: missing.*more"),
    (NoArguments(), TypeError, "on_end of a NoArguments is called with the Run, and cannot be: too many"),
    (types.SimpleNamespace(on_step=5), TypeError, "on_step of a SimpleNamespace must be a method, not 5"),
]


@pytest.mark.parametrize(("given", "error", "match"), WRONG, ids=[str(number) for number in range(len(WRONG))])
def test_what_is_no_callback(given: Any, error: type[Exception], match: str, quick: Quick) -> None:
    with pytest.raises(error, match=match):
        quick(callbacks=given)


def test_what_looks_like_an_object_and_is_one(quick: Quick) -> None:
    calls: list[int] = []
    quick(callbacks=types.SimpleNamespace(on_step=lambda step: calls.append(step.step), on_end=None))
    assert calls == [1, 2, 3, 4, 5]
    stand_in = Mock()  # has whatever it is asked for, and is called
    quick(callbacks=stand_in)
    assert stand_in.call_count == 5
    assert not stand_in.on_end.called


def test_a_run_goes_with_the_exception_that_ended_it(quick: Quick) -> None:
    def fail(step: eb.Step) -> None:
        raise ValueError("enough")

    def fails() -> weakref.ref[eb.Run]:
        with pytest.raises(ValueError, match="enough") as caught:
            quick(callbacks=fail)
        return weakref.ref(caught.value.run)  # type: ignore[attr-defined]

    run = fails()
    gc.collect()
    assert run() is None
