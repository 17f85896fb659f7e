"""A loop in PyTorch that measures the test set after every step: with `eb.Meter`, and as one writes it by hand.

By hand is what peers.py calls plain: ``module.eval()``, ``torch.no_grad()``, batches of 1000, back to ``train()``, in
float32. Both sides train the same module by the same code, some steps each, one after the other, several times; the
figures are medians of the rounds and what the rounds lie between.

    python benches/bench_meter.py                         # a quarter of an hour
    python benches/bench_meter.py --rounds 2 --steps 3    # briefly
    python benches/bench_meter.py --write                 # and puts the table into benches/README.md
"""

from __future__ import annotations

import dataclasses
import statistics
import sys
import time
from collections.abc import Callable, Iterator

import everybatch as eb
from peers import Peer
from report import Report, arguments


@dataclasses.dataclass(frozen=True)
class Row:
    """One kind of loop."""

    name: str
    network: eb.Network
    batch_size: int
    tolerance: float | None
    times: int  # by how many the steps of a round are more than asked for
    faster: float  # the whole loop, at least


def rows() -> Iterator[Row]:
    """Complete measurements, and estimates."""
    yield Row("LeNet-5, complete", eb.networks.lenet5(), 64, None, 10, 1.8)
    yield Row("reference ResNet, complete", eb.networks.resnet(), 60, None, 1, 1.8)
    yield Row("LeNet-5, tolerance 0.0005", eb.networks.lenet5(), 64, 0.0005, 20, 10)
    yield Row("reference ResNet, tolerance 0.001", eb.networks.resnet(), 60, 0.001, 4, 10)


@dataclasses.dataclass
class Spent:
    """Seconds of a step with its measurement, and of the measurement alone, of each round."""

    whole: list[float] = dataclasses.field(default_factory=list)
    measuring: list[float] = dataclasses.field(default_factory=list)

    def round(self, steps: int, step: Callable[[], object], measure: Callable[[object], object]) -> None:
        """Take so many steps."""
        start, measuring = time.perf_counter(), 0.0
        for _ in range(steps):
            told = step()
            begin = time.perf_counter()
            measure(told)
            measuring += time.perf_counter() - begin
        self.whole.append((time.perf_counter() - start) / steps)
        self.measuring.append(measuring / steps)


def ratio(slow: list[float], fast: list[float], wanted: float | None = None) -> str:
    found = [a / b for a, b in zip(slow, fast, strict=True)]
    target = "" if wanted is None else f"; {wanted:g}"
    return f"**{statistics.median(found):.2f}** ({min(found):.2f} to {max(found):.2f}{target})"


def measured(row: Row, data: eb.Dataset, rounds: int, steps: int) -> str:
    """The row of the table."""
    peer = Peer(row.network, data, row.batch_size, len(data.test_labels), "plain")
    meter = eb.Meter(peer.net, data, batch_size=row.batch_size, tolerance=row.tolerance)
    by_hand, metered, own = Spent(), Spent(), steps * (row.times if row.tolerance is not None else 1)
    for spent in (Spent(), by_hand):  # the first is to warm up
        for _ in range(1 if spent is not by_hand else rounds):
            spent.round(steps, peer.step, lambda _: peer.measure())
            (metered if spent is by_hand else Spent()).round(own, peer.step, meter.step)
    cells = [
        f"{row.name} ({meter.measured_by})",
        *(f"{1000 * statistics.median(each):.1f}" for each in (by_hand.measuring, metered.measuring)),
        ratio(by_hand.measuring, metered.measuring),
        *(f"{1000 * statistics.median(each):.1f}" for each in (by_hand.whole, metered.whole)),
        ratio(by_hand.whole, metered.whole, row.faster),
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="alternating rounds of each side")
    parser.add_argument(
        "--steps", type=int, default=10, help="steps of a round by hand; with a tolerance more are metered"
    )
    parser.add_argument("--only", default="", help="rows whose text has these words")
    options = parser.parse_args()
    data = eb.datasets.default()
    report = Report(__file__)
    report.head(data, f"{options.rounds} rounds of {options.steps} steps after one to warm up, float32")
    report.add(
        "| loop | measuring by hand, ms | with a meter, ms | times faster: median (min to max) "
        "| step and measuring by hand, ms | with a meter, ms | times faster (min to max; target) |",
        "|---|---:|---:|---|---:|---:|---|",
    )
    for row in rows():
        if all(word in row.name for word in options.only.split()):
            report.add(measured(row, data, options.rounds, options.steps))
    if options.write:
        report.write()


if __name__ == "__main__":
    sys.exit(main())
