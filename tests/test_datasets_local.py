"""Data sets from files on this machine, and where named sets are looked for."""

from __future__ import annotations

import gzip
import hashlib
import io
import logging
import os
import pickle
import shutil
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from everybatch import _core, datasets
from everybatch.datasets import _builtin, _locate, _named
from everybatch.datasets._idx_sets import MNIST, IdxFile, IdxSet
from everybatch.errors import ArgumentError, DataError, DataWarning, FileFormatError, ShapeError

REAL_MNIST = Path(__file__).resolve().parents[2] / "shared" / "mnist"
RNG = np.random.default_rng(6)
TRAIN = RNG.integers(0, 256, (12, 4, 5), dtype=np.uint8)
TEST = RNG.integers(0, 256, (6, 4, 5), dtype=np.uint8)
ARRAYS = {
    "train-images-idx3-ubyte": TRAIN,
    "train-labels-idx1-ubyte": np.arange(12, dtype=np.uint8) % 3,
    "t10k-images-idx3-ubyte": TEST,
    "t10k-labels-idx1-ubyte": np.arange(6, dtype=np.uint8) % 3,
}


def idx_bytes(array: np.ndarray) -> bytes:
    # The format as its author describes it: two zeros, type 8, dimensions, lengths in big-endian, values.
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def toy_set(*, by_gzip: bool = False) -> IdxSet:
    packed = {stem: gzip.compress(idx_bytes(array), mtime=0) for stem, array in ARRAYS.items()}
    files = tuple(
        IdxFile(stem, a.shape, gzip_sha256=sha256(packed[stem]))
        if by_gzip
        else IdxFile(stem, a.shape, content_sha256=sha256(idx_bytes(a)))
        for stem, a in ARRAYS.items()
    )
    return IdxSet("toy", "Toy", ("toy", "TOY/raw"), (), files, ("a", "b", "c"))  # type: ignore[arg-type]


def write(folder: Path, ending: str = ".gz", dot: bool = False, skip: str = "", flip: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for stem, array in ARRAYS.items():
        if stem == skip:
            continue
        content = bytearray(idx_bytes(array))
        content[-1] ^= stem == flip
        name = (stem.replace("-idx", ".idx") if dot else stem) + ending
        body = gzip.compress(bytes(content), mtime=0) if ending else bytes(content)
        (folder / name).write_bytes(body)
    return folder


@pytest.fixture(autouse=True)
def _clean_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EVERYBATCH_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


# Where named sets are found.


@pytest.mark.parametrize("place", [".", "toy", "TOY/raw"])
@pytest.mark.parametrize("by", ["root", "environment", "cache"])
def test_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, by: str) -> None:
    base = tmp_path / "data"
    folder = write(base / place)
    root = None
    if by == "root":
        root = base
    elif by == "environment":
        monkeypatch.setenv("EVERYBATCH_DATA", str(base))
    else:
        shutil.move(folder, tmp_path / "cache" / "everybatch" / "toy")
        folder = tmp_path / "cache" / "everybatch" / "toy"
    data = _named.load(toy_set(), root, False)
    assert np.array_equal(data.train_images, TRAIN)
    assert np.array_equal(data.test_images, TEST)
    assert data.source == f"Toy, read from {folder}"


@pytest.mark.parametrize("dot", [False, True])
@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("by_gzip", [False, True])
def test_spellings(tmp_path: Path, ending: str, dot: bool, by_gzip: bool) -> None:
    data = _named.load(toy_set(by_gzip=by_gzip), write(tmp_path / "x", ending, dot), False)
    assert np.array_equal(data.train_images, TRAIN)


def test_order_of_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "cache" / "everybatch" / "toy")
    assert "cache" in _named.load(toy_set(), None, False).source
    monkeypatch.setenv("EVERYBATCH_DATA", str(write(tmp_path / "environment")))
    assert "environment" in _named.load(toy_set(), None, False).source
    root = write(tmp_path / "root")
    assert "root" in _named.load(toy_set(), root, False).source


def test_a_root_without_the_set_is_mentioned(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cached = write(tmp_path / "cache" / "everybatch" / "toy")
    data = _named.load(toy_set(), tmp_path / "typo", False)
    assert data.source == f"Toy, read from {cached}"
    assert caplog.messages == [f"Toy is not in {tmp_path / 'typo'}; using the copy in {cached}"]


def test_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERYBATCH_DATA", str(tmp_path / "gone"))
    partial = write(tmp_path / "partial", skip="t10k-labels-idx1-ubyte")
    with pytest.raises(FileNotFoundError) as failure:
        _named.load(toy_set(), partial, False)
    text = str(failure.value)
    assert f"{partial} (lacks t10k-labels-idx1-ubyte)" in text
    assert f"{tmp_path / 'gone'} (no such folder)" in text
    assert str(tmp_path / "cache" / "everybatch" / "toy") in text
    assert "train-images-idx3-ubyte.gz" in text


def test_a_root_that_is_a_file(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(NotADirectoryError, match="pass the folder"):
        _named.load(toy_set(), tmp_path / "train-images-idx3-ubyte.gz", False)


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_a_file_with_another_checksum_is_named(tmp_path: Path, ending: str) -> None:
    folder = write(tmp_path / "x", ending, flip="t10k-images-idx3-ubyte")
    with pytest.raises(FileFormatError, match=r"t10k-images-idx3-ubyte.*is not Toy's.*checksum differs"):
        _named.load(toy_set(), folder, True)


def test_a_file_of_another_shape_is_named_even_without_a_checksum(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", "")
    (folder / "t10k-images-idx3-ubyte").write_bytes(idx_bytes(TEST[:5]))
    with pytest.raises(FileFormatError, match=r"t10k-images-idx3-ubyte \(shape \(5, 4, 5\)\)"):
        _named.load(toy_set(by_gzip=True), folder, False)


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "x")
    path = folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(FileFormatError, match=r"train-images-idx3-ubyte\.gz"):
        _named.load(toy_set(), folder, False)


def test_a_folder_of_another_set_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Both sets use the same file names, so EVERYBATCH_DATA naming one set's folder must not break the other.
    other = toy_set()
    monkeypatch.setattr(_locate, "SETS", (other,))
    digit = {f.stem: f.shape for f in other.files}
    files = tuple(IdxFile(stem, shape, "0" * 64) for stem, shape in digit.items())
    wanted = IdxSet("wanted", "Wanted", ("wanted",), (), files, ("a", "b", "c"))  # type: ignore[arg-type]
    folder = write(tmp_path / "x")
    monkeypatch.setenv("EVERYBATCH_DATA", str(folder))
    with pytest.raises(FileNotFoundError, match=r"x \(holds Toy\)"):
        _named.load(wanted, None, False)


def test_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert _locate.cache_folder(MNIST) == tmp_path / "cache" / "everybatch" / "mnist"
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for ignored in ("", "relative/path"):
        monkeypatch.setenv("XDG_CACHE_HOME", ignored)
        assert _locate.cache_folder(MNIST) == tmp_path / "home" / ".cache" / "everybatch" / "mnist"


def test_a_tilde_is_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "digits")
    assert np.array_equal(_named.load(toy_set(), "~/digits", False).train_images, TRAIN)
    monkeypatch.setenv("EVERYBATCH_DATA", "~/digits")
    assert np.array_equal(_named.load(toy_set(), None, False).train_images, TRAIN)


# Real MNIST.


@pytest.mark.mnist
@pytest.mark.skipif(not REAL_MNIST.is_dir(), reason="needs MNIST beside the project")
def test_real_mnist(monkeypatch: pytest.MonkeyPatch) -> None:
    data = datasets.mnist(REAL_MNIST, download=False)
    assert data.train_images.shape == (60_000, 28, 28)
    assert data.test_images.shape == (10_000, 28, 28)
    # Counts of the digits as published with the data set.
    assert np.bincount(data.train_labels).tolist() == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949,
    ]  # fmt: skip
    assert data.train_labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    # The figures everyone normalises MNIST with.
    assert round(data.mean[0], 4) == 0.1307
    assert round(data.std[0], 4) == 0.3081
    assert data.classes == tuple("0123456789")
    assert data.name == "mnist"
    monkeypatch.setenv("EVERYBATCH_DATA", str(REAL_MNIST.parent))
    assert datasets.default().fingerprint == data.fingerprint


@pytest.mark.mnist
@pytest.mark.skipif(not REAL_MNIST.is_dir(), reason="needs MNIST beside the project")
def test_mnist_is_not_taken_for_another_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for load in (datasets.fashion_mnist, datasets.kmnist):
        with pytest.raises(FileNotFoundError, match=r"mnist \(holds MNIST\)"):
            load(REAL_MNIST, download=False)


# The built-in digits.


def test_glyphs() -> None:
    data = datasets.glyphs(train=200, test=50, seed=3)
    assert data.train_images.shape == (200, 28, 28)
    assert data.test_images.shape == (50, 28, 28)
    assert data.num_classes == 10
    assert data.name == "glyphs"
    assert data.source == "built-in glyph digits, drawn with seed 3"
    assert data.fingerprint == datasets.glyphs(200, 50, 3).fingerprint
    assert data.fingerprint != datasets.glyphs(200, 50, 4).fingerprint
    assert not np.array_equal(data.train_images[:50], data.test_images)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"train": 0}, ArgumentError),
        ({"test": -1}, ArgumentError),
        ({"seed": -1}, ArgumentError),
        ({"seed": 2**64}, ArgumentError),
        ({"train": 10.0}, TypeError),
        ({"test": True}, TypeError),
    ],
)
def test_glyphs_that_are_refused(options: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=next(iter(options))):
        datasets.glyphs(**options)


def test_how_many_glyphs_there_may_be() -> None:
    for number in (0, 10_000_001, 10**11, 2**70):  # the core's limit
        with pytest.raises(ArgumentError, match=f"train must be from 1 to 10,000,000, not {number}"):
            datasets.glyphs(train=number)
    numpys = datasets.glyphs(np.int64(20), np.uint8(5), np.int32(3))  # type: ignore[arg-type]
    assert numpys.fingerprint == datasets.glyphs(20, 5, 3).fingerprint


@pytest.fixture
def few_glyphs(monkeypatch: pytest.MonkeyPatch) -> None:
    real = _core.glyphs
    monkeypatch.setattr(_core, "glyphs", lambda count, seed, stream: real(count // 100, seed, stream))


@pytest.mark.usefixtures("few_glyphs")
def test_default_falls_back_to_the_glyphs_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = datasets.default()
    cache = tmp_path / "cache" / "everybatch" / "mnist"
    assert data.name == "glyphs"
    assert data.source.endswith(f"because MNIST was not in {cache} (no such folder)")
    assert [(record.name, record.levelno) for record in caplog.records] == [("everybatch", logging.WARNING)]
    assert caplog.messages == [
        f"MNIST is not on this machine (looked in {cache} (no such folder)): using the built-in glyph digits instead"
    ]


@pytest.mark.usefixtures("few_glyphs")
def test_default_does_not_hide_a_damaged_mnist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_builtin, "MNIST", toy_set())
    assert datasets.default(write(tmp_path / "good")).name == "toy"
    assert caplog.messages == []
    with pytest.raises(FileFormatError, match="checksum"):
        datasets.default(write(tmp_path / "bad", flip="train-labels-idx1-ubyte"))


# IDX files of one's own.


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_from_idx(tmp_path: Path, ending: str) -> None:
    write(tmp_path, ending)
    paths = [tmp_path / (stem + ending) for stem in ARRAYS]
    data = datasets.from_idx(*paths, classes=["x", "y", "z"], mean=0.5, std=0.25, name="mine")
    assert np.array_equal(data.train_images, TRAIN)
    assert np.array_equal(data.test_images, TEST)
    assert (data.name, data.classes, data.mean, data.std) == ("mine", ("x", "y", "z"), (0.5,), (0.25,))
    assert data.source == f"IDX files in {tmp_path}"


def test_from_idx_that_is_refused(tmp_path: Path) -> None:
    write(tmp_path)
    paths = [str(tmp_path / f"{stem}.gz") for stem in ARRAYS]
    with pytest.raises(FileNotFoundError, match="absent"):
        datasets.from_idx(str(tmp_path / "absent"), *paths[1:])
    with pytest.raises(ShapeError, match="train_labels has shape"):
        datasets.from_idx(paths[0], paths[0], *paths[2:])
    (tmp_path / "text").write_text("not an IDX file")
    with pytest.raises(FileFormatError, match="text"):
        datasets.from_idx(paths[0], tmp_path / "text", *paths[2:])


# NumPy archives.


def arrays(*keys: str) -> dict[str, Any]:
    return dict(zip(keys, ARRAYS.values(), strict=True))


def test_from_npz(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "keras.npz", **arrays("x_train", "y_train", "x_test", "y_test"))
    data = datasets.from_npz(tmp_path / "keras.npz", classes=["x", "y", "z"], name="mine")
    assert np.array_equal(data.train_images, TRAIN)
    assert np.array_equal(data.test_labels, ARRAYS["t10k-labels-idx1-ubyte"])
    assert (data.name, data.classes) == ("mine", ("x", "y", "z"))
    np.savez(tmp_path / "own.npz", **arrays("a", "b", "c", "d"))
    again = datasets.from_npz(str(tmp_path / "own.npz"), keys=("a", "b", "c", "d"))
    assert again.fingerprint == data.fingerprint


def test_from_npz_that_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    with pytest.raises(FileNotFoundError, match=r"x\.npz"):
        datasets.from_npz(path)
    np.savez(path, **arrays("x_train", "y_train", "images", "labels"))
    with pytest.raises(FileFormatError, match=r"has no x_test, y_test; it has x_train, y_train, images, labels"):
        datasets.from_npz(path)
    with pytest.raises(ArgumentError, match="four names"):
        datasets.from_npz(path, keys=("x", "y", "z"))
    good = path.read_bytes()
    for bad in (b"", b"text", good[:200], good[: len(good) // 2]):
        path.write_bytes(bad)
        with pytest.raises(FileFormatError, match=r"x\.npz"):
            datasets.from_npz(path)
    np.save(tmp_path / "single.npy", TRAIN)
    with pytest.raises(FileFormatError, match="single array"):
        datasets.from_npz(tmp_path / "single.npy")


def test_from_npz_notices_entries_of_no_bytes(tmp_path: Path) -> None:
    def named(shape: tuple[int, ...], dtype: str) -> bytes:
        file = io.BytesIO()
        np.lib.format.write_array_header_1_0(file, {"shape": shape, "fortran_order": False, "descr": dtype})
        return file.getvalue()

    for dtype in ("|S0", "<U0", "|V0"):
        path = tmp_path / "x.npz"
        np.savez(path, x_train=TRAIN, x_test=TRAIN, y_test=np.arange(len(TRAIN)))
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("y_train.npy", named((10**9,), dtype))
        with pytest.raises(FileFormatError, match=r"y_train.*is damaged: .*1,000,000,000 entries of no bytes"):
            datasets.from_npz(path)


def test_from_npz_notices_damage_inside(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, **arrays("x_train", "y_train", "x_test", "y_test"))
    body = bytearray(path.read_bytes())
    body[200] ^= 1  # within the first array's pixels: the archive's own checksum finds it
    path.write_bytes(bytes(body))
    with pytest.raises(FileFormatError, match=r"'x_train' in .*x\.npz is damaged"):
        datasets.from_npz(path)


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (self.path,)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    (tmp_path / "pickle.npz").write_bytes(pickle.dumps(Trap(str(sprung))))
    held = np.empty(1, object)
    held[0] = Trap(str(sprung))
    parts = arrays("x_train", "y_train", "x_test", "y_test") | {"y_test": held}
    np.savez(tmp_path / "object.npz", **parts)
    for name in ("pickle.npz", "object.npz"):
        with pytest.raises(FileFormatError, match=name):
            datasets.from_npz(tmp_path / name)
    assert not sprung.exists()


# Folders of pictures.


def pictures(root: Path, count: int = 5, mode: str = "L", size: tuple[int, int] = (7, 5)) -> Path:
    image = pytest.importorskip("PIL.Image")
    for c, name in enumerate(("cat", "ant", "bee")):
        (root / name).mkdir(parents=True)
        for i in range(count):
            colour = 20 * i + 90 * c if mode == "L" else (20 * i, 90 * c, 7)
            image.new(mode, size, colour).save(root / name / f"{i}.png")
    return root


def test_from_folder_with_train_and_test(tmp_path: Path) -> None:
    root = tmp_path / "animals"
    pictures(root / "train")
    pictures(root / "test", 2)
    data = datasets.from_folder(root)
    assert data.classes == ("ant", "bee", "cat")
    assert data.train_images.shape == (15, 5, 7)
    # By hand: ant was written as class 1, so its pictures are 90, 110, ...; bee's start at 180, cat's at 0.
    assert data.train_images[:, 0, 0].tolist() == [
        90,
        110,
        130,
        150,
        170,
        180,
        200,
        220,
        240,
        255,
        0,
        20,
        40,
        60,
        80,
    ]
    assert data.train_labels.tolist() == [0] * 5 + [1] * 5 + [2] * 5
    assert data.test_labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert data.name == "animals"
    assert str(root) in data.source


def test_from_folder_splits(tmp_path: Path) -> None:
    root = pictures(tmp_path / "animals", 10)
    data = datasets.from_folder(root, test_fraction=0.3, seed=1)
    assert np.bincount(data.train_labels).tolist() == [7, 7, 7]
    assert np.bincount(data.test_labels).tolist() == [3, 3, 3]
    seen = np.concatenate([data.train_images, data.test_images])[:, 0, 0]
    whole = np.concatenate([data.train_labels, data.test_labels])
    for c, start in enumerate((90, 180, 0)):  # every picture on exactly one side
        assert sorted(seen[whole == c].tolist()) == [min(start + 20 * i, 255) for i in range(10)]
    assert datasets.from_folder(root, test_fraction=0.3, seed=1).fingerprint == data.fingerprint
    assert datasets.from_folder(root, test_fraction=0.3, seed=2).fingerprint != data.fingerprint
    for fraction in (0.001, 0.999):  # never an empty side
        extreme = datasets.from_folder(root, test_fraction=fraction)
        assert min(np.bincount(extreme.train_labels)) == 10 - max(np.bincount(extreme.test_labels)) >= 1


def test_from_folder_modes_and_size(tmp_path: Path) -> None:
    colour = pictures(tmp_path / "colour", mode="RGB")
    assert datasets.from_folder(colour).image_shape == (3, 5, 7)
    assert datasets.from_folder(colour).train_images[0, 0, 0].tolist()[1:] == [90, 7]
    assert datasets.from_folder(colour, mode="L").image_shape == (1, 5, 7)
    assert datasets.from_folder(colour, size=(8, 4)).image_shape == (3, 8, 4)
    assert datasets.from_folder(pictures(tmp_path / "grey"), mode="RGB").image_shape == (3, 5, 7)


def test_from_folder_passes_over_hidden_and_other_files(tmp_path: Path) -> None:
    root = pictures(tmp_path / "animals")
    (root / ".hidden").mkdir()
    (root / "ant" / ".0.png").write_bytes(b"hidden")
    (root / "ant" / "notes.txt").write_text("no picture")
    (root / "list.csv").write_text("no folder")
    with pytest.warns(DataWarning, match=r"1 \.txt"):
        data = datasets.from_folder(root)
    assert data.classes == ("ant", "bee", "cat")
    assert len(data.train_labels) + len(data.test_labels) == 15


def test_from_folder_sizes_must_agree(tmp_path: Path) -> None:
    root = pictures(tmp_path / "animals")
    pictures(tmp_path / "large", 1, size=(9, 9))
    shutil.copy(tmp_path / "large" / "bee" / "0.png", root / "bee" / "9.png")
    with pytest.raises(ShapeError, match=r"9\.png is 9x9 .* but .*\.png is 5x7"):
        datasets.from_folder(root, test_fraction=0.01)
    assert datasets.from_folder(root, size=(5, 7)).image_shape == (1, 5, 7)


@pytest.mark.parametrize("cut", [0, 20, 60])
def test_from_folder_names_a_picture_that_cannot_be_read(tmp_path: Path, cut: int) -> None:
    root = pictures(tmp_path / "animals", size=(40, 40))
    path = root / "bee" / "3.png"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(FileFormatError, match=r"bee/3\.png cannot be read"):
        datasets.from_folder(root)
    with pytest.raises(FileFormatError, match=r"bee/3\.png cannot be read"):
        datasets.from_folder(root, mode="L")


def test_from_folder_refuses_pictures_of_unknown_range(tmp_path: Path) -> None:
    root = pictures(tmp_path / "animals")
    image = pytest.importorskip("PIL.Image")
    image.fromarray(np.full((5, 7), 0.5, np.float32)).save(root / "bee" / "3.tif")
    with pytest.raises(FileFormatError, match=r"bee/3\.tif has more than 16 bits"):
        datasets.from_folder(root)


def test_from_folder_layouts_that_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist"):
        datasets.from_folder(tmp_path / "absent")
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="is a file"):
        datasets.from_folder(tmp_path / "file")
    (tmp_path / "one" / "ant").mkdir(parents=True)
    with pytest.raises(DataError, match="1 class folders"):
        datasets.from_folder(tmp_path / "one")
    (tmp_path / "one" / "bee").mkdir()
    with pytest.raises(DataError, match="ant has no pictures"):
        datasets.from_folder(tmp_path / "one")
    with pytest.raises(DataError, match="one picture"):
        datasets.from_folder(pictures(tmp_path / "single", 1))
    half = tmp_path / "half"
    pictures(half / "train")
    with pytest.raises(DataError, match="has a folder train but no test"):
        datasets.from_folder(half)
    pictures(half / "test")
    (half / "test" / "bee").rename(half / "test" / "wasp")
    with pytest.raises(DataError, match="the classes wasp"):
        datasets.from_folder(half)


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "CMYK"},
        {"size": 28},
        {"size": (0, 5)},
        {"test_fraction": 0},
        {"test_fraction": 1},
        {"seed": -1},
    ],
)
def test_from_folder_options_that_are_refused(tmp_path: Path, options: Any) -> None:
    root = pictures(tmp_path / "animals")
    with pytest.raises(ArgumentError, match=next(iter(options))):
        datasets.from_folder(root, **options)


@pytest.mark.parametrize("fraction", ["0.2", None, True, [0.2]])
def test_a_test_fraction_that_is_no_number(tmp_path: Path, fraction: Any) -> None:
    root = pictures(tmp_path / "animals")
    with pytest.raises(TypeError, match="test_fraction must be a number, not"):
        datasets.from_folder(root, test_fraction=fraction)


def test_from_folder_without_pillow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match="pip install pillow"):
        datasets.from_folder(tmp_path)
