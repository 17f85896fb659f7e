"""Following a run's folder in which another run takes its place."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from everybatch.folder import Follower
from growing_runs import GrowingRun, lose_all


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    lose_all()


def anew(folder: Path, seed: int, steps: int) -> GrowingRun:
    """A run in a folder that is made anew. What it says first tells seeds apart by the second in which they began."""
    shutil.rmtree(folder, ignore_errors=True)
    run = GrowingRun(folder, 40, seed=seed)
    for _ in range(steps):
        run.grow(1)
    return run


@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.parametrize("steps", [1, 10, 25])
def test_another_run_in_the_folder_is_read_from_its_beginning(tmp_path: Path, steps: int, ends: bool) -> None:
    """Of fewer steps, as many, and more; by the arrays that were written."""
    follower = Follower(tmp_path / "a")
    first = anew(tmp_path / "a", 0, 10)
    if ends:
        first.end()
    assert follower.look()
    first.lose()
    other = anew(tmp_path / "a", 1, steps)
    assert follower.look()
    assert (follower.state, follower.begun["config"]["started"]) == ("running", other.config["started"])
    np.testing.assert_array_equal(follower.arrays()["train_loss"], other.arrays["train_loss"][:steps])
    assert not follower.look()
    other.grow(3)
    assert follower.look()
    np.testing.assert_array_equal(follower.arrays()["train_loss"], other.arrays["train_loss"][: steps + 3])


def test_a_run_that_began_with_the_same_words_is_another_one(tmp_path: Path) -> None:
    """Within the same second, and as long: only what was measured tells them apart."""
    follower = Follower(tmp_path / "a")
    first = anew(tmp_path / "a", 0, 10)
    follower.look()
    first.lose()
    shutil.rmtree(tmp_path / "a")
    other = GrowingRun(tmp_path / "a", 40)
    other.arrays["train_loss"] = other.arrays["train_loss"] + np.float32(1)
    for _ in range(10):
        other.grow(1)
    assert follower.look()
    np.testing.assert_array_equal(follower.arrays()["train_loss"], other.arrays["train_loss"][:10])


def test_a_run_that_has_not_begun_leaves_nothing_of_the_one_before(tmp_path: Path) -> None:
    follower = Follower(tmp_path / "a")
    anew(tmp_path / "a", 0, 10).end()
    follower.look()
    assert follower.state == "finished"
    (tmp_path / "a" / "history.records").write_bytes(b"")
    assert follower.look()
    assert (follower.begun, follower.state, follower.end) == ({}, "lost", 0)
    assert not follower.look()
