"""Which files in a folder are pictures of which class, for training and for testing."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from everybatch import _pictures
from everybatch._names import as_utf8, is_text
from everybatch._pictures import shown
from everybatch.errors import DataError

__all__ = ["Layout", "Pictures", "find", "is_flat", "shuffled"]

Pictures = dict[str, list[Path]]
"""The picture files of each class, in the order of the classes, then of the files' names."""

_PARTS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
}
# What programs and systems leave beside pictures; hidden files and folders (.ipynb_checkpoints) are passed over too.
_NO_CLASSES = {
    *("$recycle.bin", "#recycle", "@eadir", "__macosx", "__pycache__", "lost+found", "system volume information"),
    "thumbnails",
}
_NO_DATA = {"desktop.ini", "thumbs.db", "icon\r"}
_SHOWN = 5


@dataclass
class Layout:
    """What was found in a folder."""

    train: Pictures
    test: Pictures | None
    """None if the folder is to be split."""
    told: str = ""
    """What the test images are, where that can be asked."""
    doubts: list[str] = field(default_factory=list)
    """Sentences on what was passed over."""


def find(folder: Path) -> Layout:
    """Find the pictures of each class.

    Raises
    ------
    DataError
        There are fewer than two classes, one without pictures, one with a name that cannot be kept, a test class that
        is not in training, or folders of which it is not clear what they are.
    """
    parts, others = _parts(folder)
    search = _Search(folder)
    if not parts:
        found = Layout(search.classes(folder, others), None)
    else:
        chosen = "test" if "test" in parts else "val"
        found = Layout(search.classes(parts["train"]), search.classes(parts[chosen]))
        absent = [name for name in found.test or () if name not in found.train]
        if absent:
            raise DataError(
                f"{shown(parts[chosen])} has the classes {', '.join(absent)}, which {shown(parts['train'])} has not"
            )
        unused = [shown(path.name) for part, path in parts.items() if part not in ("train", chosen)]
        found.told = f"test images are those in {shown(parts[chosen].name)}"
        found.told += f", and {unused[0]} is not used" if unused else ""
        search.others = [path for path in others if not _only_files(path)]
    found.doubts = search.doubts()
    return found


def is_flat(folder: Path) -> bool:
    """Tell whether there are class folders in it, instead of one for training and one for testing."""
    return not _parts(folder)[0]


def shuffled(name: str, files: list[Path], seed: int) -> list[Path]:
    """Return the files of a class in an order that `seed` and the name of each decide, whatever others there are."""

    def place(path: Path) -> tuple[bytes, str]:
        text = unicodedata.normalize("NFC", f"{seed}/{name}/{path.name}")
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest(), path.name

    return sorted(files, key=place)


def _parts(folder: Path) -> tuple[dict[str, Path], list[Path]]:
    """Return the folders for training and testing, if it has them, and all other folders."""
    folders = _folders(folder)
    named: dict[str, list[Path]] = {}
    for path in folders:
        if (part := _PARTS.get(path.name.lower())) is not None:
            named.setdefault(part, []).append(path)
    # A class may be called train: only folders with folders in them are meant for something else.
    holding = {part: [path for path in paths if _folders(path)] for part, paths in named.items()}
    holding = {part: paths for part, paths in holding.items() if paths}
    if not holding:
        if named and len(folders) == sum(map(len, named.values())):
            names = " and ".join(shown(path.name) for path in folders)
            raise DataError(f"{shown(folder)} has {names}, but no folder for each class in {names}")
        return {}, folders
    for paths in holding.values():
        if len(paths) > 1:
            raise DataError(
                f"{shown(folder)} has {shown(paths[0].name)} and {shown(paths[1].name)}, and either could be meant: "
                "keep one of them"
            )
    there = {part: paths[0] for part, paths in holding.items()}
    if "train" not in there or len(there) < 2:
        have = " and ".join(shown(path.name) for path in there.values())
        absent = "test or val" if "train" in there else "train"
        raise DataError(
            f"{shown(folder)} has a folder {have} but no {absent} with class folders in it; give both, or the class "
            "folders directly"
        )
    return there, [path for path in folders if path not in there.values()]


def _folders(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        return sorted(
            Path(entry.path)
            for entry in entries
            if _is_folder(entry) and not entry.name.startswith(".") and entry.name.lower() not in _NO_CLASSES
        )


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle
        return False


def _only_files(folder: Path) -> bool:
    """Tell whether there is no picture in it, nor in the folders in it."""
    known = _pictures.endings()
    return not any(_ending(path) in known for one in (folder, *_folders(folder)) for path in one.iterdir())


def _ending(path: Path) -> str:
    return path.suffix.lower()


class _Search:
    """Finds classes, and counts what it passes over."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.endings = _pictures.endings()
        self.passed: Counter[str] = Counter()
        self.passed_first: Path | None = None
        self.loose: list[Path] = []
        self.small: list[Path] = []
        self.inner: list[Path] = []
        self.others: list[Path] = []

    def classes(self, folder: Path, folders: list[Path] | None = None) -> Pictures:
        """Return the classes in `folder`, of its folders or of those given."""
        folders = _folders(folder) if folders is None else folders
        for path in folder.iterdir():
            if path.name.lower() == "thumbnails" and path.is_dir() and not _only_files(path):
                self.small.append(path)  # said all the same, as it might be meant
            elif self._is_picture(path) and not path.is_dir():
                self.loose.append(path)
        if len(folders) < 2:
            hint = ""
            if len(folders) == 1 and len(_folders(folders[0])) > 1:
                hint = f"; the folders of the classes seem to be in {shown(folders[0])}: give that"
            raise DataError(
                f"{shown(folder)} has {len(folders)} class folders; at least two are needed, one for each class{hint}"
            )
        named: dict[str, Path] = {}
        for path in folders:
            name = _class_name(path)
            if name in named:
                raise DataError(
                    f"{shown(folder)} has two folders called {name}, whose letters are composed in different ways "
                    f"({named[name].name!a} and {path.name!a}): put all their pictures into one"
                )
            named[name] = path
        pictures = {name: self._files(named[name]) for name in _ordered(list(named))}
        for name, files in pictures.items():
            if not files:
                self._refuse_empty(named[name])
        return pictures

    def _files(self, folder: Path) -> list[Path]:
        files = []
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name.lower() in _NO_DATA:
                    continue
                path = Path(entry.path)
                if _is_folder(entry):
                    if entry.name.lower() not in _NO_CLASSES:
                        self.inner.append(path)
                elif self._is_picture(path):
                    files.append(path)
                else:
                    self.passed[_ending(path) or "without an ending"] += 1
                    self.passed_first = min(self.passed_first or path, path)
        return sorted(files)

    def _is_picture(self, path: Path) -> bool:
        return _ending(path) in self.endings and not path.name.startswith(".")

    def _refuse_empty(self, folder: Path) -> None:
        inner = sorted(path for path in self.inner if path.parent == folder and not _only_files(path))
        if inner:
            raise DataError(
                f"{shown(folder)} has no pictures itself, but folders that do, such as {shown(inner[0].name)}: give "
                f"{shown(folder)} if those are the classes, or move the pictures up into it"
            )
        raise DataError(
            f"{shown(folder)} has no pictures ({', '.join(sorted(self.endings))}); add some or remove it"
            + self._others_there(folder)
        )

    def _others_there(self, folder: Path) -> str:
        found = Counter(_ending(path) for path in folder.iterdir() if _ending(path) and not path.name.startswith("."))
        return f". It has {_counted(found)}{_hint(found, self.endings)}" if found else ""

    def doubts(self) -> list[str]:
        """Return a sentence for each kind of thing that was passed over."""
        told = []
        if self.passed:
            told.append(
                f"passed over in class folders of {shown(self.root)}, as their ending is not that of a picture: "
                f"{_counted(self.passed)} ({self.passed.total():,} in all, the first is {shown(self.passed_first)})"
                f"{_hint(self.passed, self.endings)}"
            )
        inner = sorted(path for path in self.inner if not _only_files(path))
        for paths, what in (
            (sorted(self.loose), "pictures that are in no class folder"),
            (self.small, "folders of small copies of pictures"),
            (inner, "folders of pictures within class folders"),
            (self.others, "folders of pictures beside those for training and testing"),
        ):
            if paths:
                names = ", ".join(shown(path) for path in paths[:_SHOWN])
                more = f" and {len(paths) - _SHOWN:,} more" if len(paths) > _SHOWN else ""
                told.append(f"passed over {what}: {names}{more}")
        return told


def _class_name(path: Path) -> str:
    """Return the name of a class, composed, so that it is the same from every file system."""
    name = as_utf8(path.name)
    if not is_text(name):
        raise DataError(
            f"the name of the class folder {shown(path)} is not text in UTF-8, so that no run could be saved under it: "
            "rename the folder"
        )
    return unicodedata.normalize("NFC", name)


def _ordered(names: list[str]) -> list[str]:
    """Order names as text, and as numbers if they all are."""
    if all(name.isascii() and name.isdigit() for name in names):
        return sorted(names, key=lambda name: (int(name), name))
    return sorted(names)


def _counted(found: Counter[str]) -> str:
    most = found.most_common()
    listed = ", ".join(f"{count:,} {shown(ending)}" for ending, count in most[:_SHOWN])
    return listed + (f" and {sum(count for _, count in most[_SHOWN:]):,} others" if len(most) > _SHOWN else "")


def _hint(found: Counter[str], known: frozenset[str]) -> str:
    if ".npy" in found:
        return "; arrays go into everybatch.Dataset"
    if any(ending in (".heic", ".heif") and ending not in known for ending in found):
        return "; with the package pillow-heif, registered with Pillow, .heic is read too"
    return ""
