"""Trials that are on their way: kept in the store, so that a sweep which is begun again goes on inside of them.

So are the weights that they are to keep on it.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from everybatch._disk import explained
from everybatch.checkpoints import list_checkpoints
from everybatch.dataset import Dataset
from everybatch.errors import EverybatchError
from everybatch.folder import Follower, holder, read_state, recorded
from everybatch.resuming import go_on
from everybatch.run import Run
from everybatch.sweeps._claims import Hold
from everybatch.sweeps._store import OF_WEIGHTS
from everybatch.sweeps.pruning import Pruning
from everybatch.training import train

__all__ = ["Going"]


class Going:
    """A trial on its way, in a folder of its own that goes away when the trial is in the store.

    Parameters
    ----------
    folder
        Where it is kept; None where the store is on no file system of this machine.
    spare
        Gives a folder that nobody else uses. Given where the trial keeps weights on the way, beside its folder or, if
        that is another sweep's, there.
    hold
        Tells whether the folder is another sweep's; None: nobody can tell before it is written. Closed by `close`.
    threads
        Of torch, where they are the same for all that is trained in this process: one that was begun with others is
        begun anew, for it would have them go on with its number, and other last digits. None: each may have its own.
    """

    def __init__(
        self,
        folder: Path | None,
        spare: Callable[[], Path] | None = None,
        hold: Hold | None = None,
        *,
        threads: int | None = None,
    ) -> None:
        self._folder, self._spare, self._hold, self._threads = folder, spare, hold, threads
        self._weights: Path | None = None
        self._history: dict[str, npt.NDArray[Any]] = {}
        taken = None if hold is None else hold.taken
        # Weights that no lock tells from another sweep's might be removed by that while they are handed over.
        if folder is None or taken is False or (taken is None and spare is not None) or holder(folder) is not None:
            self._step_aside()
            return
        if spare is not None:
            self._weights = folder.with_name(f"{folder.name}{OF_WEIGHTS}")
        self._history = self._recorded()
        if not self._history:
            self.remove()

    def train(self, network: Any, dataset: Dataset, **arguments: Any) -> Run:
        """Train the trial, or go on with it: the result is the same.

        Raises
        ------
        OSError
            The weights that it is to keep cannot be written. What was kept of it until then stays.
        """
        if self._weights is None:
            return self._train(network, dataset, arguments)
        with explained("weights of the trial", self._weights):
            return self._train(network, dataset, arguments)

    def _train(self, network: Any, dataset: Dataset, arguments: dict[str, Any]) -> Run:
        if self._folder is not None and self._folder.exists():
            try:
                if _has_classes(self._folder, dataset):
                    return go_on(self._folder, dataset, device=arguments["device"])
            except (EverybatchError, OSError) as error:
                # Otherwise it is damaged, or of a device that is not here, or another sweep's.
                if _is_of_weights(error):
                    raise
            self.remove()
        if self._folder is not None:
            try:
                return train(network, dataset, **arguments, **self._kept, folder=self._folder)
            except OSError as error:
                if _is_of_weights(error):
                    raise
                self.remove()
        # A disk that fails is no failure of the trial, nor is a folder that another sweep was first to take.
        return train(network, dataset, **arguments, **self._kept)

    def hand_over(self, place: Path) -> None:
        """Give the weights that it has kept their place in the store."""
        if self._weights is not None and self._weights.is_dir():
            self._weights.rename(place)

    def rungs(self, rule: Pruning) -> Iterator[tuple[int, float]]:
        """Give the steps at which the rule looked at the trial before it was cut off, and the values that it saw."""
        history = self._history
        if self._folder is None or rule.monitor not in history:
            return
        total = _config_in(self._folder)["training"]["total_steps"]
        for step in range(1, len(history["train_loss"]) + 1):
            if rule.is_rung(step, total):
                at = int(np.searchsorted(history["eval_step"], step, side="right")) - 1
                yield step, float(history[rule.monitor][at])

    def remove(self) -> None:
        """Forget it; what is another sweep's stays."""
        if self._folder is not None and holder(self._folder) is not None:
            self._step_aside()
        for folder in (self._folder, self._weights):
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """Let others have the folder."""
        if self._hold is not None:
            self._hold.close()

    @property
    def _kept(self) -> dict[str, Any]:
        """The arguments of `train` that say where weights go."""
        return {} if self._weights is None else {"checkpoints": self._weights}

    def _step_aside(self) -> None:
        """Leave the folder to another sweep, which trains the same trial, and keep nothing to go on with."""
        self._folder, self._history = None, {}
        self._weights = None if self._spare is None else self._spare()

    def _recorded(self) -> dict[str, npt.NDArray[Any]]:
        """Return what had been recorded when its state was kept last; nothing if it cannot go on."""
        if self._folder is None:
            return {}
        try:
            kept = read_state(self._folder)
            if kept is None:
                return {}
            with contextlib.closing(kept):
                history = recorded(self._folder, kept)
            return history if history and self._fits(self._folder, len(history["train_loss"])) else {}
        except (EverybatchError, OSError):
            return {}

    def _fits(self, folder: Path, taken: int) -> bool:
        """Whether the trial can go on here from the state that it kept after so many steps."""
        if self._threads is None and self._weights is None:
            return True
        config = _config_in(folder)
        if self._threads not in (None, config["hardware"]["threads"]):
            return False
        return self._weights is None or _has_weights(self._weights, config["training"], taken)


def _has_weights(weights: Path, training: Mapping[str, Any], taken: int) -> bool:
    """Whether all weights that it was to keep in so many steps are there, and not where the store was once."""
    if training["checkpoints"] is None or Path(training["checkpoints"]).resolve() != weights.resolve():
        return False
    every = training["checkpoint_every"]
    every = training["steps_per_epoch"] if every == "epoch" else every
    return {*range(every, taken + 1, every)} <= {*list_checkpoints(weights)}


def _is_of_weights(error: Exception) -> bool:
    """Whether it came in the middle of a training, which ends for no disk but the one that it keeps weights on."""
    return isinstance(error, OSError) and hasattr(error, "run")


def _has_classes(folder: Path, dataset: Dataset) -> bool:
    """Whether a run, if it has begun, has the data set's names of the classes: it would keep its own."""
    config = _config_in(folder)
    return not config or config["dataset"]["classes"] == list(dataset.classes)


def _config_in(folder: Path) -> dict[str, Any]:
    """Return the config with which the run in a folder began; nothing if it did not begin."""
    follower = Follower(folder)
    follower.look()
    config: dict[str, Any] = follower.begun.get("config", {})
    return config
