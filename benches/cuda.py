"""everybatch on an NVIDIA GPU: whole runs in seconds, and ratios against PyTorch in the same process.

    python benches/cuda.py              # everything, under 8 minutes
    python benches/cuda.py --quick      # shorter runs, scaled up and marked so
    python benches/cuda.py --write      # and puts the table into benches/README.md
    python benches/cuda.py --without-compiled

Each precision has peers of its own: PyTorch with TF32 switched off against "float32", with TF32 for convolutions and
products against "tf32" (torch's own default is TF32 for convolutions alone), with autocast against "bfloat16".

Seconds of everybatch are what its runs have recorded: everything from the first measurement to the last. What comes
before, once for each run, is in the last column: the data's way to the device, calibration and the recording of graphs.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import torch

import everybatch as eb
from peers import Peer, seconds_of
from report import Report, arguments

LIMIT = 7 * 60  # seconds; what is left is for the row that is running then
HEAD = "| work | in | everybatch | goal | plain PyTorch | ratio | torch.compile | ratio | graphs | before, s |"
RULE = "|---|---|---:|---:|---:|---:|---:|---:|---|---:|"
REPLICAS = 32
PRECISIONS = ("float32", "tf32", "bfloat16")
STUDY_D = ("lenet5", "alexnet", "resnet18", "vgg11", "wide_resnet")


def fast_network() -> eb.Network:
    """A small network that one epoch brings to 99 % on MNIST (after github.com/tuomaso/train_mnist_fast)."""
    return eb.Network(
        [
            eb.Conv2d(1, 24, 5, bias=False),
            eb.BatchNorm2d(24),
            eb.Activation("relu"),
            eb.MaxPool2d(2),
            eb.Conv2d(24, 48, 3, bias=False),
            eb.BatchNorm2d(48),
            eb.Activation("relu"),
            eb.MaxPool2d(2),
            eb.Flatten(),
            eb.Linear(48 * 5 * 5, 256, bias=False),
            eb.BatchNorm1d(256),
            eb.Activation("relu"),
            eb.Linear(256, 10),
        ],
        name="fast",
    )


FAST: dict[str, Any] = {"batch_size": 256, "lr": 0.02, "schedule": "one_cycle", "evaluate_every": "epoch"}


def trained(network: eb.Network, data: eb.Dataset, **arguments: Any) -> tuple[eb.Run, float, float]:
    """Give a run, its seconds, and the seconds that went before."""
    start = time.perf_counter()
    run = eb.train(network, data, device="cuda", progress=False, **arguments)
    whole = time.perf_counter() - start
    seconds = float(run.train_seconds.sum() + run.eval_seconds.sum())
    return run, seconds, whole - seconds


def graphs(run: eb.Run) -> str:
    return "yes" if run.config["cuda"]["graphs"] else f"no: {run.config['cuda']['reason']}"


def against_peers(
    network: eb.Network, data: eb.Dataset, precision: str, kinds: Sequence[str], *, measured: bool, rounds: int
) -> tuple[list[str], float, eb.Run, float]:
    """Milliseconds of a step (and a test pass): cells of the peers, then our median, a run, and what went before."""
    steps = 100
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = precision != "float32"
    test = len(data.test_labels)

    def ours() -> tuple[float, eb.Run, float]:
        every: Any = 1 if measured else "epoch"
        run, seconds, before = trained(
            network, data, steps=steps, batch_size=60, precision=precision, evaluate_every=every
        )
        return 1000 * seconds / steps, run, before

    def step_of(peer: Peer) -> Callable[[], None]:
        def step() -> None:
            peer.step()
            if measured:
                peer.measure()

        return step

    works: list[Callable[[], None] | str] = []
    for kind in kinds:
        try:
            work = step_of(Peer(network, data, 60, test, kind, device="cuda", precision=precision))
            seconds_of(work, 5, "cuda")
            works.append(work)
        except Exception as error:  # the table says so
            works.append(f"not possible: {type(error).__name__}")
    ours()
    mine: list[float] = []
    theirs: list[list[float]] = [[] for _ in kinds]
    for _ in range(rounds):
        for times, work in zip(theirs, works, strict=True):
            if not isinstance(work, str):
                times.append(1000 * seconds_of(work, 30, "cuda"))
        milliseconds, run, before = ours()
        mine.append(milliseconds)
    cells = []
    for times, work in zip(theirs, works, strict=True):
        if isinstance(work, str):
            cells += [work, ""]
        else:
            ratio = statistics.median(peer / own for peer, own in zip(times, mine, strict=True))
            cells += [f"{statistics.median(times):.2f} ms", f"**{ratio:.1f}**"]
    cells += [""] * (4 - len(cells))
    return cells, statistics.median(mine), run, before


def rows(data: eb.Dataset, options: argparse.Namespace) -> Iterator[str]:
    resnet = eb.networks.resnet()
    steps = 200 if options.quick else 1000
    scale = 1000 / steps
    scaled = f", {scale:g} times {steps}" if options.quick else ""
    for measured, goal in ((True, "3 s"), (False, "0.6 s")):
        for precision in PRECISIONS:
            run, seconds, before = trained(
                resnet, data, steps=steps, batch_size=60, precision=precision, evaluate_every=1 if measured else "epoch"
            )
            work = f"reference ResNet, batch 60, 1,000 steps{' and test passes' if measured else ''}{scaled}"
            yield f"| {work} | {precision} | {seconds * scale:.2f} s | {goal} | | | | | {graphs(run)} | {before:.1f} |"

    for name, network in (("reference ResNet", resnet), ("LeNet-5", eb.networks.lenet5())):
        for measured in (True, False):
            for precision in PRECISIONS:
                cells, mine, run, before = against_peers(
                    network, data, precision, options.kinds, measured=measured, rounds=options.rounds
                )
                work = f"{name}, batch 60, step{' and test pass' if measured else ''}"
                yield (
                    f"| {work} | {precision} | {mine:.2f} ms | | {' | '.join(cells)} | {graphs(run)} | {before:.1f} |"
                )

    accuracies, times = [], []
    for seed in range(options.seeds):
        run, seconds, before = trained(fast_network(), data, seed=seed, precision="bfloat16", **FAST)
        accuracies.append(run.final_accuracy)
        times.append(seconds)
    mean = f"{100 * statistics.mean(accuracies):.2f} % ({100 * min(accuracies):.2f} to {100 * max(accuracies):.2f})"
    work = f"small network, one epoch: {mean} over {options.seeds} seeds"
    yield (
        f"| {work} | bfloat16 | {statistics.mean(times):.2f} s | 0.3 s at 99 % | | | | | {graphs(run)} | {before:.1f} |"
    )

    epochs = 2 if options.quick else 8
    total = 0.0
    for name in STUDY_D:
        network = getattr(eb.networks, name)()
        run, seconds, before = trained(network, data, epochs=epochs, evaluate_every="epoch", precision="bfloat16")
        total += seconds * 8 / epochs
        work = f"{name}, 8 epochs: {100 * run.final_accuracy:.2f} %{f', 4 times {epochs}' if options.quick else ''}"
        yield f"| {work} | bfloat16 | {seconds * 8 / epochs:.1f} s | | | | | | {graphs(run)} | {before:.1f} |"
    yield f"| the five together | bfloat16 | {total:.1f} s | 60 s | | | | | | |"

    one, many = packed(data, 1, epochs), packed(data, REPLICAS, epochs)
    work = f"{REPLICAS} LeNet-5 in one process, {epochs} epochs: {many / one:.1f} times as long as one ({one:.1f} s)"
    yield f"| {work} | float32 | {many:.1f} s | 4 times | | | | | | |"


def packed(data: eb.Dataset, replicas: int, epochs: int) -> float:
    """Seconds of a whole sweep, setting up and storing included, of so many trials that all train at a time."""
    settings: dict[str, Any] = {"network": "lenet5", "epochs": epochs, "evaluate_every": "epoch"}
    store: dict[str, Any] = {"store": f"memory://packed/{replicas}", "keep_models": False, "progress": False}
    start = time.perf_counter()
    sweep = eb.sweep(
        {"lr": [1e-3]},
        data,
        seeds=replicas,
        backend=eb.sweeps.packed(workers=replicas),
        device="cuda",
        **settings,
        **store,
    )
    seconds = time.perf_counter() - start
    assert len(sweep.runs) == replicas, sweep.tracebacks()
    return seconds


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="alternating measurements of each side")
    parser.add_argument("--seeds", type=int, default=30, help="runs to 99 %%")
    parser.add_argument("--without-compiled", action="store_true", help="no peers of torch.compile")
    parser.add_argument("--quick", action="store_true", help="shorter runs, scaled up")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("cuda.py: torch finds no NVIDIA GPU on this machine, so there is nothing to measure.")
        return 0
    options.kinds = ("plain",) if options.without_compiled else ("plain", "compiled")
    if options.quick:
        options.rounds, options.seeds = min(options.rounds, 3), min(options.seeds, 5)
    start = time.perf_counter()
    data = eb.datasets.default()
    report = Report(__file__)
    report.add(
        f"{datetime.now(UTC):%Y-%m-%d}, {torch.cuda.get_device_name(0)}; torch {torch.__version__}, CUDA "
        f"{torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}, Python {platform.python_version()}, everybatch "
        f"{eb.__version__}; {data.name}; medians of {options.rounds} rounds.",
        "",
        HEAD,
        RULE,
    )
    trained(eb.networks.lenet5(), data, steps=40)  # CUDA sets itself up
    for line in rows(data, options):
        report.add(line)
        if time.perf_counter() - start > LIMIT:
            report.add(f"| the rest was left out after {LIMIT} s | | | | | | | | | |")
            break
    if options.write:
        report.write()
    return 0


if __name__ == "__main__":
    sys.exit(main())
