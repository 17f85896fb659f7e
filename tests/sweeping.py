"""What the tests of sweeps share: a small sweep, and what makes two of them equal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import everybatch as eb
from everybatch.sweeps._perform import Job

GRID = {"lr": [1e-3, 5e-3], "network.dropout": [0.0, 0.5]}


def swept(data: eb.Dataset, store: Path | str, space: Any = GRID, **arguments: Any) -> eb.Sweep:
    """LeNet-5 on four configs for six steps, in this process, unless told otherwise."""
    fixed: dict[str, Any] = {"backend": "serial", "progress": False, "device": "cpu"}
    if not callable(space):
        fixed |= {"network": "lenet5", "steps": 6, "batch_size": 32}
    return eb.sweep(space, data, store=store, **fixed | arguments)


def job_of(**given: Any) -> Job:
    """A job on one thread of the CPU, of nothing but what is given."""
    nothing: dict[str, Any] = {"trials": [], "dataset": None, "function": None, "defaults": {}, "pruning": None}
    return Job(**{**nothing, "device": "cpu", "threads": 1, "keep_models": False, **given})


def assert_equal(one: eb.Sweep, other: eb.Sweep) -> None:
    """The same trials with the same numbers to the last bit, but for the seconds that they took."""
    for trial, its_like in zip(one.trials, other.trials, strict=True):  # not the tables: pandas is not everywhere
        assert trial.row.keys() == its_like.row.keys()
        for name in trial.row.keys() - {"seconds", "started"}:
            assert trial.row[name] == its_like.row[name], name
    assert one.runs.trials == other.runs.trials
    for run, same in zip(one.runs, other.runs, strict=True):
        for name, array in run._arrays.items():
            if not name.endswith("seconds"):
                np.testing.assert_array_equal(array, same._arrays[name], err_msg=name)
