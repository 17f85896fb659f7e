"""Every reader of files is fed files that were changed at random: it reads them, or says what is wrong.

    python benches/fuzz.py                          # ten minutes, one process a core
    python benches/fuzz.py --minutes 1 --only idx

A reader may raise an error of everybatch, or an OSError. Anything else is a finding, and so is a peak of memory that
grows by more than four times the file and 64 MiB. What was found is kept in --out, to be read again:

    python benches/fuzz.py --only idx --replay findings/idx-0
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import resource
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

import everybatch as eb

Reader = Callable[[bytes, Path], object]
"""Reads bytes; the folder is its own, and holds what it needs besides."""

_ROOM = 64 << 10  # KiB
_IDX = tuple(f"{part}-{what}-ubyte" for part in ("train", "t10k") for what in ("images-idx3", "labels-idx1"))
_KEYS = ("x_train", "y_train", "x_test", "y_test")


def within(name: str, read: Callable[[Path], object]) -> Reader:
    """A reader of a file of this name in its folder."""

    def reader(data: bytes, folder: Path) -> object:
        (folder / name).write_bytes(data)
        return read(folder)

    return reader


READERS: dict[str, Reader] = {
    "network": lambda data, _: eb.Network.from_json(data.decode("utf-8", "replace")),
    "weights": within("model.safetensors", lambda folder: eb.Model.load(folder / "model.safetensors")),
    "history": within("run/history.records", lambda folder: eb.load_run(folder / "run")),
    "state": within("run/state.records", lambda folder: eb.load_run(folder / "run")),
    "config": within("saved/config.json", lambda folder: eb.load_run(folder / "saved")),
    "npz history": within("saved/history.npz", lambda folder: eb.load_run(folder / "saved")),
    "idx": within(f"idx/{_IDX[2]}", lambda folder: eb.datasets.from_idx(*(folder / "idx" / name for name in _IDX))),
    "npz": within("data.npz", lambda folder: eb.datasets.from_npz(folder / "data.npz")),
    "csv": within("data.csv", lambda folder: eb.datasets.from_csv(folder / "data.csv")),
    "picture": within("pictures/train/0/a.png", lambda folder: eb.datasets.from_folder(folder / "pictures")),
}


def seeds(folder: Path) -> dict[str, list[bytes]]:
    """Write sound files of each kind into a folder, and return their bytes."""
    from PIL import Image

    data = eb.datasets.glyphs(train=40, test=20)
    network = eb.networks.lenet5()

    def stop(step: eb.Step) -> None:
        if step.step == 2:
            raise KeyboardInterrupt

    run = eb.train(network, data, steps=3, batch_size=8, progress=False, folder=folder / "run", callbacks=stop)
    run.save(folder / "saved")
    run.model.save(folder / "model.safetensors")
    arrays = (data.train_images, data.train_labels, data.test_images, data.test_labels)
    np.savez(folder / "data.npz", **dict(zip(_KEYS, arrays, strict=True)))
    (folder / "idx").mkdir()
    for name, array in zip(_IDX, arrays, strict=True):
        values = np.squeeze(array).astype(np.uint8)
        head = bytes([0, 0, 8, values.ndim]) + b"".join(length.to_bytes(4, "big") for length in values.shape)
        (folder / "idx" / name).write_bytes(head + values.tobytes())
    rows = zip(arrays[0][::2], arrays[1][:20] % 5, strict=True)
    lines = [",".join(map(str, [label, *image.ravel()])) for image, label in rows]
    (folder / "data.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for part in ("train", "test"):
        for label in ("0", "1"):
            place = folder / "pictures" / part / label
            place.mkdir(parents=True)
            Image.fromarray(np.squeeze(arrays[0][int(label)])).save(place / "a.png")
    files = {
        "weights": "model.safetensors",
        "history": "run/history.records",
        "state": "run/state.records",
        "config": "saved/config.json",
        "npz history": "saved/history.npz",
        "idx": f"idx/{_IDX[2]}",
        "npz": "data.npz",
        "csv": "data.csv",
        "picture": "pictures/train/0/a.png",
    }
    told = {kind: [(folder / name).read_bytes()] for kind, name in files.items()}
    told["network"] = [eb.networks.lenet5().to_json().encode(), eb.networks.resnet().to_json().encode()]
    return told


def changed(data: bytes, chance: random.Random) -> bytes:
    """Change a file in one to four places."""
    some = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(some) + 1) if chance.random() < 0.5 else chance.randrange(min(len(some), 200) + 1)
        length = chance.choice((1, 2, 4, 8, 64))
        kind = chance.randrange(7)
        if kind == 0 and at < len(some):
            some[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            some[at : at + length] = chance.randbytes(length)
        elif kind == 2:
            del some[at : at + length]
        elif kind == 3:
            some[at:at] = some[at : at + length] or b"\0"
        elif kind == 4:
            some = some[:at]
        elif kind == 5:  # numbers that are too large, in both orders
            number = chance.choice((0, 1, 0x7F, 0xFF, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 40, (1 << 63) - 1, (1 << 64) - 1))
            some[at : at + 8] = number.to_bytes(8, chance.choice(("little", "big")))
        else:
            some[at : at + 1] = chance.choice((b"9", b"-", b"}", b"[", b'"', b"\n", b",", b"1e999", b"NaN", b"\xff"))
    return bytes(some)


def fuzz(number: int, options: argparse.Namespace, kinds: list[str]) -> dict[str, tuple[int, int]]:
    """Feed readers for so many minutes; give inputs and findings of each."""
    warnings.simplefilter("ignore")
    chance = random.Random(1000 * options.seed + number)
    counts: dict[str, tuple[int, int]] = dict.fromkeys(kinds, (0, 0))
    with tempfile.TemporaryDirectory(prefix="everybatch-fuzz-", dir=options.within) as place:
        sound = seeds(Path(place))
        end = time.monotonic() + 60 * options.minutes
        while time.monotonic() < end:
            for kind in kinds:
                until = time.monotonic() + 0.5
                while time.monotonic() < until:
                    data = changed(chance.choice(sound[kind]), chance)
                    wrong = finding(kind, data, Path(place))
                    inputs, found = counts[kind]
                    counts[kind] = (inputs + 1, found + (wrong is not None))
                    if wrong is not None and found < 10:
                        options.out.mkdir(exist_ok=True)
                        path = options.out / f"{kind}-{number}-{found}"
                        path.write_bytes(data)
                        print(f"{kind}: {wrong.strip().splitlines()[-1][:200]} ({path})", flush=True)
                restore(kind, sound, Path(place))
    return counts


def restore(kind: str, sound: dict[str, list[bytes]], folder: Path) -> None:
    """Put the sound file back, for the readers that need it beside theirs."""
    if kind != "network":
        try:
            READERS[kind](sound[kind][0], folder)
        except (eb.errors.EverybatchError, OSError) as error:
            raise AssertionError(f"{kind}: the sound file is refused: {error}") from error


def finding(kind: str, data: bytes, folder: Path) -> str | None:
    """Read it, and return what is wrong with the reader, if anything is."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        READERS[kind](data, folder)
    except (eb.errors.EverybatchError, OSError):
        pass
    except BaseException:
        return traceback.format_exc()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return f"memory grew by {grown >> 10} MiB" if grown > 4 * len(data) // 1024 + _ROOM else None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--only", default="", help="the reader of this name")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path, default=Path("findings"))
    parser.add_argument("--within", help="the folder that files are written to, /dev/shm for example")
    parser.add_argument("--replay", type=Path, help="read this file alone, and show what is raised")
    options = parser.parse_args()
    kinds = [kind for kind in READERS if options.only in ("", kind)]
    if options.replay:
        with tempfile.TemporaryDirectory() as place:
            seeds(Path(place))
            print(finding(kinds[0], options.replay.read_bytes(), Path(place)) or "nothing is wrong with it")
        return 0
    options.within = options.within or ("/dev/shm" if Path("/dev/shm").is_dir() else None)
    with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
        every = pool.starmap(fuzz, [(number, options, kinds) for number in range(options.processes)])
    print("\n| reader | inputs | findings |\n|---|---:|---:|")
    total = 0
    for kind in kinds:
        inputs, found = (sum(counts[kind][index] for counts in every) for index in (0, 1))
        total += found
        print(f"| {kind} | {inputs:,} | {found} |")
    return 1 if total else 0


if __name__ == "__main__":
    sys.exit(main())
