"""`insight.bands`: intervals against published examples, paired errors against NumPy, coverage by resampling."""

from __future__ import annotations

import math
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest

import everybatch as eb
from everybatch.errors import ArgumentError
from everybatch.insight._paired import changed_interval, paired_error, percent, quantile, wilson
from flickering import flickering_data, flickering_run, recorded_run


def test_wilson_intervals_are_the_published_ones() -> None:
    """R. G. Newcombe, Statistics in Medicine 17 (1998) 857, table I, method 3, at 95 %."""
    published = {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }
    for (right, images), ends in published.items():
        np.testing.assert_allclose(wilson(right, images), ends, atol=5e-5)
    assert np.isnan(wilson(0, 0)).all()


# A normal variable is within ± z of 0 with the probability 1 - erfc(z / √2): Python's, by C's.
@pytest.mark.parametrize("level", [1e-12, 0.5, 0.95, 0.999, 1 - 1e-12, 1 - 2**-53])
def test_a_level_may_be_as_close_to_0_and_1_as_a_number_can(level: float) -> None:
    assert math.erfc(quantile(level) / math.sqrt(2)) == pytest.approx(1 - level, rel=1e-9)
    low, high = wilson(30, 40, level)
    assert 0 < low <= 0.75 <= high < 1


def test_a_level_is_written_as_it_is() -> None:
    assert [percent(level) for level in (0.07, 0.5, 0.95, 0.999, 1 - 1e-7)] == [
        "7%",
        "50%",
        "95%",
        "99.9%",
        "99.99999%",
    ]
    data = flickering_data()
    found = eb.insight.bands(flickering_run(data, 10), dataset=data, level=0.999)
    assert "at 99.9%)" in repr(found)
    assert "at 99.9%," in repr(found.change(0))
    assert "(99.9%)" in found.plot().get_legend().get_texts()[0].get_text()
    plt.close("all")


def test_the_error_of_a_change_is_that_of_a_mean_of_differences() -> None:
    """Each image changes by -1, 0 or 1; the standard error of their mean is NumPy's deviation over √n."""
    draw = np.random.default_rng(0)
    before, after = draw.random((2, 500)) < [[0.6], [0.7]]
    difference = after.astype(float) - before
    gained, lost = (~before & after).sum(), (before & ~after).sum()
    assert paired_error(gained, lost, 500) == pytest.approx(difference.std() / np.sqrt(500), rel=1e-12)
    assert paired_error(0, 0, 500) == 0
    low, high = changed_interval(0, 0, 500)
    assert low < 0 < high  # where nothing changed, there is still something that is not known


def test_what_bands_say_is_what_numpy_counts() -> None:
    data = flickering_data(images=300, classes=4, without=(2,))
    run = flickering_run(data, 25)
    found, right = eb.insight.bands(run, dataset=data), run.predictions == data.test_labels
    np.testing.assert_allclose(found.accuracy, right.mean(axis=1))
    np.testing.assert_array_equal(found.gained, (~right[:-1] & right[1:]).sum(axis=1))
    np.testing.assert_array_equal(found.lost, (right[:-1] & ~right[1:]).sum(axis=1))
    np.testing.assert_allclose(found.change_error, np.diff(right.astype(float), axis=0).std(axis=1) / np.sqrt(300))
    np.testing.assert_allclose(found.from_last_error, (right[-1] - right.astype(float)).std(axis=1) / np.sqrt(300))
    np.testing.assert_allclose(found.class_accuracy, run.class_accuracy, rtol=1e-6)
    np.testing.assert_array_equal(np.isnan(found.class_low[0]), [False, False, True, False])
    assert found.best == run.test_accuracy.argmax()
    assert found.last == 24
    assert np.all((found.low <= found.accuracy) & (found.accuracy < found.high))


# Four images of 100 that were lost are two plain errors (0.04 / 0.0196), and by McNemar's test one chance of eight: the
# interval of a change says so, and the picture has the same one.
def test_the_narrow_band_says_what_changes_say() -> None:
    data = flickering_data(images=100, classes=2)
    right = np.arange(100) >= np.array([[40], [12], [8], [6], [5], [4], [3], [2], [1], [0]])
    run = recorded_run(data, np.where(right, data.test_labels, 1 - data.test_labels))
    found = eb.insight.bands(run, dataset=data)
    ax = found.plot()
    narrow = next(band for band in ax.collections if "comparing" in str(band.get_label()))
    ends = np.asarray(narrow.get_paths()[0].vertices)
    real = [found.change(step).real for step in range(9)]
    assert not real[5]
    for step, differs in enumerate(real):
        own = ends[ends[:, 0] == step, 1]
        assert differs == (not own.min() <= 1.0 <= own.max()), step
    plt.close("all")


def test_a_change_names_its_images() -> None:
    data = flickering_data(images=200, classes=3, without=(1,))
    run = flickering_run(data, 30)
    found, right = eb.insight.bands(run, dataset=data), run.predictions == data.test_labels
    one = found.change(4, of="c2")
    mine = data.test_labels == 2
    assert (one.before, one.after, one.what, one.images) == (4, 29, "c2", mine.sum())
    assert one.gained == (~right[4] & right[29])[mine].sum()
    assert one.change == pytest.approx(right[29][mine].mean() - right[4][mine].mean())
    assert found.change(4, of=2) == one
    assert found.change(0, 29).real
    assert not found.change(28, 28).real
    with pytest.raises(ArgumentError, match=r"nothing was measured after step 40: .* measured every step"):
        found.change(40)
    with pytest.raises(ArgumentError, match="class 'c1' has no test image"):
        found.change(4, of="c1")
    with pytest.raises(ArgumentError, match="there is no class 'dog'"):
        found.change(4, of="dog")
    with pytest.raises(ArgumentError, match="there is no class 3"):
        found.change(4, of=3)


def test_intervals_hold_as_often_as_they_say() -> None:
    """1,000 test sets of 400 images are drawn from 4,000, whose own accuracy and change are what is to be held."""
    draw = np.random.default_rng(1)
    data = flickering_data(images=4000)
    predictions = flickering_run(data, 20).predictions
    right = (predictions == data.test_labels).astype(float)
    chosen = draw.integers(0, 4000, (1000, 400))
    for place in (5, 10, 19):
        low, high = wilson(right[place, chosen].sum(axis=1), 400)
        held = (low <= right[place].mean()) & (right[place].mean() <= high)
        assert 0.93 <= held.mean() <= 0.97
    for before, after in ((18, 19), (10, 19), (4, 6)):
        change = right[after, chosen] - right[before, chosen]
        low, high = changed_interval((change > 0).sum(axis=1), (change < 0).sum(axis=1), 400)
        true = right[after].mean() - right[before].mean()
        held = (low <= true) & (true <= high)
        assert 0.93 <= held.mean() <= 0.97


def test_the_best_of_equal_measurements_flatters_by_what_chance_gives() -> None:
    """Every measurement is right with the same probability of 0.9, independently, on 500 images.

    The best of 100 such has as many standard errors too much as the expected highest of 100 standard normal numbers,
    2.5076 (Harter, Biometrika 48, 1961).
    """
    draw = np.random.default_rng(2)
    data = flickering_data(images=500)
    wrong = (data.test_labels + 1) % 10
    run = recorded_run(data, np.where(draw.random((100, 500)) < 0.9, data.test_labels, wrong))
    found = eb.insight.bands(run, dataset=data)
    expected = 2.5076 * np.sqrt(0.9 * 0.1 / 500)
    assert found.optimism == pytest.approx(expected, rel=0.2)
    again = eb.insight.bands(run, dataset=data)
    assert (again.optimism, again.optimism_error) == (found.optimism, found.optimism_error)
    assert eb.insight.bands(run, dataset=data, seed=1).optimism != found.optimism
    same = recorded_run(data, np.repeat(run.predictions[:1], 5, axis=0))
    assert abs(eb.insight.bands(same, dataset=data).optimism) < 0.01  # nothing to choose from


def test_a_run_with_one_measurement_has_a_level_and_no_changes() -> None:
    data = flickering_data()
    found = eb.insight.bands(flickering_run(data, 1), dataset=data)
    assert (len(found.low), len(found.gained), len(found.change_error)) == (1, 0, 0)
    assert "1 measurements of 200 images, once" in repr(found)
    found.plot()
    plt.close("all")


def test_losses_have_errors_where_they_were_recorded() -> None:
    """Against NumPy's deviations of samples; a loss that was not finite spoils only what it is a part of."""
    data, draw = flickering_data(images=90, classes=3), np.random.default_rng(0)
    run = flickering_run(data, 6)
    losses = draw.exponential(0.3, (6, 90)).astype(np.float16)
    losses[4, 7] = np.nan
    found = eb.insight.bands(recorded_run(data, run.predictions, losses=losses), dataset=data)
    wide = losses.astype(float)
    np.testing.assert_allclose(found.loss, wide.mean(axis=1))
    np.testing.assert_allclose(found.loss_error, wide.std(axis=1, ddof=1) / np.sqrt(90))
    np.testing.assert_allclose(found.loss_change_error, np.diff(wide, axis=0).std(axis=1, ddof=1) / np.sqrt(90))
    assert np.isnan(found.loss_change_error).tolist() == [False, False, False, True, True]
    one, mine = found.change(1, 3, of=2), data.test_labels == 2
    difference = (wide[3] - wide[1])[mine]
    assert one.loss_change == pytest.approx(difference.mean())
    assert one.loss_error == pytest.approx(difference.std(ddof=1) / np.sqrt(mine.sum()))
    assert "loss " in repr(one)
    np.testing.assert_array_equal(found.frame["loss"], found.loss)
    without = eb.insight.bands(run, dataset=data)
    assert without.loss is without.loss_error is without.loss_change_error is None
    assert without.change(1, 3).loss_change is None
    assert "loss" not in without.frame


def test_a_single_image_has_a_loss_and_no_error_of_it() -> None:
    images, labels = np.zeros((4, 4, 4), np.uint8), np.array([0, 0, 0, 1])
    data = eb.Dataset(images, labels, images, labels, classes=["a", "b"], name="noise")
    losses = np.array([[0.5, 1, 2, 3], [0.25, 1, 1, 1]], np.float16)
    found = eb.insight.bands(recorded_run(data, [[0, 0, 1, 0], [0, 0, 0, 1]], losses=losses), dataset=data)
    one, all_images = found.change(0, of="b"), found.change(0)
    assert (one.images, one.loss_change) == (1, -2)
    assert one.loss_error is not None
    assert np.isnan(one.loss_error)
    assert "loss -2.0000, " in repr(one)
    # by hand: the differences -0.25, 0, -1 and -2 have a mean of -0.8125 and an error of √(2.421875 / 3) / 2
    assert "loss -0.8125 ± 0.4492, " in repr(all_images)


def test_what_it_needs_is_said() -> None:
    data = flickering_data()
    run = flickering_run(data, 5)
    without = recorded_run(data, run.predictions, predictions=None)
    with pytest.raises(AttributeError, match=re.escape("train with record=('predictions',)")):
        eb.insight.bands(without, dataset=data)
    without._config["training"]["tolerance"] = 0.001
    with pytest.raises(AttributeError, match=r"trained with a tolerance, .* train without tolerance="):
        eb.insight.bands(without, dataset=data)
    with pytest.raises(ArgumentError, match="bands needs a measurement, and this run has none"):
        eb.insight.bands(recorded_run(data, np.empty((0, 200)), confusion=np.zeros((10, 10), np.int64)), dataset=data)
    with pytest.raises(ArgumentError, match="level"):
        eb.insight.bands(run, dataset=data, level=95)
    with pytest.raises(TypeError, match="takes a Run or the folder of one, not int"):
        eb.insight.bands(3)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="'noise', which cannot be found by its name"):
        eb.insight.bands(run)


def test_table_and_picture() -> None:
    data = flickering_data()
    found = eb.insight.bands(flickering_run(data, 40, step=np.arange(40) * 5, per_epoch=100), dataset=data)
    table = found.frame
    assert len(table) == 40
    assert table["change"].isna().tolist() == [True] + [False] * 39
    np.testing.assert_allclose(table["change"][1:], np.diff(found.accuracy), atol=1e-12)
    np.testing.assert_allclose(table["c3"], found.class_accuracy[:, 3])
    ax = found.plot()
    assert ax.get_xlabel() == "mini-batches (measured every 5 steps)"
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert f"last: {found.accuracy[-1]:.2%}" in names
    assert f"best, chosen by these images: {found.accuracy.max():.2%}" in names
    plt.close("all")


def test_a_class_named_as_a_column_is_told_from_it() -> None:
    glyphs = eb.datasets.glyphs(train=64, test=60)
    images, of = (
        (glyphs.train_images, glyphs.test_images),
        [labels % 2 for labels in (glyphs.train_labels, glyphs.test_labels)],
    )
    data = eb.Dataset(images[0], of[0], images[1], of[1], classes=["low", "gained"])
    network = eb.Network([eb.Flatten(), eb.Linear(784, 2)])
    run = eb.train(network, data, batch_size=32, steps=4, record=("predictions",), progress=False)
    found, ledger = eb.insight.bands(run, dataset=data), eb.insight.batches(run, dataset=data)
    np.testing.assert_array_equal(found.frame["low"], found.low)
    np.testing.assert_array_equal(found.frame["low (class 0)"], found.class_accuracy[:, 0])
    np.testing.assert_array_equal(found.frame["gained"][1:], found.gained)
    np.testing.assert_array_equal(found.frame["gained (class 1)"], found.class_accuracy[:, 1])
    np.testing.assert_array_equal(ledger.frame["gained"], ledger.gained)
    np.testing.assert_array_equal(ledger.frame["low"], ledger.class_gained[:, 0] - ledger.class_lost[:, 0])
