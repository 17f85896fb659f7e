"""Checks of where a run shall be saved, made before the training instead of after it."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

from everybatch._disk import as_path, at_home
from everybatch._leftovers import sibling
from everybatch.errors import ArgumentError
from everybatch.runs._write import refuse_run

__all__ = ["check_out", "check_writable", "refuse_folder_in_out"]

_LONGEST_NAME = 255  # bytes, on every usual file system


def check_out(folder: Path, *, overwrite: bool) -> None:
    """Raise what `Run.save` would raise at the end.

    Raises
    ------
    FileExistsError
        There is something that may not be replaced.
    OSError
        Its name is too long.
    """
    folder = at_home(folder)
    longest = max(len(os.fsencode(name)) for name in (*folder.parts, sibling(folder, "tmp").name))
    if longest > _LONGEST_NAME:
        raise OSError(errno.ENAMETOOLONG, "the name is too long to be written under", str(folder))
    refuse_run(folder, overwrite=overwrite, option="--overwrite")


def refuse_folder_in_out(folder: Path, out: Path) -> None:
    """Refuse to write a run as it goes on where it is to be saved at the end, which is for the saved run alone.

    Raises
    ------
    ArgumentError
        It would be.
    """
    if as_path(folder, "--folder").resolve().is_relative_to(as_path(out, "--out").resolve()):
        raise ArgumentError(
            f"--folder {folder} lies in --out {out}, which holds a saved run and nothing else: choose another one, or "
            "leave --out out, for the run in --folder is as good"
        )


def check_writable(folder: Path) -> None:
    """Make sure that `folder` can be made, or written to if it is there.

    Raises
    ------
    OSError
        It cannot.
    """
    there = at_home(folder).absolute()
    while not there.exists():
        there = there.parent
    if not there.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "is a file, not a folder", str(there))
    if not os.access(there, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "may not be written to", str(there))
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:  # a disk that is mounted for reading, for example, or that is full
        raise OSError(error.errno, f"cannot be written to: {error.strerror}", str(there)) from error
