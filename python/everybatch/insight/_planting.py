"""`plant_label_errors`: a data set with wrong labels that are known, so that others can be measured by them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from everybatch._arguments import whole
from everybatch.dataset import Dataset, check_dataset
from everybatch.errors import ArgumentError
from everybatch.run import Run

__all__ = ["plant_label_errors"]


def plant_label_errors(
    dataset: Dataset, count: int = 300, *, like: Run | None = None, seed: int = 0
) -> tuple[Dataset, npt.NDArray[np.int64]]:
    """Give some training images wrong labels, and return which.

    Train on what this returns and tell `label_errors` of it (``planted=``): how suspicious these labels come out says
    how likely any other label is to be wrong, whatever the network, the data and the length of training are. They are
    few beside the data and cost next to no accuracy.

    Parameters
    ----------
    dataset
        The data; its test images stay as they are.
    count
        How many training images get a wrong label.
    like
        A run on these classes, such as an earlier one: two thirds of the labels are then drawn by its confusion matrix,
        as people too take for each other what looks alike, and one third from all classes. None: all of them from all
        classes.
    seed
        Of the draw.

    Returns
    -------
    dataset, planted : Dataset, (count,) int64
        The data set with wrong labels, and the training images that have them, ascending.

    Raises
    ------
    ArgumentError, TypeError
        There are not so many images, or the run has other classes.

    Examples
    --------
    >>> import everybatch as eb
    >>> data = eb.datasets.glyphs(train=640, test=100)
    >>> with_errors, planted = eb.insight.plant_label_errors(data, 30)
    >>> bool((with_errors.train_labels != data.train_labels).sum() == len(planted) == 30)
    True
    """
    check_dataset(dataset)
    count, seed = whole(count, "count"), whole(seed, "seed", least=0)
    images, classes = len(dataset.train_labels), dataset.num_classes
    if count > images:
        raise ArgumentError(f"count={count} labels cannot be wrong: there are {images:,} training images")
    draw = np.random.default_rng((seed, 0x1ABE1))
    planted = np.sort(draw.choice(images, count, replace=False))
    labels = dataset.train_labels.copy()
    true = labels[planted]
    wrong = (true + draw.integers(1, classes, count)) % classes
    if like is not None:
        if not isinstance(like, Run):
            raise TypeError(f"like must be an everybatch Run, not {type(like).__name__}")
        if like.classes != dataset.classes:
            raise ArgumentError("like: the run has other classes than the data set")
        # A tenth of an image each, so that a class that is never mistaken has something to be drawn from.
        errors = like.confusion + 0.1
        errors[np.diag_indices(classes)] = 0
        reach = np.cumsum(errors / errors.sum(axis=1, keepdims=True), axis=1)[true]
        alike = np.minimum((reach < draw.random((count, 1))).sum(axis=1), classes - 1)
        chosen = (draw.random(count) < 2 / 3) & (alike != true)
        wrong[chosen] = alike[chosen]
    labels[planted] = wrong
    made = Dataset(
        dataset.train_images,
        labels,
        dataset.test_images,
        dataset.test_labels,
        classes=dataset.classes,
        mean=dataset.mean,
        std=dataset.std,
        name=dataset.name,
        source=f"{dataset.source}; {count} training labels made wrong, seed {seed}",
    )
    return made, planted
