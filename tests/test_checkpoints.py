"""Kept weights: when they are kept, that measuring them gives the run's own figures, and what can go wrong."""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import everybatch as eb
from everybatch.errors import ArgumentError, FileFormatError, ShapeError
from test_train import has_bfloat16

Quick = Callable[..., eb.Run]


def assert_same_as_history(table: dict[int, eb.Evaluation], run: eb.Run, steps: list[int]) -> None:
    """Equal to the last bit, at all these steps."""
    assert list(table) == steps
    rows = {step: row for row, step in enumerate(run.eval_step.tolist())}
    for step, measured in table.items():
        row = rows[step]
        assert np.float32(measured.loss) == run.test_loss[row], step
        assert np.float32(measured.accuracy) == run.test_accuracy[row], step
        np.testing.assert_array_equal(measured.class_accuracy, run.class_accuracy[row])
    if steps[-1] == run.steps:
        np.testing.assert_array_equal(table[run.steps].confusion, run.confusion)


# ---- the table is the history --------------------------------------------------------------------

CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "averaged": {"ema": 0.8},
    "some test images": {"evaluate_on": 25},
    "named test images": {"evaluate_on": [40, 2, 17, 3]},
    "much at once": {
        "ema": 0.5,
        "augment": eb.Augment(shift=1, rotate=5),
        "schedule": "one_cycle",
        "validation": 0.2,
        "label_smoothing": 0.1,
        "select": "best",
    },
    "best of many": {"validation": 0.3, "select": "best", "lr": 0.02, "epochs": 6},
}


@pytest.mark.parametrize("name", CASES)
def test_the_table_is_the_history_at_those_steps(quick: Quick, glyphs: eb.Dataset, tmp_path: Path, name: str) -> None:
    run = quick(**{"epochs": 4, "checkpoints": tmp_path / "kept", "checkpoint_every": 3} | CASES[name])
    table = eb.evaluate_checkpoints(tmp_path / "kept", glyphs, indices=run.test_indices)
    assert_same_as_history(table, run, list(range(3, run.steps + 1, 3)))
    losses = [measured.loss for measured in table.values()]
    assert len(set(losses)) == len(losses)  # other weights each time


def test_in_bfloat16_too(quick: Quick, glyphs: eb.Dataset, tmp_path: Path) -> None:
    if not has_bfloat16():
        pytest.skip("this CPU lacks avx512_bf16")
    run = quick(epochs=2, precision="bfloat16", checkpoints=tmp_path, checkpoint_every=2)
    table = eb.evaluate_checkpoints(tmp_path, glyphs, precision="bfloat16")
    assert_same_as_history(table, run, [2, 4, 6, 8, 10])
    exact = eb.evaluate_checkpoints(tmp_path, glyphs)
    assert exact[10].loss != table[10].loss


def test_on_a_larger_network(tmp_path: Path) -> None:
    # Several chunks of test images, and kernels whose sums depend on how they are split.
    data = eb.datasets.glyphs(train=300, test=700)
    run = eb.train(
        eb.networks.lenet5(dropout=0.2), data, epochs=2, checkpoints=tmp_path, progress=False, device="cpu", lr=3e-3
    )
    assert_same_as_history(eb.evaluate_checkpoints(tmp_path, data), run, [5, 10])


# ---- which, and what they are --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("every", "expected"), [(1, list(range(1, 11))), (4, [4, 8]), ("epoch", [5, 10]), (np.int64(7), [7]), (11, [])]
)
def test_when_weights_are_kept(quick: Quick, tmp_path: Path, every: Any, expected: list[int]) -> None:
    run = quick(epochs=2, checkpoints=tmp_path, checkpoint_every=every, evaluate_every=100)
    assert list(run.checkpoints) == expected
    names = [f"step_{step:06}.safetensors" for step in expected]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert [path.name for path in run.checkpoints.values()] == names


def test_kept_weights_are_those_of_that_step(quick: Quick, tmp_path: Path, glyphs: eb.Dataset) -> None:
    seen: dict[int, eb.Model] = {}
    run = quick(
        epochs=2,
        checkpoints=str(tmp_path / "a" / "b"),
        checkpoint_every=4,
        callbacks=lambda step: seen.setdefault(step.step, step.model()),
    )
    assert list(run.checkpoints) == [4, 8]
    for step, path in run.checkpoints.items():
        kept = eb.Model.load(path)
        for name, tensor in kept.state_dict().items():
            assert torch.equal(tensor, seen[step].state_dict()[name]), name
        assert kept.network == run.model.network
        assert kept.mean == list(glyphs.mean)


def test_a_saved_run_knows_where_they_are(quick: Quick, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    quick(checkpoints="kept").save("run")
    monkeypatch.chdir("/")
    run = eb.load_run(tmp_path / "run")
    assert run.checkpoints == {5: tmp_path / "kept" / "step_000005.safetensors"}
    run.checkpoints[5].unlink()
    assert run.checkpoints == {}
    shutil.rmtree(tmp_path / "kept")
    assert run.checkpoints == {}


def test_without_a_folder_nothing_is_kept(quick: Quick) -> None:
    run = quick()
    assert run.checkpoints == {}
    assert run.config["training"]["checkpoints"] is None


def test_the_order_is_that_of_the_steps_and_other_files_are_left_alone(
    quick: Quick, tmp_path: Path, glyphs: eb.Dataset
) -> None:
    for name in ("notes.txt", "step_12.safetensors", "step_000003.safetensors.tmp"):
        (tmp_path / name).write_text("mine")
    model = quick(checkpoints=tmp_path, checkpoint_every=5).model
    model.save(tmp_path / "step_1000000.safetensors")  # seven digits
    assert list(eb.evaluate_checkpoints(tmp_path, glyphs)) == [5, 1_000_000]
    assert (tmp_path / "notes.txt").read_text() == "mine"


# ---- what can go wrong ---------------------------------------------------------------------------


def test_weights_of_another_run_are_not_mixed_with_these(quick: Quick, tmp_path: Path) -> None:
    first = quick(checkpoints=tmp_path)
    before = first.checkpoints[5].read_bytes()
    with pytest.raises(FileExistsError, match="holds kept weights already: choose another folder, or empty it"):
        quick(checkpoints=tmp_path, seed=1, callbacks=lambda _: pytest.fail("the training began"))
    assert first.checkpoints[5].read_bytes() == before


@pytest.mark.parametrize("inside", ["", "/deeper"])
def test_a_file_in_the_way(quick: Quick, tmp_path: Path, inside: str) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(NotADirectoryError, match="file"):
        quick(checkpoints=f"{tmp_path}/file{inside}", callbacks=lambda _: pytest.fail("the training began"))
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_that_cannot_be_written_to(quick: Quick, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("/proc/self", "/proc/weights"):  # where even root makes no files
        with pytest.raises(OSError, match="proc"):
            quick(checkpoints=folder)
    # Permissions do not bind root, who may be running this: the answer that others get.
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(PermissionError, match=rf"checkpoints: {tmp_path} may not be written to"):
        quick(checkpoints=tmp_path, callbacks=lambda _: pytest.fail("the training began"))


def test_a_folder_that_vanishes_costs_nothing_but_the_rest_of_the_run(
    quick: Quick, tmp_path: Path, glyphs: eb.Dataset
) -> None:
    def vanish(step: eb.Step) -> None:
        if step.step == 5:
            shutil.rmtree(tmp_path / "kept")

    with pytest.raises(FileNotFoundError, match="step_000006") as caught:
        quick(epochs=3, checkpoints=tmp_path / "kept", checkpoint_every=2, callbacks=vanish)
    run: eb.Run = caught.value.run  # type: ignore[attr-defined]
    whole = quick(epochs=3)
    assert (run.state, run.steps, run.model_step) == ("failed", 6, 6)
    np.testing.assert_array_equal(run.train_loss, whole.train_loss[:6])
    np.testing.assert_array_equal(run.test_loss, whole.test_loss[:7])
    assert np.float32(run.model.evaluate(glyphs).loss) == run.test_loss[6]
    run.save(tmp_path / "run")
    assert "step_000006" in eb.load_run(tmp_path / "run").config["status"]["message"]


def test_a_full_disk_costs_nothing_but_the_rest_of_the_run(tmp_path: Path) -> None:
    # In a process of its own, whose files may not grow beyond a limit from the fifth step on.
    code = f"""
        import resource
        import everybatch as eb

        def fill(step):
            if step.step == 5:
                resource.setrlimit(resource.RLIMIT_FSIZE, (1000, -1))

        data = eb.datasets.glyphs(train=100, test=20)
        network = eb.Network([eb.Flatten(), eb.Linear(784, 10)])
        folder = {str(tmp_path / "kept")!r}
        try:
            eb.train(network, data, batch_size=10, checkpoints=folder, checkpoint_every=2, callbacks=fill,
                     progress=False, device="cpu")
        except OSError as error:
            resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
            assert "step_000006" in str(error), error
            assert error.run.steps == 6, error.run
            assert len(error.run.test_loss) == 7
            assert list(error.run.checkpoints) == [2, 4], error.run.checkpoints
            assert list(eb.evaluate_checkpoints(folder, data)) == [2, 4]
        else:
            raise SystemExit("the disk was not full")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    kept = sorted(path.name for path in (tmp_path / "kept").iterdir())
    assert kept == ["step_000002.safetensors", "step_000004.safetensors"]  # no half of a file


def test_folders_without_kept_weights(tmp_path: Path, glyphs: eb.Dataset) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        eb.evaluate_checkpoints(tmp_path / "nowhere", glyphs)
    with pytest.raises(FileNotFoundError, match=r"holds no kept weights.*train\(checkpoints=\.\.\.\)"):
        eb.evaluate_checkpoints(tmp_path, glyphs)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(NotADirectoryError, match="file"):
        eb.evaluate_checkpoints(tmp_path / "file", glyphs)


def test_what_does_not_belong_together(quick: Quick, tmp_path: Path, glyphs: eb.Dataset, colour: eb.Dataset) -> None:
    run = quick(checkpoints=tmp_path)
    with pytest.raises(ShapeError):
        eb.evaluate_checkpoints(tmp_path, colour)
    with pytest.raises(IndexError, match="60"):
        eb.evaluate_checkpoints(tmp_path, glyphs, indices=np.array([60]))
    with pytest.raises(TypeError, match="dataset must be an everybatch Dataset, not ndarray"):
        eb.evaluate_checkpoints(tmp_path, glyphs.test_images)  # type: ignore[arg-type]
    run.checkpoints[5].write_bytes(run.checkpoints[5].read_bytes()[:-1])
    with pytest.raises(FileFormatError, match="step_000005"):
        eb.evaluate_checkpoints(tmp_path, glyphs)


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"checkpoints": 5}, TypeError, "checkpoints must be the path of a folder, not int"),
        ({"checkpoints": ""}, ArgumentError, "checkpoints must name a folder"),
        ({"checkpoint_every": 0}, ArgumentError, "checkpoint_every is 0"),
        ({"checkpoint_every": "week"}, ArgumentError, "checkpoint_every is 'week'.*'epoch'"),
        ({"checkpoint_every": 0.5}, TypeError, "checkpoint_every"),
    ],
)
def test_arguments_that_cannot_work(
    quick: Quick, tmp_path: Path, arguments: dict[str, Any], error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        quick(**{"checkpoints": tmp_path / "kept"} | arguments)
    assert not (tmp_path / "kept").exists()
