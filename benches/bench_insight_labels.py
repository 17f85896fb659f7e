"""Wrong labels found in recordings of single runs on MNIST: planted ones of training, natural ones of the test set.

Every row is one training with `record=("examples",)`; everything in it is computed from that recording, the peers'
scores too: AUM (Pleiss et al. 2020; of the training steps' own logits, as published, and of the passes), mean loss,
last loss, self-confidence (mean probability of the label), and cleanlab, if it can be imported, on the final
probabilities and on votes. AP is average precision with wrong labels as the positive class, R the share of them found
when as many are flagged as there are. "By known" has probabilities from 300 of the wrong labels that it is told of, as
of planted ones that are like the real errors.

    python benches/bench_insight_labels.py                  # about 7 minutes on 2 idle cores
    python benches/bench_insight_labels.py --only "MLP, symmetric 40 %" --seeds 3
    python benches/bench_insight_labels.py --write          # and puts the tables into benches/README.md
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

import everybatch as eb
from everybatch.insight import _votes
from report import Report, arguments

try:
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores
except ImportError:
    find_label_issues = None

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
UPHELD = (947, 1621, 1901, 2130, 2462, 2597, 2654, 3520, 3558, 5937, 6651, 6783, 8527, 9679, 9729)
"""Test labels of MNIST that reviewers did not uphold (arXiv 2103.14749); of its own top 100 alone were reviewed."""
KNOWN = 300


def symmetric(share: float) -> Callable[[Labels, npt.NDArray[Any], np.random.Generator], Labels]:
    """Noise that gives a share of all images one of the other labels, each as likely."""

    def noisy(labels: Labels, _: npt.NDArray[Any], draw: np.random.Generator) -> Labels:
        made, count = labels.copy(), round(share * len(labels))
        at = draw.choice(len(labels), count, replace=False)
        made[at] = (made[at] + draw.integers(1, 10, count)) % 10
        return made

    return noisy


def pairs(labels: Labels, _: npt.NDArray[Any], draw: np.random.Generator) -> Labels:
    """Noise that gives 40 % of the digits 2, 3, 5, 6 and 7 the labels 7, 8, 6, 5 and 1: 20 % of all."""
    made = labels.copy()
    for true, given in ((2, 7), (3, 8), (5, 6), (6, 5), (7, 1)):
        have = np.flatnonzero(labels == true)
        made[draw.choice(have, round(0.4 * len(have)), replace=False)] = given
    return made


def by_image(labels: Labels, images: npt.NDArray[Any], draw: np.random.Generator) -> Labels:
    """Noise of 5 %, drawn by what a logistic regression after one epoch finds likely: hard images, alike classes."""
    linear = eb.Network([eb.layers.Flatten(), eb.layers.Linear(784, 10)], input_shape=(1, 28, 28))
    data = eb.Dataset(images, labels, images[:1], labels[:1], classes=[str(digit) for digit in range(10)])
    model = eb.train(linear, data, seed=99, evaluate_every="epoch", device="cpu", progress=False).model
    likely = model.predict_proba(images).astype(np.float64)
    every = np.arange(len(labels))
    likely[every, labels] = 0
    odd = likely.sum(axis=1) + 1e-9
    at = draw.choice(len(labels), round(0.05 * len(labels)), replace=False, p=odd / odd.sum())
    reach = np.cumsum(likely[at] / likely[at].sum(axis=1, keepdims=True), axis=1)
    made = labels.copy()
    made[at] = np.minimum((reach < draw.random((len(at), 1))).sum(axis=1), 9)
    return made


@dataclasses.dataclass(frozen=True)
class Row:
    """One kind of noise and of training, and the AP that it is to reach."""

    name: str
    noisy: Callable[[Labels, npt.NDArray[Any], np.random.Generator], Labels]
    bar: float
    memorises: bool = False


ROWS = (
    Row("MLP, symmetric 40 %", symmetric(0.4), 0.98, memorises=True),
    Row("MLP, pair flips 40 %", pairs, 0.85, memorises=True),
    Row("symmetric 20 %", symmetric(0.2), 0.998),
    Row("pair flips 40 %", pairs, 0.95),
    Row("symmetric 1 %", symmetric(0.01), 0.98),
    Row("by image 5 %", by_image, 0.82),
)


def mlp() -> eb.Network:
    """784-256-128-10, which learns 10,000 labels by heart in 25 epochs."""
    layers = eb.layers
    return eb.Network(
        [
            layers.Flatten(),
            layers.Linear(784, 256),
            layers.Activation("relu"),
            layers.Linear(256, 128),
            layers.Activation("relu"),
            layers.Linear(128, 10),
        ],
        input_shape=(1, 28, 28),
        name="MLP",
    )


def trained(data: eb.Dataset, seed: int, *, memorises: bool, **how: Any) -> eb.Run:
    """LeNet-5 for 3 epochs, or an MLP for 25."""
    network, epochs = (mlp(), 25) if memorises else (eb.networks.lenet5(), 3)
    how = {"record": ("examples",), "evaluate_every": 40 if memorises else 100} | how
    how = {"measure_training": 50 if memorises else 20} | how
    return eb.train(network, data, epochs=epochs, seed=seed, device="cpu", progress=False, **how)


def average_precision(score: Floats, wrong: npt.NDArray[np.bool_]) -> float:
    """scikit-learn's average_precision_score."""
    order = np.argsort(-score, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)
    found = np.cumsum(wrong[order])[ends]
    return float(np.sum(np.diff(found, prepend=0) * found / (ends + 1)) / wrong.sum())


@dataclasses.dataclass
class Figures:
    """What one run gave."""

    scores: dict[str, float]
    recall: float
    suggested: float
    off: dict[str, str]
    f1: str
    onset: str


def bins(probability: Floats, wrong: npt.NDArray[np.bool_]) -> str:
    """Points between stated and true shares: at most, of ten bins with 100 images or more, and on average."""
    place = np.minimum((10 * probability).astype(int), 9)
    far, mean = 0.0, 0.0
    for number in range(10):
        mine = place == number
        if mine.any():
            distance = abs(float(probability[mine].mean() - wrong[mine].mean()))
            mean += distance * float(mine.mean())
            far = max(far, distance) if mine.sum() >= 100 else far
    return f"{100 * far:.0f} / {100 * mean:.1f}"


def figures(row: Row, data: eb.Dataset, seed: int) -> Figures:
    """Train once, and score."""
    images, true = data.train_images, data.train_labels
    draw = np.random.default_rng((seed, 77))
    noisy = row.noisy(true, images, draw)
    given = eb.Dataset(images, noisy, data.test_images, data.test_labels, classes=data.classes, name=data.name)
    wrong = given.train_labels != true
    known = draw.choice(np.flatnonzero(wrong), min(KNOWN, int(wrong.sum()) // 2), replace=False)
    run = trained(given, seed, memorises=row.memorises)
    found = eb.insight.label_errors(run, dataset=given)
    by_known = eb.insight.label_errors(run, dataset=given, planted=known)
    watched = eb.insight.memorisation(run, dataset=given)
    order = np.argsort(found.indices)
    ours, probability, suggested = (values[order] for values in (found.score, found.probability, found.suggested))
    margins, losses = run.training_margins, run.training_losses.astype(np.float64)
    votes = _votes.count_votes(run.training_predictions, 10)
    last = run.model.predict_proba(images).astype(np.float64)
    scores = {
        "ours": ours,
        "votes margin": _votes.votes_margin(votes, given.train_labels, margins.mean(axis=0, dtype=np.float64)),
        "AUM, steps": -run.step_sums[:, 0] / run.step_votes.sum(axis=1),
        "AUM, passes": -margins.mean(axis=0, dtype=np.float64),
        "mean loss": losses.mean(axis=0),
        "self-confidence": -np.exp(-losses).mean(axis=0),
        "last loss": losses[-1],
    }
    f1 = "–"
    if find_label_issues is not None:
        shares = (votes + 1e-3) / (votes + 1e-3).sum(axis=1, keepdims=True)
        for name, likely in (("cleanlab, last", last), ("cleanlab, votes", shares)):
            scores[name] = -get_label_quality_scores(given.train_labels, likely, method="normalized_margin")
        flagged = [find_label_issues(given.train_labels, likely, n_jobs=1) for likely in (last, shares)]
        f1 = " / ".join(f"{_f1(each, wrong):.3f}" for each in flagged)
    above = probability > 0.5
    f1 = f"{_f1(above, wrong):.3f} ({f1})"
    top = np.zeros(len(true), bool)
    top[np.argsort(-ours, kind="stable")[: wrong.sum()]] = True
    told = by_known.probability[np.argsort(by_known.indices)]
    rest = np.sort(by_known.indices)
    return Figures(
        scores={name: average_precision(score, wrong) for name, score in scores.items()},
        recall=float(wrong[top].mean()),
        suggested=float((suggested == true)[wrong].mean()),
        off={
            "model": bins(probability, wrong),
            "by known": bins(told, wrong[rest]),
        },
        f1=f1,
        onset=_onset(watched, run, wrong, given.train_labels),
    )


def _f1(flagged: npt.NDArray[np.bool_], wrong: npt.NDArray[np.bool_]) -> float:
    return float(2 * (flagged & wrong).sum() / max(flagged.sum() + wrong.sum(), 1))


def _onset(watched: Any, run: eb.Run, wrong: npt.NDArray[np.bool_], given: Labels) -> str:
    """When memorisation begins, what stopping there keeps, and how f goes with the curve of truly wrong images."""
    fitted = (run.training_predictions[:, wrong] == given[wrong]).mean(axis=1)
    there = np.isfinite(watched.suspects_fitted)
    together = float(np.corrcoef(watched.suspects_fitted[there], fitted[there])[0, 1])
    end = run.final_accuracy / run.best_accuracy
    if watched.onset_step is None:
        return f"none; the end has {end:.1%} of the best accuracy"
    kept = watched.accuracy_at_onset / run.best_accuracy
    return (
        f"step {watched.onset_step:,} of {run.steps:,}: {kept:.1%} of the best, the end {end:.1%}; r = {together:.4f}"
    )


def planted_tables(report: Report, data: eb.Dataset, rows: list[Row], seeds: int) -> None:
    """The tables of training labels."""
    small = data.subset(train=10_000)
    of: dict[str, list[Figures]] = {}
    for row in rows:
        began = time.perf_counter()
        of[row.name] = [figures(row, small if row.memorises else data, seed) for seed in range(seeds)]
        print(f"{row.name}: {time.perf_counter() - began:.0f} s", of[row.name], flush=True)
    names = list(next(iter(of.values()))[0].scores)
    report.add(f"| AP on training labels | bar | {' | '.join(names)} | R |", "|---" * (len(names) + 3) + "|")
    for row in rows:
        cells = [_mean([each.scores[name] for each in of[row.name]]) for name in names]
        cells[0] = f"**{cells[0]}**"
        recall = _mean([each.recall for each in of[row.name]])
        report.add(f"| {row.name} | {row.bar:g} | {' | '.join(cells)} | {recall} |")
    report.add(
        "",
        "| the same runs | points off, model | by known | F1 of p > 0.5 (cleanlab: last / votes) | suggestion right "
        "| memorisation |",
        "|---|---|---|---|---|---|",
    )
    for row in rows:
        for each in of[row.name]:
            report.add(
                f"| {row.name} | {each.off['model']} | {each.off['by known']} | {each.f1} | {each.suggested:.1%} "
                f"| {each.onset} |"
            )
    report.add("")


def _mean(values: list[float]) -> str:
    mean = f"{statistics.fmean(values):.3f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.3f}"


def clean_table(report: Report, data: eb.Dataset, seeds: int) -> None:
    """Whether anything fires on data without planted errors."""
    small = data.subset(train=10_000)
    fired, expected = 0, []
    for seed in range(seeds):
        run = trained(small, seed, memorises=True, evaluate_every="epoch")
        fired += eb.insight.memorisation(run, dataset=small).onset_step is not None
        expected.append(eb.insight.label_errors(run, dataset=small).expected)
        print(f"clean {seed}: {fired} {expected}", flush=True)
    report.add(
        f"Clean data, MLP, {seeds} seeds: memorisation is reported {fired} times; of 10,000 labels are expected wrong "
        f"{statistics.fmean(expected):.1f} on average, {max(expected):.1f} at most.",
        "",
    )


def test_table(report: Report, data: eb.Dataset, seeds: int) -> None:
    """The table of test labels."""
    upheld = np.isin(np.arange(len(data.test_labels)), UPHELD)
    runs: list[eb.Run] = []
    report.add(
        "| 15 test labels that reviewers did not uphold | test accuracy | AP | in the first 15, 50, 100 |",
        "|---|---|---|---|",
    )
    for seed in range(seeds):
        how: dict[str, Any] = {"record": ("examples", "losses", "predictions"), "measure_training": 0}
        runs.append(trained(data, seed, memorises=False, evaluate_every=20, **how))
        _test_row(report, f"LeNet-5, 3 epochs, measured every 20 steps, seed {seed}", runs[-1:], data, upheld)
    if len(runs) > 1:
        _test_row(report, f"the {len(runs)} together", runs, data, upheld)
    report.add("")


def _test_row(report: Report, name: str, runs: list[eb.Run], data: eb.Dataset, upheld: npt.NDArray[np.bool_]) -> None:
    found = eb.insight.label_errors(runs[0], "test", dataset=data, runs=runs[1:])
    ap = average_precision(found.score, upheld[found.indices])
    hits = ", ".join(str(int(upheld[found.indices[:first]].sum())) for first in (15, 50, 100))
    accuracy = " ".join(f"{run.final_accuracy:.2%}" for run in runs)
    report.add(f"| {name} | {accuracy} | {ap:.3f} | {hits} |")


def main() -> None:
    """Measure."""
    parser = arguments(__doc__)
    parser.add_argument("--seeds", type=int, default=1, help="runs of each kind of noise")
    parser.add_argument("--clean", type=int, default=10, help="runs on clean data")
    parser.add_argument("--test", type=int, default=3, help="runs for test labels")
    parser.add_argument("--only", default="", help="kinds of noise with this in their name")
    told = parser.parse_args()
    data = eb.datasets.mnist()
    report = Report(__file__)
    report.head(data, f"{told.seeds} run(s) of each kind of noise, no warm-up (nothing is timed)")
    rows = [row for row in ROWS if told.only in row.name]
    if rows:
        planted_tables(report, data, rows, told.seeds)
    if told.clean:
        clean_table(report, data, told.clean)
    if told.test:
        test_table(report, data, told.test)
    if told.write:
        report.write()


if __name__ == "__main__":
    main()
