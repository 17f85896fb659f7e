"""A run in a row of numbers: what the table of a sweep has of it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from everybatch._measures import MEASURES, RESULTS
from everybatch.run import Run

__all__ = ["classes_told", "summarise"]

_TRAIN_WINDOW = 100
"""Batches that training accuracy and loss are averaged over: one batch alone says little."""


def summarise(run: Run) -> dict[str, Any]:
    """Return parameters, best and final accuracies and losses, seconds and extent of a run, in JSON's types.

    The final value is that of the weights that the run returns (`Run.model`), the best one is the highest accuracy or
    lowest loss of all measurements after the first step; estimates count for neither. Training accuracy and loss are
    means over the last 100 batches, and the best of such means. None stands for what was not measured.
    """
    row: dict[str, Any] = {
        "parameters": run.model.network.num_parameters if run._has_model else None,
        "steps": run.steps,
        "epochs": None if math.isnan(run.epochs) else run.epochs,
    }
    kept = np.flatnonzero(run.eval_step == run.model_step)
    after = run.eval_step > 0
    for name in RESULTS:
        measure = MEASURES[name]
        if not measure.is_in(run):
            values = final = np.empty(0)
        elif measure.dimensions[0] == "steps":
            values = _trailing_means(getattr(run, name))
            final = values[-1:]
        else:
            measured = np.where(measure.complete(run), measure.sound(run), np.nan)
            values, final = measured[after], measured[kept[:1]]
        finite = values[np.isfinite(values)]
        best = (np.min(finite) if measure.better == "lower" else np.max(finite)) if len(finite) else None
        row[f"best_{name}"] = _number(best)
        row[f"final_{name}"] = _number(final[0] if len(final) and np.isfinite(final[0]) else None)
    row["seconds"] = run.total_seconds
    row["status"] = run.state
    row["message"] = str(run._config["status"].get("message") or "")
    row["classes"] = classes_told(run.classes)
    row["hardware"] = run._config.get("hardware", {}).get("name", "")
    row["started"] = run._config.get("started", "")
    return row


def classes_told(names: Sequence[str]) -> str:
    """Return a digest of class names in their order: with a row it says whether a run has those of a data set."""
    return hashlib.sha256(json.dumps(list(names)).encode()).hexdigest()[:16]


def _trailing_means(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Means (n - window + 1,) of so many values in a row."""
    window = min(_TRAIN_WINDOW, len(values))
    if not window:
        return np.empty(0)
    sums = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    means: npt.NDArray[np.float64] = (sums[window:] - sums[:-window]) / window
    return means


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
