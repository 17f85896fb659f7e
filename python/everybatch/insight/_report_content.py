"""What the page of a run holds, as data: everything that its script draws from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from everybatch._metered import is_metered, total_steps
from everybatch._words import count
from everybatch.insight._falls import Fall, falls
from everybatch.insight._packed import loss_codes, packed, sprites

if TYPE_CHECKING:
    from everybatch.insight._seen import Seen

__all__ = ["content"]

Integers = npt.NDArray[np.int64]

_FALLS = 12
_BATCHES, _OF_EACH = 10, 128
"""Before each fall: those last ones whose images the page has, and so many of each, the first ones."""


def content(one: Seen, most: int) -> dict[str, Any]:
    """Return the content of the page: numbers, names, packed arrays and pictures.

    Parameters
    ----------
    one
        What was measured.
    most
        How many measurements at most.
    """
    run, data, predictions, labels = one.run, one.data, one.predictions, one.labels
    chosen = _spread(len(predictions), most)
    found = falls(predictions, labels, _FALLS)
    told, trained = _batches(one, found)
    kind = np.uint8 if len(data.classes) <= 256 else np.uint16
    return {
        "name": run.config["network"]["name"],
        "facts": _facts(one, len(chosen)),
        "classes": list(data.classes),
        "steps": one.step[chosen].tolist(),
        "accuracy": [_number(value) for value in run.test_accuracy[one.rows][chosen]],
        "loss": [_number(value) for value in run.test_loss[one.rows][chosen]],
        "labels": labels.tolist(),
        "numbers": run.test_indices.tolist(),
        "wide": kind is np.uint16,
        "predictions": packed(predictions[chosen].T.astype(kind)),
        "losses": None if one.losses is None else packed(loss_codes(one.losses[chosen].T)),
        "images": sprites(data.test_images[run.test_indices]),
        "falls": told,
        "trained": {
            "numbers": trained.tolist(),
            "labels": data.train_labels[trained].tolist(),
            "images": sprites(data.train_images[trained]),
        },
    }


def _spread(there: int, most: int) -> Integers:
    """Return which of so many measurements are shown: evenly spread ones, the first and the last among them."""
    return np.unique(np.rint(np.linspace(0, there - 1, min(there, most))).astype(np.int64))


def _batches(one: Seen, found: list[Fall]) -> tuple[list[dict[str, Any]], Integers]:
    """Return what is told of falls, and the training images of their batches: these are named by their place in it."""
    run = one.run
    spans = [(int(one.step[fall.measurement - 1]), int(one.step[fall.measurement])) for fall in found]
    steps = {step for first, last in spans for step in range(max(first, last - _BATCHES), last)}
    if is_metered(run._config):
        steps = set()  # nobody knows them
    batches = {step: run.batch_indices(step) for step in sorted(steps)}
    shown = {step: batch[:_OF_EACH] for step, batch in batches.items()}
    trained: Integers = np.unique(np.concatenate([np.empty(0, np.int64), *shown.values()]))
    told = [
        {
            "before": first,
            "step": last,
            "lost": fall.lost,
            "gained": fall.gained,
            "z": _number(fall.z),
            "batches": [
                {"step": step, "size": len(batches[step]), "images": np.searchsorted(trained, shown[step]).tolist()}
                for step in range(max(first, last - _BATCHES), last)
                if step in batches
            ],
        }
        for fall, (first, last) in zip(found, spans, strict=True)
    ]
    return told, trained


def _facts(one: Seen, shown: int) -> str:
    run, training = one.run, one.run.config["training"]
    parts = [
        f"{run.config['network']['name']} on {one.data.name}",
        f"{run.steps:,} of {total_steps(run._config, run.steps):,} batches"
        + (f" of {training['batch_size']}" if training["batch_size"] else ""),
        f"{count(len(one.labels), 'test image')} measured {count(len(one.step), 'time')}, {one.interval}",
        f"seed {training['seed']}",
    ]
    if len(one.step) < len(run.eval_step):
        left = count(len(run.eval_step) - len(one.step), "measurement")
        parts.append(
            f"without {left} whose loss is no number"
            if run.diverged_at is None
            else f"diverged: without the {left} after that"
        )
    if shown < len(one.step):
        parts.append(f"{shown:,} of the measurements are shown here")
    return " · ".join(parts)


def _number(value: float) -> float | None:
    """Return what JSON can tell."""
    return float(f"{value:.6g}") if np.isfinite(value) else None
