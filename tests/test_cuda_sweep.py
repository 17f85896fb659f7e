"""Sweeps on a GPU: replicas in one process, and workers that share it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import everybatch as eb
from sweeping import assert_equal, swept

pytestmark = pytest.mark.cuda

ON_GPU: dict[str, Any] = {"device": "cuda", "deterministic": True, "steps": 60, "seeds": 2}


def test_replicas_in_one_process_are_the_runs_one_after_the_other(glyphs: eb.Dataset, tmp_path: Path) -> None:
    one = swept(glyphs, tmp_path / "one", **ON_GPU)
    many = swept(glyphs, tmp_path / "many", backend=eb.sweeps.packed(workers=8), **ON_GPU)
    assert_equal(one, many)
    for run in many.runs:
        assert run.config["cuda"]["graphs"] is True, run.config["cuda"]["reason"]


def test_worker_processes_share_a_gpu(glyphs: eb.Dataset, tmp_path: Path) -> None:
    one = swept(glyphs, tmp_path / "one", **ON_GPU)
    assert_equal(one, swept(glyphs, tmp_path / "many", backend=eb.sweeps.processes(workers=2), **ON_GPU))


def test_pruning_of_replicas(glyphs: eb.Dataset, tmp_path: Path) -> None:
    rule = eb.sweeps.median(every=10, min_trials=2)
    pruned: dict[str, Any] = {**ON_GPU, "validation": 30, "pruning": rule}
    one = swept(glyphs, tmp_path / "one", **pruned)
    assert any(run.state == "stopped" for run in one.runs)
    assert_equal(one, swept(glyphs, tmp_path / "many", backend=eb.sweeps.packed(workers=4), **pruned))
