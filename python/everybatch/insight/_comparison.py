"""`compare`: several runs image by image: what they answer differently, and what they get wrong together."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from everybatch._arguments import whole
from everybatch.dataset import Dataset
from everybatch.errors import ArgumentError
from everybatch.insight._agreement import kappa, spearman
from everybatch.insight._events import events
from everybatch.insight._seen import Seen, predictions_of, seen, sound
from everybatch.plots._inputs import as_sources
from everybatch.run import Run
from everybatch.runs._tables import import_pandas

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["Comparison", "compare"]

Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Given = Run | str | os.PathLike[str]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """What `compare` found. All but the order of learning is of the last measurement of each run.

    Attributes
    ----------
    labels : tuple of str
        A name for each run.
    intervals : tuple of str
        How often each was measured.
    test_indices : (images,) int64
        Which test images were measured.
    accuracy : (runs,) float64
    churn : (runs, runs) float64
        The part of the images for which two runs predict different classes.
    kappa : (runs, runs) float64
        Cohen's kappa of the predicted classes: agreement beyond that of chance, 1 if they are the same.
    shared_errors : (runs, runs) int64
        Images that both get wrong.
    expected_errors : (runs, runs) float64
        How many that would be if errors were independent: images × error of one × error of the other. On the diagonal
        the errors of the run.
    same_errors : (runs, runs) int64
        Images that both take for the same wrong class.
    order : (runs, runs) float64
        Spearman's correlation of the steps after which the images were learned for good; never counts as last.
    wrong_in : (images,) int64
        In how many runs each image is wrong.
    predicted : (runs, images) int64
        The class that each run predicts for each image.
    """

    labels: tuple[str, ...]
    intervals: tuple[str, ...]
    test_indices: Integers
    accuracy: Doubles
    churn: Doubles
    kappa: Doubles
    shared_errors: Integers
    expected_errors: Doubles
    same_errors: Integers
    order: Doubles
    wrong_in: Integers
    predicted: Integers
    _first: Seen

    @property
    def agreement(self) -> Doubles:
        """(runs, runs) float64: the part of the images for which two runs predict the same class, 1 - `churn`."""
        return 1 - self.churn

    @property
    def beyond_chance(self) -> Doubles:
        """(runs, runs) float64: `shared_errors` / `expected_errors`: 1 for independent errors, NaN without errors."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(self.expected_errors > 0, self.shared_errors / self.expected_errors, np.nan)

    @property
    def wrong_in_all(self) -> Integers:
        """The test images that every run gets wrong, by their numbers in the test set."""
        found: Integers = self.test_indices[self.wrong_in == len(self.labels)]
        return found

    @property
    def wrong_in_one(self) -> Integers:
        """The test images that exactly one run gets wrong, by their numbers in the test set."""
        found: Integers = self.test_indices[self.wrong_in == 1]
        return found

    @property
    def frame(self) -> pd.DataFrame:
        """A pandas DataFrame with one row for each pair of runs.

        Columns: ``one``, ``other`` (labels), ``churn``, ``kappa``, ``shared_errors``, ``expected_errors``,
        ``beyond_chance``, ``same_errors``, ``order``.
        """
        pandas = import_pandas("compare(runs).frame")
        one, other = np.triu_indices(len(self.labels), 1)
        names = np.array(self.labels, dtype=object)
        columns = ("churn", "kappa", "shared_errors", "expected_errors", "beyond_chance", "same_errors", "order")
        table: pd.DataFrame = pandas.DataFrame(
            {"one": names[one], "other": names[other]} | {name: getattr(self, name)[one, other] for name in columns}
        )
        return table

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw a matrix of the runs: churn above the diagonal, shared errors against chance below, accuracy on it.

        Parameters
        ----------
        ax
            Where to draw; a new figure by default.
        """
        from everybatch.insight._comparison_picture import draw

        return draw(self, ax)

    def plot_images(self, ax: Axes | None = None, *, most: int = 40) -> Axes:
        """Draw images that are wrong in all runs; below each its class, and what most runs take it for.

        Those on whose wrong class most runs agree come first: their labels are worth a look.

        Parameters
        ----------
        ax
            Where to draw; a new figure by default.
        most
            How many images.

        Raises
        ------
        ArgumentError
            No image is wrong in all runs.
        """
        from everybatch.insight._images_picture import draw_images

        places = np.flatnonzero(self.wrong_in == len(self.labels))
        names, labels, runs = self._first.classes, self._first.labels[places], len(self.labels)
        answers = np.stack([(self.predicted[:, places] == number).sum(axis=0) for number in range(len(names))])
        taken_for, times = answers.argmax(axis=0), np.max(answers, axis=0)
        agreed = np.argsort(-times, kind="stable")[: whole(most, "most")]
        captions = [
            [
                (names[labels[each]], " → "),
                (names[taken_for[each]], f" ({times[each]}/{runs})" if times[each] < runs else ""),
            ]
            for each in agreed
        ]
        title = f"{len(agreed)} of {len(places):,} images that all {runs} runs get wrong: label → taken for"
        return draw_images(self._first.data, self.test_indices[places[agreed]], captions, title, ax)

    def __repr__(self) -> str:
        pairs = np.triu_indices(len(self.labels), 1)
        churn, beyond = self.churn[pairs].mean(), self.beyond_chance[pairs]
        errors = np.isfinite(beyond).any()
        times = f"shared errors {np.nanmean(beyond):.1f} times those of chance" if errors else "no errors to share"
        measured = ", ".join(dict.fromkeys(self.intervals))
        return (
            f"<Comparison of {len(self.labels)} runs on {len(self.test_indices):,} images at their last measurement: "
            f"mean churn {churn:.2%}, {times}, {len(self.wrong_in_all):,} images wrong in all; order of learning "
            f"{np.mean(self.order[pairs]):.2f} (measured {measured})>"
        )


def compare(
    runs: Sequence[Given] | Mapping[str, Given],
    *,
    labels: Sequence[str] | None = None,
    dataset: Dataset | None = None,
) -> Comparison:
    """Compare runs image by image: churn, errors in common, agreement beyond chance, and the order of learning.

    Parameters
    ----------
    runs
        Two or more that were measured on the same test images and recorded predictions, or their folders; a list, or a
        dict from label to run. They may have different networks, seeds and intervals.
    labels
        A name for each. By default what differs between their settings.
    dataset
        What they were trained on. None: found again, as by `everybatch.resume`.

    Raises
    ------
    AttributeError
        A run did not record predictions.
    ArgumentError, TypeError
        Fewer than two runs, or runs that were measured on different images, or not at all; or the data set is another
        one or cannot be found.

    Examples
    --------
    >>> import everybatch as eb
    >>> data = eb.datasets.glyphs(train=640, test=100)
    >>> runs = [
    ...     eb.train(eb.networks.lenet5(), data, steps=5, seed=seed, record=("predictions",), progress=False)
    ...     for seed in (0, 1)
    ... ]
    >>> found = eb.insight.compare(runs)
    >>> found.labels
    ('seed 0', 'seed 1')
    >>> found.churn.shape, float(found.churn[0, 0])
    ((2, 2), 0.0)
    """
    if isinstance(runs, Run | str | os.PathLike):
        raise ArgumentError("compare needs two runs or more, in a list or a dict")
    sources = as_sources(runs, labels, plot="insight.compare", ndim=None)
    if len(sources) < 2:
        raise ArgumentError(f"compare needs two runs or more, and was given {len(sources)}")
    given = [source.run for source in sources if source.run is not None]
    _refuse_different(given)
    for run in given:
        predictions_of(run)
    first = seen(given[0], dataset, what="compare")
    views = [first, *(_like(first, run) for run in given[1:])]
    return _compared(views, tuple(source.label for source in sources))


def _refuse_different(runs: Sequence[Run]) -> None:
    """Refuse runs that were not measured on the same images.

    Raises
    ------
    ArgumentError
        They were not.
    """
    first = runs[0]
    for number, run in enumerate(runs[1:], 2):
        if run._config["dataset"].get("fingerprint") != first._config["dataset"].get("fingerprint"):
            names = (str(each._config["dataset"].get("name")) for each in (first, run))
            raise ArgumentError(
                f"run 1 and run {number} are of different data sets ({' and '.join(map(repr, names))}, whose "
                "fingerprints differ): compare runs that were measured on the same images"
            )
        if not np.array_equal(run.test_indices, first.test_indices):
            raise ArgumentError(
                f"run 1 and run {number} were measured on different test images ({len(first.test_indices):,} and "
                f"{len(run.test_indices):,} of them): compare runs with the same evaluate_on, and the same seed "
                "if that draws them"
            )


def _like(first: Seen, run: Run) -> Seen:
    """Return what is to be seen of another run on the same images.

    Raises
    ------
    ArgumentError
        It was not measured yet, or had diverged before.
    """
    rows = sound(run, what="compare")
    return Seen(run, run.predictions[rows], first.labels, run.eval_step[rows], first.data, rows)


def _compared(views: Sequence[Seen], names: tuple[str, ...]) -> Comparison:
    count, n = len(views), len(views[0].labels)
    last = np.stack([one.predictions[-1].astype(np.int64) for one in views])
    wrong = last != views[0].labels
    learned = [events(one).learned_for_good for one in views]
    learned = [np.where(times < 0, np.iinfo(np.int64).max, times) for times in learned]
    churn, agreed, order = (np.zeros((count, count)) for _ in range(3))
    shared, same = (np.zeros((count, count), np.int64) for _ in range(2))
    for i in range(count):
        differs, both = last[i] != last, wrong[i] & wrong
        churn[i], shared[i], same[i] = differs.mean(axis=1), both.sum(axis=1), (both & ~differs).sum(axis=1)
        for j in range(i, count):
            agreed[i, j] = agreed[j, i] = kappa(last[i], last[j], len(views[0].classes))
            order[i, j] = order[j, i] = spearman(learned[i], learned[j])
    errors = wrong.mean(axis=1)
    expected = n * errors[:, None] * errors[None]
    np.fill_diagonal(expected, wrong.sum(axis=1))
    return Comparison(
        labels=names,
        intervals=tuple(one.interval for one in views),
        test_indices=views[0].run.test_indices,
        accuracy=1 - errors,
        churn=churn,
        kappa=agreed,
        shared_errors=shared,
        expected_errors=expected,
        same_errors=same,
        order=order,
        wrong_in=wrong.sum(axis=0),
        predicted=last,
        _first=views[0],
    )
