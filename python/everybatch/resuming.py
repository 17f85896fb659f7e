"""`resume`: a run that was lost, interrupted or stopped goes on from its folder."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from everybatch import _core, datasets
from everybatch._arguments import flag, functions
from everybatch._core import Data, Model, Step
from everybatch._gpu import gpu_settings
from everybatch._log import log_step
from everybatch._not_compiled import not_compiled
from everybatch._progress import ProgressBar
from everybatch.dataset import Dataset
from everybatch.errors import ArgumentError
from everybatch.folder import Journal
from everybatch.folder._files import BEGINNING
from everybatch.live import beside, can_show
from everybatch.run import Run
from everybatch.training import ended

__all__ = ["resume"]


@not_compiled
def resume(
    folder: str | os.PathLike[str],
    dataset: Dataset | None = None,
    *,
    progress: bool = True,
    live: bool = False,
    callbacks: Callable[[Step], object] | Iterable[Callable[[Step], object]] = (),
) -> Run:
    """Go on with a run that `train` wrote to a folder: one that was lost, interrupted or stopped.

    It goes on from the state that was kept last, in the middle of an epoch too, or from its beginning if there is none.
    On a CPU the result is that of a run that never ended: every array but seconds, and every weight, to the last bit.

    Parameters
    ----------
    folder
        The folder given to `train`.
    dataset
        What the run is trained on. None: the built-in digits and data sets with a name of `everybatch.datasets` are
        found again.
    progress, live, callbacks
        As of `train`; callbacks are not kept in the folder.

    Raises
    ------
    ArgumentError
        The run has reached its end, or the data set is another one, or cannot be found again.
    FileExistsError
        The run is still going.
    FileNotFoundError, FileFormatError
        There is no run in the folder, or a file is damaged.
    """
    live = can_show(flag(live, "live"))
    with contextlib.ExitStack() as stack:
        journal = stack.enter_context(contextlib.closing(Journal(folder, again=True)))
        begun = journal.earlier.begun
        state = journal.earlier.state
        if not begun or state in ("finished", "diverged"):
            raise ArgumentError(f"the run in {journal.folder} is {state}: there is nothing to go on with")
        config, settings = begun["config"], begun["settings"]
        training = config["training"]
        journal.keep_state_every = training["keep_state_every"]
        dataset = _same_data(dataset, config["dataset"])
        called = [(function, 1) for function in functions(callbacks, "callbacks")]
        if training["log_every"] is not None:
            called.append((log_step, training["log_every"]))
        device = training["device"]
        if device.startswith("cuda"):
            stack.enter_context(gpu_settings(device, training["precision"], deterministic=training["deterministic"]))
            stack.enter_context(torch.random.fork_rng(devices=[device]))
        model = Model.load(str(journal.folder / BEGINNING))
        kept = None if training["checkpoints"] is None else Path(training["checkpoints"])
        data = Data(dataset, device)
        bar = stack.enter_context(ProgressBar(model.network.name, training["total_steps"])) if progress else None
        writer = stack.enter_context(beside(journal, begun, journal.earlier.arrays())) if live else journal
        outcome = _core.train(model, data, settings, kept, bar, called, None, writer, journal.state)
        of_run = {name: np.array(values, np.int64) for name, values in begun["arrays"].items()}
        return ended(outcome, config, of_run, config["started"], writer)


def _same_data(given: Dataset | None, described: dict[str, Any]) -> Dataset:
    """Return the data set that a run was trained on.

    Raises
    ------
    ArgumentError
        It is another one, or cannot be found again.
    """
    name = described["name"]
    found = _found_again(name, described) if given is None else given
    if found is None:
        raise ArgumentError(f"the run was trained on {name!r}, which cannot be found by its name: give dataset=...")
    if found.fingerprint != described["fingerprint"]:
        raise ArgumentError(f"the run was trained on other images: the fingerprint of {found.name!r} differs")
    return found


def _found_again(name: str, described: dict[str, Any]) -> Dataset | None:
    if name == "glyphs":
        return datasets.glyphs(described["train"], described["test"])
    make = getattr(datasets, name, None) if name in datasets.__all__ else None
    try:
        found = make() if callable(make) else None
    except TypeError:  # it takes more than a name
        return None
    return found if isinstance(found, Dataset) else None
