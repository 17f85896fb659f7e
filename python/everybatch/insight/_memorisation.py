"""`memorisation`: when a network begins to learn by heart labels that it had voted against."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from everybatch._measure import sound_rows
from everybatch.dataset import Dataset
from everybatch.insight._onset import fitted_suspects
from everybatch.insight._passes import Passes, passes_of
from everybatch.run import Run
from everybatch.runs._tables import import_pandas

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["Memorisation", "memorisation"]

Integers = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Memorisation:
    """What `memorisation` found.

    Attributes
    ----------
    interval : str
        Which passes over the training images it is from.
    step : (passes,) int64
        Optimizer steps taken before each pass.
    suspects : (passes,) int64
        Images of which at least 60 % of the votes before the pass went to one other class; 0 at the first.
    suspects_fitted : (passes,) float64
        The share of these that the pass predicts as they are labelled: those learned by heart. NaN where there are
        none.
    others_fitted : (passes,) float64
        The same of all other images.
    onset_step : int or None
        Optimizer steps taken before memorisation begins, or None if it does not.
    """

    interval: str
    step: Integers
    suspects: Integers
    suspects_fitted: Doubles
    others_fitted: Doubles
    onset_step: int | None
    _run: Run

    @property
    def accuracy_at_onset(self) -> float:
        """Test accuracy at the last measurement not after the onset; at the end of the run if there was none.

        The onset is found without a look at the test images, so it does not flatter. Measurements do not count whose
        loss is no number, or that were made after the run had diverged; NaN if no other is left.
        """
        step, accuracy = self._measured
        at = len(step) if self.onset_step is None else int(np.searchsorted(step, self.onset_step, side="right"))
        return float(accuracy[at - 1]) if at else float("nan")

    @property
    def _measured(self) -> tuple[Integers, npt.NDArray[np.float32]]:
        """Steps before each measurement that counts, and the test accuracy then: of broken weights it says nothing."""
        run = self._run
        rows = sound_rows(run.test_loss, run.eval_step, run.diverged_at)
        return run.eval_step[rows], run.test_accuracy[rows]

    @property
    def frame(self) -> pd.DataFrame:
        """A pandas DataFrame with one row per pass.

        Columns: ``step``, ``suspects``, ``suspects_fitted``, ``others_fitted``.
        """
        pandas = import_pandas("memorisation(run).frame")
        table: pd.DataFrame = pandas.DataFrame(
            {name: getattr(self, name) for name in ("step", "suspects", "suspects_fitted", "others_fitted")}
        )
        return table

    def plot(self) -> list[Axes]:
        """Draw the test accuracy, and below it how many of the suspects and of all other images are fitted.

        Returns
        -------
        list of Axes
            Both, of one new figure (``axes[0].figure``).
        """
        from everybatch.insight._memorisation_picture import draw

        return draw(self)

    def __repr__(self) -> str:
        if self.onset_step is None:
            said = "no memorisation"
        else:
            said = f"memorisation begins at step {self.onset_step:,} (test accuracy {self.accuracy_at_onset:.2%})"
        last = f"{int(self.suspects[-1]):,} suspects at the end"
        if self.suspects[-1]:
            last += f", {self.suspects_fitted[-1]:.0%} of them fitted"
        return f"<Memorisation: {said}; {last}; from {self.interval}>"


def memorisation(run: Run | str | os.PathLike[str], *, dataset: Dataset | None = None) -> Memorisation:
    """Find out whether and when a network began to memorise labels that it had voted against.

    Suspects are images of which at least 60 % of the votes so far went to one other class. While a network learns what
    images have in common they stay unfitted; when it learns them by heart, the share of them that are predicted as they
    are labelled rises. Memorisation begins at the pass from which on that share stays more than 0.03 above its minimum,
    counted from a tenth of the passes on, if that lasts for three passes at least. There is none if the suspects were
    never held off (the minimum is above 0.3). Passes do not count that have more than half of the images for suspects,
    for the network is only beginning to learn, or fewer than 1 %: those are hard images on their way to being learned,
    as clean data have them. Where many images stay hard, fitting them is called memorisation, too.

    Training that is stopped there keeps most of its best test accuracy, and needs no validation images for it. Only
    what is before the onset counts for `label_errors`.

    Parameters
    ----------
    run
        One that was trained with ``record=("examples",)``, or its folder; it may still be going. With more passes
        (``measure_training=``) the answer is sharper.
    dataset
        What it was trained on. None: found again, as by `everybatch.resume`.

    Raises
    ------
    AttributeError
        The run did not record its examples.
    ArgumentError, TypeError
        It made no pass over the training images, or the data set is another one or cannot be found.

    Examples
    --------
    >>> import everybatch as eb
    >>> data = eb.datasets.glyphs(train=640, test=100)
    >>> run = eb.train(eb.networks.lenet5(), data, epochs=2, record=("examples",), progress=False)
    >>> eb.insight.memorisation(run).onset_step is None
    True
    """
    return _watched(passes_of(run, dataset))


def _watched(one: Passes) -> Memorisation:
    fitted = fitted_suspects(one.predictions, one.labels, len(one.classes))
    return Memorisation(
        interval=one.said(len(one.step)),
        step=one.step,
        suspects=fitted.suspects,
        suspects_fitted=fitted.suspects_fitted,
        others_fitted=fitted.others_fitted,
        onset_step=None if fitted.onset is None else int(one.step[fitted.onset]),
        _run=one.run,
    )
