"""label_errors, memorisation, data_map and planting on recordings of real runs; their tables and pictures."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pytest
from matplotlib.colors import to_hex

import everybatch as eb
from everybatch.errors import ArgumentError
from everybatch.insight import _contact_sheet, _data_map, _test_suspects

Quick = Callable[..., eb.Run]
WRONG = 48


@pytest.fixture(scope="module")
def planted() -> tuple[eb.Dataset, npt.NDArray[np.int64]]:
    return eb.insight.plant_label_errors(eb.datasets.glyphs(train=960, test=500, seed=1), WRONG, seed=2)


@pytest.fixture(scope="module")
def learned(planted: tuple[eb.Dataset, npt.NDArray[np.int64]]) -> eb.Run:
    """A small network that has begun to learn wrong labels by heart."""
    network = eb.Network(
        [
            eb.Conv2d(1, 16, 5, stride=2, bias=False),
            eb.BatchNorm2d(16),
            eb.Activation("relu"),
            eb.MaxPool2d(2),
            eb.Flatten(),
            eb.Linear(16 * 6 * 6, 64),
            eb.Activation("relu"),
            eb.Linear(64, 10),
        ]
    )
    how = {"record": ("examples", "losses", "predictions"), "batch_size": 32, "evaluate_every": 10, "progress": False}
    return eb.train(network, planted[0], epochs=12, lr=3e-3, device="cpu", **how)


def test_planted_labels_are_wrong_and_the_others_as_they_were() -> None:
    data = eb.datasets.glyphs(train=200, test=20)
    made, planted = eb.insight.plant_label_errors(data, 40, seed=5)
    np.testing.assert_array_equal(np.flatnonzero(made.train_labels != data.train_labels), planted)
    assert len(planted) == 40
    again = eb.insight.plant_label_errors(data, 40, seed=5)[0]
    assert again.fingerprint == made.fingerprint != eb.insight.plant_label_errors(data, 40, seed=6)[0].fingerprint
    assert (made.mean, made.std, made.classes) == (data.mean, data.std, data.classes)


def test_planted_labels_can_be_such_as_a_run_confuses(quick: Quick) -> None:
    data = eb.datasets.glyphs(train=3000, test=200)
    run = quick(dataset=data, steps=8, batch_size=128)
    made, planted = eb.insight.plant_label_errors(data, 2000, like=run)
    true, given = data.train_labels[planted], made.train_labels[planted]
    assert np.all(true != given)
    off = run.confusion * (1 - np.eye(10, dtype=int))
    one = int(off.sum(axis=1).argmax())
    drawn, often = np.bincount(given[true == one], minlength=10), off[one]
    expected = 2 / 3 * (often + 0.1 * (np.arange(10) != one)) / (often.sum() + 0.9) + 1 / 27 * (np.arange(10) != one)
    np.testing.assert_allclose(drawn / drawn.sum(), expected, atol=0.12)


def test_planted_labels_can_be_such_as_were_found(quick: Quick) -> None:
    """A third of all 3s has the label 8, and that is what a run finds and what is planted again."""
    data = eb.datasets.glyphs(train=1500, test=60, seed=7)
    labels = data.train_labels.copy()
    threes = np.flatnonzero(labels == 3)
    labels[threes[::3]] = 8
    noisy = eb.Dataset(data.train_images, labels, data.test_images, data.test_labels)
    run = quick(dataset=noisy, epochs=5, lr=3e-3, record=("examples",), evaluate_every="epoch")
    found = eb.insight.label_errors(run, dataset=noisy)
    made, planted = eb.insight.plant_label_errors(noisy, 40, like=found)
    drawn = np.zeros((10, 10))
    np.add.at(drawn, (noisy.train_labels[planted], made.train_labels[planted]), 1)
    assert drawn.argmax() == 38
    expected = (
        found.noise[3, 8] * (labels == 3).sum() / (found.noise.sum(axis=1) - found.noise.diagonal())[labels].sum()
    )
    assert drawn[3, 8] / 40 == pytest.approx(expected, abs=0.25)
    with pytest.raises(TypeError, match="what label_errors returned"):
        eb.insight.plant_label_errors(noisy, 5, like=found.noise)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"count": 131}, "there are 130 training images"), ({"count": 0}, "at least 1"), ({"seed": -1}, "at least 0")],
)
def test_planting_says_what_is_wrong(glyphs: eb.Dataset, arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        eb.insight.plant_label_errors(glyphs, **arguments)


def test_planting_needs_a_run_with_the_same_classes(quick: Quick, glyphs: eb.Dataset) -> None:
    names = [f"digit {number}" for number in range(10)]
    parts = (glyphs.train_images, glyphs.train_labels, glyphs.test_images, glyphs.test_labels)
    with pytest.raises(ArgumentError, match="other classes"):
        eb.insight.plant_label_errors(eb.Dataset(*parts, classes=names), 5, like=quick(steps=1))


def test_wrong_training_labels_are_found_and_corrected(
    learned: eb.Run, planted: tuple[eb.Dataset, npt.NDArray[np.int64]]
) -> None:
    found = eb.insight.label_errors(learned, dataset=planted[0])
    true = eb.datasets.glyphs(train=960, test=500, seed=1).train_labels
    first = found.indices[:WRONG]
    right = np.isin(first, planted[1])
    assert right.mean() > 0.75
    assert (found.suggested[:WRONG] == true[first])[right].mean() > 0.9
    np.testing.assert_array_equal(found.given, planted[0].train_labels[found.indices])
    assert np.all(np.diff(found.score) <= 0)
    assert sorted(found.indices) == list(range(960))
    assert WRONG / 2 < found.expected < 2 * WRONG
    assert f"{found.expected:,.0f} expected wrong" in repr(found)


def test_stopping_at_the_onset_keeps_most_of_the_best_accuracy(
    learned: eb.Run, planted: tuple[eb.Dataset, npt.NDArray[np.int64]]
) -> None:
    found = eb.insight.memorisation(learned, dataset=planted[0])
    assert found.onset_step is not None
    assert found.onset_step in found.step
    assert found.accuracy_at_onset > 0.95 * learned.best_accuracy
    at = np.searchsorted(learned.eval_step, found.onset_step, side="right") - 1
    assert found.accuracy_at_onset == pytest.approx(learned.test_accuracy[at])
    errors = eb.insight.label_errors(learned, dataset=planted[0])
    assert errors.onset_step == found.onset_step
    before = int(np.searchsorted(found.step, found.onset_step))
    assert errors.counted == slice(0, max(before, 5))
    assert f"memorisation begins at step {found.onset_step:,}" in repr(found)


def test_probabilities_by_planted_errors_leave_these_out(
    learned: eb.Run, planted: tuple[eb.Dataset, npt.NDArray[np.int64]]
) -> None:
    found = eb.insight.label_errors(learned, dataset=planted[0], planted=planted[1])
    assert not np.isin(found.indices, planted[1]).any()
    assert len(found.indices) == 960 - WRONG
    assert found.expected < WRONG / 2  # all others are right
    assert np.all(np.diff(found.probability) <= 0)


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (["a"], TypeError, "indices that plant_label_errors returned"),
        ([-1], ArgumentError, "none of the images"),
        ([3, 5000], ArgumentError, "training image 5000"),
        (range(960), ArgumentError, "none is left to be judged"),
    ],
)
def test_planted_must_be_training_images(
    learned: eb.Run,
    planted: tuple[eb.Dataset, npt.NDArray[np.int64]],
    wrong: Sequence[object],
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        eb.insight.label_errors(learned, dataset=planted[0], planted=wrong)  # type: ignore[arg-type]


def test_planted_errors_may_be_held_out_for_validation(glyphs: eb.Dataset) -> None:
    last = len(glyphs.train_labels) - 1
    held_out = [last, *range(0, last, 10)]
    network = eb.Network([eb.Flatten(), eb.Linear(784, 10)])
    run = eb.train(network, glyphs, steps=6, validation=held_out, record=("examples",), progress=False)
    found = eb.insight.label_errors(run, dataset=glyphs, planted=[1, 2, last])
    assert len(found.indices) == last + 1 - len(held_out) - 2
    with pytest.raises(ArgumentError, match=f"training image {last + 1}"):
        eb.insight.label_errors(run, dataset=glyphs, planted=[1, last + 1])


def test_two_runs_vote_together(quick: Quick) -> None:
    data = eb.datasets.glyphs(train=200, test=60)
    runs = [quick(dataset=data, steps=20, seed=seed, record=("examples",)) for seed in (0, 1)]
    one, other, both = (
        eb.insight.label_errors(first, dataset=data, runs=more)
        for first, more in ((runs[0], ()), (runs[1], ()), (runs[0], runs[1:]))
    )
    passes = [each.counted.stop for each in (one, other)]
    order = [np.argsort(each.indices) for each in (one, other, both)]
    losses = [each.mean_loss[places] for each, places in zip((one, other, both), order, strict=True)]
    np.testing.assert_allclose(losses[2], np.average(losses[:2], axis=0, weights=passes), rtol=1e-6)
    assert "and 1 more runs" in both.interval
    smaller = quick(steps=2, record=("examples",))
    with pytest.raises(ArgumentError, match="fingerprints differ"):
        eb.insight.label_errors(runs[0], runs=[smaller], dataset=data)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_passes_of_a_network_that_has_diverged_do_not_count(glyphs: eb.Dataset) -> None:
    """The rate of step 8 is 5e36, and what comes of it no number: the pass after it predicts class 0."""
    network = eb.Network([eb.Flatten(), eb.Linear(784, 10)])
    how = {"optimizer": "sgd", "lr": 0.05, "schedule": eb.schedules.multistep([8], gamma=1e38), "evaluate_every": 99}
    run = eb.train(
        network, glyphs, steps=20, batch_size=16, measure_training=20, record=("examples",), progress=False, **how
    )
    assert np.isnan(run.training_losses[-1]).any()
    sound = len(run.training_losses) - 1
    found, drawn = eb.insight.label_errors(run), eb.insight.data_map(run)
    assert len(found.votes) == len(eb.insight.memorisation(run).step) == sound
    assert np.isfinite(found.mean_loss).all()
    probability = np.exp(-run.training_losses[:sound].astype(np.float64))
    np.testing.assert_allclose(drawn.confidence, probability.mean(axis=0))
    arrays = {name: values[-1:] for name, values in run._arrays.items() if name.startswith("training_")}
    with pytest.raises(ArgumentError, match="diverged before its first pass"):
        eb.insight.data_map(eb.Run(run._arrays | arrays, run.config))


def test_more_runs_come_in_a_list(quick: Quick) -> None:
    run = quick(record=("examples",))
    for one in (run, "runs/a", Path("runs/a")):
        with pytest.raises(TypeError, match="runs must be a list"):
            eb.insight.label_errors(run, runs=one)  # type: ignore[arg-type]


def test_wrong_test_labels_are_found(learned: eb.Run, planted: tuple[eb.Dataset, npt.NDArray[np.int64]]) -> None:
    """The same recording beside test labels of which five are wrong: the losses are those that it would have had."""
    data = eb.datasets.glyphs(train=960, test=200, seed=1)
    labels = data.test_labels.copy()
    labels[:5] = (labels[:5] + 3) % 10
    wrong = eb.Dataset(data.train_images, data.train_labels, data.test_images, labels)
    run = eb.train(
        learned.model.network,
        wrong,
        epochs=4,
        lr=3e-3,
        batch_size=32,
        record=("examples", "losses", "predictions"),
        evaluate_every=10,
        device="cpu",
        progress=False,
    )
    found = eb.insight.label_errors(run, "test", dataset=wrong)
    assert np.isnan(found.probability).all()
    assert "no probabilities" in repr(found)
    assert "probability" not in found.frame
    assert set(range(5)) <= set(found.indices[:12])
    at = [int(np.flatnonzero(found.indices == number)[0]) for number in range(5)]
    assert (found.suggested[at] == data.test_labels[:5]).sum() >= 4
    later = run.losses[len(run.eval_step) // 3 :].astype(float).mean(axis=0)
    np.testing.assert_allclose(found.score, later[found.indices], rtol=1e-6)
    np.testing.assert_array_equal(found.votes, run.predictions[:, found.indices])
    assert "last two thirds" in repr(found)


def test_test_labels_are_judged_by_what_there_is(quick: Quick) -> None:
    every = quick(steps=12, record=("examples", "losses", "predictions"))
    sums = quick(steps=12, record=("examples",))
    found = eb.insight.label_errors(sums, "test")
    assert found.score_name == "mean loss"
    np.testing.assert_allclose(found.score, every.losses.astype(float).mean(axis=0)[found.indices], rtol=2e-3)
    found = eb.insight.label_errors(quick(steps=12, record=("predictions",)), "test")
    assert found.score_name == "votes margin"
    assert np.isnan(found.mean_loss).all()
    with pytest.raises(AttributeError, match=re.escape("record=('examples',)")):
        eb.insight.label_errors(quick(steps=1), "test")
    with pytest.raises(ArgumentError, match="planted"):
        eb.insight.label_errors(every, "test", planted=[1])
    with pytest.raises(ArgumentError, match="part"):
        eb.insight.label_errors(every, "validation")


# NumPy, by the definition: votes of the most frequent other class less those of the label, as a share of all.
def test_runs_are_judged_together_by_what_all_have(quick: Quick, glyphs: eb.Dataset) -> None:
    records: list[tuple[str, ...]] = [
        ("losses", "examples", "predictions"),
        ("predictions",),
        ("examples", "predictions"),
    ]
    runs = [quick(steps=12, seed=seed, record=record) for seed, record in enumerate(records)]
    expected = np.zeros(60)
    for run in runs:
        later = run.predictions[13 // 3 :]
        votes = np.stack([(later == each).sum(axis=0) for each in range(10)], axis=1)
        own = votes[np.arange(60), glyphs.test_labels].copy()
        votes[np.arange(60), glyphs.test_labels] = -1
        expected += (votes.max(axis=1) - own) / len(later) / 3
    for first in range(3):
        found = eb.insight.label_errors(runs[first], "test", runs=[*runs[:first], *runs[first + 1 :]])
        assert found.score_name == "votes margin"
        assert "last two thirds of the measurements, every step (and 2 more runs)" in found.interval
        np.testing.assert_allclose(found.score, expected[found.indices], atol=1e-12)
        assert np.isnan(found.mean_loss).all()
    found = eb.insight.label_errors(runs[0], "test", runs=runs[2:])  # both have losses, of one kind or the other
    assert found.score_name == "mean loss"
    np.testing.assert_array_equal(found.score, found.mean_loss)


def test_log_odds_are_those_of_the_losses() -> None:
    probability = np.array([0.01, 0.3, 0.5, 0.99])
    expected = np.log(probability / (1 - probability))
    np.testing.assert_allclose(_test_suspects.log_odds_of(-np.log(probability)), expected)
    assert np.isfinite(_test_suspects.log_odds_of(np.array([0, 65504], np.float16))).all()


@pytest.mark.parametrize("function", [eb.insight.label_errors, eb.insight.memorisation, eb.insight.data_map])
def test_what_a_run_lacks_is_told(quick: Quick, function: Callable[..., object]) -> None:
    with pytest.raises(AttributeError, match=re.escape("record=('examples',)")):
        function(quick(steps=1))
    with pytest.raises(ArgumentError, match="measure_training=20"):
        function(quick(steps=1, record=("examples",), measure_training=0))
    with pytest.raises(TypeError, match="run must be"):
        function(3)
    with pytest.raises(ArgumentError, match="fingerprints differ"):
        function(quick(steps=1, record=("examples",)), dataset=eb.datasets.glyphs(train=20, test=20))


def test_a_saved_run_is_taken_by_its_folder(quick: Quick, tmp_path: Path) -> None:
    run = quick(steps=6, record=("examples",), validation=10)
    run.save(tmp_path / "a")
    here, there = (eb.insight.label_errors(each) for each in (run, str(tmp_path / "a")))
    np.testing.assert_array_equal(here.indices, there.indices)
    assert len(here.indices) == 120  # held-out images are not trained on


def test_the_data_map_has_the_formulas_of_cartography() -> None:
    # allenai/cartography, compute_train_dy_metrics: np.mean and np.std of the label's probabilities over the epochs,
    # and how often the label was the prediction.
    draw = np.random.default_rng(0)
    probability = draw.beta(2, 1, (9, 40))
    right = draw.random((9, 40)) < probability
    confidence, variability, correctness = _data_map.from_losses(-np.log(probability), right)
    np.testing.assert_allclose(confidence, np.mean(probability, axis=0), atol=1e-6)
    np.testing.assert_allclose(variability, np.std(probability, axis=0), atol=1e-6)
    np.testing.assert_allclose(correctness, right.sum(axis=0) / 9, atol=1e-6)

    sums = np.zeros((41, 5))
    sums[:40, 2], sums[:40, 3] = probability.sum(axis=0), (probability**2).sum(axis=0)
    votes = np.zeros((41, 2), np.int32)
    votes[:40, 1], votes[:40, 0] = right.sum(axis=0), (~right).sum(axis=0)
    of_sums = _data_map.from_sums(sums, votes, np.ones(41, np.int64))
    for found, expected in zip(of_sums, (confidence, variability, correctness), strict=True):
        np.testing.assert_allclose(found[:40], expected, atol=1e-6)
        assert np.isnan(found[40])  # never presented


def test_the_data_map_of_a_run(learned: eb.Run, planted: tuple[eb.Dataset, npt.NDArray[np.int64]]) -> None:
    found = eb.insight.data_map(learned, dataset=planted[0])
    probability = np.exp(-learned.training_losses.astype(float))
    np.testing.assert_allclose(found.confidence, probability.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(found.variability, probability.std(axis=0), atol=1e-6)
    np.testing.assert_array_equal(
        found.correctness, (learned.training_predictions == planted[0].train_labels).mean(axis=0)
    )
    steps = eb.insight.data_map(learned, dataset=planted[0], source="steps")
    assert np.all(steps.times == 12)
    np.testing.assert_allclose(steps.confidence, learned.step_sums[:, 2] / 12)
    assert steps.source == f"{learned.step_votes.sum():,} images of training steps" != found.source
    table = found.frame
    assert list(table.columns) == ["index", "label", "confidence", "variability", "correctness", "times", "region"]
    assert set(table.region) <= set(_data_map.REGIONS)
    assert (table.region == "never learned").sum() == (found.correctness == 0).sum()


def test_tables(learned: eb.Run, planted: tuple[eb.Dataset, npt.NDArray[np.int64]]) -> None:
    found = eb.insight.label_errors(learned, dataset=planted[0])
    table = found.frame
    assert list(table.columns) == ["index", "given", "suggested", "probability", "score", "mean_loss"]
    assert table.given[0] == planted[0].classes[found.given[0]]
    watched = eb.insight.memorisation(learned, dataset=planted[0])
    assert list(watched.frame.columns) == ["step", "suspects", "suspects_fitted", "others_fitted"]
    np.testing.assert_array_equal(watched.frame.step, learned.training_eval_step)


def test_pictures(learned: eb.Run, planted: tuple[eb.Dataset, npt.NDArray[np.int64]]) -> None:
    found = eb.insight.label_errors(learned, dataset=planted[0])
    ax = found.plot(7, columns=3)
    assert len(ax.images) == 14  # an image and a strip each
    names = planted[0].classes
    texts = [text.get_text() for text in ax.texts]
    assert texts[0] == f"{names[found.given[0]]} → {names[found.suggested[0]]}"
    assert f"#{found.indices[0]:,}" in texts[1]
    with pytest.raises(ArgumentError, match="count"):
        found.plot(0)

    above, below = eb.insight.memorisation(learned, dataset=planted[0]).plot()
    np.testing.assert_allclose(above.lines[0].get_ydata(), learned.test_accuracy)
    assert len(below.lines) == 3  # two curves and the onset
    dots = eb.insight.data_map(learned, dataset=planted[0]).plot().collections[0]
    assert len(dots.get_offsets()) == 960
    ax = plt.figure().subplots()
    assert found.plot(2, ax=ax) is ax
    plt.close("all")


def test_the_key_has_every_class_whatever_its_name(
    learned: eb.Run, planted: tuple[eb.Dataset, npt.NDArray[np.int64]]
) -> None:
    found = eb.insight.label_errors(learned, dataset=planted[0])
    names = ("as labelled", *(f"an image that shows the figure {each}" for each in range(1, 10)))
    ax = dataclasses.replace(found, classes=names).plot(12)
    keys = [to_hex(patch.get_facecolor()) for patch in ax.get_legend().get_patches()]
    classes = np.unique(found.votes[:, :12])
    assert len(classes) > 3
    assert keys == ["#d0d0d0", *(_contact_sheet._ALL[each].lower() for each in classes)]
    plt.close("all")


def test_strips_tell_the_label_from_other_classes(
    learned: eb.Run, planted: tuple[eb.Dataset, npt.NDArray[np.int64]]
) -> None:
    found = eb.insight.label_errors(learned, dataset=planted[0])
    strip = _contact_sheet.strip_colours(found, 0)[0]
    votes = found.votes[:, 0]
    assert len(strip) == len(votes) == 20
    grey = np.isclose(np.ptp(strip[:, :3], axis=1), 0) & (strip[:, 0] > 0.5)
    np.testing.assert_array_equal(grey, votes == found.given[0])
    np.testing.assert_array_equal(strip[:, 3] == 1, np.arange(20) < found.counted.stop)
    for one in np.unique(votes):
        assert len(np.unique(strip[votes == one, :3], axis=0)) == 1
