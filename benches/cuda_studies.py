"""The five studies at their published size on an NVIDIA GPU: every row of RESULTS.md that says so, in some minutes.

    python benches/cuda_studies.py --out studies                  # all parts, in the order of --only
    python benches/cuda_studies.py --out studies --only AB        # some of them
    python benches/cuda_studies.py --out /tmp/x --device cpu --smoke   # does the script run?

Each run's arrays go into --out (one .npz for each, without weights), with a line for each run in table.txt. A part
that fails or is cut off takes nothing along. Parts whose runs train side by side (`eb.sweeps.packed`) say so: the
seconds of such a run are those of all of them together.

    A  reference ResNet, 10 epochs, every batch measured: depths, rates, activations
    B  deep ResNet and its variants, 10 epochs, measured after each
    C  kernel sizes, one epoch, every batch measured, TF32
    D  four large networks, 8 epochs, measured after each
    E  checkpoint network at three rates, 20 epochs, measured after each
    F  D at half the rate
    G  A with two more seeds, measured every 20 batches
    H, I, K  B, E and D with two more seeds
    L  C in strict float32
    M  accuracy.py: the recipe that notebooks/best_accuracy.ipynb began with and seven ideas, three seeds

Part A took 213 s on an H100; the others have not been run there yet. M trains 24 networks, eight side by side.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import accuracy
import everybatch as eb

Configs = dict[str, dict[str, Any]]
"""A run's name, and what it has for itself among the arguments of `everybatch.train`."""

build = eb.networks
RESNET: dict[str, Any] = {"batch_size": 60, "optimizer": "adam", "precision": "bfloat16"}
EIGHT_STAGES = (64, 64, 64, 128, 128, 256, 256, 256)
STUDY_A: Configs = {
    "depth_3": {"network": build.resnet(), "lr": 0.001},
    "lr_0.003": {"network": build.resnet(), "lr": 0.003},
    "lr_0.01": {"network": build.resnet(), "lr": 0.01},
    "softplus_relu": {"network": build.resnet(activation=("softplus", "relu")), "lr": 0.001},
    "depth_4": {"network": build.resnet(stages=(64, 64, 128, 256)), "lr": 0.001},
    "depth_8": {"network": build.resnet(stages=EIGHT_STAGES), "lr": 0.001},
}
STUDY_B: Configs = {
    "deep": {"network": build.deep_resnet()},
    "deep_block_norm": {"network": build.deep_resnet(block_norm=True)},
    "deep_7x7": {"network": build.deep_resnet(stem_kernel_size=7)},
    "deep_no_dropout": {"network": build.deep_resnet(dropout=0.0)},
}
STUDY_C: Configs = {f"kernel_{size}x{size}": {"network": build.kernel_net(kernel_size=size)} for size in (3, 5)}
LARGE = (("alexnet", 0.5), ("resnet18", 0.25), ("wide_resnet", 0.25), ("vgg11", 0.5))
STUDY_D: Configs = {
    f"{name}_lr{lr:g}_dropout{dropout:g}": {"network": getattr(build, name)(dropout=dropout), "lr": lr}
    for lr in (1e-3, 5e-4)
    for name, dropout in LARGE
}
STUDY_E: Configs = {f"lr_{lr:g}": {"network": build.convnet(), "lr": lr} for lr in (0.01, 0.001, 0.0005)}


class Studies:
    """What all parts have in common: the data, the device, and where results go."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.data = eb.datasets.glyphs() if options.smoke else eb.datasets.default()
        if options.smoke:
            self.data = self.data.subset(train=320, test=100)
        self.device, self.out, self.smoke = options.device, options.out, options.smoke

    def trains(self, study: str, configs: Configs, *, seeds: list[int], workers: int, **fixed: Any) -> None:
        """Train a study's runs, so many side by side, and keep their arrays."""
        if self.smoke:
            configs = {name: config | {"epochs": 1} for name, config in configs.items()}
            fixed |= {"epochs": 1, "precision": "float32"}
        both = {name: {"lr": 0.001} | fixed | config for name, config in configs.items()}
        names = {_known_by(config["network"], config): name for name, config in both.items()}
        start = time.perf_counter()
        with warnings.catch_warnings(action="ignore"):
            sweep = eb.sweep(
                list(configs.values()),
                self.data,
                seeds=seeds,
                backend=eb.sweeps.packed(workers=workers) if workers > 1 else "serial",
                device=self.device,
                store=self.out / "stores" / study.replace(" ", "_"),
                keep_models=False,
                progress=False,
                **fixed,
            )
        seconds = time.perf_counter() - start
        side = f"{min(workers, len(configs) * len(seeds))} side by side" if workers > 1 else "one after the other"
        self.say(f"{study}: {len(sweep.runs)} runs, {seconds:.1f} s in all, {side}")
        for trial, trace in sweep.tracebacks().items():
            self.say(f"{study}: {trial} FAILED: {trace.strip().splitlines()[-1][:300]}")
        for run in sweep.runs:
            self.keep(study, names[_known_by(run.config["network"], run.config["training"])], run)

    def keep(self, study: str, label: str, run: eb.Run) -> None:
        seed = run.config["training"]["seed"]
        arrays = {
            name: getattr(run, name)
            for name in (
                "train_loss",
                "eval_step",
                "test_loss",
                "test_accuracy",
                "class_accuracy",
                "validation_accuracy",
            )
            if getattr(run, name, None) is not None
        }
        arrays |= {"train_accuracy": run.train_accuracy, "seconds": run.train_seconds, "eval_seconds": run.eval_seconds}
        np.savez_compressed(self.out / f"{study}_{label}_{seed}.npz".replace(" ", "_"), **arrays)
        accuracy = run.test_accuracy[run.eval_step > 0]
        parts = [
            f"{study} | {label} | seed {seed} | {run.steps:,} steps, {len(accuracy):,} measurements",
            f"final {run.final_accuracy:.4f} | best {run.best_accuracy:.4f} after {run.best_step}",
            f"mean of last 10 {accuracy[-10:].mean():.4f} | training, last 500 {run.train_accuracy[-500:].mean():.4f}",
            f"{run.total_seconds:.1f} s, {run.eval_seconds.sum():.1f} measuring",
            "graphs" if (run.config.get("cuda") or {}).get("graphs") else "no graphs",
        ]
        validation = getattr(run, "validation_accuracy", None)
        if validation is not None and len(validation):
            best = int(np.nanargmax(validation))
            parts.append(f"chosen: validation {validation[best]:.4f}, test {run.test_accuracy[best]:.4f}")
        self.say(" | ".join(parts))

    def say(self, line: str) -> None:
        print(f"| {line}", flush=True)
        with (self.out / "table.txt").open("a", encoding="utf-8") as table:
            print(line, file=table)


def _known_by(network: Any, arguments: dict[str, Any]) -> str:
    """What tells the runs of one study from one another."""
    described = json.loads(network.to_json()) if isinstance(network, eb.Network) else network
    defaults = {"lr": 0.001, "label_smoothing": 0.0, "ema": None, "weight_decay": 0.0, "augment": None}
    some = {name: arguments.get(name, default) for name, default in defaults.items()}
    some |= {name: arguments[name] for name in ("epochs", "batch_size", "optimizer")}
    if isinstance(some["augment"], eb.Augment):
        some["augment"] = some["augment"].to_dict()
    return json.dumps([described, some], sort_keys=True)


def study_a(studies: Studies, seeds: list[int], every: int, workers: int) -> None:
    for name, config in STUDY_A.items() if workers == 1 else [("", {})]:
        configs = {name: config} if name else STUDY_A
        studies.trains(f"A{every}", configs, seeds=seeds, workers=workers, epochs=10, evaluate_every=every, **RESNET)


def study_b(studies: Studies, seeds: list[int]) -> None:
    steps = 10 * -(-len(studies.data.train_labels) // 64)
    schedule = eb.schedules.multistep([steps // 3], gamma=0.05)
    fixed: dict[str, Any] = {"batch_size": 64, "optimizer": "adam", "lr": 0.02, "precision": "bfloat16"}
    fixed |= {"schedule": schedule, "epochs": 10, "evaluate_every": "epoch"}
    studies.trains("B", STUDY_B, seeds=seeds, workers=4, **fixed)


def study_c(studies: Studies, precision: str) -> None:
    fixed: dict[str, Any] = {"batch_size": 64, "optimizer": "adam", "precision": precision, "epochs": 1}
    studies.trains(f"C_{precision}", STUDY_C, seeds=[0], workers=1, evaluate_every=1, **fixed)


def study_d(studies: Studies, rate: float, seeds: list[int]) -> None:
    fixed: dict[str, Any] = {"batch_size": 64, "optimizer": "adam", "precision": "bfloat16", "epochs": 8}
    some = {name: config for name, config in STUDY_D.items() if config["lr"] == rate}
    studies.trains(f"D{rate:g}", some, seeds=seeds, workers=4, validation=0.1, evaluate_every="epoch", **fixed)


def study_e(studies: Studies, seeds: list[int]) -> None:
    fixed: dict[str, Any] = {"batch_size": 64, "optimizer": "adam", "precision": "bfloat16", "epochs": 20}
    studies.trains("E", STUDY_E, seeds=seeds, workers=6, evaluate_every="epoch", **fixed)


def recipe(studies: Studies, seeds: list[int]) -> None:
    configs = {row["label"]: row for row in map(accuracy.config, accuracy.design())}
    for seed in seeds:  # one after the other, so that what is cut off loses little
        held_out = len(studies.data.train_labels) // 12
        studies.trains("M", configs, seeds=[seed], workers=8, **{**accuracy.RECIPE, "validation": held_out})


PARTS: dict[str, Callable[[Studies], None]] = {
    "A": lambda studies: study_a(studies, [0], every=1, workers=1),
    "B": lambda studies: study_b(studies, [0]),
    "C": lambda studies: study_c(studies, "tf32"),
    "D": lambda studies: study_d(studies, 1e-3, [0]),
    "E": lambda studies: study_e(studies, [0]),
    "F": lambda studies: study_d(studies, 5e-4, [0]),
    "G": lambda studies: study_a(studies, [1, 2], every=20, workers=4),
    "H": lambda studies: study_b(studies, [1, 2]),
    "I": lambda studies: study_e(studies, [1, 2]),
    "K": lambda studies: study_d(studies, 1e-3, [1, 2]),
    "L": lambda studies: study_c(studies, "float32"),
    "M": lambda studies: recipe(studies, [0, 1, 2]),
}


def draw(out: Path, picture: Path) -> None:
    """Lay every measurement of the deepest network of study A beside one an epoch, and one of its batches."""
    import matplotlib.pyplot as plt

    with np.load(out / "A1_depth_8_0.npz") as run:
        steps, accuracy, classes = run["eval_step"], 100 * run["test_accuracy"], 100 * run["class_accuracy"]
    late = np.flatnonzero(steps > steps[-1] // 2)
    fall = late[np.argmin(np.diff(classes, axis=0)[late - 1].min(axis=1))]
    digit = int(np.argmin(classes[fall] - classes[fall - 1]))
    epochs = np.searchsorted(steps, np.linspace(0, steps[-1], 11)[1:])
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.2), layout="constrained", width_ratios=(1.7, 1))
    left.plot(steps, accuracy, linewidth=0.5, color="C0", label=f"after every batch ({steps[-1]:,} measurements)")
    left.plot(steps[epochs], accuracy[epochs], "o", color="C1", label="once an epoch (10 measurements)")
    left.set(ylim=(90, 99.8), xlabel="mini-batches", ylabel="test accuracy, %", title="8 stages, 10 epochs")
    near = slice(fall - 8, fall + 25)
    right.plot(steps[near], np.delete(classes[near], digit, axis=1), color="0.6", linewidth=0.8)
    right.plot([], [], color="0.6", label="the other digits")
    right.plot(steps[near], classes[near, digit], "o-", markersize=4, color="C3", label=f"digit {digit}")
    right.set(xlabel="mini-batches", ylabel="accuracy, %", title="one batch of them")
    for axes in (left, right):
        axes.legend(loc="lower right", frameon=False)
        axes.grid(alpha=0.3)
    figure.savefig(picture, dpi=110)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", default="".join(PARTS))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--smoke", action="store_true", help="tiny data: only shows that the script runs")
    parser.add_argument("--draw", type=Path, help="only draw part A's deepest network from --out into this file")
    options = parser.parse_args()
    if options.draw:
        draw(options.out, options.draw)
        return 0
    options.out.mkdir(parents=True, exist_ok=True)
    studies = Studies(options)
    for part in options.only:
        start = time.perf_counter()
        try:
            PARTS[part](studies)
        except Exception as error:
            traceback.print_exc()
            studies.say(f"{part} FAILED: {type(error).__name__}: {str(error)[:300]}")
        studies.say(f"part {part}: {time.perf_counter() - start:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
