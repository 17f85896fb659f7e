"""Steps of a network in which most units are dead, against PyTorch's: what numbers below 1.2e-38 cost.

    python benches/bench_faded.py              # some five minutes
    python benches/bench_faded.py --write      # and puts the table into benches/README.md

A learning rate that is far too large kills the hidden units of a network with two hidden layers, one after the other.
Behind a dead unit every gradient is zero, and Adam's means fade: after some 900 steps they are below the smallest
number that float32 holds with all its digits, and a processor takes a hundred times as long for those. Each side takes
1,600 steps on one thread; the medians are those of the first and of the last 100.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

import everybatch as eb
from peers import Peer
from report import Report, arguments

STEPS, END, BATCH, HIDDEN, LR = 1_600, 100, 16, 1_024, 0.05


def network() -> eb.Network:
    """Two hidden layers."""
    relu = eb.Activation("relu")
    return eb.Network(
        [eb.Flatten(), eb.Linear(784, HIDDEN), relu, eb.Linear(HIDDEN, HIDDEN), relu, eb.Linear(HIDDEN, 10)]
    )


def ours(data: eb.Dataset, kernels: str) -> np.ndarray:
    """Return the seconds of each step."""
    options = {"batch_size": BATCH, "lr": LR, "kernels": kernels, "evaluate_every": STEPS, "progress": False}
    return eb.train(network(), data, steps=STEPS, **options).train_seconds


def plain(data: eb.Dataset, kind: str) -> np.ndarray:
    """Return the same of a loop in PyTorch."""
    torch.manual_seed(0)
    peer, seconds = Peer(network(), data, BATCH, len(data.test_labels), kind, lr=LR), []
    for _ in range(STEPS):
        start = time.perf_counter()
        peer.step()
        seconds.append(time.perf_counter() - start)
    return np.array(seconds)


SIDES: dict[str, Callable[[eb.Dataset], np.ndarray]] = {
    "everybatch, exact": partial(ours, kernels="exact"),
    "everybatch, fused": partial(ours, kernels="fused"),
    "PyTorch": partial(plain, kind="plain"),
    "PyTorch, fused Adam": partial(plain, kind="fused"),
}


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = eb.datasets.default()
    data = data.subset(train=min(len(data.train_images), 6_400), test=100)
    report = Report(__file__)
    report.head(data, f"{options.rounds} rounds")
    rounds = [{side: 1000 * work(data) for side, work in SIDES.items()} for _ in range(options.rounds)]
    report.add("| | first steps, ms | last steps, ms | last / first: median (min to max) |", "|---|---:|---:|---|")
    for side in SIDES:
        first, last = (
            [float(np.median(one[side][part])) for one in rounds] for part in (slice(END), slice(-END, None))
        )
        ratios = [b / a for a, b in zip(first, last, strict=True)]
        report.add(
            f"| {side} | {statistics.median(first):.2f} | {statistics.median(last):.2f} | "
            f"**{statistics.median(ratios):.2f}** ({min(ratios):.2f} to {max(ratios):.2f}) |"
        )
    if options.write:
        report.write()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
