"""Folders of earlier versions: what they hold is read, and goes on.

`two_axes.zip` is the folder of a run that Ctrl-C ended after five of eight steps, written by commit 56fcde6, whose
histories had rows of steps and of evaluations alone:

    net = eb.Network([eb.MaxPool2d(4), eb.Flatten(), eb.Linear(49, 10)], name="small")
    eb.train(net, eb.datasets.glyphs(train=64, test=20), steps=8, batch_size=16, optimizer="sgd", lr=0.05,
             record=("predictions", "grad_norm"), validation=16, folder="two_axes", progress=False, device="cpu",
             deterministic=True, callbacks=stop)

and TRAIN_LOSS and TEST_LOSS are those of the same run without an end.
"""

from __future__ import annotations

import contextlib
import zipfile
from pathlib import Path

import numpy as np
import pytest

import everybatch as eb
from everybatch.folder import read_state, recorded
from everybatch.folder._rows import Counts

TRAIN_LOSS = [2.6201098, 2.2662978, 2.4781563, 2.0102816, 2.1522422, 2.250773, 2.0177355, 2.089806]
TEST_LOSS = [2.5247953, 2.3533404, 2.3451934, 2.2631204, 2.2573495, 2.1976438, 2.166028, 2.1339853, 2.1462758]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with zipfile.ZipFile(Path(__file__).parent / "two_axes.zip") as archive:
        archive.extractall(tmp_path)
    return tmp_path


def test_it_is_read(folder: Path) -> None:
    run = eb.load_run(folder)
    assert (run.state, run.steps, run.eval_step.tolist()) == ("interrupted", 5, [0, 1, 2, 3, 4, 5])
    np.testing.assert_allclose(run.train_loss, TRAIN_LOSS[:5], rtol=1e-6)
    np.testing.assert_allclose(run.test_loss, TEST_LOSS[:6], rtol=1e-6)
    assert (run.predictions.shape, run.class_accuracy.shape) == ((6, 20), (6, 10))
    assert run.model_step == 5


def test_so_is_its_state(folder: Path) -> None:
    kept = read_state(folder)
    assert kept is not None
    with contextlib.closing(kept):
        assert kept.rows == Counts(steps=5, evaluations=6)
        np.testing.assert_allclose(recorded(folder, kept)["train_loss"], TRAIN_LOSS[:5], rtol=1e-6)


def test_it_goes_on(folder: Path) -> None:
    before = eb.load_run(folder)
    run = eb.resume(folder, progress=False)
    assert (run.state, run.steps) == ("finished", 8)
    for name, array in before._arrays.items():
        if name != "confusion":
            np.testing.assert_array_equal(run._arrays[name][: len(array)], array, err_msg=name)
    np.testing.assert_allclose(run.train_loss, TRAIN_LOSS, rtol=1e-4)
    np.testing.assert_allclose(run.test_loss, TEST_LOSS, rtol=1e-4)
    assert eb.load_run(folder).steps == 8
    assert eb.resume(folder, steps=9, progress=False).steps == 9
