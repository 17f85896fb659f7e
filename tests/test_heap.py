"""Memory that a step frees and takes again stays with the process while it trains, and only then (Linux with glibc)."""

import itertools
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import everybatch as eb

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these settings")

LARGE, SMALL = 11_000, 10  # hidden units: the first layer's gradient takes 33 MiB, or 31 KiB
FLOATS = 16 << 20  # of a block of 64 MiB


def pages():
    """Return how many pages the system has given this process so far, each of them cleared and mapped."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def pages_of_a_block():
    """Return how many of them come with a block that was freed and is taken and written to once more."""
    torch.zeros(FLOATS)
    before = pages()
    torch.zeros(FLOATS)
    return pages() - before


def train(hidden, steps=3, kernels="exact", callback=None, **options):
    network = eb.Network([eb.Flatten(), eb.Linear(784, hidden), eb.Activation("relu"), eb.Linear(hidden, 10)])
    data = eb.datasets.glyphs(train=80, test=20)
    rest = {"kernels": kernels, "callbacks": [callback] if callback else [], "progress": False}
    return eb.train(network, data, steps=steps, batch_size=8, lr=1e-4, **{"evaluate_every": steps} | rest | options)


def while_training(hidden, other=None):
    """Return the pages of a block within a run, perhaps after another run has come and gone within it."""
    seen = []

    def look(step):
        if step.step == 2:
            if other is not None:
                train(other)
            seen.append(pages_of_a_block())

    train(hidden, callback=look)
    return seen[0]


def resident():
    """Return the bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def pages_of_a_step(kernels):
    """Return the pages that come with most steps; now and then the heap grows, where no hole in it is large enough."""
    seen = []
    train(LARGE, 13, kernels, callback=lambda _: seen.append(pages()))
    return statistics.median(after - before for before, after in itertools.pairwise(seen))


def count():
    """Print the pages of all of these as JSON, and the bytes that are left in memory after large runs."""
    torch.set_num_threads(1)
    counted = {"before": pages_of_a_block(), "small": while_training(SMALL)}
    bytes_before = resident()
    counted["large"] = while_training(LARGE, other=LARGE)
    counted |= {kernels: pages_of_a_step(kernels) for kernels in ("exact", "fused")}
    choosing = {"select": "best", "monitor": "validation_loss", "validation": 20, "evaluate_every": 1, "ema": 0.5}
    for _ in range(2):
        train(LARGE, 4, "fused", **choosing)
    counted["left"] = resident() - bytes_before
    print(json.dumps(counted))


def counted_in_a_process(**variables):
    """Return them as counted by the main thread of a new process; of other threads glibc keeps nothing."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    command = [sys.executable, "-c", "import test_heap; test_heap.count()"]
    options = {"cwd": Path(__file__).parent, "env": inherited | variables, "text": True, "timeout": 300}
    done = subprocess.run(command, capture_output=True, check=False, **options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


# A block of 64 MiB is 16,384 pages of 4 KiB, or fewer and larger ones; the gradient of the large layer is 8,422. Of
# such pages a run that keeps them takes none, and some others come on the way. At the end nothing is left: weights,
# gradients and Adam's means alone take 138 MB.
def test_blocks_are_kept_while_a_run_needs_them():
    counted = counted_in_a_process()
    assert counted["small"] > counted["before"] / 2
    assert max(counted[name] for name in ("large", "exact", "fused")) < counted["before"] / 8
    assert counted["left"] < 80e6


# MALLOC_TOP_PAD_ says nothing of such blocks, but that somebody has thought about the heap.
def test_what_was_set_from_outside_stays():
    counted = counted_in_a_process(MALLOC_TOP_PAD_="131072")
    assert min(counted["small"], counted["large"]) > counted["before"] / 2
    assert counted["exact"] > counted["before"] / 8
