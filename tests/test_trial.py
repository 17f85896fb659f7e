"""`Trial`: what a sweep gives of each training, whatever became of it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest

import everybatch as eb
from everybatch import plots
from everybatch.errors import ArgumentError
from sweep_stores import make_store
from sweeping import swept


def test_trials_say_what_was_asked_and_what_became_of_it(tmp_path: Path) -> None:
    fates = {1: "failed", 2: "missing", 3: "pruned"}
    made = make_store(
        tmp_path, [{"lr": 0.1}, {"lr": 0.2}], seeds=2, steps=5, fate=lambda number: fates.get(number, "finished")
    )
    assert [trial.number for trial in made.trials] == [0, 1, 2, 3]
    assert [trial.state for trial in made.trials] == ["finished", "failed", "missing", "pruned"]
    assert [trial.settings for trial in made.trials] == [
        {"lr": lr, "seed": seed} for lr in (0.1, 0.2) for seed in (0, 1)
    ]
    first, failed, missing, pruned = made.trials
    assert [trial.key for trial in (first, pruned)] == made.runs.trials
    for trial in (first, pruned):
        assert trial.path is not None
        for run in (trial.run, eb.load_run(trial.path)):
            assert run is not None
            np.testing.assert_array_equal(run.test_loss, made.run(trial.key).test_loss)
        assert trial.error is None
        assert trial.numbers["steps"] == trial.value("steps") == 5
    assert failed.message == "ValueError: <b>broken</b>"
    assert str(failed.error).startswith("Traceback (most recent call last)")
    assert made.tracebacks() == {failed.key: failed.error}
    for trial in (failed, missing):
        assert trial.run is None
        assert trial.path is None
        assert set(trial.numbers.values()) == {None}
        assert math.isnan(trial.value("final_test_accuracy"))
    assert (missing.error, missing.message) == (None, "")
    assert repr(failed) == "<Trial 1: lr=0.1, seed=1, failed>"


def test_a_config_is_as_it_will_be_read_again(glyphs: eb.Dataset, tiny: eb.Network, tmp_path: Path) -> None:
    space = [{"network": tiny, "betas": (0.8, 0.99), "schedule": eb.schedules.cosine(), "lr": np.float64(1e-3)}]
    made = swept(glyphs, tmp_path / "s", space, steps=1)
    (trial,), (again,) = made.trials, eb.load_sweep(tmp_path / "s").trials
    assert trial.config == again.config
    assert trial.setting("betas") == [0.8, 0.99]
    assert trial.setting("network") == "tiny"
    assert (trial.setting("steps"), trial.setting("seed"), trial.setting("momentum")) == (1, 0, None)
    assert set(trial.settings) == {"network", "betas", "schedule", "lr", "seed"}  # those that it went through


def test_a_trial_that_diverged_counts_with_its_cost_alone(glyphs: eb.Dataset, tmp_path: Path) -> None:
    """It gets some images right before and after, and with select="best" even has weights that are numbers."""
    made = swept(glyphs, tmp_path / "s", {"lr": [1e30, 1e-3]}, optimizer="sgd", validation=0.2, select="best")
    diverged, finished = made.trials
    assert [trial.state for trial in made.trials] == ["diverged", "finished"]
    assert diverged.numbers["final_train_accuracy"] is not None
    for name, number in finished.numbers.items():
        assert finished.value(name) == number
        counts = name in ("parameters", "steps", "seconds")
        assert math.isnan(diverged.value(name)) != counts
        assert not counts or diverged.value(name) == diverged.numbers[name]


def test_pictures_take_trials_of_several_sweeps(tmp_path: Path) -> None:
    one = make_store(tmp_path / "one", [{"lr": 0.1}, {"lr": 0.2}], steps=5)
    other = make_store(tmp_path / "other", [{"lr": 0.3, "momentum": 0.9}, {"lr": 0.4, "momentum": 0.5}], steps=5)
    some: list[Any] = [*one.trials[1:], *other.trials]
    ax = plots.sweep_curves(some, by="momentum")
    assert len(ax.lines) == 3
    legend = ax.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["none", "0.9", "0.5"]
    plt.close("all")
    with pytest.raises(ArgumentError, match="nothing to draw without a trial"):
        plots.sweep_bands([])
    with pytest.raises(TypeError, match="takes a Sweep, its trials, or the path of a stored one, not Runs"):
        plots.sweep_grid(one.runs)  # type: ignore[arg-type] # their names
