"""kernels="fused": the same training as kernels="exact" within rounding, and everything that belongs to a run."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import everybatch as eb
from parity import ADAM, STEPS, both
from test_parity import every_layer
from test_train import assert_identical, has_bfloat16

pytestmark = pytest.mark.usefixtures("two_threads")
Quick = Callable[..., eb.Run]
SGD = partial(torch.optim.SGD, lr=0.02, momentum=0.9)


def test_every_layer_trains_as_in_pytorch(colour: eb.Dataset) -> None:
    # With SGD, for Adam's first steps follow the signs of gradients that may be nothing but rounding.
    network, module = every_layer()
    run, plain = both(
        network, module, colour, SGD, batch_size=10, optimizer="sgd", lr=0.02, momentum=0.9, kernels="fused"
    )
    np.testing.assert_allclose(run.train_loss, plain.train, rtol=1e-3)
    np.testing.assert_allclose(run.test_loss, plain.test, rtol=1e-3)
    state = module.state_dict()
    for name, tensor in run.model.state_dict().items():
        torch.testing.assert_close(tensor, state[name], rtol=1e-2, atol=1e-3, msg=name)


def test_adam_starts_as_in_pytorch(tiny: eb.Network) -> None:
    from test_parity import plain_tiny

    data = eb.datasets.glyphs(train=16 * STEPS - 5, test=100)
    run, plain = both(tiny, plain_tiny(), data, ADAM, batch_size=16, kernels="fused")
    np.testing.assert_allclose(run.train_loss, plain.train, rtol=0.02)
    np.testing.assert_allclose(run.train_loss[:5], plain.train[:5], rtol=1e-3)


@pytest.mark.parametrize(
    "network",
    [
        eb.networks.resnet(stages=(16, 32)),
        eb.networks.kernel_net(widths=(8, 16), hidden=32),
        eb.networks.wide_resnet(depth=10, width=1, pre_activation=True),
        eb.networks.vgg11(widths=(8, 8, 16, 16, 16), hidden=32),
        eb.networks.deep_resnet(widths=(8, 8, 16, 16), block_norm=True),
    ],
    ids=lambda network: network.name,
)
def test_the_networks_of_the_studies_learn_alike(network: eb.Network) -> None:
    data = eb.datasets.glyphs(train=100, test=60, seed=2)
    model = network.initialize(seed=3)
    run = partial(eb.train, model, data, batch_size=50, steps=3, optimizer="sgd", lr=0.01, device="cpu", progress=False)
    fused, exact = run(kernels="fused"), run(kernels="exact")
    np.testing.assert_allclose(fused.train_loss, exact.train_loss, rtol=2e-3)
    np.testing.assert_allclose(fused.test_loss, exact.test_loss, rtol=2e-3)


@pytest.mark.parametrize(
    "arguments",
    [
        {"optimizer": "sgd", "lr": 0.02, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-3},
        {"optimizer": "adamw", "weight_decay": 0.1},
        {"optimizer": "sgd", "lr": 0.05, "momentum": 0.9, "schedule": "one_cycle"},
        {"optimizer": "sgd", "lr": 0.02, "ema": 0.8, "label_smoothing": 0.1},
        {"optimizer": "sgd", "lr": 0.02, "validation": 0.2, "select": "best"},
        {"optimizer": "sgd", "lr": 0.02, "augment": eb.Augment(shift=2, rotate=10, erase=0.5)},
    ],
)
def test_options_mean_the_same(quick: Quick, arguments: dict[str, Any]) -> None:
    fused, exact = quick(kernels="fused", epochs=2, **arguments), quick(epochs=2, **arguments)
    tolerance = 0.02 if arguments["optimizer"] == "adamw" else 1e-3
    np.testing.assert_allclose(fused.train_loss, exact.train_loss, rtol=tolerance)
    np.testing.assert_allclose(fused.test_loss, exact.test_loss, rtol=tolerance)
    np.testing.assert_array_equal(fused.lr, exact.lr)


def test_a_run_repeats_bit_for_bit(quick: Quick) -> None:
    network = eb.networks.lenet5(dropout=0.3)
    run = partial(quick, network, epochs=3, kernels="fused", record=("predictions",))
    assert_identical(run(seed=4), run(seed=4))
    assert not np.array_equal(run(seed=4).train_loss, run(seed=5).train_loss)


def test_kept_weights_are_those_that_were_measured(quick: Quick, glyphs: eb.Dataset, tmp_path: Path) -> None:
    network = eb.networks.resnet(stages=(16, 16))
    run = quick(network, kernels="fused", checkpoints=tmp_path / "kept", checkpoint_every=2)
    for step, measured in eb.evaluate_checkpoints(tmp_path / "kept", glyphs).items():
        assert np.float32(measured.loss) == run.test_loss[int(np.flatnonzero(run.eval_step == step)[0])]
    assert all(tensor.is_contiguous() for tensor in run.model.state_dict().values())


def test_a_loss_that_is_not_finite_ends_the_run(quick: Quick) -> None:
    with pytest.warns(RuntimeWarning, match="NaN or infinite"):
        run = quick(kernels="fused", optimizer="sgd", lr=1e30)
    assert run.diverged_at is not None


def test_the_choice_is_told(quick: Quick) -> None:
    assert quick().config["training"]["kernels"] == "exact"
    assert quick(kernels="fused").config["training"]["kernels"] == "fused"
    if has_bfloat16():
        assert quick(precision="bfloat16").config["training"]["kernels"] == "fused"
        exact = quick(precision="bfloat16", kernels="exact")
        assert exact.config["training"]["kernels"] == "exact"
        np.testing.assert_allclose(exact.train_loss, quick(precision="bfloat16").train_loss, rtol=0.05)


def test_wrong_names_are_refused(quick: Quick) -> None:
    with pytest.raises(eb.errors.ArgumentError, match=r"kernels.*fast.*exact"):
        quick(kernels="fast")
    with pytest.raises(TypeError, match="kernels"):
        quick(kernels=3)


def test_lenet5_learns(mnist: eb.Dataset) -> None:
    run = eb.train(
        eb.networks.lenet5(), mnist, steps=400, batch_size=64, kernels="fused", evaluate_every=100, device="cpu",
        progress=False,
    )  # fmt: skip
    assert run.best_accuracy > 0.97
