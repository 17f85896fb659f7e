"""On an NVIDIA GPU: what is recorded of single images is the same with graphs and without, and that of the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import everybatch as eb
from same_runs import assert_same
from test_recording import OVER_THE_RUN, PASSES, events_of, votes_of

pytestmark = pytest.mark.cuda

# Five steps to an epoch, the last of each on two images; 130 steps are more than two blocks of history.
ARGUMENTS: dict[str, Any] = {
    "epochs": 26,
    "batch_size": 32,
    "progress": False,
    "device": "cuda",
    "record": ("predictions", "losses", "examples"),
    "measure_training": 7,
}
OPTIONS: list[dict[str, Any]] = [
    {},
    {"optimizer": "sgd", "lr": 0.02, "evaluate_every": 7},
    {"ema": 0.8, "label_smoothing": 0.1, "validation": 0.2},
    {"augment": eb.Augment(shift=2, rotate=10), "evaluate_on": 20},
    {"precision": "bfloat16"},
    {"precision": "tf32", "validation": 30},
]


@pytest.mark.parametrize("deterministic", [True, False])
@pytest.mark.parametrize("given", OPTIONS, ids=str)
def test_graphs_record_it(
    tiny: eb.Network, glyphs: eb.Dataset, given: dict[str, Any], deterministic: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ARGUMENTS | given | {"deterministic": deterministic}
    run = eb.train(tiny, glyphs, **arguments)
    assert run.config["cuda"]["graphs"] is True, run.config["cuda"]["reason"]
    labels = glyphs.test_labels[run.test_indices]
    np.testing.assert_array_equal(run.test_votes, votes_of(run.predictions, 10))
    np.testing.assert_array_equal(run.test_events, events_of(run.predictions == labels, run.eval_step))
    np.testing.assert_allclose(run.test_sums[:, 4], run.losses.astype(float).sum(0), rtol=2e-3, atol=0.1)
    np.testing.assert_allclose(run.losses.astype(float).mean(1), run.test_loss, rtol=1e-3)
    assert np.all(run.step_votes.sum(1) == 26)  # once an epoch
    assert run.training_eval_step.tolist() == [round(run.steps * k / 7) for k in range(1, 8)]
    if deterministic:
        monkeypatch.setenv("EVERYBATCH_CUDA_GRAPHS", "0")
        plain = eb.train(tiny, glyphs, **arguments)
        assert plain.config["cuda"]["graphs"] is False
        assert_same(run, plain)


# Expected: the CPU's, as long as rounding has not parted the runs.
@pytest.mark.parametrize("given", [{}, {"validation": 30, "ema": 0.8}], ids=str)
def test_it_is_the_cpus(tiny: eb.Network, glyphs: eb.Dataset, given: dict[str, Any]) -> None:
    arguments = ARGUMENTS | {"epochs": 1, "steps": 24, "optimizer": "sgd", "lr": 0.02} | given
    there, here = (eb.train(tiny, glyphs, **arguments | {"device": device}) for device in ("cuda", "cpu"))
    for name in ("losses", "step_sums", "test_sums", "training_margins", "training_losses"):
        one, other = (getattr(run, name).astype(float) for run in (there, here))
        np.testing.assert_allclose(one, other, rtol=0.02, atol=0.02, err_msg=name)
    for name in ("step_votes", "test_votes", "training_predictions"):
        assert np.mean(getattr(there, name) == getattr(here, name)) > 0.97, name
    np.testing.assert_array_equal(there.training_eval_step, here.training_eval_step)
    np.testing.assert_array_equal(there.trained_indices, here.trained_indices)


def test_a_resumed_run_is_the_uncut_one(tiny: eb.Network, glyphs: eb.Dataset, tmp_path: Path) -> None:
    def interrupt(step: eb.Step) -> None:
        if step.step == 70:
            raise KeyboardInterrupt

    arguments = ARGUMENTS | {"deterministic": True}
    whole = eb.train(tiny, glyphs, **arguments)
    cut = eb.train(tiny, glyphs, folder=tmp_path / "run", callbacks=interrupt, **arguments)
    assert (cut.state, cut.steps) == ("interrupted", 70)
    assert np.all(cut.test_votes.sum(1) == 71)
    assert_same(eb.resume(tmp_path / "run", glyphs, progress=False), whole)
    assert_same(eb.load_run(tmp_path / "run"), whole)


def test_nothing_counts_after_a_loss_that_is_no_number(tiny: eb.Network, glyphs: eb.Dataset) -> None:
    arguments = ARGUMENTS | {"optimizer": "sgd", "lr": 1e20}
    with pytest.warns(RuntimeWarning, match="NaN or infinite"):
        run = eb.train(tiny, glyphs, **arguments)
    sound = np.isfinite(run.test_loss)
    assert not sound.all()
    for name in OVER_THE_RUN:
        assert np.isfinite(getattr(run, name)).all(), name
    assert np.all(run.test_votes.sum(1) == sound.sum())
    assert run.step_votes.sum() >= 32 * np.isfinite(run.train_loss).sum()
    for name in PASSES:
        assert len(getattr(run, name)) <= 1


def test_many_classes(glyphs: eb.Dataset) -> None:
    classes = 300
    draw = np.random.default_rng(0)
    images, labels = draw.integers(0, 256, (900, 6, 6), dtype=np.uint8), np.arange(900) % classes
    data = eb.Dataset(images[:600], labels[:600], images[600:], labels[600:], name="noise")
    network = eb.Network([eb.Flatten(), eb.Linear(36, classes)], input_shape=(1, 6, 6))
    run = eb.train(network, data, **ARGUMENTS | {"epochs": 4, "batch_size": 50})
    assert run.config["cuda"]["graphs"] is True, run.config["cuda"]["reason"]
    np.testing.assert_array_equal(run.test_votes, votes_of(run.predictions, classes))
    assert np.all(run.step_votes.sum(1) == 4)
    assert run.training_predictions.dtype == np.uint16
