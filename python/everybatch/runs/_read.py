"""Reading a saved run, trusting none of its files."""

from __future__ import annotations

import contextlib
import json
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from everybatch._disk import as_path
from everybatch._leftovers import displaced
from everybatch._measures import ARRAYS
from everybatch.datasets._folder_read import background_of
from everybatch.datasets._npy import Archive
from everybatch.errors import ArgumentError, FileFormatError
from everybatch.folder import Follower
from everybatch.folder import _files as folder_files
from everybatch.folder._lock import LOCK
from everybatch.folder._state import read_state
from everybatch.runs._arrays import OPTIONAL, check_arrays, check_config
from everybatch.runs._files import CONFIG, FORMAT, HISTORY, MODEL, WEIGHTS, fingerprint, is_sealed

if TYPE_CHECKING:
    from everybatch._core import Model

__all__ = ["Stored", "read"]


@dataclass(frozen=True)
class Stored:
    """What was read: the arrays, the config, and how to get the model (None where there is none)."""

    arrays: dict[str, npt.NDArray[Any]]
    config: dict[str, Any]
    load_model: Callable[[], Model] | None


_NOT_BEGUN = "{} holds no run yet: its training has not begun, or was ended before it did"


def read(folder: str | os.PathLike[str]) -> Stored:
    """Read and check a run as `load_run` describes."""
    source = as_path(folder, "folder")
    source = displaced(source) or source
    if not source.exists():
        raise FileNotFoundError(f"there is no saved run at {source}: the folder does not exist")
    if not source.is_dir():
        raise NotADirectoryError(f"{source} is not a folder: give the folder that Run.save wrote")
    if (source / folder_files.HISTORY).exists():
        return _read_folder(source)
    if (source / LOCK).exists() and not (source / CONFIG).exists():
        raise FileNotFoundError(_NOT_BEGUN.format(source))
    while True:
        before = source.stat().st_ino
        try:
            return _read(source)
        except (FileFormatError, FileNotFoundError):
            if source.stat().st_ino == before:
                raise
            # It was replaced in the middle of it: some files were of the earlier run.


def _read_folder(source: Path) -> Stored:
    """Read a folder that is, or was, written as its run went on."""
    follower = Follower(source)
    follower.look()
    if not follower.begun and follower.is_damaged:
        raise FileFormatError(
            f"{source / folder_files.HISTORY} is damaged at its beginning: it does not tell of its run"
        )
    if not follower.begun:
        raise FileNotFoundError(_NOT_BEGUN.format(source))
    if follower.is_damaged:
        warnings.warn(
            f"{source / folder_files.HISTORY} is damaged at byte {follower.end}: what comes after it is not read",
            RuntimeWarning,
            stacklevel=5,
        )
    with contextlib.ExitStack() as stack:
        kept = None if follower.ended else read_state(source)
        if kept is not None:
            stack.enter_context(contextlib.closing(kept))
            follower.look()  # it may have been kept after what was read
        config, arrays, model = follower.config(), follower.arrays(), None
        if kept is not None and not follower.ended:
            model, of_run = kept.look(source)
            arrays |= of_run
            config["status"]["model_step"] = kept.model_step
    try:
        config = check_config(config)
        arrays = check_arrays(arrays, config)
    except (ArgumentError, TypeError) as error:
        raise FileFormatError(f"{source / folder_files.HISTORY}: {error}") from error
    if not follower.ended:
        return Stored(arrays, config, None if model is None else lambda: model)
    path, entry = source / folder_files.MODEL, follower.ended.get("model")
    if entry is None:  # a module that a meter ran
        return Stored(arrays, config, None)
    _check_file(path, entry, size_only=True)
    return Stored(arrays, config, lambda: _read_model(path, entry, config["dataset"]))


def _read(source: Path) -> Stored:
    config, files = _read_config(source / CONFIG)
    if (source / WEIGHTS).is_dir():  # wherever the store of its sweep is now
        config["training"]["checkpoints"] = str((source / WEIGHTS).absolute())
    _check_file(source / HISTORY, files.get(HISTORY))
    arrays = _read_history(source / HISTORY)
    try:
        check_arrays(arrays, config)
    except (ArgumentError, TypeError) as error:
        raise FileFormatError(f"{source / HISTORY}: {error}") from error
    if MODEL not in files:
        return Stored(arrays, config, None)
    # The size now, the checksum when the weights are read: a network may have half a gigabyte of them.
    _check_file(source / MODEL, files[MODEL], size_only=True)
    return Stored(arrays, config, lambda: _read_model(source / MODEL, files[MODEL], config["dataset"]))


def _read_config(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    _must_exist(path)
    try:
        data = path.read_bytes()
        content = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:  # bad JSON, bad UTF-8, nested without end
        raise FileFormatError(f"{path} is not the JSON that Run.save wrote: {error}") from error
    if not isinstance(content, dict) or "format" not in content:
        raise FileFormatError(f"{path} does not describe a saved run: it has no 'format'")
    if content["format"] != FORMAT:
        raise FileFormatError(
            f"{path} has format {content['format']!r}; this version of everybatch reads format {FORMAT}. "
            "If the run was saved by a newer version, update everybatch"
        )
    unknown = sorted(content.keys() - {"sha256", "format", "files", "config"})
    if unknown:
        raise FileFormatError(f"{path} has an unknown entry {unknown[0]!r}: it was changed")
    if "sha256" in content and not is_sealed(data, content["sha256"]):
        raise FileFormatError(f"{path} is not the file that was saved: it was changed, and its SHA-256 differs")
    if not isinstance(content.get("files"), dict) or not isinstance(content.get("config"), dict):
        raise FileFormatError(f"{path} lacks 'files' or 'config'")
    try:
        return check_config(content["config"]), content["files"]
    except ArgumentError as error:
        raise FileFormatError(f"{path}: {error}") from error


def _read_history(path: Path) -> dict[str, npt.NDArray[Any]]:
    with Archive(path) as archive:
        unknown = sorted(set(archive.names) - set(ARRAYS))
        may_lack = OPTIONAL | {"confusion"}  # of a run that had not ended; else `check_arrays` says so
        missing = [name for name in ARRAYS if name not in archive.names and name not in may_lack]
        if unknown or missing:
            what = f"lacks the array {missing[0]!r}" if missing else f"has an unknown array {unknown[0]!r}"
            raise FileFormatError(f"{path} {what}")
        return {name: archive[name] for name in archive.names}


def _read_model(path: Path, expected: Any, dataset: Mapping[str, Any]) -> Model:
    from everybatch._core import Model

    _check_file(path, expected)
    model = Model.load(str(path))
    names = dataset.get("classes")
    if model.classes is None and isinstance(names, list) and len(names) == model.network.num_classes:
        model.classes = names  # files of earlier versions have no names of their own
    if model.background is None:
        model.background = background_of(str(dataset.get("source")))  # nor a background
    return model


def _check_file(path: Path, expected: Any, *, size_only: bool = False) -> None:
    """Compare a file with what ``config.json`` says of it."""
    _must_exist(path)
    if not isinstance(expected, dict) or not {"bytes", "sha256"} <= expected.keys():
        raise FileFormatError(f"{path.with_name(CONFIG)} does not say what size and SHA-256 {path.name} should have")
    size = path.stat().st_size
    if size != expected["bytes"]:
        raise FileFormatError(f"{path} has {size} bytes instead of {expected['bytes']}: it was truncated or changed")
    if not size_only and fingerprint(path) != expected:
        raise FileFormatError(f"{path} is not the file that was saved with this run: its SHA-256 differs")


def _must_exist(path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: the folder is not a saved run, or not all of it was copied")
