"""What each of seven ideas brings to the recipe that notebooks/best_accuracy.ipynb began with, over three seeds.

    python benches/accuracy.py --store runs/ideas             # 24 runs of 18 epochs; run again, it goes on

One idea at a time, over three seeds, could not tell four errors of 10,000 from chance. So the ideas are combined, each
in half of eight configurations and every two of them in a quarter: a fractional factorial design (2^(7-4); Box, Hunter
and Hunter, Statistics for Experimenters, chapter 6). An idea's effect is then the mean of twelve runs with it less
that of twelve without it. Such a mean holds half of what two other ideas do to one another, which is taken to be small.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

import everybatch as eb

if TYPE_CHECKING:
    import pandas as pd

IDEAS = {
    "excite": "squeeze-and-excitation after the second and third stage",
    "depth": "second convolution of a stage residual, with stochastic depth 0.1",
    "average": "weights averaged over 2,000 steps instead of 500",
    "falling": "distortion falls to a quarter from 30 % of the run on",
    "sharpen": "label smoothing falls to 0 over the last 30 %",
    "strong": "distortion by 1.2 to 1.5 times as much",
    "head": "linear layer on the 7x7 positions instead of their maximum",
}
AUGMENT: dict[str, Any] = {"shift": 2.5, "rotate": 12, "scale": 0.12, "shear": 8, "elastic": 0.6}
STRONGER: dict[str, Any] = {"shift": 3, "rotate": 15, "scale": 0.15, "shear": 10, "elastic": 0.9}
STAGES = ((32,), (64, 64), (128, 128))
SEEDS = (0, 1, 2)
RECIPE: dict[str, Any] = {
    "epochs": 18,
    "batch_size": 128,
    "optimizer": "adamw",
    "lr": 3e-3,
    "weight_decay": 0.02,
    "schedule": eb.schedules.one_cycle(pct_start=0.2),
    "label_smoothing": 0.05,
    "validation": 5000,
    "evaluate_every": 1290,  # three epochs
    "record": ["predictions"],
    "precision": "bfloat16",
}


def network(*, excite: bool, depth: bool, head: bool, stages: Sequence[Sequence[int]] = STAGES) -> eb.Network:
    """The network of the recipe as it was, and three ideas for it; `stages` are channels, a pooling between any two."""
    layers: list[Any] = []
    channels = 1
    for stage in stages:
        if layers:
            layers.append(eb.MaxPool2d(2))
        for width in stage:
            body = [eb.Conv2d(channels, width, 3, padding=1, bias=False), eb.BatchNorm2d(width)]
            if depth and channels == width:
                layers.append(eb.Residual([*body, eb.StochasticDepth(0.1)], activation="relu"))
            else:
                layers += [*body, eb.Activation("relu")]
            channels = width
        if excite and len(stage) > 1:
            layers.append(eb.SqueezeExcitation(width, 8))
    pool, features = (eb.Flatten(), 49 * channels) if head else (eb.GlobalMaxPool(), channels)
    layers += [pool, eb.Dropout(0.2), eb.Linear(features, 10)]
    return eb.Network(layers, name="small")


def design() -> Iterator[tuple[int, ...]]:
    """Which ideas each configuration has, in the order of IDEAS; the recipe as it is comes last."""
    for a, b, c in itertools.product((1, 0), repeat=3):
        yield (a, b, c, a ^ b, a ^ c, b ^ c, a ^ b ^ c)


def config(row: tuple[int, ...]) -> dict[str, Any]:
    has = dict(zip(IDEAS, map(bool, row), strict=True))
    made = {
        "label": "".join(map(str, row)),
        "network": network(excite=has["excite"], depth=has["depth"], head=has["head"]),
        "ema": 0.9995 if has["average"] else 0.998,
        "augment": eb.Augment(**(STRONGER if has["strong"] else AUGMENT)),
    }
    if has["falling"]:
        made["augment_schedule"] = eb.schedules.linear(0.25, begin=0.3)
    if has["sharpen"]:
        made["label_smoothing_schedule"] = eb.schedules.linear(begin=0.7)
    return made


def effects(wrong: np.ndarray, rows: np.ndarray) -> Iterator[tuple[float, float]]:
    """Each column's effect and its standard error, from ``wrong`` (configurations, seeds) and 0 and 1 (..., ideas).

    The error is what differs between seeds, so that one seed alone has none: NaN.
    """
    configurations, seeds = wrong.shape
    rest = wrong - wrong.mean(axis=0) - wrong.mean(axis=1, keepdims=True) + wrong.mean()
    freedom = (configurations - 1) * (seeds - 1)
    deviation = np.sqrt((rest**2).sum() / freedom) if freedom else np.nan
    for column in rows.T.astype(bool):
        error = deviation * np.sqrt(1 / (column.sum() * seeds) + 1 / ((~column).sum() * seeds))
        yield float(wrong[column].mean() - wrong[~column].mean()), float(error)


def report(table: pd.DataFrame) -> None:
    """Print every run's errors, and the ideas' effects over the seeds."""
    wrong = {}
    for part, images in (("test", 10_000), ("validation", RECIPE["validation"])):
        counts = (1 - table[f"final_{part}_accuracy"]) * images
        wrong[part] = table.assign(wrong=counts).pivot_table("wrong", index="label", columns="seed")
    print("| ideas | test errors of each seed | of the held out images |\n|---|---|---|")
    for label in wrong["test"].index:
        print(f"| {label} |", " | ".join(", ".join(f"{n:.0f}" for n in wrong[part].loc[label]) for part in wrong), "|")
    rows = np.array([list(map(int, label)) for label in wrong["test"].index])
    both = {part: list(effects(wrong[part].to_numpy(), rows)) for part in wrong}
    print(f"\n| idea, effect over {table['seed'].nunique()} seeds | test errors | held out |\n|---|---:|---:|")
    for index, idea in enumerate(IDEAS.values()):
        print(f"| {idea} |", " | ".join(_said(*both[part][index]) for part in wrong), "|")


def _said(effect: float, error: float) -> str:
    return f"{effect:+.1f}" if np.isnan(error) else f"{effect:+.1f} ± {error:.1f}"


def main() -> int:
    import pandas as pd  # not at the top: what imports this file may have none

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2, help="of each run; the last digits depend on it")
    parser.add_argument("--workers", type=int, default=1, help="runs side by side")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    data = eb.datasets.mnist()
    tables: list[pd.DataFrame] = []
    for seed in options.seeds:  # so that what is cut off loses one seed of all, and not all seeds of one
        sweep = eb.sweep(
            [config(row) for row in design()],
            data,
            seeds=[seed],
            store=options.store,
            backend=eb.sweeps.processes(workers=options.workers),
            threads=options.threads,
            device=options.device,
            **RECIPE,
        )
        tables.append(sweep.table())
        report(pd.concat(tables))
    return 0


if __name__ == "__main__":
    sys.exit(main())
