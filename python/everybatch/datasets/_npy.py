"""NumPy arrays from files, of which nothing is believed before it is checked; pickled objects are never loaded."""

from __future__ import annotations

import io
import math
import os
import warnings
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from everybatch.datasets._files import open_plain, read_exactly, what_it_is
from everybatch.errors import FileFormatError

__all__ = ["Archive", "read_npy"]


def read_npy(path: str | os.PathLike[str]) -> npt.NDArray[Any]:
    """Read one array from a ``.npy`` file.

    Raises
    ------
    OSError
        If the file is missing or cannot be read.
    FileFormatError
        If it is not a ``.npy`` file, damaged, or holds pickled objects; the message names it.
    """
    file = Path(path)
    with open_plain(file) as stream:
        size = os.fstat(stream.fileno()).st_size
        return _read(stream, size, str(file))


class Archive:
    """An ``.npz`` file, open for reading; use it in a with statement.

    Raises
    ------
    OSError
        If the file is missing or cannot be read.
    FileFormatError
        If it is no zip archive or damaged; the message names it.
    """

    names: tuple[str, ...]
    """Of the arrays in it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = open_plain(path)
        try:
            start = self._file.read(64)
            if not start.startswith(b"PK"):
                raise FileFormatError(f"{path} is not an .npz archive: {what_it_is(start)}")
            self._zip = zipfile.ZipFile(self._file)
            self._members = {info.filename[:-4]: info for info in self._zip.infolist() if info.filename[-4:] == ".npy"}
        except FileFormatError:
            self._file.close()
            raise
        except Exception as error:  # zipfile's own errors, and those that it lets through on damaged directories
            self._file.close()
            raise FileFormatError(f"{path} is a damaged .npz archive ({error}); get it again") from error
        self.names = tuple(self._members)

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()
        self._file.close()

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        """Read an array.

        Raises
        ------
        FileFormatError
            If it is damaged, encrypted or holds pickled objects; the message names the file and the array.
        """
        info, what = self._members[name], f"the array {name!r} in {self._path}"
        if info.flag_bits & 1:
            raise FileFormatError(f"{what} is encrypted; unpack the archive with its password, and pack it without")
        try:
            with self._zip.open(info) as stream:
                array = _read(stream, info.file_size, what)
                if stream.read(1):  # where the check sum is compared
                    raise FileFormatError(f"{what} is longer than the archive's directory says")
        except FileFormatError:
            raise
        except Exception as error:  # as above
            raise FileFormatError(f"{what} is damaged ({error}); get the file again") from error
        return array


def _read(stream: IO[bytes], size: int, what: str) -> npt.NDArray[Any]:
    """Read an array from a stream of `size` bytes, all of them."""
    start = stream.read(8)
    if start[:6] != b"\x93NUMPY":
        raise FileFormatError(f"{what} is not a .npy array: {what_it_is(start + stream.read(56))}")
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    version = tuple(start[6:])
    if version not in readers:
        raise FileFormatError(f"{what} is a .npy array of the unknown version {'.'.join(map(str, version))}")
    # NumPy would take memory for a header of any length that is announced.
    length = stream.read(2 * version[0])
    head = length + stream.read(min(int.from_bytes(length, "little"), size))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about headers that Python 2 wrote
            shape, by_columns, dtype = readers[version](io.BytesIO(head))
    except Exception as error:  # a header is Python source: parsers raise all sorts of things on damaged ones
        raise FileFormatError(f"{what} has a damaged header ({error}); get the file again") from error
    if dtype.hasobject:
        raise FileFormatError(f"{what} holds pickled objects, which are never loaded; save it with a plain dtype")
    count: int = math.prod(shape)
    if count and not dtype.itemsize:  # a few bytes of a file would take any memory
        raise FileFormatError(
            f"{what} is damaged: its header announces {count:,} entries of no bytes ({dtype}); get the file again"
        )
    there = size - len(start) - len(head)
    needed = count * dtype.itemsize
    if min(shape, default=0) < 0 or needed != there:
        raise FileFormatError(
            f"{what} is damaged: its header announces the shape {shape} of {dtype}, {needed:,} bytes, and there are "
            f"{there:,}; get the file again"
        )
    if needed == 0:
        return np.empty(shape, dtype)
    array = np.frombuffer(read_exactly(stream, needed, what), dtype)
    return array.reshape(shape[::-1]).T if by_columns else array.reshape(shape)
