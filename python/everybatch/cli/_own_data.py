"""The data set that a run was trained on, found again without being named: by what the run keeps of it."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from everybatch._provenance import describe_dataset
from everybatch._trained_on import found_again
from everybatch.cli._data import NAMES
from everybatch.cli._parser import UsageError
from everybatch.dataset import Dataset
from everybatch.run import Run

__all__ = ["own_data"]


def own_data(args: Namespace, run: Run) -> Dataset:
    """Return the built-in data set that a run was trained on, cut down as it was.

    A name is not trusted: one's own pictures may be called "mnist" too. The run keeps a fingerprint.

    Raises
    ------
    UsageError
        It is none of the built-in ones.
    """
    known = run.config["dataset"]
    name = known["name"]
    if name not in NAMES:
        raise UsageError("say with --data what to measure on: the run was trained on data that have no known place")
    data = found_again(known, download=not args.no_download)
    assert data is not None  # `NAMES` are all of such functions
    if data.fingerprint != known.get("fingerprint"):
        raise UsageError(
            f"what the run was trained on cannot be found again: it is called {name}, and had "
            f"{_difference(known, describe_dataset(data))}. Say with --data what to measure on; for the built-in "
            f"data, --data {name}"
        )
    if list(known["classes"]) == list(data.classes):
        return data
    # The same images with the same labels, under names of one's own.
    return Dataset(
        data.train_images,
        data.train_labels,
        data.test_images,
        data.test_labels,
        classes=known["classes"],
        mean=data.mean,
        std=data.std,
        name=data.name,
        source=data.source,
    )


def _difference(known: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """Return in words what differs first between what the run keeps and what was found."""
    if list(known["image_shape"]) != list(found["image_shape"]):
        return f"images of {_times(known['image_shape'])} instead of {_times(found['image_shape'])}"
    if len(known["classes"]) != len(found["classes"]):
        return f"{len(known['classes'])} classes, {_first(known)}, instead of {len(found['classes'])}, {_first(found)}"
    if (known["train"], known["test"]) != (found["train"], found["test"]):
        return (
            f"{known['train']:,} training and {known['test']:,} test images instead of {found['train']:,} and "
            f"{found['test']:,}"
        )
    return "as many images, with other pixels or labels"


def _times(shape: Any) -> str:
    return "x".join(str(size) for size in shape)


def _first(described: Mapping[str, Any]) -> str:
    names = [repr(name) for name in described["classes"]]
    return ", ".join(names[:4]) + (", ..." if names[4:] else "")
