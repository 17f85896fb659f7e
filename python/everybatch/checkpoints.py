"""Weights that a run kept on its way: `train(checkpoints=...)` writes them, `evaluate_checkpoints` measures them."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from everybatch._classes import Part, checked, matched
from everybatch._core import Evaluation, Model
from everybatch._disk import as_path, at_home, make_folders
from everybatch._not_compiled import not_compiled
from everybatch.dataset import Dataset
from everybatch.errors import ArgumentError

__all__ = ["evaluate_checkpoints", "list_checkpoints", "prepare_folder", "refuse_inside"]

_NAME = re.compile(r"step_(\d{6,})\.safetensors")


def list_checkpoints(folder: str | os.PathLike[str]) -> dict[int, Path]:
    """Return the files of kept weights by the number of optimizer steps taken before, in that order.

    Parameters
    ----------
    folder
        That of ``train(checkpoints=folder)``.

    Raises
    ------
    FileNotFoundError, NotADirectoryError
        There is no such folder.
    """
    paths = Path(at_home(folder)).iterdir()
    found = {int(match[1]): path for path in paths if (match := _NAME.fullmatch(path.name))}
    return dict(sorted(found.items()))


@not_compiled
def evaluate_checkpoints(
    folder: str | os.PathLike[str],
    dataset: Dataset,
    *,
    indices: npt.NDArray[np.int64] | None = None,
    precision: str = "float32",
    match_classes: str | None = None,
) -> dict[int, Evaluation]:
    """Measure all kept weights of a run; on its own test images the figures are those of its history that are complete.

    Parameters
    ----------
    folder
        That of ``train(checkpoints=folder)``.
    dataset
        Whose test images are measured.
    indices
        Of the test images to measure, such as ``run.test_indices``; all unless given.
    precision
        "float32" or "bfloat16", as in `train`.
    match_classes
        As in `Model.evaluate`.

    Returns
    -------
    dict
        By the number of optimizer steps taken before, in ascending order.

    Raises
    ------
    FileNotFoundError
        The folder is missing, or holds no kept weights.
    FileFormatError
        One of the files is damaged.
    IndexError
        The data set has no such test image.
    ArgumentError, ShapeError
        The data set has classes that the weights do not know, or images of another shape.

    Examples
    --------
    >>> import everybatch as eb
    >>> data = eb.datasets.glyphs(train=640, test=100)
    >>> run = eb.train(eb.networks.lenet5(), data, steps=6, checkpoints="kept", checkpoint_every=2, progress=False)
    >>> list(evaluate_checkpoints("kept", data))
    [2, 4, 6]
    """
    if not isinstance(dataset, Dataset):
        raise TypeError(f"dataset must be an everybatch Dataset, not {type(dataset).__name__}")
    kept = list_checkpoints(folder)
    if not kept:
        raise FileNotFoundError(f"{folder} holds no kept weights (step_*.safetensors): see train(checkpoints=...)")
    images, labels = dataset.test_images, dataset.test_labels
    if indices is not None:
        images, labels = images[indices], labels[indices]
    how, measured = checked(match_classes), {}
    parts: dict[tuple[str, ...] | None, Part] = {}
    for step, path in kept.items():
        model = Model.load(path)
        if model.classes not in parts:  # once for all files of a run
            count, called = model.network.num_classes, f"data set {dataset.name!r}"
            found = matched(model.classes, count, dataset.classes, labels, how, data=called)
            parts[model.classes] = Part(images, found.numbers[labels], found.names, dataset.name)
        part: Any = parts[model.classes]  # as good as a data set, and not one
        measured[step] = model.evaluate(part, precision=precision, match_classes="position")
    return measured


def prepare_folder(given: str | os.PathLike[str]) -> Path:
    """Make the folder, and refuse one that holds the weights of another run."""
    if not isinstance(given, str | os.PathLike):
        raise TypeError(f"checkpoints must be the path of a folder, not {type(given).__name__}")
    if not os.fspath(given):
        raise ArgumentError("checkpoints must name a folder, not ''")
    folder = at_home(given).absolute()
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"checkpoints: {folder} is a file, not a folder")
    if folder.is_dir() and list_checkpoints(folder):
        raise FileExistsError(f"checkpoints: {folder} holds kept weights already: choose another folder, or empty it")
    make_folders(folder)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"checkpoints: {folder} may not be written to")
    return folder


def refuse_inside(checkpoints: str | os.PathLike[str], folder: str | os.PathLike[str], message: str) -> None:
    """Refuse to keep weights within the folder of a run, which is for the run alone.

    Parameters
    ----------
    checkpoints, folder
        Where to.
    message
        Says so, with ``{checkpoints}`` and ``{folder}`` as they were given, or ``{resolved}``.

    Raises
    ------
    ArgumentError
        They would be.
    """
    inner, outer = as_path(checkpoints, "checkpoints").resolve(), as_path(folder, "folder").resolve()
    if inner.is_relative_to(outer):
        raise ArgumentError(
            message.format(checkpoints=checkpoints, folder=str(folder), resolved=inner)
            + f": choose another folder, such as {outer.with_name(outer.name + '_weights')}"
        )
