"""Pictures of runs at the edge: one image, one measurement, NaN throughout, very many classes.

Warnings are errors here, as everywhere in the tests, so none of matplotlib's reaches a user. Expected numbers come from
NumPy.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest

from everybatch import plots
from everybatch.errors import ArgumentError
from everybatch.run import Run
from test_run import example_arrays, example_config

LOSSES = ("train_loss", "test_loss")
ACCURACIES = ("train_accuracy", "test_accuracy", "class_accuracy")


@pytest.fixture(autouse=True)
def close_figures() -> Iterator[None]:
    yield
    plt.close("all")


def run_of(predicted: list[list[int]], true: list[int], classes: int = 3, steps: int = 7, **changes: Any) -> Run:
    """A run with these predictions (evaluations, images); `changes` fill arrays with one value."""
    truth, right = np.array(true), np.array(predicted) == np.array(true)
    arrays = example_arrays(steps=steps, eval_step=list(range(len(predicted))))
    shares = np.full((len(predicted), classes), np.nan, np.float32)
    for number in set(true):
        shares[:, number] = right[:, truth == number].mean(axis=1)
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (truth, predicted[-1]), 1)
    arrays |= {
        "test_accuracy": right.mean(axis=1).astype(np.float32),
        "class_accuracy": shares,
        "confusion": confusion,
        "test_indices": np.arange(len(true)),
        "predictions": np.array(predicted, np.uint8 if classes <= 256 else np.uint16),
    }
    arrays |= {name: np.full_like(arrays[name], value) for name, value in changes.items()}
    config = example_config(classes)
    config["dataset"]["test"] = max(len(true), 100)
    return Run(arrays, config)


NOTHING = dict.fromkeys(LOSSES + ACCURACIES, np.nan)
EDGES = {
    "one image, right": run_of([[0], [2]], [2]),
    "one image, wrong": run_of([[2], [0]], [2]),
    "one measurement": run_of([[0, 1, 2]], [0, 1, 1]),
    "one measurement of one image": run_of([[1]], [0]),
    "one step": run_of([[0, 1, 1], [0, 1, 2]], [0, 1, 2], steps=1),
    "no step": run_of([[0, 1, 1]], [0, 1, 2], steps=0),
    "all wrong": run_of([[1, 2, 0]] * 4, [0, 1, 2]),
    "one class with images": run_of([[0, 1, 1], [0, 0, 1]], [1, 1, 1]),
    "NaN throughout": run_of([[0, 0, 0]] * 3, [0, 1, 2], **NOTHING),
    "losses of 0": run_of([[0, 1, 2]] * 3, [0, 1, 2], **dict.fromkeys(LOSSES, 0.0)),
    "losses that are infinite": run_of([[0, 1, 2]] * 3, [0, 1, 2], **dict.fromkeys(LOSSES, np.inf)),
    "losses near the largest number": run_of([[0, 1, 2]] * 3, [0, 1, 2], **dict.fromkeys(LOSSES, 3e38)),
}
PLOTS: dict[str, Callable[[Run], object]] = {
    "losses": plots.losses,
    "accuracy": plots.accuracy,
    "class_accuracy": plots.class_accuracy,
    "class_bars": plots.class_bars,
    "confusion": plots.confusion,
    "compare": lambda run: plots.compare([run, run], labels=["a", "b"]),
    "grid": lambda run: plots.grid([run, run]),
}


def draw(ax: Any) -> Any:
    """Draw as a file would be, without making one."""
    plt.gcf().draw_without_rendering()
    return ax


@pytest.mark.parametrize("plot", PLOTS)
def test_pictures_of_runs_at_the_edge(plot: str) -> None:
    few = ("one image, wrong", "one measurement of one image", "NaN throughout")  # of several runs, which take longer
    for run in (EDGES[name] for name in (few if plot in ("compare", "grid") else EDGES)):
        draw(PLOTS[plot](run))
        for ax in plt.gcf().axes:
            assert np.isfinite([*ax.get_xlim(), *ax.get_ylim()]).all()
            percent = [float(text.get_text()[:-1]) for text in ax.get_yticklabels() if text.get_text().endswith("%")]
            assert all(0 <= number <= 100 for number in percent)
        plt.close("all")


def test_the_legend_counts_one_image_and_keeps_silent_about_nan() -> None:
    def said(run: Run) -> list[str]:
        return [text.get_text() for text in draw(plots.accuracy(run)).get_legend().get_texts()]

    assert said(EDGES["one image, right"])[-1] == "test, 1 image: final 100.00%, best 100.00%"
    assert said(EDGES["NaN throughout"])[-1] == "test, 3 images"


def diverged() -> Run:
    """Right are 1/3, 2/3, all, and of weights that are no numbers 1/3 by chance."""
    run = run_of([[0, 0, 0], [0, 1, 1], [0, 1, 2], [0, 0, 0]], [0, 1, 2])
    arrays = {name: np.array(array) for name, array in run._arrays.items()}
    arrays["test_loss"][3:] = arrays["train_loss"][2:] = np.nan
    arrays["train_accuracy"][2:] = 0.25
    config = run.config
    config["status"] |= {"state": "diverged", "diverged_at": 3}
    return Run(arrays, config)


def test_weights_that_are_no_numbers_have_no_accuracy() -> None:
    """As in the pictures of sweeps; the accuracies are counted by hand."""
    run = diverged()
    ax = draw(plots.accuracy(run))
    train, test = (np.asarray(line.get_ydata(), float) for line in ax.lines[:2])
    np.testing.assert_allclose(test, [1 / 3, 2 / 3, 1, np.nan], rtol=1e-6)
    assert np.isnan(train[2:]).all()
    assert [text.get_text() for text in ax.get_legend().get_texts()][-1] == "test, 3 images: best 100.00%"
    plt.close("all")
    ax = draw(plots.compare([run, EDGES["one image, wrong"]], labels=["a", "b"]))
    assert "a  100.00%" in [text.get_text() for text in ax.texts]
    plt.close("all")
    axes = plots.grid(run, metric="accuracy")
    assert axes[0].get_title(loc="right") == ""
    ax = draw(plots.class_accuracy(run))
    assert [np.isnan(np.asarray(line.get_ydata(), float)).tolist() for line in ax.lines] == [[False, False, True]] * 3


def test_bars_of_a_run_that_diverged_are_those_of_its_last_sound_weights() -> None:
    run = diverged()
    ax = draw(plots.class_bars(run))
    assert [bar.get_height() for bar in ax.containers[0].patches] == [1, 1, 1]
    assert f"all images, step {run.eval_step[2]}\n100.00%" in [text.get_text() for text in ax.texts]
    plt.close("all")
    ax = draw(plots.class_bars({"a": run, "b": EDGES["NaN throughout"]}))
    told = [text.get_text() for text in ax.get_legend().get_texts()]
    assert told == [f"a (all images, step {run.eval_step[2]} 100.00%)", "b (diverged)"]


def test_names_that_begin_with_an_underscore_are_in_the_legend() -> None:
    """matplotlib leaves such labels out by itself."""
    given = {"_old": EDGES["one image, right"], "new": EDGES["one image, wrong"]}
    for plot in (plots.class_bars, plots.losses, plots.accuracy):
        told = [text.get_text() for text in draw(plot(given)).get_legend().get_texts()]
        assert [name.split(" ")[0] for name in told[:2]] == ["_old", "new"]
        plt.close("all")


def test_the_legend_names_no_line_that_is_not_there() -> None:
    """A meter that is not given logits knows the loss of its batches alone."""
    run = run_of([[0, 0, 0], [0, 1, 1]], [0, 1, 2], train_accuracy=np.nan)
    assert [text.get_text() for text in draw(plots.accuracy(run)).get_legend().get_texts()] == [
        "test, 3 images: final 66.67%, best 66.67%"
    ]
    told = [text.get_text() for text in draw(plots.accuracy([run, run])).get_legend().get_texts()]
    assert told[2:] == ["test"]
    figure: Any = plots.grid(run, metric="accuracy")[0].figure
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["test"]


@pytest.mark.parametrize("size", [(6.4, 4.0), (3.2, 2.3), (2.0, 1.2)])
@pytest.mark.parametrize(("low", "high"), [(-3, -1.5), (-3, -0.2), (-3, 0.5), (-5, 3), (-3, 6), (0, 12), (0, 33)])
def test_a_logarithmic_axis_has_numbers(low: float, high: float, size: tuple[float, float]) -> None:
    _, ax = plt.subplots(figsize=size, layout="constrained")
    plots.losses(np.logspace(low, high, 40).tolist(), ax=ax)
    draw(ax)
    bottom, top = ax.get_ylim()
    places = [place for place in ax.get_yticks() if bottom <= place <= top]
    assert 2 <= len(places) <= 10
    tens = np.log10(places)
    assert top / bottom < 1000 or np.allclose(tens, np.round(tens))


@pytest.mark.parametrize(
    ("numbers", "match"),
    [
        ([10, 50, 90.0], "10 is not: divide percents by 100"),
        ([0.5, np.inf], "inf is not$"),
        ([0.5, -0.1], "-0.1 is not$"),
    ],
)
def test_numbers_that_are_no_accuracies_are_refused(numbers: list[float], match: str) -> None:
    for name in ("accuracy", "class_bars", "compare", "grid", "class_accuracy"):
        given: Any = [numbers] if name == "class_accuracy" else numbers
        more = {"metric": "accuracy"} if name == "grid" else {}
        with pytest.raises(ArgumentError, match=rf"plots\.{name}: accuracies are from 0 to 1, and {match}"):
            getattr(plots, name)(given, **more)
    assert plt.get_fignums() == []
    plots.losses([abs(number) for number in numbers])


@pytest.mark.parametrize("classes", [300, 1000])
def test_the_confusion_of_very_many_classes_shows_those_with_most_errors(classes: int) -> None:
    rng = np.random.default_rng(classes)
    true = rng.integers(0, classes, 2000)
    predicted = np.where(rng.random(2000) < 0.5, true, rng.integers(0, classes, 2000))
    true[:40], predicted[:40] = 7, 11  # whatever else is shown, these must be
    run = run_of([predicted.tolist()], true.tolist(), classes)
    ax = draw(plots.confusion(run))
    counts = np.zeros((classes, classes), int)
    np.add.at(counts, (true, predicted), 1)
    wrong = counts - np.diag(np.diag(counts))
    kept = sorted(np.lexsort((np.arange(classes), -(wrong.sum(0) + wrong.sum(1))))[:40])
    assert [text.get_text() for text in ax.get_yticklabels()] == [f"c{number}" for number in kept]
    assert {7, 11} <= set(kept)
    cells = ax.collections[0].get_array()
    assert np.array_equal(np.ma.filled(cells, 0).reshape(40, 40), wrong[np.ix_(kept, kept)])
    said = re.findall(r"[\d,]+", ax.get_xlabel())
    assert said == ["40", f"{classes:,}", str(wrong[np.ix_(kept, kept)].sum()), f"{wrong.sum():,}"]


def test_bars_of_very_many_classes_are_not_hidden_by_their_edges() -> None:
    classes = 1000
    run = run_of([list(range(classes))], list(range(classes)), classes)
    ax = draw(plots.class_bars(run))
    bars = ax.containers[0].patches
    assert len(bars) == classes
    assert {bar.get_linewidth() for bar in bars} == {0}
    assert {round(bar.get_width(), 6) for bar in bars} == {1}


@pytest.mark.parametrize("plot", ["class_accuracy", "class_bars", "confusion"])
def test_very_long_names_leave_room_for_the_picture(plot: str) -> None:
    run = run_of([[0, 1, 2]] * 2, [0, 1, 2])
    config = run.config
    config["dataset"]["classes"] = ["x" * 300, "$y$" * 100, "z"]
    arrays = {name: getattr(run, name) for name in example_arrays()}
    ax = draw(PLOTS[plot](Run(arrays, config)))
    assert ax.get_position().width > 0.3
