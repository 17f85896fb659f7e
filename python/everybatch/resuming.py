"""`resume`: a run that was lost, interrupted or stopped goes on from its folder."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from everybatch import _core
from everybatch._arguments import flag, whole
from everybatch._core import Data, Model
from everybatch._gpu import gpu_settings
from everybatch._hooks import HOOKS
from everybatch._metered import is_metered, not_resumed
from everybatch._not_compiled import not_compiled
from everybatch._threads import torch_threads
from everybatch._trained_on import trained_on
from everybatch.callbacks import Callback, Callbacks
from everybatch.checkpoints import list_checkpoints
from everybatch.dataset import Dataset
from everybatch.errors import ArgumentError
from everybatch.folder import Journal
from everybatch.folder._files import BEGINNING
from everybatch.live import can_show
from everybatch.run import Run
from everybatch.training import carried_out

__all__ = ["go_on", "resume"]


@not_compiled
def resume(
    folder: str | os.PathLike[str],
    dataset: Dataset | None = None,
    *,
    epochs: int | None = None,
    steps: int | None = None,
    progress: bool = True,
    live: bool = False,
    callbacks: Callback | Iterable[Callback] = (),
) -> Run:
    """Go on with a run that `train` wrote to a folder: one that was lost, interrupted or stopped, or is to be longer.

    It goes on from the state that was kept last, in the middle of an epoch too, or from its beginning if there is none.
    On a CPU the result is that of a run that never ended: every array but seconds, and every weight, to the last bit.
    What is in the folder after that state is recorded anew.

    Parameters
    ----------
    folder
        The folder given to `train`.
    dataset
        What the run is trained on. None: the built-in digits and data sets with a name of `everybatch.datasets` are
        found again, and subsets of them.
    epochs, steps
        The new length of the whole run, one of the two; None: as it was. A run can be made longer if none of its
        schedules (of learning rate, augmentation, label smoothing) depends on its length: not with one_cycle, cosine,
        linear and exponential. Its weights are then those of a run that was as long from the beginning, if nothing is
        decided by measurements; what was measured at its former end stays, and with a tolerance the estimates after it
        are others for that.
    progress, live, callbacks
        As of `train`; callbacks are not kept in the folder. What ``on_start`` is given tells the steps taken.

    Raises
    ------
    ArgumentError
        The run has reached its end, or cannot be of this length, or the data set is another one, or cannot be found.
        Or a `Meter` recorded it, in a loop that everybatch does not know.
    FileExistsError
        The run is still going.
    FileNotFoundError, FileFormatError
        There is no run in the folder, or a file is damaged.

    Examples
    --------
    >>> import everybatch as eb
    >>> data = eb.datasets.glyphs(train=640, test=100)
    >>> run = eb.train(eb.networks.lenet5(), data, steps=5, folder="runs/a", progress=False)
    >>> eb.resume("runs/a", steps=8, progress=False).train_loss.shape
    (8,)
    """
    length = _length(epochs, steps)
    live = can_show(flag(live, "live"))
    return go_on(folder, dataset, length, progress=progress, live=live, callbacks=callbacks)


def go_on(
    folder: str | os.PathLike[str],
    dataset: Dataset | None,
    of_length: Mapping[str, int | None] | None = None,
    *,
    progress: bool = False,
    live: bool = False,
    callbacks: Callback | Iterable[Callback] = (),
    device: str | None = None,
) -> Run:
    """Do what `resume` says; with the epochs and steps of another length, if they are given, and on another device."""
    called, hooks = Callbacks.check(callbacks, "callbacks"), HOOKS.get()
    if hooks.turn is not None:
        hooks.turn.wait()
    with contextlib.ExitStack() as stack:
        journal = stack.enter_context(contextlib.closing(Journal(folder, again=True, passing=hooks.passing)))
        begun, state = journal.earlier.begun, journal.earlier.state
        if not begun:
            raise FileNotFoundError(f"the run in {journal.folder} had not begun: train it anew, with the same folder")
        if state == "diverged" or (state == "finished" and not of_length):
            hint = ": give epochs= or steps= to make it longer" if state == "finished" else ""
            raise ArgumentError(f"the run in {journal.folder} is {state}, and has nothing to go on with{hint}")
        if is_metered(begun["config"]):
            raise ArgumentError(not_resumed(journal.folder))
        dataset = trained_on(dataset, begun["config"]["dataset"])
        config, settings = _lengthened(begun, of_length)
        training, status = config["training"], journal.earlier.ended.get("config", {}).get("status", {})
        if state == "finished" and training["total_steps"] <= status.get("model_step", 0):
            raise ArgumentError(
                f"the run in {journal.folder} is finished after {status['model_step']} steps, and is to take "
                f"{training['total_steps']} in all: give the length of the whole run"
            )
        journal.keep_state_every = training["keep_state_every"]
        device = _core.resolve_device(device or training["device"])
        if device == "cpu":  # other sums have other last digits
            stack.enter_context(torch_threads(config["hardware"]["threads"]))
        if device.startswith("cuda"):
            stack.enter_context(gpu_settings(device, training["precision"], deterministic=training["deterministic"]))
        model = _beginning(journal.folder)
        kept = None if training["checkpoints"] is None else Path(training["checkpoints"])
        if kept is not None:
            kept.mkdir(parents=True, exist_ok=True)  # it may have been taken away
            for step, path in list_checkpoints(kept).items():
                if step > training["total_steps"]:  # of a run that was to be longer
                    path.unlink()
        data = (hooks.data or Data)(dataset, device)
        of_run = {name: np.array(values, np.int64) for name, values in begun["arrays"].items()}
        told = {"config": config, "arrays": of_run, "settings": settings}
        return carried_out(model, data, told, kept, journal, callbacks=called, progress=progress, live=live)


def _length(epochs: int | None, steps: int | None) -> dict[str, int | None]:
    """Return what `train` would be given for a length, or nothing if there is none.

    Raises
    ------
    ArgumentError, TypeError
        It is none.
    """
    if epochs is not None and steps is not None:
        raise ArgumentError(f"epochs is {epochs} and steps is {steps}: give one of them")
    if epochs is not None:
        return {"epochs": whole(epochs, "epochs"), "steps": None}
    return {} if steps is None else {"epochs": 1, "steps": whole(steps, "steps")}


def _lengthened(
    begun: dict[str, Any], of_length: Mapping[str, int | None] | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the config and the core's settings of a run, with another length if one is given.

    Raises
    ------
    ArgumentError
        The run cannot have it.
    """
    config, settings = begun["config"], begun["settings"]
    if not of_length:
        return config, settings
    training = config["training"] | of_length
    per_epoch, steps = training["steps_per_epoch"], of_length["steps"]
    training["total_steps"] = (of_length["epochs"] or 1) * per_epoch if steps is None else steps
    length = {"epochs": of_length["epochs"]} if steps is None else {"steps": steps}
    settings = settings | {"length": length}
    _core.check_settings(settings, training["device"], per_epoch)
    return config | {"training": training}, settings


def _beginning(folder: Path) -> Model:
    """Return the model that the run in a folder began with.

    Raises
    ------
    FileNotFoundError, FileFormatError
        It is not there, or damaged.
    """
    path = folder / BEGINNING
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: the run cannot go on without the model that it began with")
    return Model.load(str(path))
