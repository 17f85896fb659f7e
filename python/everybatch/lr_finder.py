"""`find_lr`: the learning-rate range test."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from everybatch import schedules
from everybatch._arguments import real, whole
from everybatch._core import Model, Network, Step
from everybatch._hooks import HOOKS
from everybatch._not_compiled import not_compiled
from everybatch.callbacks import listed
from everybatch.dataset import Dataset
from everybatch.errors import ArgumentError, StopTraining
from everybatch.run import Run
from everybatch.training import train

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["LrFinder", "find_lr"]

_MEMORY = 0.9  # weight of the past in the running mean that ends the test
_GIVE_UP = 4.0  # times its lowest value
_WIDTH = 1 / 30  # standard deviation of the smoothing window, as a share of the steps that were asked for
_REACH = 9.0  # standard deviations, beyond which the window is nothing in float64


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
        """Rate at which the smoothed loss falls fastest per factor of the rate; a good ``lr`` to begin with.

        Unless `begins_too_high`.
        """
        return float(self.lr[self._steepest])

    @property
    def begins_too_high(self) -> bool:
        """Whether the loss falls fastest where the rates begin, or not at all: then the suggestion is just that place.

        The first steps, whose smoothed loss has neighbours on one side only, do not count.
        """
        return self._steepest == self._first

    @property
    def _first(self) -> int:
        # Where the window has neighbours on one side only, a single batch would decide.
        return min(math.ceil(2 * self.width), len(self.lr) - 2)

    @property
    def _steepest(self) -> int:
        slope = np.gradient(self.smooth_loss, np.log(self.lr))
        lowest = max(int(np.argmin(self.smooth_loss)), self._first + 1)
        return self._first + int(np.argmin(slope[self._first : lowest]))

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
        advice = "begin with a smaller start" if self.begins_too_high else f"try {self.suggestion:.1e}"
        return f"<LrFinder: {len(self.lr)} steps from {self.lr[0]:.1e} to {self.lr[-1]:.1e}, {advice}>"


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
        The rates are no range, the steps too few, the very first losses are not finite, the test ended at once, or a
        batch had no image of a class whose ``class_weight`` is above 0.
    KeyboardInterrupt
        Ctrl-C, where `train` returns what it has: a part of the test would suggest another rate.

    Warns
    -----
    RuntimeWarning
        The loss falls fastest where the rates begin, or does not fall at all: there is nothing to suggest.

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
    with warnings.catch_warnings(), _alone():
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
    weights = run.config["training"].get("class_weight")
    if broken.size and isinstance(weights, list) and not _counts(run, int(broken[0]), dataset, weights):
        raise ArgumentError(
            f"batch {int(broken[0])} has no image of a class whose class_weight is above 0, and its loss is no number, "
            "which tells nothing of the rate: give a larger batch_size"
        )
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
    found = LrFinder(lr, loss, _smoothed(loss, width), width)
    if found.begins_too_high:
        warnings.warn(
            f"the loss falls fastest where the rates begin, at {found.suggestion:.1e}, or not at all, suggesting no "
            f"rate: choose a smaller start than {first:g} or, if the loss stays as it is, more steps or a larger end",
            RuntimeWarning,
            stacklevel=3,
        )
    return found


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Let nothing look at the test that looks at the trainings of a sweep, which it is none of: pruning, that is."""
    token = HOOKS.set(dataclasses.replace(HOOKS.get(), callbacks=()))
    try:
        yield
    finally:
        HOOKS.reset(token)


def _counts(run: Run, step: int, dataset: Dataset, weights: list[float]) -> bool:
    """Whether an image of the step's batch has a weight above 0."""
    return any(weights[label] > 0 for label in dataset.train_labels[run.batch_indices(step)])


def _smoothed(loss: npt.NDArray[np.float32], width: float) -> npt.NDArray[np.float64]:
    """Average each loss with its neighbours in a Gaussian window of this standard deviation, in steps."""
    reach = min(len(loss) - 1, math.ceil(_REACH * width))
    kernel = np.exp(-((np.arange(-reach, reach + 1) / width) ** 2) / 2)
    sums, weights = (np.convolve(each, kernel)[reach : reach + len(loss)] for each in (loss, np.ones(len(loss))))
    return np.asarray(sums / weights)


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
