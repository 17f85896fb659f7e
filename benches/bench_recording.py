"""What recording single images costs: runs with record=(...) against runs without, in the same process and in turn.

Of each run counts the median step with its measurement, the host's work between two steps included; a ratio is that of
two runs that came right after each other, the plain one first and last by turns. Machines are noisy: read the
median beside the range.

    python benches/bench_recording.py
    python benches/bench_recording.py --write      # and puts the table into benches/README.md
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

import everybatch as eb
from report import Report, arguments

ROWS: dict[str, dict[str, Any]] = {
    "nothing (twice the same)": {},
    "predictions": {"record": ("predictions",)},
    "predictions, losses": {"record": ("predictions", "losses")},
    "predictions, losses, examples": {"record": ("predictions", "losses", "examples"), "measure_training": 0},
}


def step_seconds(data: eb.Dataset, steps: int, **given: Any) -> float:
    """Median seconds from the end of one step with its measurement to that of the next."""
    ends: list[float] = []
    eb.train(
        eb.networks.lenet5(),
        data,
        steps=steps,
        device="cpu",
        progress=False,
        callbacks=lambda _: ends.append(time.perf_counter()),
        **given,
    )
    return float(np.median(np.diff(ends)))


def rows(data: eb.Dataset, rounds: int, steps: int) -> Iterator[str]:
    step_seconds(data, 20)
    for name, given in ROWS.items():
        ratios, plain, recorded = [], [], []
        for number in range(rounds):
            if number % 2:
                recorded.append(step_seconds(data, steps, **given))
                plain.append(step_seconds(data, steps))
            else:
                plain.append(step_seconds(data, steps))
                recorded.append(step_seconds(data, steps, **given))
            ratios.append(recorded[-1] / plain[-1])
        yield (
            f"| {name} | {1000 * statistics.median(plain):.1f} | {1000 * statistics.median(recorded):.1f} | "
            f"**{statistics.median(ratios):.3f}** ({min(ratios):.3f} to {max(ratios):.3f}) |"
        )


def passes(data: eb.Dataset) -> str:
    """What a pass over the training images takes, against one over the test images."""
    run = eb.train(
        eb.networks.lenet5(),
        data,
        steps=30,
        device="cpu",
        progress=False,
        record=("examples",),
        measure_training=5,
    )
    training, test = np.median(run.training_eval_seconds), np.median(run.eval_seconds)
    return (
        f"A pass over {len(run.trained_indices):,} training images: {1000 * training:.0f} ms, {training / test:.1f} "
        f"times one over {len(run.test_indices):,} test images."
    )


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=60)
    options = parser.parse_args()
    data = eb.datasets.default()
    report = Report(__file__)
    report.head(
        data,
        f"LeNet-5, float32, batches of 64, every batch measured, a callback; {options.rounds} pairs of runs of "
        f"{options.steps} steps after one to warm up",
    )
    report.add(
        "| record= | step with measurement without, ms | with, ms | with / without: median (min to max) |",
        "|---|---:|---:|---:|",
    )
    for line in rows(data, options.rounds, options.steps):
        report.add(line)
    report.add("", passes(data))
    if options.write:
        report.write()
    return 0


if __name__ == "__main__":
    sys.exit(main())
