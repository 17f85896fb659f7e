"""Runs on disk: a folder with ``config.json``, ``history.npz`` and ``model.safetensors``. No pickle anywhere.

``config.json`` holds the format's version, the size and SHA-256 of the other files, so that a truncated file or one of
another run is noticed, and the run's config.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from everybatch._run_arrays import ARRAYS, OPTIONAL, check_arrays, check_config
from everybatch.errors import ArgumentError, FileFormatError

if TYPE_CHECKING:
    from everybatch._core import Model

__all__ = ["FORMAT", "Stored", "read", "write"]

FORMAT = 1
CONFIG, HISTORY, MODEL = "config.json", "history.npz", "model.safetensors"


@dataclass(frozen=True)
class Stored:
    """What was read: the arrays, the config, and how to get the model (None where the run was saved without)."""

    arrays: dict[str, npt.NDArray[Any]]
    config: dict[str, Any]
    load_model: Callable[[], Model] | None


# ---- writing -------------------------------------------------------------------------------------------------------


def write(
    folder: str | os.PathLike[str],
    config: Mapping[str, Any],
    arrays: Mapping[str, npt.NDArray[Any]],
    model: Model | None,
    *,
    overwrite: bool,
) -> None:
    """Write a run as `Run.save` describes."""
    target = _path(folder)
    _refuse_existing(target, overwrite)
    with _explained(target), _parents(target.parent):
        temporary = _sibling(target, "tmp")
        temporary.mkdir()
        try:
            _write_files(temporary, config, arrays, model)
            _put_in_place(temporary, target)
        except BaseException:  # Ctrl-C too must leave nothing behind
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def _write_files(
    folder: Path, config: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]], model: Model | None
) -> None:
    # A handle, not a name: NumPy would add ".npz" to a name of its own liking.
    with (folder / HISTORY).open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
    if model is not None:
        model.save(str(folder / MODEL))
    files = {file.name: _fingerprint(file) for file in sorted(folder.iterdir())}
    content = {"format": FORMAT, "files": files, "config": config}
    (folder / CONFIG).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    for path in (*folder.iterdir(), folder):
        _to_disk(path)


def _put_in_place(temporary: Path, target: Path) -> None:
    if not target.exists():
        temporary.rename(target)
    else:
        old = _sibling(target, "old")
        target.rename(old)
        try:
            temporary.rename(target)
        except BaseException:
            old.rename(target)
            raise
        shutil.rmtree(
            old, ignore_errors=True
        )  # the new run is safe: a rest of the old one is no reason to fail
    _to_disk(target.parent)


def _refuse_existing(target: Path, overwrite: bool) -> None:
    if not os.path.lexists(target):
        return
    if target.is_symlink() or not target.is_dir():
        raise FileExistsError(f"{target} exists and is not a plain folder: choose another name for the run")
    if not overwrite:
        raise FileExistsError(
            f"{target} exists already: choose another folder, or pass overwrite=True to replace it"
        )
    with _explained(target):
        names = {path.name for path in target.iterdir()}
    others = sorted(names - {CONFIG, HISTORY, MODEL})
    if others:
        raise FileExistsError(
            f"{target} holds more than a saved run ({others[0]!r}): overwrite=True would delete it, so it is refused. "
            "Choose another folder for the run"
        )


@contextlib.contextmanager
def _explained(target: Path) -> Iterator[None]:
    """Say in an `OSError` that it was about saving a run, and where; its kind and number stay."""
    try:
        yield
    except FileExistsError:
        raise
    except OSError as error:
        message = f"the run could not be saved to {target}: {error.strerror or error}. Nothing was left there"
        if error.errno is None:
            raise OSError(message) from error
        raise OSError(
            error.errno, message
        ) from error  # OSError picks PermissionError and so on by the number


@contextlib.contextmanager
def _parents(folder: Path) -> Iterator[None]:
    """Make the parent folders, and take those that were made away again if what follows fails."""
    made: list[Path] = []
    for path in (*reversed(folder.parents), folder):
        if not path.exists():
            made.append(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for path in reversed(made):
            with contextlib.suppress(OSError):
                path.rmdir()
        raise


def _sibling(target: Path, kind: str) -> Path:
    # Beside the target, because a rename is atomic only within one file system.
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}.{kind}")


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# ---- reading -------------------------------------------------------------------------------------------------------


def read(folder: str | os.PathLike[str]) -> Stored:
    """Read and check a run as `load_run` describes."""
    source = _path(folder)
    if not source.exists():
        raise FileNotFoundError(f"there is no saved run at {source}: the folder does not exist")
    if not source.is_dir():
        raise NotADirectoryError(f"{source} is not a folder: give the folder that Run.save wrote")
    config, files = _read_config(source / CONFIG)
    _check_file(source / HISTORY, files.get(HISTORY))
    arrays = _read_history(source / HISTORY)
    try:
        check_arrays(arrays, config)
    except ArgumentError as error:
        raise FileFormatError(f"{source / HISTORY}: {error}") from error
    if MODEL not in files:
        return Stored(arrays, config, None)
    # The size now, the checksum when the weights are read: a network may have half a gigabyte of them.
    _check_file(source / MODEL, files[MODEL], size_only=True)
    return Stored(arrays, config, lambda: _read_model(source / MODEL, files[MODEL]))


def _read_config(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    _must_exist(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # bad JSON, bad UTF-8, nested without end
        raise FileFormatError(f"{path} is not the JSON that Run.save wrote: {error}") from error
    if not isinstance(content, dict) or "format" not in content:
        raise FileFormatError(f"{path} does not describe a saved run: it has no 'format'")
    if content["format"] != FORMAT:
        raise FileFormatError(
            f"{path} has format {content['format']!r}; this version of everybatch reads format {FORMAT}. "
            "If the run was saved by a newer version, update everybatch"
        )
    if not isinstance(content.get("files"), dict) or not isinstance(content.get("config"), dict):
        raise FileFormatError(f"{path} lacks 'files' or 'config'")
    try:
        return check_config(content["config"]), content["files"]
    except ArgumentError as error:
        raise FileFormatError(f"{path}: {error}") from error


def _read_history(path: Path) -> dict[str, npt.NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise FileFormatError(f"{path} is not an npz archive")
            unknown = sorted(set(archive.files) - set(ARRAYS))
            missing = [name for name in ARRAYS if name not in archive.files and name not in OPTIONAL]
            if unknown or missing:
                what = (
                    f"lacks the array {missing[0]!r}" if missing else f"holds an unknown array {unknown[0]!r}"
                )
                raise FileFormatError(f"{path} {what}")
            return {name: archive[name] for name in archive.files}
    except FileFormatError:
        raise
    except (
        ValueError,
        KeyError,
        EOFError,
        MemoryError,
        zipfile.BadZipFile,
        zlib.error,
        NotImplementedError,
    ) as error:
        raise FileFormatError(f"{path} is damaged and cannot be read: {error}") from error


def _read_model(path: Path, expected: Any) -> Model:
    from everybatch._core import Model

    _check_file(path, expected)
    return Model.load(str(path))


def _check_file(path: Path, expected: Any, *, size_only: bool = False) -> None:
    """Compare a file with what ``config.json`` says of it."""
    _must_exist(path)
    if not isinstance(expected, dict) or not {"bytes", "sha256"} <= expected.keys():
        raise FileFormatError(
            f"{path.with_name(CONFIG)} does not say what size and SHA-256 {path.name} should have"
        )
    size = path.stat().st_size
    if size != expected["bytes"]:
        raise FileFormatError(
            f"{path} has {size} bytes instead of {expected['bytes']}: it was truncated or changed"
        )
    if not size_only and _fingerprint(path) != expected:
        raise FileFormatError(f"{path} is not the file that was saved with this run: its SHA-256 differs")


def _must_exist(path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: the folder is not a saved run, or not all of it was copied"
        )


def _fingerprint(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _path(folder: str | os.PathLike[str]) -> Path:
    try:
        name = os.fspath(folder)
    except TypeError:
        raise TypeError(f"folder must be a path, not {type(folder).__name__}") from None
    if not isinstance(name, str) or not name:
        raise ArgumentError(f"folder must name a folder, not {name!r}")
    return Path(os.path.abspath(Path(name).expanduser()))
