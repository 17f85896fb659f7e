"""`Flows`: which images went from one cell of the confusion matrix to another, between two measurements."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from everybatch._words import count
from everybatch.insight._seen import Seen
from everybatch.runs._tables import import_pandas

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["Flows", "flows_between"]

Integers = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Flows:
    """Images whose predicted class changed between two measurements, by true class; the largest flows first.

    Attributes
    ----------
    before, after : int
        Optimizer steps taken before the two measurements.
    interval : str
        How often the run was measured.
    classes : tuple of str
    true, source, target, images : (flows,) int64
        The true class, the classes predicted before and after, and how many images went this way.
    """

    before: int
    after: int
    interval: str
    classes: tuple[str, ...]
    true: Integers
    source: Integers
    target: Integers
    images: Integers

    @property
    def net(self) -> Integers:
        """(classes, classes) int64: what flows into each cell of the matrix, less what flows out of it."""
        change = np.zeros((len(self.classes),) * 2, np.int64)
        np.add.at(change, (self.true, self.target), self.images)
        np.subtract.at(change, (self.true, self.source), self.images)
        return change

    @property
    def gained(self) -> int:
        """Images that were wrong before and are right after."""
        return int(self.images[self.target == self.true].sum())

    @property
    def lost(self) -> int:
        """Images that were right before and are wrong after."""
        return int(self.images[self.source == self.true].sum())

    @property
    def frame(self) -> pd.DataFrame:
        """A pandas DataFrame with one row per flow: ``true``, ``source``, ``target`` (names) and ``images``."""
        pandas = import_pandas("film.flows(...).frame")
        names = np.array(self.classes, dtype=object)
        numbers = {"true": self.true, "source": self.source, "target": self.target}
        table: pd.DataFrame = pandas.DataFrame(
            {**{name: names[each] for name, each in numbers.items()}, "images": self.images}
        )
        return table

    def plot(self, ax: Axes | None = None, *, most: int = 15) -> Axes:
        """Draw the largest flows as bars: to the right what was gained, to the left what was lost.

        Parameters
        ----------
        ax
            Where to draw; a new figure by default.
        most
            How many flows.
        """
        from everybatch.insight._film_picture import draw_flows

        return draw_flows(self, ax, most)

    def __repr__(self) -> str:
        changed = int(self.images.sum())
        return (
            f"<Flows from step {self.before:,} to {self.after:,} (measured {self.interval}): {count(changed, 'image')} "
            f"changed class, {self.gained:,} gained and {self.lost:,} lost>"
        )


def flows_between(one: Seen, first: int, then: int) -> Flows:
    """Return the flows between two measurements, by their numbers."""
    classes = len(one.classes)
    source, target = (one.predictions[place].astype(np.int64) for place in (first, then))
    moved = source != target
    codes, images = np.unique(
        (one.labels[moved] * classes + source[moved]) * classes + target[moved], return_counts=True
    )
    largest = np.lexsort((codes, -images))
    codes, images = codes[largest], images[largest]
    return Flows(
        before=int(one.step[first]),
        after=int(one.step[then]),
        interval=one.interval,
        classes=one.classes,
        true=codes // classes**2,
        source=codes // classes % classes,
        target=codes % classes,
        images=images.astype(np.int64),
    )
