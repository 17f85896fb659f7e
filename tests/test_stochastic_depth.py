"""Stochastic depth: whole images are dropped by the masks that splitmix64 gives, as torchvision drops them by rows.

The masks are computed here with NumPy, from the numbers of Vigna's splitmix64.c.
"""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import everybatch as eb
import reference
from everybatch.errors import ArgumentError, UnsupportedModuleError
from everybatch.export import torch_module
from parity import assert_same, both

pytestmark = pytest.mark.usefixtures("two_threads")
SEED, FIRST, SECOND = 7, 0.3, 0.6
GAMMA = np.uint64(0x9E3779B97F4A7C15)
SGD = partial(torch.optim.SGD, lr=0.02)


def mixed(number: Any) -> Any:
    """One step of splitmix64."""
    with np.errstate(over="ignore"):
        z = np.uint64(number) + GAMMA
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def kept(p: float, step: int, layer: int, images: int) -> np.ndarray:
    """Which images (N,) a step keeps in one of its layers that draw: two neighbours share a number."""
    with np.errstate(over="ignore"):
        seed = mixed(mixed(mixed(SEED) + np.uint64(step)) + mixed(layer))
        bits = mixed(seed + np.arange((images + 1) // 2).astype(np.uint64) * GAMMA)
    halves = np.stack([bits >> np.uint64(32), bits & np.uint64(0xFFFFFFFF)], axis=1).reshape(-1)[:images]
    return halves < round((1 - p) * 2**32)


class Masked(nn.Module):
    """Drops the images that `kept` says, and counts its steps."""

    def __init__(self, p: float, layer: int) -> None:
        super().__init__()
        self.p, self.layer, self.step = p, layer, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        mask = torch.tensor(kept(self.p, self.step, self.layer, len(x))).reshape(-1, *[1] * (x.dim() - 1))
        self.step += 1
        return x * mask / (1 - self.p)


def blocks(p: float = FIRST, q: float = SECOND) -> eb.Network:
    body = [eb.Conv2d(4, 4, 3, padding=1), eb.BatchNorm2d(4), eb.StochasticDepth(p)]
    other = [eb.Linear(4, 4), eb.StochasticDepth(q)]
    first = [eb.Conv2d(1, 4, 5, stride=3), eb.Activation("relu"), eb.Residual(body, activation="relu")]
    return eb.Network([*first, eb.GlobalAvgPool(), eb.Residual(other), eb.Linear(4, 10)], name="blocks")


def layers_of(network: eb.Network) -> list[dict[str, Any]]:
    layers: list[dict[str, Any]] = json.loads(network.to_json())["layers"]
    return layers


def plain_blocks() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 4, 5, stride=3),
        nn.ReLU(),
        reference.Block(
            nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), Masked(FIRST, 0)), activation=nn.ReLU()
        ),
        reference.GlobalPool("avg"),
        reference.Block(nn.Sequential(nn.Linear(4, 4), Masked(SECOND, 1))),
        nn.Linear(4, 10),
    )


# ---- training --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernels", ["exact", "fused"])
def test_losses_are_pytorchs_with_these_masks(glyphs: eb.Dataset, kernels: str) -> None:
    # Of losses after several steps gradients are a part; measurements drop nothing.
    run, plain = both(blocks(), plain_blocks(), glyphs, SGD, batch_size=21, optimizer="sgd", lr=0.02, kernels=kernels)
    assert run.steps == 7
    assert_same(run, plain)


def test_the_masks_drop_as_many_as_asked_for() -> None:
    for p in (FIRST, SECOND):
        shares = [1 - kept(p, step, layer, 33).mean() for step in range(300) for layer in range(2)]
        assert np.mean(shares) == pytest.approx(p, abs=5 * np.sqrt(p * (1 - p) / (600 * 33)))


def test_it_is_repeatable_and_not_there_in_measurements(glyphs: eb.Dataset) -> None:
    given: dict[str, Any] = {"batch_size": 26, "progress": False, "device": "cpu"}
    model = blocks().initialize(1)
    still = blocks(0.0, 0.0).initialize(1)
    for mine, other in zip(still.state_dict().values(), model.state_dict().values(), strict=True):
        mine.copy_(other)
    runs = [eb.train(model, glyphs, seed=seed, **given) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(runs[0].train_loss, runs[1].train_loss)
    assert runs[0].train_loss[0] != runs[2].train_loss[0]
    bare = eb.train(still, glyphs, seed=1, **given)
    assert runs[0].test_loss[0] == bare.test_loss[0]
    assert runs[0].train_loss[0] != bare.train_loss[0]
    np.testing.assert_array_equal(model.logits(glyphs.test_images), still.logits(glyphs.test_images))


def test_a_resumed_run_and_a_replay_have_the_same_masks(glyphs: eb.Dataset, tmp_path: Any) -> None:
    def interrupt(step: eb.Step) -> None:
        if step.step == 4:
            raise KeyboardInterrupt

    given: dict[str, Any] = {"steps": 8, "batch_size": 26, "progress": False, "record": ("weights",), "device": "cpu"}
    whole = eb.train(blocks(), glyphs, **given)
    eb.train(blocks(), glyphs, **given, folder=tmp_path / "run", callbacks=interrupt)
    went_on = eb.resume(tmp_path / "run", glyphs, progress=False)
    np.testing.assert_array_equal(went_on.train_loss, whole.train_loss)
    found = eb.insight.replay(whole, 6, dataset=glyphs)  # which compares the losses on the way
    assert np.float32(found.loss) == whole.test_loss[7]


# ---- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [-0.1, 1.0, 1.5, float("nan")])
def test_a_probability_lies_below_1(p: float) -> None:
    with pytest.raises(ArgumentError, match=r"(?i)StochasticDepth: p is .*must lie in \[0, 1\)"):
        eb.StochasticDepth(p)


def test_it_belongs_into_a_block() -> None:
    with pytest.raises(TypeError):
        eb.StochasticDepth()  # type: ignore[call-arg]
    layers = [eb.Flatten(), eb.Linear(784, 10), eb.StochasticDepth(0.2)]
    with pytest.raises(
        ArgumentError, match=r"layer 2 \(StochasticDepth\) drops whole images.*the last layer of a Resid"
    ):
        eb.Network(layers)


# ---- builders --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "count"),
    [
        (partial(eb.networks.resnet, stages=[4, 8], blocks=[1, 2]), 3),
        (partial(eb.networks.resnet18, widths=4), 8),
        (partial(eb.networks.deep_resnet, widths=4), 16),
        (partial(eb.networks.wide_resnet, width=1, depth=10), 3),
        (partial(eb.networks.wide_resnet, width=1, depth=16, pre_activation=True), 6),
    ],
)
def test_the_last_block_is_dropped_most_often(build: Any, count: int) -> None:
    # Huang et al. 2016, section 4: 1 - p_l = 1 - l / L (1 - p_L), of what survives.
    network = build(stochastic_depth=0.4)
    ends = [layer["body"][-1] for layer in layers_of(network) if layer["type"] == "Residual"]
    assert [end["type"] for end in ends] == ["StochasticDepth"] * count
    np.testing.assert_allclose([end["p"] for end in ends], 0.4 * np.arange(1, count + 1) / count, rtol=1e-12)
    assert build().to_json() == build(stochastic_depth=0.0).to_json()
    assert network.num_parameters == build().num_parameters
    for wrong in (-0.1, 1.0):
        with pytest.raises(ArgumentError, match="StochasticDepth: p is"):
            build(stochastic_depth=wrong)


# ---- from and to PyTorch ---------------------------------------------------------------------------------------------


class StochasticDepth(nn.Module):
    """As torchvision.ops.StochasticDepth, of which the lines that draw are these."""

    def __init__(self, p: float, mode: str = "row") -> None:
        super().__init__()
        self.p, self.mode = p, mode

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or self.p == 0.0:
            return x
        size = [x.shape[0], *[1] * (x.ndim - 1)] if self.mode == "row" else [1] * x.ndim
        noise = torch.empty(size, dtype=x.dtype, device=x.device).bernoulli_(1.0 - self.p)
        return x * noise.div_(1.0 - self.p)


class DropPath(nn.Module):
    """As timm.layers.DropPath."""

    def __init__(self, drop_prob: float = 0.0, scale_by_keep: bool = True) -> None:
        super().__init__()
        self.drop_prob, self.scale_by_keep = drop_prob, scale_by_keep

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.drop_prob == 0.0 or not self.training:
            return x
        random = x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(1 - self.drop_prob)
        return x * (random.div_(1 - self.drop_prob) if self.scale_by_keep else random)


class Noisy(nn.Module):
    """Has the name, and does something else."""

    def __init__(self, drop_prob: float) -> None:
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.empty_like(x).bernoulli_(1 - self.drop_prob) if self.training else x


Noisy.__name__ = "DropPath"


def around(drop: nn.Module) -> nn.Module:
    body = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), drop)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), reference.Block(body, activation=nn.ReLU()), nn.Flatten(), nn.Linear(4 * 6 * 6, 10)
    )


@pytest.mark.parametrize("drop", [StochasticDepth(0.25), DropPath(0.25)], ids=lambda drop: type(drop).__name__)
def test_those_of_others_are_read(drop: nn.Module) -> None:
    module = around(drop).train()
    before = torch.get_rng_state()
    model = eb.from_torch(module, (1, 8, 8))
    assert torch.equal(torch.get_rng_state(), before)
    assert layers_of(model.network)[1]["body"][-1] == {"type": "StochasticDepth", "p": 0.25}
    assert module.training
    assert eb.from_torch(module.eval(), (1, 8, 8)).network == model.network


@pytest.mark.parametrize(
    ("drop", "match"),
    [
        (StochasticDepth(0.25, mode="batch"), "1.body.2 is StochasticDepth in mode 'batch'"),
        (DropPath(0.25, scale_by_keep=False), "1.body.2 is called DropPath, and does not drop each image"),
        (Noisy(0.25), "1.body.2 is called DropPath, and does not drop each image"),
    ],
    ids=["batch", "not divided", "elements"],
)
def test_what_only_has_the_name_is_refused(drop: nn.Module, match: str) -> None:
    with pytest.raises(UnsupportedModuleError, match=match):
        eb.from_torch(around(drop), (1, 8, 8))


def test_a_module_outside_of_a_block_is_refused_by_its_path() -> None:
    module = nn.Sequential(nn.Conv2d(1, 4, 3), DropPath(0.2), nn.Flatten(), nn.Linear(4 * 36, 10))
    with pytest.raises(UnsupportedModuleError, match="from_torch: 1 drops whole images outside of a residual block"):
        eb.from_torch(module, (1, 8, 8))


@pytest.mark.parametrize("drop", [StochasticDepth(0.0), DropPath(), nn.Identity()])
def test_what_drops_nothing_is_nothing(drop: nn.Module) -> None:
    network = eb.from_torch(around(drop), (1, 8, 8)).network
    assert layers_of(network)[1]["body"][-1]["type"] == "BatchNorm2d"


def test_it_goes_out_as_a_module_and_comes_back() -> None:
    model = blocks().initialize(0)
    module = torch_module(model)
    assert eb.from_torch(module, (1, 28, 28)).network.layers == model.network.layers
    drop = module[2].body[2].train()
    x = torch.ones(4000, 2, 3)
    flat = drop(x).flatten(1)
    assert (flat == flat[:, :1]).all()
    assert set(flat.unique().tolist()) == {0.0, float(torch.tensor(1.0) / (1 - FIRST))}
    assert float((flat[:, 0] == 0).double().mean()) == pytest.approx(FIRST, abs=0.04)
    assert drop.eval()(x) is x
    assert repr(drop) == f"StochasticDepth(p={FIRST})"
