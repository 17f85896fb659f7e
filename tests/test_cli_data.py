"""`--data`, `--keys`, `--test-fraction`: the same data as the reader in Python gives; messages name the options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import published_files as published
from everybatch import datasets
from everybatch.cli import main
from everybatch.cli._data import add_data, add_limits, open_data
from everybatch.cli._parser import Parser
from everybatch.dataset import Dataset
from everybatch.errors import EverybatchError

RNG = np.random.default_rng(26)
GREY = RNG.integers(0, 256, (20, 5, 5), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
LABELS = (np.arange(20) % 2).astype(np.uint8)


def opened(*arguments: object) -> Dataset:
    parser = Parser()
    add_data(parser, "mnist")
    add_limits(parser)
    args = parser.parse_args(["--data", *map(str, arguments)])
    return open_data(args, args.data)


def same(data: Dataset, right: Dataset) -> None:
    assert data.fingerprint == right.fingerprint
    assert data.classes == right.classes


def table(path: Path) -> Path:
    rows = np.column_stack([LABELS, GREY.reshape(20, 25)])
    np.savetxt(path, rows, "%d", ",", header=",".join(["label", *(f"pixel{i}" for i in range(25))]), comments="")
    return path


def pictures(root: Path) -> Path:
    for index, (image, label) in enumerate(zip(GREY, LABELS, strict=True)):
        folder = root / "ab"[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{index:02}.png")
    return root


def test_archives(tmp_path: Path) -> None:
    path = tmp_path / "own.npz"
    np.savez(path, a=GREY, b=LABELS, c=GREY[:6], d=LABELS[:6])
    same(opened(path, "--keys", "a,b,c,d"), datasets.from_npz(path, ("a", "b", "c", "d")))
    same(opened(path, "--keys", "a, b"), datasets.from_npz(path, ("a", "b")))
    same(opened(path, "--keys", "a,b", "--test-fraction", 0.4), datasets.from_npz(path, ("a", "b"), test_fraction=0.4))
    parts = {"train": slice(0, 12), "val": slice(12, 14), "test": slice(14, 20)}
    arrays = {f"{part}_images": GREY[keep] for part, keep in parts.items()}
    arrays |= {f"{part}_labels": LABELS[keep, None] for part, keep in parts.items()}
    np.savez(tmp_path / "breastmnist.npz", **arrays)
    same(opened(tmp_path / "breastmnist.npz"), datasets.from_medmnist(tmp_path / "breastmnist.npz"))


def test_tables_and_pictures(tmp_path: Path) -> None:
    path = table(tmp_path / "train.csv")
    same(opened(path), datasets.from_csv(path))
    same(opened(path, "--test-fraction", 0.5), datasets.from_csv(path, test_fraction=0.5))
    root = pictures(tmp_path / "pictures")
    same(opened(root), datasets.from_folder(root))
    same(opened(root, "--test-fraction", 0.3), datasets.from_folder(root, test_fraction=0.3))


def test_published_files(tmp_path: Path) -> None:
    record = published.cifar100(COLOUR, LABELS, LABELS)
    files = {
        "train.bin": record,
        "test.bin": record,
        "coarse_label_names.txt": b"a\nb",
        "fine_label_names.txt": b"c\nd",
    }
    same(opened(published.write(tmp_path / "cifar", files)), datasets.from_cifar(tmp_path / "cifar"))
    mat = published.mat({"X": COLOUR.transpose(1, 2, 3, 0), "y": LABELS[:, None] + np.uint8(1)})
    published.write(tmp_path / "svhn", {"train_32x32.mat": mat, "test_32x32.mat": mat})
    same(opened(tmp_path / "svhn"), datasets.from_svhn(tmp_path / "svhn"))
    parts = ("train", "test")
    idx = {f"emnist-digits-{part}-images-idx3-ubyte": published.idx(GREY) for part in parts}
    idx |= {f"emnist-digits-{part}-labels-idx1-ubyte": published.idx(LABELS) for part in parts}
    same(opened(published.write(tmp_path / "emnist", idx)), datasets.from_emnist(tmp_path / "emnist", "digits"))
    published.write(tmp_path / "root" / "EMNIST" / "raw", idx)
    same(opened(tmp_path / "root"), datasets.from_emnist(tmp_path / "root", "digits"))
    columns = np.column_stack([LABELS, RNG.integers(0, 99, (20, 7))]).astype(np.int32)
    idx = {f"qmnist-{part}-images-idx3-ubyte": published.idx(GREY) for part in parts}
    idx |= {f"qmnist-{part}-labels-idx2-int": published.idx(columns) for part in parts}
    same(opened(published.write(tmp_path / "qmnist", idx, packed=True)), datasets.from_qmnist(tmp_path / "qmnist"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["own.npz", "--keys", "a,b,c"], "--keys.*'a,b,c' is not four names with commas between them, or two"),
        (["own.npz", "--keys", "a,b,c,x"], r"has no x; it has a, b, c, d\. Name the arrays with --keys$"),
        (["own.npz"], r"has no x_train, .* with --keys$"),
        (["own.npz", "--test-fraction", "0.2"], "give --keys IMAGES,LABELS"),
        (["own.npz", "--keys", "a,b,c,d", "--test-fraction", "0.2"], "--test-fraction belongs to two --keys"),
        (["own.npz", "--keys", "a,b", "--test-fraction", "2"], "--test-fraction: 2 is not above 0 and below 1"),
        (["own.npz", "--keys", "a,b", "--test-fraction", "x"], "--test-fraction: 'x' is not a number"),
        (["train.csv", "--keys", "a,b"], "--keys names the arrays of an .npz archive, and .*train.csv is none"),
        (["train.csv", "--image-size", "4x4"], "25 columns of pixels, and 4x4 are 16"),
        (["odd.csv"], "pass --image-size HEIGHTxWIDTH"),
        (["mnist", "--keys", "a,b"], "--keys belongs to files of your own; mnist needs none"),
        (["glyphs", "--test-fraction", "0.1"], "--test-fraction belongs to files of your own"),
        (["split", "--test-fraction", "0.1"], "--test-fraction splits images without a test set, and .*split has one"),
        (["unequal"], "pass --image-size HEIGHTxWIDTH"),
        (["gone.npz"], "is neither a data set"),
        (["page.npz"], r"page\.npz is not an .npz archive: it is a web page"),
    ],
)
def test_messages_name_the_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("own.npz", a=GREY, b=LABELS, c=GREY, d=LABELS)
    table(Path("train.csv"))
    Path("odd.csv").write_text("label,pixel0,pixel1\n0,1,2\n")
    Path("page.npz").write_text("<html>")
    for part in ("train", "test"):
        pictures(Path("split") / part)
    pictures(Path("unequal"))
    Image.fromarray(GREY[0, :3]).save("unequal/a/more.png")
    with pytest.raises((EverybatchError, FileNotFoundError), match=words):
        opened(*arguments)


def test_training_by_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[Any]) -> None:
    images = datasets.glyphs(60, 1).train_images
    np.savez(tmp_path / "own.npz", X=images, y=np.arange(60) % 2)
    small = ["--network", "lenet5", "--batch-size", "20", "--steps", "1", "--keys", "X,y", "--test-fraction", "0.25"]
    assert main(["train", "--data", str(tmp_path / "own.npz"), *small]) == 0
    assert "Data: own, 44 training and 16 test images of 1x28x28, 2 classes" in capsys.readouterr().out
    assert main(["train", "--data", str(tmp_path / "own.npz"), *small[:-2], "--test-fraction", "1"]) != 0
    assert "--test-fraction" in capsys.readouterr().err
