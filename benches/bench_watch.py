"""Watching a long run: whether its steps take longer late than early, and what the page costs.

A tiny network is trained for 100,000 steps, each measured: with nothing beside it, with its folder, and with its folder
and the page of `everybatch watch` open in a browser that asks once a second. The training has one thread, so that the
page has the other core. The time of a step is that of 1,000 in a row, with everything that happens between them, on the
clock and of the processor, which a busy machine changes less; late are the last tenth of the run, early the second one.

    python benches/bench_watch.py                       # ten minutes
    python benches/bench_watch.py --steps 20000
    python benches/bench_watch.py --write               # and puts the table into benches/README.md
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

import everybatch as eb
from everybatch.watch import Watch
from everybatch.watch._asked import Asked
from report import Report, arguments

EVERY = 1000
"""Steps in a row that are timed."""
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


class Clock(logging.Handler):
    """When each line of the log came, which train writes after every so many steps."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[tuple[float, float]] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().startswith("Train"):
            self.times.append((time.perf_counter(), time.process_time()))


def network() -> eb.Network:
    """About a millisecond a step, with its measurement."""
    layers = [eb.Conv2d(1, 8, 5, stride=4), eb.Activation("relu"), eb.Flatten(), eb.Linear(8 * 6 * 6, 10)]
    return eb.Network(layers, name="tiny")


def train(data: eb.Dataset, steps: int, folder: Path | None) -> tuple[list[float], ...]:
    """Train, and return the seconds of a step, for each thousand of them: on the clock, and of the processor."""
    clock, logger = Clock(), logging.getLogger("everybatch")
    logger.addHandler(clock)
    logger.setLevel(logging.INFO)
    try:
        eb.train(
            network(), data, steps=steps, batch_size=32, device="cpu", progress=False, log_every=EVERY, folder=folder
        )
    finally:
        logger.removeHandler(clock)
    return tuple([(b - a) / EVERY for a, b in pairwise(times)] for times in zip(*clock.times, strict=True))


@contextlib.contextmanager
def page(folder: Path) -> Iterator[Any]:
    """Have the page about a folder open: the server in one process, the browser in others."""
    from playwright.sync_api import sync_playwright

    command = [sys.executable, "-m", "everybatch", "watch", str(folder), "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        found = re.search(r"http://\S+", server.stdout.readline())
        assert found is not None
        with sync_playwright() as playwright:
            options = ["--no-sandbox"] if os.geteuid() == 0 else []
            name = next(filter(None, map(shutil.which, BROWSERS)))
            browser = playwright.chromium.launch(executable_path=name, args=options)
            shown = browser.new_page(viewport={"width": 1300, "height": 1000})
            shown.goto(found[0])
            yield shown
            browser.close()
    finally:
        server.terminate()
        server.wait()
        if server.stdout is not None:
            server.stdout.close()


def row(name: str, both: tuple[list[float], ...]) -> str:
    """The row of one way to train."""
    cells = [name]
    for seconds in both:
        tenth = max(1, len(seconds) // 10)
        early, late = statistics.median(seconds[tenth : 2 * tenth]), statistics.median(seconds[-tenth:])
        cells += [f"{1000 * early:.3f}", f"{1000 * late:.3f}", f"**{late / early:.3f}**"]
    return f"| {' | '.join(cells)} |"


def polls(folder: Path) -> tuple[float, float, int]:
    """Return milliseconds of the processor to read a run and to answer for all charts, and the bytes of the answer."""
    watch = Watch(folder)
    start = time.process_time()
    watch.overview()
    first = time.process_time() - start
    charts = [{"chart": name, "columns": 600} for name in ("loss", "accuracy", "classes", "seconds", "lr")]
    question = {"runs": [{"name": "run"}], "x": "step", "charts": charts, "classes": list(range(10))}
    asked = Asked.read(json.dumps(question).encode())
    watch.curves(asked)
    taken = []
    for _ in range(20):
        start = time.process_time()
        answer = watch.curves(asked)
        taken.append(time.process_time() - start)
    return 1000 * first, 1000 * statistics.median(taken), len(answer)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--steps", type=int, default=100_000, help="of each run")
    parser.add_argument("--page-alone", action="store_true", help="leave out the runs without the page")
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = eb.datasets.glyphs(train=640, test=100)
    report = Report(__file__)
    report.head(data, f"one run of {options.steps:,} steps each, after 3,000 to warm up")
    train(data, 3 * EVERY, None)
    report.add(
        "| beside it | ms a step, early | late | late / early | of the processor, early | late | late / early |",
        "|---|---|---|---|---|---|---|",
    )
    with tempfile.TemporaryDirectory() as place:
        if not options.page_alone:
            report.add(row("nothing", train(data, options.steps, None)))
            report.add(row("its folder", train(data, options.steps, Path(place) / "alone" / "run")))
        runs = Path(place) / "watched"
        runs.mkdir()
        with page(runs) as shown:
            report.add(row("its folder and the page", train(data, options.steps, runs / "run")))
            shown.wait_for_timeout(3000)  # its events come in now
            told = shown.locator("#states p").text_content()
        first, each, size = polls(runs)
        report.add(
            "",
            f"The page then said: {told.partition(' ')[2].partition(' in ')[0]!r}. Reading {options.steps:,} steps "
            f"from their beginning takes {first:.0f} ms, once; an answer with all charts, ten classes among them, "
            f"{each:.1f} ms and {size / 1000:,.0f} kB.",
        )
    if options.write:
        report.write()


if __name__ == "__main__":
    main()
