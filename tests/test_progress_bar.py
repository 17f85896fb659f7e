"""The progress bar where it cannot be drawn: the training is worth more."""

from __future__ import annotations

import sys
from typing import Any

import pytest

import everybatch as eb


class Failing:
    """A stream that takes some writes and then fails, as a disk that fills up or a pipe whose reader has gone."""

    def __init__(self, writes: int, error: Exception) -> None:
        self.left, self.error = writes, error

    def write(self, text: str) -> int:
        self.left -= 1
        if self.left < 0:
            raise self.error
        return len(text)

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return False


def short(**given: Any) -> eb.Run:
    data = eb.datasets.glyphs(train=64, test=20)
    network = eb.Network([eb.Flatten(), eb.Linear(784, 10)])
    return eb.train(network, data, steps=20, batch_size=16, progress=True, **given)


@pytest.mark.parametrize("writes", [0, 1, 2, 3])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), BrokenPipeError(32, "Broken pipe")])
def test_a_stream_that_fails_ends_no_training(monkeypatch: pytest.MonkeyPatch, error: OSError, writes: int) -> None:
    monkeypatch.setattr(sys, "stderr", Failing(writes, error))
    run = short(callbacks=lambda _: None)
    assert (run.state, run.steps) == ("finished", 20)


def test_a_process_without_a_stream_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    assert short().state == "finished"
