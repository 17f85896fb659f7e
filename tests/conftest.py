"""What several test files share: small data, a small network, a run in a second, and real MNIST where it is at hand."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")  # before anything imports pyplot: a test machine has no screen
# Waiting threads sleep: on a busy machine, tests with two threads would otherwise mostly wait for each other.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# Workers side by side have a thread each; where what two of them compute is the subject, a file asks for `two_threads`.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
# Tests with repeatable kernels come after others that use the GPU.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

import numpy as np
import pytest
import torch

import everybatch as eb
from everybatch._threads import torch_threads
from everybatch.cli import main
from everybatch.sweeps import _going

# A shell's background jobs start with SIGINT ignored, and Python leaves it so: the tests of Ctrl-C need the default.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A terminal is as wide as one that is not there, whatever the tests are run from.
for name in ("COLUMNS", "LINES"):
    os.environ.pop(name, None)

REAL_MNIST = Path(__file__).resolve().parents[2] / "shared" / "mnist"


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("cuda") and not torch.cuda.is_available():
        pytest.skip("torch finds no CUDA device")


LONGEST = ("test_notebooks.py", "test_parity_networks.py", "test_from_torch_networks.py", "test_sweep_ray.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take minutes first, so that no worker waits long for the other one at the end."""
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(LONGEST)))


@pytest.fixture
def two_threads() -> Iterator[None]:
    with torch_threads(2):
        yield


@pytest.fixture(scope="session")
def glyphs() -> eb.Dataset:
    """130 training images, so that batches of 32 end with one of two, and 60 test images; ten classes."""
    return eb.datasets.glyphs(train=130, test=60, seed=3)


@pytest.fixture(scope="session")
def colour() -> eb.Dataset:
    """The glyphs in three channels that differ."""
    grey = eb.datasets.glyphs(train=96, test=40, seed=4)

    def coloured(images: np.ndarray) -> np.ndarray:
        return np.stack([images, 255 - images, images // 2], axis=-1)

    return eb.Dataset(coloured(grey.train_images), grey.train_labels, coloured(grey.test_images), grey.test_labels)


@pytest.fixture(scope="session")
def tiny() -> eb.Network:
    """A convolutional network that trains for a step in about a millisecond."""
    return eb.Network(
        [
            eb.Conv2d(1, 8, 5, stride=2, bias=False),
            eb.BatchNorm2d(8),
            eb.Activation("relu"),
            eb.MaxPool2d(2),
            eb.Flatten(),
            eb.Linear(8 * 6 * 6, 10),
        ],
        name="tiny",
    )


@pytest.fixture
def quick(tiny: eb.Network, glyphs: eb.Dataset) -> Callable[..., eb.Run]:
    """`train` on the small network and data unless told otherwise: five steps an epoch, the last on two images."""

    def quick(network: Any = tiny, dataset: Any = glyphs, **arguments: Any) -> eb.Run:
        return eb.train(network, dataset, **{"batch_size": 32, "progress": False, "device": "cpu"} | arguments)

    return quick


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command line; return the exit code and what it wrote to stdout and stderr."""

    def run(*argv: object) -> tuple[int, str, str]:
        code = main([str(part) for part in argv])
        written = capsys.readouterr()
        return code, written.out, written.err

    return run


@pytest.fixture(scope="session")
def mnist() -> eb.Dataset:
    if not REAL_MNIST.is_dir():
        pytest.skip(f"real MNIST is not at hand in {REAL_MNIST}")
    return eb.datasets.mnist(REAL_MNIST, download=False)


@pytest.fixture
def going_on(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is gone on with, and not trained from the beginning."""
    calls: list[Any] = []
    go_on = _going.go_on

    def seen(*arguments: Any, **options: Any) -> eb.Run:
        run = go_on(*arguments, **options)
        calls.append(run)
        return run

    monkeypatch.setattr(_going, "go_on", seen)
    return calls
