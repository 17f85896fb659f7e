"""`learning`: when each test image was learned and forgotten, and what of that fewer measurements would have seen."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from everybatch._arguments import whole
from everybatch._words import count
from everybatch.dataset import Dataset
from everybatch.insight._events import events, forgotten
from everybatch.insight._interval import sparser
from everybatch.insight._missed import hidden_fall, regrets
from everybatch.insight._seen import Seen, seen
from everybatch.run import Run
from everybatch.runs._tables import import_pandas

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Learning", "learning"]

Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Learning:
    """What `learning` counted. Images are in the order of `Run.predictions`; times are optimizer steps taken before.

    Attributes
    ----------
    interval : str
        How often was measured; all counts belong to that.
    step : (measurements,) int64
    test_indices : (images,) int64
        Which test images these are.
    labels : (images,) int64
    first_learned : (images,) int64
        The first measurement that was right; -1 for an image that never was.
    learned_for_good : (images,) int64
        The first of those right measurements that go on to the last; -1 for an image that is wrong at the last.
    forgotten : (images,) int64
        How often a right measurement was followed by a wrong one.
    time_right : (images,) float64
        The part of the measurements that was right.
    intervals : (intervals,) int64
        Steps between measurements: those of this run, and longer ones, up to an epoch.
    events : (intervals,) int64
        Times that an image was forgotten, of all images together, if measured at these intervals.
    ever_forgotten : (intervals,) float64
        The part of the images that was forgotten at least once.
    hidden_fall, hidden_class_fall : (intervals,) float64
        How much deeper the deepest fall of the accuracy of all images, or that of a class, is than it is seen at the
        interval. The first fifth of the run does not count.
    regret, regret_spread : (intervals,) float64
        What it costs in accuracy to choose the best measurement from fewer: chosen by one half of the images and judged
        by the other, mean and standard deviation over random halves.
    """

    interval: str
    step: Integers
    test_indices: Integers
    labels: Integers
    first_learned: Integers
    learned_for_good: Integers
    forgotten: Integers
    time_right: Doubles
    intervals: Integers
    events: Integers
    ever_forgotten: Doubles
    hidden_fall: Doubles
    hidden_class_fall: Doubles
    regret: Doubles
    regret_spread: Doubles
    _seen: Seen

    @property
    def order(self) -> Integers:
        """(images,) int64: the images from the one that was learned for good first to those that were not.

        Of images that were so at once, those that were right for longer come first.
        """
        good = np.where(self.learned_for_good < 0, np.iinfo(np.int64).max, self.learned_for_good)
        return np.lexsort((-self.time_right, good))

    @property
    def frame(self) -> pd.DataFrame:
        """A pandas DataFrame with one row per image, indexed by the number of the test image.

        Columns: ``label``, ``predicted`` (at the last measurement), ``first_learned`` and ``learned_for_good`` (missing
        where never), ``forgotten``, ``time_right``.
        """
        pandas = import_pandas("learning(run).frame")
        never = {
            name: pandas.array(np.where(times < 0, 0, times), dtype="Int64")
            for name, times in (("first_learned", self.first_learned), ("learned_for_good", self.learned_for_good))
        }
        never["first_learned"][self.first_learned < 0] = pandas.NA
        never["learned_for_good"][self.learned_for_good < 0] = pandas.NA
        table: pd.DataFrame = pandas.DataFrame(
            {
                "label": self.labels,
                "predicted": self._seen.predictions[-1].astype(np.int64),
                **never,
                "forgotten": self.forgotten,
                "time_right": self.time_right,
            },
            index=pandas.Index(self.test_indices, name="test image"),
        )
        return table

    @property
    def by_interval(self) -> pd.DataFrame:
        """A pandas DataFrame with one row per interval: what would have been seen, and missed, with fewer measurements.

        Columns: ``events``, ``events_per_1000`` images, ``ever_forgotten``, ``hidden_fall``, ``hidden_class_fall``,
        ``regret``, ``regret_spread``.
        """
        pandas = import_pandas("learning(run).by_interval")
        table: pd.DataFrame = pandas.DataFrame(
            {
                "events": self.events,
                "events_per_1000": 1000 * self.events / len(self.labels),
                "ever_forgotten": self.ever_forgotten,
                "hidden_fall": self.hidden_fall,
                "hidden_class_fall": self.hidden_class_fall,
                "regret": self.regret,
                "regret_spread": self.regret_spread,
            },
            index=pandas.Index(self.intervals, name="interval"),
        )
        return table

    def plot(self, figure: Figure | None = None, *, everything: bool = False) -> Figure:
        """Draw which image was right when, and beside it what fewer measurements would have seen.

        Rows are the images that were forgotten at least once or are wrong at the end, sorted by when they were learned
        for good; where several share a line of the picture, it has the part of them that was wrong. At the right events
        over interval, and what measuring less often hides.

        Parameters
        ----------
        figure
            Where to draw; a new figure by default.
        everything
            Draw the images, too, that were learned once and kept: most of all, as a rule.
        """
        from everybatch.insight._learning_picture import draw

        return draw(self, figure, everything=everything)

    def plot_images(self, ax: Axes | None = None, *, most: int = 40) -> Axes:
        """Draw the images that were forgotten most often; below each its class and how often.

        Parameters
        ----------
        ax
            Where to draw; a new figure by default.
        most
            How many images.

        Raises
        ------
        ArgumentError
            No image was forgotten.
        """
        from everybatch.insight._images_picture import draw_images

        places = np.argsort(-self.forgotten, kind="stable")[: whole(most, "most")]
        places = places[self.forgotten[places] > 0]
        names = self._seen.classes
        captions = [[(names[self.labels[place]], f", {self.forgotten[place]:,}×")] for place in places]
        title = f"{count(len(places), 'image')} forgotten most often (measured {self.interval})"
        return draw_images(self._seen.data, self.test_indices[places], captions, title, ax)

    def __repr__(self) -> str:
        never = int((self.first_learned < 0).sum())
        return (
            f"<Learning: {len(self.labels):,} images measured {self.interval}; {int(self.forgotten.sum()):,} times "
            f"right, then wrong, {(self.forgotten > 0).mean():.1%} of the images at least once, {never:,} never right>"
        )


def learning(
    run: Run | str | os.PathLike[str], *, dataset: Dataset | None = None, splits: int = 50, seed: int = 0
) -> Learning:
    """Count when each test image was learned and forgotten, and what fewer measurements would have seen of that.

    An image is forgotten when a measurement that is right is followed by a wrong one (M. Toneva et al., ICLR 2019, who
    look at training images once an epoch). How often that happens depends on how often one looks, so that the counts
    are given for longer intervals, too: those of the same run, had it been measured less often.

    Parameters
    ----------
    run
        One that was trained with ``record=("predictions",)``, or its folder; it may still be going.
    dataset
        What it was trained on. None: found again, as by `everybatch.resume`.
    splits, seed
        Random halves of the test images for the regret.

    Raises
    ------
    AttributeError
        The run did not record predictions.
    ArgumentError, TypeError
        It has fewer than two measurements, an argument is out of range, or the data set is another one or cannot be
        found.

    Examples
    --------
    >>> import everybatch as eb
    >>> data = eb.datasets.glyphs(train=640, test=100)
    >>> run = eb.train(eb.networks.lenet5(), data, steps=10, record=("predictions",), progress=False)
    >>> found = eb.insight.learning(run)
    >>> found.interval, found.intervals.tolist()
    ('every step', [1, 2, 5, 10])
    >>> found.events[0] == found.forgotten.sum()
    np.True_
    """
    splits, seed = whole(splits, "splits"), whole(seed, "seed", least=0)
    one = seen(run, dataset, least=2, what="learning")
    counted = events(one)
    chosen = sparser(one.step, one.per_epoch)
    accuracy, of_class = _curves(one)
    lost = [forgotten(one, places) for places in chosen.values()]
    regret, spread = regrets(one, list(chosen.values()), splits, seed)
    return Learning(
        interval=one.interval,
        step=one.step,
        test_indices=one.run.test_indices,
        labels=one.labels,
        first_learned=counted.first_learned,
        learned_for_good=counted.learned_for_good,
        forgotten=counted.forgotten,
        time_right=counted.right / len(one.step),
        intervals=np.array(list(chosen), np.int64),
        events=np.array([each.sum() for each in lost]),
        ever_forgotten=np.array([(each > 0).mean() for each in lost]),
        hidden_fall=np.array([hidden_fall(accuracy, places) for places in chosen.values()]),
        hidden_class_fall=np.array([hidden_fall(of_class, places) for places in chosen.values()]),
        regret=regret,
        regret_spread=spread,
        _seen=one,
    )


def _curves(one: Seen) -> tuple[Doubles, Doubles]:
    """Return the accuracy of all images, (measurements, 1), and of each class, (measurements, classes)."""
    classes = one.class_images
    right = np.stack([np.bincount(one.labels[row], minlength=len(classes)) for row in one.right()])
    return right.sum(axis=1, keepdims=True) / len(one.labels), right / np.where(classes > 0, classes, np.nan)
