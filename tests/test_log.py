"""Log lines of a run: what they say, when, and that none come unasked."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any

import pytest

import everybatch as eb
from everybatch.errors import ArgumentError

Quick = Callable[..., eb.Run]


@pytest.fixture
def lines(quick: Quick, caplog: pytest.LogCaptureFixture) -> Callable[..., tuple[eb.Run, list[str]]]:
    """Train, and return what was logged meanwhile."""

    def lines(level: int = logging.INFO, **arguments: Any) -> tuple[eb.Run, list[str]]:
        caplog.clear()
        with caplog.at_level(level, logger="everybatch"):
            run = quick(**arguments)
        assert all((record.name, record.levelname) == ("everybatch.train", "INFO") for record in caplog.records)
        return run, caplog.messages

    return lines


Lines = Callable[..., tuple[eb.Run, list[str]]]


def test_lines_tell_where_the_run_is_and_what_was_measured(lines: Lines) -> None:
    # Written out from the run's arrays. 130 images in batches of 32: five steps an epoch, the last of two images.
    run, logged = lines(epochs=2, log_every=2, evaluate_every=3)
    seen = {2: (1, 64, 40), 4: (1, 128, 80), 6: (2, 32, 20), 8: (2, 96, 60), 10: (2, 130, 100)}
    measured = {2: 0, 4: 3, 6: 6, 8: 6, 10: 10}
    expected = []
    for step, (epoch, images, percent) in seen.items():
        row = run.eval_step.tolist().index(measured[step])
        expected.append(
            f"Train Epoch: {epoch} [{images}/130 ({percent}%)] Loss: {run.train_loss[step - 1]:.6f} | "
            f"Test Loss: {run.test_loss[row]:.6f} Accuracy: {100 * run.test_accuracy[row]:.2f}% (step {measured[step]})"
        )
    assert logged == expected


def test_validation_figures_are_told_too(lines: Lines) -> None:
    run, logged = lines(validation=30, log_every=4)
    assert logged == [
        f"Train Epoch: 1 [100/100 (100%)] Loss: {run.train_loss[3]:.6f} | "
        f"Validation Loss: {run.validation_loss[4]:.6f} Accuracy: {100 * run.validation_accuracy[4]:.2f}% | "
        f"Test Loss: {run.test_loss[4]:.6f} Accuracy: {100 * run.test_accuracy[4]:.2f}% (step 4)"
    ]


@pytest.mark.parametrize(("every", "count"), [(1, 10), (3, 3), (10, 1), (11, 0)])
def test_a_line_after_every_nth_step(lines: Lines, every: int, count: int) -> None:
    _, logged = lines(epochs=2, log_every=every)
    assert len(logged) == count
    assert all(re.match(r"Train Epoch: [12] \[\d+/130 \(\d+%\)\] Loss: \d\.\d{6} \| ", line) for line in logged)


def test_no_line_unless_asked_for(lines: Lines) -> None:
    assert lines()[1] == []
    assert lines(level=logging.WARNING, log_every=1)[1] == []


def test_nothing_is_printed_unless_logging_is_set_up(quick: Quick, capfd: pytest.CaptureFixture[str]) -> None:
    quick(log_every=1)
    assert capfd.readouterr() == ("", "")


def test_the_lines_do_not_change_the_run_nor_hide_the_callers_functions(lines: Lines, quick: Quick) -> None:
    steps: list[int] = []
    run, logged = lines(log_every=2, callbacks=lambda step: steps.append(step.step))
    assert steps == [1, 2, 3, 4, 5]
    assert len(logged) == 2
    assert run.train_loss.tobytes() == quick().train_loss.tobytes()
    assert run.config["training"]["log_every"] == 2


@pytest.mark.parametrize(
    ("every", "error"), [(0, ArgumentError), (-1, ArgumentError), (1.5, TypeError), ("epoch", TypeError)]
)
def test_distances_that_are_none(quick: Quick, every: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="log_every"):
        quick(log_every=every)
