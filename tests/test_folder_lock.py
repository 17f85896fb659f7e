"""The lock of a run's folder, and how a dead holder is told from a living one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from everybatch import _byte_locks
from everybatch.folder import _lock
from everybatch.folder._lock import LOCK, Lock, holder

HOLDS = """
import sys, time
from pathlib import Path
from everybatch.folder._lock import Lock
lock = Lock(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(600)
"""


def process_with(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLDS, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_one_at_a_time(tmp_path: Path) -> None:
    assert holder(tmp_path) is None
    lock = Lock(tmp_path)
    who = holder(tmp_path)
    assert who is not None
    assert who["pid"] == os.getpid()
    with pytest.raises(FileExistsError, match=f"in use by process {os.getpid()} on"):
        Lock(tmp_path)
    assert holder(tmp_path) == who  # asking and refusing changed nothing
    lock.close()
    lock.close()
    assert holder(tmp_path) is None
    Lock(tmp_path).close()


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    process = process_with(tmp_path)
    try:
        who = holder(tmp_path)
        assert who is not None
        assert who["pid"] == process.pid
        with pytest.raises(FileExistsError, match=f"process {process.pid}"):
            Lock(tmp_path)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert json.loads((tmp_path / LOCK).read_bytes())["pid"] == process.pid  # what it wrote is still there
    assert holder(tmp_path) is None
    Lock(tmp_path).close()


def test_a_forked_child_does_not_hold_it_for_its_parent(tmp_path: Path) -> None:
    lock = Lock(tmp_path)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writer)
        os.read(reader, 1)  # until the parent lets it go
        os._exit(0)
    try:
        assert holder(tmp_path) is not None
        lock.close()
        assert holder(tmp_path) is None
        Lock(tmp_path).close()
    finally:
        os.close(writer)
        os.waitpid(child, 0)
        os.close(reader)


def test_without_locks_the_process_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_byte_locks, "fcntl", None)
    process = process_with(tmp_path)
    try:
        assert holder(tmp_path) is not None
        with pytest.raises(FileExistsError, match=f"process {process.pid}"):
            Lock(tmp_path)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert holder(tmp_path) is None
    Lock(tmp_path).close()


def test_another_process_with_the_same_number_is_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_byte_locks, "fcntl", None)
    told = _lock._self()
    (tmp_path / LOCK).write_text(json.dumps(told))
    assert holder(tmp_path) == told
    (tmp_path / LOCK).write_text(json.dumps(told | {"born": "1"}))
    assert holder(tmp_path) is None


def test_of_another_machine_the_age_tells(tmp_path: Path) -> None:
    told = {"host": "elsewhere", "pid": 1, "since": "2024-01-01T00:00:00+00:00", "boot": "another", "born": "1"}
    (tmp_path / LOCK).write_text(json.dumps(told))
    assert holder(tmp_path) == told
    long_ago = time.time() - 3600
    os.utime(tmp_path / LOCK, (long_ago, long_ago))
    assert holder(tmp_path) is None


def test_a_held_lock_is_touched_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_lock, "_HEARTBEAT", 0.01)
    lock = Lock(tmp_path)
    os.utime(tmp_path / LOCK, (1, 1))
    until = time.monotonic() + 60
    while (tmp_path / LOCK).stat().st_mtime < 2:
        assert time.monotonic() < until, "it was never touched"
        time.sleep(0.01)
    lock.close()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": []}', "null", "[" * 100_000])
def test_a_damaged_file_holds_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / LOCK).write_text(text)
    assert holder(tmp_path) is None or text == '{"pid": []}'
    Lock(tmp_path).close()
