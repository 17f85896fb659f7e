"""Writing a run: its files, the parent folders, and what may be replaced."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from everybatch._disk import as_path, explained, make_folders, refuse_existing_folder, whole_folder
from everybatch._leftovers import clear_leftovers
from everybatch.runs._files import CONFIG, FORMAT, HISTORY, MODEL, fingerprint, sealed

if TYPE_CHECKING:
    from everybatch._core import Model

__all__ = ["refuse_run", "write", "write_files"]


def write(
    folder: str | os.PathLike[str],
    config: Mapping[str, Any],
    arrays: Mapping[str, npt.NDArray[Any]],
    model: Model | None,
    *,
    overwrite: bool,
) -> None:
    """Write a run as `Run.save` describes."""
    target = as_path(folder, "folder")
    clear_leftovers(target)  # a run that was put aside comes back, so that it is not replaced unasked
    refuse_run(target, overwrite=overwrite)
    with explained("the run", target), _parents(target.parent), whole_folder(target) as temporary:
        write_files(temporary, config, arrays, model)


def write_files(
    folder: Path, config: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]], model: Model | None
) -> None:
    """Write the files of a run into a folder that is there."""
    # A handle, not a name: NumPy would add ".npz" to a name of its own liking.
    with (folder / HISTORY).open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
    if model is not None:
        model.save(str(folder / MODEL))
    files = {file.name: fingerprint(file) for file in sorted(folder.iterdir())}
    (folder / CONFIG).write_bytes(sealed({"format": FORMAT, "files": files, "config": config}))


def refuse_run(folder: Path, *, overwrite: bool, option: str = "overwrite=True") -> None:
    """Refuse to write a run where something is that may not be replaced; `option` is how the user would allow it.

    Raises
    ------
    FileExistsError
        Something is.
    """
    own = (CONFIG, HISTORY, MODEL)
    refuse_existing_folder(folder, "a saved run", own.__contains__, overwrite=overwrite, option=option)


@contextlib.contextmanager
def _parents(folder: Path) -> Iterator[None]:
    """Make the parent folders, and take those that were made away again if what follows fails."""
    made = [path for path in (*reversed(folder.parents), folder) if not path.exists()]
    for path in (*folder.parents, folder):
        if path.exists() and not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"{path} is not a folder")
    try:
        make_folders(folder)
        yield
    except BaseException:
        for path in reversed(made):
            with contextlib.suppress(OSError):
                path.rmdir()
        raise
