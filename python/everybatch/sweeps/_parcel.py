"""A job as bytes for another process, with its data sets beside it, so that they can be shared instead of copied."""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Callable, Mapping
from typing import Any

import cloudpickle
import numpy as np

from everybatch.dataset import Dataset
from everybatch.errors import ArgumentError

__all__ = ["dataset_from", "identity", "open_parcel", "parcel", "parts_of"]

ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")


def parcel(content: Any) -> tuple[bytes, dict[str, Dataset]]:
    """Pickle anything, functions of a notebook too; data sets found in it are set aside, by their `identity`.

    Raises
    ------
    ArgumentError
        Something in it cannot be pickled.
    """
    aside: dict[str, Dataset] = {}

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc] # cloudpickle brings no types
        def persistent_id(self, thing: Any) -> str | None:
            if not isinstance(thing, Dataset):
                return None
            name = identity(thing)
            aside[name] = thing
            return name

    file = io.BytesIO()
    try:
        Pickler(file).dump(content)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise ArgumentError(
            f"the function of this sweep, or a config, cannot be sent to another process ({error}): leave out what it "
            "holds open, or use backend='serial'"
        ) from error
    return file.getvalue(), aside


def open_parcel(content: bytes, dataset: Callable[[str], Dataset]) -> Any:
    """Unpickle what `parcel` made; `dataset` gives the data set of an `identity`."""

    class Unpickler(pickle.Unpickler):
        def persistent_load(self, name: str) -> Dataset:
            return dataset(name)

    return Unpickler(io.BytesIO(content)).load()


def identity(dataset: Dataset) -> str:
    """Tell a data set from all others: by its images and labels, how they are normalised, and what it is called."""
    more = (dataset.mean, dataset.std, dataset.classes, dataset.name, dataset.source)
    return hashlib.sha256(repr((dataset.fingerprint, *more)).encode()).hexdigest()[:20]


def parts_of(dataset: Dataset) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the arrays of a data set, and everything else of it."""
    dataset.fingerprint  # noqa: B018 - kept with the rest, so that nobody computes it again
    state = dict(dataset.__dict__)
    return {name: state.pop(name) for name in ARRAYS}, state


def dataset_from(arrays: Mapping[str, np.ndarray], rest: Mapping[str, Any]) -> Dataset:
    """Put a data set together again, from the very memory of `arrays`."""
    dataset = object.__new__(Dataset)
    dataset.__setstate__({**rest, **arrays})
    return dataset
