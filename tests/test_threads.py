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
import json, pathlib, time
import torch

before = torch.get_num_threads()
{extra_import}
x, w = torch.randn(64, 32, 32, 32), torch.randn(64, 32, 3, 3)
busiest = 0.0
for _ in range(6):  # the best of six: on a machine with other work the threads may have to wait
    wall, cpu = time.perf_counter(), time.process_time()
    while time.perf_counter() - wall < 0.5:
        torch.nn.functional.conv2d(x, w)
    busiest = max(busiest, (time.process_time() - cpu) / (time.perf_counter() - wall))
loaded = {{line.split()[-1] for line in open("/proc/self/maps") if "libgomp" in line or "libiomp" in line}}
print(json.dumps({{
    "threads_before": before, "threads": torch.get_num_threads(), "busy_cores": busiest,
    "runtimes": sorted({{str(pathlib.Path(name).resolve()) for name in loaded}}),
}}))
"""


def measure(extra_import: str) -> dict[str, Any]:
    # Waiting threads sleep, so that only those that compute count as busy.
    environment = os.environ | {"OMP_WAIT_POLICY": "passive"}
    environment.pop("OMP_NUM_THREADS", None)
    code = MEASURE.format(extra_import=extra_import)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300, env=environment
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
    if plain["busy_cores"] < 1.5:
        pytest.skip(f"torch alone keeps only {plain['busy_cores']:.2f} cores busy here")
    assert imported["busy_cores"] > 1.2


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
