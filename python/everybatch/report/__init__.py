"""A sweep as one HTML file: the table, pictures, and every run with its curves and settings."""

from __future__ import annotations

import os
from pathlib import Path

from everybatch._arguments import flag
from everybatch._disk import as_path, whole_file
from everybatch.report._figures import figures
from everybatch.report._page import page
from everybatch.report._runs import read_runs
from everybatch.report._table import table
from everybatch.sweeps._sweep import Sweep, load_sweep

__all__ = ["write_report"]


def write_report(
    sweep: Sweep | str | os.PathLike[str], path: str | os.PathLike[str], *, overwrite: bool = False
) -> Path:
    """Write a sweep as one HTML file that needs nothing else: no other file, no network.

    It holds what the sweep was made of and on, a table of all trials that can be sorted and filtered, pictures, and
    for each trial its curves, its settings and, if it failed, the traceback.

    Parameters
    ----------
    sweep
        A sweep, or the path of a stored one.
    path
        The file. It is there whole or not at all.
    overwrite
        Replace a file that is there already.

    Returns
    -------
    Path
        The file's absolute path.

    Raises
    ------
    TypeError
        `sweep` is something else.
    ImportError
        pandas or matplotlib is not installed.
    FileExistsError, FileNotFoundError, OSError
        The file cannot be written; nothing was changed.
    """
    if not isinstance(sweep, Sweep | str | os.PathLike):
        raise TypeError(f"write_report takes a Sweep or the path of a stored one, not {type(sweep).__name__}")
    opened = sweep if isinstance(sweep, Sweep) else load_sweep(sweep)
    target, replace = as_path(path, "file"), flag(overwrite, "overwrite")
    rows = opened.table()
    told = read_runs(opened)
    text = page(opened, told, table(rows, told), figures(opened))
    with whole_file(target, overwrite=replace) as file:
        file.write(text.encode("utf-8", errors="replace"))
    return target
