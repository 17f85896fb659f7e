"""`bands`: how far every accuracy, and every change of one, may be off because the test images are a sample."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from everybatch._arguments import share, whole
from everybatch.dataset import Dataset
from everybatch.errors import ArgumentError
from everybatch.insight._loss_errors import loss_change, loss_errors
from everybatch.insight._optimism import optimism
from everybatch.insight._paired import changed_interval, paired_error, percent, wilson
from everybatch.insight._seen import Seen, need, seen
from everybatch.run import Run
from everybatch.runs._tables import class_columns, import_pandas

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["Bands", "Change", "bands"]

Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Change:
    """One change of accuracy between two measurements of the same images; `Bands.change` gives it.

    Attributes
    ----------
    before, after : int
        Optimizer steps taken before the two measurements.
    what : str
        "all classes", or the name of the class that it is of.
    images, gained, lost : int
        Images that were measured, that were wrong before and are right after, and the other way round.
    change, error : float
        (gained - lost) / images, and its paired standard error √(g + l - (g - l)²/n) / n.
    low, high : float
        The interval of the change, at `level`.
    level : float
    loss_change, loss_error : float or None
        The change of the mean loss of these images, and its paired standard error, NaN of a single image; None without
        ``record=("losses",)``.
    """

    before: int
    after: int
    what: str
    images: int
    gained: int
    lost: int
    change: float
    error: float
    low: float
    high: float
    level: float
    loss_change: float | None
    loss_error: float | None

    @property
    def real(self) -> bool:
        """Whether the interval leaves out 0: other test images of the same kind would show a change, too."""
        return bool(self.low > 0 or self.high < 0)

    def __repr__(self) -> str:
        points = f"{100 * self.change:+.2f} points ({100 * self.low:+.2f} to {100 * self.high:+.2f})"
        verdict = "real" if self.real else "may be chance"
        loss = "" if self.loss_change is None else f", loss {self.loss_change:+.4f}"
        if self.loss_error is not None and np.isfinite(self.loss_error):
            loss += f" ± {self.loss_error:.4f}"
        return (
            f"<Change from step {self.before:,} to {self.after:,}, {self.what}: {points} at {percent(self.level)}, "
            f"{self.gained:,} gained and {self.lost:,} lost of {self.images:,} images{loss}, {verdict}>"
        )


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Bands:
    """What `bands` computed. Accuracies are fractions; the measurements are those of `run.eval_step`.

    Attributes
    ----------
    interval : str
        How often was measured.
    level : float
        Probability that an interval is to hold.
    step : (measurements,) int64
        Optimizer steps taken before each measurement.
    images : int
    accuracy, low, high : (measurements,) float64
        The accuracy and the ends of Wilson's interval of it.
    class_images : (classes,) int64
    class_accuracy, class_low, class_high : (measurements, classes) float64
        The same of each class; NaN for one without test images.
    gained, lost : (measurements - 1,) int64
        Images that went from wrong to right, and from right to wrong, between a measurement and the next.
    change_error : (measurements - 1,) float64
        The paired standard error of the change of accuracy between them.
    from_last_error : (measurements,) float64
        The paired standard error of the difference between each measurement and the last.
    best, last : int
        Numbers of the measurement with the highest accuracy (the first of equals) and of the last one.
    optimism, optimism_error : float
        By how much the highest of all accuracies is too high on average, because it was chosen by the images that it
        is measured on; and the standard deviation of that over `splits`.
    loss, loss_error : (measurements,) float64 or None
        The mean loss and its standard error, NaN of a single image; None in a run without ``record=("losses",)``.
    loss_change_error : (measurements - 1,) float64 or None
        The paired standard error of the change of the mean loss between a measurement and the next.
    splits, seed : int
        What the optimism was computed with.
    """

    interval: str
    level: float
    step: Integers
    images: int
    accuracy: Doubles
    low: Doubles
    high: Doubles
    class_images: Integers
    class_accuracy: Doubles
    class_low: Doubles
    class_high: Doubles
    gained: Integers
    lost: Integers
    change_error: Doubles
    from_last_error: Doubles
    best: int
    last: int
    optimism: float
    optimism_error: float
    loss: Doubles | None
    loss_error: Doubles | None
    loss_change_error: Doubles | None
    splits: int
    seed: int
    _seen: Seen

    @property
    def real_changes(self) -> npt.NDArray[np.bool_]:
        """(measurements - 1,) bool: whether the interval of each change to the next measurement leaves out 0.

        Of changes that are none, one in twenty is beyond an interval of 95 %.
        """
        low, high = changed_interval(self.gained, self.lost, self.images, self.level)
        real: npt.NDArray[np.bool_] = (low > 0) | (high < 0)
        return real

    def change(self, before: int, after: int = -1, *, of: int | str | None = None) -> Change:
        """Return the change of accuracy between two measurements, and whether it is real.

        Parameters
        ----------
        before, after
            Optimizer steps taken before the two measurements, as in `step`; -1 is the last one.
        of
            A class, by number or name; None: all images.

        Raises
        ------
        ArgumentError
            Nothing was measured after that step, or there is no such class, or no image of it.
        """
        first, then = self._seen.at(need(before, "before")), self._seen.at(need(after, "after"))
        number = None if of is None else _class_number(of, self._seen.classes)
        mine = slice(None) if number is None else self._seen.labels == number
        labels = self._seen.labels[mine]
        right = [self._seen.predictions[place, mine] == labels for place in (first, then)]
        n, gained, lost = len(labels), int((~right[0] & right[1]).sum()), int((right[0] & ~right[1]).sum())
        if not n:
            raise ArgumentError(f"class {of!r} has no test image")
        low, high = changed_interval(gained, lost, n, self.level)
        losses = self._seen.losses
        loss = (None, None) if losses is None else loss_change(losses[first, mine], losses[then, mine])
        return Change(
            before=int(self.step[first]),
            after=int(self.step[then]),
            what="all classes" if number is None else self._seen.classes[number],
            images=n,
            gained=gained,
            lost=lost,
            change=(gained - lost) / n,
            error=float(paired_error(gained, lost, n)),
            low=float(low),
            high=float(high),
            level=self.level,
            loss_change=loss[0],
            loss_error=loss[1],
        )

    @property
    def frame(self) -> pd.DataFrame:
        """A pandas DataFrame with one row per measurement.

        Columns: ``step``, ``accuracy``, ``low``, ``high``, ``gained``, ``lost``, ``change``, ``change_error`` (since
        the measurement before, of which the first has none), ``from_last_error``; ``loss``, ``loss_error`` and
        ``loss_change_error``, if losses were recorded; and the accuracy of each class under its name, with its number
        where a column has that name already.
        """
        pandas = import_pandas("bands(run).frame")
        since = np.full((4, len(self.step)), np.nan)
        since[:, 1:] = (self.gained, self.lost, (self.gained - self.lost) / self.images, self.change_error)
        losses = {}
        if self.loss is not None and self.loss_change_error is not None:
            changes = np.concatenate([[np.nan], self.loss_change_error])
            losses = {"loss": self.loss, "loss_error": self.loss_error, "loss_change_error": changes}
        own = {
            "step": self.step,
            "accuracy": self.accuracy,
            "low": self.low,
            "high": self.high,
            **dict(zip(("gained", "lost", "change", "change_error"), since, strict=True)),
            "from_last_error": self.from_last_error,
            **losses,
        }
        names = class_columns(self._seen.classes, beside=own)
        table: pd.DataFrame = pandas.DataFrame(own | dict(zip(names, self.class_accuracy.T, strict=True)))
        return table

    def plot(self, ax: Axes | None = None, *, zoom: bool = True) -> Axes:
        """Draw the accuracy in its bands; best, last and the mean of the last hundred measurements are told apart.

        The wide band says where the accuracy on all possible images may lie (Wilson). The narrow one is for comparing
        within the run: where it leaves out the line through the last measurement, the two differ really.

        Parameters
        ----------
        ax
            Where to draw; a new figure by default.
        zoom
            Fit the y axis to the last four fifths of the run.
        """
        from everybatch.insight._bands_picture import draw

        return draw(self, ax, zoom=zoom)

    def __repr__(self) -> str:
        best, last = f"{self.accuracy[self.best]:.2%}", f"{self.accuracy[self.last]:.2%}"
        wide = f"{self.low[self.last]:.2%} to {self.high[self.last]:.2%}"
        return (
            f"<Bands: {len(self.step):,} measurements of {self.images:,} images, {self.interval}; last {last} ({wide} "
            f"at {percent(self.level)}), best {best} which flatters by {100 * self.optimism:.2f} points, "
            f"{int(self.real_changes.sum()):,} of {len(self.gained):,} changes real>"
        )


def bands(
    run: Run | str | os.PathLike[str],
    *,
    dataset: Dataset | None = None,
    level: float = 0.95,
    splits: int = 200,
    seed: int = 0,
) -> Bands:
    """Put intervals around the accuracies of a run and around their changes, and say how far the best one flatters.

    An accuracy of n test images is that of a sample: others of the same kind would give another one. A level has
    Wilson's interval. A change between two measurements is one of the same images, and has the smaller, paired error of
    McNemar's table: √(g + l - (g - l)²/n) / n, with g images gained and l lost.

    Parameters
    ----------
    run
        One that was trained with ``record=("predictions",)``, or its folder; it may still be going. With
        ``record=("predictions", "losses")`` mean losses and their changes have errors, too.
    dataset
        What it was trained on. None: found again, as by `everybatch.resume`.
    level
        Probability that an interval is to hold.
    splits, seed
        For the optimism of the best measurement, the test images are cut into two random halves so many times: one half
        chooses the best measurement, and the other one tells by how much its accuracy there is too high. The mean of
        that over √2, because all images err by so much less than half of them, is the optimism.

    Raises
    ------
    AttributeError
        The run did not record predictions.
    ArgumentError, TypeError
        Nothing was measured, an argument is out of range, or the data set is another one or cannot be found.

    Examples
    --------
    >>> import everybatch as eb
    >>> data = eb.datasets.glyphs(train=640, test=100)
    >>> run = eb.train(eb.networks.lenet5(), data, steps=5, record=("predictions",), progress=False)
    >>> found = eb.insight.bands(run)
    >>> found.low.shape, found.gained.shape
    ((6,), (5,))
    >>> found.change(0, 5).images
    100
    """
    level, splits, seed = share(level, "level"), whole(splits, "splits"), whole(seed, "seed", least=0)
    one = seen(run, dataset, what="bands")
    classes, n = one.class_images, len(one.labels)
    right = np.zeros((len(one.step), len(classes)), np.int64)
    gained, lost = (np.zeros(max(len(one.step) - 1, 0), np.int64) for _ in range(2))
    from_last = np.zeros((2, len(one.step)), np.int64)
    last = one.predictions[-1] == one.labels
    before: npt.NDArray[np.bool_] | None = None
    for number, row in enumerate(one.right()):
        right[number] = np.bincount(one.labels[row], minlength=len(classes))
        from_last[:, number] = np.count_nonzero(row & ~last), np.count_nonzero(last & ~row)
        if before is not None:
            gained[number - 1] = np.count_nonzero(row & ~before)
            lost[number - 1] = np.count_nonzero(before & ~row)
        before = row
    low, high = wilson(right.sum(axis=1), n, level)
    class_low, class_high = wilson(right, classes, level)
    accuracy = right.sum(axis=1) / n
    flatters, spread = optimism(one, splits, seed)
    loss, loss_error, loss_changed = (None, None, None) if one.losses is None else loss_errors(one.losses)
    with np.errstate(invalid="ignore"):
        class_accuracy = right / np.where(classes > 0, classes, np.nan)
    return Bands(
        interval=one.interval,
        level=level,
        step=one.step,
        images=n,
        accuracy=accuracy,
        low=low,
        high=high,
        class_images=classes,
        class_accuracy=class_accuracy,
        class_low=class_low,
        class_high=class_high,
        gained=gained,
        lost=lost,
        change_error=paired_error(gained, lost, n),
        from_last_error=paired_error(from_last[0], from_last[1], n),
        best=int(np.argmax(accuracy)),
        last=len(one.step) - 1,
        optimism=flatters,
        optimism_error=spread,
        loss=loss,
        loss_error=loss_error,
        loss_change_error=loss_changed,
        splits=splits,
        seed=seed,
        _seen=one,
    )


def _class_number(given: int | str, names: tuple[str, ...]) -> int:
    """Return the number of a class that is given by number or name.

    Raises
    ------
    ArgumentError, TypeError
        There is none.
    """
    if isinstance(given, str):
        if given not in names:
            raise ArgumentError(f"there is no class {given!r}: the classes are {', '.join(map(repr, names[:12]))}")
        return names.index(given)
    number = whole(given, "of", least=0)
    if number >= len(names):
        raise ArgumentError(f"there is no class {number}: the {len(names)} classes are numbered from 0")
    return number
