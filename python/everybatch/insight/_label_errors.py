"""`label_errors`: which labels are probably wrong, and what they should be."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from everybatch._arguments import choice
from everybatch.dataset import Dataset
from everybatch.errors import ArgumentError
from everybatch.insight import _suspects, _test_suspects
from everybatch.insight._dataset import run_of
from everybatch.insight._passes import passes_of
from everybatch.insight._suspects import Suspects
from everybatch.run import Run
from everybatch.runs._tables import import_pandas

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["LabelErrors", "label_errors"]

Given = Run | str | os.PathLike[str]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class LabelErrors:
    """What `label_errors` found: all images, the most suspicious first.

    Attributes
    ----------
    part : str
        "train" or "test": whose labels these are.
    score_name, interval : str
        What the order is by, and which measurements it was computed from.
    onset_step : int or None
        Optimizer steps taken before the network began to memorise labels that it had voted against; only the passes
        before that count, but five at least. None if it did not, and for test images, which are not trained on.
    indices : (images,) int64
        Into the training or test images of the data set.
    given, suggested : (images,) int64
        The label, and what it most probably should be if it is wrong.
    probability : (images,) float64
        That the label is wrong; NaN of test labels.
    score : (images,) float64
        What the order is by; higher is more suspicious.
    mean_loss : (images,) float64
        A second, plainer ranking: the mean cross-entropy over the same measurements. NaN of test labels that are
        judged by votes.
    noise : (classes, classes) float64
        How often images of each true class (rows) have each label (columns), as far as the votes can tell.
    votes : (measurements, images) uint8 or uint16
        The class voted for at each measurement, in the order of `indices`; those that do not count included.
    counted : slice
        Which of these measurements counted.
    classes : tuple of str
    """

    part: str
    score_name: str
    interval: str
    onset_step: int | None
    indices: npt.NDArray[np.int64]
    given: npt.NDArray[np.int64]
    suggested: npt.NDArray[np.int64]
    probability: npt.NDArray[np.float64]
    score: npt.NDArray[np.float64]
    mean_loss: npt.NDArray[np.float64]
    noise: npt.NDArray[np.float64]
    votes: npt.NDArray[Any]
    counted: slice
    classes: tuple[str, ...]
    _pixels: npt.NDArray[np.uint8]

    @property
    def expected(self) -> float:
        """How many labels are probably wrong: the sum of all probabilities; NaN of test labels."""
        return float(self.probability.sum())

    @property
    def frame(self) -> pd.DataFrame:
        """A pandas DataFrame with one row per image, the most suspicious first.

        Columns: ``index``, ``given`` and ``suggested`` (names of classes), ``probability`` (of training labels),
        ``score``, ``mean_loss``.
        """
        pandas = import_pandas("label_errors(run).frame")
        names = np.array(self.classes, object)
        table: pd.DataFrame = pandas.DataFrame(
            {
                "index": self.indices,
                "given": names[self.given],
                "suggested": names[self.suggested],
                "probability": self.probability,
                "score": self.score,
                "mean_loss": self.mean_loss,
            }
        )
        return table.drop(columns="probability") if self.part == "test" else table

    def plot(self, count: int = 24, *, columns: int = 6, ax: Axes | None = None) -> Axes:
        """Draw the most suspicious images, with the label and the suggested one, and how the votes went.

        Below each image lies a strip of ticks, one for each measurement from the first to the last, in the colour of
        the class that was voted for: grey where that was the label. What came after the onset of memorisation, or does
        not count for another reason, is pale.

        Parameters
        ----------
        count
            How many images.
        columns
            Side by side.
        ax
            Where to draw; a new figure by default.
        """
        from everybatch.insight._contact_sheet import draw

        return draw(self, count, columns, ax)

    def __repr__(self) -> str:
        known = "no probabilities"
        if self.part == "train":
            above = int((self.probability > 0.5).sum())
            known = f"{self.expected:,.0f} expected wrong, {above:,} with more than 50%"
        onset = "" if self.onset_step is None else f"; memorisation begins at step {self.onset_step:,}"
        return (
            f"<LabelErrors of {len(self.indices):,} {'training' if self.part == 'train' else 'test'} labels: "
            f"{known}; by {self.score_name}, {self.interval}{onset}>"
        )


def label_errors(
    run: Given,
    part: str = "train",
    *,
    dataset: Dataset | None = None,
    runs: Sequence[Given] = (),
    planted: npt.ArrayLike | None = None,
) -> LabelErrors:
    """Rank the labels of a data set by how likely they are wrong, from the recording of one training.

    *Training labels.* A network learns what images have in common before it learns single labels by heart. Until then,
    an image whose label is wrong is voted for as what it shows. The passes over the training images up to the onset of
    memorisation (see `memorisation`) are counted as votes, and a model of how labels and votes come about gives the
    probability that each label is wrong. The order is what was tried most. The probabilities are as good as the model,
    which assumes that errors depend on the true class and not on the single image, and that the network is right about
    nearly all other images before it memorises: one that was trained too briefly has hard images pass for errors (of
    MNIST's labels LeNet-5 expects 15 to be wrong after three epochs, and 208 after 200 batches); where people mislabel
    the very images that the network, too, finds hard, probabilities come out too low; and where two fifths of a class
    have the label of another one and are being memorised, they are off by up to 60 points. On random errors they are
    within 5 to 7 points (``benches/README.md``). Planted errors that are like the real ones make them better.

    *Test labels.* They are never trained on, so that nothing is memorised. The order is by the mean loss over the last
    two thirds of the measurements (``record=("losses",)``), or over all of them, or by votes; whatever was recorded.
    With several runs it is by what all of them have: by votes where one of them recorded no losses. Test labels have no
    probabilities: images that are merely hard look the same as wrong labels (of the 56 test labels of MNIST that the
    model gave more than 90 %, reviewers had found 9 wrong).

    Parameters
    ----------
    run
        One that was trained with ``record=("examples",)``; or its folder. For test labels ``"losses"`` and
        ``"predictions"``, too, make it better. It may still be going.
    part
        "train" or "test": whose labels.
    dataset
        What it was trained on. None: found again, as by `everybatch.resume`.
    runs
        More runs on the same data, such as with other seeds or networks: their votes (and scores of test labels) count
        as much as those of `run`, whose name, interval and onset are told.
    planted
        Training images that were given wrong labels on purpose, from `plant_label_errors`: probabilities then come from
        them, by isotonic regression, instead of from the model, and are as good as they are like the real errors. They
        are left out.

    Raises
    ------
    AttributeError
        The run did not record what is needed; the message says how to train so that it does.
    ArgumentError, TypeError
        Runs have trained on other images, or an argument is wrong, or the data set is another one or cannot be found.

    Examples
    --------
    >>> import everybatch as eb
    >>> data, planted = eb.insight.plant_label_errors(eb.datasets.glyphs(train=960, test=100), 40)
    >>> how = {"epochs": 8, "batch_size": 32, "lr": 3e-3, "evaluate_every": "epoch", "progress": False}
    >>> run = eb.train(eb.networks.lenet5(), data, record=("examples",), **how)
    >>> found = eb.insight.label_errors(run, dataset=data)
    >>> len(set(found.indices[:40]) & set(planted)) > 25
    True
    """
    choice(part, "part", ("train", "test"))
    if isinstance(runs, Run | str | os.PathLike):
        raise TypeError(f"runs must be a list of more runs or their folders, not one {type(runs).__name__}: runs=[...]")
    given = [run_of(each) for each in (run, *runs)]
    if part == "test":
        if planted is not None:
            raise ArgumentError("planted: these are training images, and part is 'test'")
        return _sorted("test", _test_suspects.found([(each, dataset) for each in given]))
    passes = [passes_of(each, dataset) for each in given]
    return _sorted("train", _suspects.found(passes, None if planted is None else np.asarray(planted)))


def _sorted(part: str, found: Suspects) -> LabelErrors:
    """Put the most suspicious first; of equal scores that with the higher loss."""
    order = np.lexsort((-found.mean_loss, -found.score))
    return LabelErrors(
        part=part,
        score_name=found.score_name,
        interval=found.interval,
        onset_step=found.onset_step,
        indices=found.indices[order],
        given=found.labels[order],
        suggested=found.suggested[order],
        probability=found.probability[order],
        score=found.score[order],
        mean_loss=found.mean_loss[order],
        noise=found.noise,
        votes=found.votes[:, order],
        counted=found.counted,
        classes=found.classes,
        _pixels=found.images,
    )
