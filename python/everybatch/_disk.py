"""Files and folders that are there whole or not at all: written beside their place, flushed, then renamed."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from everybatch._exchange import exchange
from everybatch._leftovers import begun, clear_leftovers, locked, remove, sibling
from everybatch._system import open_file
from everybatch.errors import ArgumentError

__all__ = [
    "as_name",
    "as_path",
    "at_home",
    "explained",
    "make_folders",
    "names_to_disk",
    "put_in_place",
    "refuse_existing",
    "refuse_existing_folder",
    "require_folder",
    "to_disk",
    "whole_file",
    "whole_folder",
]


def as_path(given: str | os.PathLike[str], what: str) -> Path:
    """Return an absolute path; refuse what is none. `what` names the argument: ``"folder"`` or ``"file"``."""
    return at_home(as_name(given, what, what)).absolute()


def at_home(given: str | os.PathLike[str]) -> Path:
    """Return a path with ``~`` at its beginning made the folder that it means; without such a user it is a name."""
    path = Path(given)
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def as_name(given: str | os.PathLike[str], argument: str, what: str) -> str:
    """Return a path as text; refuse what is none."""
    try:
        name = os.fspath(given)
    except TypeError:
        raise TypeError(f"{argument} must be a path, not {type(given).__name__}") from None
    if not isinstance(name, str) or not name:
        raise ArgumentError(f"{argument} must name a {what}, not {name!r}")
    try:
        encoded = os.fsencode(name)
    except UnicodeEncodeError:
        encoded = b"\0"
    if b"\0" in encoded:
        raise ArgumentError(f"{argument} is {name!r}: it has a character that no name of a {what} can have")
    return name


@contextlib.contextmanager
def whole_file(path: str | os.PathLike[str], *, overwrite: bool) -> Iterator[IO[bytes]]:
    """Open a file for writing that takes its name only when everything is in it.

    Parameters
    ----------
    path
        Its place; the folder must be there.
    overwrite
        Replace a file that is there already. Only plain files are ever replaced.

    Raises
    ------
    FileExistsError, IsADirectoryError
        Something is there that may not be replaced.
    FileNotFoundError, NotADirectoryError
        The folder is not there, or is none.
    OSError
        The file cannot be written; nothing is left behind.
    """
    target = as_path(path, "file")
    refuse_existing(target, overwrite=overwrite)
    require_folder(target)
    with explained("the file", target):
        clear_leftovers(target)
        with begun(target, lambda path: path.touch(exist_ok=False)) as temporary, temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            temporary.replace(target)
        names_to_disk(target.parent)


@contextlib.contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Give a folder to fill, which takes the name `target` when everything is in it, instead of one of that name.

    Raises
    ------
    OSError
        It cannot be written; nothing is left behind.
    """
    clear_leftovers(target)
    with begun(target, Path.mkdir) as temporary:
        yield temporary
        to_disk(temporary)
        put_in_place(temporary, target)


def refuse_existing(target: Path, *, overwrite: bool, option: str = "overwrite=True") -> None:
    """Refuse to write a file where something is that may not be replaced; `option` is how the user would allow it.

    Raises
    ------
    FileExistsError, IsADirectoryError
        Something is.
    """
    if not os.path.lexists(target):
        return
    if target.is_dir():
        raise IsADirectoryError(f"{target} is a folder: give the name of a file in it")
    if target.exists() and not target.is_file():
        raise FileExistsError(f"{target} exists and is not a plain file: choose another name")
    if not overwrite:
        raise FileExistsError(f"{target} exists already: choose another name, or pass {option} to replace it")


def refuse_existing_folder(
    target: Path, what: str, is_own: Callable[[str], bool], *, overwrite: bool, option: str = "overwrite=True"
) -> None:
    """Refuse to write a folder where something is that may not be replaced, such as one with other files in it.

    Parameters
    ----------
    what
        What is to be written: "a saved run" or "event files".
    is_own
        Whether a file of this name may be a part of it.
    option
        How the user would allow the replacement.

    Raises
    ------
    FileExistsError
        Something is.
    """
    if not os.path.lexists(target):
        return
    if target.is_symlink() or not target.is_dir():
        raise FileExistsError(f"{target} exists and is not a plain folder: choose another name")
    others = sorted(path.name for path in target.iterdir() if not is_own(path.name))
    if others:
        raise FileExistsError(
            f"{target} holds more than {what} ({others[0]!r}), so it is not replaced: choose a folder for this run "
            f"alone, such as {target / 'run'}"
        )
    if not overwrite:
        raise FileExistsError(f"{target} exists already: choose another folder, or pass {option} to replace it")


def require_folder(target: Path) -> None:
    """Make sure that the folder of `target` is there.

    Raises
    ------
    FileNotFoundError, NotADirectoryError
        It is not there, or is no folder.
    """
    if target.parent.is_dir():
        return
    if target.parent.exists():
        raise NotADirectoryError(f"{target.parent} is not a folder")
    raise FileNotFoundError(f"there is no folder {target.parent} to write {target.name!r} into: make it first")


@contextlib.contextmanager
def explained(what: str, target: Path) -> Iterator[None]:
    """Say in an `OSError` that it was about saving `what`, and where; its kind and number stay."""
    try:
        yield
    except OSError as error:
        message = f"{what} could not be saved to {target}: {error.strerror or error}. Nothing there was changed"
        if error.errno is None:
            raise OSError(message) from error
        raise OSError(error.errno, message) from error  # OSError picks PermissionError and so on by the number


def put_in_place(temporary: Path, target: Path) -> None:
    """Give a whole folder its name. One that is there already goes away, and at no moment is there none.

    Where the file system cannot swap two names there is none for a moment: the earlier one then waits beside its place
    (`_leftovers.displaced`), and comes back if the new one does not.
    """
    while True:
        try:
            temporary.rename(target)
            break
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        try:
            if exchange(temporary, target):
                remove(temporary)  # which is the earlier one now
            else:
                _put_aside(temporary, target)
            break
        except FileNotFoundError:
            if not temporary.exists():
                raise
            # Someone else has just moved what stood there.
    names_to_disk(target.parent)


def _put_aside(temporary: Path, target: Path) -> None:
    old = sibling(target, "old")
    with locked(target):
        target.rename(old)
        try:
            temporary.rename(target)
        except BaseException:
            old.rename(target)
            raise
    # The new folder is safe: a remainder of the old one is no reason to fail.
    remove(old)


def make_folders(folder: Path) -> None:
    """Make a folder and those that it lies in, as far as they are not there, and flush their names."""
    made = [path for path in (*reversed(folder.parents), folder) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in made:
        names_to_disk(path.parent)


def to_disk(folder: Path) -> None:
    """Flush the files of a folder and of those in it, and their names."""
    for path in folder.iterdir():
        to_disk(path) if path.is_dir() else _flush(path)
    names_to_disk(folder)


def _flush(path: Path) -> None:
    handle = open_file(path, "O_RDWR" if os.name == "nt" else "O_RDONLY")  # Windows flushes only what it may write
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def names_to_disk(folder: Path) -> None:
    # Not every file system can flush a folder. The files are whole, so that is no reason to fail.
    with contextlib.suppress(OSError):
        _flush(folder)
