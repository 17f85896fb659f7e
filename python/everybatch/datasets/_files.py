"""What the readers of files share: finding, unpacking within bounds, telling what a file of another format is."""

from __future__ import annotations

import gzip
import os
import zlib
from pathlib import Path
from typing import IO, BinaryIO

from everybatch._disk import at_home
from everybatch.errors import FileFormatError

__all__ = ["MOST_BYTES", "find_file", "find_sub_folder", "open_plain", "read_bytes", "read_exactly", "what_it_is"]

MOST_BYTES = 4 << 30
"""The most that one file may hold once unpacked: 4 GiB, seven times all of SVHN."""
_CHUNK = 1 << 24
_STARTS = (
    (b"PK\x03\x04", "a zip archive"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\x1f\x8b", "a gzip file"),
    (b"BZh", "a bzip2 file"),
    (b"\xfd7zXZ\x00", "an xz file"),
    (b"\x93NUMPY", "a single array of NumPy (.npy)"),
    (b"\x89HDF", "an HDF5 file"),
    (b"MATLAB", "a MATLAB file"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"\x80\x02", "a Python pickle, which is never loaded"),
    (b"\x80\x03", "a Python pickle, which is never loaded"),
    (b"\x80\x04", "a Python pickle, which is never loaded"),
    (b"\x80\x05", "a Python pickle, which is never loaded"),
    (b"\x00\x00\x08", "an IDX file"),
    (b"version https://git-lfs", "a pointer of Git LFS instead of the file; fetch it with `git lfs pull`"),
)


def what_it_is(start: bytes) -> str:
    """Say what a file seems to be by its first bytes, for messages about files of another format."""
    if not start:
        return "it is empty"
    head = start.lstrip(b"\xef\xbb\xbf \t\r\n")[:64].lower()
    if head.startswith((b"<!doctype html", b"<html", b"<?xml", b"<head", b"<body")):
        return "it is a web page: the download brought a page about an error or a login instead of the file"
    for magic, name in _STARTS:
        if start.startswith(magic):
            return f"it is {name}"
    return f"it begins with the bytes {start[:8].hex(' ')}"


def read_exactly(stream: IO[bytes], size: int, what: str) -> bytearray:
    """Read `size` bytes, never allocating more than the stream delivers.

    Raises
    ------
    FileFormatError
        If there are fewer.
    """
    content = bytearray()
    while len(content) < size:
        chunk = stream.read(min(_CHUNK, size - len(content)))
        if not chunk:
            raise FileFormatError(f"{what} is cut short: it ends after {len(content):,} of {size:,} bytes")
        content += chunk
    return content


def open_plain(path: Path) -> BinaryIO:
    """Open a file for reading; a pipe would let the process wait for ever.

    Raises
    ------
    OSError
        If it is missing, a folder, or cannot be read.
    FileFormatError
        If it is a pipe or a device.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise FileFormatError(f"{path} is a pipe or a device; pass a plain file")
    return path.open("rb")


def read_bytes(path: Path) -> bytes:
    """Read a file, unpacking it if it is gzip by its content.

    Raises
    ------
    OSError
        If it is missing or cannot be read.
    FileFormatError
        If its gzip is damaged, or it holds more than `MOST_BYTES`; the message names it.
    """
    with open_plain(path) as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        try:
            with gzip.GzipFile(fileobj=file) if packed else file as stream:
                content = bytearray()
                while chunk := stream.read(_CHUNK):
                    content += chunk
                    if len(content) > MOST_BYTES:
                        raise FileFormatError(f"{path} holds more than {MOST_BYTES:,} bytes")
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise FileFormatError(f"{path} is a damaged gzip file ({error}); get it again") from error
    return bytes(content)


def find_sub_folder(root: str | os.PathLike[str], names: tuple[str, ...], wanted: tuple[str, ...]) -> Path:
    """Return `root` or the first of its sub-folders `names` that holds a file of `wanted`, plain or gzip; else `root`.

    Raises
    ------
    FileNotFoundError, NotADirectoryError
        If `root` is not there, or a file.
    """
    folder = at_home(root)
    if not folder.exists():
        raise FileNotFoundError(f"the folder {folder} does not exist")
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file; pass the folder with {wanted[0]} and the others")
    for place in (folder, *(folder / name for name in names)):
        if any((place / (name + ending)).is_file() for name in wanted for ending in ("", ".gz")):
            return place
    return folder


def find_file(folder: Path, stem: str) -> Path:
    """Return the file `stem` in `folder`, plain or gzip.

    Raises
    ------
    FileNotFoundError
        If there is neither.
    """
    for ending in ("", ".gz"):
        if (path := folder / (stem + ending)).is_file():
            return path
    raise FileNotFoundError(f"{folder} has no {stem} (plain or .gz)")
