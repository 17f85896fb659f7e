"""Where a sweep keeps its trials: a folder for each, there whole or not at all, on any file system that fsspec knows.

    sweeps/name/
      sweep.json            which trials the sweep asked for last, in order
      index.json            a row for each trial; made again from the folders where it is missing or behind
      trials/KEY/           a saved run (`load_run` reads it), and trial.json, the row; weights/, if it kept any
      failed/KEY/           trial.json alone, with the traceback
      going/KEY/            a run on its way (`everybatch.folder`): what is cut off goes on there; on a local disk alone
      going/KEY-weights/    the weights that it has kept so far
      .claims               says which trials are being trained (`_claims`); always empty

On a local disk a folder is written under another name, flushed and renamed. Elsewhere its files are put one by one,
trial.json last: a folder without it does not count.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import fsspec
from fsspec.implementations.local import LocalFileSystem

from everybatch._disk import as_name, at_home, explained, make_folders, put_in_place, to_disk, whole_file
from everybatch._leftovers import locked
from everybatch._system import is_gone
from everybatch.errors import ArgumentError, FileFormatError
from everybatch.run import Run, load_run
from everybatch.runs._files import MODEL, opened, sealed
from everybatch.sweeps._claims import Claims, Hold

__all__ = ["FAILED", "GOING", "INDEX", "OF_WEIGHTS", "ROW", "SWEEP", "TRIALS", "Satchel", "Store", "open_store"]

TRIALS, FAILED, GOING = "trials", "failed", "going"
ROW = "trial.json"
OF_WEIGHTS = "-weights"
"""Ends the name of a folder beside that of a trial on its way."""
SWEEP, INDEX = "sweep.json", "index.json"
_OF_THIS_MACHINE = ("file:", "local:")  # as fsspec reads a path that begins so
_TRIES = 1000  # to give a trial its name while others do the same


def open_store(path: str | os.PathLike[str]) -> Store:
    """Return the store at a path, local or of any fsspec file system (``"memory://sweeps/a"``, ``"s3://bucket/a"``).

    Raises
    ------
    ArgumentError, TypeError
        The path names no place.
    ImportError
        Its file system needs a package that is not installed.
    """
    name = as_name(path, "store", "folder")
    if not _is_url(name):
        return LocalStore(name, at_home(name).absolute())
    try:
        files, root = fsspec.core.url_to_fs(name)
    except ValueError as error:
        raise ArgumentError(f"store is {name!r}: {error}") from error
    return LocalStore(name, Path(root)) if isinstance(files, LocalFileSystem) else Store(name, files, root.rstrip("/"))


def _is_url(name: str) -> bool:
    """Whether a name is one of fsspec's, and not that of a folder here, which may have colons in it too."""
    if "://" in name or name.startswith(_OF_THIS_MACHINE):
        return True
    first, colons, _ = name.partition("::")
    return bool(colons) and first in {*fsspec.available_protocols(), *fsspec.registry}


class Store:
    """A store on a file system that is not this machine's; see `LocalStore`."""

    def __init__(self, name: str, files: Any, root: str) -> None:
        self.name, self._files, self._root = name, files, root

    @property
    def reaches(self) -> Literal["process", "machine", "anywhere"]:
        """From where the same store can be opened by its name."""
        return "process" if "memory" in (self._files.protocol, *self._files.protocol) else "anywhere"

    def __repr__(self) -> str:
        return f"Store({self.name!r})"

    def prepare(self) -> None:
        """Make sure that trials can be written."""
        self._files.makedirs(self._root, exist_ok=True)
        self.write_json("writable.json", {})
        self._files.rm_file(f"{self._root}/writable.json")

    def claims(self) -> Claims:
        """Return what keeps several sweeps from training the same trial."""
        return Claims(None)

    def exists(self) -> bool:
        return bool(self._files.exists(self._root))

    def keys(self, kind: str) -> set[str]:
        """The trials of a kind that are there whole."""
        self._files.invalidate_cache()
        found = self._files.find(f"{self._root}/{kind}") if self._files.exists(f"{self._root}/{kind}") else []
        return {path.split("/")[-2] for path in found if path.endswith(f"/{ROW}")}

    def kept_models(self, keys: Sequence[str]) -> set[str]:  # noqa: ARG002 - one listing tells of all
        """Those of these trials whose weights are there."""
        place = f"{self._root}/{TRIALS}"
        found = self._files.find(place) if self._files.exists(place) else []
        return {path.split("/")[-2] for path in found if path.endswith(f"/{MODEL}")}

    @contextlib.contextmanager
    def staging(self, key: str) -> Iterator[Path]:
        """A local folder to write a trial into; it goes away afterwards unless it was put."""
        folder = Path(tempfile.mkdtemp(prefix=f"everybatch-{key}-"))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def put(self, folder: Path, kind: str, key: str) -> bool:
        """Give what is in `folder` the name of a trial, and tell whether that is what is stored now.

        It is not where another sweep was first with as much (`_is_as_good`). An earlier failure of a trial goes away.
        """
        if kind == TRIALS and _is_as_good(self._outcome(key), folder):
            self._remove(FAILED, key)
            return False
        place = f"{self._root}/{kind}/{key}"
        self._files.makedirs(place, exist_ok=True)  # object stores need none, but servers with folders do
        for path in sorted(folder.iterdir(), key=lambda path: path.name == ROW):
            self._files.pipe_file(f"{place}/{path.name}", path.read_bytes())
        if kind == TRIALS:
            self._remove(FAILED, key)
        return True

    def put_files(self, kind: str, key: str, files: Mapping[str, bytes]) -> bool:
        """Put a trial whose files were written elsewhere, as `put` does."""
        with self.staging(key) as folder:
            for name, content in files.items():
                (folder / name).write_bytes(content)
            return self.put(folder, kind, key)

    def _outcome(self, key: str) -> _Outcome | None:
        """What became of a stored trial; None if none can be read, and another one may take its place."""
        try:
            content = self._read(f"{TRIALS}/{key}/{ROW}")
        except OSError:
            return None
        return _outcome(content, has_model=self._has(f"{TRIALS}/{key}/{MODEL}"))

    def _remove(self, kind: str, key: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._files.rm_file(f"{self._root}/{kind}/{key}/{ROW}")  # first, for it is what counts
            self._files.rm(f"{self._root}/{kind}/{key}", recursive=True)

    def under_way(self, key: str) -> Path | None:  # noqa: ARG002 - of another kind of store
        """Where a trial is kept while it is trained; None where that cannot be."""
        return None

    def clear(self, keys: Collection[str]) -> None:
        """Remove what is left of trials on their way that are stored and need not be trained again."""

    def hold(self, key: str) -> Hold | None:  # noqa: ARG002 - of another kind of store
        """Take what tells other sweeps that the place of a trial on its way is in use; None where there is none."""
        return None

    def spare(self, key: str) -> Path:
        """Return the name of a folder that nobody else uses; what is left of it goes away with its process."""
        raise NotImplementedError(f"{self!r} has none for {key}")

    @contextlib.contextmanager
    def fetched(self, key: str) -> Iterator[Path]:
        """A local folder with the files of a trial."""
        with tempfile.TemporaryDirectory(prefix="everybatch-") as folder:
            for path in self._files.ls(f"{self._root}/{TRIALS}/{key}", detail=False):
                (Path(folder) / path.rsplit("/", 1)[-1]).write_bytes(self._files.cat_file(path))
            yield Path(folder)

    def path_of(self, key: str) -> str:
        """The folder of a trial that has a run."""
        return f"{self.name.rstrip('/')}/{TRIALS}/{key}"

    def load_run(self, key: str) -> Run:
        """Return the run of a trial.

        Raises
        ------
        FileNotFoundError, FileFormatError
            It is not there any more, or not whole.
        """
        with self.fetched(key) as folder:
            run = load_run(folder)
            if self.reaches != "machine" and (folder / MODEL).exists():
                run.model  # noqa: B018 - read now, for the copy in this folder goes away
            return run

    def traceback_of(self, key: str) -> str:
        """Return the traceback of a trial that failed; empty if it is not there any more."""
        return str((self.read_json(FAILED, key, ROW) or {}).get("traceback", ""))

    def read_json(self, *parts: str) -> Any | None:
        """What a file holds, or None where there is none.

        Raises
        ------
        FileFormatError
            The file is no JSON, or its checksum says that it was changed; those of earlier versions have none.
        """
        place = "/".join(parts)
        try:
            text = self._read(place)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            return opened(text)
        except (ValueError, RecursionError) as error:
            raise FileFormatError(f"{self.name}/{place} is not the JSON that a sweep writes: {error}") from error

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a file of the store itself, whole, with a checksum in it."""
        self._write(name, sealed(content, indent=None))

    def _read(self, place: str) -> bytes:
        return bytes(self._files.cat_file(f"{self._root}/{place}"))

    def _has(self, place: str) -> bool:
        self._files.invalidate_cache()
        return bool(self._files.exists(f"{self._root}/{place}"))

    def _write(self, name: str, content: bytes) -> None:
        self._files.pipe_file(f"{self._root}/{name}", content)


class Satchel(Store):
    """Holds the files of one trial, to be sent to a process that can put them into the store."""

    def __init__(self) -> None:
        self.files: tuple[str, str, dict[str, bytes]] = ("", "", {})

    def put(self, folder: Path, kind: str, key: str) -> bool:
        self.files = (kind, key, {path.name: path.read_bytes() for path in folder.iterdir()})
        return True


class LocalStore(Store):
    """A store on this machine's file system."""

    def __init__(self, name: str, root: Path) -> None:
        self.name, self.root = name, root

    @property
    def reaches(self) -> Literal["process", "machine", "anywhere"]:
        return "machine"

    def prepare(self) -> None:
        if self.root.exists() and not self.root.is_dir():
            raise NotADirectoryError(f"{self.root} is not a folder: choose another store")
        for kind in (TRIALS, FAILED):
            with explained("the sweep", self.root):
                make_folders(self.root / kind)
        with explained("the sweep", self.root), tempfile.TemporaryFile(dir=self.root / TRIALS):
            pass
        self._sweep_away()

    def claims(self) -> Claims:
        return Claims(self.root)

    def exists(self) -> bool:
        return self.root.is_dir()

    def keys(self, kind: str) -> set[str]:
        try:
            with os.scandir(self.root / kind) as entries:
                return {entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir()}
        except FileNotFoundError:
            return set()

    def kept_models(self, keys: Sequence[str]) -> set[str]:
        return {key for key in keys if (self.root / TRIALS / key / MODEL).is_file()}

    @contextlib.contextmanager
    def staging(self, key: str) -> Iterator[Path]:
        folder = self.spare(key)
        try:
            with explained("the trial", self.root):
                folder.mkdir()
                yield folder
        finally:
            if folder.exists():
                shutil.rmtree(folder, ignore_errors=True)

    def put(self, folder: Path, kind: str, key: str) -> bool:
        to_disk(folder)
        with locked(self.root / kind):  # what is there is still there when it is replaced
            made = not (kind == TRIALS and _is_as_good(self._outcome(key), folder))
            if made:
                self._replace(folder, self.root / kind / key)
        if kind == TRIALS:
            shutil.rmtree(self.root / FAILED / key, ignore_errors=True)
        return made

    def _replace(self, folder: Path, target: Path) -> None:
        for left in reversed(range(_TRIES)):
            try:
                put_in_place(folder, target)
                break
            except OSError as error:
                others = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT)  # who put the same trial, or took it away
                if error.errno not in others or not folder.exists() or not left:
                    raise

    def path_of(self, key: str) -> str:
        # As it was given where that is a path: the root is one in any case, but not the way a user would write it.
        return str(self.root / TRIALS / key) if _is_url(self.name) else super().path_of(key)

    def under_way(self, key: str) -> Path | None:
        return self.root / GOING / key

    def clear(self, keys: Collection[str]) -> None:
        with contextlib.suppress(OSError):  # of a process that was ended in between; it is in nobody's way
            for folder in list((self.root / GOING).iterdir()):
                key = folder.name.removesuffix(OF_WEIGHTS)
                if key not in keys:
                    continue
                with contextlib.closing(Hold(self.root, key)) as hold:
                    if hold.taken:
                        shutil.rmtree(folder, ignore_errors=True)

    def hold(self, key: str) -> Hold | None:
        return Hold(self.root, key)

    def spare(self, key: str) -> Path:
        return self.root / TRIALS / f".{key}-{secrets.token_hex(4)}.{socket.gethostname()}.{os.getpid()}.tmp"

    @contextlib.contextmanager
    def fetched(self, key: str) -> Iterator[Path]:
        yield self.root / TRIALS / key

    def _read(self, place: str) -> bytes:
        return (self.root / place).read_bytes()

    def _has(self, place: str) -> bool:
        return (self.root / place).is_file()

    def _write(self, name: str, content: bytes) -> None:
        with whole_file(self.root / name, overwrite=True) as file:
            file.write(content)

    def _sweep_away(self) -> None:
        """Delete what processes of this machine that are no more have begun."""
        for entry in os.scandir(self.root / TRIALS):
            if not entry.name.startswith("."):
                continue
            owner = entry.name.partition(".")[2].partition(".")[2].removesuffix(".tmp")
            host, _, number = owner.rpartition(".")
            gone = host == socket.gethostname() and number.isdigit() and is_gone(int(number))
            if gone or entry.name.endswith(".old"):
                shutil.rmtree(entry.path, ignore_errors=True)


@dataclasses.dataclass(frozen=True)
class _Outcome:
    """What became of a trial."""

    key: str
    status: str
    pruning: Any
    has_model: bool


def _is_as_good(stored: _Outcome | None, folder: Path) -> bool:
    """Whether what is stored of a trial is to stay: whoever reads it may go on, and its row is known to others.

    Its numbers are those in the folder, or it is whole and the one in the folder was pruned; and it has weights if that
    has them.
    """
    made = _outcome((folder / ROW).read_bytes(), has_model=(folder / MODEL).is_file())
    if stored is None or made is None or stored.has_model < made.has_model:
        return False
    same = (stored.key, stored.status, stored.pruning) == (made.key, made.status, made.pruning)
    return same or (made.status == "pruned" and stored.status != "pruned")


def _outcome(content: bytes, *, has_model: bool) -> _Outcome | None:
    """What a row says of its trial; None if it cannot be read."""
    try:
        row = opened(content)
        return _Outcome(row["key"], row["status"], row.get("pruning"), has_model)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
