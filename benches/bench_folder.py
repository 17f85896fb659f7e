"""What a run's folder costs: the time in which its journal is written and its state kept, as a share of the run.

Wall times of whole runs differ by more than that from one to the next, so what is measured is the time within the
journal, in the run's own thread, against the seconds of its steps and measurements.

    python benches/bench_folder.py
    python benches/bench_folder.py --write      # and puts the table into benches/README.md
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import everybatch as eb
from everybatch.folder import Journal
from report import Report, arguments

ROWS: dict[str, dict[str, Any]] = {
    "every batch measured": {"steps": 100},
    "every batch measured with a tolerance of 0.0005": {"steps": 1000, "tolerance": 0.0005},
    "the same, a callback after every batch": {"steps": 1000, "tolerance": 0.0005, "callbacks": lambda _: None},
}


def rows(data: eb.Dataset, rounds: int) -> Iterator[str]:
    for name, given in ROWS.items():
        shares, steps, writes, keeps = [], [], [], []
        for _ in range(rounds):
            spent: dict[str, list[float]] = {"write": [], "keep": []}
            with tempfile.TemporaryDirectory() as folder, timed(spent):
                run = eb.train(
                    eb.networks.lenet5(),
                    data,
                    device="cpu",
                    progress=False,
                    folder=Path(folder) / "run",
                    keep_state_every=10,
                    **given,
                )
            steps.append(1000 * run.total_seconds / run.steps)
            # The state is kept six times as often as usual here.
            shares.append((sum(spent["write"]) + sum(spent["keep"]) / 6) / run.total_seconds)
            writes += spent["write"]
            keeps += spent["keep"]
        yield (
            f"| {name} | {statistics.median(steps):.1f} | {1e6 * statistics.median(writes):.0f} | "
            f"{len(writes) / rounds:.0f} | {1000 * statistics.median(keeps):.1f} | "
            f"**{100 * statistics.median(shares):.2f} %** |"
        )


def timed(spent: dict[str, list[float]]) -> Any:
    """Have the journal's methods note how long they take."""

    def noting(name: str) -> Any:
        method = getattr(Journal, name)

        def measured(*given: Any) -> Any:
            start = time.perf_counter()
            try:
                return method(*given)
            finally:
                spent[name].append(time.perf_counter() - start)

        return measured

    return mock.patch.multiple(Journal, **{name: noting(name) for name in spent})


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    data = eb.datasets.default()
    report = Report(__file__)
    report.head(data, f"LeNet-5, float32, batches of 64, a callback or none; medians of {options.rounds} runs")
    report.add(
        "| run | step with measurement, ms | a write, µs | writes | keeping the state, ms "
        "| share of the run (target 1 %) |",
        "|---|---:|---:|---:|---:|---:|",
    )
    for line in rows(data, options.rounds):
        report.add(line)
    if options.write:
        report.write()
    return 0


if __name__ == "__main__":
    sys.exit(main())
