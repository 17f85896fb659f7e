"""Measuring with a tolerance on the CPU: whether its standard errors are honest, and what it costs.

Honest: the same runs, measured completely and with a tolerance. Measuring does not touch the weights, so that every
estimate has its truth beside it. Cost: the run with a tolerance against the same run that is measured at its ends, or
not at all, one after the other, several times, and against the plain PyTorch loop of peers.py with its complete pass
after every step; and the time that the estimator itself takes beside running images.

    python benches/bench_tolerance.py                          # an hour: complete runs take long
    python benches/bench_tolerance.py --only lenet --seeds 2 --rounds 2
    python benches/bench_tolerance.py --write                  # and puts the tables into benches/README.md
"""

from __future__ import annotations

import dataclasses
import statistics
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

import everybatch as eb
from everybatch import _core
from peers import Peer, seconds_of
from report import Report, arguments

Floats = npt.NDArray[np.float64]
AFTER = 50
"""Steps that do not count for coverage: in the first ones everything changes at once."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One kind of run."""

    name: str
    network: eb.Network
    batch_size: int
    precision: str
    steps: int
    tolerance: float
    once: bool  # whether the run that it is compared with is measured at its ends, or not at all
    most: float  # times that run
    faster: float  # than the plain loop
    ratio: float  # of variances, against a plain subset
    ratio_after: int  # steps

    def run(self, data: eb.Dataset, seed: int, **how: Any) -> eb.Run:
        """Train it."""
        return eb.train(
            self.network,
            data,
            steps=self.steps,
            batch_size=self.batch_size,
            precision=self.precision,
            seed=seed,
            device="cpu",
            progress=False,
            **how,
        )


def rows(data: eb.Dataset) -> Iterator[Row]:
    """An epoch of LeNet-5, and some of the reference ResNet."""
    epoch = -(-len(data.train_labels) // 64)
    yield Row("LeNet-5", eb.networks.lenet5(), 64, "float32", epoch, 0.0005, True, 2.5, 40, 400, 100)
    yield Row("reference ResNet", eb.networks.resnet(), 60, "bfloat16", 300, 0.001, False, 4, 15, 6, AFTER)


@dataclasses.dataclass
class Replica:
    """A run with a tolerance, and the truth of each of its measurements."""

    estimated: eb.Run
    exact: eb.Run

    def __post_init__(self) -> None:
        if not np.array_equal(self.estimated.train_loss, self.exact.train_loss):
            raise ValueError("the two runs went different ways: with as many threads, and on the same machine?")

    def errors(self, name: str, after: int) -> tuple[Floats, Floats]:
        """What the estimates after so many steps are off by, and their standard errors; complete passes left out."""
        counted = (self.estimated.eval_step > after) & (self.estimated.images_measured < len(self.exact.test_indices))
        off = getattr(self.estimated, name).astype(float) - getattr(self.exact, name)
        return off[counted], getattr(self.estimated, f"{name}_error").astype(float)[counted]

    def against_a_subset(self, after: int) -> float:
        """The variance of the accuracy on a random subset that costs the same, over that of the measurements."""
        images = len(self.exact.test_indices)
        later = self.estimated.eval_step > after
        right, looked = self.exact.test_accuracy[later].astype(float), self.estimated.images_measured[later].mean()
        subset = np.mean(right * (1 - right)) / looked * (1 - looked / images)
        return float(subset / np.mean((self.estimated.test_accuracy[later] - right) ** 2))


def bias(replicas: list[Replica], name: str) -> tuple[float, float]:
    """The mean error, and its standard error from means over 20 measurements, which follow one another."""
    series = [replica.errors(name, AFTER)[0] for replica in replicas]
    blocks = [block.mean() for off in series for block in np.array_split(off, max(len(off) // 20, 2))]
    return float(np.mean(blocks)), float(np.std(blocks, ddof=1) / np.sqrt(len(blocks)))


def honest(row: Row, data: eb.Dataset, seeds: int) -> str:
    """The row of the first table."""
    replicas = [Replica(row.run(data, seed, tolerance=row.tolerance), row.run(data, seed)) for seed in range(seeds)]
    cells = [f"{row.name}, {row.precision}, {row.steps} batches, {row.tolerance:g}"]
    for name in ("test_accuracy", "test_loss", "class_accuracy"):
        off, stated = (np.concatenate(parts) for parts in zip(*(r.errors(name, AFTER) for r in replicas), strict=True))
        cells.append(f"{100 * np.mean(np.abs(off) <= 1.96 * stated + 1e-9):.1f} %")
    off, stated = (
        np.concatenate(parts) for parts in zip(*(r.errors("test_accuracy", AFTER) for r in replicas), strict=True)
    )
    cells.append(f"{1e4 * np.sqrt(np.mean(off**2)):.2f} / {1e4 * np.sqrt(np.mean(stated**2)):.2f}")
    for name, unit in (("test_accuracy", 1e4), ("test_loss", 1e4)):
        mean, error = bias(replicas, name)
        cells.append(f"{unit * mean:+.2f} ± {unit * error:.2f}")
    looked = np.concatenate([replica.estimated.images_measured[1:] for replica in replicas])
    cells.append(f"{looked.mean():,.0f}")
    ratio = statistics.median(replica.against_a_subset(row.ratio_after) for replica in replicas)
    cells.append(f"**{ratio:,.0f}** ({row.ratio:g})")
    return f"| {' | '.join(cells)} |"


def own_share(row: Row, data: eb.Dataset, run: eb.Run) -> float:
    """The estimator's own time over that of a measurement: a short run's logits are recorded and asked for again."""
    steps = AFTER + 30
    logits: list[npt.NDArray[np.float32]] = []
    start = row.network.initialize(0)
    eb.train(
        start,
        data,
        steps=steps,
        batch_size=row.batch_size,
        evaluate_every=10**6,
        device="cpu",
        progress=False,
        callbacks=lambda step: logits.append(step.model().logits(data.test_images)),
    )
    labels = data.test_labels.astype(np.int64)
    estimator = _core.Estimator(labels, data.num_classes, row.tolerance)
    own: list[float] = []
    for step, truth in enumerate(logits, 1):
        looking = 0.0

        def look(images: npt.NDArray[np.int64], truth: npt.NDArray[np.float32] = truth) -> npt.NDArray[np.float32]:
            nonlocal looking
            begin = time.perf_counter()
            found = truth[images]
            looking += time.perf_counter() - begin
            return found

        begin = time.perf_counter()
        found = estimator.estimate(step, look) if step > 1 else None
        if found is None:
            estimator.saw_all(step, truth)
        elif step > AFTER:
            own.append(time.perf_counter() - begin - looking)
    estimates = run.images_measured < len(run.test_indices)
    return statistics.median(own) / float(np.median(run.eval_seconds[estimates]))


def cost(row: Row, data: eb.Dataset, rounds: int) -> str:
    """The row of the second table."""
    peer = Peer(row.network, data, row.batch_size, len(data.test_labels), "plain")
    dataclasses.replace(row, steps=30).run(data, 0, tolerance=row.tolerance)
    seconds_of(peer.step, 3)
    bare, whole, plain = [], [], []
    for seed in range(rounds):
        ends = row.run(data, seed, evaluate_every=10**9)
        bare.append(float((ends.seconds if row.once else ends.train_seconds).sum()))
        run = row.run(data, seed, tolerance=row.tolerance)
        whole.append(float(run.seconds.sum()))
        plain.append(row.steps * (seconds_of(peer.step, 10) + seconds_of(peer.measure, 2)))
    slower = [a / b for a, b in zip(whole, bare, strict=True)]
    faster = [a / b for a, b in zip(plain, whole, strict=True)]
    estimates = run.images_measured < len(run.test_indices)
    cells = [
        f"{row.name}, {row.precision}, {row.steps} batches, {row.tolerance:g}",
        f"{statistics.median(bare):,.1f} {'(at the ends)' if row.once else '(never)'}",
        f"{statistics.median(whole):,.1f}",
        f"**{statistics.median(slower):.2f}** ({min(slower):.2f} to {max(slower):.2f}; {row.most:g})",
        f"{statistics.median(plain):,.0f}",
        f"**{statistics.median(faster):.1f}** ({min(faster):.1f} to {max(faster):.1f}; {row.faster:g})",
        f"{1000 * np.median(run.train_seconds):.1f}",
        f"{1000 * np.median(run.eval_seconds[estimates]):.1f}",
        f"{1000 * np.median(run.eval_seconds[~estimates]):.0f}",
        f"{100 * own_share(row, data, run):.0f} %",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="alternating measurements of each side")
    parser.add_argument("--seeds", type=int, default=5, help="runs whose errors are looked at; 0: only the cost")
    parser.add_argument("--only", default="", help="rows whose text has these words")
    options = parser.parse_args()
    data = eb.datasets.default()
    report = Report(__file__)
    report.head(data, f"{options.seeds} seeds, {options.rounds} rounds after one to warm up")
    chosen = [row for row in rows(data) if all(word in f"{row.name} {row.precision}" for word in options.only.split())]
    if options.rounds:
        report.add(
            "| run, tolerance | measured once or never, s | with tolerance, s "
            "| times as long: median (min to max; target) | plain PyTorch, s | times faster (target) "
            "| step, ms | estimate, ms | complete pass, ms | estimator's own |",
            "|---|---:|---:|---|---:|---|---:|---:|---:|---:|",
        )
        for row in chosen:
            report.add(cost(row, data, options.rounds))
        report.add("")
    if options.seeds:
        report.add(
            f"| run, tolerance | 95 % intervals that hold the truth after {AFTER} steps (93 to 98 %): accuracy | loss "
            "| class accuracies | error / stated, images of 10,000 | mean error, images of 10,000 | of the loss, 1e-4 "
            "| images looked at a measurement, with complete passes | variance of a plain subset over ours (target) |",
            "|---|---:|---:|---:|---:|---:|---:|---:|---|",
        )
        for row in chosen:
            report.add(honest(row, data, options.seeds))
    if options.write:
        report.write()


if __name__ == "__main__":
    sys.exit(main())
