"""Damaged files of every format: an error that names the file, or what is still in them; never a crash or garbage."""

from __future__ import annotations

import csv
import io
import os
import re
import struct
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import published_files as published
from everybatch import datasets
from everybatch.dataset import Dataset
from everybatch.datasets._mat import read_mat
from everybatch.datasets._npy import read_npy
from everybatch.errors import EverybatchError, FileFormatError

RNG = np.random.default_rng(24)
PIXELS = RNG.integers(0, 256, (8, 4, 4), dtype=np.uint8)
LABELS = (np.arange(8) % 2).astype(np.uint8)
COLOUR = RNG.integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
ARRAYS = {"x_train": PIXELS, "y_train": LABELS, "x_test": PIXELS, "y_test": LABELS}
COUNT = 100


def damaged(good: bytes, count: int = COUNT) -> Iterator[bytes]:
    """Copies of `good` with bytes changed, cut off, left out, repeated or put in; the beginning more often."""
    for seed in range(count):
        rng = np.random.default_rng(seed)
        body = bytearray(good)
        for _ in range(rng.integers(1, 4)):
            at = int(rng.integers(len(body)) * rng.choice([1.0, 0.1]))
            length = int(rng.integers(1, 20))
            kind = rng.integers(5)
            if kind == 0:
                body[at] ^= 1 << int(rng.integers(8))
            elif kind == 1:
                del body[at:]
            elif kind == 2:
                del body[at : at + length]
            elif kind == 3:
                body[at:at] = body[at : at + length]
            else:
                body[at : at + length] = rng.bytes(length)
            if not body:
                break
        yield bytes(body)


def check(
    path: Path, good: bytes, read: Callable[[], Dataset], parse: Callable[[bytes], Any], count: int = COUNT
) -> int:
    """Read damaged copies; what can be read must equal what `parse`, an independent reader, finds in them."""
    refused = 0
    for body in damaged(good, count):
        path.write_bytes(body)
        message = ""
        try:
            data = read()
        except (EverybatchError, TypeError) as error:
            message = str(error)
        if message:
            refused += 1
            assert path.name in message or re.match(r"(train|test)?_?(images|labels)", message), message
        else:
            images, labels = parse(body)
            assert np.array_equal(data.train_images, images)
            assert np.array_equal(data.train_labels, labels)
    return refused


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(tmp_path: Path, save: Any) -> None:
    held = io.BytesIO()
    save(held, **ARRAYS)
    # Every array has a check sum: what can be read is what was written.
    path = tmp_path / "x.npz"
    assert check(path, held.getvalue(), lambda: datasets.from_npz(path), lambda _: (PIXELS, LABELS)) > COUNT / 2


def test_npy(tmp_path: Path) -> None:
    held = io.BytesIO()
    np.save(held, PIXELS)
    path = tmp_path / "x.npy"
    for body in damaged(held.getvalue()):
        path.write_bytes(body)
        message = ""
        try:
            array = read_npy(path)
        except FileFormatError as error:
            message = str(error)
        if message:
            assert "x.npy" in message
        else:  # NumPy's own reader
            assert np.array_equal(array, np.load(path, allow_pickle=False), equal_nan=array.dtype.kind == "f")


def test_idx(tmp_path: Path) -> None:
    def parse(body: bytes) -> Any:
        shape = struct.unpack_from(f">{body[3]}I", body, 4)
        array = np.frombuffer(body, np.uint8, offset=4 + 4 * body[3]).reshape(shape)
        return (array[..., 0] if array.ndim == 4 and array.shape[3] == 1 else array), LABELS

    names = published.write(tmp_path, {name: published.idx(array) for name, array in ARRAYS.items()})
    paths = [names / name for name in ARRAYS]
    check(paths[0], published.idx(PIXELS), lambda: datasets.from_idx(*paths), parse)
    published.write(tmp_path, {"x_train": published.idx(PIXELS)})
    labels = published.idx(LABELS)
    check(
        paths[1], labels, lambda: datasets.from_idx(*paths), lambda body: (PIXELS, np.frombuffer(body, "u1", offset=8))
    )


def test_qmnist(tmp_path: Path) -> None:
    table = np.column_stack([LABELS, RNG.integers(0, 3000, (8, 7))]).astype(np.int32)
    for part in ("train", "test"):
        files = {"images-idx3-ubyte": published.idx(PIXELS), "labels-idx2-int": published.idx(table)}
        published.write(tmp_path, {f"qmnist-{part}-{name}": content for name, content in files.items()})
    path = tmp_path / "qmnist-train-labels-idx2-int"

    def parse(body: bytes) -> Any:
        shape = struct.unpack_from(">2I", body, 4)
        return PIXELS, np.frombuffer(body, [">i4", "u1"][body[2] == 8], offset=12).reshape(shape)[:, 0]

    assert check(path, published.idx(table), lambda: datasets.from_qmnist(tmp_path), parse) > COUNT / 3


def test_csv(tmp_path: Path) -> None:
    rows = [["label", *(f"pixel{i}" for i in range(16))]]
    rows += [list(map(str, row)) for row in np.column_stack([LABELS, PIXELS.reshape(8, 16)]).tolist()]
    good = "\n".join(",".join(row) for row in rows).encode()
    path, test = tmp_path / "x.csv", tmp_path / "test.csv"
    test.write_bytes(good)

    def parse(body: bytes) -> Any:
        lines = [line for line in csv.reader(io.StringIO(body.decode(), newline=None)) if any(line)]
        at = [name.strip().lower() for name in lines[0]].index("label") if not lines[0][0].isdigit() else 0
        numbers = [list(map(int, line)) for line in lines[not lines[0][0].isdigit() :]]
        labels = [line.pop(at) for line in numbers]
        return np.array(numbers).reshape(-1, 4, 4), labels

    assert check(path, good, lambda: datasets.from_csv(path, test), parse) > COUNT / 3


def test_cifar(tmp_path: Path) -> None:
    good = published.cifar100(COLOUR, LABELS, LABELS)
    names = {"coarse_label_names.txt": b"a\nb\n", "fine_label_names.txt": b"a\nb\n"}
    published.write(tmp_path, {"train.bin": good, "test.bin": good} | names)

    def parse(body: bytes) -> Any:
        images = [
            np.stack([np.frombuffer(body, "u1", 1024, at + 2 + 1024 * c).reshape(32, 32) for c in range(3)], axis=-1)
            for at in range(0, len(body), 3074)
        ]
        return np.stack(images), [body[at + 1] for at in range(0, len(body), 3074)]

    check(tmp_path / "train.bin", good, lambda: datasets.from_cifar(tmp_path), parse, 60)


@pytest.mark.parametrize("packed", [True, False])
def test_svhn(tmp_path: Path, packed: bool) -> None:
    good = published.mat({"X": COLOUR.transpose(1, 2, 3, 0), "y": LABELS[:, None]}, packed=packed)
    published.write(tmp_path, {"train_32x32.mat": good, "test_32x32.mat": good})

    def parse(body: bytes) -> Any:
        if packed:  # zlib's check sum: what can be read is what was written
            return COLOUR, LABELS
        at = body.index(b"X\0\0\0") + 12
        pixels = np.frombuffer(body, "u1", COLOUR.size, at).reshape(8, 3, 32, 32).transpose(0, 3, 2, 1)
        return pixels, np.frombuffer(body, "u1", 8, body.index(b"y\0\0\0") + 12) % 10

    check(tmp_path / "train_32x32.mat", good, lambda: datasets.from_svhn(tmp_path), parse, 60)


def test_cifar_archives(tmp_path: Path) -> None:
    record = published.cifar100(COLOUR, LABELS, LABELS)
    files = {"train.bin": record, "test.bin": record} | {
        f"{kind}_label_names.txt": b"a\nb\n" for kind in ("coarse", "fine")
    }
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w:gz") as packed:
        for name, content in files.items():
            info = tarfile.TarInfo(f"cifar-100-binary/{name}")
            info.size = len(content)
            packed.addfile(info, io.BytesIO(content))
    path = tmp_path / "cifar-100-binary.tar.gz"
    refused = check(path, held.getvalue(), lambda: datasets.from_cifar(path), lambda _: (COLOUR, LABELS), 60)
    assert refused > 30


@pytest.mark.parametrize("name", ["x.npz", "x.csv", "x.tar.gz", "x.mat", "x.npy", "train-images-idx3-ubyte"])
def test_a_pipe_is_not_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    path = tmp_path / name
    with pytest.raises((FileFormatError, FileNotFoundError), match=re.escape(name)):
        {
            ".npz": datasets.from_npz,
            ".csv": datasets.from_csv,
            ".gz": datasets.from_cifar,
            ".mat": lambda _: read_mat(path, ("X",)),
            ".npy": read_npy,
        }.get(path.suffix, lambda _: datasets.from_idx(path, path, path, path))(path)


# Headers that lie, and archives that cannot be opened.


def archive(path: Path, change: Callable[[bytes], bytes] = bytes, **options: Any) -> Path:
    with zipfile.ZipFile(path, "w", **options) as packed:
        for name, array in ARRAYS.items():
            held = io.BytesIO()
            np.save(held, array)
            packed.writestr(f"{name}.npy", change(held.getvalue()))
    return path


def test_a_header_that_claims_713_tebibytes(tmp_path: Path) -> None:
    def claim(body: bytes) -> bytes:
        wanted = b"(784000000, 1000000)"
        return re.sub(rb"\(8,[ 0-9,]*\)(, \}) {%d}" % (len(wanted) - 9), wanted + rb"\1", body)

    path = archive(tmp_path / "x.npz", claim)
    with pytest.raises(FileFormatError, match=r"'x_train' in .*x\.npz is damaged: .*784,000,000,000,000 bytes"):
        datasets.from_npz(path)
    held = io.BytesIO()
    np.save(held, PIXELS)
    (tmp_path / "x.npy").write_bytes(claim(held.getvalue()))
    with pytest.raises(FileFormatError, match=r"x\.npy is damaged: .*784,000,000,000,000 bytes"):
        read_npy(tmp_path / "x.npy")


@pytest.mark.parametrize("version", [1, 2])
def test_a_header_that_is_longer_than_the_file(tmp_path: Path, version: int) -> None:
    length = (0xFFFF if version == 1 else 700 << 20).to_bytes(2 * version, "little")
    (tmp_path / "x.npy").write_bytes(b"\x93NUMPY" + bytes([version, 0]) + length + b"{'descr': '|u1', ")
    tracemalloc.start()
    try:
        with pytest.raises(FileFormatError, match=r"x\.npy has a damaged header"):
            read_npy(tmp_path / "x.npy")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_an_archive_whose_directory_claims_too_much(tmp_path: Path) -> None:
    path = archive(tmp_path / "x.npz", compression=zipfile.ZIP_DEFLATED)
    body = bytearray(path.read_bytes())
    at = body.index(b"PK\x01\x02")
    struct.pack_into("<I", body, at + 24, 2**31)  # the size of x_train once unpacked
    path.write_bytes(bytes(body))
    with pytest.raises(FileFormatError, match=r"'x_train' in .*x\.npz"):
        datasets.from_npz(path)


def test_an_encrypted_archive(tmp_path: Path) -> None:
    path = archive(tmp_path / "x.npz")
    body = bytearray(path.read_bytes())
    for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        for found in re.finditer(re.escape(magic), bytes(body)):
            body[found.start() + offset] |= 1
    path.write_bytes(bytes(body))
    with pytest.raises(FileFormatError, match=r"'x_train' in .*x\.npz is encrypted"):
        datasets.from_npz(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<!DOCTYPE html>\n<html>404</html>", "it is a web page"),
        (b"\xef\xbb\xbf  <html>", "it is a web page"),
        (b"", "it is empty"),
        (b"\x80\x04\x95", "a Python pickle, which is never loaded"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "a pointer of Git LFS"),
        (b"\x1f\x8b\x08", "a gzip file"),
        (b"words", "begins with the bytes 77 6f 72 64 73"),
    ],
)
def test_other_files(tmp_path: Path, content: bytes, words: str) -> None:
    for name, read in (("x.npz", datasets.from_npz), ("x.npy", read_npy)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(FileFormatError, match=rf"{name} is not .*{words}"):
            read(tmp_path / name)  # type: ignore[operator]


@pytest.mark.parametrize("by_columns", [False, True])
@pytest.mark.parametrize("dtype", ["u1", "<i8", ">i4", "f2", "?", "U3", "S2"])
@pytest.mark.parametrize("shape", [(3, 4, 5), (7,), (), (0, 4), (2, 1, 3)])
def test_sound_arrays_are_read_as_numpy_reads_them(tmp_path: Path, dtype: str, shape: Any, by_columns: bool) -> None:
    array = RNG.integers(0, 2, shape).astype(dtype, order="F" if by_columns else "C")
    np.save(tmp_path / "x.npy", array)
    read, right = read_npy(tmp_path / "x.npy"), np.load(tmp_path / "x.npy")
    assert read.dtype == right.dtype
    assert np.array_equal(read, right)
