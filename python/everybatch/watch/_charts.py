"""The charts: which curves of a run each has, in as many columns as there are pixels."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from everybatch._measures import MEASURES, QUANTITIES, parts_of
from everybatch._metered import epoch_steps
from everybatch.watch._thin import Thin, thin
from everybatch.watch._watched import Watched

__all__ = ["AXES", "CHARTS", "View", "axis_end", "series"]

Array = npt.NDArray[Any]

AXES = ("step", "epoch", "seconds")
CHARTS = (*QUANTITIES, "classes", "seconds", "lr")


@dataclass(frozen=True)
class View:
    """What is to be seen of one chart: where, in how many columns; None: from one end to the other."""

    chart: str
    columns: int
    window: tuple[float, float] | None


def series(run: Watched, view: View, axis: str, classes: tuple[int, ...]) -> Iterator[tuple[str, Thin]]:
    """Give the curves of a chart, each with its name: the part of the data, or the class."""
    for name, measure, column in _curves(run, view.chart, classes):
        values = getattr(run, measure)
        x = _axis(run, measure, axis)
        errors = MEASURES[measure].errors
        error = None if errors is None or (run.narrow and column is not None) else getattr(run, errors)
        if column is not None:
            values, error = values[:, column], None if error is None else error[:, column]
        if len(values) == len(x):
            most = 1.0 if MEASURES[measure].unit == "fraction" else np.inf
            yield name, thin(x, values, view.columns, view.window, error, most)


def _curves(run: Watched, chart: str, classes: tuple[int, ...]) -> Iterator[tuple[str, str, int | None]]:
    """Give name, measure, and place in its rows, of the curves of a chart that a run has."""
    if chart in QUANTITIES:
        for part, measure in parts_of(chart).items():
            if measure.is_in(run):
                yield part, measure.name, None
    elif chart == "classes":
        names = run._config["dataset"]["classes"]
        for place in classes:
            if place < len(names):
                yield str(names[place]), "class_accuracy", place
    elif chart == "seconds":
        yield "step", "train_seconds", None
        yield "measurement", "eval_seconds", None
    elif "lr" in run._arrays:
        yield "learning rate", "lr", None


def _axis(run: Watched, measure: str, axis: str) -> Array:
    """Return where the values of a measure are along the bottom."""
    at: Array = MEASURES[measure].steps_of(run)
    if axis == "epoch":
        per_epoch = epoch_steps(run._config)
        return np.empty(0) if per_epoch is None else at / per_epoch  # which nobody draws
    if axis == "seconds":
        spent: Array = np.concatenate([[0.0], run.train_seconds])
        spent[run.eval_step] += run.eval_seconds
        total: Array = np.cumsum(spent)
        return total[at]
    return at


def axis_end(run: Watched, axis: str) -> float:
    """Return how far a run has come along the bottom."""
    steps = len(run.train_loss)
    if axis == "epoch":
        return steps / (epoch_steps(run._config) or math.inf)
    return float(run.train_seconds.sum() + run.eval_seconds.sum()) if axis == "seconds" else float(steps)
