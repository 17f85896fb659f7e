"""The data sets that have a name and a publisher: MNIST, Fashion-MNIST, KMNIST."""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path

from everybatch._disk import at_home
from everybatch.dataset import Dataset
from everybatch.datasets._download import download as download_file
from everybatch.datasets._idx_sets import FASHION_MNIST, KMNIST, MNIST, IdxSet
from everybatch.datasets._locate import Arrays, Found, cache_folder, find, find_file, read
from everybatch.errors import DownloadError

__all__ = ["build", "fashion_mnist", "kmnist", "load", "mnist"]

_log = logging.getLogger("everybatch")


def mnist(root: str | os.PathLike[str] | None = None, download: bool = True) -> Dataset:
    """MNIST: handwritten digits, 60,000 training and 10,000 test images of 28x28, grey, ten classes.

    The four files are looked for in `root`, then in the folder that the environment variable
    ``EVERYBATCH_DATA`` names, then in the cache (``$XDG_CACHE_HOME`` or ``~/.cache``, there
    ``everybatch/mnist``), and else downloaded into the cache. In `root` and ``EVERYBATCH_DATA`` the files may
    lie in the folder itself, in ``mnist`` or in ``MNIST/raw`` (as torchvision keeps them), plain or gzip, or
    in one file ``mnist.npz`` (as Keras keeps them). Every file is checked against its SHA-256.

    Parameters
    ----------
    root
        Folder to look in first; it is never written to.
    download
        Whether to download what is nowhere on this machine.

    Raises
    ------
    FileNotFoundError
        If the files are nowhere and `download` is False; the message says where they were looked for.
    FileFormatError
        If a file that was found is damaged, or is not the file of MNIST that its name says.
    DownloadError
        If no mirror delivers a file; the message names each mirror and the reason.
    OSError
        If the cache folder cannot be written.
    """
    return load(MNIST, root, download)


def fashion_mnist(root: str | os.PathLike[str] | None = None, download: bool = True) -> Dataset:
    """Fashion-MNIST: clothing, 60,000 training and 10,000 test images of 28x28, grey, ten classes.

    Looked for, checked and downloaded like `mnist`; the sub-folders are ``fashion_mnist``, ``fashion-mnist``
    and ``FashionMNIST/raw``. Xiao, Rasul, Vollgraf: arXiv 1708.07747.
    """
    return load(FASHION_MNIST, root, download)


def kmnist(root: str | os.PathLike[str] | None = None, download: bool = True) -> Dataset:
    """KMNIST: Japanese characters, 60,000 training and 10,000 test images of 28x28, grey, ten classes.

    Looked for, checked and downloaded like `mnist`; the sub-folders are ``kmnist`` and ``KMNIST/raw``. Its
    publishers give checksums of the compressed files only, so of unpacked files only the shape is checked.
    Clanuwat et al.: arXiv 1812.01718, doi:10.20676/00000341, CC BY-SA 4.0.
    """
    return load(KMNIST, root, download)


def load(idx_set: IdxSet, root: str | os.PathLike[str] | None, download: bool) -> Dataset:
    """Find `idx_set` on this machine or download it: what `mnist` documents, for any set."""
    found = find(idx_set, root)
    if found.arrays is not None and found.folder is not None:
        if root is not None and not found.folder.is_relative_to(at_home(root)):
            _log.warning("%s is not in %s; using the copy in %s", idx_set.title, os.fspath(root), found.folder)
        return build(idx_set, found.arrays, f"{idx_set.title}, read from {found.folder}")
    if not download:
        raise FileNotFoundError(f"{idx_set.title} is not on this machine. {_where(found)} {_ways_out(idx_set)}")
    folder = cache_folder(idx_set)
    if root is not None:
        _log.warning("%s is not in %s; downloading it to %s", idx_set.title, os.fspath(root), folder)
    try:
        arrays, mirror = _download_missing(idx_set, folder)
    except DownloadError as error:
        raise DownloadError(f"{error}\n{_where(found)} {_ways_out(idx_set)}") from error
    return build(idx_set, arrays, f"{idx_set.title}, downloaded from {mirror} to {folder}")


def build(idx_set: IdxSet, arrays: Arrays, source: str) -> Dataset:
    """Make the data set of four arrays in the order of `IdxSet.files`."""
    return Dataset(*arrays, classes=idx_set.classes, name=idx_set.name, source=source)


def _download_missing(idx_set: IdxSet, folder: Path) -> tuple[Arrays, str]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        mirrors = list(idx_set.mirrors)
        arrays = []
        for file in idx_set.files:
            path = find_file(folder, file)
            if path is None:
                path, mirror = download_file(file, mirrors, folder)
                # The mirror that answered goes first, so that a dead one costs its time-out only once.
                mirrors.sort(key=lambda address: address != mirror)
            arrays.append(read(idx_set, file, path))
    except DownloadError:
        raise
    except OSError as error:
        # With a number, OSError becomes the subclass that fits, such as PermissionError.
        raise OSError(
            error.errno,
            f"cannot keep {idx_set.title} in the cache folder {folder} ({error.strerror or error}); "
            "make it writable, or set XDG_CACHE_HOME to a folder that is",
        ) from error
    return tuple(arrays), mirrors[0]


def _where(found: Found) -> str:
    return f"Looked in: {'; '.join(found.looked)}."


def _ways_out(idx_set: IdxSet) -> str:
    names = ", ".join(f"{file.stem}.gz" for file in idx_set.files)
    if idx_set.archive is not None:
        names += f" (or Keras's {idx_set.archive})"
    return (
        f"Put {names} into a folder and pass it as root, or name it in the environment variable "
        "EVERYBATCH_DATA; everybatch.datasets.glyphs() needs no files."
    )
