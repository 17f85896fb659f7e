"""99 % on MNIST after one epoch: everybatch against the same recipe in PyTorch.

    python benches/bench_recipe.py                 # ten seeds, some three minutes
    python benches/bench_recipe.py --seeds 1
    python benches/bench_recipe.py --write         # and puts the table into benches/README.md

The recipe follows tuomaso/train_mnist_fast: Adam with quick averages, a one-cycle learning rate, batches of 256, no
augmentation. Seconds are those of the training steps: loading, normalising and evaluation are left out.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Sequence

import torch
from torch.nn import functional as F  # noqa: N812

import everybatch as eb
from everybatch.layers import Activation, BatchNorm2d, Conv2d, Flatten, Linear, MaxPool2d
from report import Report, arguments

BATCH_SIZE, LR, BETAS = 256, 0.02, (0.7, 0.9)
GOAL = 0.99  # of the test images
TARGET = 1.5
LAYOUTS = {"NCHW": torch.contiguous_format, "channels-last": torch.channels_last}
PRECISIONS = ("float32", "bfloat16")
REHEARSAL = 20  # steps

Result = tuple[float, float]
"""Seconds of the training steps, and test accuracy after the last one."""


def network() -> eb.Network:
    """29,434 parameters. The published network takes plain PyTorch 1.5 times as long, and is no more accurate."""

    def convolution(channels: int, filters: int, size: int, stride: int = 1) -> list[eb.Layer]:
        return [
            Conv2d(channels, filters, size, stride=stride, bias=False),
            BatchNorm2d(filters),
            Activation("relu"),
        ]

    first = convolution(1, 16, 5, stride=2) + convolution(16, 32, 3) + [MaxPool2d(2)]
    return eb.Network([*first, *convolution(32, 64, 3), Flatten(), Linear(576, 10)], name="recipe")


class Ours:
    """The recipe in everybatch."""

    def __init__(self, data: eb.Dataset, precision: str) -> None:
        self.data, self.precision = data, precision
        self.name = f"everybatch, {precision}"
        self.train(0, REHEARSAL)

    def train(self, seed: int, steps: int | None = None) -> Result:
        """One epoch, unless ``steps`` says otherwise."""
        run = eb.train(
            network(),
            self.data,
            steps=steps,
            batch_size=BATCH_SIZE,
            lr=LR,
            betas=BETAS,
            schedule=eb.schedules.one_cycle(cycle_momentum=False),
            evaluate_every="epoch",
            seed=seed,
            device="cpu",
            precision=self.precision,
            kernels="fused",
            progress=False,
        )
        return float(run.train_seconds.sum()), float(run.test_accuracy[-1])


class Peer:
    """The recipe in PyTorch, written for speed: images in memory, fused Adam, maps in the layout that is faster here.

    It begins with the weights that everybatch begins with, and has its own batch order. In bfloat16 it is trained with
    autocast, and measured in float32.
    """

    def __init__(self, data: eb.Dataset, precision: str) -> None:
        self.precision = precision
        self.images, self.test_images = (
            ((torch.tensor(images).float() / 255 - data.mean[0]) / data.std[0])[:, None]
            for images in (data.train_images, data.test_images)
        )
        self.labels, self.test_labels = torch.tensor(data.train_labels), torch.tensor(data.test_labels)
        seconds: dict[str, list[float]] = {layout: [] for layout in LAYOUTS}
        for _ in range(4):  # the first of them warms up
            for self.layout in LAYOUTS:
                seconds[self.layout].append(self.train(0, REHEARSAL)[0])
        self.layout = min(LAYOUTS, key=lambda layout: statistics.median(seconds[layout][1:]))
        self.name = f"PyTorch, {precision}, {self.layout}"

    def train(self, seed: int, steps: int | None = None) -> Result:
        """As `Ours.train`."""
        memory_format = LAYOUTS[self.layout]
        net = eb.export.torch_module(network().initialize(seed)).train().to(memory_format=memory_format)
        optimizer = torch.optim.Adam(net.parameters(), lr=LR, betas=BETAS, fused=True)
        order = torch.randperm(len(self.labels), generator=torch.Generator().manual_seed(seed))
        batches = order.split(BATCH_SIZE)[:steps]
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, max_lr=LR, total_steps=len(batches), cycle_momentum=False
        )
        start = time.perf_counter()
        for batch in batches:
            images = self.images[batch].contiguous(memory_format=memory_format)
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bfloat16"):
                loss = F.cross_entropy(net(images), self.labels[batch])
            loss.backward()
            optimizer.step()
            schedule.step()
        seconds = time.perf_counter() - start
        net.eval()
        with torch.no_grad():
            predicted = torch.cat([net(images).argmax(1) for images in self.test_images.split(1000)])
        return seconds, (predicted == self.test_labels).sum().item() / len(predicted)


def ratio(theirs: Sequence[Result], own: Sequence[Result]) -> str:
    """Seconds of one side by those of the other, seed by seed."""
    ratios = [their[0] / mine[0] for their, mine in zip(theirs, own, strict=True)]
    return f"**{statistics.median(ratios):.2f}** ({min(ratios):.2f} to {max(ratios):.2f})"


def figures(results: Sequence[Result]) -> str:
    """Three columns of the table."""
    seconds, accuracies = zip(*results, strict=True)
    spread = statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0
    reached = sum(round(accuracy, 6) >= GOAL for accuracy in accuracies)  # the run's accuracies are float32
    return (
        f"{statistics.median(seconds):.2f} | {100 * statistics.mean(accuracies):.2f} ± {100 * spread:.2f} | "
        f"{reached} of {len(results)}"
    )


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--seeds", type=int, default=10, help="runs of each side, in turn")
    options = parser.parse_args()
    data = eb.datasets.default()
    report = Report(__file__)
    report.head(data, f"seeds from 0, {options.seeds} in all, after a rehearsal; target {TARGET:g}")
    peers, ours = [], []
    for precision in PRECISIONS:
        try:
            ours.append(Ours(data, precision))
        except eb.errors.DeviceError as reason:
            report.add(f"Not possible here: {reason}", "")
        else:
            peers.append(Peer(data, precision))
    results: dict[Ours | Peer, list[Result]] = {side: [] for side in (*peers, *ours)}
    for seed in range(options.seeds):
        sides = list(results)
        for side in sides if seed % 2 else reversed(sides):
            results[side].append(side.train(seed))
    report.add(
        "| side | seconds | test accuracy, % | seeds at 99 % | "
        + " | ".join(f"PyTorch, {peer.precision} / this side: median (min to max)" for peer in peers)
        + " |",
        "|---|---:|---:|---:|" + "---|" * len(peers),
    )
    for side, found in results.items():
        ratios = [ratio(results[peer], found) if side in ours else "" for peer in peers]
        report.add(f"| {side.name} | {figures(found)} | " + " | ".join(ratios) + " |")
    if options.write:
        report.write()


if __name__ == "__main__":
    sys.exit(main())
