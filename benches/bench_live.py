"""What watching costs: a run with its folder and `live=True`, below a cell of a real kernel.

Wall times of whole runs differ by more than that from one to the next, so what is measured is the time that the run's
own thread spends in the folder and in drawing, from the first chart to the last picture, and what the kernel's other
threads (which send the charts) take of a processor meanwhile; both against the seconds of the steps and their
measurements.

    python benches/bench_live.py
    python benches/bench_live.py --write      # and puts the table into benches/README.md
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import everybatch as eb
from report import Report, arguments

ROWS: dict[str, dict[str, Any]] = {
    "every batch measured, an epoch": {"epochs": 1},
    "every batch measured with a tolerance of 0.0005, an epoch": {"epochs": 1, "tolerance": 0.0005},
}
_CELL = "import sys; sys.path.insert(0, {place!r}); import bench_live; bench_live.in_kernel({name!r}, {folder!r})"


def in_kernel(name: str, folder: str) -> None:
    """Train there, and print what it took as JSON."""
    from everybatch.live._beside import Beside

    spent: dict[str, float] = {}
    inside = threading.local()

    def noting(method: str) -> Any:
        original = getattr(Beside, method)

        def measured(*given: Any) -> Any:
            if getattr(inside, "yes", False):
                return original(*given)
            inside.yes, start = True, time.perf_counter()
            try:
                return original(*given)
            finally:
                inside.yes = False
                spent[method] = spent.get(method, 0.0) + time.perf_counter() - start

        return measured

    methods = ("__enter__", "write", "keep", "__exit__")
    data = eb.datasets.default()
    others = -_others()
    with mock.patch.multiple(Beside, **{method: noting(method) for method in methods}):
        run = eb.train(eb.networks.lenet5(), data, device="cpu", progress=False, folder=folder, live=True, **ROWS[name])
    others += _others()
    told = {"steps": run.steps, "seconds": run.total_seconds, "own": sum(spent.values()), "others": others, **spent}
    print("told", json.dumps(told))


def _others() -> float:
    """Return the processor's seconds of the Python threads but this one."""
    here = threading.get_ident()
    clocks = (time.pthread_getcpuclockid(one.ident) for one in threading.enumerate() if one.ident not in (None, here))
    return sum(map(time.clock_gettime, clocks))


def measured(name: str, folder: Path) -> dict[str, float]:
    """Run a row in a new kernel."""
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(kernel_name="python3", stderr=subprocess.DEVNULL)
    try:
        written: list[str] = []

        def hear(message: Any) -> None:
            content = message["content"]
            written.append(content.get("text", "") or "\n".join(content.get("traceback", ())))

        cell = _CELL.format(place=str(Path(__file__).parent), name=name, folder=str(folder))
        client.execute_interactive(cell, timeout=3600, output_hook=hear)
    finally:
        client.stop_channels()
        manager.shutdown_kernel()
    told = [line for line in "".join(written).splitlines() if line.startswith("told ")]
    if not told:
        raise RuntimeError("the kernel gave no figures:\n" + "".join(written))
    answer: dict[str, float] = json.loads(told[0].removeprefix("told "))
    return answer


def rows(rounds: int, place: Path) -> Iterator[str]:
    for number, name in enumerate(ROWS):
        every = [measured(name, place / f"{number}-{turn}") for turn in range(rounds)]

        def middle(key: str, every: list[dict[str, float]] = every) -> float:
            return statistics.median(one[key] / one["seconds"] for one in every)

        step = statistics.median(1000 * one["seconds"] / one["steps"] for one in every)
        yield (
            f"| {name} | {step:.1f} | {100 * middle('write'):.2f} % | {100 * middle('__exit__'):.2f} % "
            f"| **{100 * middle('own'):.2f} %** | {100 * middle('others'):.2f} % |"
        )


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    report = Report(__file__)
    report.head(eb.datasets.default(), f"LeNet-5, float32, batches of 64; medians of {options.rounds} runs")
    report.add(
        "| run | step with measurement, ms | written and drawn meanwhile | the last picture | all of the run's thread "
        "(target 1 %) | processor's time of other threads |",
        "|---|---:|---:|---:|---:|---:|",
    )
    with tempfile.TemporaryDirectory() as place:
        for line in rows(options.rounds, Path(place)):
            report.add(line)
    if options.write:
        report.write()
    return 0


if __name__ == "__main__":
    sys.exit(main())
