"""A disk that fails at any call, and a loss of power after any: for what Python writes and what the core writes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import disk

DRIVER = Path(__file__).with_name("disk_faults.py")


def driven(folder: Path, *arguments: str) -> Any:
    """Run the driver in a process of its own, for the library has to be there from its beginning."""
    environment = disk.environment(folder)
    if environment is None:
        pytest.skip("needs a C compiler, and Linux")
    (folder / "tmp").mkdir()
    environment |= {"TMPDIR": str(folder / "tmp"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(DRIVER), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, f"{done.returncode}: {done.stderr[-4000:]}"
    return json.loads(done.stdout)


def test_no_call_that_fails_takes_anything_away(tmp_path: Path) -> None:
    # Some of the calls here, and all of them in `make faults`. The numbers are those of the calls there are at least.
    seen = driven(tmp_path, "", "29")
    least = {"train": 60, "resume": 30, "checkpoints": 12, "Run.save": 60, "Model.save over another": 6, "sweep": 150}
    for name, calls in least.items():
        assert seen[name]["calls"] >= calls, name
        assert seen[name]["tries"] >= 8 * calls // 29, name
    assert 0 < seen["train"]["refused"] < seen["train"]["tries"] / 2
    assert seen["power"]["left"] > 40


def test_the_test_sees_what_is_lost(tmp_path: Path) -> None:
    # A file that is renamed before it was flushed is empty after a loss of power, on many file systems.
    code = f"""
import os, pathlib, sys
sys.path[:0] = [{str(DRIVER.parent)!r}]
from disk import Disk, Powerless
folder, told = pathlib.Path({str(tmp_path / "disk")!r}), pathlib.Path({str(tmp_path / "told")!r})
folder.mkdir()
disk = Disk()
disk.watch(folder, told)
with open(folder / "new", "wb") as file:
    file.write(b"12345")
os.rename(folder / "new", folder / "file")
disk.watch(None)
power = Powerless(folder, told)
print(list(power.calls()))
for name, options in (("a", (True, False)), ("b", (True, True)), ("c", (False, True))):
    power.leave(folder / name, names=options[0], contents=options[1])
    print({{path.name: path.read_bytes() for path in (folder / name).iterdir()}})
"""
    environment = disk.environment(tmp_path)
    if environment is None:
        pytest.skip("needs a C compiler, and Linux")
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "['opened', 'write', 'close', 'rename']",
        "{'file': b''}",
        "{'file': b'12345'}",
        "{}",
    ]
