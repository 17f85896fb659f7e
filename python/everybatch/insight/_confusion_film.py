"""`confusion_film`: the confusion matrix at every measurement, flows between its cells, and alarms of classes."""

from __future__ import annotations

import dataclasses
import html
import math
import os
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from everybatch._arguments import real, whole
from everybatch._disk import as_path, whole_file
from everybatch._words import count
from everybatch.dataset import Dataset
from everybatch.errors import ArgumentError
from everybatch.insight._alarms import alarms
from everybatch.insight._film_page import page
from everybatch.insight._flows import Flows, flows_between
from everybatch.insight._seen import Seen, need, seen
from everybatch.run import Run
from everybatch.runs._tables import import_pandas

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["ConfusionFilm", "confusion_film"]

Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class ConfusionFilm:
    """The confusion matrix at every measurement. In a notebook it shows itself, with a slider.

    Attributes
    ----------
    interval : str
        How often was measured.
    step : (measurements,) int64
        Optimizer steps taken before each measurement.
    classes : tuple of str
    threshold : float
        Standard errors from which a fall of a class is an alarm.
    alarm_step : (alarms,) int64
        Optimizer steps taken before the measurement that is an alarm.
    alarm_class : (alarms,) int64
        The class that fell since the measurement before.
    alarm_fall, alarm_error : (alarms,) float64
        By how much its accuracy fell, and the paired standard error of that.
    alarm_standard_errors : (alarms,) float64
        The fall in standard errors, both with half an image more in each cell of the table.
    alarm_of_all : (alarms,) float64
        The change of the accuracy of all images at the same time.
    """

    interval: str
    step: Integers
    classes: tuple[str, ...]
    threshold: float
    alarm_step: Integers
    alarm_class: Integers
    alarm_fall: Doubles
    alarm_error: Doubles
    alarm_standard_errors: Doubles
    alarm_of_all: Doubles
    _seen: Seen

    def matrix(self, step: int = -1) -> Integers:
        """Return the confusion matrix after so many steps, (classes, classes) int64; rows true, columns predicted.

        Parameters
        ----------
        step
            Optimizer steps taken before the measurement, one of those in `step`; -1 is the last.

        Raises
        ------
        ArgumentError
            Nothing was measured then.
        """
        return self._seen.matrix(self._seen.at(need(step)))

    @property
    def matrices(self) -> npt.NDArray[np.int32]:
        """(measurements, classes, classes) int32: all of them, 4 bytes a cell."""
        made = np.empty((len(self.step), len(self.classes), len(self.classes)), np.int32)
        for place in range(len(self.step)):
            made[place] = self._seen.matrix(place)
        return made

    def flows(self, before: int, after: int = -1) -> Flows:
        """Return which images went from one cell to another between two measurements.

        Parameters
        ----------
        before, after
            Optimizer steps taken before the measurements; -1 is the last.

        Raises
        ------
        ArgumentError
            Nothing was measured then.
        """
        return flows_between(self._seen, self._seen.at(need(before, "before")), self._seen.at(need(after, "after")))

    def images(self, true: int, predicted: int, step: int = -1) -> Integers:
        """Return the test images in a cell of the matrix, by their numbers in the test set.

        Parameters
        ----------
        true, predicted
            The cell, by the numbers of its classes.
        step
            Optimizer steps taken before the measurement; -1 is the last.

        Raises
        ------
        ArgumentError
            There is no such class, or nothing was measured then.
        """
        for number, name in ((true, "true"), (predicted, "predicted")):
            if whole(number, name, least=0) >= len(self.classes):
                raise ArgumentError(f"{name} is {number}, but the {len(self.classes)} classes are numbered from 0")
        row = self._seen.predictions[self._seen.at(need(step))]
        found: Integers = self._seen.run.test_indices[(self._seen.labels == true) & (row == predicted)]
        return found

    @property
    def frame(self) -> pd.DataFrame:
        """A pandas DataFrame with one row per alarm.

        Columns: ``step``, ``class`` (its name), ``fall``, ``error``, ``standard_errors`` and ``change_of_all``.
        """
        pandas = import_pandas("confusion_film(run).frame")
        table: pd.DataFrame = pandas.DataFrame(
            {
                "step": self.alarm_step,
                "class": np.array(self.classes, dtype=object)[self.alarm_class],
                "fall": self.alarm_fall,
                "error": self.alarm_error,
                "standard_errors": self.alarm_standard_errors,
                "change_of_all": self.alarm_of_all,
            }
        )
        return table

    def plot(self, step: int = -1, ax: Axes | None = None) -> Axes:
        """Draw the matrix after so many steps, as `everybatch.plots.confusion` does.

        Parameters
        ----------
        step
            Optimizer steps taken before the measurement; -1 is the last.
        ax
            Where to draw; a new figure by default.

        Raises
        ------
        ArgumentError
            Nothing was measured then.
        """
        from everybatch.insight._film_picture import draw

        return draw(self, self._seen.at(need(step)), ax)

    def plot_images(self, true: int, predicted: int, step: int = -1, ax: Axes | None = None, *, most: int = 40) -> Axes:
        """Draw the test images in a cell of the matrix, by their numbers in the test set.

        Parameters
        ----------
        true, predicted, step
            As of `images`.
        ax
            Where to draw; a new figure by default.
        most
            How many images: the first ones.

        Raises
        ------
        ArgumentError
            There is no such class, nothing was measured then, or the cell is empty.
        """
        from everybatch.insight._images_picture import draw_images

        found = self.images(true, predicted, step)
        names, shown = self.classes, found[: whole(most, "most")]
        what = "recognised" if true == predicted else f"taken for {names[predicted]}"
        number = int(self.step[self._seen.at(step)])
        title = f"{names[true]} {what} after step {number:,}: {len(shown)} of {count(len(found), 'image')}"
        return draw_images(self._seen.data, shown, [[(str(each), "")] for each in shown], title, ax)

    def to_html(self, path: str | os.PathLike[str], *, frames: int = 300, overwrite: bool = False) -> None:
        """Write a page with the film: a slider, keys, the accuracy below, and the largest flows of each frame.

        It needs no network and is one file. Of more measurements than `frames` it has so many, closer together at the
        beginning, where much happens. Of more than 60 classes it has the 40 with the most errors, and says so.

        Parameters
        ----------
        path
            The file, as a rule with ``.html`` at its end.
        frames
            The most measurements on the page, at least 2.
        overwrite
            Replace a file that is there.

        Raises
        ------
        FileExistsError
            It is there, and `overwrite` does not allow its replacement.
        """
        made = page(self, whole(frames, "frames", least=2))
        with whole_file(as_path(path, "path"), overwrite=overwrite) as file:
            file.write(made.encode())

    def to_gif(
        self, path: str | os.PathLike[str], *, frames: int = 60, seconds: float = 8.0, overwrite: bool = False
    ) -> None:
        """Write a moving picture for slides: `frames` measurements in so many seconds, and the accuracy below.

        Parameters
        ----------
        path
            The file, with ``.gif`` at its end.
        frames
            The most measurements, at least 2; closer together at the beginning, where much happens.
        seconds
            How long it takes, above 0. It begins anew after a second at the end.
        overwrite
            Replace a file that is there.

        Raises
        ------
        FileExistsError
            It is there, and `overwrite` does not allow its replacement.
        """
        from everybatch.insight._film_gif import write

        frames, seconds = whole(frames, "frames", least=2), real(seconds, "seconds")
        if not 0 < seconds < 3600:
            raise ArgumentError(f"seconds is {seconds:g}: give some between 0 and 3600")
        with whole_file(as_path(path, "path"), overwrite=overwrite) as file:
            write(self, file, frames, seconds)

    def __repr__(self) -> str:
        matrix = self.matrix()
        return (
            f"<ConfusionFilm: {count(len(self.step), 'measurement')} of {int(matrix.sum()):,} images in "
            f"{len(self.classes):,} classes, {self.interval}; {count(len(self.alarm_step), 'alarm')} of a class that "
            f"fell by more than {self.threshold:g} standard errors alone>"
        )

    def _repr_html_(self) -> str:
        document = html.escape(page(self, 200), quote=True)
        return (
            f'<iframe srcdoc="{document}" style="width:100%;height:680px;border:0" '
            f'title="Confusion matrix at every measurement" sandbox="allow-scripts"></iframe>'
        )


def confusion_film(
    run: Run | str | os.PathLike[str], *, dataset: Dataset | None = None, threshold: float = 4.0
) -> ConfusionFilm:
    """Return the confusion matrix at every measurement of a run, and where a class fell alone.

    An alarm is a class whose accuracy falls, from a measurement to the next, by more than `threshold` paired standard
    errors √(g + l - (g - l)²/n) / n, with half an image more in each cell (gained, lost, right or wrong both times),
    while that of all other images does not; where there are no others, there is none. It says that the class fell on
    these test images, by more than chance would have it; not why. Runs in which nothing is wrong have alarms, too, of
    classes that take turns in the first steps: three of LeNet-5 on MNIST, measured after every batch of an epoch, had
    4, 7 and 10, the latest after step 152 of 938.

    Parameters
    ----------
    run
        One that was trained with ``record=("predictions",)``, or its folder; it may still be going.
    dataset
        What it was trained on. None: found again, as by `everybatch.resume`.
    threshold
        Standard errors, a finite number above 0.

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
    >>> film = eb.insight.confusion_film(run)
    >>> bool((film.matrix() == run.confusion).all())
    True
    >>> flows = film.flows(0, 5)
    >>> bool((film.matrix(0) + flows.net == film.matrix(5)).all())
    True
    """
    threshold = real(threshold, "threshold")
    if not 0 < threshold < math.inf:
        raise ArgumentError(f"threshold is {threshold:g}: give standard errors, a finite number above 0")
    one = seen(run, dataset, what="confusion_film")
    found = alarms(one, threshold)
    return ConfusionFilm(
        interval=one.interval,
        step=one.step,
        classes=one.classes,
        threshold=threshold,
        alarm_step=one.step[found.place],
        alarm_class=found.of,
        alarm_fall=found.fall,
        alarm_error=found.error,
        alarm_standard_errors=found.standard_errors,
        alarm_of_all=found.of_all,
        _seen=one,
    )
