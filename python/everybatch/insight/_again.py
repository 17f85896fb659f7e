"""The way back into a run: from a state that it kept, in the conditions in which it was trained."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np

from everybatch._core import Data
from everybatch._gpu import gpu_settings
from everybatch._measures import MEASURES
from everybatch._threads import torch_threads
from everybatch.dataset import Dataset
from everybatch.errors import ArgumentError
from everybatch.run import Run

__all__ = ["at_work", "keeps_states", "kept_before"]


def keeps_states(run: Run) -> bool:
    """Return whether a run kept states to go back to."""
    return "state_step" in run._arrays and len(run.state_step) > 0


def kept_before(run: Run, step: int) -> int:
    """Return the place among its states of the last one that a run kept before it took step number `step` (from 0).

    Raises
    ------
    AttributeError
        It kept none.
    ArgumentError
        None is as old as that.
    """
    if "states" not in run._arrays:
        raise AttributeError(MEASURES["states"].missing())
    places = np.flatnonzero(run.state_step <= step)
    if not len(places):
        raise ArgumentError(f"this run kept no state before step {step}: nothing is there to replay it from")
    return int(places[-1])


@contextlib.contextmanager
def at_work(run: Run, dataset: Dataset) -> Iterator[Data]:
    """Give the data where the run computed, with its threads, or its settings of the GPU, until the end."""
    training, hardware = run._config["training"], run._config.get("hardware", {})
    device = training.get("device", "cpu")
    with contextlib.ExitStack() as stack:
        if device.startswith("cuda"):
            stack.enter_context(gpu_settings(device, training["precision"], deterministic=training["deterministic"]))
        elif hardware.get("threads"):  # other sums have other last digits
            stack.enter_context(torch_threads(hardware["threads"]))
        yield Data(dataset, device)
