"""Signals that come while a network computes."""

from __future__ import annotations

import subprocess
import sys

import pytest


# Handlers of signals ran on the stack of oneDNN's generated products, which lies in a block of the heap, and wrote over
# its neighbours: "corrupted size vs. prev_size", or numbers that nobody knows of.
@pytest.mark.skipif(sys.platform == "win32", reason="has no such signals")
def test_signals_while_a_network_computes_leave_the_heap_as_it_is() -> None:
    program = """
import signal, everybatch as eb
data = eb.datasets.glyphs(train=640, test=1000)
plain = eb.train(eb.networks.lenet5(), data, batch_size=64, progress=False)
signal.signal(signal.SIGALRM, lambda *a: None)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.0005)
runs = [eb.train(eb.networks.lenet5(), data, batch_size=64, progress=False) for _ in range(2)]
signal.setitimer(signal.ITIMER_REAL, 0)
assert all((run.test_loss == plain.test_loss).all() for run in runs)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
