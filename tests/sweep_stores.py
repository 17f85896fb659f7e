"""Stores of sweeps that nobody trained: curves from a formula, so that a thousand trials are there in seconds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import everybatch as eb
from everybatch.runs._write import write_files
from everybatch.sweeps import Sweep, load_sweep
from everybatch.sweeps._index import Index
from everybatch.sweeps._store import FAILED, ROW, SWEEP, TRIALS, open_store
from test_run import example_config

__all__ = ["drawn_arrays", "make_store"]


def drawn_arrays(seed: int, level: float, steps: int, every: int = 1, *, validation: bool = True) -> dict[str, Any]:
    """Return arrays of a run whose accuracies rise to about `level`."""
    draw = np.random.default_rng(seed)
    at = np.unique([*range(0, steps + 1, every), steps])
    step = np.arange(1, steps + 1)

    def rising(where: Any, noise: float, top: float) -> Any:
        values = 0.1 + (top - 0.1) * (1 - np.exp(-where / (0.15 * steps + 1))) + draw.normal(0, noise, len(where))
        return np.clip(values, 0, 1).astype(np.float32)

    def loss(accuracy: Any) -> Any:
        return (-np.log(np.clip(accuracy, 0.02, 0.999))).astype(np.float32)

    test = rising(at, 0.008, level)
    trained = rising(step, 0.05, level + 0.02)
    arrays = {
        "train_loss": loss(trained),
        "train_accuracy": trained,
        "train_seconds": draw.uniform(0.001, 0.002, steps),
        "eval_step": at.astype(np.int64),
        "test_loss": loss(test),
        "test_accuracy": test,
        "class_accuracy": np.repeat(test[:, np.newaxis], 3, axis=1),
        "eval_seconds": draw.uniform(0.001, 0.004, len(at)),
        "confusion": np.eye(3, dtype=np.int64),
        "test_indices": np.arange(50, dtype=np.int64),
    }
    if validation:
        held = rising(at, 0.01, level - 0.01)
        arrays |= {
            "validation_loss": loss(held),
            "validation_accuracy": held,
            "validation_class_accuracy": np.repeat(held[:, np.newaxis], 3, axis=1),
            "validation_indices": np.arange(5, dtype=np.int64),
        }
    return arrays


def make_store(
    folder: Path,
    configs: Sequence[dict[str, Any]],
    *,
    seeds: int = 1,
    steps: int = 60,
    every: int = 1,
    level: Callable[[dict[str, Any]], float] = lambda _: 0.9,
    fate: Callable[[int], str] = lambda _: "finished",
    length: Callable[[int], int] | None = None,
    network: str = "tiny",
    validation: bool = True,
) -> Sweep:
    """Write a store and open it; `fate` tells what became of a trial: any status, or "missing"."""
    store = open_store(folder)
    store.prepare()
    asked = []
    trials = [(config, seed) for config in configs for seed in range(seeds)]
    rows = {}
    for number, (config, seed) in enumerate(trials):
        key = hashlib.sha256(f"{number}".encode()).hexdigest()[:20]
        asked.append({"key": key, "config": config, "seed": seed})
        row: dict[str, Any] = {"key": key, "config": config, "seed": seed, "status": fate(number), "message": ""}
        if row["status"] == "missing":
            continue
        kind = FAILED if row["status"] == "failed" else TRIALS
        (folder / kind / key).mkdir()
        if kind == FAILED:
            row |= {"message": "ValueError: <b>broken</b>", "rungs": {}}
            text = json.dumps({**row, "traceback": "Traceback (most recent call last):\nValueError: <b>broken</b>\n"})
        else:
            taken = steps if length is None else length(number)
            arrays = drawn_arrays(number, level(config), taken, every, validation=validation)
            written = example_config(batch_size_of_trial=number)
            written["network"]["name"] = network
            written["training"] |= {"seed": seed}
            written["status"]["state"] = "finished"
            written |= {
                "versions": {"everybatch": eb.__version__, "torch": "2.11.0"},
                "hardware": {"device": "cpu", "name": "AMD <EPYC>", "threads": 1},
                "started": f"2026-01-01T00:{number // 60 % 60:02}:{number % 60:02}+00:00",
            }
            write_files(folder / kind / key, written, arrays, None)
            row |= _numbers(arrays, taken, number)
            text = json.dumps(row)
        (folder / kind / key / ROW).write_text(text)
        rows[key] = row
    store.write_json(
        SWEEP, {"format": 1, "trials": asked, "columns": list(dict.fromkeys(n for c in configs for n in c))}
    )
    index = Index(store)
    index.write()
    return load_sweep(folder)


def _numbers(arrays: dict[str, Any], steps: int, number: int) -> dict[str, Any]:
    row: dict[str, Any] = {"parameters": 1000 * (number % 7 + 1) ** 3, "steps": steps, "epochs": steps / 4}
    for name in (
        "train_accuracy",
        "train_loss",
        "validation_accuracy",
        "validation_loss",
        "test_accuracy",
        "test_loss",
    ):
        values = arrays.get(name)
        best = None if values is None else float((np.min if name.endswith("loss") else np.max)(values[1:]))
        row |= {f"best_{name}": best, f"final_{name}": None if values is None else float(values[-1])}
    return row | {"seconds": float(arrays["train_seconds"].sum() + arrays["eval_seconds"].sum())}
