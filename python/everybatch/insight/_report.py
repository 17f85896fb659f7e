"""`report`: one page about a run that can be explored, image by image and batch by batch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from everybatch._arguments import flag, whole
from everybatch._disk import as_path, whole_file
from everybatch.insight._report_content import content
from everybatch.insight._report_page import page
from everybatch.insight._seen import seen

if TYPE_CHECKING:
    from everybatch.dataset import Dataset
    from everybatch.run import Run

__all__ = ["report"]


def report(
    run: Run | str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    dataset: Dataset | None = None,
    measurements: int = 1000,
    overwrite: bool = False,
) -> Path:
    """Write a run as one HTML file that can be explored and needs nothing else: no other file, no network.

    A slider goes through the measurements. At each of them the page shows how many test images were right, which were
    gained and which were lost since the measurement before, the confusion matrix, and the images of every cell. A
    picture of all images by all measurements shows what was learned when; each image can be looked up by its number,
    with what it was taken for at every measurement. The largest falls of the accuracy are listed with the images that
    they cost and the batches in between, of each the first 128 images.

    Parameters
    ----------
    run
        A run that recorded its predictions, ``record=("predictions",)``, or its folder; it may still be going. With
        ``"losses"`` too the page has the losses of single images, to within 3.3 percent from 6.1e-5 to 545; those
        beyond are shown as these.
    path
        The file. It is there whole or not at all.
    dataset
        What the run was trained on. None: found again by its name.
    measurements
        How many of the run's measurements the page has at most, 2 or more: evenly chosen, the first and the last among
        them. The falls are sought among all.
    overwrite
        Replace a file that is there already.

    Returns
    -------
    Path
        The file's absolute path.

    Raises
    ------
    AttributeError
        The run did not record its predictions.
    ArgumentError
        Nothing was measured, or not before it diverged; the data set is another one, or cannot be found; `measurements`
        is below 2.
    ImportError
        Pillow is not installed.
    FileExistsError, FileNotFoundError, OSError
        The file cannot be written; nothing was changed.
    """
    target, replace = as_path(path, "file"), flag(overwrite, "overwrite")
    most = whole(measurements, "measurements", 2)
    text = page(content(seen(run, dataset, what="report"), most))
    with whole_file(target, overwrite=replace) as file:
        file.write(text.encode("utf-8", errors="replace"))
    return target
