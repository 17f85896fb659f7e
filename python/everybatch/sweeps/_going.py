"""Trials that are on their way: kept in the store, so that a sweep which is begun again goes on inside of them.

So are the weights that they are to keep on it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from everybatch.checkpoints import list_checkpoints
from everybatch.dataset import Dataset
from everybatch.errors import EverybatchError
from everybatch.folder import Follower, holder, read_state, recorded
from everybatch.resuming import go_on
from everybatch.run import Run
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
    """

    def __init__(self, folder: Path | None, spare: Callable[[], Path] | None = None) -> None:
        # Without claims, two sweeps may train the same trial. The second one then keeps nothing to go on with.
        self._folder = None if folder is None or holder(folder) is not None else folder
        self._weights = None
        if spare is not None:
            self._weights = spare() if self._folder is None else self._folder.with_name(f"{self._folder.name}-weights")
        self._history = self._recorded()
        if not self._history:
            self.remove()

    def train(self, network: Any, dataset: Dataset, **arguments: Any) -> Run:
        """Train the trial, or go on with it: the result is the same."""
        if self._weights is not None:
            arguments |= {"checkpoints": self._weights}
        if self._folder is None:
            return train(network, dataset, **arguments)
        if self._folder.exists():
            try:
                return go_on(self._folder, dataset, device=arguments["device"])
            except (EverybatchError, OSError):  # it is damaged, or of a device that is not here
                self.remove()
        try:
            return train(network, dataset, **arguments, folder=self._folder)
        except OSError as error:
            if hasattr(error, "run"):  # it is about something else, in the middle of the training
                raise
            self.remove()
        return train(network, dataset, **arguments)  # a disk that fails is no failure of the trial

    def hand_over(self, place: Path) -> None:
        """Give the weights that it has kept their place in the store."""
        if self._weights is not None and self._weights.is_dir():
            self._weights.rename(place)

    def rungs(self, rule: Pruning) -> Iterator[tuple[int, float]]:
        """Give the steps at which the rule looked at the trial before it was cut off, and the values that it saw."""
        history = self._history
        if self._folder is None or rule.monitor not in history:
            return
        follower = Follower(self._folder)
        follower.look()
        total = follower.begun["config"]["training"]["total_steps"]
        for step in range(1, len(history["train_loss"]) + 1):
            if rule.is_rung(step, total):
                at = int(np.searchsorted(history["eval_step"], step, side="right")) - 1
                yield step, float(history[rule.monitor][at])

    def remove(self) -> None:
        """Forget it."""
        for folder in (self._folder, self._weights):
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)

    def _recorded(self) -> dict[str, npt.NDArray[Any]]:
        """Return what had been recorded when its state was kept last; nothing if it cannot go on."""
        if self._folder is None:
            return {}
        try:
            kept = read_state(self._folder)
            history = {} if kept is None else recorded(self._folder, kept)
            return history if history and self._has_weights(len(history["train_loss"])) else {}
        except (EverybatchError, OSError):
            return {}

    def _has_weights(self, taken: int) -> bool:
        """Whether all weights that it was to keep in so many steps are there, and not where the store was once."""
        if self._folder is None or self._weights is None:
            return True
        follower = Follower(self._folder)
        follower.look()
        training = follower.begun["config"]["training"]
        if training["checkpoints"] is None or Path(training["checkpoints"]).resolve() != self._weights.resolve():
            return False
        every = training["checkpoint_every"]
        every = training["steps_per_epoch"] if every == "epoch" else every
        return {*range(every, taken + 1, every)} <= {*list_checkpoints(self._weights)}
