"""Rows of history in records, and the journal that writes them."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from everybatch.errors import FileFormatError
from everybatch.folder import Follower, Journal, holder
from everybatch.folder._files import HISTORY, STATE
from everybatch.folder._records import Appender, whole_records
from everybatch.folder._rows import Columns, Counts, Rows

Arrays = dict[str, npt.NDArray[Any]]


def example(steps: int, evaluations: int, classes: int = 3, seed: int = 0) -> Arrays:
    draw = np.random.default_rng(seed)
    return {
        "train_loss": draw.random(steps, np.float32),
        "lr": draw.random(steps),
        "eval_step": np.arange(evaluations),
        "test_loss": np.full(evaluations, np.nan, np.float32),
        "class_accuracy": draw.random((evaluations, classes), np.float32),
        "predictions": draw.integers(0, classes, (evaluations, 7)).astype(np.uint8),
    }


def part(arrays: Arrays, steps: slice, evaluations: slice) -> Arrays:
    of_steps = ("train_loss", "lr")
    return {name: array[steps if name in of_steps else evaluations] for name, array in arrays.items()}


def begun(journal: Journal, **arrays: npt.NDArray[Any]) -> None:
    with journal.begin({"config": {}, "arrays": arrays}):
        pass


def recorded(follower: Follower) -> Arrays:
    """What is there, without what stands for what is not."""
    return {name: array for name, array in follower.arrays().items() if array.size}


def same(one: Arrays, other: Arrays) -> bool:
    return one.keys() == other.keys() and all(
        one[name].dtype == other[name].dtype and np.array_equal(one[name], other[name], equal_nan=True)
        if one[name].dtype.kind == "f"
        else one[name].dtype == other[name].dtype and np.array_equal(one[name], other[name])
        for name in one
    )


def test_rows_come_back_in_parts_of_any_size() -> None:
    arrays, columns = example(50, 51), None
    columns = Columns.of(arrays)
    rows = Rows(Columns.read(columns.told()))
    draw = np.random.default_rng(1)
    steps = evaluations = 0
    while (steps, evaluations) != (50, 51):
        first = Counts(steps=steps, evaluations=evaluations)
        to = min(50, steps + int(draw.integers(0, 9))), min(51, evaluations + int(draw.integers(0, 9)))
        rows.add(columns.rows(first, part(arrays, slice(steps, to[0]), slice(evaluations, to[1]))))
        steps, evaluations = to
        assert rows.counts == Counts(steps=steps, evaluations=evaluations)
        assert same(rows.arrays(), part(arrays, slice(steps), slice(evaluations)))


def test_rows_take_the_place_of_later_ones() -> None:
    one, other = example(10, 11), example(6, 7, seed=1)
    columns = Columns.of(one)
    rows = Rows(columns)
    rows.add(columns.rows(Counts(), one))
    rows.add(columns.rows(Counts(steps=4, evaluations=5), other))
    expected = {
        name: np.concatenate([one[name][: 4 if name in ("train_loss", "lr") else 5], other[name]]) for name in one
    }
    assert same(rows.arrays(), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda payload: payload[:20], "too short"),
        (lambda payload: payload[:-1], "are not"),
        (lambda payload: payload + b"\0", "are not"),
        (lambda payload: (1).to_bytes(8, "little") + payload[8:], "come after"),
        (lambda payload: payload[:16] + (1 << 63).to_bytes(8, "little") + payload[24:], "are not"),
    ],
)
def test_what_are_no_rows_is_refused(change: Any, message: str) -> None:
    arrays = example(2, 3)
    columns = Columns.of(arrays)
    rows = Rows(columns)
    with pytest.raises(ValueError, match=message):
        rows.add(change(columns.rows(Counts(), arrays)))
    assert rows.counts == Counts()


@pytest.mark.parametrize(
    "told",
    [
        b"{",
        b"[]",
        b'{"unknown": ["<f4", []]}',
        b'{"train_loss": "<f4"}',
        b'{"train_loss": ["O", []]}',
        b'{"train_loss": ["S9", []]}',
        b'{"train_loss": ["<f4", [-1]]}',
        b'{"class_accuracy": ["<f4", [1000000000000]]}',
        b'{"train_loss": ["f4,f4", []]}',
        b'{"train_loss": ["(,)f4", []]}',
        b"[" * 100_000,
    ],
)
def test_what_are_no_columns_is_refused(told: bytes) -> None:
    with pytest.raises(ValueError, match="tells of no columns"):
        Columns.read(told)


def written(folder: Path, arrays: Arrays) -> None:
    """A journal of ten steps, as of a process that was killed."""
    journal = Journal(folder)
    begun(journal, test_indices=np.arange(7))
    for step in range(10):
        evaluations = slice(0 if step == 0 else step + 1, step + 2)
        journal.write(part(arrays, slice(step, step + 1), evaluations))
    journal._file.close()
    journal._lock.close()


def test_cut_off_anywhere_every_whole_row_is_there(tmp_path: Path) -> None:
    arrays = example(10, 11)
    written(tmp_path / "run", arrays)
    path = tmp_path / "run" / HISTORY
    data = path.read_bytes()
    with path.open("rb") as file:
        ends = [end for _, _, end in whole_records(file)]
    for length in range(len(data) + 1):
        path.write_bytes(data[:length])
        follower = Follower(tmp_path / "run")
        follower.look()
        assert follower.state == "lost"
        steps = max(0, sum(end <= length for end in ends) - 2)  # but for the beginning and the columns
        read = recorded(follower)
        assert steps == len(read.get("train_loss", ()))
        if steps:
            assert same(read, part(arrays, slice(steps), slice(steps + 1)) | {"test_indices": np.arange(7)})


def test_a_follower_sees_what_comes(tmp_path: Path) -> None:
    arrays = example(10, 11)
    journal = Journal(tmp_path / "run")
    follower = Follower(tmp_path / "run")
    assert not follower.look()
    begun(journal)
    journal.write(part(arrays, slice(4), slice(5)))
    assert follower.look()
    assert follower.state == "running"
    assert same(recorded(follower), part(arrays, slice(4), slice(5)))
    assert not follower.look()
    journal.write(part(arrays, slice(4, 10), slice(5, 11)))
    assert follower.look()
    assert same(recorded(follower), arrays)
    journal.close()
    follower.look()
    assert follower.state == "lost"


def test_a_disk_that_is_full_for_a_while_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    arrays = example(10, 11)
    journal = Journal(tmp_path / "run", keep_state_every=0)
    begun(journal)
    assert journal.write(part(arrays, slice(4), slice(5)))

    def full(self: Appender, kind: bytes, payload: bytes) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(Appender, "append", full)
        for to in (5, 6):
            assert not journal.write(part(arrays, slice(4, to), slice(5, to + 1)))
        assert journal.rows == Counts(steps=4, evaluations=5)
    assert len(caplog.records) == 1
    assert "the run goes on" in caplog.text
    assert journal.write(part(arrays, slice(4, 10), slice(5, 11)))
    journal.close()
    follower = Follower(tmp_path / "run")
    follower.look()
    assert same(recorded(follower), arrays)


class Pieces:
    def __init__(self, *pieces: bytes) -> None:
        self.pieces = pieces

    def write(self, take: Callable[[bytes], object]) -> None:
        for piece in self.pieces:
            take(piece)


def test_a_state_that_cannot_be_written_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path / "run")
    begun(journal)
    journal.keep(Pieces(b"fi", b"r", b"", b"st"), 1, 1)
    with (tmp_path / "run" / STATE).open("rb") as file:
        before = [(kind, payload) for kind, payload, _ in whole_records(file)]
    assert before[1] == (b"tens", b"first")
    assert json.loads(before[0][1])["history"] == (tmp_path / "run" / HISTORY).stat().st_size

    def fails(handle: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("os.fsync", fails)
    journal.keep(Pieces(b"second"), 2, 2)
    with (tmp_path / "run" / STATE).open("rb") as file:
        assert [(kind, payload) for kind, payload, _ in whole_records(file)] == before
    journal.close()


def test_a_file_that_fails_to_close_takes_nothing_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # As on network file systems, which tell late that they have no room.
    journal = Journal(tmp_path / "run")
    begun(journal)
    close = journal._file.close

    def fails() -> None:
        close()
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(journal._file, "close", fails)
    journal.close()
    assert "cannot be written" in caplog.text
    assert holder(tmp_path / "run") is None  # the folder is given up all the same


def test_a_folder_that_is_refused_on_the_way_stays_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: Appender) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Appender, "_go_back", fails)
        with pytest.raises(OSError, match=rf"the run could not be saved to {tmp_path / 'run'}: No space left"):
            Journal(tmp_path / "run")
    Journal(tmp_path / "run").close()


def test_the_state_at_the_end_is_wanted_only_with_its_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Beside a history that lacks its last rows it could not be gone on from.
    arrays = example(10, 11)
    journal = Journal(tmp_path / "run")
    begun(journal)
    assert not journal.write(part(arrays, slice(4), slice(5)))

    def full(self: Appender, kind: bytes, payload: bytes) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Appender, "append", full)
        assert not journal.write(part(arrays, slice(4, 10), slice(5, 11)), True)
    assert journal.write(part(arrays, slice(4, 10), slice(5, 11)), True)
    journal.close()


def test_a_folder_in_use_or_with_a_run_is_refused(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "run")
    with pytest.raises(FileExistsError, match="in use"):
        Journal(tmp_path / "run")
    begun(journal)
    journal.close()
    with pytest.raises(FileExistsError, match="is not empty"):
        Journal(tmp_path / "run")


@pytest.mark.parametrize(
    ("kind", "payload", "message"),
    [
        (b"what", b"", "kind"),
        (b"begn", b"{}", "lacks"),
        (b"begn", b'{"format": 2, "config": {}, "arrays": {}}', "format is 2"),
        (b"begn", b'{"format": 1, "config": {}, "arrays": {"test_indices": ["a"]}}', "test_indices|invalid literal"),
        (b"begn", b'{"format": 1, "config": {}, "arrays": {"other": [1]}}', "no array named"),
        (b"ends", b'{"config": {}, "arrays": {}}', "how the run ended"),
        (b"rows", bytes(32), "no columns"),
        (b"cols", b"[]", "columns"),
    ],
)
def test_a_record_of_something_else_is_a_format_error(
    tmp_path: Path, kind: bytes, payload: bytes, message: str
) -> None:
    appender = Appender(tmp_path / HISTORY)
    appender.append(kind, payload)
    appender.close()
    with pytest.raises(FileFormatError, match=message):
        Follower(tmp_path).look()
