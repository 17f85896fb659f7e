"""Plain-text tables: how each class fared, and how a run went."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from everybatch._core import Evaluation
from everybatch._words import count, duration
from everybatch.run import Run
from everybatch.runs._estimates import estimated

__all__ = ["checkpoint_table", "class_table", "duration", "percent", "selected", "shares", "summary"]


def class_table(names: Sequence[str], confusion: npt.NDArray[np.int64]) -> str:
    """Return a table with one line for each class.

    Parameters
    ----------
    names
        Of the classes.
    confusion
        (classes, classes) counts; rows are true classes, columns predicted.
    """
    lines = [("class", "images", "right", "accuracy", "most often taken for")]
    for index, name in enumerate(names):
        images, right = int(confusion[index].sum()), int(confusion[index, index])
        wrong = confusion[index].copy()
        wrong[index] = 0
        worst = int(wrong.argmax())
        mistake = f"{names[worst]} ({count(int(wrong[worst]), 'time')})" if wrong[worst] else "-"
        lines.append((name, f"{images:,}", f"{right:,}", percent(right / images if images else np.nan), mistake))
    widths = [max(len(line[column]) for line in lines) for column in range(4)]
    return "\n".join(
        f"  {line[0]:<{widths[0]}}  {line[1]:>{widths[1]}}  {line[2]:>{widths[2]}}  {line[3]:>{widths[3]}}  {line[4]}"
        for line in lines
    )


def checkpoint_table(names: Sequence[str], table: Mapping[int, Evaluation]) -> str:
    """Return a table with one line for each number of batches taken: loss, accuracy, accuracy of each class.

    Parameters
    ----------
    names
        Of the classes.
    table
        What `evaluate_checkpoints` returned.
    """
    lines = [("step", "loss", "accuracy", *names)]
    for step, measured in table.items():
        shares = ["-" if np.isnan(share) else f"{100 * share:.2f}" for share in measured.class_accuracy]
        lines.append((f"{step:,}", f"{measured.loss:.4f}", percent(measured.accuracy), *shares))
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  " + "  ".join(f"{cell:>{width}}" for cell, width in zip(line, widths, strict=True)) for line in lines
    )


def summary(run: Run) -> str:
    """Return a few lines: how good the network ended, how good it ever was, and where the time went."""
    lines = []
    if run.best_step is not None:
        lines.append(f"Final test accuracy: {percent(run.final_accuracy)} after {count(run.steps, 'batch')}.")
        lines.append(
            f"Best test accuracy:  {percent(run.best_accuracy)} after {count(run.best_step, 'batch')} "
            "(picked by looking at the test set, so it flatters)."
        )
    if run.config["training"].get("select") == "best":
        lines.append(selected(run))
    training, measuring, times = run.train_seconds.sum(), run.eval_seconds.sum(), len(run.eval_seconds)
    estimates = estimated(run)
    images = "test images" if estimates else count(len(run.test_indices), "test image")
    lines.append(
        f"Time: {duration(training)} training, {duration(measuring)} measuring {images} {count(times, 'time')}."
    )
    if estimates:
        lines.append(f"Test accuracies are {estimates}.")
    if run.state != "finished":
        message = run.config["status"].get("message")
        why = f" ({message})" if message else ""
        when = f"after step {run.steps:,}" if math.isnan(run.epochs) else f"in epoch {int(run.epochs) + 1}"
        lines.append(f"The run was not finished: {run.state} {when}{why}.")
    return "\n".join(lines)


def selected(run: Run) -> str:
    """Return a sentence about the weights that a run with select="best" has."""
    monitor = str(run.config["training"]["monitor"]).replace("_", " ")
    return (
        f"Selected weights:    {percent(run.model_accuracy)} test accuracy, those with the best {monitor}, "
        f"after {count(run.model_step, 'batch')}."
    )


def shares(names: Sequence[str], accuracies: npt.NDArray[np.float32]) -> dict[str, float | None]:
    """Return the accuracy of each class for JSON, which knows no NaN."""
    values = [None if np.isnan(share) else round(float(share), 6) for share in accuracies]
    return dict(zip(names, values, strict=True))


def percent(share: float) -> str:
    return "no images" if np.isnan(share) else f"{100 * share:.2f} %"
