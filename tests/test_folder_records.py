"""Records in a file: torn ones, changed ones, and readers beside the writer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest

from everybatch.folder._records import Appender, goes_on, record, whole_records

KINDS = (b"one ", b"two ")


def example(count: int, seed: int = 0) -> list[tuple[bytes, bytes]]:
    draw = np.random.default_rng(seed)
    return [(KINDS[number % 2], draw.bytes(int(draw.integers(0, 40)))) for number in range(count)]


def read(path: Path, start: int = 0) -> list[tuple[bytes, bytes]]:
    with path.open("rb") as file:
        return [(kind, payload) for kind, payload, _ in whole_records(file, start)]


def written(path: Path, records: list[tuple[bytes, bytes]]) -> list[int]:
    """Write records, and return where each ends."""
    appender = Appender(path)
    ends = []
    for kind, payload in records:
        appender.append(kind, payload)
        ends.append(appender.end)
    appender.close()
    return ends


def test_the_layout_is_the_documented_one() -> None:
    # By hand, from the module's docstring.
    head = b"\xebBr\n" + b"kind" + (3).to_bytes(8, "little") + zlib.crc32(b"abc").to_bytes(4, "little")
    assert record(b"kind", b"abc") == head + zlib.crc32(head).to_bytes(4, "little") + b"abc"


def test_cut_off_anywhere_the_whole_records_before_are_there(tmp_path: Path) -> None:
    path, records = tmp_path / "file", example(9)
    ends = written(path, records)
    data = path.read_bytes()
    assert len(data) == ends[-1]
    for length in range(len(data) + 1):
        path.write_bytes(data[:length])
        whole = sum(end <= length for end in ends)
        assert read(path) == records[:whole]
        with path.open("rb") as file:
            assert not goes_on(file, ends[whole - 1] if whole else 0)


def test_a_changed_byte_ends_what_is_believed_and_is_told_from_a_torn_end(tmp_path: Path) -> None:
    path, records = tmp_path / "file", example(9)
    ends = written(path, records)
    data = path.read_bytes()
    for place in range(len(data)):
        for change in (1, 128, 255):
            path.write_bytes(data[:place] + bytes([data[place] ^ change]) + data[place + 1 :])
            whole = sum(end <= place for end in ends)
            assert read(path) == records[:whole]
            with path.open("rb") as file:
                assert goes_on(file, ends[whole - 1] if whole else 0) == (whole < len(records) - 1)


@pytest.mark.parametrize("rest", [bytes(100), b"\xff" * 100, b"\xebBr\n" * 30, record(b"kind", b"abc")[:-1]])
def test_what_lies_after_the_last_record_is_none(tmp_path: Path, rest: bytes) -> None:
    path, records = tmp_path / "file", example(3)
    ends = written(path, records)
    with path.open("ab") as file:
        file.write(rest)
    assert read(path) == records
    appender = Appender(path, ends[-1])
    appender.append(b"more", b"!")
    appender.close()
    assert read(path) == [*records, (b"more", b"!")]
    assert path.stat().st_size == appender.end


def test_a_length_that_lies_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "file"
    head = b"\xebBr\n" + b"kind" + (1 << 60).to_bytes(8, "little") + bytes(4)
    path.write_bytes(head + zlib.crc32(head).to_bytes(4, "little"))
    assert read(path) == []


def test_a_write_that_fails_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    appender = Appender(path)
    appender.append(b"one ", b"first")
    before = path.read_bytes()

    class Full:
        """A disk that takes ten bytes and is then full."""

        def __init__(self, file: object) -> None:
            self.file, self.left = file, 10

        def write(self, data: memoryview) -> int:
            if not self.left:
                raise OSError(28, "No space left on device")
            taken: int = self.file.write(data[: self.left])  # type: ignore[attr-defined]
            self.left -= taken
            return taken

        def __getattr__(self, name: str) -> object:
            return getattr(self.file, name)

    whole = appender._file
    monkeypatch.setattr(appender, "_file", Full(whole))
    with pytest.raises(OSError, match="No space"):
        appender.append(b"two ", bytes(100))
    assert path.read_bytes() == before
    monkeypatch.setattr(appender, "_file", whole)
    appender.append(b"two ", b"second")
    appender.close()
    assert read(path) == [(b"one ", b"first"), (b"two ", b"second")]


def test_a_reader_beside_the_writer_sees_whole_records_in_order(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    records = example(2000, seed=1)
    data = b"".join(record(*one) for one in records)

    def write() -> None:  # byte by byte in part, as a network file system might
        draw = np.random.default_rng(2)
        with path.open("ab", 0) as file:
            place = 0
            while place < len(data):
                size = int(draw.integers(1, 60))
                file.write(data[place : place + size])
                place += size

    writer = threading.Thread(target=write)
    writer.start()
    seen: list[tuple[bytes, bytes]] = []
    end = 0
    while len(seen) < len(records):
        alive = writer.is_alive()
        with path.open("rb") as file:
            for kind, payload, place in whole_records(file, end):
                seen.append((kind, payload))
                end = place
        assert seen == records[: len(seen)]
        assert alive or len(seen) == len(records)
    writer.join()


def test_a_killed_writer_loses_nothing_that_was_appended(tmp_path: Path) -> None:
    path = tmp_path / "file"
    code = f"""
from pathlib import Path
from everybatch.folder._records import Appender
appender = Appender(Path({str(path)!r}))
for number in range(10**9):
    appender.append(b"numb", number.to_bytes(8, "little") * 50)
    print(number, flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        told = [int(writer.stdout.readline()) for _ in range(200)]
        os.kill(writer.pid, signal.SIGKILL)
        told += [int(line) for line in writer.stdout.read().split("\n")[:-1]]
    numbers = [int.from_bytes(payload[:8], "little") for _, payload in read(path)]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) >= len(told)
