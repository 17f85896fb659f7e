"""everybatch against PyTorch on the CPU, as ratios.

Each row sets a run of everybatch against a peer (see peers.py) in the same process: one after the other, several times,
and what is reported is the median of the ratios of their seconds. Above 1, everybatch is faster.

    python benches/bench_cpu.py                    # all rows, some minutes each
    python benches/bench_cpu.py --only lenet --rounds 3
    python benches/bench_cpu.py --write            # and puts the table into benches/README.md
"""

from __future__ import annotations

import dataclasses
import statistics
import sys
from collections.abc import Iterator

import everybatch as eb
from peers import Peer, seconds_of
from report import Report, arguments


@dataclasses.dataclass(frozen=True)
class Row:
    """One comparison."""

    name: str
    network: eb.Network
    batch_size: int
    precision: str
    peers: tuple[str, ...]  # the fastest of them counts
    target: float
    steps: int = 2  # of one measurement
    test_images: int = 10_000  # 0: training steps only

    @property
    def work(self) -> str:
        test = f"step + {self.test_images:,} test images" if self.test_images else "step"
        return f"{self.name}, batch {self.batch_size}, {test}"


def rows() -> Iterator[Row]:
    resnet, lenet = eb.networks.resnet(), eb.networks.lenet5()
    yield Row("reference ResNet", resnet, 60, "float32", ("plain",), 1.8)
    yield Row("reference ResNet", resnet, 60, "bfloat16", ("plain",), 3.2)
    yield Row("reference ResNet", resnet, 60, "bfloat16", ("best",), 1.1)
    yield Row("reference ResNet", resnet, 60, "float32", ("loader",), 4.0)
    yield Row("reference ResNet", resnet, 60, "bfloat16", ("loader",), 4.0)
    yield Row("LeNet-5", lenet, 64, "float32", ("plain",), 4.0, steps=10)
    yield Row("LeNet-5", lenet, 64, "bfloat16", ("best",), 1.2, steps=10)
    yield Row("reference ResNet", resnet, 60, "float32", ("fused", "channels_last"), 1.15, steps=10, test_images=0)
    yield Row("LeNet-5", lenet, 64, "float32", ("fused", "channels_last"), 1.5, steps=100, test_images=0)
    yield Row("resnet18", eb.networks.resnet18(), 64, "float32", ("plain",), 1.5, steps=1, test_images=2_000)
    yield Row("wide_resnet", eb.networks.wide_resnet(), 64, "float32", ("plain",), 1.5, steps=1, test_images=2_000)


def ours(row: Row, data: eb.Dataset) -> float:
    """Seconds of a step, and of the test pass after it, as the run itself has recorded them."""
    warm = 1
    run = eb.train(
        row.network,
        data,
        steps=warm + row.steps,
        batch_size=row.batch_size,
        precision=row.precision,
        kernels="fused",
        evaluate_every=1 if row.test_images else "epoch",
        evaluate_on=row.test_images or 10,
        device="cpu",
        progress=False,
    )
    if row.test_images:
        return float(run.seconds[warm:].sum(axis=1).mean())
    return float(run.train_seconds[warm:].mean())


def theirs(row: Row, peer: Peer) -> float:
    """Seconds of the same work."""

    def work() -> None:
        peer.step()
        if row.test_images:
            peer.measure()

    return seconds_of(work, row.steps)


def measured(row: Row, data: eb.Dataset, rounds: int) -> str:
    """The row of the table."""
    peers = [Peer(row.network, data, row.batch_size, row.test_images or 10, kind) for kind in row.peers]
    ours(row, data)
    for peer in peers:
        theirs(row, peer)
    pairs = [(min(theirs(row, peer) for peer in peers), ours(row, data)) for _ in range(rounds)]
    ratios = [peer / mine for peer, mine in pairs]
    peer, mine = (1000 * statistics.median(side) for side in zip(*pairs, strict=True))
    return (
        f"| {row.work} | {row.precision} | {' or '.join(row.peers)} | {peer:,.1f} | {mine:,.1f} | "
        f"**{statistics.median(ratios):.2f}** ({min(ratios):.2f} to {max(ratios):.2f}) | {row.target:g} |"
    )


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="alternating measurements of each side")
    parser.add_argument("--only", default="", help="rows whose text has these words")
    options = parser.parse_args()
    data = eb.datasets.default()
    report = Report(__file__)
    report.head(data, f"{options.rounds} rounds after one to warm up")
    report.add(
        "| work | everybatch in | peer | peer, ms | everybatch, ms | ratio: median (min to max) | target |",
        "|---|---|---|---:|---:|---|---:|",
    )
    for row in rows():
        if all(word in f"{row.work} {row.precision} {row.peers}" for word in options.only.split()):
            try:
                report.add(measured(row, data, options.rounds))
            except eb.errors.DeviceError as reason:
                report.add(f"| {row.work} | {row.precision} | | | | not possible: {reason} | |")
    if options.write:
        report.write()


if __name__ == "__main__":
    sys.exit(main())
