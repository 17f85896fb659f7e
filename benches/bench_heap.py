"""Steps of networks with large layers, with and without the memory that training keeps from one step to the next.

    python benches/bench_heap.py              # some ten minutes
    python benches/bench_heap.py --only convnet
    python benches/bench_heap.py --write      # and puts the table into benches/README.md

Each side is a fresh process that takes steps and prints the median of their milliseconds, and its peak of resident
memory in MiB. Without: MALLOC_TOP_PAD_ set to what glibc begins with, from which everybatch gathers that somebody else
looks after the heap. Linux with glibc.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import warnings

import numpy as np

import everybatch as eb
from report import Report, arguments

STEPS = {"convnet": 24, "alexnet": 20, "vgg11": 10}
BATCH = 64
SIDES = {"kept": {}, "given back": {"MALLOC_TOP_PAD_": "131072"}}
WARM = 4  # steps that do not count


def work(network: str, precision: str, kernels: str) -> None:
    """Print what one side prints."""
    warnings.simplefilter("ignore")
    data = eb.datasets.default()
    steps = STEPS[network]
    made = getattr(eb.networks, network)()
    options = {"batch_size": BATCH, "precision": precision, "kernels": kernels, "evaluate_on": 100}
    run = eb.train(made, data, steps=steps, evaluate_every=steps, progress=False, **options)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(1000 * float(np.median(run.train_seconds[WARM:])), peak)


def side(name: str, *of: str) -> tuple[float, float]:
    """Return the milliseconds of a step and the MiB at the peak."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    command = [sys.executable, __file__, "--work", *of]
    done = subprocess.run(command, env=environment | SIDES[name], capture_output=True, text=True, check=True)
    milliseconds, peak = map(float, done.stdout.split()[-2:])
    return milliseconds, peak


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--only", nargs="+", choices=STEPS, default=list(STEPS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--work", nargs=3, metavar=("NETWORK", "PRECISION", "KERNELS"), help="be one side")
    options = parser.parse_args()
    if options.work:
        work(*options.work)
        return 0
    report = Report(__file__)
    report.head(eb.datasets.default(), f"{options.rounds} rounds")
    report.add(
        f"| network, batch {BATCH} | precision, kernels | given back, ms a step | kept, ms | "
        "ratio: median (min to max) | peak, MiB |",
        "|---|---|---:|---:|---|---|",
    )
    for network in options.only:
        for precision, kernels in (("bfloat16", "fused"), ("float32", "exact")):
            if precision not in eb.precisions():
                continue
            rounds = [{name: side(name, network, precision, kernels) for name in SIDES} for _ in range(options.rounds)]
            ratios = [one["given back"][0] / one["kept"][0] for one in rounds]
            given, kept = (
                [statistics.median(column) for column in zip(*(one[name] for one in rounds), strict=True)]
                for name in ("given back", "kept")
            )
            report.add(
                f"| {network} | {precision}, {kernels} | {given[0]:,.0f} | {kept[0]:,.0f} | "
                f"**{statistics.median(ratios):.2f}** ({min(ratios):.2f} to {max(ratios):.2f}) | "
                f"{given[1]:,.0f}, {kept[1]:,.0f} |"
            )
    if options.write:
        report.write()
    return 0


if __name__ == "__main__":
    sys.exit(main())
