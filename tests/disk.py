"""A disk that fails, or loses its power: `disk.c`, compiled when a test asks for it, and what it wrote down, played."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["ERRORS", "WAYS", "Disk", "Powerless", "environment"]

WAYS = ("once", "from then on", "torn", "torn from then on")
ERRORS = ("ENOSPC", "EIO")


def environment(folder: Path) -> dict[str, str] | None:
    """Compile the library into a folder, and return the environment for it; None: there is no compiler."""
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None or sys.platform != "linux":
        return None
    library = folder / "disk.so"
    source = Path(__file__).with_name("disk.c")
    options = ["-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl", "-lpthread"]
    subprocess.run([compiler, *options], check=True)
    return {**os.environ, "LD_PRELOAD": str(library)}


class Disk:
    """The library within a process that was started with it."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None)
        self._library.disk_fail.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_int]
        self._library.disk_count.restype = ctypes.c_long

    def watch(self, folder: Path | None, told: Path | None = None) -> None:
        """Count calls of what is below a folder, and write them down in a file."""
        self._library.disk_watch(*(None if path is None else os.fsencode(path) for path in (folder, told)))

    def fail(self, number: int, error: int, way: str) -> None:
        """Let the call of this number fail, counted from now on; -1: none."""
        self._library.disk_fail(number, error, WAYS.index(way))

    @property
    def count(self) -> int:
        """Calls since `fail` or `watch`."""
        return int(self._library.disk_count())


@dataclass
class _File:
    content: bytearray = field(default_factory=bytearray)
    flushed: bytes = b""


@dataclass
class _Folder:
    entries: dict[str, _File | _Folder] = field(default_factory=dict)
    flushed: dict[str, _File | _Folder] = field(default_factory=dict)


class Powerless:
    """What was done to a folder, call by call, and what a loss of power would leave of it.

    POSIX promises of a file what was in it when it was flushed, and of a name what it was when its folder was flushed.
    The rest may be there or not, one by one.

    Parameters
    ----------
    folder
        The one that was watched; it was empty then.
    told
        What the library wrote down.
    """

    def __init__(self, folder: Path, told: Path) -> None:
        self._top = folder
        self._root = _Folder()
        self._data, self.at = told.read_bytes(), 0
        self._open: dict[int, _File | _Folder] = {}
        self._names: dict[int, str] = {}
        self.newest = ""
        """The name of what the newest call was about, if it flushed or renamed: its new one."""

    def calls(self) -> Iterator[str]:
        """Do what was done, one call after the other; the names of the calls."""
        while self.at < len(self._data):
            end = self._data.index(b"\n", self.at)
            name, *words = os.fsdecode(self._data[self.at : end]).split("\t")
            self.at, self.newest = end + 1, ""
            if name == "write":
                file, start, length = map(int, words)
                self._write(file, start, self._data[self.at : self.at + length])
                self.at += length
            else:
                getattr(self, f"_{name}")(*words)
            yield name

    def leave(self, folder: Path, *, names: bool, contents: bool) -> None:
        """Write what is on the disk now into a new folder: what was flushed, and what was not of names or contents."""
        self._leave(self._root, folder, names, contents)

    def _leave(self, node: _Folder, folder: Path, names: bool, contents: bool) -> None:
        folder.mkdir()
        for name, entry in (node.entries if names else node.flushed).items():
            if isinstance(entry, _Folder):
                self._leave(entry, folder / name, names, contents)
            else:
                (folder / name).write_bytes(entry.content if contents else entry.flushed)

    def _within(self, path: str) -> tuple[_Folder, str]:
        *parents, name = Path(path).relative_to(self._top).parts
        node: _File | _Folder = self._root
        for parent in parents:
            assert isinstance(node, _Folder)
            node = node.entries[parent]
        assert isinstance(node, _Folder)
        return node, name

    # Each is called by the first word of its line.

    def _opened(self, file: str, empties: str, path: str) -> None:
        node: _File | _Folder = self._root
        if Path(path) != self._top:
            folder, name = self._within(path)
            node = folder.entries.setdefault(name, _File())
        if empties == "1" and isinstance(node, _File):
            node.content.clear()
        self._open[int(file)], self._names[int(file)] = node, Path(path).name

    def _write(self, file: int, start: int, data: bytes) -> None:
        node = self._open[file]
        assert isinstance(node, _File)
        node.content.extend(bytes(max(0, start - len(node.content))))
        node.content[start : start + len(data)] = data

    def _cut(self, file: str, length: str) -> None:
        node = self._open[int(file)]
        assert isinstance(node, _File)
        del node.content[int(length) :]
        node.content.extend(bytes(int(length) - len(node.content)))

    def _flush(self, file: str) -> None:
        node, self.newest = self._open[int(file)], self._names[int(file)]
        if isinstance(node, _File):
            node.flushed = bytes(node.content)
        else:
            node.flushed = dict(node.entries)

    def _close(self, file: str) -> None:
        self._open.pop(int(file), None)

    def _mkdir(self, path: str) -> None:
        folder, name = self._within(path)
        folder.entries[name] = _Folder()

    def _remove(self, path: str) -> None:
        folder, name = self._within(path)
        del folder.entries[name]

    def _rename(self, one: str, other: str) -> None:
        (a, x), (b, y) = self._within(one), self._within(other)
        b.entries[y] = a.entries.pop(x)
        self.newest = y

    def _swap(self, one: str, other: str) -> None:
        (a, x), (b, y) = self._within(one), self._within(other)
        a.entries[x], b.entries[y] = b.entries[y], a.entries[x]
