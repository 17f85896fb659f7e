"""Turns on a GPU: each run has streams, graphs and random numbers of its own."""

from __future__ import annotations

import pytest

import everybatch as eb
from everybatch import _core
from everybatch._gpu import gpu_settings
from test_train import assert_identical
from test_turns import DIFFERING, in_turns, trained

pytestmark = pytest.mark.cuda


def test_interleaved_runs_are_the_runs_one_after_the_other(glyphs: eb.Dataset) -> None:
    def run(place: int) -> eb.Run:
        return trained(glyphs, steps=60, device="cuda", deterministic=True, **DIFFERING[place])

    # Around all of them: what the first run to end changes back would otherwise be changed for the other.
    with gpu_settings("cuda", "float32", deterministic=True):
        alone = [run(0), run(1)]
        together = in_turns([lambda: run(0), lambda: run(1)], _core.Turns())
    for one, other in zip(alone, together, strict=True):
        assert one.config["cuda"]["graphs"] is True, one.config["cuda"]["reason"]
        assert_identical(one, other)
