"""Which batch did it? Twenty batches of an epoch are poisoned, and the ledger is asked for them.

LeNet-5 on MNIST, one epoch of 937 batches of 64, measured on 2,000 test images after each. From step 200 on, twenty
batches are poisoned in one of four ways:

* labels: every image has the label of another class; the loss of the batch itself shows that,
* one class: all images are of one class, with the right label. With batch norm, whose statistics are then those of one
  class, the batch's own loss shows that; without (--no-batch-norm) it is that of any batch,
* turned: the images stand on their heads, with the right label,
* scale: all images of the data set, the test images too, have a quarter of MNIST's brightness, but those of the twenty
  batches, as if a part of the files had been written with another scale. In training, batch norm divides that away, so
  that the batch's own loss shows nothing; the running statistics, with which images are tested, take it in.

The table says how many of the twenty are among the twenty worst steps from 200 on: by the measured effect against a
null step (`eb.insight.batches`), by the plain change of the test loss, and by the batch's own training loss before it.

    EVERYBATCH_DATA=folder/of/mnist python benches/bench_insight_batches.py [--seeds 1 2] [--optimizers adam sgd]
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

import everybatch as eb
from everybatch import _core

POISONED, FIRST, BATCH = 20, 200, 64
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "adam": {"optimizer": "adam", "lr": 1e-3},
    "momentum": {"optimizer": "sgd", "lr": 0.01, "momentum": 0.9},
    "sgd": {"optimizer": "sgd", "lr": 0.05},
}
POISONS = ("labels", "one class", "turned", "scale")


def poisoned(data: eb.Dataset, poison: str, seed: int) -> tuple[eb.Dataset, np.ndarray]:
    """Return the data set with twenty batches of the first epoch poisoned, and the numbers of their steps."""
    draw = np.random.default_rng(seed)
    count = len(data.train_labels)
    steps = np.sort(draw.choice(np.arange(FIRST, count // BATCH), POISONED, replace=False))
    images, labels, test_images = data.train_images.copy(), data.train_labels.copy(), data.test_images
    if poison == "scale":
        images, test_images = images // 4, test_images // 4
    for step in steps:
        batch = _core.batch_indices(count, BATCH, seed, True, int(step))
        if poison == "labels":
            labels[batch] = (labels[batch] + draw.integers(1, 10, len(batch))) % 10
        elif poison == "one class":
            others = draw.choice(np.flatnonzero(data.train_labels == draw.integers(10)), len(batch))
            images[batch], labels[batch] = data.train_images[others], data.train_labels[others]
        elif poison == "scale":
            images[batch] = data.train_images[batch]
        else:
            images[batch] = images[batch][:, ::-1, ::-1]
    return eb.Dataset(images, labels, test_images, data.test_labels, classes=data.classes), steps


def found(values: np.ndarray, steps: np.ndarray, poison: np.ndarray) -> int:
    """Return how many of the poisoned steps are among the twenty with the highest values, of those from 200 on."""
    late = steps >= FIRST
    worst = steps[late][np.argsort(-values[late], kind="stable")[:POISONED]]
    return int(np.isin(poison, worst).sum())


def main() -> None:
    """Train, ask, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--optimizers", nargs="+", default=list(OPTIMIZERS), choices=list(OPTIMIZERS))
    parser.add_argument("--poisons", nargs="+", default=list(POISONS), choices=POISONS)
    parser.add_argument("--no-batch-norm", action="store_true")
    parser.add_argument("--images", type=int, default=2000, help="test images that are measured")
    args = parser.parse_args()
    data = eb.datasets.mnist()
    print("poison      optimizer  seed  effect  change  own loss   training  effects")
    for poison in args.poisons:
        for name in args.optimizers:
            for seed in args.seeds:
                changed, steps = poisoned(data, poison, seed)
                start = time.perf_counter()
                run = eb.train(
                    eb.networks.lenet5(batch_norm=not args.no_batch_norm),
                    changed,
                    batch_size=BATCH,
                    steps=len(data.train_labels) // BATCH,
                    evaluate_on=args.images,
                    record=("predictions", "weights"),
                    seed=seed,
                    progress=False,
                    **OPTIMIZERS[name],
                )
                trained = time.perf_counter() - start
                ledger = eb.insight.batches(run, effects="every", dataset=changed)
                taken = time.perf_counter() - start - trained
                assert ledger.effects is not None
                by = (ledger.effects.loss, ledger.loss_change, run.train_loss.astype(float))
                counts = [found(values, ledger.step, steps) for values in by]
                print(
                    f"{poison:<10}  {name:<9}  {seed:>4}  {counts[0]:>6}  {counts[1]:>6}  {counts[2]:>8}   "
                    f"{trained:>6.0f} s  {taken:>5.0f} s",
                    flush=True,
                )


if __name__ == "__main__":
    main()
