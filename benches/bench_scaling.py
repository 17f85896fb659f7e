"""What measuring every batch costs as test images, steps and classes grow, and what recording costs.

    python benches/bench_scaling.py
    python benches/bench_scaling.py --write        # and puts the tables into benches/README.md

LeNet-5, batches of 64, the test set measured after every batch. Each size is measured several times in turn with the
others; medians are printed, and the seconds for each image, step or class, which stay the same if the cost is linear.
Last comes what a run needs beside its steps and its measurements: what the clock says and neither of its two curves of
seconds has.
"""

from __future__ import annotations

import statistics
import time

import numpy as np

import everybatch as eb
from report import Report, arguments

IMAGES = (2_500, 5_000, 10_000)
STEPS = (20, 40, 80)
CLASSES = (10, 50, 250)


def dataset(classes: int, test_images: int) -> eb.Dataset:
    """The built-in digits, whose labels are spread over so many classes."""
    digits = eb.datasets.glyphs(train=6_000, test=test_images)

    def spread(labels: np.ndarray) -> np.ndarray:
        return labels + 10 * (np.arange(len(labels)) % (classes // 10))

    return eb.Dataset(
        digits.train_images,
        spread(digits.train_labels),
        digits.test_images,
        spread(digits.test_labels),
        classes=[str(number) for number in range(classes)],
        name=digits.name,
    )


def run(data: eb.Dataset, steps: int, classes: int, **arguments: object) -> tuple[eb.Run, float]:
    """A run, and its seconds by the clock."""
    network = eb.networks.lenet5(num_classes=classes)
    start = time.perf_counter()
    made = eb.train(network, data, steps=steps, batch_size=64, device="cpu", progress=False, **arguments)  # type: ignore[arg-type]
    return made, time.perf_counter() - start


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    rounds: int = options.rounds
    sets = {count: dataset(10, count) for count in IMAGES}
    report = Report(__file__)
    report.head(sets[IMAGES[2]], f"LeNet-5, batch 64, medians of {rounds} rounds")

    def table(title: str, unit: str, sizes: tuple[int, ...], seconds: dict[int, list[float]]) -> None:
        medians = [statistics.median(seconds[size]) for size in sizes]
        each = [1e6 * median / size for median, size in zip(medians, sizes, strict=True)]
        report.add(
            f"| {title} | " + " | ".join(f"{size:,}" for size in sizes) + " |",
            "|---|" + "---:|" * len(sizes),
            "| ms | " + " | ".join(f"{1e3 * value:,.2f}" for value in medians) + " |",
            f"| µs for each {unit} | " + " | ".join(f"{value:,.2f}" for value in each) + " |",
            "",
        )

    seconds: dict[int, list[float]] = {size: [] for size in IMAGES}
    for _ in range(rounds):
        for count in IMAGES:
            seconds[count].append(float(np.median(run(sets[count], 20, 10)[0].eval_seconds[1:])))
    table("a measurement, by test images", "image", IMAGES, seconds)

    seconds = {size: [] for size in STEPS}
    for _ in range(rounds):
        for steps in STEPS:
            seconds[steps].append(float(run(sets[IMAGES[0]], steps, 10)[0].seconds.sum()))
    table("a run, by steps", "step", STEPS, seconds)

    seconds = {size: [] for size in CLASSES}
    spread = {classes: dataset(classes, IMAGES[1]) for classes in CLASSES}
    for _ in range(rounds):
        for classes in CLASSES:
            seconds[classes].append(float(np.median(run(spread[classes], 20, classes)[0].eval_seconds[1:])))
    table("a measurement, by classes", "class", CLASSES, seconds)

    shares = []
    for _ in range(rounds):
        short, short_clock = run(sets[IMAGES[2]], 20, 10)
        long, long_clock = run(sets[IMAGES[2]], 60, 10)
        beside = (long_clock - long.seconds.sum()) - (short_clock - short.seconds.sum())  # the set-up drops out
        shares.append(beside / (long.seconds.sum() - short.seconds.sum()))
    report.add(f"Beside steps and measurements: {100 * statistics.median(shares):.2f} % (of 40 steps; median).")
    if options.write:
        report.write()


if __name__ == "__main__":
    main()
