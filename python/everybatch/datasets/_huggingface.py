"""Data sets of Hugging Face's library `datasets`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from everybatch import _torch_sets
from everybatch.dataset import Dataset
from everybatch.errors import ArgumentError, DataError

__all__ = ["from_huggingface"]


def from_huggingface(
    train: Any,
    test: Any = None,
    *,
    image: str | None = None,
    label: str | None = None,
    classes: Iterable[object] | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    name: str = "huggingface",
) -> Dataset:
    """Take a data set that the library `datasets` has loaded, such as ``datasets.load_dataset("ylecun/mnist")``.

    Parameters
    ----------
    train, test
        A ``datasets.Dataset`` for each; or as `train` alone a ``DatasetDict`` with the splits "train" and "test".
    image, label
        Names of the columns. Unless given: the one column of pictures, and the one of classes (``ClassLabel``), or
        else the one called "label".
    classes
        Names of the classes; those of the ``ClassLabel`` unless given. Where those of training and test are in another
        order, labels are matched by name.
    mean, std, name
        As for `everybatch.Dataset`.

    Raises
    ------
    TypeError
        If a data set is streamed (``streaming=True``), or none at all.
    ArgumentError
        If a column or a split is not there, or several could be meant; the message lists them.
    DataError, ShapeError
        If pictures are neither grey nor RGB, differ in size, or change when they are read again.
    """
    if isinstance(train, Mapping):
        if test is not None:
            raise ArgumentError("train is a DatasetDict, which holds all splits: leave test away, or pass two splits")
        if missing := [split for split in ("train", "test") if split not in train]:
            raise ArgumentError(
                f"the DatasetDict has no split {' and '.join(missing)}, only {', '.join(train)}: pass two of them, "
                'such as from_huggingface(splits["train"], splits["validation"])'
            )
        train, test = train["train"], train["test"]
    if test is None:
        raise ArgumentError("pass the test images too, as test; train.train_test_split(test_size=0.2) makes some")
    parts = [_read(part, what, image, label) for part, what in ((train, "train"), (test, "test"))]
    arrays, names = _torch_sets.joined(*parts)
    return Dataset(
        *arrays,
        classes=names if classes is None else classes,
        mean=mean,
        std=std,
        name=name,
        source=f"Hugging Face data sets of {len(train):,} and {len(test):,} rows",
    )


class _Rows:
    """The pairs (image, label) of a table."""

    def __init__(self, table: Any, image: str, label: str) -> None:
        self._table, self._image, self._label = table, image, label

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        row = self._table[index]
        return row[self._image], row[self._label]


def _read(table: Any, what: str, image: str | None, label: str | None) -> _torch_sets.Part:
    features = getattr(table, "features", None)
    if not isinstance(features, Mapping):
        raise TypeError(f"{what} must be a data set of Hugging Face, not {type(table).__name__}")
    if not hasattr(table, "__len__"):
        raise TypeError(f"{what} is streamed, and has no length: load it without streaming=True")
    kinds = {column: type(feature).__name__ for column, feature in features.items()}
    image = _column(kinds, image, "image", "Image", what)
    label = _column(kinds, label, "label", "ClassLabel", what)
    images, labels, _ = _torch_sets.read(_Rows(table, image, label), what)
    names = getattr(features[label], "names", None)
    if names is not None and -1 in labels:
        raise DataError(f"{what} has rows without a label (-1), as test sets of competitions do; take another split")
    return images, labels, None if names is None else tuple(names)


def _column(kinds: Mapping[str, str], given: str | None, name: str, kind: str, what: str) -> str:
    columns = ", ".join(kinds)
    if given is not None:
        if given not in kinds:
            raise ArgumentError(f"{what} has no column {given!r}; it has {columns}")
        return given
    fitting = [column for column, found in kinds.items() if found == kind]
    if not fitting and name in kinds:
        return name
    if len(fitting) != 1:
        raise ArgumentError(f"{what} has {len(fitting)} columns of kind {kind} among {columns}: name one with {name}=")
    return fitting[0]
