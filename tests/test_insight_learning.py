"""`insight.learning`: events against NumPy on the recorded predictions; fewer measurements see fewer of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

import everybatch as eb
from everybatch._measures import EVENTS
from everybatch.errors import ArgumentError
from everybatch.insight._events import forgotten
from everybatch.insight._interval import interval_of, sparser
from everybatch.insight._learning_picture import edges, raster, unsettled
from everybatch.insight._missed import hidden_fall
from everybatch.insight._mosaic import caption
from everybatch.insight._seen import seen
from flickering import flickering_data, flickering_run, recorded_run


def test_events_are_what_numpy_counts() -> None:
    data = flickering_data(images=150)
    step = np.arange(40) * 3
    run = flickering_run(data, 40, step=step, per_epoch=60)
    right = run.predictions == data.test_labels
    right[:, :3] = False  # never right
    right[:, 3:6] = True  # always
    wrong = (data.test_labels + 1) % 10
    found = eb.insight.learning(recorded_run(data, np.where(right, data.test_labels, wrong), step), dataset=data)
    np.testing.assert_array_equal(found.forgotten, (right[:-1] & ~right[1:]).sum(axis=0))
    np.testing.assert_allclose(found.time_right, right.mean(axis=0))
    first = np.where(right.any(axis=0), step[right.argmax(axis=0)], -1)
    np.testing.assert_array_equal(found.first_learned, first)
    for image in range(150):  # the step after the last wrong one, searched from the end
        column = right[:, image]
        place = len(column)
        while place > 0 and column[place - 1]:
            place -= 1
        assert found.learned_for_good[image] == (step[place] if place < len(column) else -1)
    assert found.first_learned[:6].tolist() == [-1, -1, -1, 0, 0, 0]
    assert found.interval == "every 3 steps"


def test_fewer_measurements_are_those_that_would_have_been_made() -> None:
    """`train` measures before the first step, after every n-th and after the last."""
    for own, last, per_epoch in ((1, 47, 20), (1, 60, 20), (3, 50, 25)):
        step = np.unique([*range(0, last + 1, own), last])
        for interval, places in sparser(step, per_epoch).items():
            if interval % own == 0:
                assert step[places].tolist() == sorted({*range(0, last + 1, interval), last})
    assert list(sparser(np.arange(48), 20)) == [1, 2, 5, 10, 20]
    assert list(sparser(np.arange(48), 25)) == [1, 2, 5, 10, 20, 25]
    assert list(sparser(np.arange(4), 25)) == [1, 2]
    assert list(sparser(np.array([0, 10, 20, 30]), 10)) == [10]  # once an epoch already
    assert list(sparser(np.array([0, 10, 13]), 50)) == [10]  # the last one came at the end of the run
    assert sparser(np.array([5]), 10) == {}


@pytest.mark.parametrize("seed", range(5))
def test_fewer_measurements_never_see_more_events(seed: int) -> None:
    """Whatever the predictions, and whichever measurements are left out."""
    draw = np.random.default_rng(seed)
    data = flickering_data(images=40, classes=3, seed=seed)
    predictions = draw.integers(0, 3, (30, 40))
    one = seen(recorded_run(data, predictions), data, what="test")
    for _ in range(20):
        kept = np.flatnonzero(draw.random(30) < draw.random())
        fewer = kept[draw.random(len(kept)) < 0.7]
        right = predictions == data.test_labels
        expected = (right[kept][:-1] & ~right[kept][1:]).sum(axis=0) if len(kept) else 0
        np.testing.assert_array_equal(forgotten(one, kept), expected)
        assert np.all(forgotten(one, fewer) <= forgotten(one, kept))


def test_the_curve_over_intervals_is_that_of_runs_measured_less_often() -> None:
    data = flickering_data(images=300)
    run = flickering_run(data, 41)
    found = eb.insight.learning(run, dataset=data)
    assert found.intervals.tolist() == [1, 2, 5, 10, 20]
    assert found.events[0] == found.forgotten.sum()
    assert found.ever_forgotten[0] == (found.forgotten > 0).mean()
    for place, interval in enumerate(found.intervals):
        kept = np.arange(0, 41, interval)
        less = recorded_run(data, run.predictions[kept], kept)
        counted = eb.insight.learning(less, dataset=data)
        assert found.events[place] == counted.forgotten.sum()
        assert found.ever_forgotten[place] == (counted.forgotten > 0).mean()
    assert found.hidden_fall[0] == found.hidden_class_fall[0] == found.regret[0] == found.regret_spread[0] == 0


def test_falls_between_measurements_are_hidden() -> None:
    curve = np.array([0.1, 0.5, 0.9, 0.9, 0.5, 0.9, 0.8, 0.9, 0.9, 0.9, 0.9])[:, None]
    assert hidden_fall(curve, np.arange(11)) == 0
    assert hidden_fall(curve, np.array([0, 5, 10])) == pytest.approx(0.4)  # nothing of it is seen
    assert hidden_fall(curve, np.array([0, 3, 6, 10])) == pytest.approx(0.3)  # 0.1 of it is
    both = np.hstack([curve, np.full((11, 1), np.nan), np.linspace(0, 1, 11)[:, None]])
    assert hidden_fall(both, np.array([0, 5, 10])) == pytest.approx(0.4)


def test_choosing_from_fewer_costs_what_only_they_miss() -> None:
    """At step 7 alone all images are right; of the others, a half at random: measuring every second step misses it."""
    draw = np.random.default_rng(0)
    data = flickering_data(images=1000)
    right = draw.random((21, 1000)) < 0.5
    right[7] = True
    run = recorded_run(data, np.where(right, data.test_labels, (data.test_labels + 1) % 10))
    found = eb.insight.learning(run, dataset=data)
    assert found.regret[0] == 0
    assert found.regret[1] == pytest.approx(0.5, abs=0.03)  # its 11 measurements are right on half of the images


def test_the_picture_has_what_was_wrong() -> None:
    data = flickering_data(images=64)
    run = flickering_run(data, 30)
    found = eb.insight.learning(run, dataset=data)
    wrong = run.predictions != data.test_labels
    np.testing.assert_array_equal(raster(found, found.order, 64, 30), wrong[:, found.order].T)
    small = raster(found, found.order, 8, 10)
    np.testing.assert_allclose(small, wrong[:, found.order].T.reshape(8, 8, 10, 3).mean(axis=(1, 3)))
    good = found.learned_for_good[found.order]
    learned = good[good >= 0]
    assert np.all(np.diff(learned) >= 0)
    assert np.all(good[len(learned) :] == -1)
    shown = set(unsettled(found).tolist())
    assert shown == set(np.flatnonzero((found.forgotten > 0) | wrong[-1]).tolist())
    found.plot(everything=True)
    figure = found.plot()
    assert "(measured every step)" in figure.axes[0].get_xlabel()
    figure = plt.figure()
    assert found.plot(figure) is figure
    plt.close("all")


def test_the_images_that_were_forgotten_most_often() -> None:
    data = flickering_data(images=64)
    found = eb.insight.learning(flickering_run(data, 30), dataset=data)
    ax = found.plot_images(most=5)
    times = [int(text.get_text().split(", ")[1].removesuffix("×")) for text in ax.texts]
    assert times == sorted(found.forgotten.tolist())[::-1][:5]
    plt.close("all")


def test_captions_have_no_more_than_there_is_room_for() -> None:
    assert caption([("cat", " → "), ("dog", " (2/3)")], 15) == "cat → dog (2/3)"
    assert caption([("automobile", " → "), ("dog", " (2/3)")], 15) == "automobile →\ndog (2/3)"
    assert caption([("a name that is too long", " → "), ("dog", "")], 9) == "a name… →\ndog"
    data = flickering_data(images=64)
    long = eb.Dataset(
        data.train_images,
        data.train_labels,
        data.test_images,
        data.test_labels,
        classes=[f"{i}" * 200 for i in range(10)],
    )
    ax = eb.insight.learning(flickering_run(long, 30), dataset=long).plot_images(most=5)
    assert max(len(text.get_text()) for text in ax.texts) < 20
    plt.close("all")


def test_tables() -> None:
    data = flickering_data(images=50)
    run = flickering_run(data, 30)
    found = eb.insight.learning(run, dataset=data)
    table = found.frame
    assert table.index.tolist() == run.test_indices.tolist()
    assert (table["learned_for_good"].isna() == (found.learned_for_good < 0)).all()
    known = found.learned_for_good >= 0
    assert table["learned_for_good"][known].tolist() == found.learned_for_good[known].tolist()
    assert (table["predicted"] == run.predictions[-1]).all()
    assert found.by_interval.loc[5, "events_per_1000"] == 1000 * found.events[2] / 50


def test_a_run_that_goes_on_is_read_from_its_folder(
    quick: Callable[..., eb.Run], tmp_path: Path, glyphs: eb.Dataset
) -> None:
    told = []

    def look(step: eb.Step) -> None:
        if step.step < 3 or told:
            return
        time.sleep(0.1)  # rows are written five times a second
        if len(eb.load_run(tmp_path / "run").eval_step) > 1:
            told.append(eb.insight.learning(tmp_path / "run"))

    run = quick(epochs=4, record=("predictions",), folder=tmp_path / "run", callbacks=look)
    (while_going,) = told
    count = len(while_going.step)
    assert count < len(run.eval_step)
    right = run.predictions[:count] == glyphs.test_labels
    np.testing.assert_array_equal(while_going.forgotten, (right[:-1] & ~right[1:]).sum(axis=0))


def test_too_few_measurements() -> None:
    data = flickering_data()
    with pytest.raises(ArgumentError, match="learning needs 2 measurements, and this run has one"):
        eb.insight.learning(flickering_run(data, 1), dataset=data)


def test_intervals_in_words() -> None:
    words = {
        (0, 1, 2, 3): "every step",
        (0, 20, 40, 47): "every 20 steps",
        (0, 10, 20, 30): "once an epoch",
        (0, 1, 4, 9, 10): "every 1 to 5 steps",
        (0,): "once",
    }
    assert {step: interval_of(np.array(step), 10) for step in words} == words


def test_the_core_counts_the_same_while_it_trains(quick: Callable[..., eb.Run]) -> None:
    run = quick(epochs=3, record=("predictions", "examples"))
    found = eb.insight.learning(run)
    events = dict(zip(EVENTS, run.test_events.T, strict=True))
    np.testing.assert_array_equal(found.forgotten, events["forgotten"])
    np.testing.assert_array_equal(found.first_learned, events["first_learned"])
    np.testing.assert_array_equal(found.learned_for_good, events["learned_for_good"])
    np.testing.assert_allclose(found.time_right, 1 - events["wrong"] / len(run.eval_step))


def test_columns_lie_around_their_measurements() -> None:
    np.testing.assert_array_equal(edges(np.array([0, 10, 20, 25])), [0, 5, 15, 22.5, 25])
    np.testing.assert_array_equal(edges(np.arange(6), columns=2), [0, 2.5, 5])  # of three measurements each
    np.testing.assert_array_equal(edges(np.array([7])), [7, 8])
