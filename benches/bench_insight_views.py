"""What `eb.insight` tells of test images, held against what is known: do intervals hold, how far does the best flatter.

Three tables: how often 95 % intervals hold on test sets that are drawn from a recorded run's own test images; the
optimism of the best measurement against that of drawn measurements whose true accuracy is known, with Efron's bootstrap
as the peer; and seconds and memory for 10,000 images and 1,000 measurements.

    python benches/bench_insight_views.py
    python benches/bench_insight_views.py --run runs/a   # a run with record=("predictions",), instead of a new one
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable, Iterator
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

import everybatch as eb
from everybatch._provenance import describe_dataset
from everybatch.insight._optimism import optimism
from everybatch.insight._paired import changed_interval, paired_error, wilson
from everybatch.insight._seen import Seen, seen
from report import Report, arguments

Doubles = npt.NDArray[np.float64]
DRAWN = 1_000
"""Test sets that are drawn, each with as many images as there are."""


def coverage(run: eb.Run) -> Iterator[str]:
    """All test images are the population here, so that what is to be held is known."""
    one = seen(run, what="the benchmark")
    right = np.stack(list(one.right()))
    draw = np.random.default_rng(0)
    n = right.shape[1]
    chosen = draw.integers(0, n, (DRAWN, n), dtype=np.int32)
    last = len(right) - 1
    for place in (last // 20, last // 4, last):
        low, high = wilson(right[place][chosen].sum(axis=1), n)
        true = right[place].mean()
        held = np.mean((low <= true) & (true <= high))
        yield f"| level after {one.step[place]:,} steps | {true:.2%} | {(high - low).mean() * 50:.2f} | {held:.1%} | |"
    for lag in (1, 5, 20, 100, last // 2):
        if lag > last:
            continue
        held, plain, widths = [], [], []
        for place in np.linspace(last // 4, last - lag, 10).astype(int) if last // 4 <= last - lag else [last - lag]:
            before, after = right[place][chosen], right[place + lag][chosen]
            gained, lost = (after & ~before).sum(axis=1), (before & ~after).sum(axis=1)
            low, high = changed_interval(gained, lost, n)
            true = right[place + lag].mean() - right[place].mean()
            held.append(np.mean((low <= true) & (true <= high)))
            plain.append(np.mean(np.abs((gained - lost) / n - true) <= 1.96 * paired_error(gained, lost, n)))
            widths.append((high - low).mean() * 50)
        yield (
            f"| change over {lag:,} measurements, 10 places | | {np.mean(widths):.2f} | {np.mean(held):.1%} | "
            f"{np.mean(plain):.1%} |"
        )


def flatters(images: int = 500, sets: int = 40) -> Iterator[str]:
    """Each image has a number that wanders from measurement to measurement; it is right where that is below a bound.

    The share of right images in an endless test set, and with it the true optimism, is then known.
    """
    cases: dict[str, tuple[Doubles, float]] = {
        "100 equal measurements, independent": (np.full(100, 0.9), 0.0),
        "100 equal ones, each like the one before (0.9)": (np.full(100, 0.9), 0.9),
        "100 equal ones, 0.99": (np.full(100, 0.9), 0.99),
        "a learning curve, 50 to 90 %, 0.9": (0.5 + 0.4 * (1 - np.exp(-np.arange(100) / 15)), 0.9),
    }
    draw = np.random.default_rng(0)
    for name, (truth, like) in cases.items():
        bound = np.array([NormalDist().inv_cdf(each) for each in truth])[:, None]
        true, found = [], []
        for _ in range(sets):
            hidden = draw.normal(size=(len(truth), images))
            for place in range(1, len(truth)):
                hidden[place] = like * hidden[place - 1] + np.sqrt(1 - like**2) * hidden[place]
            right = hidden < bound
            best = right.mean(axis=1).argmax()
            true.append(right[best].mean() - truth[best])
            nothing: Any = None
            one = Seen(nothing, right.astype(np.uint8), np.ones(images, np.int64), np.arange(len(truth)), nothing)
            found.append((optimism(one, np.arange(len(truth)), 200, 0)[0], *bootstrap(right, draw)))
        error = np.std(true) / np.sqrt(sets)
        halves, against_all, against_rest = np.mean(found, axis=0)
        yield (
            f"| {name} | {100 * np.mean(true):.2f} ± {100 * error:.2f} | **{100 * halves:.2f}** | "
            f"{100 * against_all:.2f} | {100 * against_rest:.2f} |"
        )


def bootstrap(right: npt.NDArray[np.bool_], draw: np.random.Generator, resamples: int = 200) -> tuple[float, float]:
    """Return Efron's optimism of the best: against all images, and against those that were not drawn."""
    n = right.shape[1]
    drawn = draw.multinomial(n, np.full(n, 1 / n), size=resamples).T.astype(np.float32)
    out = (drawn == 0).astype(np.float32)
    numbers, each = right.astype(np.float32), np.arange(resamples)
    within = numbers @ drawn / n
    best = within.argmax(axis=0)
    top = within[best, each]
    rest = (numbers @ out / out.sum(axis=0))[best, each]
    return float((top - right.mean(axis=1)[best]).mean()), float((top - rest).mean())


def drawn_run(images: int, measurements: int, seed: int = 0) -> tuple[eb.Run, eb.Dataset]:
    """A run with drawn predictions, of which only their number matters."""
    draw = np.random.default_rng(seed)
    pixels, labels = np.zeros((images, 2, 2), np.uint8), draw.integers(0, 10, images)
    pixels[0] = 255
    data = eb.Dataset(pixels[:20], np.arange(20) % 10, pixels, labels, name="drawn")
    wrong = draw.random((measurements, images)) < 0.02 + 0.9 * np.exp(-np.arange(measurements) / 30)[:, None]
    predictions = np.where(wrong, (labels + 1) % 10, labels).astype(np.uint8)
    right = ~wrong
    steps, ones = measurements - 1, np.ones(measurements, np.float32)
    arrays: dict[str, Any] = {
        **dict.fromkeys(("train_loss", "train_accuracy"), ones[:steps]),
        "train_seconds": np.ones(steps),
        "eval_step": np.arange(measurements),
        "test_loss": ones,
        "test_accuracy": right.mean(axis=1).astype(np.float32),
        "class_accuracy": np.stack([right[:, labels == c].mean(axis=1) for c in range(10)], 1).astype(np.float32),
        "eval_seconds": np.ones(measurements),
        "confusion": np.zeros((10, 10), np.int64),
        "test_indices": np.arange(images),
        "predictions": predictions,
    }
    config = {
        "network": {"name": "none", "layers": []},
        "dataset": describe_dataset(data),
        "training": {"batch_size": 64, "steps_per_epoch": 938, "seed": 0, "shuffle": True},
        "status": {"state": "finished"},
    }
    return eb.Run(arrays, config), data


def seconds(rounds: int = 3) -> Iterator[str]:
    run, data = drawn_run(10_000, 1_000)
    other, _ = drawn_run(10_000, 1_000)
    calls: dict[str, Callable[[], Any]] = {
        "`bands(run)`": lambda: eb.insight.bands(run, dataset=data),
        "`learning(run)`": lambda: eb.insight.learning(run, dataset=data),
        "`confusion_film(run)`": lambda: eb.insight.confusion_film(run, dataset=data),
        "`compare([run, other])`": lambda: eb.insight.compare([run, other], labels=["a", "b"], dataset=data),
        "a page of the film in a notebook": lambda: eb.insight.confusion_film(run, dataset=data)._repr_html_(),
    }
    data.fingerprint  # noqa: B018 - computed once for each data set
    for name, call in calls.items():
        spent = []
        for _ in range(rounds):
            start = time.perf_counter()
            call()
            spent.append(time.perf_counter() - start)
        tracemalloc.start()  # NumPy tells it of its arrays
        call()
        peak = tracemalloc.get_traced_memory()[1] / 1e6
        tracemalloc.stop()
        yield f"| {name} | {min(spent):.2f} | {peak:.0f} |"


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--run", help="folder of a run with predictions; without, LeNet-5 is trained for 400 steps")
    args = parser.parse_args()
    report = Report(__file__)
    data = eb.datasets.default()
    report.head(data, f"{DRAWN:,} test sets; seconds are the least of 3 calls")
    if args.run:
        run = eb.load_run(args.run)
    else:
        run = eb.train(eb.networks.lenet5(), data, steps=400, record=("predictions",), progress=False)
    report.add("| 10,000 images, 1,000 measurements | seconds | memory at most, MB |", "|---|---|---|")
    for line in seconds():
        report.add(line)
    report.add(
        "", "| 95 % interval of | true | half width (points) | holds | 1.96 plain errors |", "|---|---|---|---|---|"
    )
    for line in coverage(run):
        report.add(line)
    report.add("", "| optimism of the best, points | true | halves | bootstrap, all images | bootstrap, rest |")
    report.add("|---|---|---|---|---|")
    for line in flatters():
        report.add(line)
    if args.write:
        report.write()


if __name__ == "__main__":
    main()
