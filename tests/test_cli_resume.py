"""`everybatch resume`, and what `everybatch train` says about it."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest

import everybatch as eb
from same_runs import assert_same, interrupt
from test_cli import Call, one_error

TRAIN = ["train", "--network", "lenet5", "--no-download", "--batch-size", "50", "--steps", "6", "--deterministic"]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A file of images in a folder whose name a shell would take apart."""
    data = eb.datasets.glyphs(400, 200)
    (tmp_path / "my data").mkdir()
    path = tmp_path / "my data" / "digits.npz"
    images = np.concatenate((data.train_images, data.test_images))
    labels = np.concatenate((data.train_labels, data.test_labels))
    np.savez(path, images=images, labels=labels)
    return path


@pytest.mark.parametrize("folder", ["runs/it's a run", "-run"])
@pytest.mark.parametrize("data", ["glyphs", "file"])
def test_what_ctrl_c_prints_brings_the_run_to_its_end(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, archive: Path, folder: str, data: str
) -> None:
    monkeypatch.chdir(tmp_path)
    given = ["--data", "glyphs", "--train-images", "300", "--test-images", "100"]
    if data == "file":
        given = ["--data", str(archive), "--keys", "images,labels", "--test-fraction", "0.4", "--train-images", "300"]
    assert call(*TRAIN, *given, "--folder=whole")[0] == 0
    with monkeypatch.context() as patch:
        interrupt(patch)
        code, _, err = call(*TRAIN, *given, f"--folder={folder}")
    assert code == 130
    command = shlex.split(err.strip().splitlines()[-1].partition("go on with: ")[2])
    assert command[0] == "everybatch"
    code, out, err = call(*command[1:])
    assert (code, err) == (0, "")
    assert f"Written to {Path(folder)}." in out
    assert_same(eb.load_run(folder), eb.load_run("whole"))


def test_errors_name_options(call: Call, tmp_path: Path, archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(*TRAIN, "--data", archive, "--keys", "images,labels", "--folder", "run")[0] == 0
    assert "has nothing to go on with: give --epochs or --steps" in one_error(
        call, "resume", "run", "--data", archive, "--keys", "images,labels"
    )
    assert "give --data, with the options" in one_error(call, "resume", "run", "--steps", 8)
    assert "--train-images says how --data is read" in one_error(call, "resume", "run", "--train-images", 300)
