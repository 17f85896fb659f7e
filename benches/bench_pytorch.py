"""Step plus full test pass, against a plain PyTorch loop: the same network, batches and test set.

Both sides run in this process, alternating, on the same data held in memory; what is reported is the median over
rounds of their ratio. The peer is what one would write by hand: eager, float32, NCHW, the test set in batches of 1000.

    python benches/bench_pytorch.py --rounds 5 --steps 3

prints a table in Markdown, which benches/README.md keeps with hardware and versions.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

import everybatch as eb


def module(layers: list[dict]) -> nn.Sequential:
    """The layer tree as a plain PyTorch module."""
    return nn.Sequential(*(layer(spec) for spec in layers))


class Residual(nn.Module):
    """activation(body(x) + shortcut(x))."""

    def __init__(self, spec: dict) -> None:
        super().__init__()
        self.body, self.shortcut = module(spec["body"]), module(spec["shortcut"])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


def layer(spec: dict) -> nn.Module:
    """One layer of the tree."""
    options = {name: value for name, value in spec.items() if name != "type"}
    match spec["type"]:
        case "Activation":
            assert options == {"function": "relu"}
            return nn.ReLU()
        case "GlobalMaxPool":
            return nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten())
        case "Residual":
            assert options["activation"] == {"function": "relu"}
            return Residual(spec)
        case kind:
            return getattr(nn, kind)(**options)


class Plain:
    """A plain PyTorch training loop that measures the whole test set after every step."""

    def __init__(self, network: eb.Network, data: eb.Dataset, batch_size: int) -> None:
        self.net = module(json.loads(network.to_json())["layers"])
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=1e-3)
        normalised = [
            ((torch.from_numpy(images.copy()).float() / 255 - data.mean[0]) / data.std[0])[:, None]
            for images in (data.train_images, data.test_images)
        ]
        self.train_images, self.test_images = normalised
        self.train_labels = torch.from_numpy(data.train_labels.copy())
        self.test_labels = torch.from_numpy(data.test_labels.copy())
        self.batch_size = batch_size
        self.classes = data.num_classes

    def run(self, steps: int) -> None:
        """Take so many steps, with a test pass after each and one before the first."""
        loss_of = nn.CrossEntropyLoss()
        self.measure()
        for step in range(steps):
            batch = slice(step * self.batch_size, (step + 1) * self.batch_size)
            self.net.train()
            self.optimizer.zero_grad()
            loss = loss_of(self.net(self.train_images[batch]), self.train_labels[batch])
            loss.backward()
            self.optimizer.step()
            self.measure()

    @torch.no_grad()
    def measure(self) -> None:
        """Mean loss and accuracy of each class over the test set."""
        self.net.eval()
        loss = 0.0
        right = torch.zeros(self.classes)
        for images, labels in zip(self.test_images.split(1000), self.test_labels.split(1000), strict=True):
            logits = self.net(images)
            loss += nn.functional.cross_entropy(logits, labels, reduction="sum").item()
            right += torch.bincount(labels[logits.argmax(1) == labels], minlength=self.classes)


def ours(network: eb.Network, data: eb.Dataset, batch_size: int, precision: str) -> Callable[[int], None]:
    """The same work by everybatch."""

    def run(steps: int) -> None:
        few = eb.Dataset(
            data.train_images[: steps * batch_size],
            data.train_labels[: steps * batch_size],
            data.test_images,
            data.test_labels,
            mean=data.mean,
            std=data.std,
        )
        eb.train(network, few, batch_size=batch_size, shuffle=False, progress=False, precision=precision)

    return run


def seconds(work: Callable[[int], None], steps: int) -> float:
    start = time.perf_counter()
    work(steps)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="alternating measurements of each side")
    parser.add_argument("--steps", type=int, default=3, help="optimizer steps a measurement")
    options = parser.parse_args()
    data = eb.datasets.default()
    cases = [
        ("reference ResNet", eb.networks.resnet(), 60, options.steps),
        ("LeNet-5", eb.networks.lenet5(), 64, 10 * options.steps),
    ]
    cpu = eb.training.hardware("cpu")
    print(f"{cpu['name']}, {cpu['threads']} threads, torch {torch.__version__}, Python {platform.python_version()}")
    print(f"everybatch {eb.__version__}, {data.name}, {options.rounds} rounds after one to warm up\n")
    print(
        "| network, batch | precision | plain PyTorch, s a step | everybatch, s a step | ratio: median (min to max) |"
    )
    print("|---|---|---|---|---|")
    for name, network, batch_size, steps in cases:
        work = f"{name}, {steps} steps of {batch_size}, {steps + 1} test passes"
        for precision in ("float32", "bfloat16"):
            plain = Plain(network, data, batch_size)
            try:
                fast = ours(network, data, batch_size, precision)
                fast(1)
            except eb.errors.DeviceError as reason:
                print(f"| {work} | {precision} | | | not possible: {reason} |")
                continue
            plain.run(1)
            pairs = [(seconds(plain.run, steps), seconds(fast, steps)) for _ in range(options.rounds)]
            ratios = [theirs / mine for theirs, mine in pairs]
            theirs, mine = (statistics.median(side) for side in zip(*pairs, strict=True))
            print(
                f"| {work} | {precision} | {theirs:.2f} | {mine:.2f} | "
                f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) |",
                flush=True,
            )


if __name__ == "__main__":
    main()
