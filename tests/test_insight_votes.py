"""Votes and the model of label noise, the onset of memorisation and calibration: arithmetic on plain arrays."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from everybatch.insight import _calibration, _label_noise, _onset, _votes

Ints = npt.NDArray[np.int64]


def test_votes_are_counts() -> None:
    predictions = np.random.default_rng(0).integers(0, 300, (7, 50)).astype(np.uint16)
    expected = np.stack([np.bincount(column, minlength=300) for column in predictions.T])
    np.testing.assert_array_equal(_votes.count_votes(predictions, 300), expected)


def test_rivals_are_the_most_frequent_others() -> None:
    votes = np.array([[5, 2, 2], [0, 9, 1], [3, 3, 4]])
    rival, of_rival = _votes.rivals(votes, np.array([0, 0, 2]))
    np.testing.assert_array_equal(rival, [1, 1, 0])
    np.testing.assert_array_equal(of_rival, [2, 9, 3])


def test_a_vote_outweighs_any_margin() -> None:
    votes, labels = np.array([[6, 4], [5, 5], [5, 5], [4, 6]]), np.zeros(4, np.int64)
    margin = _votes.votes_margin(votes, labels, np.array([-50.0, 3.0, -3.0, 50.0]))
    assert np.all(np.diff(margin) > 0)
    np.testing.assert_allclose(margin, [-0.2, 0, 0, 0.2], atol=0.05)


def test_votes_near_a_border_count_less_only_if_others_of_their_class_are_not() -> None:
    votes = np.array([[9, 0]] * 4 + [[0, 9]] * 4)
    margins = np.array([8.0, -8.0, 8.0, 2.0, 0.5, -0.5, 0.5, 0.5])
    np.testing.assert_allclose(_votes.reliability(votes, margins), [1, 1, 1, 0.25, 1, 1, 1, 1])
    np.testing.assert_array_equal(_votes.reliability(votes, np.zeros(8)), 1)  # margins are not known


def drawn(noise: npt.NDArray[np.float64], images: int, seed: int) -> tuple[Ints, Ints, Ints, npt.NDArray[np.float64]]:
    """Labels and votes as the model has them: true classes, labels, votes of three passes, and margins of one size."""
    draw, classes = np.random.default_rng(seed), len(noise)
    seen = np.full((classes, classes), 0.1 / (classes - 1))
    np.fill_diagonal(seen, 0.9)
    true = draw.integers(0, classes, images)
    labels = (noise.cumsum(axis=1)[true] < draw.random((images, 1))).sum(axis=1)
    votes = np.stack([draw.multinomial(3, seen[each]) for each in true])
    margins = np.where(votes.argmax(axis=1) == labels, 4.0, -4.0)
    return true, labels, votes, margins


FLIPS = np.array([[0.6, 0.4, 0, 0], [0, 1, 0, 0], [0.05, 0.05, 0.9, 0], [0, 0, 0, 1.0]])


def test_the_model_of_label_noise_finds_what_it_was_drawn_from() -> None:
    true, labels, votes, margins = drawn(FLIPS, 20_000, seed=1)
    found = _label_noise.label_noise(votes, labels, margins)
    np.testing.assert_allclose(found.noise, FLIPS, atol=0.03)
    wrong = labels != true
    assert found.wrong.sum() == pytest.approx(wrong.sum(), rel=0.1)
    for low in np.arange(0, 1, 0.1):  # three votes are what the model believes in: so its probabilities are true ones
        mine = (found.wrong >= low) & (found.wrong < low + 0.1)
        if mine.sum() > 400:
            assert wrong[mine].mean() == pytest.approx(found.wrong[mine].mean(), abs=0.05)
    sure = found.wrong > 0.9
    assert (found.suggested[sure] == true[sure]).mean() > 0.95


def test_a_common_flip_is_more_suspicious_than_a_rare_one_with_the_same_votes() -> None:
    _, labels, votes, margins = drawn(FLIPS, 20_000, seed=2)
    labels[:2], votes[:2], margins[:2] = [1, 3], [[2, 1, 0, 0], [2, 0, 0, 1]], -4.0
    found = _label_noise.label_noise(votes, labels, margins)
    assert found.wrong[0] > 0.5 > found.wrong[1]
    np.testing.assert_array_equal(found.suggested[:2], 0)


def test_log_odds_are_those_of_the_probability() -> None:
    _, labels, votes, margins = drawn(np.array([[0.8, 0.2], [0.1, 0.9]]), 500, seed=3)
    found = _label_noise.label_noise(votes, labels, margins)
    np.testing.assert_allclose(
        1 / (1 + np.exp(-found.log_odds)), found.wrong, atol=1e-9
    )  # of two classes, one is other


@pytest.mark.parametrize("seed", range(5))
def test_clean_labels_are_not_suspicious(seed: int) -> None:
    _, labels, votes, margins = drawn(np.eye(5), 4_000, seed)
    assert _label_noise.label_noise(votes, labels, margins).wrong.sum() < 4


def course(fitted: list[float], seed: int = 0, wrong: int = 200, images: int = 1_000) -> tuple[Ints, Ints]:
    """Predictions of a network that gets 97 % of clean images right and fits these shares of wrong labels."""
    draw = np.random.default_rng(seed)
    true = draw.integers(0, 10, images)
    labels = true.copy()
    labels[:wrong] = (true[:wrong] + draw.integers(1, 10, wrong)) % 10
    predictions = np.tile(true, (len(fitted), 1))
    for row, share in zip(predictions, fitted, strict=True):
        row[:wrong] = np.where(draw.permutation(wrong) < share * wrong, labels[:wrong], true[:wrong])
        odd = wrong + draw.choice(images - wrong, 3 * (images - wrong) // 100, replace=False)
        row[odd] = (row[odd] + 1) % 10
    return predictions, labels


RISING = [0.02] * 8 + [0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.9, 0.9]


@pytest.mark.parametrize("seed", range(5))
def test_the_onset_is_where_wrong_labels_begin_to_be_fitted(seed: int) -> None:
    found = _onset.fitted_suspects(*course(RISING, seed), 10)
    assert found.onset == 8
    assert found.suspects[1] > 190
    assert found.suspects[0] == 0
    assert np.isnan(found.suspects_fitted[0])
    np.testing.assert_allclose(found.suspects_fitted[1:12], RISING[1:12], atol=0.12)
    assert np.all(found.others_fitted[1:] > 0.95)


def test_suspects_are_those_with_three_fifths_of_the_votes_before() -> None:
    predictions = np.array([[1, 1, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [1, 1, 1]])
    found = _onset.fitted_suspects(predictions, np.zeros(3, np.int64), 2)
    np.testing.assert_array_equal(found.suspects, [0, 2, 1, 2, 2])  # votes 1/1 1/1; 2/2 1/2; 3/3 2/3; 3/4 3/4
    np.testing.assert_allclose(found.suspects_fitted, [np.nan, 0.5, 0, 0.5, 0])


@pytest.mark.parametrize(
    "fitted",
    [[0.02] * 20, [0.3, 0.05] * 10, [0.02] * 18 + [0.3] * 2, [0.5] * 5 + [0.7] * 15],
    ids=["held off", "to and fro", "twice at the end", "never held off"],
)
def test_no_onset_without_a_rise_that_lasts(fitted: list[float]) -> None:
    assert _onset.fitted_suspects(*course(fitted), 10).onset is None


def test_no_onset_from_a_handful_of_images() -> None:
    assert _onset.fitted_suspects(*course(RISING, wrong=6), 10).onset is None


def test_no_onset_while_a_network_learns() -> None:
    """At first it takes everything for one class or another, which is no vote against a label."""
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 10, 1_000)
    learned = np.linspace(0.1, 0.75, 20)
    predictions = np.stack([np.where(draw.random(1_000) < share, labels, 3) for share in learned])
    assert _onset.fitted_suspects(predictions, labels, 10).onset is None


def test_isotonic_regression() -> None:
    # scikit-learn 1.9.1: IsotonicRegression().fit(np.arange(10), values, sample_weight=weights).predict(np.arange(10))
    values = np.array([3.0, 1, 2, 2, 5, 4, 4.5, 9, 0, 8])
    weights = np.array([1.0, 2, 1, 1, 1, 3, 1, 0.5, 2, 1])
    expected = [5 / 3] * 2 + [2.0] * 2 + [52 / 15] * 5 + [8.0]
    np.testing.assert_allclose(_calibration.isotonic(values, weights), expected, rtol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_isotonic_regression_rises_and_keeps_the_mean(seed: int) -> None:
    draw = np.random.default_rng(seed)
    values, weights = draw.normal(size=200), draw.uniform(0.1, 3, 200)
    found = _calibration.isotonic(values, weights)
    assert np.all(np.diff(found) >= 0)
    assert found @ weights == pytest.approx(values @ weights)
    np.testing.assert_allclose(_calibration.isotonic(found, weights), found)


def test_probabilities_by_planted_errors_are_true_ones() -> None:
    """Scores of two overlapping kinds; of the wrong ones there are also planted ones, which are known."""
    draw = np.random.default_rng(0)
    wrong = draw.random(40_000) < 0.1
    score = np.where(wrong, draw.normal(2, 1, 40_000), draw.normal(-2, 1, 40_000))
    found = _calibration.probability_by_planted(score, draw.normal(2, 1, 3_000))
    assert found.sum() == pytest.approx(wrong.sum(), rel=0.1)
    place = np.minimum((found * 5).astype(int), 4)
    for number in range(5):
        mine = place == number
        if mine.sum() > 100:
            assert wrong[mine].mean() == pytest.approx(found[mine].mean(), abs=0.12)
    order = np.argsort(score)
    assert np.all(np.diff(found[order]) >= 0)
