"""Readers of published files, on small files in the published layouts; the right pixels by NumPy from the arrays that
the files were written from."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import published_files as published
from everybatch import datasets
from everybatch.datasets import _locate, _named
from everybatch.datasets._idx_sets import IdxFile, IdxSet
from everybatch.datasets._mat import read_mat
from everybatch.errors import ArgumentError, DataError, FileFormatError, ShapeError

RNG = np.random.default_rng(23)
COLOUR = RNG.integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (52, 6, 4), dtype=np.uint8)
TEN = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


# ---- CIFAR -----------------------------------------------------------------------------------------------------------


def cifar10_files() -> dict[str, bytes]:
    parts = [published.cifar10(COLOUR[2 * i : 2 * i + 2], np.array([2 * i, 2 * i + 1]) % 10) for i in range(6)]
    files = {f"data_batch_{i + 1}.bin": part for i, part in enumerate(parts[:5])}
    return files | {"test_batch.bin": parts[5], "batches.meta.txt": ("\n".join(TEN) + "\n\n").encode()}


def cifar100_files() -> dict[str, bytes]:
    coarse, fine = np.arange(12) % 3, np.arange(12) % 5
    return {
        "train.bin": published.cifar100(COLOUR[:10], coarse[:10], fine[:10]),
        "test.bin": published.cifar100(COLOUR[10:], coarse[10:], fine[10:]),
        "coarse_label_names.txt": b"fish\nflowers\ntrees\n",
        "fine_label_names.txt": b"apple\nbear\ncan\ndolphin\nelm\n",
    }


def tar(path: Path, folder: str, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(f"{folder}/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def test_cifar10(tmp_path: Path) -> None:
    folder = published.write(tmp_path / "cifar-10-batches-bin", cifar10_files())
    archive = tar(tmp_path / "cifar-10-binary.tar.gz", folder.name, cifar10_files())
    for place in (folder, tmp_path, archive, str(archive)):
        data = datasets.from_cifar(place)
        assert np.array_equal(data.train_images, COLOUR[:10])
        assert np.array_equal(data.test_images, COLOUR[10:])
        assert data.train_labels.tolist() == list(range(10))
        assert data.test_labels.tolist() == [0, 1]
        assert (data.name, data.classes) == ("cifar10", tuple(TEN))


def test_cifar100(tmp_path: Path) -> None:
    folder = published.write(tmp_path / "cifar-100-binary", cifar100_files())
    archive = tar(tmp_path / "cifar-100-binary.tar.gz", folder.name, cifar100_files())
    for place in (folder, archive):
        fine, coarse = datasets.from_cifar(place), datasets.from_cifar(place, labels="coarse", name="c")
        assert np.array_equal(fine.train_images, COLOUR[:10])
        assert fine.train_labels.tolist() == (np.arange(10) % 5).tolist()
        assert coarse.train_labels.tolist() == (np.arange(10) % 3).tolist()
        assert fine.classes == ("apple", "bear", "can", "dolphin", "elm")
        assert coarse.classes == ("fish", "flowers", "trees")
        assert (fine.name, coarse.name) == ("cifar100", "c")


def test_cifar_that_is_refused(tmp_path: Path) -> None:
    files = cifar10_files()
    with pytest.raises(FileNotFoundError, match="gone"):
        datasets.from_cifar(tmp_path / "gone")
    for name in files:
        folder = published.write(tmp_path / f"no {name}", {k: v for k, v in files.items() if k != name})
        with pytest.raises(FileFormatError, match=f"cifar10, but lacks {name}"):
            datasets.from_cifar(folder)
    short = published.write(tmp_path / "short", files | {"data_batch_3.bin": files["data_batch_3.bin"][:-1]})
    with pytest.raises(FileFormatError, match=r"data_batch_3\.bin in .* has 6,145 bytes.*3,073"):
        datasets.from_cifar(short)
    other = published.write(tmp_path / "other", files | {"test_batch.bin": b"\x0a" + files["test_batch.bin"][1:]})
    with pytest.raises(FileFormatError, match=r"test_batch\.bin .* image 0 the label 10"):
        datasets.from_cifar(other)
    both = published.write(tmp_path / "both" / "cifar-10-batches-bin", files).parent
    published.write(both / "cifar-100-binary", cifar100_files())
    with pytest.raises(FileFormatError, match="pass one of these"):
        datasets.from_cifar(both)
    pickles = published.write(tmp_path / "cifar-10-batches-py", {"data_batch_1": b"\x80\x02", "batches.meta": b""})
    with pytest.raises(FileFormatError, match="Python version, of pickles, which are never loaded"):
        datasets.from_cifar(pickles)
    with pytest.raises(FileFormatError, match="Python version"):
        datasets.from_cifar(tar(tmp_path / "cifar-10-python.tar.gz", "x", {"data_batch_1": b"\x80\x02"}))
    with pytest.raises(ArgumentError, match="one kind of labels"):
        datasets.from_cifar(tmp_path / "both" / "cifar-10-batches-bin", labels="coarse")
    with pytest.raises(ArgumentError, match="'fine' or 'coarse'"):
        datasets.from_cifar(both, labels="other")  # type: ignore[arg-type]
    page = tmp_path / "cifar-10-binary.tar.gz"
    page.write_text("<!DOCTYPE html><html>404</html>")
    with pytest.raises(FileFormatError, match="it is a web page"):
        datasets.from_cifar(page)


# ---- EMNIST, QMNIST --------------------------------------------------------------------------------------------------


def emnist_files(split: str, labels: np.ndarray) -> dict[str, bytes]:
    files = {}
    for part, keep in (("train", slice(0, 40)), ("test", slice(40, 52))):
        # As published: rows and columns exchanged.
        files[f"emnist-{split}-{part}-images-idx3-ubyte"] = published.idx(GREY[keep].transpose(0, 2, 1).copy())
        files[f"emnist-{split}-{part}-labels-idx1-ubyte"] = published.idx(labels[keep].astype(np.uint8))
    return files


# The characters of each split by its published mapping file (class, codes in ASCII): the first, one in the middle, the
# last.
@pytest.mark.parametrize(
    ("split", "count", "names"),
    [
        ("balanced", 47, {0: "0", 10: "A", 36: "a", 37: "b", 46: "t"}),
        ("bymerge", 47, {9: "9", 35: "Z", 38: "d", 42: "h", 43: "n"}),
        ("byclass", 62, {0: "0", 35: "Z", 36: "a", 61: "z"}),
        ("letters", 26, {0: "a", 25: "z"}),
        ("digits", 10, {0: "0", 9: "9"}),
        ("mnist", 10, {3: "3"}),
    ],
)
@pytest.mark.parametrize("place", [".", "gzip", "EMNIST/raw"])
def test_emnist(tmp_path: Path, split: str, count: int, names: dict[int, str], place: str) -> None:
    numbers = np.arange(52) % count
    files = emnist_files(split, numbers + 1 if split == "letters" else numbers)
    published.write(tmp_path / place, files, packed=place == "gzip")
    data = datasets.from_emnist(tmp_path, split)
    assert np.array_equal(data.train_images, GREY[:40])
    assert np.array_equal(data.test_images, GREY[40:])
    assert np.array_equal(data.train_labels, numbers[:40])
    assert np.array_equal(data.test_labels, numbers[40:])
    assert {number: data.classes[number] for number in names} == names
    assert (data.num_classes, data.name) == (count, f"emnist_{split}")


def test_emnist_that_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="'letters'"):
        datasets.from_emnist(tmp_path, "leters")
    with pytest.raises(FileNotFoundError, match="emnist-mnist-train-images-idx3-ubyte"):
        datasets.from_emnist(tmp_path, "mnist")
    published.write(tmp_path, emnist_files("letters", np.arange(52) % 26))
    with pytest.raises(FileFormatError, match="has the label 0 at index 0, and those of 'letters' go from 1 to 26"):
        datasets.from_emnist(tmp_path, "letters")
    with pytest.raises(NotADirectoryError, match="pass the folder"):
        datasets.from_emnist(tmp_path / "emnist-letters-train-images-idx3-ubyte", "letters")


def qmnist_files() -> tuple[dict[str, bytes], np.ndarray]:
    table = np.column_stack([np.arange(52) % 10, RNG.integers(0, 300_000, (52, 7))]).astype(np.int32)
    files = {
        "qmnist-train-images-idx3-ubyte": published.idx(GREY[:40]),
        "qmnist-train-labels-idx2-int": published.idx(table[:40]),
        "qmnist-test-images-idx3-ubyte": published.idx(GREY[40:]),
        "qmnist-test-labels-idx2-int": published.idx(table[40:]),
    }
    return files, table


@pytest.mark.parametrize("packed", [False, True])
def test_qmnist(tmp_path: Path, packed: bool) -> None:
    files, table = qmnist_files()
    data = datasets.from_qmnist(published.write(tmp_path / "QMNIST/raw", files, packed=packed).parents[1])
    assert np.array_equal(data.train_images, GREY[:40])
    assert np.array_equal(data.train_labels, table[:40, 0])
    assert np.array_equal(data.test_labels, table[40:, 0])
    assert data.classes == tuple("0123456789")


def test_qmnist_that_is_refused(tmp_path: Path) -> None:
    files, _ = qmnist_files()
    name = "qmnist-test-labels-idx2-int"
    for content, words in (
        (files[name][:-1], "is damaged: its header gives the shape"),
        (files[name][:9], "ends inside its header"),
        (b"<html>", "web page"),
        (b"", "is empty"),
        (published.idx(np.full((12, 8), 10, np.int32)), "a digit 0 to 9 first"),
        (struct.pack(">HBB2I", 0, 12, 2, 2**32 - 1, 2**32 - 1), "is damaged"),
    ):
        with pytest.raises(FileFormatError, match=f"{name} .*{words}|{name}: .*{words}"):
            datasets.from_qmnist(published.write(tmp_path, files | {name: content}))
    (tmp_path / name).unlink()
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(files[name])[:-9])
    with pytest.raises(FileFormatError, match=rf"{name}\.gz is a damaged gzip"):
        datasets.from_qmnist(tmp_path)


def test_from_idx_knows_files_that_have_a_reader_of_their_own(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files, _ = qmnist_files()
    paths = [published.write(tmp_path, files) / name for name in files]
    with pytest.raises(FileFormatError, match="read with from_qmnist"):
        datasets.from_idx(*paths)
    files = emnist_files("digits", np.arange(52) % 10)
    paths = [published.write(tmp_path, files) / name for name in files]
    assert np.array_equal(datasets.from_idx(*paths).train_images, GREY[:40].transpose(0, 2, 1))
    assert "from_emnist turns them upright" in caplog.text


# ---- SVHN ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_svhn(tmp_path: Path, packed: bool, order: str) -> None:
    labels = (np.arange(12) % 10 + 1).astype(np.uint8)  # 10 is the digit 0
    for name, keep in (("train", slice(0, 8)), ("test", slice(8, 12)), ("extra", slice(11, 12))):
        arrays = {"X": COLOUR[keep].transpose(1, 2, 3, 0), "y": labels[keep, None]}
        if name == "extra":  # MATLAB drops the last dimension of length one
            arrays["X"] = arrays["X"][..., 0]
        content = published.mat(arrays | {"remark": np.zeros((1, 3), np.uint8)}, packed=packed, order=order)
        (tmp_path / f"{name}_32x32.mat").write_bytes(content)
    data = datasets.from_svhn(tmp_path)
    assert np.array_equal(data.train_images, COLOUR[:8])
    assert np.array_equal(data.test_images, COLOUR[8:])
    assert data.train_labels.tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert data.test_labels.tolist() == [9, 0, 1, 2]
    more = datasets.from_svhn(tmp_path, extra=True)
    assert np.array_equal(more.train_images, COLOUR[[*range(8), 11]])
    assert more.train_labels.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 2]


def test_mat_as_scipy_writes_and_reads_it(tmp_path: Path) -> None:
    scipy_io = pytest.importorskip("scipy.io")
    arrays = {"X": COLOUR, "y": np.arange(5.0)[None], "small": np.array([[1, 2]], np.int16)}
    for packed in (False, True):
        scipy_io.savemat(tmp_path / "x.mat", arrays | {"text": "words", "s": {"a": 1}}, do_compression=packed)
        read = scipy_io.loadmat(tmp_path / "x.mat")
        for name, array in zip(arrays, read_mat(tmp_path / "x.mat", tuple(arrays)), strict=True):
            assert np.array_equal(array, read[name])
            assert array.dtype == read[name].dtype


def test_svhn_that_is_refused(tmp_path: Path) -> None:
    good = {"X": COLOUR.transpose(1, 2, 3, 0), "y": np.ones((12, 1), np.uint8)}
    file = tmp_path / "train_32x32.mat"
    with pytest.raises(FileNotFoundError, match="train_32x32"):
        datasets.from_svhn(tmp_path)
    for content, words in (
        (published.mat({"X": good["X"]}), "has no array y of numbers; it has X"),
        (published.mat(good | {"y": good["y"][:5]}), "5 labels; SVHN's X is"),
        (published.mat(good | {"X": GREY}), r"X of uint8 \(52, 6, 4, 1\)"),
        (published.mat(good | {"y": good["y"] * 11}), "labels from 11 to 11"),
        (published.mat(good)[:-100], "damaged MATLAB file"),
        (b"MATLAB 7.3 MAT-file".ljust(128), "version 7.3"),
        (b"<html>", "web page"),
        (b"", "is empty"),
    ):
        file.write_bytes(content)
        with pytest.raises(FileFormatError, match=words) as refused:
            datasets.from_svhn(tmp_path)
        assert file.name in str(refused.value)


# ---- archives of NumPy -----------------------------------------------------------------------------------------------


def medmnist(path: Path, **changes: Any) -> Path:
    arrays: dict[str, Any] = {}
    for part, keep in (("train", slice(0, 30)), ("val", slice(30, 40)), ("test", slice(40, 52))):
        arrays |= {f"{part}_images": GREY[keep], f"{part}_labels": (np.arange(52)[keep, None] % 4).astype(np.uint8)}
    np.savez_compressed(path, **arrays | changes)
    return path


def test_medmnist(tmp_path: Path) -> None:
    path = medmnist(tmp_path / "bloodmnist.npz")
    data = datasets.from_medmnist(path)
    assert np.array_equal(data.train_images, GREY[:30])
    assert np.array_equal(data.test_images, GREY[40:])
    assert np.array_equal(data.train_labels, np.arange(30) % 4)
    assert np.array_equal(data.test_labels, np.arange(40, 52) % 4)
    assert data.name == "bloodmnist"
    more = datasets.from_medmnist(path, include_val=True)
    assert np.array_equal(more.train_images, GREY[:40])
    assert np.array_equal(more.train_labels, np.arange(40) % 4)
    assert "the last 10 training images" in more.source
    with pytest.raises(FileFormatError, match="read it with from_medmnist"):
        datasets.from_npz(path)


def test_medmnist_that_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    with pytest.raises(DataError, match="14 labels for each image"):
        datasets.from_medmnist(medmnist(path, train_labels=np.zeros((30, 14), np.uint8)))
    with pytest.raises(ShapeError, match="no axis of 1, 3 or 4 channels"):
        datasets.from_medmnist(medmnist(path, train_images=np.zeros((30, 8, 8, 8), np.uint8)))
    with pytest.raises(DataError, match=r"val_images uint8 \(10, 5, 5\)"):
        datasets.from_medmnist(medmnist(path, val_images=np.zeros((10, 5, 5), np.uint8)), include_val=True)


def test_npz_of_two_arrays_is_split(tmp_path: Path) -> None:
    labels = np.repeat([0, 1, 2], [20, 20, 12])
    np.savez(tmp_path / "x.npz", X=GREY, y=labels, names=np.array(["a", "b", "c"])[labels])
    data = datasets.from_npz(tmp_path / "x.npz", ("X", "y"), test_fraction=0.25, seed=3)
    # A quarter of each class, by hand; every image on one side, in its old order.
    assert np.bincount(data.test_labels).tolist() == [5, 5, 3]
    flat = [image.tobytes() for image in GREY]
    test, train = ([flat.index(i.tobytes()) for i in part] for part in (data.test_images, data.train_images))
    assert sorted(test + train) == list(range(52))
    assert test == sorted(test)
    assert train == sorted(train)
    assert np.array_equal(data.test_labels, labels[test])
    assert datasets.from_npz(tmp_path / "x.npz", ("X", "y"), test_fraction=0.25, seed=3).fingerprint == data.fingerprint
    assert datasets.from_npz(tmp_path / "x.npz", ("X", "y"), test_fraction=0.25, seed=4).fingerprint != data.fingerprint
    by_name = datasets.from_npz(tmp_path / "x.npz", ("X", "names"), test_fraction=0.25, seed=3)
    assert (by_name.fingerprint, by_name.classes) == (data.fingerprint, ("a", "b", "c"))
    with pytest.raises(ArgumentError, match="test_fraction splits images of two keys"):
        datasets.from_npz(tmp_path / "x.npz", ("X", "y", "X", "y"), test_fraction=0.2)
    with pytest.raises(TypeError, match="test_fraction must be a number"):
        datasets.from_npz(tmp_path / "x.npz", ("X", "y"), test_fraction="0.2")  # type: ignore[arg-type]
    np.savez(tmp_path / "y.npz", X=GREY[:3], y=[0, 0, 1])
    with pytest.raises(DataError, match="class 1 has one image, number 2"):
        datasets.from_npz(tmp_path / "y.npz", ("X", "y"))


def test_sixteen_greys_in_an_archive(tmp_path: Path) -> None:
    pixels = GREY // 16.0
    np.savez(tmp_path / "digits.npz", X=pixels, y=np.arange(52) % 2)
    data = datasets.from_npz(tmp_path / "digits.npz", ("X", "y"), scale=16)
    assert set(np.unique(data.train_images)) <= set(np.rint(np.arange(17) * 255 / 16))


# ---- Keras's file of MNIST -------------------------------------------------------------------------------------------


def keras_set(monkeypatch: pytest.MonkeyPatch) -> tuple[IdxSet, dict[str, np.ndarray]]:
    arrays = {
        "x_train": GREY[:40],
        "y_train": (np.arange(40) % 3).astype(np.uint8),
        "x_test": GREY[40:],
        "y_test": (np.arange(12) % 3).astype(np.uint8),
    }
    sums = [_locate._content_sha256(array) for array in arrays.values()]
    files = tuple(IdxFile(key, a.shape, s) for (key, a), s in zip(arrays.items(), sums, strict=True))
    monkeypatch.delenv("EVERYBATCH_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/nowhere")
    return IdxSet("toy", "Toy", ("toy",), (), files, ("a", "b", "c"), "toy.npz"), arrays  # type: ignore[arg-type]


@pytest.mark.parametrize("by", ["root", "environment"])
def test_keras_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    toy, arrays = keras_set(monkeypatch)
    np.savez(tmp_path / "toy.npz", **arrays)
    if by == "environment":
        monkeypatch.setenv("EVERYBATCH_DATA", str(tmp_path))
    data = _named.load(toy, tmp_path if by == "root" else None, False)
    assert np.array_equal(data.train_images, GREY[:40])
    assert np.array_equal(data.test_labels, arrays["y_test"])
    assert data.classes == ("a", "b", "c")
    changed = arrays["x_test"].copy()
    changed[0, 0, 0] ^= 1
    for wrong in (changed, arrays["x_test"][:5], arrays["x_test"].astype(np.int64)):
        np.savez(tmp_path / "toy.npz", **arrays | {"x_test": wrong})
        with pytest.raises(FileFormatError, match=r"x_test in .*toy\.npz .* is not Toy's x_test: its checksum differs"):
            _named.load(toy, tmp_path, False)


# ---- tables ----------------------------------------------------------------------------------------------------------


def table(names: bool = True, last: bool = False, count: int = 20, ending: str = "\n") -> tuple[str, np.ndarray]:
    rows = np.column_stack([np.arange(count) % 2, GREY[:count].reshape(count, 24)])
    heads = ["label", *(f"pixel{i}" for i in range(24))]
    if last:
        rows, heads = np.roll(rows, -1, axis=1), ["class" if h == "label" else h for h in np.roll(heads, -1)]
    lines = [",".join(map(str, row)) for row in rows.tolist()]
    return ending.join([",".join(heads)] * names + lines) + ending, rows


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("options", "change"),
    [
        ({}, str),
        ({"names": False}, str),
        ({"last": True}, str),
        ({"ending": "\r\n"}, str),
        ({"ending": "\r"}, str),
        ({"ending": "\n\n"}, str),
        ({}, lambda text: "\ufeff" + text),
        ({}, lambda text: text.replace("label", '"label"').replace("pixel3,", '" pixel3",')),
        ({}, lambda text: text.rstrip("\n")),
    ],
)
def test_tables(tmp_path: Path, options: Any, change: Any, packed: bool) -> None:
    content = change(table(**options)[0]).encode()
    files = published.write(tmp_path, {"train.csv": content, "test.csv": content}, packed=packed)
    paths = [files / (name + ".gz" * packed) for name in ("train.csv", "test.csv")]
    data = datasets.from_csv(*paths, size=(6, 4), classes=["x", "y"])
    for part in (data.train_images, data.test_images):
        assert np.array_equal(part, GREY[:20])
    assert np.array_equal(data.train_labels, np.arange(20) % 2)
    assert (data.name, data.classes) == ("train", ("x", "y"))


def test_a_square_table_is_split(tmp_path: Path) -> None:
    images = RNG.integers(0, 256, (3000, 3, 3))
    rows = np.column_stack([np.arange(3000) % 10, images.reshape(3000, 9)])
    np.savetxt(tmp_path / "train.csv", rows, "%d", ",", header="label,1x1,1x2,1x3,2x1,2x2,2x3,3x1,3x2,3x3", comments="")
    data = datasets.from_csv(tmp_path / "train.csv", test_fraction=0.1)
    assert np.bincount(data.test_labels).tolist() == [30] * 10
    assert data.image_shape == (1, 3, 3)
    kept = {(label, image.tobytes()) for label, image in zip(data.train_labels, data.train_images, strict=True)}
    kept |= {(label, image.tobytes()) for label, image in zip(data.test_labels, data.test_images, strict=True)}
    assert kept == {(i % 10, image.astype(np.uint8).tobytes()) for i, image in enumerate(images)}


def test_tables_that_are_refused(tmp_path: Path) -> None:
    good = table()[0]
    path = tmp_path / "t.csv"
    pixels_only = "\n".join(line.partition(",")[2] for line in good.splitlines())
    lines = good.splitlines()
    for text, words, error in (
        (pixels_only, "no column of labels, only pixels from 'pixel0'.*Kaggle.*give train.csv alone", FileFormatError),
        (good.replace("label", "id"), "no column of the name label or class or target, only 'id'", FileFormatError),
        ("\n".join([*lines[:5], lines[5] + ",7", *lines[6:]]), "line 6 of .* has 26 columns", FileFormatError),
        ("\n".join([*lines[:5], lines[5][:-2], "", "1,2"]), r"line \d of .* columns|number must be", FileFormatError),
        (good.replace("\n1,", "\n1,x", 1), "line 3 of .* has 'x.*' in column 2", FileFormatError),
        (good.replace("\n1,", "\n1,256", 1), "line 3 of .* in column 2|line 3.*256", FileFormatError),
        (good.replace("\n1,", "\n1,-", 1), "line 3 of .* has -", FileFormatError),
        (good.replace("\n1,", "\n1.0,", 1), "line 3 of .* has '1.0' in column 1", FileFormatError),
        (good.replace("\n1,", "\n,", 1), "line 3 of .* has '' in column 1", FileFormatError),
        (good.replace("\n1,", "\n-1,", 1), r"labels\[1\] is -1", DataError),
        (good.replace(",", ";"), "no column of the name|no columns divided by commas", FileFormatError),
        (lines[0], "no images below", FileFormatError),
        (table(names=False)[0].replace("1,", "0,"), "has 0 first in every row", FileFormatError),
        ("", "is empty", FileFormatError),
        ("<!DOCTYPE html>\n<html></html>", "it is a web page", FileFormatError),
        ("PK\x03\x04\0\0", "a zip archive", FileFormatError),
        ("\x1f", "it begins with the bytes 1f", FileFormatError),  # of a gzip file; blank to Python's str, not to bytes
    ):
        path.write_text(text)
        with pytest.raises(error, match=words):
            datasets.from_csv(path, size=(6, 4))
    path.write_text(good)
    with pytest.raises(ShapeError, match=r"24 columns of pixels beside the label, which make no square"):
        datasets.from_csv(path)
    with pytest.raises(ShapeError, match="25"):
        datasets.from_csv(path, size=(5, 5))
    with pytest.raises(ArgumentError, match="test_fraction splits one table"):
        datasets.from_csv(path, path, size=(6, 4), test_fraction=0.3)
    path.write_bytes(b"label,a\n1,\xff\xfe")
    with pytest.raises(FileFormatError, match="not a table of text"):
        datasets.from_csv(path)


def test_a_table_of_columns_without_names(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    rows = np.column_stack([np.arange(20) % 2, GREY[:20].reshape(20, 24)])
    pd.DataFrame(rows).to_csv(tmp_path / "pandas.csv", index=False)  # with the line 0,1,2,...,24
    (tmp_path / "bare.csv").write_text(table(names=False)[0])
    data = datasets.from_csv(tmp_path / "pandas.csv", tmp_path / "bare.csv", size=(6, 4))
    for images, labels in ((data.train_images, data.train_labels), (data.test_images, data.test_labels)):
        assert np.array_equal(images, GREY[:20])
        assert np.array_equal(labels, np.arange(20) % 2)
    pd.DataFrame(np.roll(rows, -1, axis=1) * 0).to_csv(tmp_path / "last.csv", index=False)
    with pytest.raises(FileFormatError, match="has 0 first in every row"):
        datasets.from_csv(tmp_path / "last.csv", size=(6, 4))


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (sorted(f"pixel{i}" for i in range(24)), "the column 'pixel2' after 'pixel19'"),
        (sorted(f"{i}x{j}" for i in range(1, 3) for j in range(1, 13)), "the column '1x2' after '1x12'"),
        ([f"px {i} of 24" for i in (*range(12), *range(12))], "the column 'px 0 of 24' after 'px 11 of 24'"),
        (["pixel0"] * 24, "the column 'pixel0' after 'pixel0'"),
        ([f"pixel{i:04}" for i in range(24)], None),
        ([f"{i}x{j}" for i in range(1, 3) for j in range(1, 13)], None),
        ([f"{letter}{i}" for i in range(12) for letter in "ba"], None),
        (list("zyxwvutsrqponmlkjihgfedc"), None),
    ],
)
def test_columns_by_number(tmp_path: Path, names: list[str], words: str | None) -> None:
    lines = table()[0].splitlines()
    path = tmp_path / "t.csv"
    for label in (0, 24):
        rows = [line.split(",") for line in lines[1:]]
        rows = [[*row[1:], row[0]] if label else row for row in rows]
        heads = [*names[:label], "label", *names[label:]]
        path.write_text("\n".join(",".join(row) for row in [heads, *rows]))
        if words is None:
            images = datasets.from_csv(path, path, size=(6, 4)).train_images
            assert np.array_equal(images, GREY[:20])
            continue
        with pytest.raises(FileFormatError, match=words + ".*put these in the order of their numbers"):
            datasets.from_csv(path, size=(6, 4))


def test_a_zip_archive_is_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "digit-recognizer.zip", "w") as archive:
        archive.writestr("train.csv", table()[0])
    with pytest.raises(FileFormatError, match="it is a zip archive"):
        datasets.from_csv(tmp_path / "digit-recognizer.zip")
