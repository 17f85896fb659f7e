"""Runs that grow in their folders without being trained, as fast as a test likes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from everybatch.folder import Journal
from sweep_stores import drawn_arrays
from test_run import example_config

__all__ = ["OF_RUN", "GrowingRun", "lose_all"]

OF_RUN = ("confusion", "test_indices", "validation_indices")


_GROWING: list[GrowingRun] = []


def lose_all() -> None:
    """Lose all runs that still grow; a test that makes some ends with this."""
    while _GROWING:
        _GROWING.pop().lose()


class GrowingRun:
    """A run in a folder: `grow` writes rows, `end` lets it finish, `lose` ends its process without a word."""

    def __init__(
        self, folder: Path, total: int, *, seed: int = 0, name: str = "tiny", error: float = 0.0, **training: Any
    ) -> None:
        self.arrays = drawn_arrays(seed, 0.9, total, validation=False)
        self.arrays["class_accuracy"] = (self.arrays["class_accuracy"] * [1, 0.9, 0.8]).astype(np.float32)
        if error:
            for measure in ("test_accuracy", "test_loss"):
                self.arrays[f"{measure}_error"] = np.full(total + 1, error, np.float32)
        self.config = example_config(3, total_steps=total, **training)
        self.config["network"]["name"] = name
        self.config["started"] = f"2026-01-01T00:00:{seed:02}+00:00"
        self.steps = 0
        self.is_over = False
        folder.parent.mkdir(parents=True, exist_ok=True)
        self.journal = Journal(folder)
        _GROWING.append(self)
        config = {key: value for key, value in self.config.items() if key != "status"}
        of_run = {"test_indices": self.arrays["test_indices"]}
        with self.journal.begin({"config": config, "arrays": of_run, "settings": {}}):
            pass

    def grow(self, steps: int) -> None:
        before = self.steps
        self.steps += steps
        first = 0 if before == 0 else before + 1  # the measurement before the first step
        self.journal.write(
            {
                name: array[before : self.steps] if name.startswith("train") else array[first : self.steps + 1]
                for name, array in self.arrays.items()
                if name not in OF_RUN
            }
        )

    def end(self, state: str = "finished", message: str = "") -> None:
        arrays = {
            name: array if name in OF_RUN else array[: self.steps + (not name.startswith("train"))]
            for name, array in self.arrays.items()
        }
        config = {**self.config, "status": {**self.config["status"], "state": state, "message": message}}
        model = SimpleNamespace(save=lambda path: Path(path).write_bytes(b"weights"))
        self.journal.end(SimpleNamespace(_arrays=arrays, _config=config), model)  # type: ignore[arg-type]
        self.lose()

    def lose(self) -> None:
        if not self.is_over:
            self.is_over = True
            self.journal.close()
