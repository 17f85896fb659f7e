"""Variations of a recipe for half an hour on two cores, but one that takes two hours.

One of them, `twice_to_half`, became that of notebooks/best_accuracy.ipynb, with 26 epochs there.

    python benches/half_hour.py --store runs/half_hour --only stronger --seeds 0       # run again, it goes on

Prints the errors of the 10,000 test images and of the 5,000 held out ones halfway, after three quarters and at the end.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from typing import Any

import accuracy
import everybatch as eb

RECIPE: dict[str, Any] = {**accuracy.RECIPE, "ema": 0.9995, "evaluate_every": "epoch"}
Stages = tuple[tuple[int, ...], ...]
ONCE: Stages = ((48,), (96, 96), (192, 192))
TWICE: Stages = ((48, 48), *ONCE[1:])
HOMOGENEOUS: Stages = ((64, 64), (64, 64, 64), (64, 64, 64))


def variation(
    *, stages: Stages = ONCE, epochs: int = 32, distortion: dict[str, Any], falls_to: float
) -> dict[str, Any]:
    return {
        "network": accuracy.network(excite=False, depth=False, head=True, stages=stages),
        "epochs": epochs,
        "augment": eb.Augment(**distortion),
        "augment_schedule": eb.schedules.linear(falls_to, begin=0.3),
    }


VARIATIONS: dict[str, dict[str, Any]] = {
    "recipe": variation(distortion=accuracy.AUGMENT, falls_to=0.25),
    "stronger": variation(distortion=accuracy.STRONGER, falls_to=0.5),
    "twice": variation(stages=TWICE, epochs=26, distortion=accuracy.AUGMENT, falls_to=0.25),
    "twice_to_half": variation(stages=TWICE, epochs=30, distortion=accuracy.AUGMENT, falls_to=0.5),
    "homogeneous": variation(stages=HOMOGENEOUS, epochs=30, distortion=accuracy.AUGMENT, falls_to=0.5),
    "two_hours": variation(stages=TWICE, epochs=120, distortion=accuracy.STRONGER, falls_to=0.5),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", required=True)
    parser.add_argument("--only", nargs="+", choices=VARIATIONS, default=list(VARIATIONS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2, help="of each run; the last digits depend on it")
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
    return 0


if __name__ == "__main__":
    sys.exit(main())
