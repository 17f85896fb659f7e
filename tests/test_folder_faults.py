"""A disk that fails: all that Python writes to a run's folder. tests/test_disk.py is about every call of the system."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import everybatch as eb
from same_runs import assert_same

DATA = eb.datasets.glyphs(train=640, test=100)
GIVEN: dict[str, Any] = {"steps": 6, "validation": 50, "progress": False, "device": "cpu"}


class Disk:
    """Counts what is written, flushed and renamed, and fails once, at a number that is given.

    It fails by turns for lack of room (ENOSPC) and of the device (EIO); of a write that is "torn" a part is done.
    """

    def __init__(self, fails_at: int | None = None, how: str = "whole") -> None:
        self.fails_at, self.how, self.count = fails_at, how, 0

    def _due(self) -> bool:
        self.count += 1
        return self.count - 1 == self.fails_at

    def _fail(self) -> None:
        number = errno.EIO if self.count % 2 else errno.ENOSPC
        raise OSError(number, os.strerror(number))

    @contextlib.contextmanager
    def failing(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        fsync, replace, fdopen = os.fsync, os.replace, os.fdopen
        disk = self

        class Torn:
            """The file of the history, whose writes may be torn."""

            def __init__(self, file: Any) -> None:
                self._file = file

            def write(self, data: Any) -> int:
                if disk._due():
                    if disk.how == "torn":
                        self._file.write(bytes(data)[: len(data) // 2])
                    disk._fail()
                return int(self._file.write(data))

            def __getattr__(self, name: str) -> Any:
                return getattr(self._file, name)

        def flushed(handle: int) -> None:
            if self._due():
                self._fail()
            fsync(handle)

        def renamed(source: Any, target: Any, **options: Any) -> None:
            if self._due():
                self._fail()
            replace(source, target, **options)

        def opened(*arguments: Any) -> Any:
            return Torn(fdopen(*arguments))

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", flushed)
            patch.setattr(os, "replace", renamed)
            patch.setattr(Path, "replace", lambda path, target: renamed(path, target))
            patch.setattr(os, "fdopen", opened)
            yield


def train(folder: Path, **given: Any) -> eb.Run:
    return eb.train(eb.networks.lenet5(), DATA, folder=folder, keep_state_every=0, **{**GIVEN, **given})


@pytest.mark.parametrize("how", ["whole", "torn"])
def test_a_disk_that_fails_once_takes_nothing_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    whole = eb.train(eb.networks.lenet5(), DATA, **GIVEN)
    disk = Disk()
    with disk.failing(monkeypatch):
        train(tmp_path / "counted", callbacks=lambda _: None)
    assert disk.count > 30
    refused = 0
    for number in range(disk.count):
        folder = tmp_path / f"{how} {number}"
        with Disk(number, how).failing(monkeypatch):
            try:
                run = train(folder, callbacks=lambda _: None)
            except OSError:  # before the first step, where nothing is lost
                refused += 1
                assert train(folder).state == "finished"  # the folder is free again
                continue
        assert_same(run, whole)
        loaded = eb.load_run(folder)
        assert loaded.state in ("finished", "lost"), number
        for name in ("train_loss", "test_loss", "validation_loss"):
            expected = getattr(whole, name)[: len(getattr(loaded, name))]
            np.testing.assert_array_equal(getattr(loaded, name), expected, err_msg=f"{name}, {number}")
        if loaded.state == "lost":
            assert_same(eb.resume(folder, DATA, progress=False), whole)
    assert 0 < refused < 12
