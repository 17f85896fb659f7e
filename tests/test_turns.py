"""Turns: trainings in threads, of which one at a time goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest

import everybatch as eb
from everybatch import _core
from everybatch._hooks import HOOKS, Hooks
from test_train import assert_identical
from threads import PATIENCE, in_threads

LENET = eb.networks.lenet5(dropout=0.5)
DIFFERING = [{"seed": 1, "lr": 1e-3}, {"seed": 2, "lr": 3e-3, "optimizer": "sgd", "momentum": 0.9}]


def trained(data: eb.Dataset, **arguments: Any) -> eb.Run:
    fixed = {"steps": 12, "batch_size": 32, "record": "predictions", "progress": False, "device": "cpu"}
    return eb.train(LENET, data, **fixed | arguments)


def in_turns(works: Sequence[Callable[[], object]], turns: _core.Turns, **hooks: Any) -> list[Any]:
    """What each of `works` gives or raises, each in a thread of its own with a turn."""

    def in_turn(work: Callable[[], object], turn: _core.Turn) -> object:
        HOOKS.set(Hooks(turn=turn, **hooks))
        turn.wait()
        try:
            return work()
        except Exception as error:
            return error
        finally:
            turn.leave()

    return in_threads([partial(in_turn, work, turns.join()) for work in works])


@pytest.mark.parametrize("kernels", ["exact", "fused"])
def test_interleaved_runs_are_the_runs_one_after_the_other(glyphs: eb.Dataset, kernels: str) -> None:
    order: list[int] = []

    def run(place: int) -> eb.Run:
        return trained(glyphs, kernels=kernels, callbacks=lambda _: order.append(place), **DIFFERING[place])

    alone = [run(0), run(1)]
    order.clear()
    together = in_turns([lambda: run(0), lambda: run(1)], _core.Turns())
    assert order == [0, 1] * 12
    for one, other in zip(alone, together, strict=True):
        assert_identical(one, other)
        assert one.state == "finished"


def test_one_that_raises_does_not_hang_the_others(glyphs: eb.Dataset) -> None:
    def fail(step: eb.Step) -> None:
        if step.step == 3:
            raise RuntimeError("as the test wants")

    works = [lambda: trained(glyphs), lambda: trained(glyphs, callbacks=fail), lambda: trained(glyphs, seed=1)]
    first, failed, last = in_turns(works, _core.Turns())
    assert isinstance(failed, RuntimeError)
    assert [len(first.train_loss), len(failed.run.train_loss), len(last.train_loss)] == [12, 3, 12]


def test_stop_ends_all(glyphs: eb.Dataset) -> None:
    turns = _core.Turns()

    def stop(step: eb.Step) -> None:
        if step.step == 3:
            turns.stop()

    works = [lambda: trained(glyphs), lambda: trained(glyphs, callbacks=stop), lambda: trained(glyphs, seed=1)]
    runs = in_turns(works, turns)
    assert [run.interrupted for run in runs] == [True] * 3
    assert [len(run.train_loss) for run in runs] == [3, 3, 2]  # each hears of it when its turn comes


def test_a_turn_that_is_forgotten_is_passed_on() -> None:
    turns = _core.Turns()
    forgotten, waiting = turns.join(), turns.join()
    thread = threading.Thread(target=waiting.wait, daemon=True)
    thread.start()
    assert thread.is_alive()
    del forgotten
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert waiting.pass_on()
    turns.stop()
    assert not waiting.pass_on()
    waiting.leave()
    waiting.leave()


def test_hooks_add_callbacks_and_give_the_data(glyphs: eb.Dataset) -> None:
    steps: list[int] = []
    data = _core.Data(glyphs, "cpu")
    asked: list[tuple[eb.Dataset, str]] = []

    def give(dataset: eb.Dataset, device: str) -> _core.Data:
        asked.append((dataset, device))
        return data

    token = HOOKS.set(Hooks(data=give, callbacks=[(lambda step: steps.append(step.step), 5)]))
    try:
        run = trained(glyphs)
    finally:
        HOOKS.reset(token)
    assert steps == [5, 10]
    assert asked == [(glyphs, "cpu")]
    assert_identical(run, trained(glyphs))
    assert steps == [5, 10]
