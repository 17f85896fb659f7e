"""A run as TensorBoard event files."""

from __future__ import annotations

import json
import os
import textwrap
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from everybatch._arguments import flag
from everybatch._disk import as_path, explained, refuse_existing_folder, require_folder, whole_folder
from everybatch._measures import COLUMNS
from everybatch._names import is_text
from everybatch.errors import ArgumentError
from everybatch.export._given import as_run, missing_package
from everybatch.run import Run
from everybatch.runs._tables import Column, class_columns, columns

__all__ = ["refuse_events", "tensorboard"]

_EVENTS = "events.out.tfevents."  # how TensorBoard knows its files


def tensorboard(run: Run, folder: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Write what was measured as event files, by PyTorch's own writer; ``tensorboard --logdir`` shows them.

    Scalars, at the number of optimizer steps taken: ``train/loss``, ``train/accuracy``, ``test/loss``,
    ``test/accuracy``, ``train/lr``, ``class_accuracy/<name>`` for each class, and ``train/grad_norm``,
    ``validation/loss`` and ``validation/accuracy`` if the run has them. Of a run with a tolerance also the standard
    errors, ``test/loss_error``, ``test/accuracy_error``, ``class_accuracy_error/<name>``, and the images that were
    looked at, ``test/images_measured``; those of validation images accordingly. A value of step 0 is of the untrained
    network. The times are those of the training, so that TensorBoard's relative axis is right. ``Run.config`` is there
    as the text ``config``.

    Parameters
    ----------
    run
        What `everybatch.train` or `everybatch.load_run` returned.
    folder
        A folder of its own, in one that is there: give each run its own folder in the one that TensorBoard is shown.
    overwrite
        Replace the event files of a folder that holds nothing else.

    Raises
    ------
    ImportError
        The package tensorboard is not installed.
    FileExistsError
        There is such a file or folder already, and `overwrite` does not allow its replacement.
    FileNotFoundError, NotADirectoryError, OSError
        `folder` lies in no folder, or cannot be written. Nothing is left behind.
    """
    run, overwrite = as_run(run), flag(overwrite, "overwrite")
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise missing_package("tensorboard", "the package tensorboard", "tensorboard") from error
    target = as_path(folder, "folder")
    if not is_text(str(target)):
        raise ArgumentError(f"TensorBoard cannot write to {str(target)!r}, a path that is not UTF-8 text")
    refuse_events(target, overwrite=overwrite)
    require_folder(target)
    with (
        explained("the event files", target),
        whole_folder(target) as temporary,
        SummaryWriter(temporary) as writer,
    ):
        for tag, step, value, at in _scalars(run):
            writer.add_scalar(tag, value, step, walltime=at)
        writer.add_text("config", _code(run.config), 0)


def refuse_events(folder: Path, *, overwrite: bool, option: str = "overwrite=True") -> None:
    """Refuse to write event files where something is that may not be replaced; as `refuse_existing_folder`."""

    def is_own(name: str) -> bool:
        return name.startswith(_EVENTS)

    refuse_existing_folder(folder, "event files", is_own, overwrite=overwrite, option=option)


def _scalars(run: Run) -> Iterator[tuple[str, int, float, float]]:
    """Tag, steps taken, value and time in seconds of every value that was measured."""
    table = columns(run)
    times = _started(run) + np.cumsum(table["seconds"].data)
    tags = {name: str(measure.tag) for name, measure in COLUMNS.items() if name in table}
    classes = class_columns(run.classes)
    for measure in COLUMNS.values():
        if measure.dimensions[1:] != ("classes",) or not measure.is_told(run):
            continue
        names = class_columns(run.classes, measure)
        for name, called, accuracy in zip(names, classes, run.class_accuracy.T, strict=True):
            if not np.isnan(accuracy).all():  # NaN throughout: no test image of this class was measured
                tags[name] = f"{measure.tag}/{called}"
    for name, tag in tags.items():
        for step in _measured(table[name]):
            yield tag, step, float(table[name].data[step]), float(times[step])


def _measured(column: Column) -> list[int]:
    steps: list[int] = np.flatnonzero(~np.ma.getmaskarray(column)).tolist()
    return steps


def _started(run: Run) -> float:
    """Seconds since 1970 at which the training began; now, if the run does not tell."""
    try:
        return datetime.fromisoformat(run.config["started"]).timestamp()
    except (KeyError, TypeError, ValueError):
        return time.time()


def _code(config: dict[str, Any]) -> str:
    # TensorBoard reads texts as Markdown, where four spaces mark what is shown as it is.
    text = json.dumps(config, indent=2, ensure_ascii=False).encode("utf-8", "backslashreplace").decode()
    return textwrap.indent(text, " " * 4)
