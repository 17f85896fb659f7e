"""The trials of a sweep as a file: CSV, JSON or Parquet, whole or not at all."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from everybatch._disk import at_home, refuse_existing, whole_file
from everybatch._trial import COUNTS, NUMBERS, Trial
from everybatch.cli._parser import UsageError
from everybatch.cli.sweep._table import columns_of
from everybatch.errors import suggest
from everybatch.export._given import missing_package

__all__ = ["ENDINGS", "export_trials"]

ENDINGS = (".csv", ".parquet", ".json")


def export_trials(trials: Sequence[Trial], settings: Sequence[str], path: Path, *, overwrite: bool) -> None:
    """Write trials with all columns; `settings` are those that the sweep went through.

    Raises
    ------
    UsageError
        The ending is none of `ENDINGS`.
    FileExistsError, OSError
        The file is there already, or cannot be written.
    ImportError
        A .parquet file needs pyarrow.
    """
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise UsageError(f"--export {path}: the ending must be one of {', '.join(ENDINGS)}.{suggest(ending, ENDINGS)}")
    refuse_existing(at_home(path), overwrite=overwrite, option="--overwrite")
    content = {".csv": _csv, ".json": _json, ".parquet": _parquet}[ending](columns_of(trials, settings))
    with whole_file(path, overwrite=overwrite) as file:
        file.write(content)


def _csv(columns: dict[str, list[Any]]) -> bytes:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(columns)
    rows.writerows(zip(*columns.values(), strict=True))
    return text.getvalue().encode("utf-8", "backslashreplace")


def _json(columns: dict[str, list[Any]]) -> bytes:
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return (json.dumps(rows, ensure_ascii=False, indent=1) + "\n").encode("utf-8", "backslashreplace")


def _parquet(columns: dict[str, list[Any]]) -> bytes:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise missing_package("--export FILE.parquet", "pyarrow", "parquet") from error

    def array(name: str, values: list[Any]) -> Any:
        if name in NUMBERS:
            return pyarrow.array(values, pyarrow.int64() if name in COUNTS else pyarrow.float64())
        try:
            return pyarrow.array(values)
        except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError):  # a setting that is now a number, now a word
            return pyarrow.array([None if value is None else str(value) for value in values])

    file = io.BytesIO()
    parquet.write_table(pyarrow.table({name: array(name, values) for name, values in columns.items()}), file)
    return file.getvalue()
