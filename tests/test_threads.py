"""The extension must not cost torch its threads.

Two OpenMP runtimes in one process can leave torch with a single thread (pytorch#149422), and torch-sys asks
the linker for the system's libgomp beside the one that torch brings. So everything here is compared with a
process that never imports everybatch.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

MEASURE = """
import json, os, pathlib
import torch

before = torch.get_num_threads()
{extra_import}
tasks = set(os.listdir("/proc/self/task"))
torch.ones(1 << 22).exp()
helpers = set(os.listdir("/proc/self/task")) - tasks
cores = [len(os.sched_getaffinity(int(task))) for task in ["0", *helpers]]
loaded = {{line.split()[-1] for line in open("/proc/self/maps") if "libgomp" in line or "libiomp" in line}}
print(json.dumps({{
    "threads_before": before, "threads": torch.get_num_threads(), "cores": cores,
    "runtimes": sorted({{str(pathlib.Path(name).resolve()) for name in loaded}}),
}}))
"""


def measure(extra_import: str) -> dict[str, Any]:
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    code = MEASURE.format(extra_import=extra_import)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=600, env=environment
    )
    return dict(json.loads(done.stdout))


@pytest.fixture(scope="module")
def plain() -> dict[str, Any]:
    return measure("")


@pytest.fixture(scope="module")
def imported() -> dict[str, Any]:
    return measure("import everybatch")


def test_the_number_of_threads_stays(plain: dict[str, Any], imported: dict[str, Any]) -> None:
    assert imported["threads_before"] == plain["threads"]
    assert imported["threads"] == plain["threads"]


def test_the_cores_are_still_used(plain: dict[str, Any], imported: dict[str, Any]) -> None:
    # How many threads an operation has, and to how many cores each is confined.
    assert len(plain["cores"]) == plain["threads"]
    assert imported["cores"] == plain["cores"]


def test_no_second_openmp_runtime_is_loaded(plain: dict[str, Any], imported: dict[str, Any]) -> None:
    assert imported["runtimes"] == plain["runtimes"]


@pytest.mark.skipif(shutil.which("readelf") is None, reason="readelf (binutils) is not installed")
def test_the_extension_asks_for_no_openmp_runtime_and_no_folder() -> None:
    import everybatch._core

    extension = Path(everybatch._core.__file__)
    done = subprocess.run(["readelf", "--dynamic", extension], capture_output=True, text=True, check=True)
    needed = re.findall(r"\(NEEDED\).*\[(.+)\]", done.stdout)
    assert "libtorch_cpu.so" in needed
    assert not [name for name in needed if "omp" in name]
    # A path of the machine that it was built on would make it load that machine's torch, or none.
    assert "RPATH" not in done.stdout
    assert "RUNPATH" not in done.stdout
