"""Every reader of files is fed files that were changed at random: it reads them, or says what is wrong.

    python benches/fuzz.py                          # ten minutes, one process a core
    python benches/fuzz.py --minutes 1 --only IDX

A reader may raise an error of everybatch, or an OSError. Anything else is a finding, and so is an input for which it
allocates more than four times its bytes and 64 MiB at any moment (allocations.c counts them), or which takes it ten
seconds of a processor. What was found is kept in --out, to be read again:

    python benches/fuzz.py --only IDX --replay findings/IDX-0

An input that reached lines of Python that none had reached before, or a sentence in an error that is new, is kept and
changed further. Of half of the inputs checksums are made right again after the change (fuzz_files.py).
"""

from __future__ import annotations

import argparse
import ctypes
import logging
import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import everybatch as eb
from fuzz_files import Reader, readers

_ROOM = 64 << 20
_SECONDS = 10
_SLICE = 1.0
"""Seconds for one reader until it is the next one's turn."""
_WORDS = re.compile(r"[0-9]+|'[^']*'|\"[^\"]*\"|/\S+|b'.*|[^\x20-\x7e]+")


class TooLongError(BaseException):
    """A reader took too long."""


class Lines:
    """Tells which lines of Python were reached that this reader had not reached before; each costs once a slice."""

    def __init__(self) -> None:
        self._seen: dict[str, set[tuple[int, int]]] = {}
        self._of: set[tuple[int, int]] = set()
        self.new = 0
        self.monitored = hasattr(sys, "monitoring")
        if self.monitored:
            monitoring: Any = sys.monitoring
            monitoring.use_tool_id(monitoring.COVERAGE_ID, "fuzz")
            monitoring.register_callback(monitoring.COVERAGE_ID, monitoring.events.LINE, self._reached)
            monitoring.set_events(monitoring.COVERAGE_ID, monitoring.events.LINE)

    def _reached(self, code: Any, line: int) -> Any:
        at = (hash(code), line)
        if at not in self._of:
            self._of.add(at)
            self.new += 1
        return sys.monitoring.DISABLE  # type: ignore[attr-defined]

    def turn_to(self, kind: str) -> None:
        """Have those of another reader told."""
        self._of = self._seen.setdefault(kind, set())
        if self.monitored:
            sys.monitoring.restart_events()  # type: ignore[attr-defined]


def changed(data: bytes, chance: random.Random) -> bytes:
    """Change bytes in one to four places."""
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


def words(data: bytes, chance: random.Random) -> bytes:
    """Change text in one to three places: take words of it for others, or wild ones, twice, or away."""
    parts = re.split(rb"([\[\]{},:=\"\n ]+)", data)
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(parts))
        kind = chance.randrange(4)
        if kind == 0:
            parts[at] = chance.choice(parts)
        elif kind == 1:
            parts[at] = chance.choice(_WILD)
        elif kind == 2:
            other = chance.randrange(len(parts))
            first, last = min(at, other), min(max(at, other), min(at, other) + 12)
            parts[first:first] = parts[first:last]
        else:
            del parts[at : at + chance.choice((1, 2, 4))]
            parts = parts or [b""]
    return b"".join(parts)


_WILD = tuple(
    b'0 1 -1 2 1e308 -0.0 1e-320 NaN Infinity null true [] {} "" 4294967296 9223372036854775807 18446744073709551616 '
    b'1000000000 [[]] 3.5 [1,2] {"a":1} "\\ud800" nan inf 2026-01-01 "\\u0000" 1_0 0x10'.split()
)


class Feeder:
    """Feeds one reader with files that come from those that led to something new.

    Parameters
    ----------
    reader
        Who reads.
    folder
        That of the file; made.
    """

    def __init__(self, reader: Reader, folder: Path) -> None:
        self.reader, self.folder, self.path = reader, folder, folder / reader.name
        self.kept = list(reader.sound)
        self.inputs, self.found, self.most, self.lasted, self.message = 0, 0, 0, 0.0, ""
        self._messages: set[str] = set()
        self.write_beside()
        for data in reader.sound * 2:
            wrong = self.feed(data)
            if self.inputs == 0:  # it may have imported much
                wrong, self.most, self.lasted = None, 0, 0.0
            if wrong is not None:
                raise AssertionError(f"a sound {reader.name} is refused: {wrong}")
            self.inputs += 1
            if reader.writes:
                self.write_beside()

    def write_beside(self) -> None:
        """Write all that lies beside the file."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        for name, content in self.reader.beside.items():
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_bytes(content)

    def next(self, chance: random.Random) -> bytes:
        """Return a file that was changed."""

        def change(data: bytes) -> bytes:
            text = chance.random() < 0.5 and data[:1] in b"{[\ndn#" and data != bytes(len(data))
            return words(data, chance) if text else changed(data, chance)

        data = chance.choice(self.kept if chance.random() < 0.8 else self.reader.sound)
        if self.reader.within is not None and chance.random() < 0.5:
            return self.reader.within(data, change)
        return change(data)

    def feed(self, data: bytes) -> str | None:
        """Let it be read; return what is wrong with the reader, if anything is."""
        if self.reader.name:
            with self.path.open("wb", 0) as file:
                file.write(data)
        wrong, begun = None, time.process_time()
        signal.setitimer(signal.ITIMER_PROF, _SECONDS)
        _allocations.allocations_begin()
        try:
            self.reader.read(self.path if self.reader.name else data, self.folder)
            self.message = ""
        except (eb.errors.EverybatchError, OSError, *self.reader.raises) as error:
            self.message = f"{type(error).__name__} {_WORDS.sub('', str(error))[:120]}"
        except BaseException:
            wrong = traceback.format_exc()
            self.message = "wrong"
        most = _allocations.allocations_most()
        signal.setitimer(signal.ITIMER_PROF, 0)
        self.lasted = max(self.lasted, time.process_time() - begun)
        self.most = max(self.most, most)
        if wrong is None and most > 4 * len(data) + _ROOM and most > 4 * self.reader.holds(data) + _ROOM:
            wrong = f"{most:,} bytes were allocated for one of {len(data):,}"
        return wrong

    def is_new(self) -> bool:
        """Whether the last message was one that had not been seen."""
        before = len(self._messages)
        self._messages.add(self.message)
        return len(self._messages) > before


def fuzz(number: int, options: argparse.Namespace) -> dict[str, Counter[str]]:
    """Feed readers for so many minutes; give of each the inputs, findings, kept inputs, and the largest allocation."""
    warnings.simplefilter("ignore")
    logging.disable()
    signal.signal(signal.SIGPROF, _too_long)
    chance = random.Random(1000 * options.seed + number)
    with tempfile.TemporaryDirectory(prefix="everybatch-fuzz-", dir=options.within) as place:
        feeders = {
            kind: Feeder(reader, Path(place) / kind)
            for kind, reader in readers(Path(place) / "sound").items()
            if not options.only or kind in options.only.split(";")
        }
        lines = Lines()
        end = time.monotonic() + 60 * options.minutes
        while time.monotonic() < end:
            for kind, feeder in feeders.items():
                lines.turn_to(kind)
                until = time.monotonic() + _SLICE
                feeder.write_beside()
                while time.monotonic() < until:
                    data = feeder.next(chance)
                    if feeder.reader.writes:
                        feeder.write_beside()
                    lines.new = 0
                    wrong = feeder.feed(data)
                    feeder.inputs += 1
                    if wrong is not None:
                        feeder.found += 1
                        if feeder.found <= 10:
                            report(kind, number, feeder.found, data, wrong, options)
                    if (lines.new or feeder.is_new()) and len(data) < 1 << 17 and len(feeder.kept) < 2000:
                        feeder.kept.append(data)
    return {
        kind: Counter(
            inputs=one.inputs, findings=one.found, kept=len(one.kept), most=one.most, slowest=int(1000 * one.lasted)
        )
        for kind, one in feeders.items()
    }


def report(kind: str, number: int, found: int, data: bytes, wrong: str, options: argparse.Namespace) -> None:
    """Keep an input, and say what is wrong."""
    options.out.mkdir(exist_ok=True)
    path = options.out / f"{kind}-{number}-{found}"
    path.write_bytes(data)
    path.with_name(f"{path.name}.txt").write_text(wrong, encoding="utf-8")
    print(f"{kind}: {wrong.strip().splitlines()[-1][:200]} ({path})", flush=True)


def _too_long(*_: object) -> None:
    raise TooLongError(f"it took more than {_SECONDS} seconds")


_allocations = ctypes.CDLL(None)


def with_allocations(folder: Path) -> None:
    """Begin this program anew with allocations.c before libc."""
    library = folder / "allocations.so"
    source = Path(__file__).with_name("allocations.c")
    compiler = os.environ.get("CC", "cc")
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True)
    environment = {**os.environ, "LD_PRELOAD": str(library), "OMP_NUM_THREADS": "1"}
    sys.exit(subprocess.run([sys.executable, *sys.argv], env=environment, check=False).returncode)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--only", default="", help="the readers of these names, with ; between them")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path, default=Path("findings"))
    parser.add_argument("--within", help="the folder that files are written to, /dev/shm for example")
    parser.add_argument("--replay", type=Path, help="read this file alone, and show what is raised")
    options = parser.parse_args()
    if not hasattr(_allocations, "allocations_begin"):
        with tempfile.TemporaryDirectory() as folder:
            with_allocations(Path(folder))
    _allocations.allocations_most.restype = ctypes.c_long
    options.within = options.within or ("/dev/shm" if Path("/dev/shm").is_dir() else None)
    if options.replay:
        signal.signal(signal.SIGPROF, _too_long)
        with tempfile.TemporaryDirectory(dir=options.within) as place:
            feeder = Feeder(readers(Path(place) / "sound")[options.only], Path(place) / "file")
            print(feeder.feed(options.replay.read_bytes()) or f"nothing is wrong with it: {feeder.message}")
        return 0
    with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
        every = pool.starmap(fuzz, [(number, options) for number in range(options.processes)])
    print("\n| reader | inputs | findings | kept | largest allocation | slowest |\n|---|---:|---:|---:|---:|---:|")
    total: Counter[str] = Counter()
    for kind in every[0]:
        summed = sum((counts[kind] for counts in every), Counter())
        most, slowest = (max(counts[kind][name] for counts in every) for name in ("most", "slowest"))
        total += summed
        print(
            f"| {kind} | {summed['inputs']:,} | {summed['findings']} | {summed['kept']} | {most / 2**20:.1f} MiB "
            f"| {slowest} ms |"
        )
    print(f"| all | {total['inputs']:,} | {total['findings']} | {total['kept']} | | |")
    return 1 if total["findings"] else 0


if __name__ == "__main__":
    sys.exit(main())
