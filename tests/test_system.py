"""What stands for what only Linux has: the same things work where it is missing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import everybatch as eb
from everybatch import _system
from everybatch.errors import ArgumentError

# Windows has no fcntl and none of these flags; macOS has no memfd_create, sched_getaffinity, nor /proc.
ELSEWHERE = """
import os, sys, fsspec, matplotlib, torch  # which ask for some of them where they find Linux
sys.modules["fcntl"] = None
for name in ("memfd_create", "sched_getaffinity", "O_NOFOLLOW", "O_CLOEXEC", "O_NONBLOCK"):
    delattr(os, name)
"""
# With locks missing, a claim is not seen by others, and nothing that a killed process left is cleared.
WORK = """
import pathlib
from everybatch import _system
_system._PROCESSES = pathlib.Path("/no/such/folder")
import numpy as np
import everybatch as eb

data = eb.datasets.glyphs(train=64, test=30)
network = eb.Network([eb.Flatten(), eb.Linear(784, 10)])
how = dict(batch_size=16, progress=False, device="cpu")
whole = eb.train(network, data, steps=4, **how)
run = eb.train(network, data, steps=4, folder="run", **how)
assert eb.load_run("run").state == run.state == "finished"
longer = eb.resume("run", steps=6, dataset=data, progress=False)
assert np.array_equal(longer.train_loss[:4], whole.train_loss)
run.save("saved")
assert np.array_equal(eb.load_run("saved").test_loss, whole.test_loss)
sweep = eb.sweep({"lr": [0.1, 0.01]}, data, network=network, steps=2, batch_size=16, store="sweep", **SWEEP)
assert len(sweep.runs) == 2
assert len(eb.load_sweep("sweep").runs) == 2
print("all of it works")
"""


def test_all_works_without_what_only_linux_has(tmp_path: Path) -> None:
    """The prelude is all that is missing on macOS, and more; only processes that are given open files remain."""
    script = ELSEWHERE + WORK.replace("**SWEEP", 'backend="processes", progress=False')
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == "all of it works\n", done.stderr


def test_a_system_that_cannot_pass_files_is_told_what_to_choose(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, glyphs: eb.Dataset, tiny: eb.Network
) -> None:
    monkeypatch.setattr("everybatch.sweeps.backends.processes.can_pass_files", lambda: False)
    with pytest.raises(ArgumentError, match="choose backend='serial'"):
        eb.sweep(
            {"lr": [0.1]}, glyphs, network=tiny, steps=1, store=tmp_path / "a", backend="processes", progress=False
        )


def test_a_process_that_ended_is_gone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for folder in (_system._PROCESSES, tmp_path / "none"):
        monkeypatch.setattr(_system, "_PROCESSES", folder)
        assert _system.is_gone(ended.pid)
        assert not _system.is_gone(os.getpid())
        assert not _system.is_gone(1)  # which may be someone else's
        assert _system.is_gone(1 << 80)


def test_flags_that_a_system_lacks_are_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delattr(os, "O_NOFOLLOW")
    (tmp_path / "a").write_text("content")
    handle = _system.open_file(tmp_path / "a", "O_RDONLY", "O_NOFOLLOW")
    assert os.read(handle, 9) == b"content"
    os.close(handle)
