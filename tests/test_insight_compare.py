"""`insight.compare`: kappa and Spearman against scikit-learn and SciPy, counts by brute force, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import everybatch as eb
from everybatch.errors import ArgumentError
from everybatch.insight._agreement import kappa, ranks, spearman
from flickering import flickering_data, flickering_run, recorded_run

# draw = numpy.random.default_rng(7)
# ONE = draw.integers(0, 5, 40); OTHER = where(draw.random(40) < 0.6, ONE, draw.integers(0, 5, 40))
ONE = [*"4334234101144024030241113142222224433314"]
OTHER = [*"4324234021144044034243112442202224434314"]
# x = draw.integers(0, 12, 40); y = x + draw.integers(0, 8, 40)
X = [6, 2, 9, 11, 2, 6, 0, 2, 4, 10, 11, 7, 7, 6, 0, 4, 11, 4, 2, 2, 8, 0, 11, 10, 6, 5, 9, 6, 5, 3, 5, 9, 0, 0, 8, 4]
X += [9, 0, 10, 1]
Y = [9, 9, 9, 16, 7, 9, 0, 6, 7, 16, 16, 9, 7, 10, 2, 9, 17, 6, 9, 6, 12, 6, 17, 17, 13, 6, 12, 13, 7, 3, 9, 15, 5, 6]
Y += [13, 5, 15, 3, 16, 7]


def test_kappa_is_scikit_learns() -> None:
    """scikit-learn 1.9.1: cohen_kappa_score(ONE, OTHER)."""
    one, other = (np.array(each, np.int64) for each in (ONE, OTHER))
    assert kappa(one, other, 5) == pytest.approx(0.67767929089444, abs=1e-12)
    assert kappa(one, other, 9) == kappa(one, other, 5)  # classes that nobody predicts
    assert kappa(one, one, 5) == 1
    assert np.isnan(kappa(one * 0, one * 0, 5))


def test_spearman_is_scipys() -> None:
    """SciPy 1.18.1: spearmanr(X, Y).statistic; ranks with ties are those of pandas."""
    x, y = np.array(X), np.array(Y)
    assert spearman(x, y) == pytest.approx(0.8822963485099202, abs=1e-12)
    np.testing.assert_array_equal(ranks(x), pd.Series(x).rank())
    assert np.isnan(spearman(x, y * 0))


def test_every_number_by_brute_force() -> None:
    data = flickering_data(images=120, classes=4)
    labels = data.test_labels
    runs = [flickering_run(data, 20, seed=seed) for seed in range(3)]
    found = eb.insight.compare(dict(zip("abc", runs, strict=True)), dataset=data)
    assert found.labels == ("a", "b", "c")
    last = [run.predictions[-1] for run in runs]
    for i in range(3):
        for j in range(3):
            pairs = list(zip(last[i].tolist(), last[j].tolist(), labels.tolist(), strict=True))
            assert found.churn[i, j] == pytest.approx(sum(a != b for a, b, _ in pairs) / 120)
            assert found.shared_errors[i, j] == sum(a != y and b != y for a, b, y in pairs)
            assert found.same_errors[i, j] == sum(a == b != y for a, b, y in pairs)
            errors = [sum(each[k] != each[2] for each in pairs) for k in (0, 1)]
            assert found.expected_errors[i, j] == pytest.approx(errors[0] * errors[1] / 120 if i != j else errors[0])
            learned = [eb.insight.learning(runs[k], dataset=data).learned_for_good for k in (i, j)]
            series = [pd.Series(np.where(each < 0, 10**6, each)) for each in learned]
            assert found.order[i, j] == pytest.approx(series[0].rank().corr(series[1].rank()))
    wrong = np.sum([each != labels for each in last], axis=0)
    np.testing.assert_array_equal(found.wrong_in, wrong)
    assert found.wrong_in_all.tolist() == np.flatnonzero(wrong == 3).tolist()
    assert found.wrong_in_one.tolist() == np.flatnonzero(wrong == 1).tolist()
    np.testing.assert_allclose(found.agreement, 1 - found.churn)
    np.testing.assert_allclose(found.beyond_chance.diagonal(), 1)
    assert "measured every step" in repr(found)


def test_one_seed_twice_is_one_run(quick: Callable[..., eb.Run], tmp_path: Path) -> None:
    for number, seed in enumerate((1, 1, 2)):
        quick(steps=6, seed=seed, record=("predictions",)).save(tmp_path / str(number))
    found = eb.insight.compare([tmp_path / "0", tmp_path / "1", tmp_path / "2"], labels=["first", "again", "other"])
    assert found.churn[0, 1] == 0
    assert found.kappa[0, 1] == pytest.approx(1)
    assert found.churn[0, 2] > 0
    np.testing.assert_array_equal(found.churn, found.churn.T)
    table = found.frame
    assert table["other"].tolist() == ["again", "other", "other"]
    np.testing.assert_allclose(table["churn"], found.churn[[0, 0, 1], [1, 2, 2]])


def test_runs_on_other_images_are_refused(quick: Callable[..., eb.Run]) -> None:
    data, other = flickering_data(), flickering_data(seed=1)
    run = flickering_run(data, 5)
    with pytest.raises(ArgumentError, match="run 1 and run 2 are of different data sets"):
        eb.insight.compare([run, flickering_run(other, 5)], dataset=data)
    parts = [quick(steps=2, evaluate_on=part, record=("predictions",)) for part in (20, 30)]
    with pytest.raises(ArgumentError, match=r"measured on different test images \(20 and 30 of them\)"):
        eb.insight.compare(parts)
    for alone in (run, [run]):
        with pytest.raises(ArgumentError, match="compare needs two runs or more"):
            eb.insight.compare(alone, dataset=data)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match=r"^insight\.compare: 1 labels for 2 runs"):  # plots.compare is another one
        eb.insight.compare([run, run], labels=["a"], dataset=data)
    with pytest.raises(AttributeError, match="train with record="):
        eb.insight.compare([run, recorded_run(data, run.predictions, predictions=None)], dataset=data)


@pytest.mark.parametrize("count", [2, 16])
def test_the_picture(count: int) -> None:
    data = flickering_data(images=100)
    runs = [flickering_run(data, 8, seed=seed) for seed in range(count)]
    found = eb.insight.compare(runs, labels=[f"run {i}" for i in range(count)], dataset=data)
    ax = found.plot()
    assert [text.get_text() for text in ax.get_xticklabels()] == [f"run {i}" for i in range(count)]
    texts = [text.get_text() for text in ax.texts]
    if count == 2:
        churn, beyond = 100 * found.churn[0, 1], found.beyond_chance[1, 0]
        expected = [f"{churn:.1f}" if churn >= 10 else f"{churn:.2f}", f"{beyond:.2f}"]
        assert texts == [*expected, *(f"{each:.2%}" for each in found.accuracy)]
    plt.close("all")


def test_images_that_all_get_wrong_name_what_most_take_them_for(colour: eb.Dataset) -> None:
    labels, last = colour.test_labels, np.tile(colour.test_labels, (3, 1))
    last[:, 5] = (labels[5] + np.array([1, 2, 2])) % 10
    last[:, 8] = (labels[8] + 3) % 10
    last[1, 9] = (labels[9] + 3) % 10
    runs = [recorded_run(colour, np.stack([row, row])) for row in last]
    found = eb.insight.compare(runs, labels=["a", "b", "c"], dataset=colour)
    assert found.wrong_in_all.tolist() == [5, 8]
    np.testing.assert_array_equal(found.predicted, last)
    ax = found.plot_images()
    names = colour.classes
    all_agree = f"{names[labels[8]]} → {names[(labels[8] + 3) % 10]}"
    two_do = f"{names[labels[5]]} → {names[(labels[5] + 2) % 10]} (2/3)"
    assert [text.get_text() for text in ax.texts] == [all_agree, two_do]
    np.testing.assert_array_equal(ax.images[0].get_array(), colour.test_images[8])
    plt.close("all")


def test_runs_without_errors_share_none() -> None:
    data = flickering_data(images=30)
    perfect = recorded_run(data, np.tile(data.test_labels, (3, 1)))
    found = eb.insight.compare([perfect, perfect], labels=["a", "b"], dataset=data)
    assert np.isnan(found.beyond_chance).all()
    assert "no errors to share" in repr(found)
    found.plot()
    plt.close("all")
