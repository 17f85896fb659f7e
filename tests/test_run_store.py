"""Saving and loading runs: whole or not at all, and nothing on the disk is trusted."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import everybatch as eb
from everybatch.errors import ArgumentError, FileFormatError
from everybatch.run import Run, load_run
from test_run import example_arrays, example_config, example_run


class FakeModel:
    """Stands in for a model where only the file matters."""

    classes = ("c0", "c1", "c2")
    background = None

    def __init__(self, content: bytes = b"weights", error: BaseException | None = None) -> None:
        self.content, self.error = content, error

    def save(self, path: str) -> None:
        Path(path).write_bytes(self.content)
        if self.error is not None:
            raise self.error


def with_model(*given: Any) -> Run:
    return Run(example_arrays(), example_config(), FakeModel(*given))  # type: ignore[arg-type]


def everything_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    example_run().save(tmp_path / "run")
    return tmp_path / "run"


def rewrite(folder: Path, **arrays: Any) -> None:
    """Write another history as an attacker would: with the right checksum."""
    held = dict(np.load(folder / "history.npz"))
    np.savez_compressed(folder / "history.npz", **{k: v for k, v in (held | arrays).items() if v is not None})
    reseal(folder)


def rewrite_train_loss(folder: Path, content: bytes) -> None:
    """The same with bytes of any kind for one array."""
    with zipfile.ZipFile(folder / "history.npz") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(folder / "history.npz", "w") as archive:
        for name, data in (members | {"train_loss.npy": content}).items():
            archive.writestr(name, data)
    reseal(folder)


def reseal(folder: Path) -> None:
    content = json.loads((folder / "config.json").read_text())
    data = (folder / "history.npz").read_bytes()
    content["files"]["history.npz"] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    write_config(folder, content)


def write_config(folder: Path, content: Any) -> None:
    """With the checksum that the format asks for: of the file's bytes, zeros standing for the checksum."""
    text = json.dumps({**content, "sha256": "0" * 64})
    (folder / "config.json").write_text(text.replace("0" * 64, hashlib.sha256(text.encode()).hexdigest()))


def test_what_was_saved_is_loaded(saved: Path) -> None:
    run = load_run(saved)
    for name, array in example_arrays().items():
        loaded = getattr(run, name)
        assert loaded.dtype == array.dtype
        assert np.array_equal(loaded, array)
        assert not loaded.flags.writeable
    assert run.config == example_config()
    with pytest.raises(AttributeError, match="without a model"):
        _ = run.model


def test_the_files_are_open_formats(tmp_path: Path) -> None:
    with_model().save(tmp_path / "run")
    assert everything_in(tmp_path) == {"run", "run/config.json", "run/history.npz", "run/model.safetensors"}
    content = json.loads((tmp_path / "run/config.json").read_text())
    assert content["format"] == 1
    assert content["config"] == example_config()
    data = (tmp_path / "run/history.npz").read_bytes()
    assert content["files"]["history.npz"] == {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    with np.load(tmp_path / "run/history.npz", allow_pickle=False) as archive:
        assert set(archive.files) == set(example_arrays())


def test_a_real_model_comes_back(tmp_path: Path) -> None:
    model = eb.networks.lenet5().initialize(seed=3)
    Run(example_arrays(), example_config(), model).save(tmp_path / "run")
    loaded = load_run(tmp_path / "run").model.state_dict()
    expected = model.state_dict()
    assert list(loaded) == list(expected)
    assert all(np.array_equal(np.asarray(loaded[name]), np.asarray(expected[name])) for name in expected)


def test_the_model_is_read_at_first_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_model().save(tmp_path / "run")
    reads = []

    class Loader:
        @staticmethod
        def load(path: str) -> FakeModel:
            reads.append(path)
            return FakeModel(Path(path).read_bytes())

    monkeypatch.setattr("everybatch._core.Model", Loader)
    run = load_run(tmp_path / "run")
    assert reads == []
    assert run.model is run.model
    assert reads == [str(tmp_path / "run/model.safetensors")]
    run.save(tmp_path / "again")
    assert (tmp_path / "again/model.safetensors").read_bytes() == b"weights"


def test_parents_are_made_and_relative_names_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    example_run().save("results/monday/one")
    monkeypatch.chdir(tmp_path / "results")
    assert load_run("monday/one").steps == 7


def test_an_existing_folder_is_kept(saved: Path) -> None:
    before = (saved / "history.npz").read_bytes()
    with pytest.raises(FileExistsError, match="overwrite=True"):
        example_run(seed=1).save(saved)
    assert (saved / "history.npz").read_bytes() == before


def test_overwrite_replaces_a_saved_run(saved: Path) -> None:
    example_run(seed=1).save(saved, overwrite=True)
    assert np.array_equal(load_run(saved).train_loss, example_arrays(seed=1)["train_loss"])
    assert [path.name for path in saved.parent.iterdir()] == ["run"]


def test_overwrite_does_not_delete_other_things(saved: Path) -> None:
    (saved / "thesis.tex").write_text("years of work")
    with pytest.raises(FileExistsError, match=r"holds more than a saved run \('thesis.tex'\)"):
        example_run().save(saved, overwrite=True)
    assert (saved / "thesis.tex").read_text() == "years of work"


def test_a_file_in_the_way_is_kept(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")
    with pytest.raises(FileExistsError, match="not a plain folder"):
        example_run().save(tmp_path / "run", overwrite=True)
    assert (tmp_path / "run").read_text() == "mine"


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("name", ["run", "new/deep/run"])
def test_a_failed_save_leaves_nothing_behind(tmp_path: Path, name: str, error: BaseException) -> None:
    with pytest.raises(type(error)) as caught:
        with_model(b"half", error).save(tmp_path / name)
    if isinstance(error, OSError):
        assert caught.value.errno == errno.ENOSPC  # type: ignore[attr-defined]
        assert f"could not be saved to {tmp_path / name}: No space left" in str(caught.value)
    assert everything_in(tmp_path) == set()


def test_a_failed_overwrite_keeps_the_old_run(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = Path.rename

    def refuse_the_new_one(self: Path, target: Path) -> Path:
        if self.suffix == ".tmp":
            number = errno.EACCES if not target.exists() else errno.ENOTEMPTY
            raise OSError(number, os.strerror(number))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse_the_new_one)
    monkeypatch.setattr("everybatch._disk.exchange", lambda *_: False)  # as on a file system that cannot
    with pytest.raises(PermissionError, match="could not be saved"):
        example_run(seed=1).save(saved, overwrite=True)
    monkeypatch.undo()
    assert np.array_equal(load_run(saved).train_loss, example_arrays()["train_loss"])
    assert [path.name for path in saved.parent.iterdir()] == ["run"]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match=r"the run could not be saved to .*file/run: .*file is not a folder"):
        example_run().save(tmp_path / "file" / "run")


@pytest.mark.parametrize(("folder", "error"), [(3, TypeError), (b"run", ArgumentError), ("", ArgumentError)])
def test_folders_that_are_none(folder: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="folder must"):
        example_run().save(folder)
    with pytest.raises(error, match="folder must"):
        load_run(folder)


def test_missing_folders_and_files(saved: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no saved run at .*nowhere"):
        load_run(saved / "nowhere")
    with pytest.raises(NotADirectoryError, match="give the folder"):
        load_run(saved / "config.json")
    (saved / "history.npz").unlink()
    with pytest.raises(FileNotFoundError, match=r"history\.npz is missing"):
        load_run(saved)
    (saved / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"config\.json is missing"):
        load_run(saved)


def test_damaged_model(tmp_path: Path) -> None:
    with_model().save(tmp_path / "run")
    file = tmp_path / "run/model.safetensors"
    run = load_run(tmp_path / "run")
    file.write_bytes(b"wEights")  # the same length
    with pytest.raises(FileFormatError, match=r"model\.safetensors is not the file .* SHA-256"):
        _ = run.model
    file.write_bytes(b"weig")
    with pytest.raises(FileFormatError, match=r"model\.safetensors has 4 bytes instead of 7"):
        load_run(tmp_path / "run")
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors is missing"):
        load_run(tmp_path / "run")


def test_truncated_and_exchanged_history(saved: Path) -> None:
    file = saved / "history.npz"
    data = file.read_bytes()
    file.write_bytes(data[:-10])
    with pytest.raises(FileFormatError, match=r"history\.npz has .* bytes instead of"):
        load_run(saved)
    file.write_bytes(data[:200] + bytes([data[200] ^ 1]) + data[201:])
    with pytest.raises(FileFormatError, match="SHA-256 differs"):
        load_run(saved)


@pytest.mark.parametrize("content", [b"", b"PK", b"\x93NUMPY\x01\x00v\x00", b"no archive at all"])
def test_history_that_is_no_archive(saved: Path, content: bytes) -> None:
    (saved / "history.npz").write_bytes(content)
    reseal(saved)
    with pytest.raises(FileFormatError, match=r"history\.npz"):
        load_run(saved)


def test_history_with_a_single_array(saved: Path) -> None:
    with (saved / "history.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    reseal(saved)
    with pytest.raises(FileFormatError, match=r"not an \.npz archive"):
        load_run(saved)


def test_every_flipped_byte_is_noticed_or_harmless(saved: Path) -> None:
    file = saved / "history.npz"
    data = file.read_bytes()
    for place in range(0, len(data), 23):
        file.write_bytes(data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])
        reseal(saved)  # so that only the archive itself can tell
        try:
            run = load_run(saved)
        except FileFormatError:
            continue
        assert np.array_equal(run.train_loss, example_arrays()["train_loss"])


def test_pickles_are_refused(saved: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (pytest.fail, ("a pickle was run",))

    rewrite(saved)
    member = io.BytesIO()
    np.lib.format.write_array(member, np.array([None], dtype=object), allow_pickle=True)
    header = member.getvalue()[: member.getvalue().index(b"\n") + 1]
    rewrite_train_loss(saved, header + pickle.dumps(Evil()))
    with pytest.raises(FileFormatError, match=r"history\.npz holds pickled objects, which are never loaded"):
        load_run(saved)


def test_a_header_that_is_no_python(saved: Path) -> None:
    # NumPy parses it as Python source, whose parser raises errors of its own: of `tokenize` here.
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (4,\0"
    rewrite_train_loss(saved, b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(FileFormatError, match=r"'train_loss' in .*history\.npz has a damaged header"):
        load_run(saved)


def test_member_that_claims_more_than_memory(saved: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (10**15,)})
    rewrite_train_loss(saved, header.getvalue())
    with pytest.raises(FileFormatError, match=r"history\.npz is damaged"):
        load_run(saved)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"test_loss": None}, "lacks the array 'test_loss'"),
        ({"surprise": np.zeros(1)}, "has an unknown array 'surprise'"),
        ({"test_loss": np.zeros(4, np.float32)}, "holds 4 evaluations"),
        ({"test_loss": np.zeros(5)}, "dtype float64"),
        ({"test_indices": np.full(50, 10**6)}, "test set of 100"),
    ],
)
def test_arrays_at_odds(saved: Path, arrays: dict[str, Any], message: str) -> None:
    rewrite(saved, **arrays)
    with pytest.raises(FileFormatError, match=rf"history\.npz.*{message}"):
        load_run(saved)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not the JSON"),
        ("{", "is not the JSON"),
        ("[" * 100_000, "is not the JSON"),
        ("[]", "no 'format'"),
        ('{"format": 2}', "format 2; this version of everybatch reads format 1"),
        ('{"format": 1}', "lacks 'files' or 'config'"),
        ('{"format": 1, "files": {}, "config": {}}', "lacks the section 'network'"),
    ],
)
def test_configs_that_are_none(saved: Path, text: str, message: str) -> None:
    (saved / "config.json").write_text(text)
    with pytest.raises(FileFormatError, match=rf"config\.json.*{message}"):
        load_run(saved)


def test_config_that_is_not_text(saved: Path) -> None:
    (saved / "config.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FileFormatError, match="is not the JSON"):
        load_run(saved)


@pytest.mark.parametrize("entry", [None, 3, {}, {"bytes": 3}])
def test_config_without_checksum(saved: Path, entry: Any) -> None:
    content = json.loads((saved / "config.json").read_text())
    content["files"]["history.npz"] = entry
    write_config(saved, content)
    with pytest.raises(FileFormatError, match="does not say what size"):
        load_run(saved)


# No byte of a saved run may change unnoticed. What a SHA-256 covers is hashlib's to say; here only that it covers all.
def test_every_changed_byte_is_refused(tmp_path: Path) -> None:
    model = eb.Network([eb.layers.Flatten(), eb.layers.Linear(4, 2)], input_shape=(1, 2, 2)).initialize(seed=0)
    Run(example_arrays(), example_config(), model).save(tmp_path / "run")
    assert load_run(tmp_path / "run").model is not None
    draw = np.random.default_rng(0)
    for name, times in (("config.json", 400), ("history.npz", 100), ("model.safetensors", 100)):
        file = tmp_path / "run" / name
        data = file.read_bytes()
        for place in draw.choice(len(data), min(times, len(data)), replace=False):
            mask = int(draw.choice([1 << draw.integers(8), draw.integers(1, 256)]))  # one bit, or any other byte
            file.write_bytes(data[:place] + bytes([data[place] ^ mask]) + data[place + 1 :])
            with pytest.raises(FileFormatError) as refused:
                _ = load_run(tmp_path / "run").model
            assert str(file) in str(refused.value)
        file.write_bytes(data)


@pytest.mark.parametrize("name", ["config.json", "history.npz", "model.safetensors"])
@pytest.mark.parametrize("change", ["cut", "longer", "empty"])
def test_every_changed_length_is_refused(tmp_path: Path, name: str, change: str) -> None:
    with_model().save(tmp_path / "run")
    file = tmp_path / "run" / name
    data = file.read_bytes()
    file.write_bytes({"cut": data[:-1], "longer": data + b" ", "empty": b""}[change])
    with pytest.raises(FileFormatError, match=name):
        load_run(tmp_path / "run")


def test_a_run_of_before_the_checksum_is_read(saved: Path) -> None:
    content = json.loads((saved / "config.json").read_text())
    del content["sha256"]
    (saved / "config.json").write_text(json.dumps(content, indent=2))
    assert load_run(saved).config == example_config()


@pytest.mark.parametrize("seal", [None, 3, "", "0" * 64, "é" * 64, ["0"]])
def test_seals_that_are_none(saved: Path, seal: Any) -> None:
    content = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps({**content, "sha256": seal}))
    with pytest.raises(FileFormatError, match=r"config\.json is not the file that was saved"):
        load_run(saved)


def test_text_that_is_not_unicode_is_saved_too(tmp_path: Path) -> None:
    config = example_config()
    config["dataset"]["source"] = os.fsdecode(b"pictures/caf\xe9 \xe2\x82\xac")
    folder = tmp_path / os.fsdecode(b"\xe9")
    Run(example_arrays(), config).save(folder)
    assert load_run(folder).config == config
    assert "\\udce9 €" in (folder / "config.json").read_text(encoding="utf-8")
