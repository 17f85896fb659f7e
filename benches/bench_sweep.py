"""Sweeps: worker processes against one run after the other, what a trial costs beside its training, and large stores.

    python benches/bench_sweep.py                  # everything but the study, some minutes
    python benches/bench_sweep.py --write          # and puts the tables into benches/README.md
    python benches/bench_sweep.py --study          # study D's grid of LeNet-5 by every backend: are they the same?

The first table sets a sweep of eight trials against a loop that calls `eb.train` eight times with all threads, one
after the other in the same process, several times in turn; above 1, the sweep is faster. Its seconds are those of the
whole call, with the start of the workers and the writing of the store.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import everybatch as eb
from report import Report, arguments

TRIVIAL, STORED = 1_000, 10_000


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def throughput(data: eb.Dataset, network: str, steps: int, every: int | str, rounds: int) -> list[float]:
    """Ratios of the seconds of a loop to those of a sweep over the same eight trials."""
    rates = [1e-3 * (1 + number) for number in range(8)]
    fixed: dict[str, Any] = {"steps": steps, "batch_size": 64, "evaluate_every": every}

    def one_after_the_other() -> None:
        net = getattr(eb.networks, network)()
        for number, lr in enumerate(rates):
            run = eb.train(net, data, lr=lr, device="cpu", progress=False, **fixed)
            run.save(Path(folder) / str(number))

    ratios = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            loop = seconds(one_after_the_other)
        with tempfile.TemporaryDirectory() as folder:
            store, space = Path(folder) / "s", {"lr": rates}
            given = {"network": network, "device": "cpu", "store": store, "progress": False, **fixed}
            ratios.append(loop / seconds(lambda given=given, space=space: eb.sweep(space, data, **given)))
    return ratios


def overhead(backend: str, count: int) -> tuple[float, float]:
    """Milliseconds of a trivial trial in a sweep of so many, and those of its training alone."""
    data = eb.datasets.glyphs(train=100, test=20)
    net = eb.Network([eb.Flatten(), eb.Linear(784, 10)], name="linear")
    space = {"lr": [1e-3 * (1 + number / count) for number in range(count)]}
    with tempfile.TemporaryDirectory() as folder:
        given: dict[str, Any] = {"network": net, "steps": 1, "batch_size": 10, "device": "cpu", "backend": backend}
        start = time.perf_counter()
        sweep = eb.sweep(space, data, store=Path(folder) / "s", progress=False, **given)
        taken = time.perf_counter() - start
        return 1e3 * taken / count, 1e3 * sweep.table()["seconds"].mean()


def large_store(folder: Path, count: int) -> None:
    """A store with so many trials: one real trial again and again, under other names."""
    data = eb.datasets.glyphs(train=100, test=20)
    fixed: dict[str, Any] = {"steps": 20, "batch_size": 10, "backend": "serial", "device": "cpu", "progress": False}
    space = {"lr": [1e-3], "network.dropout": [0.5]}
    sweep = eb.sweep(space, data, network="lenet5", keep_models=False, store=folder, **fixed)
    first = folder / "trials" / sweep.runs.trials[0]
    row = json.loads((first / "trial.json").read_text())
    rows = []
    for number in range(count):
        key = f"{number:020x}"
        rows.append({**row, "key": key, "seed": number})
        trial = folder / "trials" / key
        trial.mkdir()
        for name in ("config.json", "history.npz"):
            os.link(first / name, trial / name)
        (trial / "trial.json").write_text(json.dumps(rows[-1]))
    shutil.rmtree(first)
    (folder / "index.json").write_text(json.dumps({"format": 1, "rows": rows}))
    asked = [{"key": row["key"], "config": row["config"], "seed": row["seed"]} for row in rows]
    content = {"format": 1, "trials": asked, "columns": ["lr", "network.dropout"]}
    (folder / "sweep.json").write_text(json.dumps(content))


def study(data: eb.Dataset, report: Report, backends: list[str], epochs: int) -> None:
    """Study D's grid of LeNet-5, twelve points and two seeds, by every backend."""
    space = {"lr": [1e-3, 5e-3, 5e-4], "network.dropout": [0.5, 0.25, 0.3, 0.75]}
    fixed: dict[str, Any] = {"network": "lenet5", "epochs": epochs, "validation": 0.1, "evaluate_every": "epoch"}
    first: eb.Sweep | None = None
    report.add("| backend | seconds | |", "|---|---:|---|")
    with tempfile.TemporaryDirectory() as folder:
        for backend in backends:
            start = time.perf_counter()
            store = Path(folder) / backend
            options: dict[str, Any] = {"backend": backend, "store": store, "device": "cpu", "progress": False}
            sweep = eb.sweep(space, data, seeds=2, **fixed, **options)
            taken = time.perf_counter() - start
            first = first or sweep
            same = "every number like the first's" if first is not sweep and equal(first, sweep) else ""
            report.add(f"| {backend} | {taken:,.0f} | {same or ('the first' if first is sweep else 'DIFFERS')} |")
        best = sweep.best()
        report.add("", f"Best by validation: test accuracy {best.final_accuracy:.2%}.")


def equal(one: eb.Sweep, other: eb.Sweep) -> bool:
    if not one.table().drop(columns="seconds").equals(other.table().drop(columns="seconds")):
        return False
    pairs = zip(one.runs, other.runs, strict=True)
    names = ("train_loss", "train_accuracy", "test_loss", "class_accuracy", "validation_loss", "confusion")
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for a, b in pairs for name in names)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--study", action="store_true", help="study D's grid by every backend, and nothing else")
    parser.add_argument("--backends", nargs="+", default=["serial", "processes", "packed", "ray"], help="of --study")
    parser.add_argument("--epochs", type=int, default=1, help="of --study")
    options = parser.parse_args()
    data = eb.datasets.mnist()
    report = Report("bench_sweep.py --study" if options.study else __file__)
    report.head(data, f"medians of {options.rounds} rounds" if not options.study else "one round")
    if options.study:
        study(data, report, options.backends, options.epochs)
    else:
        report.add("| eight trials, `processes` against a loop | ratio | range | target |", "|---|---:|---:|---:|")
        for network, steps, every, what in (
            ("lenet5", 100, 1, "LeNet-5, 100 steps, all test images after each"),
            ("lenet5", 938, "epoch", "LeNet-5, one epoch"),
            ("resnet", 40, "epoch", "reference ResNet, 40 steps, all test images before and after"),
            ("resnet", 4, 1, "reference ResNet, 4 steps, all test images after each"),
        ):
            ratios = throughput(data, network, steps, every, options.rounds)
            told = f"{statistics.median(ratios):.2f} | {min(ratios):.2f} to {max(ratios):.2f} | 1.3"
            report.add(f"| {what} | {told} |")
        report.add("", "| 1,000 trivial trials | ms a trial | of it training | target |", "|---|---:|---:|---:|")
        for backend, count in (("processes", TRIVIAL), ("serial", TRIVIAL)):
            each = [overhead(backend, count) for _ in range(options.rounds)]
            taken, training = (statistics.median(values) for values in zip(*each, strict=True))
            report.add(f"| `{backend}` | {taken:.2f} | {training:.2f} | {'5' if backend == 'processes' else ''} |")
        report.add("", "| a store of 10,000 trials | seconds | target |", "|---|---:|---:|")
        with tempfile.TemporaryDirectory() as folder:
            store = Path(folder) / "s"
            large_store(store, STORED)
            opened = [seconds(lambda: eb.load_sweep(store).table()) for _ in range(options.rounds)]
            report.add(f"| the table opens | {statistics.median(opened):.2f} | 2 |")
            (store / "index.json").unlink()
            report.add(f"| without its index | {seconds(lambda: eb.load_sweep(store).table()):.2f} | |")
    if options.write:
        report.write()


if __name__ == "__main__":
    main()
