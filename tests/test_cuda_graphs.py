"""On an NVIDIA GPU: recorded runs are the runs without recording, whatever surrounds them; repeatable kernels."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import everybatch as eb
from test_train import assert_identical

pytestmark = pytest.mark.cuda

SWITCH = "EVERYBATCH_CUDA_GRAPHS"
OnGpu = Callable[..., eb.Run]


# 26 epochs of five steps, the last of each on two images: 130 steps, more than two blocks of history.
ARGUMENTS: dict[str, Any] = {
    "epochs": 26,
    "batch_size": 32,
    "progress": False,
    "device": "cuda",
    "record": ("predictions",),
    "deterministic": True,
}


@pytest.fixture
def gpu(tiny: eb.Network, glyphs: eb.Dataset) -> OnGpu:
    """`train` with these arguments unless told otherwise."""

    def gpu(network: eb.Network = tiny, data: eb.Dataset = glyphs, **arguments: Any) -> eb.Run:
        return eb.train(network, data, **ARGUMENTS | arguments)

    return gpu


@pytest.fixture
def eager(gpu: OnGpu, monkeypatch: pytest.MonkeyPatch) -> OnGpu:
    """The same without graphs."""

    def eager(*given: Any, **arguments: Any) -> eb.Run:
        with monkeypatch.context() as patch:
            patch.setenv(SWITCH, "0")
            run = gpu(*given, **arguments)
        assert run.config["cuda"]["graphs"] is False
        assert SWITCH in run.config["cuda"]["reason"]
        return run

    return eager


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"optimizer": "sgd", "lr": 0.02},
        {"optimizer": "sgd", "lr": 0.02, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
        {"optimizer": "adamw", "schedule": "cosine"},
        {"optimizer": "sgd", "momentum": 0.9, "lr": 0.05, "schedule": "one_cycle"},
        {"optimizer": "sgd", "momentum": 0.9, "nesterov": True, "lr": 0.05, "schedule": "one_cycle"},
        {"schedule": "one_cycle"},
        {"optimizer": "adamw", "weight_decay": 0.1, "schedule": "one_cycle"},
        {"optimizer": "rmsprop", "momentum": 0.9, "centered": True, "schedule": "one_cycle"},
        {"optimizer": "nadam", "class_weight": "balanced", "label_smoothing": 0.1},
        {"optimizer": "nadam", "schedule": "one_cycle"},
        {"optimizer": "lion", "lr": 1e-4, "clip_grad_norm": 1.0},
        {"optimizer": "muon", "lr": 0.01, "schedule": "cosine"},
        {"optimizer": "muon", "lr": 0.01, "schedule": "one_cycle"},
        {"evaluate_every": 7},
        {"evaluate_every": "epoch", "evaluate_on": 20},
        {"ema": 0.8, "label_smoothing": 0.1},
        {"validation": 0.2, "select": "best", "patience": 60},
        {"schedule": eb.schedules.plateau(patience=0), "validation": 30},
        {"augment": eb.Augment(shift=2, rotate=10, scale=0.1, shear=5, elastic=0.5, erase=0.5)},
        {
            "augment": eb.Augment(shift=2, rotate=10, elastic=0.5, erase=0.5),
            "augment_schedule": eb.schedules.linear(begin=0.1, end=0.7),
            "label_smoothing": 0.2,
            "label_smoothing_schedule": eb.schedules.linear(end=0.8),
        },
        {"class_weight": "balanced", "label_smoothing": 0.2, "label_smoothing_schedule": "cosine"},
        {"precision": "bfloat16"},
        {"precision": "bfloat16", "ema": 0.9},
        {"precision": "tf32"},
        {"steps": 64, "epochs": 1},
        {"record": ("grad_norm",), "clip_grad_norm": 1.0},
    ],
    ids=str,
)
def test_recorded_runs_are_the_runs_without_recording(gpu: OnGpu, eager: OnGpu, arguments: dict[str, Any]) -> None:
    recorded, plain = gpu(**arguments), eager(**arguments)
    assert recorded.config["cuda"]["graphs"] is True, recorded.config["cuda"]["reason"]
    assert_identical(recorded, plain)
    np.testing.assert_array_equal(recorded.lr, plain.lr)
    assert recorded.model_step == plain.model_step
    if "validation" in arguments:
        np.testing.assert_array_equal(recorded.validation_loss, plain.validation_loss)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "network",
    [
        eb.networks.resnet(stages=[8, 16], dropout=0.3),
        eb.networks.resnet(stages=[8, 16], stochastic_depth=0.5),
        eb.networks.wide_resnet(width=1, stem_channels=8, pre_activation=True, dropout=0.2),
        eb.networks.lenet5(activation=["leaky_relu", "softplus"]),
        eb.networks.resnet(stages=[8, 16], squeeze_excitation=4),
        eb.Network([eb.Conv2d(1, 8, 3, padding=1), eb.AdaptiveAvgPool2d(7), eb.Flatten(), eb.Linear(392, 10)]),
        eb.Network([eb.Conv2d(1, 8, 3, padding=1), eb.AdaptiveAvgPool2d((5, 30)), eb.Flatten(), eb.Linear(1200, 10)]),
    ],
    ids=lambda network: network.name,
)
def test_so_are_those_of_other_networks(gpu: OnGpu, eager: OnGpu, network: eb.Network, precision: str) -> None:
    recorded, plain = (train(network, epochs=6, precision=precision) for train in (gpu, eager))
    assert recorded.config["cuda"]["graphs"] is True, recorded.config["cuda"]["reason"]
    assert_identical(recorded, plain)


def test_the_steps_after_a_measurement_do_not_reach_into_it(gpu: OnGpu, eager: OnGpu) -> None:
    # Large measurements and small steps: without the right waits, step t + 1 would change what step t is measured with.
    data = eb.datasets.glyphs(train=130, test=5000)
    network = eb.networks.resnet(stages=[32, 64])
    arguments: dict[str, Any] = {"optimizer": "sgd", "lr": 0.1}
    run = gpu(network, data, epochs=30, **arguments)
    assert run.config["cuda"]["graphs"] is True
    for step in (1, 75, 150):
        again = eager(network, data, epochs=1, steps=step, evaluate_every="epoch", **arguments)
        assert again.test_loss[-1] == run.test_loss[step]
    assert run.model.evaluate(data).loss == pytest.approx(run.test_loss[-1], rel=1e-3)


def test_two_deterministic_runs_are_identical(gpu: OnGpu) -> None:
    data = eb.datasets.glyphs(train=300, test=100)
    for precision in ("float32", "bfloat16"):
        runs = [gpu(eb.networks.resnet(), data, epochs=10, seed=4, precision=precision) for _ in range(2)]
        assert runs[0].config["cuda"]["graphs"] is True, runs[0].config["cuda"]["reason"]
        assert_identical(*runs)


def test_what_deterministic_changes_is_changed_back(gpu: OnGpu) -> None:
    def settings() -> tuple[object, ...]:
        cudnn = torch.backends.cudnn
        return (
            torch.are_deterministic_algorithms_enabled(),
            cudnn.deterministic,
            cudnn.benchmark,
            cudnn.allow_tf32,
            torch.backends.cuda.matmul.allow_tf32,
            torch.cuda.current_stream(),
        )

    torch.backends.cudnn.benchmark = True
    try:
        before = settings()
        gpu(epochs=1)
        assert settings() == before
    finally:
        torch.backends.cudnn.benchmark = False


def test_dropout_and_torchs_generators(glyphs: eb.Dataset) -> None:
    network = eb.Network([eb.Flatten(), eb.Dropout(0.5), eb.Linear(784, 10)])
    train = partial(
        eb.train,
        network,
        glyphs,
        batch_size=32,
        epochs=8,
        progress=False,
        device="cuda",
        record="predictions",
        deterministic=True,
    )
    before = torch.get_rng_state(), torch.cuda.get_rng_state()
    first, second, other = train(seed=1), train(seed=1), train(seed=2)
    assert first.config["cuda"]["graphs"] is True
    assert_identical(first, second)
    assert not np.array_equal(first.train_loss, other.train_loss)
    # A mask of its own for each replay: the same batch in the same order would otherwise lose the same inputs.
    still = train(lr=0.0, optimizer="sgd", shuffle=False)
    assert len({*still.train_loss.tolist()}) > 8 * 4
    assert torch.equal(torch.get_rng_state(), before[0])
    assert torch.equal(torch.cuda.get_rng_state(), before[1])


def test_callbacks_see_the_weights_of_their_step(gpu: OnGpu, eager: OnGpu) -> None:
    def watched(train: OnGpu) -> tuple[eb.Run, list[Any]]:
        seen: list[Any] = []

        def look(step: eb.Step) -> None:
            weights = step.model().state_dict()["0.weight"] if step.step in (1, 64, 99) else None
            seen.append((step.step, step.train_loss, step.test_loss, step.eval_step, weights))

        return train(callbacks=look, evaluate_every=3), seen

    (recorded, there), (plain, here) = watched(gpu), watched(eager)
    assert_identical(recorded, plain)
    assert [row[:4] for row in there] == [row[:4] for row in here]
    for step in (1, 64, 99):
        assert torch.equal(there[step - 1][4], here[step - 1][4])


def test_a_callback_may_stop_a_recorded_run(gpu: OnGpu, eager: OnGpu) -> None:
    def at_70(step: eb.Step) -> None:
        if step.step == 70:
            raise eb.StopTraining("enough")

    recorded, plain = (train(callbacks=at_70, evaluate_every="epoch") for train in (gpu, eager))
    assert (recorded.state, recorded.steps, recorded.eval_step[-1]) == ("stopped", 70, 70)
    assert_identical(recorded, plain)


def test_checkpoints_are_those_of_a_run_without_recording(gpu: OnGpu, eager: OnGpu, tmp_path: Path) -> None:
    for name, train in (("there", gpu), ("here", eager)):
        train(checkpoints=tmp_path / name, checkpoint_every=33, ema=0.9)
    kept = sorted(path.name for path in (tmp_path / "there").iterdir())
    assert len(kept) == 3
    for name in kept:
        there, here = (eb.Model.load(tmp_path / part / name).state_dict() for part in ("there", "here"))
        assert all(torch.equal(there[key], here[key]) for key in here)


def test_divergence_in_a_recorded_run(gpu: OnGpu, eager: OnGpu) -> None:
    runs = []
    for train in (gpu, eager):
        with pytest.warns(RuntimeWarning, match="NaN or infinite"):
            runs.append(train(optimizer="sgd", lr=1e30))
    assert runs[0].diverged_at == runs[1].diverged_at
    np.testing.assert_array_equal(runs[0].train_loss, runs[1].train_loss)
    np.testing.assert_array_equal(runs[0].eval_step, runs[1].eval_step)


def test_short_runs_are_not_recorded(gpu: OnGpu, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "everybatch.train"):
        run = gpu(epochs=1)
    assert run.config["cuda"]["graphs"] is False
    assert "5 steps" in run.config["cuda"]["reason"]
    assert "5 steps" in caplog.text


def test_where_recording_fails_the_run_goes_on_and_says_so(
    gpu: OnGpu, eager: OnGpu, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no graphs today")

    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING, "everybatch.train"):
        patch.setattr(torch.cuda, "CUDAGraph", broken)
        run = gpu()
    assert "no graphs today" in run.config["cuda"]["reason"]
    assert "no graphs today" in caplog.text
    assert_identical(run, eager())
    assert gpu().config["cuda"]["graphs"] is True


def test_a_recording_that_breaks_off_leaves_torch_as_it_was(
    gpu: OnGpu, eager: OnGpu, glyphs: eb.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Waiting for the device within a recording invalidates it, as any operation would that cannot be recorded.
    begin = torch._C._CUDAGraph.capture_begin
    left = 1

    def broken(*given: Any) -> None:
        nonlocal left
        begin(*given)
        if left:
            left -= 1
            with pytest.raises(RuntimeError):
                torch.cuda.synchronize()

    network = eb.Network([eb.Flatten(), eb.Dropout(0.5), eb.Linear(784, 10)])
    with monkeypatch.context() as patch:
        patch.setattr(torch._C._CUDAGraph, "capture_begin", broken)
        run = gpu(network)
    assert run.config["cuda"]["graphs"] is False
    assert "recording failed" in run.config["cuda"]["reason"]
    assert_identical(run, eager(network))
    torch.rand(3, device="cuda")  # torch's generator draws, and its allocator gives memory of its own
    pools = {tuple(segment["segment_pool_id"]) for segment in torch.cuda.memory_snapshot()}
    torch.empty(2**22, device="cuda")
    assert {tuple(segment["segment_pool_id"]) for segment in torch.cuda.memory_snapshot()} <= pools | {(0, 0)}
    again = gpu(network)
    assert again.config["cuda"]["graphs"] is True, again.config["cuda"]["reason"]
    assert_identical(run, again)


def test_runs_hand_their_streams_on(gpu: OnGpu) -> None:
    # cuBLAS keeps memory for each stream: 32 MiB on Hopper.
    gpu()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved()
    for _ in range(4):
        gpu()
    torch.cuda.empty_cache()
    assert torch.cuda.memory_reserved() <= before


def test_fused_convolutions_measure_what_separate_ones_do(gpu: OnGpu) -> None:
    data = eb.datasets.glyphs(train=130, test=2000)
    for precision, tolerance in (("float32", 1e-4), ("tf32", 0.005), ("bfloat16", 0.02)):
        train = partial(gpu, eb.networks.resnet(), data, epochs=5, precision=precision)
        chosen, separate = train(deterministic=False), train()
        plan = chosen.config["cuda"]["evaluation"][0]
        print(precision, plan["layout"], plan["chunk"], plan["convolutions"])
        assert plan["measured"]
        assert set(separate.config["cuda"]["evaluation"][0]["convolutions"]) == {"separate"}
        assert chosen.test_loss[0] == pytest.approx(separate.test_loss[0], rel=tolerance)
        assert abs(chosen.test_accuracy[0] - separate.test_accuracy[0]) <= 0.002
