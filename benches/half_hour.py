"""Variations of a recipe for half an hour on two cores, but one that takes two hours.

One of them, `twice_to_half`, became that of notebooks/best_accuracy.ipynb, with 26 epochs there.

    python benches/half_hour.py --store runs/half_hour --only stronger --seeds 0       # run again, it goes on
    python benches/half_hour.py --store runs/half_hour --only twice_to_half kernels_3 kernels_5 kernels_7 --ensemble

Prints the errors of the 10,000 test images and of the 5,000 held out ones halfway, after three quarters and at the end.
The networks of `kernels_3`, `kernels_5` and `kernels_7` are those that An et al. 2020 (arXiv:2008.10400) put together,
with this recipe instead of their own: kernels of one size, no padding and no pooling.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

import accuracy
import everybatch as eb

RECIPE: dict[str, Any] = {**accuracy.RECIPE, "ema": 0.9995, "evaluate_every": "epoch"}
Stages = tuple[tuple[int, ...], ...]
ONCE: Stages = ((48,), (96, 96), (192, 192))
TWICE: Stages = ((48, 48), *ONCE[1:])
HOMOGENEOUS: Stages = ((64, 64), (64, 64, 64), (64, 64, 64))
UNPADDED = {3: range(32, 177, 16), 5: range(32, 161, 32), 7: range(48, 193, 48)}
"""Channels of one convolution after the other, by the size of their kernels."""


def small(stages: Stages) -> eb.Network:
    return accuracy.network(excite=False, depth=False, head=True, stages=stages)


def unpadded(kernel: int) -> eb.Network:
    layers: list[Any] = []
    channels = 1
    for width in UNPADDED[kernel]:
        layers += [eb.Conv2d(channels, width, kernel, bias=False), eb.BatchNorm2d(width), eb.Activation("relu")]
        channels = width
    size = 28 - (kernel - 1) * len(UNPADDED[kernel])
    layers += [eb.Flatten(), eb.Linear(channels * size**2, 10, bias=False), eb.BatchNorm1d(10)]
    return eb.Network(layers, name=f"kernels_{kernel}")


def variation(
    network: eb.Network, *, epochs: int = 32, distortion: dict[str, Any] = accuracy.AUGMENT, falls_to: float
) -> dict[str, Any]:
    return {
        "network": network,
        "epochs": epochs,
        "augment": eb.Augment(**distortion),
        "augment_schedule": eb.schedules.linear(falls_to, begin=0.3),
    }


VARIATIONS: dict[str, dict[str, Any]] = {
    "recipe": variation(small(ONCE), falls_to=0.25),
    "stronger": variation(small(ONCE), distortion=accuracy.STRONGER, falls_to=0.5),
    "twice": variation(small(TWICE), epochs=26, falls_to=0.25),
    "twice_to_half": variation(small(TWICE), epochs=30, falls_to=0.5),
    "homogeneous": variation(small(HOMOGENEOUS), epochs=30, falls_to=0.5),
    "two_hours": variation(small(TWICE), epochs=120, distortion=accuracy.STRONGER, falls_to=0.5),
    **{f"kernels_{size}": variation(unpadded(size), epochs=26, falls_to=0.5) for size in UNPADDED},
}


def shifted(images: np.ndarray) -> Iterator[np.ndarray]:
    """Give the images as they are, and by a pixel in four directions."""
    yield images
    for axis, by in itertools.product((1, 2), (-1, 1)):
        moved = np.roll(images, by, axis)
        moved[(slice(None),) * axis + (0 if by == 1 else -1,)] = 0
        yield moved


def report_ensemble(runs: Sequence[eb.Run], data: eb.Dataset) -> None:
    """Print the test errors of the mean of the runs' probabilities, in float32."""
    ensemble = eb.sweeps.Ensemble([run.model for run in runs])
    views = [ensemble.predict_proba(images) for images in shifted(data.test_images)]
    plain, both = ((sum(some).argmax(axis=1) != data.test_labels).sum() for some in (views[:1], views))
    print(f"\nThe mean of these {len(runs)}: {plain} test errors, {both} with shifts by a pixel in four directions.")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", required=True)
    parser.add_argument("--only", nargs="+", choices=VARIATIONS, default=list(VARIATIONS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2, help="of each run; the last digits depend on it")
    parser.add_argument("--ensemble", action="store_true", help="measure the mean of all of them, too")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    data = eb.datasets.mnist()
    sweep = eb.sweep(
        [{"label": name, **VARIATIONS[name]} for name in options.only],
        data,
        seeds=options.seeds,
        store=options.store,
        threads=options.threads,
        device=options.device,
        **RECIPE,
    )
    print("| variation | seed | test errors | held out | training errors in the last epoch | seconds |")
    print("|---|---:|---:|---:|---:|---:|")
    for trial in sweep.trials:
        if not trial.has_run:
            continue
        run = trial.run
        epochs = len(run.test_accuracy) - 1
        at = [epochs // 2, epochs * 3 // 4, -1]
        test = ", ".join(f"{10_000 * (1 - run.test_accuracy[epoch]):.0f}" for epoch in at)
        held = ", ".join(f"{RECIPE['validation'] * (1 - run.validation_accuracy[epoch]):.0f}" for epoch in at)
        wrong = 1 - run.train_accuracy[-(run.steps // epochs) :].mean()
        name, seconds = trial.config["label"], run.total_seconds
        print(f"| {name} | {trial.seed} | {test} | {held} | {wrong:.3%} | {seconds:,.0f} |")
    if options.ensemble:
        report_ensemble([trial.run for trial in sweep.trials if trial.has_run], data)
    return 0


if __name__ == "__main__":
    sys.exit(main())
