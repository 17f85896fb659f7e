"""`find_lr`: the learning-rate range test."""

from __future__ import annotations

import dataclasses
import math
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from everybatch import schedules
from everybatch._arguments import real, whole
from everybatch._core import Model, Network, Step
from everybatch._not_compiled import not_compiled
from everybatch.callbacks import listed
from everybatch.dataset import Dataset
from everybatch.errors import ArgumentError, StopTraining
from everybatch.training import train

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["LrFinder", "find_lr"]

_MEMORY = 0.9  # weight of the past in the running mean that ends the test
_GIVE_UP = 4.0  # times its lowest value
_WIDTH = 1 / 30  # standard deviation of the smoothing window, as a share of the steps that were asked for


@dataclasses.dataclass(frozen=True, eq=False)
class LrFinder:
    """What `find_lr` measured.

    Attributes
    ----------
    lr : (steps,) float64
        Rising learning rates.
    loss : (steps,) float32
        Loss of the batch before the step with that rate.
    smooth_loss : (steps,) float64
        The losses, each averaged with its neighbours in a Gaussian window.
    width : float
        Standard deviation of that window, in steps.
    """

    lr: npt.NDArray[np.float64]
    loss: npt.NDArray[np.float32]
    smooth_loss: npt.NDArray[np.float64]
    width: float

    @property
    def suggestion(self) -> float:
        """Rate at which the smoothed loss falls fastest per factor of the rate; a good ``lr`` to begin with."""
        slope = np.gradient(self.smooth_loss, np.log(self.lr))
        # Where the window has neighbours on one side only, a single batch would decide.
        first = min(math.ceil(2 * self.width), len(self.lr) - 2)
        lowest = max(int(np.argmin(self.smooth_loss)), first + 1)
        return float(self.lr[first + int(np.argmin(slope[first:lowest]))])

    @property
    def tenth_of_lowest(self) -> float:
        """A tenth of the rate with the lowest smoothed loss: the cautious rule of thumb."""
        return float(self.lr[int(np.argmin(self.smooth_loss))]) / 10

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the losses over the rates, and mark the suggestion.

        Parameters
        ----------
        ax
            Where to draw; a new figure unless given.
        """
        from everybatch.plots import lr_finder

        return lr_finder(self, ax=ax)

    def __repr__(self) -> str:
        return f"<LrFinder: {len(self.lr)} steps from {self.lr[0]:.1e} to {self.lr[-1]:.1e}, try {self.suggestion:.1e}>"


@not_compiled
def find_lr(
    network: Network | Model,
    dataset: Dataset,
    *,
    start: float = 1e-6,
    end: float = 10.0,
    steps: int = 100,
    **settings: Any,
) -> LrFinder:
    """Train a copy for some steps while the learning rate rises, and watch the loss (Smith 2015, arXiv 1506.01186).

    The test ends early when the smoothed loss is four times its lowest value. Neither the network nor the model is
    changed, and the test images have no part in it.

    Parameters
    ----------
    network, dataset
        As in `train`.
    start, end
        First and last learning rate; start lies above 0 and below end.
    steps
        Optimizer steps, at least 20.
    **settings
        Anything else that `train` takes, such as batch_size and optimizer; not lr, epochs, schedules, and what belongs
        to evaluations.

    Raises
    ------
    ArgumentError
        The rates are no range, the steps too few, the very first losses are not finite, or the test ended at once.
    KeyboardInterrupt
        Ctrl-C, where `train` returns what it has: a part of the test would suggest another rate.

    Examples
    --------
    >>> import everybatch as eb
    >>> data = eb.datasets.glyphs(train=640, test=10)
    >>> found = find_lr(eb.networks.lenet5(), data, steps=20, seed=0)
    >>> found.lr.shape, found.loss.shape == found.lr.shape
    ((20,), True)
    >>> ax = found.plot()
    """
    first, last = real(start, "start"), real(end, "end")
    if not (0 < first < last < math.inf):
        raise ArgumentError(f"start is {first} and end is {last}: give 0 < start < end")
    if whole(steps, "steps") < 20:
        raise ArgumentError(f"steps is {steps}: the range test needs at least 20")
    own = {"lr", "schedule", "epochs", "evaluate_every", "evaluate_on", "tolerance", "complete_every"}
    own |= {"select", "patience", "monitor", "validation", "augment_schedule", "label_smoothing_schedule"}
    for name in sorted(own & settings.keys()):
        raise ArgumentError(f"{name} cannot be chosen in find_lr: the range test decides it")
    watch = _Watch()
    callbacks = listed(settings.pop("callbacks", ()), "callbacks")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # that the loss diverges is what the test provokes
        run = train(
            network,
            dataset,
            **{"progress": False, **settings},
            lr=first,
            schedule=schedules.exponential(last),
            steps=steps,
            evaluate_every=steps,
            evaluate_on=1,  # the fewest: the test set has no part in this
            callbacks=[*callbacks, watch],
        )
    if run.interrupted:
        raise KeyboardInterrupt  # a part of a test suggests nothing
    broken = np.flatnonzero(~np.isfinite(run.train_loss))
    count = int(broken[0]) if broken.size else run.steps
    if count == run.steps and count < 10:
        why = run.config["status"]["message"] or "a callback stopped it"
        raise ArgumentError(
            f"the test ended after {count} steps ({why}), and fewer than 10 tell no rate: choose a smaller start, or "
            "more steps"
        )
    if count < 10:
        raise ArgumentError(
            f"the loss is not finite after {count} steps from lr {first:g} on: choose a smaller start, or more steps"
        )
    lr, loss = run.lr[:count].copy(), run.train_loss[:count].copy()
    width = _WIDTH * steps
    return LrFinder(lr, loss, _smoothed(loss, width), width)


def _smoothed(loss: npt.NDArray[np.float32], width: float) -> npt.NDArray[np.float64]:
    """Average each loss with its neighbours in a Gaussian window of this standard deviation, in steps."""
    at = np.arange(len(loss))
    weights = np.exp(-(((at[:, None] - at) / width) ** 2) / 2)
    return np.asarray(weights @ loss.astype(np.float64) / weights.sum(axis=1))


class _Watch:
    """Ends the test when the running mean of the losses has risen far."""

    def __init__(self) -> None:
        self._sum = 0.0
        self._lowest = math.inf

    def __call__(self, step: Step) -> None:
        self._sum = _MEMORY * self._sum + (1 - _MEMORY) * step.train_loss
        mean = self._sum / (1 - _MEMORY**step.step)  # without the bias of its start
        self._lowest = min(self._lowest, mean)
        if mean > _GIVE_UP * self._lowest:
            raise StopTraining("the loss has risen to four times its lowest value")
