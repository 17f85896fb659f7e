"""Records, one after the other, in a file that only grows.

Each has a header of 24 bytes, little-endian: a mark, four letters that name its kind, the payload's length (8 bytes),
the CRC-32 of the payload, and that of the header before it. A process that is killed while it writes leaves a torn
record at the end, which no reader takes for a record; nor does it take one of which a byte was changed. A reader beside
the writer may see a record before all of it is there: it waits.
"""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Protocol

from everybatch._system import open_file

__all__ = [
    "Appender",
    "Payload",
    "Pieces",
    "goes_on",
    "header_at",
    "record",
    "whole_payloads",
    "whole_records",
    "write_record",
]

_MARK = b"\xebBr\n"
_HEADER = struct.Struct("<4s4sQII")
_PIECE = 1 << 20
"""Bytes that are read at a time where nothing but their checksum is wanted."""
_CHECKED = _HEADER.size - 4
"""Bytes of the header that its own checksum is of."""


def record(kind: bytes, payload: bytes) -> bytes:
    """Return a record; `kind` has four letters."""
    return _head(kind, len(payload), zlib.crc32(payload)) + payload


def _head(kind: bytes, length: int, checksum: int) -> bytes:
    head = _HEADER.pack(_MARK, kind, length, checksum, 0)[:_CHECKED]
    return head + struct.pack("<I", zlib.crc32(head))


class Pieces(Protocol):
    """Bytes that lie elsewhere, and are never all of them copied."""

    def write(self, take: Callable[[bytes], object], /) -> None:
        """Give them, piece by piece."""


def write_record(file: IO[bytes], kind: bytes, payload: Pieces) -> None:
    """Write a record where the file is."""
    start, checksum, length = file.tell(), 0, 0
    file.write(bytes(_HEADER.size))

    def take(piece: bytes) -> None:
        nonlocal checksum, length
        checksum, length = zlib.crc32(piece, checksum), length + len(piece)
        file.write(piece)

    payload.write(take)
    file.seek(start)
    file.write(_head(kind, length, checksum))
    file.seek(0, os.SEEK_END)


class Payload:
    """What a record holds, in a file that stays open: read where it is needed, for it may be gigabytes."""

    def __init__(self, file: IO[bytes], start: int, length: int) -> None:
        self._file, self._start = file, start
        self.length = length
        """In bytes."""

    def read(self, start: int, length: int) -> bytes:
        """Return some of its bytes; fewer where the file has been cut off."""
        self._file.seek(self._start + start)
        return self._file.read(length)

    def checksum(self) -> int:
        """Return its CRC-32."""
        checksum = 0
        for start in range(0, self.length, _PIECE):
            checksum = zlib.crc32(self.read(start, min(_PIECE, self.length - start)), checksum)
        return checksum

    @property
    def closed(self) -> bool:
        """Whether it can be read no more."""
        return self._file.closed

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def whole_records(file: IO[bytes], start: int = 0) -> Iterator[tuple[bytes, bytes, int]]:
    """Give kind, payload and end of each record from a place in the file on, up to the first that is not whole."""
    for kind, payload, end, checksum in _announced(file, start):
        data = payload.read(0, payload.length)
        if len(data) < payload.length or zlib.crc32(data) != checksum:
            return
        yield kind, data, end


def whole_payloads(file: IO[bytes]) -> Iterator[tuple[bytes, Payload]]:
    """Give the same of a whole file, and leave the payloads in it."""
    for kind, payload, _, checksum in _announced(file, 0):
        if payload.checksum() != checksum:
            return
        yield kind, payload


def _announced(file: IO[bytes], start: int) -> Iterator[tuple[bytes, Payload, int, int]]:
    """Give kind, payload, end and checksum of each record of which the file has the header and is long enough."""
    size = os.fstat(file.fileno()).st_size
    file.seek(start)
    while (header := _header(file.read(_HEADER.size))) is not None:
        kind, length, checksum = header
        start += _HEADER.size
        if length > size - start:
            return
        yield kind, Payload(file, start, length), start + length, checksum
        start += length
        file.seek(start)


def header_at(file: IO[bytes], place: int) -> bytes:
    """Return the bytes of the header of the record at a place, as far as they are there."""
    file.seek(place)
    return file.read(_HEADER.size)


def goes_on(file: IO[bytes], end: int) -> bool:
    """Whether a record begins after the one at `end`, which is not whole: then it is damaged, and not just torn."""
    file.seek(end + 1)
    rest = file.read()
    place = rest.find(_MARK)
    while place >= 0:
        if _header(rest[place : place + _HEADER.size]) is not None:
            return True
        place = rest.find(_MARK, place + 1)
    return False


def _header(data: bytes) -> tuple[bytes, int, int] | None:
    """Return kind, length and checksum of a payload, if this is a header."""
    if len(data) < _HEADER.size:
        return None
    mark, kind, length, checksum, own = _HEADER.unpack(data)
    return (kind, length, checksum) if mark == _MARK and own == zlib.crc32(data[:_CHECKED]) else None


class Appender:
    """Adds records to a file, which is made if it is not there.

    Parameters
    ----------
    path
        Its place.
    end
        Where its last whole record ends; what lies after that is cut off.
    """

    def __init__(self, path: Path, end: int = 0) -> None:
        # Python's own buffer would keep what the system is to have at once.
        self._file = os.fdopen(open_file(path, "O_RDWR", "O_CREAT"), "r+b", 0)
        self.end = end
        try:
            self._go_back()
        except BaseException:
            with contextlib.suppress(OSError):
                self._file.close()
            raise

    def append(self, kind: bytes, payload: bytes) -> None:
        """Add a record. After this the system has it, and a process that dies takes nothing of it along.

        Raises
        ------
        OSError
            It could not be written; the file ends where it ended before.
        """
        rest = memoryview(record(kind, payload))
        size = len(rest)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except BaseException:  # Ctrl-C too
            with contextlib.suppress(OSError):  # then the next record is written over it
                self._go_back()
            raise
        self.end += size

    def sync(self) -> None:
        """Have everything on the disk, where a loss of power does not reach it."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Write nothing any more."""
        self._file.close()

    def _go_back(self) -> None:
        self._file.seek(self.end)
        self._file.truncate(self.end)
