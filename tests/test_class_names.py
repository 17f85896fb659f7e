"""Names that come from a disk or from anywhere: whatever a run is trained on can be saved, exported and loaded."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import everybatch as eb
from everybatch._class_names import as_utf8, plain_text
from everybatch.errors import ArgumentError

IMAGES = np.random.default_rng(0).integers(0, 256, (20, 4, 4), dtype=np.uint8)
LABELS = np.arange(20) % 2
FOLDER = os.fsdecode(b"gr\xf6\xdfe")  # Latin-1, as old disks have it


def data_set(**given: object) -> eb.Dataset:
    return eb.Dataset(IMAGES, LABELS, IMAGES, LABELS, **given)  # type: ignore[arg-type]


def train(data: eb.Dataset, **given: object) -> eb.Run:
    network = eb.Network([eb.Flatten(), eb.Linear(16, 2)], input_shape=(1, 4, 4))
    return eb.train(network, data, steps=2, batch_size=10, progress=False, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "classes",
    [
        ["名前", "שם"],
        [
            "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
            "👩\u200d🔬",
        ],  # joiners control nothing
        ["a,b", 'c"d'],
        ["a/b", "..\\c"],
        ["{0}%s", "<b>$x$</b>"],
        ["NaN", "None"],
        ["x" * 1000, "y" * 1000],
        ["step", "lr"],
        ["a", "A"],
        [" a", "a "],
    ],
)
def test_names_go_through_every_file(tmp_path: Path, classes: list[str]) -> None:
    run = train(data_set(classes=classes))
    run.save(tmp_path / "run")
    loaded = eb.load_run(tmp_path / "run")
    assert list(loaded.classes) == classes
    assert loaded.config == run.config
    eb.export.csv(run, tmp_path / "run.csv")
    eb.export.parquet(run, tmp_path / "run.parquet")
    eb.export.tensorboard(run, tmp_path / "events")
    loaded.model.save(tmp_path / "model.safetensors")
    assert list(loaded.class_accuracy_table()["name"]) == classes


def test_folders_that_are_not_utf8(tmp_path: Path) -> None:
    data = data_set(name=FOLDER, source=f"pictures in /home/{FOLDER}\nand more")
    assert (data.name, data.source) == ("gr\\udcf6\\udcdfe", "pictures in /home/gr\\udcf6\\udcdfe and more")
    run = train(data, checkpoints=tmp_path / FOLDER)
    run.save(tmp_path / f"{FOLDER}.run")
    loaded = eb.load_run(tmp_path / f"{FOLDER}.run")
    assert loaded.config == run.config
    assert list(loaded.checkpoints) == list(run.checkpoints) == [2]
    eb.export.parquet(loaded, tmp_path / f"{FOLDER}.parquet")
    loaded.model.save(tmp_path / f"{FOLDER}.safetensors")
    with pytest.raises(ArgumentError, match="TensorBoard cannot write to"):
        eb.export.tensorboard(loaded, tmp_path / FOLDER / "events")


# UTF-8 that Python took for bytes without meaning, because the system said that all its text was ASCII.
def test_utf8_in_an_ascii_system() -> None:
    assert as_utf8("größe".encode().decode("ascii", "surrogateescape")) == "größe"
    assert data_set(classes=["a", "日本".encode().decode("ascii", "surrogateescape")]).classes == ("a", "日本")
    assert as_utf8(FOLDER) == FOLDER
    assert plain_text("名前\t" + FOLDER).isprintable()


def test_a_config_that_is_no_json_is_refused_before_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("everybatch.training.hardware", lambda _: {"device": object()})
    steps: list[object] = []
    with pytest.raises(ArgumentError, match="config cannot be written as JSON"):
        train(data_set(), callbacks=[steps.append])
    assert steps == []
