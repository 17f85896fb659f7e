"""Finding a named data set on this machine, and making sure that the files are what they are called."""

from __future__ import annotations

import hashlib
import os
import struct
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from everybatch import _core
from everybatch._disk import at_home
from everybatch.datasets._idx_sets import SETS, IdxFile, IdxSet
from everybatch.datasets._npz import KEYS, read_arrays
from everybatch.errors import FileFormatError

__all__ = ["Found", "cache_folder", "find", "find_file", "read"]

ENVIRONMENT_VARIABLE = "EVERYBATCH_DATA"

Arrays = tuple[npt.NDArray[np.uint8], ...]


@dataclass(frozen=True)
class Found:
    """The four arrays of a set, None if it is not on this machine, and where they were looked for."""

    arrays: Arrays | None
    folder: Path | None
    looked: tuple[str, ...]


class _OtherSetError(FileFormatError):
    """The file is a good one of another set, so its folder is simply not the one that is looked for."""

    def __init__(self, path: Path, wanted: IdxSet, title: str) -> None:
        super().__init__(f"{path} is a file of {title}, not of {wanted.title}; move it elsewhere")
        self.title = title


def cache_folder(idx_set: IdxSet) -> Path:
    """Where downloads are kept: ``$XDG_CACHE_HOME`` or ``~/.cache``, there ``everybatch/<name>``."""
    root = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not root.is_absolute():  # the XDG specification says to ignore a relative path
        try:
            root = Path.home() / ".cache"
        except RuntimeError:  # a container's nameless user has no home
            root = Path(tempfile.gettempdir())
    return root / "everybatch" / idx_set.name


def find(idx_set: IdxSet, root: str | os.PathLike[str] | None) -> Found:
    """Look for `idx_set` in `root`, then in ``$EVERYBATCH_DATA``, then in the cache.

    Raises
    ------
    FileFormatError
        If a file of the right name is damaged or is not the one of that set.
    NotADirectoryError
        If `root` is a file.
    """
    if root is not None and at_home(root).is_file():
        raise NotADirectoryError(f"root {os.fspath(root)!r} is a file; pass the folder with the {idx_set.title} files")
    looked: list[str] = []
    for folder in _folders(idx_set, root):
        paths = [find_file(folder, file) for file in idx_set.files]
        if None in paths and idx_set.archive is not None and (folder / idx_set.archive).is_file():
            return Found(_read_archive(idx_set, folder / idx_set.archive), folder, tuple(looked))
        missing = [file.stem for file, path in zip(idx_set.files, paths, strict=True) if path is None]
        if missing:
            if len(missing) < len(paths):
                looked.append(f"{folder} (lacks {', '.join(missing)})")
            else:
                looked.append(f"{folder}{'' if folder.is_dir() else ' (no such folder)'}")
            continue
        try:
            arrays = tuple(read(idx_set, f, p) for f, p in zip(idx_set.files, paths, strict=True) if p is not None)
        except _OtherSetError as other:
            looked.append(f"{folder} (holds {other.title})")
            continue
        return Found(arrays, folder, tuple(looked))
    return Found(None, None, tuple(looked))


def _folders(idx_set: IdxSet, root: str | os.PathLike[str] | None) -> Iterator[Path]:
    # A sub-folder named after the set comes before the folder itself, which may hold files of the same names
    # that belong to another set.
    for place in (root, os.environ.get(ENVIRONMENT_VARIABLE) or None):
        if place is not None:
            base = at_home(place)
            yield from (sub for name in idx_set.folders if (sub := base / name).is_dir())
            yield base
    yield cache_folder(idx_set)


def find_file(folder: Path, file: IdxFile) -> Path | None:
    """Return the file in `folder`, plain or gzip, with either spelling of its name, or None."""
    stems = (file.stem, file.stem.replace("-idx", ".idx"))
    # Plain files read faster, but where only the compressed file's checksum is known, it can be checked.
    endings = ("", ".gz") if file.content_sha256 else (".gz", "")
    for ending in endings:
        for stem in stems:
            if (path := folder / (stem + ending)).is_file():
                return path
    return None


def read(idx_set: IdxSet, file: IdxFile, path: Path) -> npt.NDArray[np.uint8]:
    """Read one file and check it against the sums of `idx_set`."""
    array = _core.read_idx(str(path))
    content = _content_sha256(array)
    compressed = _file_sha256(path) if path.suffix == ".gz" else None
    if content == file.content_sha256 or (compressed is not None and compressed == file.gzip_sha256):
        return array
    for other in SETS:
        for known in other.files:
            if content == known.content_sha256 or (compressed is not None and compressed == known.gzip_sha256):
                if other.name == idx_set.name:
                    break  # the right set, but another of its four files under this name
                raise _OtherSetError(path, idx_set, other.title)
    if file.content_sha256 is None and compressed is None and array.shape == file.shape:
        return array  # unpacked, and only the sum of the packed file is published
    advice = "delete it and try again" if path.parent == cache_folder(idx_set) else "replace it"
    if file.content_sha256 is None and array.shape == file.shape:
        advice += " (if it was compressed anew, unpack it: only the publisher's compressed file can be recognised)"
    raise FileFormatError(
        f"{path} (shape {array.shape}) is not {idx_set.title}'s {file.stem}: its checksum differs; {advice}. "
        "To read other files use from_idx"
    )


def _read_archive(idx_set: IdxSet, path: Path) -> Arrays:
    """Read Keras's archive, and check each array against the sums of the file that it was made of."""
    arrays = read_arrays(path, KEYS)
    for key, array, file in zip(KEYS, arrays, idx_set.files, strict=True):
        if array.dtype != np.uint8 or array.shape != file.shape or _content_sha256(array) != file.content_sha256:
            raise FileFormatError(
                f"{key} in {path} (shape {array.shape}, {array.dtype}) is not {idx_set.title}'s {file.stem}: its "
                "checksum differs; replace the file, or read it with from_npz"
            )
    return tuple(arrays)


def _content_sha256(array: npt.NDArray[Any]) -> str:
    """SHA-256 of the uncompressed file, rebuilt from its array: what is checked is what is used."""
    digest = hashlib.sha256(struct.pack(">HBB", 0, 0x08, array.ndim))
    digest.update(struct.pack(f">{array.ndim}I", *array.shape))
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
