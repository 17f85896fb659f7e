"""Runs that a `Meter` recorded: what nobody told it of the loop."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["NO_EPOCHS", "epoch_steps", "is_metered", "not_resumed", "total_steps"]

NO_EPOCHS = "the run was recorded by an eb.Meter that was not told how long an epoch is: give it steps_per_epoch="


def is_metered(config: Mapping[str, Any]) -> bool:
    """Return whether a run with this config was recorded by a meter."""
    return isinstance(config.get("meter"), Mapping)


def epoch_steps(config: Mapping[str, Any]) -> int | None:
    """Return the optimizer steps of an epoch; None if nobody knows."""
    steps = config["training"]["steps_per_epoch"]
    return None if steps is None else int(steps)


def total_steps(config: Mapping[str, Any], taken: int) -> int:
    """Return the steps of the whole run; where nobody knows, those that were taken."""
    total = config["training"].get("total_steps")
    return total if isinstance(total, int) else taken


def not_resumed(folder: Path) -> str:
    """Say how to go on with a run in a folder that a meter wrote."""
    return (
        f"the run in {folder} was recorded by an eb.Meter in a training loop that everybatch does not know: go on with "
        "that loop, and a new meter with a folder of its own"
    )
