"""Options that cannot work together, or at all, are refused with a sentence before anything is trained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import everybatch as eb
from everybatch import schedules
from everybatch.errors import ArgumentError

Quick = Callable[..., eb.Run]
NAN, INF = float("nan"), float("inf")

# ---- (arguments, exception, what the message says); schedules, augment, ema have their own files ------------

COMBINATIONS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"steps": 5, "epochs": 2}, ArgumentError, "epochs is 2 and steps is 5: give one of them"),
    ({"validation": 100, "batch_size": 32}, ArgumentError, "batch_size is 32.*30 training images beside those held"),
    ({"validation": 130}, ArgumentError, "validation holds out every training image"),
    ({"validation": list(range(130))}, ArgumentError, "validation holds out every training image"),
    ({"monitor": "validation_loss"}, ArgumentError, r"there is no validation set: give validation=0\.1"),
    ({"monitor": "validation_accuracy", "select": "best"}, ArgumentError, "there is no validation set"),
    ({"monitor": "validation_loss", "schedule": "plateau"}, ArgumentError, "there is no validation set"),
    ({"optimizer": "sgd", "schedule": "one_cycle"}, ArgumentError, "one-cycle.*momentum"),
    (
        {"optimizer": "sgd", "schedule": schedules.warmup(3, "one_cycle")},
        ArgumentError,
        "one-cycle.*momentum, or cycle_momentum=False",
    ),
    ({"lr": 0, "schedule": schedules.exponential(0.1)}, ArgumentError, "lr is 0"),
    ({"record": "predictions", "tolerance": 0.01}, ArgumentError, 'record has "predictions".*leave one of the two out'),
    # What would do nothing is a mistake too.
    ({"complete_every": 4}, ArgumentError, "complete_every is given without tolerance"),
    ({"monitor": "test_loss"}, ArgumentError, "monitor is 'test_loss', and nothing follows it: give select='best'"),
    ({"monitor": "validation_loss", "validation": 9, "schedule": "cosine"}, ArgumentError, "nothing follows it"),
    ({"min_delta": 0.1}, ArgumentError, r"min_delta is 0\.1, and belongs to select='best' or patience"),
    ({"checkpoint_every": 4}, ArgumentError, r"checkpoint_every is 4, and there is no folder: give checkpoints=\.\.\."),
]
VALUES: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"steps": 0}, ArgumentError, "steps is 0"),
    ({"steps": -1}, ArgumentError, "steps is -1"),
    ({"steps": 1.5}, TypeError, "steps must be a whole number"),
    ({"steps": "all"}, TypeError, "steps must be a whole number"),
    ({"steps": 2**70}, ArgumentError, "steps is 1180591620717411303424"),
    ({"validation": 0}, ArgumentError, "validation=0"),
    ({"validation": 131}, ArgumentError, "validation=131.*130"),
    ({"validation": 0.0}, ArgumentError, "validation is 0.0: a share must lie between 0 and 1"),
    ({"validation": 1.0}, ArgumentError, "validation is 1.0: a share"),
    ({"validation": NAN}, ArgumentError, "validation is nan"),
    ({"validation": True}, TypeError, "validation must be a number of training images"),
    ({"validation": "tenth"}, TypeError, "validation must be.*'tenth'"),
    ({"validation": []}, ArgumentError, "validation names no training image"),
    ({"validation": [130]}, ArgumentError, "validation names training image 130, and there are 130"),
    ({"validation": [-1]}, ArgumentError, "training image -1"),
    ({"validation": [4, 4]}, ArgumentError, "validation names a training image more than once"),
    ({"validation": [0.5]}, TypeError, "validation must be"),
    ({"validation": [True, False]}, ArgumentError, "validation is a mask of 2 entries, and there are 130 training"),
    ({"validation": np.zeros(130, bool)}, ArgumentError, "validation names no training image"),
    ({"validation": slice(200, 300)}, ArgumentError, "validation names no training image"),
    ({"validation": slice(0, None)}, ArgumentError, "holds out every training image"),
    ({"validation": slice("a", 5)}, TypeError, "validation must be.*a slice"),
    ({"validation": np.ma.masked_equal(np.arange(5), 2)}, TypeError, "not a masked array"),
    ({"evaluate_on": np.ones((130, 1), bool)}, TypeError, "evaluate_on must be"),
    ({"monitor": "val_loss"}, ArgumentError, "monitor is 'val_loss'.*'validation_loss'"),
    ({"monitor": "test_los"}, ArgumentError, "Did you mean 'test_loss'"),
    ({"monitor": 3}, TypeError, "monitor must be a name"),
    ({"tolerance": 0}, ArgumentError, "tolerance is 0: it is the standard error.*above 0 and below 1"),
    ({"tolerance": 1}, ArgumentError, "tolerance is 1: it is the standard error"),
    ({"tolerance": -0.1}, ArgumentError, r"tolerance is -0\.1: it is the standard error"),
    ({"tolerance": NAN}, ArgumentError, "(?i)tolerance is nan: it is the standard error"),
    ({"tolerance": True}, TypeError, "tolerance must be a number, not True"),
    ({"tolerance": "small"}, TypeError, "tolerance must be a number, not 'small'"),
    ({"tolerance": 0.01, "complete_every": 0}, ArgumentError, "complete_every is 0"),
    ({"tolerance": 0.01, "complete_every": 1.5}, TypeError, "complete_every must be a whole number"),
    ({"tolerance": 0.01, "complete_every": "step"}, ArgumentError, "complete_every is 'step': give a whole number"),
    ({"select": "first"}, ArgumentError, "select is 'first': choose one of 'last', 'best'"),
    ({"select": None}, TypeError, "select must be a name"),
    ({"patience": 0}, ArgumentError, "patience is 0"),
    ({"patience": 1.5}, TypeError, "patience must be a whole number"),
    ({"validation": 9, "patience": 1, "min_delta": -0.1}, ArgumentError, r"min_delta is -0\.1: it must"),
    ({"validation": 9, "patience": 1, "min_delta": NAN}, ArgumentError, "(?i)min_delta is nan: it must"),
    ({"validation": 9, "patience": 1, "min_delta": INF}, ArgumentError, "min_delta is inf: it must"),
    ({"min_delta": "x"}, TypeError, "min_delta must be a number"),
]


def named(case: tuple[dict[str, Any], type[Exception], str]) -> str:
    return ", ".join(f"{name}={str(value)[:24]}" for name, value in case[0].items())


@pytest.mark.parametrize("case", COMBINATIONS + VALUES, ids=named)
def test_refused_before_anything_is_trained(
    quick: Quick, case: tuple[dict[str, Any], type[Exception], str], tmp_path: Any
) -> None:
    arguments, error, match = case
    with pytest.raises(error, match=match) as caught:
        quick(callbacks=lambda _: pytest.fail("the training began"), **arguments)
    assert type(caught.value).__module__ in ("builtins", "everybatch.errors")


def test_steps_instead_of_epochs(quick: Quick) -> None:
    run, whole = quick(steps=7), quick(epochs=2)
    assert (run.steps, run.epochs, run.state) == (7, 7 / 5, "finished")
    assert run.eval_step.tolist() == list(range(8))
    assert run.train_loss.tobytes() == whole.train_loss[:7].tobytes()  # the same batches, the second epoch begun
    assert run.config["training"]["total_steps"] == 7
    assert run.config["training"]["steps"] == 7
    assert quick(steps=7, evaluate_every="epoch").eval_step.tolist() == [0, 5, 7]
    assert quick(steps=2).steps == 2
