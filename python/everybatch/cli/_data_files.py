"""Which reader a path after `--data` is for, told by what lies there."""

from __future__ import annotations

import contextlib
import re
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

from everybatch import datasets
from everybatch._core import Model
from everybatch.cli._folder_data import open_folder, refuse_part
from everybatch.dataset import Dataset
from everybatch.datasets._cifar import is_cifar
from everybatch.datasets._emnist import EMNIST_FOLDERS
from everybatch.datasets._idx_sets import MNIST
from everybatch.datasets._locate import find_file
from everybatch.datasets._medmnist import MEDMNIST_KEYS
from everybatch.datasets._npy import Archive
from everybatch.datasets._npz import KEYS
from everybatch.datasets._qmnist import QMNIST_FOLDERS
from everybatch.datasets._svhn import SVHN_FILES, SVHN_FOLDERS
from everybatch.errors import ArgumentError, EverybatchError, suggest
from everybatch.run import Run

__all__ = ["NAMES", "open_path", "options_named"]

NAMES = ("mnist", "fashion_mnist", "kmnist", "glyphs")

# How messages of the readers name arguments of Python, and what to write on the command line.
_OPTIONS = {
    "keys=(...)": "--keys",
    "size=(height, width)": "--image-size HEIGHTxWIDTH",
    "test_fraction": "--test-fraction",
}


@contextlib.contextmanager
def options_named() -> Iterator[None]:
    """Let messages name the options of the command line instead of arguments."""
    try:
        yield
    except EverybatchError as error:
        text = str(error)
        for argument, option in _OPTIONS.items():
            text = text.replace(argument, option)
        if text == str(error):
            raise
        raise type(error)(text) from error


def open_path(
    path: Path,
    name: str,
    args: Namespace,
    input_shape: tuple[int, int, int] | None,
    *,
    test_only: bool,
    run: Run | None,
    model: Model | None,
) -> Dataset:
    """Read what lies at `path`; options are refused where they would do nothing.

    Parameters
    ----------
    path, name
        The path, and what was written for it.
    args, input_shape, test_only, run, model
        As for `open_data`.
    """
    keys, fraction = getattr(args, "keys", None), getattr(args, "test_fraction", None)
    if not path.is_file() and not path.is_dir():
        hint = suggest(name, NAMES)
        raise FileNotFoundError(
            f"--data {name!r} is neither a data set ({', '.join(NAMES)}) nor a file or folder that exists.{hint}"
        )
    is_table = path.is_file() and re.search(r"\.csv(\.gz)?$", path.name.lower()) is not None
    is_archive = path.is_file() and not is_table and not is_cifar(path)
    if keys is not None and not is_archive:
        raise ArgumentError(f"--keys names the arrays of an .npz archive, and {path} is none")
    if is_archive or is_table:
        refuse_part(args, name, sized=is_table)
    if is_archive:
        return _archive(path, keys, fraction)
    if is_table:
        return datasets.from_csv(path, size=args.image_size, test_fraction=fraction)
    data = _published(path)
    if data is None:
        return open_folder(path, args, input_shape, test_only=test_only, run=run, model=model)
    refuse_part(args, name)
    if fraction is not None:
        raise ArgumentError(f"--test-fraction splits images without a test set, and {path} has one")
    return data


def _archive(path: Path, keys: tuple[str, ...] | None, fraction: float | None) -> Dataset:
    if keys is None and fraction is not None:
        raise ArgumentError(
            f"--test-fraction splits images without a test set: give --keys IMAGES,LABELS to name two arrays of {path}"
        )
    if keys is None:
        with Archive(path) as archive:
            names = archive.names
        if set(MEDMNIST_KEYS) <= set(names) and not set(KEYS) & set(names):
            return datasets.from_medmnist(path)
    if fraction is not None and keys is not None and len(keys) == 4:
        raise ArgumentError("--test-fraction belongs to two --keys (images, labels); four name the test images")
    return datasets.from_npz(path, KEYS if keys is None else keys, test_fraction=fraction, name=path.stem)


def _published(path: Path) -> Dataset | None:
    """Read the files of a published set, or four IDX files; None if there are none of these."""
    idx = [find_file(path, file) for file in MNIST.files]
    found = [file for file in idx if file is not None]
    if len(found) == len(idx):
        return datasets.from_idx(found[0], found[1], found[2], found[3], name=path.resolve().name)
    if found:
        missing = ", ".join(f.stem for f, there in zip(MNIST.files, idx, strict=True) if there is None)
        raise FileNotFoundError(f"{path} has {found[0].name}, but lacks {missing} (plain or .gz)")
    if is_cifar(path):
        return datasets.from_cifar(path)
    if any(name in SVHN_FILES for name in _names(path, SVHN_FOLDERS, "*.mat")):
        return datasets.from_svhn(path)
    if _names(path, QMNIST_FOLDERS, "qmnist-*-idx?-*"):
        return datasets.from_qmnist(path)
    splits = sorted({name.split("-")[1] for name in _names(path, EMNIST_FOLDERS, "emnist-*-*-images-idx3-ubyte*")})
    if len(splits) > 1:
        raise ArgumentError(f"{path} has the splits {', '.join(splits)} of EMNIST: put one into a folder of its own")
    return datasets.from_emnist(path, splits[0]) if splits else None


def _names(path: Path, sub_folders: tuple[str, ...], pattern: str) -> list[str]:
    """Names of files in the first of the folders that has such files: `path`, then its sub-folders."""
    for folder in (path, *(path / name for name in sub_folders)):
        if found := [file.name for file in folder.glob(pattern) if file.is_file()]:
            return found
    return []
