"""What is written is there whole or not at all, nothing is replaced unasked, and errors say what to do."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import everybatch as eb
from everybatch.errors import ArgumentError
from test_run import example_run

RUN_FILES = ("csv", "class_accuracy_csv", "class_lists", "parquet")
MODEL_FILES = ("onnx", "torchscript")
FILES = (*RUN_FILES, *MODEL_FILES)
EVERYTHING = (*FILES, "tensorboard")

Write = Callable[..., None]


def writer(name: str, seed: int = 0) -> Write:
    """Return a function of the path and overwrite alone."""
    given = eb.networks.lenet5().initialize(seed=seed) if name in MODEL_FILES else example_run(seed=seed)

    def write(path: object, **arguments: object) -> None:
        getattr(eb.export, name)(given, path, **arguments)

    return write


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("name", EVERYTHING)
def test_no_folder_is_made(name: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=f"there is no folder {re.escape(str(tmp_path / 'new'))}.*make it"):
        writer(name)(tmp_path / "new" / "file")
    (tmp_path / "text").write_text("mine")
    with pytest.raises(NotADirectoryError, match="text is not a folder"):
        writer(name)(tmp_path / "text" / "file")
    assert names(tmp_path) == ["text"]


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_replaced_only_when_asked(name: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    writer(name)(path)
    first = path.read_bytes()
    with pytest.raises(FileExistsError, match="overwrite=True"):
        writer(name, seed=1)(path)
    assert path.read_bytes() == first
    writer(name, seed=1)(str(path), overwrite=True)
    assert path.read_bytes() != first
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("name", FILES)
def test_a_folder_is_never_replaced(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError, match="folder is a folder"):
        writer(name)(tmp_path / "folder", overwrite=True)


def test_what_is_no_plain_file_is_never_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileExistsError, match="not a plain file"):
        writer("csv")(tmp_path / "pipe", overwrite=True)
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        writer("csv")(tmp_path / "link")


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("name", EVERYTHING)
def test_a_failure_leaves_nothing_behind(
    name: str, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise error

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(type(error)) as caught:
        writer(name)(tmp_path / "file")
    if isinstance(error, OSError):
        assert caught.value.errno == errno.ENOSPC  # type: ignore[attr-defined]
        assert f"could not be saved to {tmp_path / 'file'}: No space left" in str(caught.value)
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", EVERYTHING)
def test_a_failure_keeps_what_was_there(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    writer(name)(path)

    def content() -> dict[str, bytes]:
        return {str(p): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}

    def fail(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    before = content()
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output error"):
        writer(name, seed=1)(path, overwrite=True)
    assert content() == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
@pytest.mark.parametrize("name", EVERYTHING)
def test_a_folder_that_may_not_be_written_to(name: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match="could not be saved"):
        writer(name)(tmp_path / "file")


@pytest.mark.parametrize("name", EVERYTHING)
def test_what_is_no_path_is_refused(name: str) -> None:
    with pytest.raises(TypeError, match="must be a path, not int"):
        writer(name)(3)
    with pytest.raises(ArgumentError, match="must name a"):
        writer(name)("")


@pytest.mark.parametrize("name", EVERYTHING)
def test_overwrite_is_a_bool(name: str, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="overwrite must be True or False"):
        writer(name)(tmp_path / "file", overwrite="yes")
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", MODEL_FILES)
def test_normalize_is_a_bool(name: str, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="normalize must be True or False"):
        writer(name)(tmp_path / "file", normalize=1)
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", EVERYTHING)
def test_a_run_is_no_model_and_a_model_no_run(name: str, tmp_path: Path) -> None:
    if name in MODEL_FILES:
        with pytest.raises(TypeError, match=r"model must be an everybatch Model, not Run: pass run\.model"):
            getattr(eb.export, name)(example_run(), tmp_path / "file")
        with pytest.raises(TypeError, match=r"not Network$"):
            getattr(eb.export, name)(eb.networks.lenet5(), tmp_path / "file")
    else:
        with pytest.raises(TypeError, match="run must be an everybatch Run, not Model"):
            getattr(eb.export, name)(eb.networks.lenet5().initialize(), tmp_path / "file")


@pytest.mark.parametrize(
    ("name", "package"), [("onnx", "onnx"), ("parquet", "pyarrow"), ("tensorboard", "tensorboard")]
)
def test_a_missing_package_is_named_with_the_extra_that_has_it(
    name: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)  # it may have been imported before
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf'needs .*{package}: pip install "everybatch\[{name}\]"$') as caught:
        writer(name)(tmp_path / "file")
    assert isinstance(caught.value.__cause__, ImportError)
    assert names(tmp_path) == []


# ---- TensorBoard's folder --------------------------------------------------------------------------------------------


def test_event_files_are_replaced_only_when_asked(tmp_path: Path) -> None:
    folder = tmp_path / "events"
    writer("tensorboard")(folder)
    (first,) = names(folder)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        writer("tensorboard")(folder)
    assert names(folder) == [first]
    writer("tensorboard")(folder, overwrite=True)
    (second,) = names(folder)
    assert second != first
    assert names(tmp_path) == ["events"]


def test_a_folder_with_anything_else_is_kept(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(FileExistsError, match=r"holds more than event files \('thesis.tex'\)"):
        writer("tensorboard")(tmp_path, overwrite=True)
    (tmp_path / "text").write_text("mine")
    with pytest.raises(FileExistsError, match="not a plain folder"):
        writer("tensorboard")(tmp_path / "text", overwrite=True)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"
