"""`insight.batches`: the ledger against NumPy on the recorded predictions, and effects against replays."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest

import everybatch as eb
from everybatch import _core
from everybatch.errors import ArgumentError
from everybatch.insight import batches, replay
from everybatch.insight._ledger import LEAST, falls, unusual

RECORD = ("predictions", "weights", "losses")


@pytest.fixture(autouse=True)
def close_figures() -> Iterator[None]:
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def data() -> eb.Dataset:
    return eb.datasets.glyphs(train=640, test=100)


@pytest.fixture(scope="module")
def run(data: eb.Dataset) -> eb.Run:
    return eb.train(eb.networks.lenet5(), data, batch_size=16, steps=45, record=RECORD, progress=False)


def test_the_ledger_is_what_the_predictions_say(run: eb.Run, data: eb.Dataset) -> None:
    found = batches(run, effects=None)
    right = run.predictions == data.test_labels
    for row in range(45):
        before, after = right[row], right[row + 1]
        assert found.gained[row] == (~before & after).sum()
        assert found.lost[row] == (before & ~after).sum()
        for number in range(10):
            mine = data.test_labels == number
            assert found.class_gained[row, number] == (~before & after)[mine].sum()
            assert found.class_lost[row, number] == (before & ~after)[mine].sum()
        np.testing.assert_array_equal(found.lost_images(row), np.flatnonzero(before & ~after))
        np.testing.assert_array_equal(found.members(row), run.batch_indices(row))
    np.testing.assert_array_equal(found.lost_images(-2), found.lost_images(43))  # counted from the end, as in NumPy
    np.testing.assert_array_equal(found.members(-2), found.members(43))
    np.testing.assert_array_equal(found.before(-2), found.before(43))
    for row in (45, -46):
        with pytest.raises(ArgumentError, match=f"row is {row}"):
            found.lost_images(row)
    np.testing.assert_array_equal(found.step, np.arange(45))
    np.testing.assert_array_equal(found.lr, run.lr)
    losses = run.losses.astype(float)
    assert found.class_loss_change is not None
    for number in range(10):
        mine = losses[:, data.test_labels == number].mean(axis=1)
        np.testing.assert_allclose(found.class_loss_change[:, number], np.diff(mine), atol=1e-12)
    # the changes add up to that of the whole run
    assert found.net.sum() == right[-1].sum() - right[0].sum()
    assert found.loss_change.sum() == pytest.approx(float(run.test_loss[-1]) - float(run.test_loss[0]), abs=1e-9)
    table = found.frame
    np.testing.assert_array_equal(table[list(run.classes)].sum(axis=1), found.net)
    assert found.effects is None
    assert table["effect"].isna().all()


def test_fewer_measurements_make_intervals(data: eb.Dataset) -> None:
    options: dict[str, Any] = {"batch_size": 64, "steps": 13, "record": ("predictions",), "progress": False}
    run = eb.train(eb.networks.lenet5(), data, evaluate_every=5, **options)
    found = batches(run)
    np.testing.assert_array_equal(found.step, [4, 9, 12])
    np.testing.assert_array_equal(found.steps, [5, 5, 3])
    np.testing.assert_array_equal(found.members(2), np.concatenate([run.batch_indices(step) for step in (10, 11, 12)]))
    assert found.effects is None  # it kept no weights
    assert found.class_loss_change is None
    assert "every 5 steps" in repr(found)


# By the definition, one value at a time; SciPy's median_abs_deviation scales by 1.4826, too.
def test_a_line_of_two_points_is_in_its_picture(data: eb.Dataset) -> None:
    run = eb.train(
        eb.networks.lenet5(), data, batch_size=64, steps=10, evaluate_every=10, record=("predictions",), progress=False
    )
    assert len(run.test_accuracy) == 2
    low, high = batches(run).plot().axes[0].get_ylim()
    assert low < run.test_accuracy.min() < run.test_accuracy.max() < high


def test_scores_are_those_of_the_values_before() -> None:
    values = np.random.default_rng(0).normal(size=300)
    scores = unusual(values, course=50)
    assert np.isnan(scores[:LEAST]).all()
    for place in (LEAST, 49, 50, 51, 299):
        before = values[max(0, place - 50) : place]
        deviation = np.median(np.abs(before - np.median(before))) / 0.674490
        assert scores[place] == pytest.approx((values[place] - np.median(before)) / deviation, rel=1e-4)
    assert np.isnan(unusual(np.ones(40))).all()
    rare = np.zeros(60)
    rare[[3, 50]] = 1, 5
    assert unusual(rare)[50] == pytest.approx(5 / np.std(rare[:50], ddof=1))


def predictions(right: list[int], images: int) -> np.ndarray:
    """Return predictions (evaluations, images) of which so many are right, the first ones, if all labels are 1."""
    return (np.arange(images) < np.array(right)[:, None]).astype(np.uint8)


def test_falls_are_off_their_course_and_beyond_chance() -> None:
    ones = np.ones(1000, np.int64)
    course = [900 + 3 * (step % 3) for step in range(60)]

    def fallen(*drops: int) -> list[int]:
        return falls(predictions(course + list(900 - np.array(drops)), 1000), ones, 2).tolist()

    assert fallen(0, 0, 0) == []
    assert fallen(0, 60) == [[60, 60]]  # the interval from row 60 to row 61
    assert fallen(0, 8) == []  # 8 of 8 are 2.8 standard errors: 3 take more images
    # each step is within its course, all together are not
    wild = [900 + int(by) for by in np.random.default_rng(2).normal(0, 10, 60)]
    slow = [*wild, 875, 850, 825, 800, 775, 775, 775]
    assert falls(predictions(slow, 1000), ones, 2).tolist() == [[59, 63]]


def test_effects_are_the_steps_against_null_steps(run: eb.Run, data: eb.Dataset) -> None:
    effects = batches(run, effects="every").effects
    assert effects is not None
    np.testing.assert_array_equal(effects.step, np.arange(45))
    np.testing.assert_allclose(effects.change, np.diff(run.test_loss.astype(float)), atol=1e-6)
    for step in (0, 17, 44):
        null = replay(run, step, null=True, dataset=data).difference  # null step minus step
        assert effects.loss[step] == pytest.approx(-null.loss, abs=1e-9)
        assert effects.loss_error[step] == pytest.approx(null.loss_error, rel=1e-6)
        assert (effects.gained[step], effects.lost[step]) == (null.lost, null.gained)
        np.testing.assert_allclose(effects.class_loss[step], -null.class_loss, atol=1e-9)


def test_without_momentum_and_batch_norm_the_effect_is_the_change(data: eb.Dataset) -> None:
    run = eb.train(
        eb.networks.lenet5(batch_norm=False), data, optimizer="sgd", lr=0.05, steps=6, record=RECORD, progress=False
    )
    effects = batches(run, effects="every").effects
    assert effects is not None
    np.testing.assert_allclose(effects.loss, effects.change, atol=1e-12)


# The batch is planted: its labels are those of other classes. Its own doing is the worst; by plain changes others are.
def test_a_poisoned_batch_is_found_by_its_effect_though_adam_carries_it_on() -> None:
    data = eb.datasets.glyphs(train=1280, test=200)
    labels = data.train_labels.copy()
    batch = _core.batch_indices(1280, 32, 1, True, 36)
    labels[batch] = (labels[batch] + 5) % 10
    poisoned = eb.Dataset(data.train_images, labels, data.test_images, data.test_labels)
    run = eb.train(eb.networks.lenet5(), poisoned, batch_size=32, steps=40, seed=1, record=RECORD, progress=False)
    found = batches(run, effects="every", dataset=poisoned)
    late = found.worst(40).query("step >= 20")
    assert late["step"].iloc[0] == 36
    assert late["effect"].iloc[0] > 1.3 * late["effect"].iloc[1]
    assert found.before(38)[0] == 36


def test_falls_have_their_last_batches_measured(run: eb.Run, data: eb.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("everybatch.insight._batches.falls", lambda *_: np.array([[0, 4], [30, 30]]))
    found = batches(run)  # it kept weights, so that falls are looked into
    effects = found.effects
    assert effects is not None
    np.testing.assert_array_equal(effects.step, [*range(5), *range(21, 31)])
    every = batches(run, effects="every").effects
    assert every is not None
    np.testing.assert_array_equal(effects.loss, every.loss[effects.step])
    ranked = found.before(30)
    np.testing.assert_array_equal(np.sort(ranked), np.arange(21, 31))
    assert (np.diff(every.loss[ranked]) <= 0).all()
    assert np.isnan(effects.of(np.array([10])))
    np.testing.assert_array_equal(found.before(15), np.arange(6, 16)[::-1])  # none of them was measured
    assert set(found.before(6)[:5]) == set(range(5))
    np.testing.assert_array_equal(found.before(6)[5:], [6, 5])
    tied = dataclasses.replace(found, effects=dataclasses.replace(effects, loss=np.zeros(len(effects.step))))
    np.testing.assert_array_equal(tied.before(30), np.arange(21, 31)[::-1])
    axes = found.plot(fall=15).axes
    assert 'effects="every"' in axes[1].texts[0].get_text()
    assert axes[2].get_title(loc="left").startswith("The batch of step 15")
    assert set(found.worst(99)["step"]) == set(effects.step)
    figure = found.plot()
    assert len(figure.axes) == 4
    assert len(batches(run, effects=None).plot(fall=30).axes) == 4
    none = dataclasses.replace(
        batches(run, effects=None), falls=np.empty(0, np.int64), fall_begins=np.empty(0, np.int64)
    )
    without = none.plot(fall=30)
    without.canvas.draw()
    assert all(ax.get_position().height > 0.15 for ax in without.axes)  # what has no extent would take all the room


def test_worst_is_sorted_as_asked(run: eb.Run) -> None:
    found = batches(run, effects=None)
    np.testing.assert_array_equal(found.worst(3)["loss_change"], np.sort(found.loss_change)[::-1][:3])
    np.testing.assert_array_equal(found.worst(3, by="net")["net"], np.sort(found.net)[:3])
    with pytest.raises(ArgumentError, match="the effects were not measured"):
        found.worst(by="effect")


def test_what_is_missing_is_named(run: eb.Run, data: eb.Dataset) -> None:
    plain = eb.train(eb.networks.lenet5(), data, steps=2, progress=False)
    with pytest.raises(AttributeError, match=r"train with record=\('predictions',\)"):
        batches(plain)
    predicted = eb.train(eb.networks.lenet5(), data, steps=2, record=("predictions",), progress=False)
    assert batches(predicted).effects is None
    with pytest.raises(AttributeError, match=r"train with record=\('weights',\).*or give effects=None"):
        batches(predicted, effects="falls")
    with pytest.raises(ArgumentError, match="effects is 'all'"):
        batches(run, effects="all")
    with pytest.raises(ArgumentError, match="the ledger has 45 rows"):
        batches(run, effects=None).plot(fall=45)
