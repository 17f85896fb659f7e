"""`record=("weights",)`: states that steps are replayed from."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import everybatch as eb
from everybatch.errors import ArgumentError
from same_runs import assert_same

RECORD = {"record": ("weights",)}


@pytest.mark.parametrize(
    ("given", "steps"),
    [
        ({"steps": 12, "weights_every": 5}, [0, 5, 10]),
        ({"steps": 12, "weights_every": "epoch"}, [0, 5, 10]),
        ({"steps": 3}, [0, 1, 2, 3]),
        ({"steps": 45}, list(range(0, 46, 3))),
    ],
)
def test_states_are_kept_as_often_as_was_asked(
    quick: Callable[..., eb.Run], given: dict[str, Any], steps: list[int]
) -> None:
    run = quick(**RECORD, **given)
    np.testing.assert_array_equal(run.state_step, steps)
    assert run.states.dtype == np.uint8
    assert len(run.states) == len(steps)


def load(row: bytes) -> dict[str, torch.Tensor]:
    """Read a safetensors file as its specification says: the header's length, the header in JSON, the tensors."""
    length = int.from_bytes(row[:8], "little")
    header = json.loads(row[8 : 8 + length])
    kinds = {"F32": torch.float32, "I64": torch.int64}
    tensors = {}
    for name, told in header.items():
        if name != "__metadata__":
            first, end = (8 + length + offset for offset in told["data_offsets"])
            flat = torch.frombuffer(bytearray(row[first:end]), dtype=kinds[told["dtype"]])
            tensors[name] = flat.reshape(told["shape"])
    return tensors


def test_states_hold_weights_averages_and_means(quick: Callable[..., eb.Run]) -> None:
    run = quick(steps=6, weights_every=3, ema=0.9, **RECORD)
    first, _, last = (load(row.tobytes()) for row in run.states)
    for name, tensor in run.model.state_dict().items():  # which are averaged
        torch.testing.assert_close(last[f"average.{name}"], tensor, rtol=0, atol=0)
    parts = {name.split(".")[0] for name in last}
    assert parts == {"weights", "average", "optimizer"}
    assert not any(tensor.any() for name, tensor in first.items() if name.startswith("optimizer."))


def test_they_are_saved_and_kept_in_folders_and_go_on(quick: Callable[..., eb.Run], tmp_path: Path) -> None:
    def interrupt(step: eb.Step) -> None:
        if step.step == 5:
            raise KeyboardInterrupt

    given = {"steps": 12, "weights_every": 2, "deterministic": True, **RECORD}
    whole = quick(**given)
    whole.save(tmp_path / "saved")
    np.testing.assert_array_equal(eb.load_run(tmp_path / "saved").states, whole.states)
    quick(**given, folder=tmp_path / "run", callbacks=interrupt)
    cut = eb.load_run(tmp_path / "run")
    np.testing.assert_array_equal(cut.states, whole.states[:3])
    again = eb.resume(tmp_path / "run", _data(quick), progress=False)
    assert_same(again, whole)
    assert_same(eb.load_run(tmp_path / "run"), whole)


def _data(quick: Callable[..., eb.Run]) -> eb.Dataset:
    return eb.datasets.glyphs(train=130, test=60, seed=3)  # that of the fixture


def test_what_makes_no_sense_is_refused(quick: Callable[..., eb.Run]) -> None:
    with pytest.raises(ArgumentError, match=r'give record=\("weights",\)'):
        quick(weights_every=3)
    with pytest.raises(ArgumentError, match="weights_every is 0"):
        quick(weights_every=0, **RECORD)
    with pytest.raises(ArgumentError, match="weights_every is 'day'"):
        quick(weights_every="day", **RECORD)
    run = quick(steps=1)
    for name in ("states", "state_step"):
        with pytest.raises(AttributeError, match=r"train with record=\('weights',\)"):
            getattr(run, name)


def test_arrays_that_are_at_odds_are_refused(quick: Callable[..., eb.Run]) -> None:
    run = quick(steps=2, weights_every=1, **RECORD)
    for wrong in ([0, 2, 1], [0, 1, 3], [-1, 0, 1]):
        with pytest.raises(ArgumentError, match="'state_step' must rise from state to state, within 0 to 2 steps"):
            eb.Run({**run._arrays, "state_step": np.array(wrong)}, run.config)
    with pytest.raises(ArgumentError, match="holds 2 states, but 'state_step' holds 3"):
        eb.Run({**run._arrays, "states": run.states[:2]}, run.config)


def test_runs_are_not_changed_by_it(quick: Callable[..., eb.Run]) -> None:
    kept, plain = quick(steps=7, weights_every=1, **RECORD), quick(steps=7)
    np.testing.assert_array_equal(kept.test_loss, plain.test_loss)
    np.testing.assert_array_equal(kept.train_loss, plain.train_loss)


def test_the_command_line_keeps_them(call: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    code, _, _ = call(
        "train", "--data", "glyphs", "--network", "lenet5", "--steps", 4, "--record", "weights", "--weights-every", 2,
        "--out", tmp_path / "run", "--quiet",
    )  # fmt: skip
    assert code == 0
    np.testing.assert_array_equal(eb.load_run(tmp_path / "run").state_step, [0, 2, 4])
