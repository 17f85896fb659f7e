"""The table of measures: it agrees with what Rust gives, and everything else reads it."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from matplotlib.figure import Figure

import everybatch as eb
from everybatch import plots
from everybatch._core import CHOICES
from everybatch._measures import ARRAYS, COLUMNS, CURVES, EVENTS, MEASURES, MONITORS, RECORDABLE, SUMS
from everybatch.errors import ArgumentError


@pytest.fixture(scope="module")
def full(tiny: eb.Network, glyphs: eb.Dataset) -> eb.Run:
    """A run that was trained to record everything."""
    return eb.train(tiny, glyphs, batch_size=32, validation=0.2, record=RECORDABLE)


@pytest.fixture(scope="module")
def bare(tiny: eb.Network, glyphs: eb.Dataset) -> eb.Run:
    """A run that was trained to record no more than usual."""
    return eb.train(tiny, glyphs, batch_size=32)


def test_rust_gives_the_arrays_of_the_table(full: eb.Run) -> None:
    assert full._arrays.keys() == ARRAYS.keys()


@pytest.mark.parametrize("name", MONITORS)
def test_rust_knows_the_monitors_of_the_table_and_which_direction_is_better(
    name: str, tiny: eb.Network, glyphs: eb.Dataset
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", eb.errors.SelectionWarning)
        run = eb.train(tiny, glyphs, batch_size=32, validation=0.2, select="best", monitor=name)
    costs = MEASURES[name].sign * getattr(run, name)
    assert run.model_step == run.eval_step[1:][np.argmin(costs[1:])]  # after the first step


def test_rust_knows_the_monitors_and_the_recordable_measures_of_the_table() -> None:
    assert CHOICES["monitor"] == MONITORS
    assert set(CHOICES["record"]) == set(RECORDABLE)


@pytest.mark.parametrize("name", MEASURES)
def test_a_run_has_what_the_table_says(full: eb.Run, name: str) -> None:
    measure, values = MEASURES[name], getattr(full, name)
    lengths = {"steps": full.steps, "evaluations": len(full.eval_step), "classes": 10}
    lengths |= {"measured test images": 60, "validation images": 26, "trained images": 104}
    lengths |= {"passes": len(full.training_eval_step), "sums": len(SUMS), "events": len(EVENTS)}
    lengths |= {"states": len(full.state_step), "bytes of a state": full.states.shape[1]}
    assert values.shape == tuple(lengths[dimension] for dimension in measure.dimensions)
    assert values.dtype == measure.type_for(10)
    assert str(values.dtype) in str(measure.__doc__)


@pytest.mark.parametrize("name", [name for name, measure in MEASURES.items() if measure.needs])
def test_what_was_not_recorded_is_an_attribute_error_that_says_how_to_get_it(bare: eb.Run, name: str) -> None:
    assert not hasattr(bare, name)
    with pytest.raises(
        AttributeError, match=r"train with (validation=0\.1|record=\('" + MEASURES[name].record + r"',\))"
    ):
        getattr(bare, name)


def test_what_was_recorded_cannot_be_set(full: eb.Run) -> None:
    with pytest.raises(AttributeError, match="test_loss is what was recorded and cannot be set"):
        full.test_loss = np.zeros(3, np.float32)  # type: ignore[assignment]


def test_every_column_is_in_the_history(full: eb.Run) -> None:
    table = full.history()
    names = [name for name, measure in COLUMNS.items() if name != "class_accuracy" and not measure.of_estimates]
    expected = ["step", "epoch", *names, *full.classes, "seconds"]
    assert table.columns.to_list() == expected


@pytest.mark.parametrize("name", CURVES)
def test_every_curve_can_be_drawn(full: eb.Run, name: str) -> None:
    drawn = plots.compare([full, full], metric=name, labels=["a", "b"], ax=Figure().add_subplot())
    assert drawn.get_ylabel() == CURVES[name].label
    line = max(drawn.lines, key=lambda line: len(np.asarray(line.get_xdata())))
    np.testing.assert_array_equal(np.asarray(line.get_ydata()), np.asarray(getattr(full, name), np.float64))


def test_a_curve_that_was_not_recorded_is_not_drawn(full: eb.Run, bare: eb.Run) -> None:
    with pytest.raises(ArgumentError, match=r"the run of 'b' has no validation images: train with validation=0\.1"):
        plots.compare({"a": full, "b": bare}, metric="validation_loss", ax=Figure().add_subplot())


def test_error_is_one_less_accuracy(full: eb.Run) -> None:
    np.testing.assert_array_equal(full.test_error, 1 - full.test_accuracy.astype(np.float64))
    assert not full.test_error.flags.writeable
    with pytest.raises(AttributeError, match="test_error is what was recorded and cannot be deleted"):
        del full.test_error
