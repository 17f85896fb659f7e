"""`data_map`: which training images were easy, ambiguous or hard for a network."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from everybatch._arguments import choice
from everybatch._measures import SUMS
from everybatch.dataset import Dataset
from everybatch.insight._dataset import labels_trained, run_of
from everybatch.insight._passes import passes_of
from everybatch.run import Run
from everybatch.runs._tables import import_pandas

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["REGIONS", "DataMap", "data_map", "from_losses", "from_sums"]

Integers = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]
REGIONS = ("easy", "ambiguous", "hard", "never learned")


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class DataMap:
    """What `data_map` found, of each training image, in the order of `indices`.

    Attributes
    ----------
    source : str
        What the numbers are of: passes in evaluation mode, or training steps.
    indices : (images,) int64
        Into the training images of the data set.
    labels : (images,) int64
    confidence : (images,) float64
        Mean probability of the label.
    variability : (images,) float64
        Standard deviation of it (divided by n). It tells ambiguous images, and is no sign of a wrong label: these have
        a low confidence and a low variability until they are memorised.
    correctness : (images,) float64
        The share of times that the label was predicted.
    times : (images,) int64
        How often each image was looked at; where it is 0 the others are NaN.
    classes : tuple of str
    """

    source: str
    indices: Integers
    labels: Integers
    confidence: Doubles
    variability: Doubles
    correctness: Doubles
    times: Integers
    classes: tuple[str, ...]
    _run: Run

    @property
    def region(self) -> npt.NDArray[np.object_]:
        """(images,) of str: "never learned", "hard", "ambiguous" or "easy"; "" for images that were not looked at.

        Never learned: predicted rightly not once; hard: a confidence below 1/2; ambiguous: a variability above 1/5;
        easy: all others.
        """
        found = np.full(len(self.indices), "easy", object)
        found[self.variability > 0.2] = "ambiguous"
        found[self.confidence < 0.5] = "hard"
        found[self.correctness == 0] = "never learned"
        found[self.times == 0] = ""
        return found

    @property
    def frame(self) -> pd.DataFrame:
        """A pandas DataFrame with one row per image.

        Columns: ``index``, ``label`` (name of the class), ``confidence``, ``variability``, ``correctness``, ``times``,
        ``region``.
        """
        pandas = import_pandas("data_map(run).frame")
        table: pd.DataFrame = pandas.DataFrame(
            {
                "index": self.indices,
                "label": np.array(self.classes, object)[self.labels],
                "confidence": self.confidence,
                "variability": self.variability,
                "correctness": self.correctness,
                "times": self.times,
                "region": self.region,
            }
        )
        return table

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw every image at its variability and confidence, coloured by how often it was predicted rightly."""
        from everybatch.insight._data_map_picture import draw

        return draw(self, REGIONS, ax)

    def __repr__(self) -> str:
        region = self.region
        counts = ", ".join(f"{int((region == name).sum()):,} {name}" for name in REGIONS)
        return f"<DataMap of {len(self.indices):,} training images: {counts}; from {self.source}>"


def data_map(run: Run | str | os.PathLike[str], *, dataset: Dataset | None = None, source: str = "passes") -> DataMap:
    """Map training images by how probable their label was while the network learned (Swayamdipta et al. 2020).

    The formulas are those of allenai/cartography: mean and standard deviation of the probability of the label, and how
    often the label was predicted.

    Parameters
    ----------
    run
        One that was trained with ``record=("examples",)``, or its folder; it may still be going.
    dataset
        What it was trained on. None: found again, as by `everybatch.resume`.
    source
        "passes": the passes over the training images in evaluation mode, all with the same weights and without
        augmentation. "steps": the logits of the training steps themselves, each before its step, in training mode, of
        the augmented image; they are the original's, and there is one for every presentation. These are different
        numbers.

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
    >>> eb.insight.data_map(run).confidence.shape
    (640,)
    """
    choice(source, "source", ("passes", "steps"))
    if source == "passes":
        passes = passes_of(run, dataset)
        one, indices, labels = passes.run, passes.indices, passes.labels
        numbers = from_losses(passes.losses, passes.predictions == labels)
        times = np.full(len(labels), len(passes.step), np.int64)
        said = passes.said(len(passes.step))
    else:
        one = run_of(run)
        sums, indices = one.step_sums, one.trained_indices
        labels = labels_trained(one, indices, dataset)
        numbers = from_sums(sums, one.step_votes, labels)
        times = one.step_votes.sum(axis=1, dtype=np.int64)
        said = f"{int(times.sum()):,} images of training steps"
    return DataMap(said, indices, labels, *numbers, times, one.classes, one)


def from_losses(losses: npt.NDArray[np.floating], right: npt.NDArray[np.bool_]) -> tuple[Doubles, Doubles, Doubles]:
    """Return confidence, variability and correctness from cross-entropies (passes, images) and what was right."""
    total, squares = np.zeros((2, losses.shape[1]))
    for row in losses:
        total += np.exp(-row.astype(np.float64))
    mean = total / len(losses)
    for row in losses:
        squares += (np.exp(-row.astype(np.float64)) - mean) ** 2
    return mean, np.sqrt(squares / len(losses)), right.mean(axis=0, dtype=np.float64)


def from_sums(sums: Doubles, votes: npt.NDArray[np.integer], labels: Integers) -> tuple[Doubles, Doubles, Doubles]:
    """Return the same from sums (images, 5) and votes (images, classes); NaN for images without any."""
    times = votes.sum(axis=1, dtype=np.float64)
    times[times == 0] = np.nan
    mean = sums[:, SUMS.index("probability")] / times
    variance = sums[:, SUMS.index("probability_squared")] / times - mean**2
    right = votes[np.arange(len(labels)), labels] / times
    return mean, np.sqrt(np.maximum(variance, 0)), right
