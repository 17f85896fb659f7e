"""What `fuzz.py` feeds: sound files of each kind, how their checksums are made right again, and who reads them."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import everybatch as eb
from everybatch._pictures import read_picture
from everybatch.cli.sweep._file import read_sweep
from everybatch.datasets._mat import read_mat
from everybatch.datasets._npy import read_npy
from everybatch.folder._files import ENDED, HISTORY
from everybatch.folder._lock import holder
from everybatch.folder._records import record, whole_records
from everybatch.runs._files import sealed
from everybatch.runs._read import _read_history
from everybatch.sweeps._store import open_store
from everybatch.sweeps._table import cells
from everybatch.watch._asked import Asked
from everybatch.watch._sweeps import WatchedSweep
from everybatch.watch._watched import Watched

__all__ = ["Change", "Reader", "readers"]

Change = Callable[[bytes], bytes]
"""Changes some bytes at random."""

RNG = np.random.default_rng(7)
PIXELS = RNG.integers(0, 256, (8, 6, 6), dtype=np.uint8)
LABELS = (np.arange(8) % 2).astype(np.uint8)
COLOUR = RNG.integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
DATA = eb.Dataset(PIXELS, LABELS, PIXELS, LABELS)
NETWORK = eb.Network(
    [eb.Conv2d(1, 2, 3), eb.BatchNorm2d(2), eb.Activation("relu"), eb.Flatten(), eb.Linear(32, 2)], (1, 6, 6)
)
_IDX = tuple(f"{part}-{what}-ubyte" for part in ("train", "t10k") for what in ("images-idx3", "labels-idx1"))
_PICTURES = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM")


@dataclass(frozen=True)
class Reader:
    """Who reads files of a kind.

    Parameters
    ----------
    read
        Reads the file; the folder is the one that it lies in.
    name
        Of the file; none: the reader takes bytes.
    sound
        Sound ones.
    beside
        What lies in the folder besides, by name; what is read before the file may change.
    within
        Changes a file and makes its checksums right, so that the change gets past them.
    raises
        What it may raise but errors of everybatch and OSError.
    writes
        It changes what is beside the file.
    holds
        Bytes that a file holds once unpacked, as far as that cannot be told to be wrong.
    """

    read: Callable[[Any, Path], object]
    name: str
    sound: list[bytes]
    beside: dict[str, bytes]
    within: Callable[[bytes, Change], bytes] | None = None
    raises: tuple[type[BaseException], ...] = ()
    writes: bool = False
    holds: Callable[[bytes], int] = len


def readers(place: Path) -> dict[str, Reader]:
    """Make sound files of all kinds in a folder, and tell who reads them."""
    run = _lost_run(place / "run")
    saved = eb.load_run(place / "run")
    saved.save(place / "saved")
    sweep = _sweep(place / "sweep")
    files = {path.name: path.read_bytes() for path in (place / "saved").iterdir()}
    networks = [network.to_json().encode() for network in (NETWORK, eb.networks.lenet5(), eb.networks.resnet())]
    idx = dict(zip(_IDX, (_idx(array) for array in (PIXELS, LABELS) * 2), strict=True))
    pictures = {f"train/{label}/a.png": _picture("PNG") for label in "01"} | {
        f"test/{label}/a.png": _picture("PNG") for label in "01"
    }
    toml = [(Path(__file__).parents[1] / "examples/space.toml").read_bytes(), _TOML.encode()]

    def without(among: dict[str, bytes], name: str) -> dict[str, bytes]:
        return {other: content for other, content in among.items() if other != name}

    turn = itertools.count()

    def of_idx(path: Path, folder: Path) -> object:
        return eb.datasets.from_idx(path, *(folder / name for name in _IDX[1:]))

    def watched(path: Path, folder: Path) -> object:  # noqa: ARG001
        one = Watched(folder, "", 1 << 28)
        one.look(whole=True)
        return json.dumps(one.summary)

    def watched_sweep(path: Path, folder: Path) -> object:  # noqa: ARG001
        one = WatchedSweep(folder, "a", "")
        one.look()
        return json.dumps(one.summary)

    def of_sweep(path: Path, folder: Path) -> object:  # noqa: ARG001
        found = eb.load_sweep(folder)
        told = [
            repr(found),
            len(found.runs),
            cells(found.trials, list(found.trials[0].settings) if found.trials else []),
        ]
        return [told, found.table()] if next(turn) % 16 == 0 else told  # pandas takes its time

    def loaded(path: Path, folder: Path) -> object:  # noqa: ARG001
        return repr(eb.load_run(folder))

    def with_model(path: Path, folder: Path) -> object:  # noqa: ARG001
        return getattr(eb.load_run(folder), "model", None)

    row = next(name for name in sweep if name.startswith("trials/") and name.endswith("trial.json"))
    return {
        "network JSON": Reader(lambda data, _: eb.Network.from_json(data.decode("utf-8", "replace")), "", networks, {}),
        "safetensors": Reader(
            lambda path, _: eb.Model.load(path), "a.safetensors", [files["model.safetensors"]], {}, _safetensors
        ),
        "history": Reader(loaded, HISTORY, [run[HISTORY]], without(run, HISTORY), _records),
        "history, watched": Reader(watched, HISTORY, [run[HISTORY]], without(run, HISTORY), _records),
        "state": Reader(loaded, "state.records", [run["state.records"]], without(run, "state.records"), _records),
        "state, resumed": Reader(
            lambda path, folder: eb.resume(folder, DATA, progress=False),  # noqa: ARG005
            "state.records",
            [run["state.records"]],
            without(run, "state.records"),
            _records,
            writes=True,
        ),
        "beginning": Reader(
            loaded,
            "beginning.safetensors",
            [run["beginning.safetensors"]],
            without(run, "beginning.safetensors"),
            _safetensors,
        ),
        "lock": Reader(lambda _, folder: holder(folder), "lock", [_LOCK], without(run, "lock")),
        "run: config": Reader(
            with_model, "config.json", [files["config.json"]], without(files, "config.json"), _sealed
        ),
        "run: history": Reader(lambda path, _: _read_history(path), "history.npz", [files["history.npz"]], {}, _zip),
        "sweep.json": Reader(of_sweep, "sweep.json", [sweep["sweep.json"]], without(sweep, "sweep.json"), _sealed),
        "index.json": Reader(of_sweep, "index.json", [sweep["index.json"]], without(sweep, "index.json"), _sealed),
        "trial.json": Reader(of_sweep, row, [sweep[row]], without(without(sweep, row), "index.json"), _sealed),
        "sweep, watched": Reader(
            watched_sweep, "sweep.json", [sweep["sweep.json"]], without(sweep, "sweep.json"), _sealed
        ),
        "question of the page": Reader(lambda data, _: Asked.read(data), "", [_QUESTION], {}, raises=(ValueError,)),
        "sweep TOML": Reader(lambda path, _: read_sweep(path), "a.toml", toml, {}, raises=(TypeError,)),
        "store URL": Reader(
            lambda data, _: open_store(data.decode("utf-8", "replace")),
            "",
            [b"memory://sweeps/a", b"file:///tmp/a", b"/tmp/a", b"~/a", b"s3://bucket/a", b"simplecache::memory://a"],
            {},
            raises=(ImportError,),
        ),
        "IDX": Reader(of_idx, _IDX[0], [idx[_IDX[0]]], without(idx, _IDX[0])),
        "IDX in gz": Reader(of_idx, _IDX[0], [gzip.compress(idx[_IDX[0]])], without(idx, _IDX[0]), _gzip),
        "npz": Reader(lambda path, _: eb.datasets.from_npz(path), "a.npz", _npz(), {}, _zip),
        "npy": Reader(lambda path, _: read_npy(path), "a.npy", [_npy(PIXELS), _npy(PIXELS.astype(">f4").T)], {}),
        "mat": Reader(lambda path, _: read_mat(path, ("X", "y")), "a.mat", [_mat(False), _mat(True)], {}, _mat_packed),
        "CSV": Reader(lambda path, _: eb.datasets.from_csv(path), "a.csv", _csv(), {}),
        "tar.gz": Reader(lambda path, _: eb.datasets.from_cifar(path), "cifar-100-binary.tar.gz", [_tar()], {}, _gzip),
        "picture": Reader(
            lambda data, _: read_picture(data, size=(8, 8)),
            "",
            [_picture(kind) for kind in _PICTURES],
            {},
            _png,
            holds=_pixels,
        ),
        "folder of pictures": Reader(
            lambda path, folder: eb.datasets.from_folder(folder, size=(8, 8)),  # noqa: ARG005
            "train/0/a.png",
            [_picture(kind) for kind in _PICTURES],
            without(pictures, "train/0/a.png"),
            _png,
            holds=_pixels,
        ),
    }


# ---------------------------------------------------------------- sound files


def _lost_run(folder: Path) -> dict[str, bytes]:
    """A run whose process was killed after two of four steps: its last record tells of no end."""

    def stop(step: eb.Step) -> None:
        if step.step == 2:
            raise eb.StopTraining("killed")

    eb.train(
        NETWORK,
        DATA,
        steps=4,
        batch_size=4,
        progress=False,
        device="cpu",
        folder=folder,
        keep_state_every=0,
        validation=2,
        record=("grad_norm", "predictions", "losses", "examples"),
        callbacks=stop,
    )
    (folder / "model.safetensors").unlink()
    path, kept = folder / HISTORY, b""
    with path.open("rb") as file:
        for kind, payload, _ in whole_records(file):
            kept += record(kind, payload) if kind != ENDED else b""
    path.write_bytes(kept)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _sweep(folder: Path) -> dict[str, bytes]:
    eb.sweep(
        {"lr": [0.1, 0.01]},
        DATA,
        store=folder,
        network=NETWORK,
        steps=2,
        batch_size=4,
        backend="serial",
        progress=False,
        device="cpu",
    )
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


_LOCK = json.dumps({"host": "a", "pid": 4, "since": "2026-01-01T00:00:00+00:00", "boot": "b", "born": "1"}).encode()

_QUESTION = (
    b'{"x": "step", "runs": [{"name": "a", "known": "1"}, {"name": "b/c"}], "classes": [0, 1], '
    b'"charts": [{"chart": "lr", "columns": 300, "from": 0, "to": 9.5}, {"chart": "seconds", "columns": 20}]}'
)

_TOML = """
data = "glyphs"
seeds = [0, 3]
store = "sweeps/a"
[backend]
name = "processes"
workers = 2
[fixed]
network = "resnet"
epochs = 1
augment = { shift = 2, rotate = 5.0 }
[random]
n = 3
seed = 1
[random.space]
lr = { low = 1e-4, high = 1e-1, log = true }
[pruning]
rule = "successive_halving"
every = 10
"""


def _idx(array: Any) -> bytes:
    head = bytes([0, 0, 8, array.ndim]) + b"".join(length.to_bytes(4, "big") for length in array.shape)
    return head + bytes(array.tobytes())


def _npy(array: Any) -> bytes:
    held = io.BytesIO()
    np.save(held, array)
    return held.getvalue()


def _npz() -> list[bytes]:
    arrays = dict(zip(("x_train", "y_train", "x_test", "y_test"), (PIXELS, LABELS) * 2, strict=True))
    told = []
    for save in (np.savez, np.savez_compressed):
        held = io.BytesIO()
        save(held, **arrays)  # type: ignore[arg-type]
        told.append(held.getvalue())
    return told


def _mat(packed: bool) -> bytes:
    def element(kind: int, content: bytes) -> bytes:
        return struct.pack("<II", kind, len(content)) + content + b"\0" * (-len(content) % 8)

    body = b""
    for name, array in (("X", PIXELS), ("y", LABELS[:, None])):
        parts = element(6, struct.pack("<II", 9, 0)) + element(5, struct.pack(f"<{array.ndim}i", *array.shape))
        parts += struct.pack("<I", len(name) << 16 | 1) + name.encode().ljust(4, b"\0")
        whole = struct.pack("<II", 14, len(parts) + 0) + parts + element(2, array.tobytes(order="F"))
        whole = struct.pack("<II", 14, len(whole) - 8) + whole[8:]
        if packed:
            squeezed = zlib.compress(whole)
            whole = struct.pack("<II", 15, len(squeezed)) + squeezed
        body += whole
    return b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", 0x0100) + b"IM" + body


def _csv() -> list[bytes]:
    rows = np.column_stack([LABELS, PIXELS[:, :4, :4].reshape(8, 16)]).tolist()
    lines = "\n".join(",".join(map(str, row)) for row in rows)
    head = ",".join(["label", *(f"pixel{number}" for number in range(16))])
    return [f"{lines}\n".encode(), f"{head}\n{lines}\n".encode()]


def _tar() -> bytes:
    images = b"".join(bytes([0, 1]) + image.transpose(2, 0, 1).tobytes() for image in COLOUR)
    names = {f"{kind}_label_names.txt": b"a\nb\n" for kind in ("coarse", "fine")}
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w:gz") as packed:
        for name, content in ({"train.bin": images, "test.bin": images} | names).items():
            info = tarfile.TarInfo(f"cifar-100-binary/{name}")
            info.size = len(content)
            packed.addfile(info, io.BytesIO(content))
    return held.getvalue()


def _picture(kind: str) -> bytes:
    held = io.BytesIO()
    Image.fromarray(COLOUR[0][:9, :7]).save(held, kind)
    return held.getvalue()


def _pixels(data: bytes) -> int:
    """Bytes of the pixels of a WEBP, which may hold any number of one colour in a few bytes, or of a packed TIFF."""
    try:
        with Image.open(io.BytesIO(data), formats=("WEBP", "TIFF")) as picture:
            if picture.info.get("compression") == "raw":
                return len(data)
            return max(len(data), 4 * picture.width * picture.height)
    except Exception:
        return len(data)


# ---------------------------------------------------------------- changes within checksums


def _safetensors(data: bytes, change: Change) -> bytes:
    """Change header or values, and make length and checksum right."""
    length = int.from_bytes(data[:8], "little")
    header, values = data[8 : 8 + length], data[8 + length :]
    header, values = (change(header), values) if len(change(b"01")) % 2 else (header, change(values))
    mark = b'"everybatch.crc32":"'
    whole = len(header).to_bytes(8, "little") + header + values
    place = whole.find(mark) + len(mark)
    if place < len(mark):
        return whole
    whole = whole[:place] + b"00000000" + whole[place + 8 :]
    return whole[:place] + b"%08x" % zlib.crc32(whole) + whole[place + 8 :]


def _records(data: bytes, change: Change) -> bytes:
    """Change the payload of one record; tensors, where it holds some, with their own header."""
    parts, at = [], 0
    while at + 24 <= len(data):
        kind, length = data[at + 4 : at + 8], int.from_bytes(data[at + 8 : at + 16], "little")
        parts.append((kind, data[at + 24 : at + 24 + length]))
        at += 24 + length
    if not parts:
        return change(data)
    number = len(change(bytes(64))) % len(parts)
    kind, payload = parts[number]
    parts[number] = (kind, _safetensors(payload, change) if payload[8:9] == b"{" else change(payload))
    return b"".join(record(kind, payload) for kind, payload in parts)


def _sealed(data: bytes, change: Change) -> bytes:
    """Change JSON as text, and make its checksum right."""
    try:
        content = json.loads(data)
        content = {name: value for name, value in content.items() if name != "sha256"}
        content = json.loads(change(json.dumps(content).encode()))
        return sealed(content) if isinstance(content, dict) else json.dumps(content).encode()
    except (ValueError, RecursionError, AttributeError):
        return change(data)


def _zip(data: bytes, change: Change) -> bytes:
    """Change one member, and pack all anew."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
    except Exception:  # it was changed before
        return change(data)
    if not members:
        return change(data)
    name = sorted(members)[len(change(bytes(64))) % len(members)]
    members[name] = change(members[name])
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return held.getvalue()


def _gzip(data: bytes, change: Change) -> bytes:
    try:
        return gzip.compress(change(gzip.decompress(data)), 1)
    except (OSError, EOFError, zlib.error):
        return change(data)


def _mat_packed(data: bytes, change: Change) -> bytes:
    """Change the first element of a file, packed anew."""
    length = int.from_bytes(data[132:136], "little")
    try:
        first = zlib.decompress(data[136 : 136 + length])
    except zlib.error:
        return change(data)
    squeezed = zlib.compress(change(first), 1)
    return data[:128] + struct.pack("<II", 15, len(squeezed)) + squeezed + data[136 + length :]


def _png(data: bytes, change: Change) -> bytes:
    """Change one chunk of a PNG, and make its checksum right; other pictures have none."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return change(data)
    chunks, at = [], 8
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    number = len(change(bytes(64))) % len(chunks)
    kind, content = chunks[number]
    if kind == b"IDAT":
        try:
            content = zlib.compress(change(zlib.decompress(content)), 1)
        except zlib.error:
            content = change(content)
    else:
        content = change(content)
    chunks[number] = (kind, content)
    packed = [len(c).to_bytes(4, "big") + k + c + zlib.crc32(k + c).to_bytes(4, "big") for k, c in chunks]
    return data[:8] + b"".join(packed)
