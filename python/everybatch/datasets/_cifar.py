"""CIFAR-10 and CIFAR-100 in their binary version."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from everybatch._disk import at_home
from everybatch.dataset import Dataset
from everybatch.datasets._files import open_plain, read_exactly, what_it_is
from everybatch.errors import ArgumentError, FileFormatError

__all__ = ["from_cifar", "is_cifar"]

_PIXELS = 3 * 32 * 32


@dataclass(frozen=True)
class _Version:
    """One of the two sets: its files, and what each record has before the pixels."""

    name: str
    folder: str
    train: tuple[str, ...]
    test: str
    labels: dict[str, tuple[int, str]]
    """By kind of label: its byte in a record, and the file with the names."""
    label_bytes: int

    @property
    def files(self) -> tuple[str, ...]:
        return (*self.train, self.test, *(names for _, names in self.labels.values()))


_VERSIONS = (
    _Version(
        "cifar10",
        "cifar-10-batches-bin",
        tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
        "test_batch.bin",
        {"fine": (0, "batches.meta.txt")},
        1,
    ),
    _Version(
        "cifar100",
        "cifar-100-binary",
        ("train.bin",),
        "test.bin",
        {"coarse": (0, "coarse_label_names.txt"), "fine": (1, "fine_label_names.txt")},
        2,
    ),
)
_PICKLES = {"data_batch_1", "test_batch", "train", "test"}


def from_cifar(
    path: str | os.PathLike[str],
    *,
    labels: Literal["fine", "coarse"] = "fine",
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    name: str | None = None,
) -> Dataset:
    """Read CIFAR-10 or CIFAR-100 in the binary version, as published at www.cs.toronto.edu/~kriz/cifar.html.

    Which of the two it is, the files tell. Images are 32x32 in RGB, the names of the classes those of the set's own
    text files.

    Parameters
    ----------
    path
        ``cifar-10-binary.tar.gz`` or ``cifar-100-binary.tar.gz``, which is read without being unpacked to disk; or the
        folder that it unpacks to (``cifar-10-batches-bin``, ``cifar-100-binary``), or the one around it.
    labels
        Of CIFAR-100: its 100 ``"fine"`` classes, or the 20 ``"coarse"`` ones.
    mean, std
        As for `everybatch.Dataset`.
    name
        ``"cifar10"`` or ``"cifar100"`` unless given.

    Raises
    ------
    FileNotFoundError, PermissionError
        If the file or folder is missing or cannot be read.
    FileFormatError
        If a file is missing among the others, damaged, or not of that format (such as the version of pickles, which
        are never loaded); the message names it.
    ArgumentError
        If `labels` is "coarse" for CIFAR-10.
    """
    if labels not in ("fine", "coarse"):
        raise ArgumentError(f"labels must be 'fine' or 'coarse', not {labels!r}")
    place = at_home(path)
    if not place.exists():
        raise FileNotFoundError(f"{place} does not exist")
    version, files = _read_folder(place) if place.is_dir() else _read_archive(place)
    if missing := [file for file in version.files if file not in files]:
        raise FileFormatError(f"{place} has files of {version.name}, but lacks {', '.join(missing)}")
    if labels not in version.labels:
        raise ArgumentError("CIFAR-10 has one kind of labels: leave labels='coarse' away")
    at, names_file = version.labels[labels]
    classes = [line.strip() for line in files[names_file].decode("utf-8", "replace").splitlines() if line.strip()]
    parts = [_records(version, files, file, at, len(classes), place) for file in (*version.train, version.test)]
    *train, (test_images, test_labels) = parts
    return Dataset(
        np.concatenate([images for images, _ in train]),
        np.concatenate([numbers for _, numbers in train]),
        test_images,
        test_labels,
        classes=classes,
        mean=mean,
        std=std,
        name=name or version.name,
        source=f"binary files in {place.resolve()}",
    )


def is_cifar(path: Path) -> bool:
    """Tell whether a folder, or an archive by its name, seems to be one of the two sets."""
    if path.is_dir():
        return _find_folder(path) is not None
    return path.name.startswith("cifar") and path.name.endswith((".tar.gz", ".tgz", ".tar"))


def _find_folder(root: Path) -> tuple[_Version, Path] | None:
    found = [
        (version, folder)
        for version in _VERSIONS
        for folder in (root, root / version.folder)
        if any((folder / file).is_file() for file in (*version.train, version.test))
    ]
    if len(found) > 1:
        raise FileFormatError(f"{root} has {' and '.join(v.folder for v, _ in found)}; pass one of these folders")
    return found[0] if found else None


def _read_folder(root: Path) -> tuple[_Version, dict[str, bytes]]:
    found = _find_folder(root)
    if found is None:
        names = {sub.name for folder in (root, *root.glob("cifar-*")) if folder.is_dir() for sub in folder.iterdir()}
        raise FileFormatError(f"{root} holds no binary version of CIFAR{_which_version(names)}")
    version, folder = found
    return version, {name: (folder / name).read_bytes() for name in version.files if (folder / name).is_file()}


def _read_archive(path: Path) -> tuple[_Version, dict[str, bytes]]:
    with open_plain(path) as file:
        start = file.read(512)
        file.seek(0)
        if not (start.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ")) or start[257:262] == b"ustar"):
            raise FileFormatError(f"{path} is not a .tar.gz archive: {what_it_is(start)}")
        wanted = {name for version in _VERSIONS for name in version.files}
        files: dict[str, bytes] = {}
        names = set()
        try:
            with tarfile.open(fileobj=file, mode="r:*") as archive:
                for member in archive:
                    name = member.name.rpartition("/")[2]
                    names.add(name)
                    stream = archive.extractfile(member) if name in wanted and member.isreg() else None
                    if stream is not None:
                        files[name] = bytes(read_exactly(stream, member.size, f"{name} in {path}"))
                # gzip compares its check sum at the very end, where tarfile does not go by itself.
                while archive.fileobj is not None and archive.fileobj.read(1 << 24):
                    pass
        except FileFormatError:
            raise
        except Exception as error:  # tarfile lets the errors of gzip, zlib and struct through
            raise FileFormatError(f"{path} is a damaged archive ({error}); get it again") from error
    for version in _VERSIONS:
        if any(name in files for name in (*version.train, version.test)):
            return version, files
    raise FileFormatError(f"{path} holds no binary version of CIFAR{_which_version(names)}")


def _which_version(names: set[str]) -> str:
    if names & _PICKLES:
        return ": it is the Python version, of pickles, which are never loaded; get the binary version"
    if any(name.endswith(".mat") for name in names):
        return ": it is the MATLAB version; get the binary version"
    return f"; expected files such as {_VERSIONS[0].train[0]} or {_VERSIONS[1].train[0]}"


def _records(
    version: _Version, files: dict[str, bytes], name: str, at: int, classes: int, place: Path
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Images and labels of one file: records of one or two labels, then all of red, of green and of blue."""
    size = version.label_bytes + _PIXELS
    content = files[name]
    if not content or len(content) % size:
        raise FileFormatError(
            f"{name} in {place} has {len(content):,} bytes, which is no whole number of images of {size:,} bytes: it "
            "is damaged or cut short; get it again"
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, size)
    labels = records[:, at]
    if (labels >= classes).any():
        first = int(np.argmax(labels >= classes))
        raise FileFormatError(
            f"{name} in {place} gives image {first} the label {labels[first]}, and there are {classes} names of "
            "classes: it is damaged, or of another set"
        )
    return records[:, version.label_bytes :].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), labels
