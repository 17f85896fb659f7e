"""Where sweeps are kept: whole or not at all, on a disk and elsewhere, with an index that heals."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest

import everybatch as eb
from everybatch.sweeps._store import LocalStore, open_store
from sweeping import assert_equal, swept


def memory(tmp_path: Path) -> str:
    """A store in fsspec's file system in memory, which stands for S3 and its like."""
    return f"memory://{tmp_path.name}/sweep"


def without_checksum(path: Path) -> dict[str, Any]:
    """What a file of the store holds, as earlier versions wrote it."""
    content: dict[str, Any] = json.loads(path.read_text())
    del content["sha256"]
    return content


def test_a_trial_is_a_saved_run(glyphs: eb.Dataset, tmp_path: Path) -> None:
    sweep = swept(glyphs, tmp_path / "s", {"lr": [1e-3]})
    folder = tmp_path / "s" / "trials" / sweep.runs.trials[0]
    assert eb.load_run(folder).final_accuracy == sweep.runs[0].final_accuracy
    row = json.loads((folder / "trial.json").read_text())
    assert row["config"]["lr"] == 1e-3
    assert row["status"] == "finished"


def test_a_store_in_memory_holds_what_one_on_disk_does(glyphs: eb.Dataset, tmp_path: Path) -> None:
    on_disk = swept(glyphs, tmp_path / "s", seeds=2)
    for backend in (eb.sweeps.serial(), eb.sweeps.processes(workers=1), eb.sweeps.packed(workers=2)):
        store = f"{memory(tmp_path)}/{backend.name}"
        elsewhere = swept(glyphs, store, seeds=2, backend=backend)
        assert_equal(on_disk, elsewhere)
        assert_equal(on_disk, eb.load_sweep(store))
        assert elsewhere.runs[1].model.predict(glyphs.test_images).shape == (60,)


def test_workers_write_into_a_store_that_they_reach(glyphs: eb.Dataset, tmp_path: Path) -> None:
    store = f"dir::file://{tmp_path}/elsewhere"  # a file system that is not taken for this machine's
    assert open_store(store).reaches == "anywhere"
    made = swept(glyphs, store, backend=eb.sweeps.processes(workers=1))
    assert_equal(swept(glyphs, tmp_path / "s"), made)
    assert_equal(made, eb.load_sweep(store))
    assert_equal(made, swept(glyphs, store, backend="serial"))


def test_failures_move_out_of_the_way_in_memory_too(glyphs: eb.Dataset, tmp_path: Path) -> None:
    works = tmp_path / "works"

    def train_one(config: dict[str, Any]) -> eb.Run:
        if not works.exists():
            raise ValueError
        return eb.train(eb.networks.lenet5(), glyphs, steps=1, progress=False, device="cpu")

    def sweep(**arguments: Any) -> eb.Sweep:
        fixed: Any = {"backend": "serial", "store": memory(tmp_path), "progress": False}
        return eb.sweep(train_one, {"x": [1]}, **fixed | arguments)

    assert list(sweep().table()["status"]) == ["failed"]
    works.touch()
    assert list(sweep(retry_failed=True).table()["status"]) == ["finished"]
    assert list(eb.load_sweep(memory(tmp_path)).table()["status"]) == ["finished"]
    assert not open_store(memory(tmp_path)).keys("failed")


@pytest.mark.parametrize("damage", ["missing", "truncated", "no JSON", "another format", "nonsense"])
def test_the_index_is_made_again(glyphs: eb.Dataset, tmp_path: Path, damage: str) -> None:
    made = swept(glyphs, tmp_path / "s")
    index = tmp_path / "s" / "index.json"
    text = index.read_text()
    contents = {
        "truncated": text[: len(text) // 2],
        "no JSON": "\0",
        "another format": json.dumps({"format": 0, "rows": []}),
        "nonsense": json.dumps({"format": 1, "rows": [3]}),
    }
    if damage == "missing":
        index.unlink()
    else:
        index.write_text(contents[damage])
    assert_equal(made, eb.load_sweep(tmp_path / "s"))
    assert_equal(made, swept(glyphs, tmp_path / "s"))
    rows = {row["key"]: row for row in json.loads(index.read_text())["rows"]}  # written by the sweep
    assert rows == {row["key"]: row for row in json.loads(text)["rows"]}


@pytest.mark.parametrize("number", [3.5, 2**63, 10**400, True])
def test_a_number_that_no_table_can_hold_is_read_again(glyphs: eb.Dataset, tmp_path: Path, number: object) -> None:
    made = swept(glyphs, tmp_path / "s", {"lr": [1e-3]})
    index = tmp_path / "s" / "index.json"
    content = json.loads(index.read_text())
    del content["sha256"]
    content["rows"][0]["steps"] = number
    index.write_text(json.dumps(content))
    loaded = eb.load_sweep(tmp_path / "s")
    assert_equal(made, loaded)
    assert loaded.table()["steps"].tolist() == [6]


def test_what_else_is_damaged_is_told_or_made_again(glyphs: eb.Dataset, tmp_path: Path) -> None:
    made = swept(glyphs, tmp_path / "s", steps=1)
    index, description = tmp_path / "s" / "index.json", tmp_path / "s" / "sweep.json"
    whole = without_checksum(index)
    for name, value in (("config", [1]), ("seed", "x"), ("status", "odd"), ("final_test_loss", "x"), ("contents", 3)):
        damaged = {**whole, "rows": [{**row, name: value} for row in whole["rows"]]}
        index.write_text(json.dumps(damaged))
        assert_equal(made, eb.load_sweep(tmp_path / "s"))
        assert eb.load_sweep(tmp_path / "s").table().equals(made.table())
    asked = without_checksum(description)
    for name, value in (("config", [1]), ("seed", "x"), ("key", [1]), ("contents", 3), ("more", 1)):
        description.write_text(json.dumps({**asked, "trials": [{**trial, name: value} for trial in asked["trials"]]}))
        with pytest.raises(eb.errors.FileFormatError, match=r"sweep\.json is not what a sweep writes"):
            eb.load_sweep(tmp_path / "s")
    assert_equal(made, swept(glyphs, tmp_path / "s", steps=1))


@pytest.mark.parametrize("name", ["index.json", "trial.json", "sweep.json"])
def test_a_changed_digit_is_noticed(glyphs: eb.Dataset, tmp_path: Path, name: str) -> None:
    """The learning rate of a trial, which no check of types or ranges could tell from another one."""
    made = swept(glyphs, tmp_path / "s", {"lr": [0.25, 1e-3]}, steps=1)
    trial = tmp_path / "s" / "trials" / made.table().index[0]
    path = trial / name if name == "trial.json" else tmp_path / "s" / name
    good = path.read_text()
    assert '"lr": 0.25' in good
    path.write_text(good.replace('"lr": 0.25', '"lr": 0.35'))
    if name == "sweep.json":
        with pytest.raises(eb.errors.FileFormatError, match=r"sweep\.json is not .*: its checksum differs"):
            eb.load_sweep(tmp_path / "s")
        return
    if name == "trial.json":
        (tmp_path / "s" / "index.json").unlink()
        assert list(eb.load_sweep(tmp_path / "s").table()["status"]) == ["missing", "finished"]
        assert_equal(made, swept(glyphs, tmp_path / "s", {"lr": [0.25, 1e-3]}, steps=1))
        assert '"lr": 0.25' in path.read_text()
    assert_equal(made, eb.load_sweep(tmp_path / "s"))


def test_strange_files_and_folders_do_no_harm(glyphs: eb.Dataset, tmp_path: Path) -> None:
    made = swept(glyphs, tmp_path / "s", steps=1)
    (tmp_path / "s" / "trials" / "Thumbs.db").write_text("x")
    (tmp_path / "s" / "trials" / "empty").mkdir()
    (tmp_path / "s" / "failed" / "empty").mkdir()
    (tmp_path / "s" / "index.json").unlink()
    assert_equal(made, eb.load_sweep(tmp_path / "s", everything=True))
    assert_equal(made, swept(glyphs, tmp_path / "s", steps=1))


def test_messages_may_name_files_that_are_not_in_utf_8(tmp_path: Path) -> None:
    def train_one(config: dict[str, Any]) -> Any:
        raise FileNotFoundError(os.fsdecode(b"\xff.png"))

    made = swept({"x": [os.fsdecode(b"\xfe")]}, tmp_path / "s", train_one)  # type: ignore[arg-type] # function first
    assert made.table()["message"].iloc[0] == "FileNotFoundError: \\udcff.png"
    again = eb.load_sweep(tmp_path / "s").table()
    assert (again["message"].iloc[0], again["x"].iloc[0]) == ("FileNotFoundError: \\udcff.png", "\\udcfe")


def test_an_index_that_is_behind_or_ahead_is_put_right(glyphs: eb.Dataset, tmp_path: Path) -> None:
    made = swept(glyphs, tmp_path / "s")
    index = tmp_path / "s" / "index.json"
    content = without_checksum(index)
    behind, ahead = content["rows"][0]["key"], content["rows"][1]["key"]
    index.write_text(json.dumps({**content, "rows": content["rows"][1:]}))
    shutil.rmtree(tmp_path / "s" / "trials" / ahead)
    table = eb.load_sweep(tmp_path / "s").table()
    assert table.loc[behind].equals(made.table().loc[behind])
    assert table.loc[ahead, "status"] == "missing"


def test_a_trial_whose_row_is_damaged_is_trained_again(glyphs: eb.Dataset, tmp_path: Path) -> None:
    made = swept(glyphs, tmp_path / "s")
    key = made.runs.trials[0]
    (tmp_path / "s" / "trials" / key / "trial.json").write_text("{")
    (tmp_path / "s" / "index.json").unlink()
    assert eb.load_sweep(tmp_path / "s").table().loc[key, "status"] == "missing"
    assert_equal(made, swept(glyphs, tmp_path / "s"))


def test_without_a_description_all_trials_are_shown(glyphs: eb.Dataset, tmp_path: Path) -> None:
    made = swept(glyphs, tmp_path / "s")
    swept(glyphs, tmp_path / "s", {"lr": [1e-2]})
    assert len(eb.load_sweep(tmp_path / "s")) == 1
    assert len(eb.load_sweep(tmp_path / "s", everything=True)) == 5
    (tmp_path / "s" / "sweep.json").unlink()
    table = eb.load_sweep(tmp_path / "s").table()
    assert set(made.table().index) < set(table.index)


def test_remains_of_dead_processes_go_away_and_those_of_living_ones_stay(glyphs: eb.Dataset, tmp_path: Path) -> None:
    swept(glyphs, tmp_path / "s", {"lr": [1e-3]})
    trials = tmp_path / "s" / "trials"
    dead = trials / f".abc.{socket.gethostname()}.{2**22 + 1}.tmp"  # above the largest process id of Linux
    living = trials / f".abc.{socket.gethostname()}.{os.getpid()}.tmp"
    elsewhere = trials / ".abc.another.host.1.tmp"
    old = trials / ".abc.0123abcd.old"
    for folder in (dead, living, elsewhere, old):
        folder.mkdir()
        (folder / "file").write_text("x")
    swept(glyphs, tmp_path / "s", {"lr": [1e-3]})
    assert [folder.exists() for folder in (dead, living, elsewhere, old)] == [False, True, True, False]
    assert len(eb.load_sweep(tmp_path / "s")) == 1


@pytest.mark.parametrize(
    "backend",
    [eb.sweeps.serial(), eb.sweeps.processes(workers=1), eb.sweeps.packed(workers=1)],
    ids=lambda one: one.name,
)
def test_a_full_disk_raises_and_leaves_earlier_results_whole(
    glyphs: eb.Dataset, tmp_path: Path, backend: eb.sweeps.Backend
) -> None:
    first = swept(glyphs, tmp_path / "s", {"lr": [1e-3, 2e-3]})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # No file may be larger than 200 kB, as if the disk ended there; the weights are. Worker processes inherit it.
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        with pytest.raises(OSError, match="could not be saved") as caught:
            swept(glyphs, tmp_path / "s", {"lr": [1e-3, 2e-3, 3e-3]}, backend=backend)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.errno == errno.EFBIG
    assert_equal(first, swept(glyphs, tmp_path / "s", {"lr": [1e-3, 2e-3]}))
    assert not [path for path in (tmp_path / "s" / "trials").iterdir() if path.name.startswith(".")]


def test_a_place_that_cannot_be_written_is_refused_at_once(glyphs: eb.Dataset, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="not a folder"):
        swept(glyphs, tmp_path / "file")
    with pytest.raises(OSError, match="could not be saved"):
        swept(glyphs, "/proc/sweep")  # a file system in which nothing can be made, not even by root


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_only_be_read_stays_as_it_is(glyphs: eb.Dataset, tmp_path: Path) -> None:
    first = swept(glyphs, tmp_path / "s")
    (tmp_path / "s" / "trials").chmod(0o500)
    try:
        with pytest.raises(PermissionError):
            swept(glyphs, tmp_path / "s", seeds=2)
        assert_equal(first, eb.load_sweep(tmp_path / "s"))
    finally:
        (tmp_path / "s" / "trials").chmod(0o700)


def test_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    store = open_store("~/sweeps/a")
    assert isinstance(store, LocalStore)
    assert store.root == tmp_path / "sweeps" / "a"
    assert open_store(f"file://{tmp_path}/b").reaches == "machine"
    assert open_store("memory://c").reaches == "process"
