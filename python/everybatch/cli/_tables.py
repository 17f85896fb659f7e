"""Plain-text tables: how each class fared, and how a run went."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from everybatch.run import Run

__all__ = ["class_table", "duration", "percent", "summary"]


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
        mistake = f"{names[worst]} ({_count(int(wrong[worst]), 'time')})" if wrong[worst] else "-"
        lines.append((name, f"{images:,}", f"{right:,}", percent(right / images if images else np.nan), mistake))
    widths = [max(len(line[column]) for line in lines) for column in range(4)]
    return "\n".join(
        f"  {line[0]:<{widths[0]}}  {line[1]:>{widths[1]}}  {line[2]:>{widths[2]}}  {line[3]:>{widths[3]}}  {line[4]}"
        for line in lines
    )


def summary(run: Run) -> str:
    """Return a few lines: how good the network ended, how good it ever was, and where the time went."""
    lines = []
    if run.best_step is not None:
        lines.append(f"Final test accuracy: {percent(run.final_accuracy)} after {_count(run.steps, 'batch')}.")
        lines.append(
            f"Best test accuracy:  {percent(run.best_accuracy)} after {_count(run.best_step, 'batch')} "
            "(picked by looking at the test set, so it flatters)."
        )
    training, measuring, times = run.train_seconds.sum(), run.eval_seconds.sum(), len(run.eval_seconds)
    lines.append(
        f"Time: {duration(training)} training, {duration(measuring)} measuring "
        f"{_count(len(run.test_indices), 'test image')} {_count(times, 'time')}."
    )
    if run.state != "finished":
        lines.append(f"The run was not finished: {run.state} in epoch {int(run.epochs) + 1}.")
    return "\n".join(lines)


def percent(share: float) -> str:
    return "no images" if np.isnan(share) else f"{100 * share:.2f} %"


def duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"


def _count(number: int, noun: str) -> str:
    plural = "es" if noun.endswith("ch") else "s"
    return f"{number:,} {noun}{'' if number == 1 else plural}"
