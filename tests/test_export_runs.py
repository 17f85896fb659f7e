"""Runs for other tools: files read back by the csv module, ast, pyarrow and TensorBoard's own reader."""

from __future__ import annotations

import ast
import csv
import json
import math
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import everybatch as eb
from test_run import EVAL_STEP, PER_EPOCH, STEPS, example_arrays, example_config, example_run

CLASSES = ["c0", "c1", "c2"]
COLUMNS = ["step", "epoch", "train_loss", "train_accuracy", "lr", "test_loss", "test_accuracy", *CLASSES, "seconds"]


def scheduled() -> eb.Run:
    return eb.Run(example_arrays() | {"lr": np.linspace(0.1, 0.01, STEPS)}, example_config())


def validated() -> eb.Run:
    """A run with a schedule and a validation split."""
    arrays = example_arrays() | {
        "lr": np.linspace(0.1, 0.01, STEPS),
        "validation_loss": np.linspace(2, 1, len(EVAL_STEP)).astype(np.float32),
        "validation_accuracy": np.linspace(0.2, 0.8, len(EVAL_STEP)).astype(np.float32),
        "validation_class_accuracy": example_arrays(seed=1)["class_accuracy"],
        "validation_indices": np.arange(4),
    }
    return eb.Run(arrays, example_config())


def history(run: eb.Run) -> dict[str, list[Any]]:
    """Return what a table must hold, None where nothing was measured, put together value by value."""
    table: dict[str, list[Any]] = {name: [None] * (STEPS + 1) for name in COLUMNS}
    for row in range(STEPS + 1):
        table["step"][row] = row
        table["epoch"][row] = row / PER_EPOCH
        table["seconds"][row] = 0.0
        if row > 0:
            table["train_loss"][row] = run.train_loss[row - 1]
            table["train_accuracy"][row] = run.train_accuracy[row - 1]
            table["lr"][row] = run.lr[row - 1]
            table["seconds"][row] += run.train_seconds[row - 1]
        if row in EVAL_STEP:
            at = EVAL_STEP.index(row)
            table["test_loss"][row] = run.test_loss[at]
            table["test_accuracy"][row] = run.test_accuracy[at]
            table["seconds"][row] += run.eval_seconds[at]
            for index, name in enumerate(CLASSES):
                table[name][row] = run.class_accuracy[at, index]
    return table


def read_csv(path: Path) -> tuple[list[str], list[list[str]]]:
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    return header, rows


def unmeasured_class() -> eb.Run:
    """Return a run of which no test image of class 1 was measured, and whose loss is not a number at the end."""
    arrays = example_arrays()
    arrays["class_accuracy"][:, 1] = np.nan
    arrays["train_loss"][-1] = np.nan
    arrays["test_loss"][-1] = np.inf
    return eb.Run(arrays, example_config())


# ---- CSV -------------------------------------------------------------------------------------------------------------


def test_csv_has_the_whole_history_exactly(tmp_path: Path) -> None:
    run = scheduled()
    eb.export.csv(run, tmp_path / "run.csv")
    header, rows = read_csv(tmp_path / "run.csv")
    assert header == COLUMNS
    assert len(rows) == STEPS + 1
    for name, values in history(run).items():
        cells = [row[header.index(name)] for row in rows]
        assert [None if cell == "" else type(value)(cell) for cell, value in zip(cells, values, strict=True)] == values
    assert header == list(run.history().columns)


def test_csv_tells_not_measured_from_not_a_number(tmp_path: Path) -> None:
    eb.export.csv(unmeasured_class(), tmp_path / "run.csv")
    header, rows = read_csv(tmp_path / "run.csv")
    assert [row[header.index("c1")] for row in rows] == ["nan" if row in EVAL_STEP else "" for row in range(STEPS + 1)]
    assert rows[-1][header.index("train_loss")] == "nan"
    assert rows[-1][header.index("test_loss")] == "inf"


def test_csv_needs_no_pandas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    eb.export.csv(example_run(), tmp_path / "run.csv")
    assert len(read_csv(tmp_path / "run.csv")[1]) == STEPS + 1


def test_csv_has_validation_and_learning_rate_of_a_run_that_has_them(tmp_path: Path) -> None:
    run = validated()
    eb.export.csv(run, tmp_path / "run.csv")
    header, rows = read_csv(tmp_path / "run.csv")
    assert [row[header.index("lr")] for row in rows] == ["", *map(str, run.lr.tolist())]
    for name in ("validation_loss", "validation_accuracy"):
        cells = [row[header.index(name)] for row in rows]
        assert [np.float32(cells[step]) for step in EVAL_STEP] == list(getattr(run, name))
        assert all(cells[step] == "" for step in range(STEPS + 1) if step not in EVAL_STEP)
    assert header == list(run.history().columns)


def test_names_of_classes_are_quoted_and_never_taken_for_other_columns(tmp_path: Path) -> None:
    config = example_config()
    config["dataset"]["classes"] = ['a, "b"', "step", "übermäßig"]
    run = eb.Run(example_arrays(), config)
    expected = ['a, "b"', "step (class 1)", "übermäßig"]
    eb.export.csv(run, tmp_path / "run.csv")
    eb.export.class_accuracy_csv(run, tmp_path / "classes.csv")
    assert read_csv(tmp_path / "run.csv")[0][-4:-1] == expected
    assert read_csv(tmp_path / "classes.csv")[0] == ["step", *expected]


def test_class_accuracy_csv_has_a_row_for_each_evaluation(tmp_path: Path) -> None:
    run = example_run()
    eb.export.class_accuracy_csv(run, tmp_path / "classes.csv")
    header, rows = read_csv(tmp_path / "classes.csv")
    assert header == ["step", *CLASSES]
    assert [int(row[0]) for row in rows] == EVAL_STEP
    assert np.array_equal(np.array([row[1:] for row in rows], np.float32), run.class_accuracy)

    eb.export.class_accuracy_csv(unmeasured_class(), tmp_path / "unmeasured.csv")
    assert [row[2] for row in read_csv(tmp_path / "unmeasured.csv")[1]] == ["nan"] * len(EVAL_STEP)


# ---- lists -----------------------------------------------------------------------------------------------------------


def test_class_lists_are_python_lists_in_percent(tmp_path: Path) -> None:
    run = example_run()
    eb.export.class_lists(run, tmp_path / "classes.txt")
    lists = [ast.literal_eval(line) for line in (tmp_path / "classes.txt").read_text().splitlines()]
    # The example has 16 or 17 test images of each class, so that every accuracy is a fraction of these.
    right = [np.round(run.class_accuracy[:, c].astype(float) * size) for c, size in enumerate((17, 17, 16))]
    assert lists == [[round(100 * n / size, 4) for n in r] for r, size in zip(right, (17, 17, 16), strict=True)]


def test_class_lists_of_a_training(tmp_path: Path, quick: Callable[..., eb.Run]) -> None:
    run = quick()
    eb.export.class_lists(run, tmp_path / "classes.txt")
    lists = [ast.literal_eval(line) for line in (tmp_path / "classes.txt").read_text().splitlines()]
    assert len(lists) == 10
    np.testing.assert_allclose(np.transpose(lists), 100 * run.class_accuracy, rtol=0, atol=1e-4)


def test_class_lists_of_a_class_without_images(tmp_path: Path) -> None:
    eb.export.class_lists(unmeasured_class(), tmp_path / "classes.txt")
    lines = (tmp_path / "classes.txt").read_text().splitlines()
    assert ast.literal_eval(lines[1]) == [None] * len(EVAL_STEP)


# ---- Parquet ---------------------------------------------------------------------------------------------------------


def test_parquet_has_the_history_in_its_types_and_the_config(tmp_path: Path) -> None:
    run = scheduled()
    eb.export.parquet(run, tmp_path / "run.parquet")
    table = pq.read_table(tmp_path / "run.parquet")
    assert table.column_names == COLUMNS
    doubles = {"epoch": pa.float64(), "seconds": pa.float64(), "lr": pa.float64(), "step": pa.int64()}
    assert [field.type for field in table.schema] == [doubles.get(name, pa.float32()) for name in COLUMNS]
    assert {name: table[name].to_pylist() for name in COLUMNS} == history(run)
    assert json.loads(table.schema.metadata[b"everybatch.config"]) == run.config


def test_parquet_tells_not_measured_from_not_a_number(tmp_path: Path) -> None:
    eb.export.parquet(unmeasured_class(), tmp_path / "run.parquet")
    column = pq.read_table(tmp_path / "run.parquet")["c1"].to_pylist()
    assert [value is None for value in column] == [row not in EVAL_STEP for row in range(STEPS + 1)]
    assert all(math.isnan(value) for value in column if value is not None)


def test_parquet_has_validation_and_learning_rate(tmp_path: Path) -> None:
    run = validated()
    eb.export.parquet(run, tmp_path / "run.parquet")
    table = pq.read_table(tmp_path / "run.parquet")
    assert table["lr"].to_pylist() == [None, *run.lr.tolist()]
    assert table["validation_loss"].drop_null().to_pylist() == run.validation_loss.tolist()


# ---- TensorBoard -----------------------------------------------------------------------------------------------------


def events(folder: Path) -> EventAccumulator:
    reader = EventAccumulator(str(folder), size_guidance={"scalars": 0})  # 0: all of them
    reader.Reload()
    return reader


def values(reader: EventAccumulator, tag: str) -> tuple[list[int], list[float]]:
    scalars = reader.Scalars(tag)
    return [event.step for event in scalars], [event.value for event in scalars]


def test_tensorboard_reads_every_scalar(tmp_path: Path) -> None:
    run = scheduled()
    eb.export.tensorboard(run, tmp_path / "events")
    reader = events(tmp_path / "events")
    classes = [f"class_accuracy/{name}" for name in CLASSES]
    measured = ["train/loss", "train/accuracy", "train/lr", "test/loss", "test/accuracy"]
    assert sorted(reader.Tags()["scalars"]) == sorted([*measured, *classes])
    steps = list(range(1, STEPS + 1))
    assert values(reader, "train/loss") == (steps, run.train_loss.tolist())
    assert values(reader, "train/accuracy") == (steps, run.train_accuracy.tolist())
    assert values(reader, "test/loss") == (EVAL_STEP, run.test_loss.tolist())
    assert values(reader, "test/accuracy") == (EVAL_STEP, run.test_accuracy.tolist())
    for index, tag in enumerate(classes):
        assert values(reader, tag) == (EVAL_STEP, run.class_accuracy[:, index].tolist())


def test_tensorboard_shows_config_and_times(tmp_path: Path) -> None:
    config = {**example_config(), "started": "2024-05-06T07:08:09+00:00"}
    run = eb.Run(example_arrays(), config)
    eb.export.tensorboard(run, tmp_path / "events")
    reader = events(tmp_path / "events")
    (text,) = reader.Tensors("config/text_summary")
    assert json.loads(text.tensor_proto.string_val[0]) == run.config
    times = [event.wall_time for event in reader.Scalars("test/loss")]
    began = datetime.fromisoformat(config["started"]).timestamp()
    assert times[0] - began == pytest.approx(run.eval_seconds[0], abs=1e-5)
    assert times[-1] - began == pytest.approx(run.total_seconds, abs=1e-5)


def test_tensorboard_has_validation_and_learning_rate(tmp_path: Path) -> None:
    run = validated()
    eb.export.tensorboard(run, tmp_path / "events")
    reader = events(tmp_path / "events")
    assert values(reader, "validation/loss") == (EVAL_STEP, run.validation_loss.tolist())
    assert values(reader, "validation/accuracy") == (EVAL_STEP, run.validation_accuracy.tolist())
    assert values(reader, "train/lr") == (list(range(1, STEPS + 1)), run.lr.astype(np.float32).tolist())


def test_tensorboard_leaves_out_a_class_that_was_not_measured(tmp_path: Path) -> None:
    eb.export.tensorboard(unmeasured_class(), tmp_path / "events")
    reader = events(tmp_path / "events")
    assert "class_accuracy/c1" not in reader.Tags()["scalars"]
    assert math.isnan(values(reader, "train/loss")[1][-1])


def test_a_real_run_goes_through_everything(tmp_path: Path, quick: Callable[..., eb.Run]) -> None:
    run = quick(epochs=2, evaluate_every="epoch")
    eb.export.csv(run, tmp_path / "run.csv")
    eb.export.parquet(run, tmp_path / "run.parquet")
    eb.export.tensorboard(run, tmp_path / "events")
    table = pq.read_table(tmp_path / "run.parquet").to_pandas()
    assert run.history().equals(table)
    assert len(read_csv(tmp_path / "run.csv")[1]) == run.steps + 1
    assert values(events(tmp_path / "events"), "test/accuracy") == (run.eval_step.tolist(), run.test_accuracy.tolist())
    first, *_ = events(tmp_path / "events").Scalars("train/loss")
    assert first.wall_time >= datetime.fromisoformat(run.config["started"]).timestamp()
