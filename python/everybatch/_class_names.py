"""Names of classes that every file, table and picture can hold, and numbers that leave no doubt how many there are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from everybatch.errors import ArgumentError, DataError

__all__ = ["as_utf8", "check_names", "check_unnamed", "is_text", "plain_text"]

_LONGEST = 1000
_FEW = 256


def check_names(names: Sequence[str]) -> None:
    """Refuse names that are no text, before something is trained that could not be saved or shown under them.

    Raises
    ------
    ArgumentError
        A name is empty, not UTF-8, very long, or holds a line break or another control character.
    """
    for number, name in enumerate(names):
        what = f"classes[{number}] is {name[:60]!r}{'...' if len(name) > 60 else ''}"
        if not is_text(name):
            raise ArgumentError(
                f"{what}, which is not UTF-8 text: rename the folder that it comes from, or give the names in classes="
            )
        if any(map(_controls, name)):
            raise ArgumentError(
                f"{what}, with a line break or another control character in it: [name.strip() for name in names] "
                "takes them from the ends"
            )
        if not name.strip():
            raise ArgumentError(f"{what}: every class needs a name")
        if len(name) > _LONGEST:
            raise ArgumentError(f"{what} of {len(name):,} characters; a name can have at most {_LONGEST:,}")


def check_unnamed(labels: Iterable[npt.NDArray[np.int64]], count: int) -> None:
    """Refuse to take the largest label for the number of many classes when most of them would have no image at all.

    Raises
    ------
    DataError
        So it is.
    """
    if count <= _FEW:
        return
    occurring = len(np.unique(np.concatenate([np.unique(part) for part in labels])))
    if 2 * occurring < count:
        raise DataError(
            f"the largest label is {count - 1:,}, but only {occurring:,} different labels occur: if there are "
            f"{count:,} classes, give their names in classes=; if not, number the classes from 0"
        )


def is_text(name: str) -> bool:
    """Whether a name can be written as UTF-8: no part of it stands for a byte without meaning."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def _controls(letter: str) -> bool:
    return letter < " " or "\x7f" <= letter <= "\x9f" or letter in "\u2028\u2029"


def as_utf8(name: str) -> str:
    """Return a name as it was meant: where the system's text is ASCII, Python reads UTF-8 as bytes without meaning."""
    try:
        return name.encode("utf-8", "surrogateescape").decode()
    except UnicodeError:
        return name


def plain_text(text: str) -> str:
    """Return one line that every file and terminal of UTF-8 can hold: what is no text is written as its escape."""
    text = as_utf8(text)
    text = "".join(" " if _controls(letter) else letter for letter in text)
    return text.encode("utf-8", "backslashreplace").decode()
