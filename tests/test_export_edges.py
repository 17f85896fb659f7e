"""Runs at the edge for other tools: NaN, infinity, no step, no measurement, many classes, names that are not UTF-8.

Read back by pandas and TensorBoard, and compared with the run's arrays by NumPy.
"""

from __future__ import annotations

import ast
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import everybatch as eb
from test_run import example_arrays, example_config


def run_of(steps: int = 7, eval_step: tuple[int, ...] = (0, 2, 7), state: str = "finished", **last: float) -> eb.Run:
    """A run; `last` are the last values of its arrays."""
    arrays = example_arrays(steps=steps, eval_step=list(eval_step) or [0])
    if not eval_step:
        measured = ("eval_step", "eval_seconds", "test_loss", "test_accuracy", "class_accuracy", "predictions")
        arrays |= {name: arrays[name][:0] for name in measured}
    for name, value in last.items():
        arrays[name][-1:] = value
    config = example_config()
    config["status"] |= {"state": state, "diverged_at": steps - 1 if state == "diverged" else None}
    return eb.Run(arrays, config)


def many() -> eb.Run:
    arrays = example_arrays(eval_step=[0, 7])
    accuracy = np.random.default_rng(0).random((2, 300), np.float32)
    predictions = np.full((2, 50), 299, np.uint16)
    arrays |= {"class_accuracy": accuracy, "confusion": np.eye(300, dtype=np.int64), "predictions": predictions}
    return eb.Run(arrays, example_config(300))


def not_unicode() -> eb.Run:
    config = example_config()
    config["dataset"]["classes"] = ["a", os.fsdecode(b"caf\xe9"), "lr"]
    config["training"]["checkpoints"] = os.fsdecode(b"/tmp/\xff")
    return eb.Run(example_arrays(), config)


RUNS = {
    "diverged": run_of(state="diverged", train_loss=np.nan, test_loss=np.nan),
    "infinite": run_of(state="diverged", train_loss=np.inf, test_loss=-np.inf),
    "a class without images": run_of(class_accuracy=np.nan),
    "interrupted at once": run_of(0, (), "interrupted"),
    "no step": run_of(0, (0,), "interrupted"),
    "no measurement": run_of(3, (), "failed"),
    "one step": run_of(1, (0, 1)),
    "300 classes": many(),
    "not Unicode": not_unicode(),
}


def names_of(run: eb.Run) -> list[str]:
    return ["a", "caf\\udce9", "lr (class 2)"] if run.classes[0] == "a" else list(run.classes)


def expected(run: eb.Run) -> dict[str, Any]:
    """The recorded columns, NaN where nothing was measured."""
    taken, measured = np.arange(run.steps) + 1, run.eval_step
    table: dict[str, Any] = {"step": np.arange(run.steps + 1)}
    for name, values, at in (
        ("train_loss", run.train_loss, taken),
        ("train_accuracy", run.train_accuracy, taken),
        ("test_loss", run.test_loss, measured),
        ("test_accuracy", run.test_accuracy, measured),
        *((name, column, measured) for name, column in zip(names_of(run), run.class_accuracy.T, strict=True)),
    ):
        table[name] = np.full(run.steps + 1, np.nan, np.float32)
        table[name][at] = values
    return table


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_pandas_reads_the_history_back(tmp_path: Path, kind: str, name: str) -> None:
    getattr(eb.export, kind)(RUNS[name], tmp_path / "history")
    table = pd.read_csv(tmp_path / "history") if kind == "csv" else pd.read_parquet(tmp_path / "history")
    columns = expected(RUNS[name])
    assert set(table.columns) == {*columns, "epoch", "lr", "seconds"}
    for column, values in columns.items():
        assert np.array_equal(table[column].to_numpy(np.float32), values.astype(np.float32), equal_nan=True), column


@pytest.mark.parametrize("name", RUNS)
def test_class_accuracies_are_read_back(tmp_path: Path, name: str) -> None:
    run = RUNS[name]
    eb.export.class_accuracy_csv(run, tmp_path / "classes.csv")
    table = pd.read_csv(tmp_path / "classes.csv")
    assert list(table.columns) == ["step", *names_of(run)]
    assert np.array_equal(table["step"], run.eval_step)
    assert np.array_equal(table.iloc[:, 1:].to_numpy(np.float32), run.class_accuracy, equal_nan=True)
    eb.export.class_lists(run, tmp_path / "classes.txt")
    lists = [ast.literal_eval(line) for line in (tmp_path / "classes.txt").read_text().splitlines()]
    percent = np.array(lists, float).reshape(len(run.classes), len(run.eval_step)).T
    np.testing.assert_allclose(percent, 100 * run.class_accuracy.astype(float), atol=6e-5)


@pytest.mark.parametrize("name", RUNS)
def test_tensorboard_reads_it_back(tmp_path: Path, name: str) -> None:
    run = RUNS[name]
    eb.export.tensorboard(run, tmp_path / "events")
    events = EventAccumulator(str(tmp_path / "events"), size_guidance={"scalars": 0})
    events.Reload()
    tags = events.Tags()["scalars"]
    for tag, values, at in (
        ("train/loss", run.train_loss, np.arange(run.steps) + 1),
        ("test/loss", run.test_loss, run.eval_step),
    ):
        scalars = events.Scalars(tag) if tag in tags else []
        assert [scalar.step for scalar in scalars] == at.tolist()
        assert np.array_equal(np.array([scalar.value for scalar in scalars], np.float32), values, equal_nan=True)
