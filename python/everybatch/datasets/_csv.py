"""Pictures in tables: a row for each, of its class and its pixels, as Kaggle has them."""

from __future__ import annotations

import csv
import io
import math
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from everybatch._disk import at_home
from everybatch.dataset import Dataset
from everybatch.datasets._files import read_bytes, what_it_is
from everybatch.datasets._split import TEST_FRACTION, split
from everybatch.errors import ArgumentError, FileFormatError, ShapeError

__all__ = ["from_csv"]

_BLOCK = 2048  # rows that are parsed together
_LABEL_NAMES = ("label", "class", "target")


def from_csv(
    path: str | os.PathLike[str],
    test: str | os.PathLike[str] | None = None,
    *,
    size: tuple[int, int] | None = None,
    test_fraction: float | None = None,
    seed: int = 0,
    classes: Iterable[object] | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    name: str | None = None,
) -> Dataset:
    """Read grey pictures from a table (CSV): a row for each, with its label in one column, its pixels in the others.

    So are Kaggle's ``train.csv`` of "Digit Recognizer" (label,pixel0,...,pixel783), its versions of Fashion-MNIST and
    Sign Language MNIST, OpenML's ``mnist_784.csv`` (the class last), and ``mnist_train.csv`` without a line of names,
    where the label comes first; so it does below a line 0,1,2,..., which pandas writes for columns without names.
    Pixels are whole numbers from 0 to 255, row by row; labels are whole numbers.

    Parameters
    ----------
    path
        The table, plain or gzip: of training images if `test` is given, else of all images.
    test
        A table of the test images, with labels. Kaggle's ``test.csv`` of digits has none and cannot measure anything.
    size
        (height, width) of the pictures; square unless given.
    test_fraction
        Without `test`: the share of each class that becomes test images, above 0 and below 1; 0.2 unless given. At
        least one image of each class goes to either side.
    seed
        Any integer from 0: decides which images become test images.
    classes, mean, std
        As for `everybatch.Dataset`.
    name
        Name of the data set; the file's own unless given.

    Raises
    ------
    FileNotFoundError, PermissionError
        If a file is missing or cannot be read.
    FileFormatError
        If a file is no such table: rows of different length, pixels that are no numbers from 0 to 255, no labels; the
        message names file and line. And if columns are named by numbers (pixel0, or 1x1) that do not ascend.
    ShapeError
        If the number of pixels is not that of `size`, or of a square.
    """
    if test is not None and test_fraction is not None:
        raise ArgumentError("test_fraction splits one table; with a table of test images there is nothing to split")
    file = at_home(path)
    images, labels = _read(file, size)
    if test is None:
        arrays = split(images, labels, TEST_FRACTION if test_fraction is None else test_fraction, seed)
    else:
        arrays = (images, labels, *_read(at_home(test), size))
    stem = file.name.partition(".")[0]
    source = f"table {file.resolve()}{'' if test is None else f' and {at_home(test).resolve()}'}"
    return Dataset(*arrays, classes=classes, mean=mean, std=std, name=name or stem, source=source)


def _read(path: Path, size: tuple[int, int] | None) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Images (N, H, W) and labels (N,) of one table."""
    content = read_bytes(path)
    if b"\0" in content[:4096] or not content.strip() or content.lstrip()[:1] == b"<":
        raise FileFormatError(f"{path} is not a table of text (CSV): {what_it_is(content[:64])}")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileFormatError(f"{path} is not a table of text (CSV): {error}") from error
    lines = [line for line in enumerate(io.StringIO(text, newline=None), start=1) if line[1].strip()]
    if not lines:  # letters that separate files and groups are blank to text, and not to bytes
        raise FileFormatError(f"{path} is not a table of text (CSV): {what_it_is(content[:64])}")
    first = _entries(lines[0][1], path)
    is_named = not all(re.fullmatch(r"[+-]?[\d.]+(e[+-]?\d+)?", entry) for entry in first)
    has_names = is_named or _is_counted(first)
    at = _label_column(first, path) if is_named else 0
    if is_named:
        _check_order(first[:at] + first[at + 1 :], path)
    height, width = _shape(len(first), size, path, content)
    tables = list(_blocks(lines[has_names:], len(first), path))
    if not tables:
        raise FileFormatError(f"{path} has a line of names, and no images below it")
    table = np.concatenate(tables)
    pixels = np.delete(table, at, axis=1)
    if not is_named and len(table) > 1 and (table[:, 0] == table[0, 0]).all():
        raise FileFormatError(
            f"{path} has {table[0, 0]} first in every row, which is hardly its label: put the labels first, or add a "
            "line of names (label,pixel0,...)"
        )
    wrong = (pixels < 0) | (pixels > 255)
    if wrong.any():
        row, column = (int(i) for i in np.argwhere(wrong)[0])
        raise FileFormatError(
            f"line {lines[has_names + row][0]} of {path} has {pixels[row, column]} in column "
            f"{column + 1 + (column >= at)}; pixels must be whole numbers from 0 to 255"
        )
    return pixels.astype(np.uint8).reshape(-1, height, width), table[:, at].astype(np.int64)


def _entries(line: str, path: Path) -> list[str]:
    try:
        return [entry.strip() for entry in next(csv.reader([line.strip()]))]
    except csv.Error as error:
        raise FileFormatError(f"{path} is not a table of text (CSV): {error}") from error


def _is_counted(first: list[str]) -> bool:
    """Tell whether a line is 0,1,2,..., which pandas writes above columns that have no names."""
    return len(first) > 2 and first == [str(index) for index in range(len(first))]


def _check_order(names: list[str], path: Path) -> None:
    """Refuse columns that are named by one or two numbers and were sorted as text, which scrambles the pictures.

    Raises
    ------
    FileFormatError
        Their numbers do not ascend.
    """
    found = [re.fullmatch(r"(\D*)(\d{1,9})(?:(\D+)(\d{1,9}))?(\D*)", name) for name in names]
    parts = [match.groups() for match in found if match is not None]
    if len(parts) < len(names) or len({part[0::2] for part in parts}) != 1:
        return
    numbers = [tuple(int(number) for number in part[1::2] if number) for part in parts]
    for index in range(1, len(names)):
        if numbers[index] <= numbers[index - 1]:
            raise FileFormatError(
                f"{path} has the column {names[index]!r} after {names[index - 1]!r}, and pixels are read in the order "
                "of the columns: put these in the order of their numbers, row by row; or leave the names away and put "
                "the label first, if the columns lie right as they are"
            )


def _label_column(names: list[str], path: Path) -> int:
    """Which column the line of names calls the label."""
    lower = [name.lower() for name in names]
    for name in _LABEL_NAMES:
        if name in lower:
            return lower.index(name)
    if re.fullmatch(r"(pixel|px|x)?[_ ]?\d+(x\d+)?", lower[0]):
        raise FileFormatError(
            f"{path} has no column of labels, only pixels from {names[0]!r} on; nothing can be measured without them. "
            "Kaggle keeps those of test.csv: give train.csv alone, and a part of it becomes the test images"
        )
    raise FileFormatError(
        f"{path} has no column of the name {' or '.join(_LABEL_NAMES)}, only {names[0][:40]!r} and others; name it so"
    )


def _shape(columns: int, size: tuple[int, int] | None, path: Path, content: bytes) -> tuple[int, int]:
    pixels = columns - 1
    if columns < 2:
        raise FileFormatError(f"{path} has no columns divided by commas: {what_it_is(content[:64])}")
    if size is not None:
        if not (isinstance(size, (tuple, list)) and len(size) == 2 and all(isinstance(n, int) and n > 0 for n in size)):
            raise ArgumentError(f"size must be (height, width) in pixels, not {size!r}")
        if size[0] * size[1] != pixels:
            raise ShapeError(f"{path} has {pixels} columns of pixels, and {size[0]}x{size[1]} are {size[0] * size[1]}")
        return size[0], size[1]
    side = math.isqrt(pixels)
    if side * side != pixels:
        hint = "; if it has no labels, it cannot be used" if math.isqrt(columns) ** 2 == columns else ""
        raise ShapeError(
            f"{path} has {pixels} columns of pixels beside the label, which make no square: pass size=(height, width)"
            f"{hint}"
        )
    return side, side


def _blocks(lines: list[tuple[int, str]], columns: int, path: Path) -> Iterator[npt.NDArray[np.int32]]:
    """Parse numbered lines, some at a time."""
    for start in range(0, len(lines), _BLOCK):
        rows = lines[start : start + _BLOCK]
        texts = [text for _, text in rows]
        try:
            block = np.loadtxt(texts, np.int32, delimiter=",", quotechar='"', comments=None, ndmin=2)
        except ValueError as error:
            raise FileFormatError(_where(rows, columns, path) or f"{path} cannot be read ({error})") from error
        if block.shape != (len(rows), columns):
            raise FileFormatError(_where(rows, columns, path) or f"{path} is no regular table")
        yield block


def _where(rows: list[tuple[int, str]], columns: int, path: Path) -> str:
    """What is wrong in the first bad line."""
    for number, line in rows:
        entries = _entries(line, path)
        if len(entries) != columns:
            return f"line {number} of {path} has {len(entries)} columns, and the first line has {columns}"
        for column, entry in enumerate(entries, start=1):
            if not re.fullmatch(r"[+-]?\d{1,9}", entry):
                return f"line {number} of {path} has {entry[:40]!r} in column {column}, where a whole number must be"
    return ""
