"""The data set of a run, found again or given: labels belong to predictions, and another set is refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import everybatch as eb
from everybatch.errors import ArgumentError
from everybatch.insight import _dataset
from test_run import example_run

Quick = Callable[..., eb.Run]


def test_it_is_found_again_drawn_and_cut_as_it_was(quick: Quick) -> None:
    whole = eb.datasets.glyphs(130, 60, seed=3)
    assert _dataset.dataset_of(quick(steps=1)).fingerprint == whole.fingerprint
    cut = eb.datasets.glyphs(seed=2).subset(train=64, test=30, seed=5)
    assert _dataset.dataset_of(quick(dataset=cut, steps=1)).fingerprint == cut.fingerprint


def test_labels_are_those_of_the_images(quick: Quick, glyphs: eb.Dataset) -> None:
    run = quick(steps=2, evaluate_on=25, record=("predictions",))
    labels = _dataset.labels_measured(run)
    np.testing.assert_array_equal(labels, glyphs.test_labels[run.test_indices])
    assert (run.predictions[-1] == labels).mean() == pytest.approx(run.final_accuracy)
    chosen = np.array([7, 3, 120])
    np.testing.assert_array_equal(_dataset.labels_trained(run, chosen), glyphs.train_labels[chosen])


def test_another_one_is_refused(quick: Quick) -> None:
    run = quick(steps=1)
    with pytest.raises(ArgumentError, match="other images than those of 'glyphs' here"):
        _dataset.dataset_of(run, eb.datasets.glyphs(130, 60, seed=4))
    with pytest.raises(TypeError, match="must be an everybatch Dataset"):
        _dataset.dataset_of(run, "mnist")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="must be an everybatch Run"):
        _dataset.dataset_of("runs/a")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="no fingerprint"):
        _dataset.dataset_of(example_run())


def test_one_without_a_known_name_must_be_given(quick: Quick, colour: eb.Dataset) -> None:
    run = quick(eb.networks.lenet5(in_channels=3), colour, steps=1)
    with pytest.raises(ArgumentError, match="'custom', which cannot be found by its name"):
        _dataset.dataset_of(run)
    assert _dataset.dataset_of(run, colour) is colour
