"""`batches`: a ledger of what each batch gained and lost, and what its gradient did."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np
import numpy.typing as npt

from everybatch import _core
from everybatch._arguments import choice, flag, whole
from everybatch._measures import MEASURES
from everybatch._progress import ProgressBar
from everybatch._words import count
from everybatch.dataset import Dataset
from everybatch.errors import ArgumentError
from everybatch.insight._again import at_work, keeps_states, kept_before
from everybatch.insight._ledger import Changes, changes, class_losses, falls, unusual
from everybatch.insight._seen import Seen, seen
from everybatch.run import Run
from everybatch.runs._tables import class_columns, import_pandas

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["BEFORE_A_FALL", "Batches", "Effects", "batches"]

Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

BEFORE_A_FALL = 10
"""Batches up to a fall whose effects are measured."""


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Effects:
    """What the gradients of steps did: each step minus a null step, whose gradient is zero, from the same state.

    The plain change of a step says when something happened, and with momentum or Adam it is mostly what earlier batches
    set going; the effect says what this batch did.
    """

    step: Integers
    """(measured steps,) their numbers from 0, ascending."""
    loss: Doubles
    """(measured steps,) change of the mean cross-entropy of the test images; above 0, the batch did harm."""
    loss_error: Doubles
    """(measured steps,) its paired standard error."""
    gained: Integers
    """(measured steps,) test images that are right with the step, and wrong with the null step."""
    lost: Integers
    """(measured steps,) the reverse."""
    class_loss: Doubles
    """(measured steps, classes) change of the mean cross-entropy of each class."""
    change: Doubles
    """(measured steps,) the plain change of the mean cross-entropy from before the step to after it."""

    def of(self, steps: Integers) -> Doubles:
        """Return the effects on the loss of the steps with these numbers; NaN where none was measured."""
        effects = np.full(len(steps), np.nan)
        there = np.isin(steps, self.step)
        effects[there] = self.loss[np.searchsorted(self.step, steps[there])]
        return effects

    def __repr__(self) -> str:
        return f"<Effects of {count(len(self.step), 'step')} against null steps>"


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Batches:
    """The ledger of a run: what each interval between two measurements gained and lost. Made by `batches`.

    Rows are intervals; in a run that measures after every step each is one batch.
    """

    step: Integers
    """(intervals,) number of the interval's last step, from 0: an index into `Run.train_loss`."""
    steps: Integers
    """(intervals,) steps in it."""
    net: Integers
    """(intervals,) test images that were right after it, minus before it."""
    gained: Integers
    """(intervals,) wrong before, right after."""
    lost: Integers
    """(intervals,) right before, wrong after."""
    class_gained: Integers
    """(intervals, classes)"""
    class_lost: Integers
    """(intervals, classes)"""
    loss_change: Doubles
    """(intervals,) of the mean cross-entropy of the test images."""
    class_loss_change: Doubles | None
    """(intervals, classes) of that of each class, from the recorded losses (float16); None in a run that has none of
    them (``record=("losses",)``)."""
    z_net: Doubles
    """(intervals,) by how many standard deviations `net` lies off the 200 before it: off their median, in units of
    1.4826 median absolute deviations, which the climb of the beginning does not widen; NaN for the first 20."""
    z_loss: Doubles
    """(intervals,) the same of `loss_change`."""
    lr: Doubles
    """(intervals,) learning rate of its last step."""
    falls: Integers
    """(falls,) the rows at which falls end: a net loss over one interval, or over five together, of at least 3 standard
    deviations off the recent course and of at least 3 paired standard errors."""
    fall_begins: Integers
    """(falls,) and the rows at which they begin."""
    effects: Effects | None
    """What the gradients of single steps did; None if it was not measured."""
    accuracy: Doubles
    """(intervals + 1,) test accuracy before the first interval and after each."""
    images: int
    """Test images that were measured."""
    interval: str
    """How often was measured, in words: counts depend on it."""
    _seen: Seen

    def members(self, row: int) -> Integers:
        """Return the training images of an interval's batches, in their order; the row -1 is the last."""
        row = self._row(row)
        last = int(self.step[row])
        steps = range(last + 1 - int(self.steps[row]), last + 1)
        return np.concatenate([self._seen.run.batch_indices(step) for step in steps])

    def before(self, row: int) -> Integers:
        """Return the numbers of the last ten steps up to the end of an interval, the most harmful first.

        By their measured effects; those whose effect was not measured come last. Of several whose effect was not
        measured, or is the same, the latest comes first.
        """
        row = self._row(row)
        last = int(self.step[row])
        steps = np.arange(max(0, last + 1 - BEFORE_A_FALL), last + 1)[::-1]
        if self.effects is None:
            return steps
        order = np.argsort(-np.nan_to_num(self.effects.of(steps), nan=-np.inf), kind="stable")
        return steps[order]

    def lost_images(self, row: int) -> Integers:
        """Return the test images that an interval lost, or the fall that ends with it, as indices into the test set."""
        row = self._row(row)
        before, after = self._seen.predictions[self.begin(row)], self._seen.predictions[row + 1]
        labels = self._seen.labels
        indices: Integers = self._seen.run.test_indices[(before == labels) & (after != labels)]
        return indices

    def begin(self, row: int) -> int:
        """Return the row at which the fall begins that ends with this row; the row itself if none does."""
        row = self._row(row)
        here = np.flatnonzero(self.falls == row)
        return int(self.fall_begins[here[0]]) if len(here) else row

    def _row(self, row: SupportsIndex) -> int:
        """Return a row from 0; a negative one is counted from the end.

        Raises
        ------
        ArgumentError, TypeError
            There is no such row.
        """
        rows = len(self.step)
        number = whole(row, "row", least=-rows)
        if number >= rows:
            raise ArgumentError(f"row is {number}, and the ledger has {count(rows, 'row')}, from 0")
        return number % rows

    @property
    def deepest(self) -> int:
        """The row with which the fall ends that lost most, net.

        Raises
        ------
        AttributeError
            There is no fall.
        """
        if not len(self.falls):
            raise AttributeError("this run has no falls: no net loss stands out from its recent course and from chance")
        nets = [self.net[first : last + 1].sum() for first, last in zip(self.fall_begins, self.falls, strict=True)]
        return int(self.falls[int(np.argmin(nets))])

    @property
    def frame(self) -> pd.DataFrame:
        """A pandas DataFrame with one row per interval.

        Columns: ``step``, ``steps``, ``net``, ``gained``, ``lost``, ``loss_change``, ``z_net``, ``z_loss``, ``lr``,
        ``fall`` (whether it is one), ``effect`` (of the last step, NaN where it was not measured) and one per class
        (its net, under its name).
        """
        pandas = import_pandas("frame")
        own = {
            "step": self.step,
            "steps": self.steps,
            "net": self.net,
            "gained": self.gained,
            "lost": self.lost,
            "loss_change": self.loss_change,
            "z_net": self.z_net,
            "z_loss": self.z_loss,
            "lr": self.lr,
            "fall": np.isin(np.arange(len(self.step)), self.falls),
            "effect": np.full(len(self.step), np.nan) if self.effects is None else self.effects.of(self.step),
        }
        names = class_columns(self._seen.classes, beside=own)
        by_class = (self.class_gained - self.class_lost).T
        table: pd.DataFrame = pandas.DataFrame(own | dict(zip(names, by_class, strict=True)))
        return table

    def worst(self, n: int = 10, *, by: str | None = None) -> pd.DataFrame:
        """Return the rows of `frame` that did the most harm, the worst first.

        Parameters
        ----------
        n
            How many.
        by
            ``"effect"``, ``"loss"`` (the plain change of the loss) or ``"net"`` (images). By default the effect, if it
            was measured, and among the steps whose effect was; otherwise the loss.
        """
        n = whole(n, "n")
        if by is None:
            by = "loss" if self.effects is None or not len(self.effects.step) else "effect"
        choice(by, "by", ("effect", "loss", "net"))
        table = self.frame
        if by == "net":
            return table.sort_values("net", kind="stable").head(n)
        if by == "effect" and self.effects is None:
            raise ArgumentError('the effects were not measured: call batches(run, effects="every") or "falls"')
        column = "effect" if by == "effect" else "loss_change"
        return table.dropna(subset=[column]).sort_values(column, ascending=False, kind="stable").head(n)

    def plot(self, fall: int | None = None) -> Figure:
        """Draw the test accuracy with its falls, and one fall: the batches before it by their effects, what it lost.

        Parameters
        ----------
        fall
            The row of an interval, as in `falls`. By default the fall that lost most; without any, the accuracy alone.
        """
        from everybatch.insight._batches_plot import ledger

        return ledger(self, fall)

    def __repr__(self) -> str:
        measured = "no effects measured" if self.effects is None else f"{len(self.effects.step)} effects measured"
        deepest = "" if not len(self.falls) else f", the deepest to step {self.step[self.deepest]}"
        return (
            f"<Batches: {count(len(self.step), 'change')} of {self.images:,} test images, measured {self.interval}; "
            f"{count(len(self.falls), 'fall')}{deepest}; {measured}>"
        )


def batches(
    run: Run | str | os.PathLike[str],
    *,
    effects: str | None = "auto",
    dataset: Dataset | None = None,
    progress: bool = False,
) -> Batches:
    """Tell what each batch gained and lost of the test images, against the recent course, and what it did itself.

    From one measurement to the next a run gains some images and loses others. A fall is flagged where the net loss,
    over one interval or over five, is both off the recent course (3 standard deviations of the 200 changes before it)
    and beyond chance among the test images (3 paired standard errors). That says when; with momentum or Adam most of a
    step is not its batch's doing.
    Who did it is measured by replaying the step twice, as it was and as a *null step*: from the same weights and the
    same state of the optimizer, with a gradient of zero (see `replay`). The difference is the effect of this batch's
    gradient. What a batch with wrong labels, or of one class, does a step later it has done already here.
    What a batch does by batch norm's running statistics, as one with images of another scale, is in the plain change of
    the loss and not in the effect: the null step sees the batch, too.

    Parameters
    ----------
    run
        Trained with ``record=("predictions",)``; for effects with ``record=("predictions", "weights")``; or its folder.
        It is sharpest when measured after every step; with ``evaluate_every`` above 1, rows are intervals of so many
        steps.
    effects
        ``"falls"`` measures the effects of the last ten batches up to every fall, ``"every"`` those of all steps, which
        takes about as long as the training did with three measurements a step. None measures none; ``"auto"`` is
        ``"falls"`` for a run that kept weights, and None for others.
    dataset
        What the run was trained on. None: data sets with a name are found again.
    progress
        Whether to draw a progress bar while effects are measured.

    Raises
    ------
    AttributeError
        The run did not record predictions, or no weights where effects are asked for.
    ArgumentError
        It was measured less than twice; or it is not the same when its steps are replayed here.

    Examples
    --------
    >>> import everybatch as eb
    >>> data = eb.datasets.glyphs(train=640, test=100)
    >>> run = eb.train(eb.networks.lenet5(), data, epochs=4, record=("predictions", "weights"), progress=False)
    >>> found = eb.insight.batches(run, effects="every")
    >>> found.net.shape, found.effects.loss.shape
    ((40,), (40,))
    >>> int(found.net.sum()) == round((run.test_accuracy[-1] - run.test_accuracy[0]) * 100)
    True
    """
    flag(progress, "progress")
    if effects is not None:
        choice(effects, "effects", ("auto", "falls", "every"))
    one = seen(run, dataset, least=2, what="batches")
    run = one.run
    if effects == "auto":
        effects = "falls" if keeps_states(run) else None
    if effects is not None and not keeps_states(run):
        raise AttributeError(f"{MEASURES['states'].missing()}; or give effects=None")
    counted = changes(one.predictions, one.labels, len(one.classes))
    net = counted.gained - counted.lost
    step = one.step[1:] - 1
    found = falls(one.predictions, one.labels, len(one.classes))
    wanted = None if effects is None else _wanted(one, effects, step[found[:, 1]])
    return Batches(
        step=step,
        steps=np.diff(one.step),
        net=net,
        **_by_name(counted),
        loss_change=(change := np.diff(run.test_loss[one.rows].astype(np.float64))),
        class_loss_change=_class_loss_change(one),
        z_net=unusual(net),
        z_loss=unusual(change),
        lr=run.lr[step],
        falls=found[:, 1],
        fall_begins=found[:, 0],
        effects=None if wanted is None else _effects(run, one.data, wanted, progress=progress),
        accuracy=run.test_accuracy[one.rows].astype(np.float64),
        images=len(one.labels),
        interval=one.interval,
        _seen=one,
    )


def _class_loss_change(one: Seen) -> Doubles | None:
    if one.losses is None:
        return None
    change: Doubles = np.diff(class_losses(one.losses, one.labels, len(one.classes)), axis=0)
    return change


def _by_name(counted: Changes) -> dict[str, Integers]:
    return {name: getattr(counted, name) for name in ("gained", "lost", "class_gained", "class_lost")}


def _wanted(one: Seen, effects: str, falls: Integers) -> Integers:
    """Return the numbers of the steps whose effects are asked for, ascending: none of those after divergence."""
    if effects == "every":
        return np.arange(one.run.state_step[0], one.step[-1])
    ranges = [np.arange(max(0, last + 1 - BEFORE_A_FALL), last + 1) for last in falls]
    return np.unique(np.concatenate([*ranges, np.empty(0, np.int64)])).astype(np.int64)


def _effects(run: Run, data: Dataset, steps: Integers, *, progress: bool) -> Effects:
    """Measure the effects of steps, which ascend."""
    found: list[dict[str, Any]] = []
    with contextlib.ExitStack() as stack:
        there = stack.enter_context(at_work(run, data))
        done = 0
        bar = stack.enter_context(ProgressBar("effects", len(steps))) if progress else None

        def done_with(_: int) -> None:
            nonlocal done
            done += 1
            if bar is not None:
                bar(done, None, None, None)

        for state, part in _parts(run, steps):
            found.append(_core.effects(state, there, run.train_loss, part.tolist(), len(run.classes), done_with))
    every = {name: np.concatenate([part[name] for part in found]) for name in found[0]} if found else {}
    none = np.empty(0)
    return Effects(
        step=steps,
        loss=every.get("loss", none),
        loss_error=every.get("loss_error", none),
        gained=every.get("gained", none.astype(np.int64)),
        lost=every.get("lost", none.astype(np.int64)),
        class_loss=every.get("class_loss", np.empty((0, len(run.classes)))),
        change=every.get("after", none) - every.get("before", none),
    )


def _parts(run: Run, steps: Integers) -> list[tuple[bytes, Integers]]:
    """Return steps in parts, each with the state to go on from: a later one where it is nearer than the step before."""
    starts: list[tuple[bytes, list[int]]] = []
    reached = -1
    for step in steps.tolist():
        place = kept_before(run, step)
        if not starts or run.state_step[place] > reached:
            starts.append((run.states[place].tobytes(), []))
        starts[-1][1].append(step)
        reached = step + 1
    return [(state, np.array(part, np.int64)) for state, part in starts]
