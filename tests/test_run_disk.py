"""A run that is replaced: whatever moment the process is killed at, there is a whole run under the name."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from everybatch import _disk, _exchange, _leftovers
from everybatch.errors import ArgumentError, FileFormatError
from everybatch.run import Run, load_run
from everybatch.runs import _read
from test_run import example_arrays, example_run

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


def swaps_here(folder: Path) -> bool:
    (folder / "a").mkdir()
    (folder / "b").mkdir()
    return _exchange.exchange(folder / "a", folder / "b")


def cannot_swap(*_: Path) -> bool:
    return False


def killed(stage: int, work: Callable[[], object], *, swaps: bool) -> bool:
    """Do the work in a process that SIGKILL ends right before the stage-th of the calls that change or flush
    names on the disk. Tells whether the work came that far."""
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            calls = iter(range(10**6))

            def deadly(function: Callable[..., Any]) -> Callable[..., Any]:
                def call(*given: Any, **named: Any) -> Any:
                    if next(calls) == stage:
                        os.kill(os.getpid(), signal.SIGKILL)
                    return function(*given, **named)

                return call

            for name in ("rename", "mkdir", "unlink", "rmdir", "fsync"):
                setattr(os, name, deadly(getattr(os, name)))
            _disk.exchange = deadly(_exchange.exchange if swaps else cannot_swap)
            work()
            os._exit(0)
        os._exit(1)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the work failed by itself"
    return os.WIFSIGNALED(status)


def seed_of(run: Run) -> int:
    """Which of the example runs this is."""
    return next(seed for seed in range(3) if np.array_equal(run.train_loss, example_arrays(seed=seed)["train_loss"]))


@pytest.mark.parametrize("swaps", [True, False])
def test_a_kill_at_any_moment_leaves_a_whole_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swaps: bool) -> None:
    if swaps and not swaps_here(tmp_path):
        pytest.skip("this file system cannot swap two names")
    monkeypatch.setattr(os, "fsync", lambda _: None)  # the machine does not lose power here
    place = tmp_path / "runs"
    old, new, newest = (example_run(seed=seed) for seed in range(3))
    old.save(tmp_path / "old")
    stage, seen = 0, []
    while True:
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(tmp_path / "old", place / "run")
        went_on = killed(stage, lambda: new.save(place / "run", overwrite=True), swaps=swaps)
        assert (place / "run").is_dir() or not swaps  # with a swap there is one at the very name, always
        seen.append(seed_of(load_run(place / "run")))
        # The next one to save there clears what was left, and what had been put aside is not replaced unasked.
        with pytest.raises(FileExistsError, match="overwrite=True"):
            newest.save(place / "run")
        newest.save(place / "run", overwrite=True)
        assert [path.name for path in place.iterdir()] == ["run"]
        if not went_on:
            break
        stage += 1
    assert stage > 10
    assert seen == sorted(seen)  # the old run up to one moment, the new one from then on
    assert set(seen) == {0, 1}
    assert seed_of(load_run(place / "run")) == 2


def test_what_another_process_is_writing_is_left_alone(tmp_path: Path) -> None:
    with _disk.whole_folder(tmp_path / "run") as mine:
        killed(0, lambda: example_run(seed=1).save(tmp_path / "run"), swaps=True)
        example_run(seed=1).save(tmp_path / "run")
        assert mine.is_dir()
        (mine / "file").write_text("whole")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["file"]
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_leftovers_of_files_are_cleared_too(tmp_path: Path) -> None:
    def write(text: bytes) -> None:
        with _disk.whole_file(tmp_path / "table.csv", overwrite=True) as file:
            file.write(text)

    (tmp_path / ".other.csv.0123abcd.tmp").write_text("not ours")
    (tmp_path / ".table.csv.mine.tmp").write_text("not ours either")
    assert killed(0, lambda: write(b"one"), swaps=True)
    assert len(list(tmp_path.iterdir())) == 3
    write(b"two")
    assert (tmp_path / "table.csv").read_bytes() == b"two"
    assert {path.name for path in tmp_path.iterdir()} == {".other.csv.0123abcd.tmp", ".table.csv.mine.tmp", "table.csv"}


@pytest.mark.parametrize(("module", "call"), [(os, "open"), (fcntl, "flock")])
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_is_cleared_before_it_is_locked_is_begun_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, module: Any, call: str
) -> None:
    original = getattr(module, call)
    cleared: list[str] = []

    def overtaken(*given: Any, **named: Any) -> Any:
        """Another one clears between the two, once."""
        begun = [path.name for path in tmp_path.iterdir()]
        if begun and not cleared:
            cleared.extend(begun)
            _leftovers.clear_leftovers(tmp_path / "thing")
            assert list(tmp_path.iterdir()) == []
        return original(*given, **named)

    monkeypatch.setattr(module, call, overtaken)
    if kind == "file":
        with _disk.whole_file(tmp_path / "thing", overwrite=False) as file:
            file.write(b"whole")
        assert (tmp_path / "thing").read_bytes() == b"whole"
    else:
        with _disk.whole_folder(tmp_path / "thing") as folder:
            (folder / "mine").write_text("")
        assert [path.name for path in (tmp_path / "thing").iterdir()] == ["mine"]
    assert len(cleared) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["thing"]


def test_two_that_put_a_folder_in_one_place_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = Path.rename
    others = iter(["first", "second"])

    def overtaken(self: Path, target: Path) -> Path:
        """Another process is quicker by a hair."""
        with contextlib.suppress(StopIteration):
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir()
            (target / next(others)).write_text("")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", overtaken)
    with _disk.whole_folder(tmp_path / "run") as folder:
        (folder / "mine").write_text("")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["mine"]
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_run_that_is_replaced_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example_run(seed=0).save(tmp_path / "run")
    read_config = _read._read_config
    replace = iter([lambda: example_run(seed=1).save(tmp_path / "run", overwrite=True)])

    def read_and_be_overtaken(path: Path) -> Any:
        read = read_config(path)
        for work in replace:
            work()
        return read

    monkeypatch.setattr(_read, "_read_config", read_and_be_overtaken)
    assert seed_of(load_run(tmp_path / "run")) == 1
    (tmp_path / "run/history.npz").write_bytes(b"damaged")
    with pytest.raises(FileFormatError, match=r"history\.npz"):
        load_run(tmp_path / "run")


def test_line_ends_of_windows_change_no_run(tmp_path: Path) -> None:
    # JSON knows both as white space (RFC 8259), and has neither within a text.
    run = example_run()
    run.save(tmp_path / "run")
    path = tmp_path / "run" / "config.json"
    saved = path.read_bytes()
    path.write_bytes(saved.replace(b"\n", b"\r\n"))
    assert load_run(tmp_path / "run").config == run.config
    path.write_bytes(saved.replace(b"\n", b"\r\n").replace(b"7", b"8", 1))
    with pytest.raises(FileFormatError):
        load_run(tmp_path / "run")


@pytest.mark.parametrize("name", ["a\0b", "\ud800"])
def test_what_is_no_name_of_a_folder_is_refused(name: str) -> None:
    with pytest.raises(ArgumentError, match="has a character that no name of a folder can have"):
        example_run().save(name)
