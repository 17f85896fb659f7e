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

from everybatch._disk import as_path, explained, whole_folder
from everybatch._leftovers import clear_leftovers
from everybatch._run_files import CONFIG, FORMAT, HISTORY, MODEL, fingerprint, sealed

if TYPE_CHECKING:
    from everybatch._core import Model

__all__ = ["write", "write_files"]


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
    _refuse_existing(target, overwrite)
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


def _refuse_existing(target: Path, overwrite: bool) -> None:
    if not os.path.lexists(target):
        return
    if target.is_symlink() or not target.is_dir():
        raise FileExistsError(f"{target} exists and is not a plain folder: choose another name for the run")
    if not overwrite:
        raise FileExistsError(f"{target} exists already: choose another folder, or pass overwrite=True to replace it")
    with explained("the run", target):
        names = {path.name for path in target.iterdir()}
    others = sorted(names - {CONFIG, HISTORY, MODEL})
    if others:
        raise FileExistsError(
            f"{target} holds more than a saved run ({others[0]!r}): "
            "overwrite=True would delete it, so it is refused. "
            "Choose another folder for the run"
        )


@contextlib.contextmanager
def _parents(folder: Path) -> Iterator[None]:
    """Make the parent folders, and take those that were made away again if what follows fails."""
    made: list[Path] = []
    for path in (*reversed(folder.parents), folder):
        if not path.exists():
            made.append(path)
        elif not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"{path} is not a folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for path in reversed(made):
            with contextlib.suppress(OSError):
                path.rmdir()
        raise
