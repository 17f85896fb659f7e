"""Whether two runs are one and the same, and a run that is cut off."""

from __future__ import annotations

import signal
from typing import Any

import numpy as np
import pytest

import everybatch as eb


def assert_same(one: eb.Run, other: eb.Run) -> None:
    """All arrays but seconds, all weights, and how the runs ended are equal, to the last bit."""
    assert one._arrays.keys() == other._arrays.keys()
    for name, array in one._arrays.items():
        if not name.endswith("seconds"):
            np.testing.assert_array_equal(array, other._arrays[name], err_msg=name)
    assert (one.state, one.model_step) == (other.state, other.model_step)
    weights = other.model.state_dict()
    for name, value in one.model.state_dict().items():
        np.testing.assert_array_equal(np.asarray(value), np.asarray(weights[name]), err_msg=name)


def interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Ctrl-C come at the third step of each training."""
    train = eb.train

    def interrupted(*args: Any, **kwargs: Any) -> eb.Run:
        def third(step: eb.Step) -> None:
            if step.step == 3:
                signal.raise_signal(signal.SIGINT)

        return train(*args, **kwargs, callbacks=third)

    monkeypatch.setattr(eb, "train", interrupted)
