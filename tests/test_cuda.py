"""On an NVIDIA GPU: the CPU's results within rounding, repeatable runs, whole histories, ends before the end."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import everybatch as eb
from parity import ADAM, both
from test_train import assert_identical

pytestmark = pytest.mark.cuda

OnGpu = Callable[..., eb.Run]


@pytest.fixture
def gpu(tiny: eb.Network, glyphs: eb.Dataset) -> OnGpu:

    def gpu(network: eb.Network = tiny, dataset: eb.Dataset = glyphs, **arguments: Any) -> eb.Run:
        given: dict[str, Any] = {"batch_size": 32, "progress": False, "device": "cuda", "record": ("predictions",)}
        return eb.train(network, dataset, **given | arguments)

    return gpu


@pytest.fixture
def repeatable(gpu: OnGpu) -> OnGpu:
    """The same, to the last bit each time: calibration and cuDNN's usual kernels round differently from run to run."""
    return partial(gpu, deterministic=True)


def test_auto_takes_the_gpu(tiny: eb.Network, glyphs: eb.Dataset) -> None:
    run = eb.train(tiny, glyphs, progress=False)
    assert run.config["training"]["device"] == "cuda:0"
    assert run.config["hardware"]["name"] == torch.cuda.get_device_name(0)


@pytest.mark.parametrize(
    "arguments",
    [
        {"optimizer": "sgd", "lr": 0.02},
        {"optimizer": "sgd", "lr": 0.02, "momentum": 0.9, "nesterov": True},
        {"optimizer": "adam"},
        {"optimizer": "adamw", "weight_decay": 0.1},
        {"optimizer": "sgd", "momentum": 0.9, "lr": 0.05, "schedule": "one_cycle"},
        {"optimizer": "sgd", "lr": 0.02, "ema": 0.8, "label_smoothing": 0.1},
        {"optimizer": "sgd", "lr": 0.02, "class_weight": "balanced", "label_smoothing": 0.1, "clip_grad_norm": 0.5},
        {"optimizer": "rmsprop", "lr": 1e-4},
        {"optimizer": "nadam"},
        {"optimizer": "sgd", "lr": 0.02, "validation": 0.2, "select": "best", "patience": 3},
        {"optimizer": "sgd", "lr": 0.02, "schedule": eb.schedules.plateau(patience=0), "validation": 30},
        {
            "optimizer": "sgd",
            "lr": 0.02,
            "augment": eb.Augment(shift=2, rotate=10, scale=0.1, shear=5, elastic=0.5, erase=0.5),
        },
    ],
)
def test_losses_are_the_cpus(gpu: OnGpu, arguments: dict[str, Any]) -> None:
    there, here = gpu(**arguments), gpu(**arguments, device="cpu")
    np.testing.assert_allclose(there.train_loss, here.train_loss, rtol=1e-3)
    np.testing.assert_allclose(there.test_loss, here.test_loss, rtol=1e-3)
    np.testing.assert_array_equal(there.eval_step, here.eval_step)
    np.testing.assert_array_equal(there.batch_indices(3), here.batch_indices(3))
    np.testing.assert_array_equal(there.lr, here.lr)
    assert there.model_step == here.model_step
    if "validation" in arguments:
        np.testing.assert_allclose(there.validation_loss, here.validation_loss, rtol=1e-3)


def test_the_reference_resnet_starts_as_on_the_cpu() -> None:
    # Only the start: what differs in the last bits differs by percents some steps later.
    data = eb.datasets.glyphs(train=120, test=300)
    arguments = {"batch_size": 60, "progress": False}
    there, here = (eb.train(eb.networks.resnet(), data, device=d, **arguments) for d in ("cuda", "cpu"))
    np.testing.assert_allclose(there.train_loss[:2], here.train_loss[:2], rtol=1e-3)
    np.testing.assert_allclose(there.test_loss[:2], here.test_loss[:2], rtol=1e-3)


def test_two_runs_with_one_seed_are_identical(repeatable: OnGpu) -> None:
    assert_identical(repeatable(epochs=3, seed=4), repeatable(epochs=3, seed=4))
    assert not np.array_equal(repeatable(seed=4).train_loss, repeatable(seed=5).train_loss)


def test_dropout_is_repeatable_and_torchs_generators_are_left_alone(gpu: OnGpu, glyphs: eb.Dataset) -> None:
    network = eb.Network([eb.Flatten(), eb.Dropout(0.5), eb.Linear(784, 10)])
    train = partial(gpu, network=network, dataset=glyphs, deterministic=True)
    before = torch.get_rng_state(), torch.cuda.get_rng_state()
    assert_identical(train(seed=1), train(seed=1))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert torch.equal(torch.cuda.get_rng_state(), before[1])


@pytest.mark.parametrize("epochs", [12, 13, 26])  # 60, 65, 130 steps: within, beyond and twice beyond a block of 64
def test_the_history_is_complete_across_blocks(repeatable: OnGpu, glyphs: eb.Dataset, epochs: int) -> None:
    run = repeatable(epochs=epochs)
    steps = 5 * epochs
    assert run.steps == steps
    assert run.eval_step.tolist() == list(range(steps + 1))
    for name in (
        "train_loss",
        "train_accuracy",
        "test_loss",
        "test_accuracy",
        "train_seconds",
        "eval_seconds",
    ):
        assert np.isfinite(getattr(run, name)).all(), name
    right = run.predictions == glyphs.test_labels
    np.testing.assert_array_equal(run.test_accuracy, right.mean(axis=1).astype(np.float32))
    by_class = [right[:, glyphs.test_labels == c].mean(axis=1) for c in range(10)]
    np.testing.assert_array_equal(run.class_accuracy, np.stack(by_class, axis=1).astype(np.float32))
    np.testing.assert_array_equal(run.confusion.sum(axis=1), np.bincount(glyphs.test_labels, minlength=10))
    assert run.confusion.diagonal().sum() == right[-1].sum()
    sparse = repeatable(epochs=epochs, evaluate_every=7)
    np.testing.assert_array_equal(sparse.train_loss, run.train_loss)
    np.testing.assert_array_equal(sparse.test_loss, run.test_loss[sparse.eval_step])


def test_the_model_comes_back_to_the_cpu(gpu: OnGpu, glyphs: eb.Dataset) -> None:
    run = gpu(epochs=4)
    assert {tensor.device.type for tensor in run.model.state_dict().values()} == {"cpu"}
    measured = run.model.evaluate(glyphs)
    assert measured.loss == pytest.approx(run.test_loss[-1], rel=1e-3)
    assert measured.accuracy == pytest.approx(run.final_accuracy, abs=2 / 60)  # an image or two on the border


def test_callbacks_see_every_step_and_may_take_the_weights(repeatable: OnGpu) -> None:
    seen: list[tuple[int, float, float]] = []
    models: list[eb.Model] = []

    def look(step: eb.Step) -> None:
        seen.append((step.step, step.train_loss, step.test_loss))
        if step.step in (1, 70):
            models.append(step.model())

    run, alone = repeatable(epochs=14, callbacks=look), repeatable(epochs=14)
    assert [step for step, *_ in seen] == list(range(1, 71))
    np.testing.assert_array_equal([loss for _, loss, _ in seen], run.train_loss)
    np.testing.assert_array_equal([loss for *_, loss in seen], run.test_loss[1:])
    assert_identical(run, alone)
    last, end = models[1].state_dict(), run.model.state_dict()
    assert all(torch.equal(last[name], end[name]) for name in end)
    assert not torch.equal(models[0].state_dict()["0.weight"], end["0.weight"])


def test_a_callback_may_stop_or_fail(gpu: OnGpu) -> None:
    def at_70(error: Exception) -> Callable[[eb.Step], None]:
        def end(step: eb.Step) -> None:
            if step.step == 70:
                raise error

        return end

    run = gpu(epochs=20, callbacks=at_70(eb.StopTraining()), evaluate_every="epoch")
    assert (run.state, run.steps, run.eval_step[-1]) == ("stopped", 70, 70)
    with pytest.raises(KeyError) as caught:
        gpu(epochs=20, callbacks=at_70(KeyError("mine")))
    assert caught.value.run.steps == 70  # type: ignore[attr-defined]
    assert len(caught.value.run.eval_step) == 71  # type: ignore[attr-defined]


def test_divergence_ends_the_history_where_it_happened(gpu: OnGpu) -> None:
    # The device is ahead of the host: what it did after the loss broke must not be seen.
    with pytest.warns(RuntimeWarning, match="NaN or infinite"):
        run = gpu(optimizer="sgd", lr=1e30, epochs=30)
    step = run.diverged_at
    assert step is not None
    assert run.steps in (step, step + 1)
    assert np.isfinite(run.train_loss[:step]).all()
    assert run.eval_step[-1] <= step
    right = run.confusion.diagonal() / run.confusion.sum(axis=1)
    np.testing.assert_array_equal(run.class_accuracy[-1], right.astype(np.float32))
    assert run.predictions.shape == (len(run.eval_step), 60)
    assert len(run.train_seconds) == run.steps


def test_ctrl_c_returns_the_run_so_far() -> None:
    code = """
        import everybatch as eb
        data = eb.datasets.glyphs(train=6000, test=1000)
        network = eb.Network([eb.Conv2d(1, 8, 5, stride=2), eb.Flatten(), eb.Linear(1152, 10)])
        eb.train(network, data, epochs=1, progress=False, device="cuda")
        print("ready", flush=True)
        run = eb.train(network, data, epochs=10**6, batch_size=20, progress=False, device="cuda")
        assert run.interrupted
        assert len(run.eval_step) in (run.steps, run.steps + 1) and len(run.train_seconds) == run.steps
        print(run)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(1)  # past the start of the second run
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "interrupted" in output


@pytest.mark.parametrize(("precision", "tolerance"), [("bfloat16", 0.05), ("tf32", 0.01)])
def test_coarser_factors(gpu: OnGpu, precision: str, tolerance: float) -> None:
    run, exact = gpu(precision=precision), gpu()
    np.testing.assert_allclose(run.train_loss, exact.train_loss, rtol=tolerance)
    np.testing.assert_allclose(run.test_loss, exact.test_loss, rtol=tolerance)
    assert not np.array_equal(run.train_loss, exact.train_loss)


def test_lenet5_starts_as_plain_pytorch_on_the_cpu() -> None:
    import reference

    data = eb.datasets.glyphs(train=180, test=100)
    model = eb.networks.lenet5().initialize(seed=1)
    run = eb.train(model, data, seed=7, batch_size=60, progress=False, device="cuda")
    _, plain = both(eb.networks.lenet5(), reference.lenet5(), data, ADAM, batch_size=60)
    np.testing.assert_allclose(run.train_loss, plain.train, rtol=1e-3)


def test_a_device_that_is_not_there(gpu: OnGpu) -> None:
    with pytest.raises(eb.errors.DeviceError, match="99"):
        gpu(device="cuda:99")


def test_kept_weights_are_those_that_were_measured(gpu: OnGpu, glyphs: eb.Dataset, tmp_path: Path) -> None:
    run = gpu(checkpoints=tmp_path / "kept", checkpoint_every=2, ema=0.5)
    for step, measured in eb.evaluate_checkpoints(tmp_path / "kept", glyphs).items():
        at = int(np.flatnonzero(run.eval_step == step)[0])
        assert measured.loss == pytest.approx(run.test_loss[at], rel=1e-3)


@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_broken_weights_show(gpu: OnGpu, precision: str, value: float) -> None:
    # A fused ReLU could make zeros of NaN, where PyTorch's relu keeps it.
    data = eb.datasets.glyphs(train=130, test=2000)
    model = eb.networks.resnet().initialize(seed=0)
    kept = gpu(model, data, epochs=8, precision=precision)
    assert "fused" in kept.config["cuda"]["evaluation"][0]["convolutions"]
    assert np.isfinite(kept.test_loss).all()
    names = [name for name, tensor in model.state_dict().items() if tensor.dim() == 4]
    for name in (names[0], names[5], names[-1]):
        broken = eb.networks.resnet().initialize(seed=0)
        broken.state_dict()[name][0] = value
        with pytest.warns(RuntimeWarning, match="NaN or infinite"):
            run = gpu(broken, data, epochs=8, precision=precision)
        assert run.diverged_at == 0
        assert np.isnan(run.test_loss[0])


# Counts by NumPy; the first measurement, before any step, is the CPU's but for images whose logits nearly tie.
def test_more_classes_than_a_byte_can_number() -> None:
    classes = 300
    images = np.random.default_rng(0).integers(0, 256, (2 * classes, 6, 6), dtype=np.uint8)
    labels = np.arange(2 * classes) % classes
    data = eb.Dataset(images, labels, images, labels)
    network = eb.Network([eb.Flatten(), eb.Linear(36, classes)], input_shape=(1, 6, 6))
    train = partial(eb.train, network, data, steps=70, batch_size=50, lr=0.01, progress=False, record=("predictions",))
    run, cpu = train(device="cuda"), train(device="cpu", steps=1)
    assert run.predictions.dtype == np.uint16
    assert np.mean(run.predictions[0] == cpu.predictions[0]) > 0.99
    counts = np.zeros((classes, classes), int)
    np.add.at(counts, (labels, run.predictions[-1]), 1)
    assert np.array_equal(run.confusion, counts)
    assert np.allclose((run.predictions == labels).mean(axis=1), run.test_accuracy)
    assert run.predictions[-1].max() > 256
