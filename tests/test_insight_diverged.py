"""Of a run that diverged, what comes after that is no measurement of its images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

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


QUIET = pytest.mark.filterwarnings("ignore:.*NaN or infinite:RuntimeWarning")


def metered(data: eb.Dataset, broken: range, record: tuple[str, ...]) -> eb.Run:
    """Return a run of 12 steps by hand, in which a weight was NaN while it was measured after some of them."""
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10))
    weight = module[1].weight
    with eb.Meter(module, data, record=record) as meter:
        for step in range(1, 13):
            with torch.no_grad():
                weight += 0.01 * torch.randn(weight.shape)
                sound = weight[3, 300].clone()
                if step in broken:
                    weight[3, 300] = torch.nan
                meter.step(1.0)
                weight[3, 300] = sound
    return meter.run


# A Meter ends nothing: where later measurements are finite, the run is sound.
@QUIET
def test_a_loss_that_was_no_number_for_a_moment_costs_one_measurement(data: eb.Dataset, tmp_path: Path) -> None:
    run = metered(data, range(5, 6), ("predictions", "losses"))
    assert (run.diverged_at, run.state) == (None, "finished")
    kept = np.delete(np.arange(13), 5)
    right = run.predictions[kept] == data.test_labels
    bands = eb.insight.bands(run, splits=20)
    np.testing.assert_array_equal(bands.step, kept)
    np.testing.assert_allclose(bands.accuracy, right.mean(axis=1))
    assert bands.accuracy[bands.best] == pytest.approx(run.best_accuracy)
    np.testing.assert_allclose(bands.loss, run.test_loss[kept], rtol=2e-3)
    np.testing.assert_array_equal(eb.insight.learning(run).learned_for_good >= 0, right[-1])
    batches = eb.insight.batches(run)
    np.testing.assert_array_equal(batches.steps, np.diff(kept))
    np.testing.assert_allclose(batches.loss_change, np.diff(run.test_loss[kept].astype(float)))
    np.testing.assert_array_equal(eb.insight.compare([run, run]).predicted, run.predictions[[-1, -1]])
    assert (
        "without 1 measurement whose loss is no number" in content(eb.insight.report(run, tmp_path / "a.html"))["facts"]
    )


# NumPy, on what was recorded at the steps that the page names.
@QUIET
def test_the_page_tells_of_each_measurement_its_own_numbers(data: eb.Dataset, tmp_path: Path) -> None:
    run = metered(data, range(5, 8), ("predictions", "losses"))
    told = content(eb.insight.report(run, tmp_path / "a.html"))
    kept = [*range(5), *range(8, 13)]
    right = run.predictions == data.test_labels
    assert told["steps"] == kept
    np.testing.assert_allclose(told["accuracy"], right[kept].mean(axis=1), rtol=1e-5)
    np.testing.assert_allclose(told["loss"], run.test_loss[kept], rtol=1e-5)
    assert any(fall["before"] >= 8 for fall in told["falls"])
    for fall in told["falls"]:
        before, after = right[fall["before"]], right[fall["step"]]
        assert fall["lost"] == (before & ~after).sum()
        assert fall["gained"] == (~before & after).sum()


@QUIET
def test_the_accuracy_at_the_onset_is_none_of_broken_weights(glyphs: eb.Dataset) -> None:
    network = eb.Network([eb.Flatten(), eb.Linear(784, 10)])
    schedule = eb.schedules.multistep([12], gamma=1e38)
    how: dict[str, Any] = {"batch_size": 16, "steps": 16, "lr": 0.5, "schedule": schedule, "optimizer": "sgd"}
    run = eb.train(network, glyphs, record=("examples",), progress=False, **how)
    sound = np.flatnonzero(np.isfinite(run.test_loss))
    assert sound[-1] < len(run.test_loss) - 1
    found = eb.insight.memorisation(run)
    assert found.onset_step is None
    assert found.accuracy_at_onset == pytest.approx(run.test_accuracy[sound[-1]])
    assert found.accuracy_at_onset != pytest.approx(run.test_accuracy[-1])
    above = found.plot()[0]
    np.testing.assert_array_equal(above.lines[0].get_ydata(), run.test_accuracy[sound])
    lost = eb.Run({**run._arrays, "test_loss": np.full_like(run.test_loss, np.nan)}, run.config)
    assert np.isnan(eb.insight.memorisation(lost).accuracy_at_onset)
    eb.insight.memorisation(lost).plot()
    plt.close("all")


@pytest.mark.parametrize("record", [("predictions", "losses"), ("predictions",), ("examples", "losses", "predictions")])
@QUIET
def test_labels_are_judged_by_what_came_before(data: eb.Dataset, record: tuple[str, ...]) -> None:
    run = metered(data, range(7, 13), record)
    assert run.diverged_at == 7
    found = eb.insight.label_errors(run, part="test")
    votes = run.predictions[2:7]  # two thirds of the seven measurements before
    assert np.isfinite(found.score).all()
    assert len(np.unique(found.score)) > 3
    np.testing.assert_array_equal(found.votes[found.counted], votes[:, found.indices])


@QUIET
def test_labels_are_not_judged_by_nothing(data: eb.Dataset) -> None:
    run = metered(data, range(1, 13), ("predictions", "losses"))
    arrays = {name: values.copy() for name, values in run._arrays.items()}
    arrays["test_loss"][:] = np.nan
    with pytest.raises(ArgumentError, match="no measurement of all its test images whose loss is a number"):
        eb.insight.label_errors(eb.Run(arrays, run.config), part="test")


# A rate of 1e30 makes the weights infinite in the first step: what they get right by chance is no accuracy.
@pytest.mark.filterwarnings("ignore:the loss became NaN")
def test_broken_weights_count_in_no_mean_and_no_table(tiny: eb.Network, glyphs: eb.Dataset) -> None:
    run = eb.train(tiny, glyphs, steps=5, lr=1e30, optimizer="sgd", progress=False)
    assert run.diverged_at is not None
    sound = run.test_accuracy[(run.eval_step > 0) & np.isfinite(run.test_loss)]
    assert np.isnan(run.mean_accuracy()) if len(sound) == 0 else run.mean_accuracy() == pytest.approx(sound.mean())
    assert run.class_accuracy_table()["accuracy"].isna().all()
