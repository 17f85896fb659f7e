"""Of a run that diverged, what comes after that is no measurement of its images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import everybatch as eb
from everybatch.errors import ArgumentError
from test_insight_report import content


@pytest.fixture(scope="module")
def data() -> eb.Dataset:
    return eb.datasets.glyphs(train=320, test=50)


@pytest.fixture(scope="module")
def run(data: eb.Dataset) -> eb.Run:
    """Step 12 has the rate 5e37, and what comes of it is no number; predicted then is whatever argmax says of NaN."""
    with pytest.warns(RuntimeWarning, match="NaN or infinite"):
        return eb.train(
            eb.Network([eb.Flatten(), eb.Linear(784, 10)]),
            data,
            steps=16,
            batch_size=16,
            optimizer="sgd",
            lr=0.5,
            schedule=eb.schedules.multistep([12], gamma=1e38),
            record=("predictions", "losses"),
            progress=False,
        )


@pytest.fixture(scope="module")
def sound(run: eb.Run) -> int:
    """How many measurements there are before: counted from the losses alone."""
    count = int(np.isfinite(run.test_loss).sum())
    assert 10 < count < len(run.test_loss)
    return count


def test_nothing_is_learned_after_it(run: eb.Run, sound: int, data: eb.Dataset) -> None:
    found = eb.insight.learning(run)
    right = run.predictions[:sound] == data.test_labels
    np.testing.assert_array_equal(found.learned_for_good >= 0, right[-1])


def test_levels_and_changes_end_before_it(run: eb.Run, sound: int) -> None:
    found = eb.insight.bands(run, splits=20)
    assert len(found.step) == len(found.accuracy) == sound
    assert found.loss is not None
    assert np.isfinite(found.loss).all()
    np.testing.assert_allclose(found.accuracy, run.test_accuracy[:sound], rtol=1e-6)
    assert found.change(0).loss_change == pytest.approx(float(run.test_loss[sound - 1] - run.test_loss[0]), rel=2e-3)


def test_the_ledger_ends_before_it(run: eb.Run, sound: int) -> None:
    found = eb.insight.batches(run)
    assert len(found.net) == len(found.loss_change) == sound - 1
    assert np.isfinite(found.loss_change).all()
    assert int(found.net.sum()) == round(float(run.test_accuracy[sound - 1] - run.test_accuracy[0]) * 50)


def test_runs_are_compared_by_what_came_before(run: eb.Run, sound: int, data: eb.Dataset) -> None:
    found = eb.insight.compare([run, run], labels=["a", "b"])
    np.testing.assert_array_equal(found.predicted, run.predictions[[sound - 1, sound - 1]])


def test_the_film_and_the_page_end_before_it(run: eb.Run, sound: int, data: eb.Dataset, tmp_path: Path) -> None:
    film = eb.insight.confusion_film(run)
    assert np.trace(film.matrix()) == round(float(run.test_accuracy[sound - 1]) * 50)
    told = content(eb.insight.report(run, tmp_path / "a.html"))
    assert len(told["steps"]) == len(told["loss"]) == sound
    assert None not in told["loss"]
    assert "diverged: without the 1 measurement after that" in told["facts"]


def test_one_that_diverged_at_once_is_refused(run: eb.Run) -> None:
    arrays = {name: values.copy() for name, values in run._arrays.items()}
    arrays["test_loss"][:] = np.nan
    lost = eb.Run(arrays, run.config)
    for analysis in (eb.insight.bands, eb.insight.learning, eb.insight.batches, eb.insight.confusion_film):
        with pytest.raises(ArgumentError, match=r"this run has none before it diverged \(14 in all\)"):
            analysis(lost)
    with pytest.raises(ArgumentError, match="none before it diverged"):
        eb.insight.compare([run, lost], labels=["a", "b"])
