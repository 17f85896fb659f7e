"""RMSprop, NAdam, Lion and Muon against torch.optim and the papers' formulas; options of optimizers; clipping."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import everybatch as eb
import reference
from everybatch._threads import torch_threads
from everybatch.errors import ArgumentError
from parity import STEPS, assert_same, both
from same_runs import assert_same as assert_identical
from test_parity import every_layer, plain_tiny

Quick = Callable[..., eb.Run]


class Lion:
    """Chen et al. 2023, arXiv 2302.06675, algorithm 2, in NumPy.

    Signs of noise are noise (a bias before batch norm has a gradient of nothing but rounding), so that it rounds where
    PyTorch's kernels do: in float32, and a product and its sum once.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], lr: float, betas: tuple[float, float] = (0.9, 0.99), decay: float = 0
    ) -> None:
        self.parameters, self.lr, self.betas, self.decay = list(parameters), np.float32(lr), betas, decay
        self.kept = np.float32(1 - lr * decay)
        self.means = [np.zeros(tuple(p.shape), np.float32) for p in self.parameters]

    def zero_grad(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        first, second = (np.float32(beta) for beta in self.betas)
        rests = [np.float32(1 - beta) for beta in self.betas]
        for place, parameter in enumerate(self.parameters):
            assert parameter.grad is not None
            weight, gradient, mean = parameter.numpy(), parameter.grad.numpy(), self.means[place]
            direction = np.sign(first * mean + rests[0] * gradient)
            weight[...] = weight * self.kept - self.lr * direction  # w - lr * (direction + decay * w)
            self.means[place] = (np.float64(second * mean) + np.float64(rests[1]) * gradient).astype(np.float32)


class Muon:
    """torch.optim.Muon for the hidden weights, as matrices, and AdamW for the rest, each with its own learning rate."""

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, adamw_lr: float, **given: Any) -> None:
        own = list(parameters)
        output = [parameter for parameter in own if parameter.ndim > 1][-1]
        self.hidden = [parameter for parameter in own if parameter.ndim > 1 and parameter is not output]
        others = [parameter for parameter in own if parameter.ndim == 1 or parameter is output]
        self.flat = [nn.Parameter(parameter.detach().view(len(parameter), -1)) for parameter in self.hidden]
        adamw = {name: given.pop(name, usual) for name, usual in (("betas", (0.9, 0.95)), ("eps", 1e-10))}
        adamw["weight_decay"] = given.get("weight_decay", 0.1)
        self.muon = torch.optim.Muon(self.flat, lr=lr, **given)
        self.adamw = torch.optim.AdamW(others, lr=adamw_lr, **adamw)

    def zero_grad(self) -> None:
        self.adamw.zero_grad()
        for parameter in self.hidden:
            parameter.grad = None

    def step(self) -> None:
        for flat, parameter in zip(self.flat, self.hidden, strict=True):
            assert parameter.grad is not None
            flat.grad = parameter.grad.view(len(parameter), -1)
        self.muon.step()
        self.adamw.step()


PAIRS: dict[str, tuple[dict[str, Any], Callable[[Iterable[nn.Parameter]], Any]]] = {
    "rmsprop": ({"optimizer": "rmsprop"}, partial(torch.optim.RMSprop, lr=1e-3)),
    "rmsprop with everything": (
        {
            "optimizer": "rmsprop",
            "alpha": 0.9,
            "eps": 1e-6,
            "momentum": 0.5,
            "centered": True,
            "weight_decay": 0.01,
        },
        partial(torch.optim.RMSprop, lr=1e-3, alpha=0.9, eps=1e-6, momentum=0.5, centered=True, weight_decay=0.01),
    ),
    "nadam": ({"optimizer": "nadam"}, partial(torch.optim.NAdam, lr=1e-3)),
    "nadam with everything": (
        {"optimizer": "nadam", "betas": (0.8, 0.99), "eps": 1e-6, "momentum_decay": 0.1, "weight_decay": 0.01},
        partial(torch.optim.NAdam, lr=1e-3, betas=(0.8, 0.99), eps=1e-6, momentum_decay=0.1, weight_decay=0.01),
    ),
    "lion": ({"optimizer": "lion", "lr": 1e-4}, partial(Lion, lr=1e-4)),
    "lion with everything": (
        {"optimizer": "lion", "lr": 1e-4, "betas": (0.8, 0.95), "weight_decay": 0.5},
        partial(Lion, lr=1e-4, betas=(0.8, 0.95), decay=0.5),
    ),
    "muon": ({"optimizer": "muon", "lr": 0.02}, partial(Muon, lr=0.02, adamw_lr=0.015 * 0.02)),
    "muon with everything": (
        {
            "optimizer": "muon",
            "momentum": 0.8,
            "nesterov": False,
            "weight_decay": 0.5,
            "adjust_lr": "match_rms_adamw",
            "betas": (0.8, 0.99),
            "eps": 1e-8,
        },
        partial(
            Muon,
            lr=1e-3,
            adamw_lr=1e-3,
            momentum=0.8,
            nesterov=False,
            weight_decay=0.5,
            adjust_lr_fn="match_rms_adamw",
            betas=(0.8, 0.99),
            eps=1e-8,
        ),
    ),
    "muon and its rates": (
        {"optimizer": "muon", "lr": 0.01, "adamw_lr_ratio": 0.5, "weight_decay": 0},
        partial(Muon, lr=0.01, adamw_lr=0.005, weight_decay=0),
    ),
}


# Equal kernels in equal order, on one thread, round equally; what one sums up otherwise differs by much less than this.
@pytest.mark.parametrize("name", PAIRS)
def test_losses_are_those_of_plain_pytorch(name: str, tiny: eb.Network) -> None:
    arguments, plain = PAIRS[name]
    data = eb.datasets.glyphs(train=16 * STEPS - 5, test=100)
    with torch_threads(1):
        run, losses = both(tiny, plain_tiny(), data, plain, batch_size=16, **arguments)
    assert run.steps == STEPS
    assert_same(run, losses, tolerance=1e-6)


@pytest.mark.parametrize("name", ["rmsprop with everything", "nadam", "lion", "muon"])
def test_deeper_networks_too(name: str, colour: eb.Dataset) -> None:
    arguments, plain = PAIRS[name]
    data = eb.datasets.glyphs(train=32 * STEPS, test=100)
    with torch_threads(1):
        assert_same(*both(eb.networks.lenet5(), reference.lenet5(), data, plain, batch_size=32, **arguments), 1e-6)
        run, losses = both(*every_layer(), colour, plain, batch_size=10, epochs=1, **arguments)
    assert_same(run, losses, tolerance=1e-6)


@pytest.mark.parametrize("name", ["rmsprop with everything", "nadam", "lion", "muon"])
def test_the_trained_weights_are_pytorchs(name: str, glyphs: eb.Dataset) -> None:
    module = reference.lenet5()
    arguments, plain = PAIRS[name]
    with torch_threads(1):
        run, _ = both(eb.networks.lenet5(), module, glyphs, plain, batch_size=40, **arguments)
    # A bias before a batch norm has a gradient of rounding errors, which RMSprop divides by their own size.
    noisy = {f"{i}.bias" for i, (_, after) in enumerate(pairwise(module)) if isinstance(after, nn.BatchNorm2d)}
    assert noisy < module.state_dict().keys()
    for key, tensor in run.model.state_dict().items():
        atol = 1e-5 if key in noisy else 1e-6
        torch.testing.assert_close(tensor, module.state_dict()[key], rtol=1e-5, atol=atol, msg=key)


# ---- with everything else ------------------------------------------------------------------------

NEW = ["rmsprop", "nadam", "lion", "muon"]
ALONG: list[dict[str, Any]] = [
    {"kernels": "fused", "ema": 0.9},
    {"schedule": "cosine", "augment": eb.Augment(shift=2, rotate=5)},
    {"precision": "bfloat16", "schedule": eb.schedules.one_cycle(cycle_momentum=False)},
    {"label_smoothing": 0.1, "class_weight": "balanced", "clip_grad_norm": 1.0},
]


@pytest.mark.parametrize("optimizer", NEW)
@pytest.mark.parametrize("along", ALONG, ids=lambda along: "-".join(along))
def test_a_run_goes_on_and_its_steps_are_taken_again(
    optimizer: str, along: dict[str, Any], glyphs: eb.Dataset, tmp_path: Path
) -> None:
    def interrupt(step: eb.Step) -> None:
        if step.step == 7:  # in the middle of an epoch of 5 steps
            raise KeyboardInterrupt

    given: dict[str, Any] = {"optimizer": optimizer, "lr": 1e-3, "batch_size": 32, "steps": 12, **along}
    given |= {"record": ("weights", "grad_norm"), "weights_every": 4, "progress": False, "deterministic": True}
    network = eb.networks.lenet5(dropout=0.2)
    run = eb.train(network, glyphs, **given)
    assert np.isfinite(run.train_loss).all()
    eb.train(network, glyphs, **given, folder=tmp_path / "run", callbacks=interrupt)
    assert_identical(eb.resume(tmp_path / "run", glyphs, progress=False), run)
    found = eb.insight.replay(run, 8, dataset=glyphs)
    assert np.float32(found.loss) == run.test_loss[9]
    assert not found.difference.images.any()
    other = eb.insight.replay(run, 8, without=int(run.batch_indices(8)[0]), dataset=glyphs)
    assert other.difference.images.any()


@pytest.mark.parametrize("optimizer", NEW)
def test_fused_kernels_mean_the_same(optimizer: str, quick: Quick) -> None:
    network = eb.networks.lenet5()
    given: dict[str, Any] = {"optimizer": optimizer, "lr": 1e-4, "clip_grad_norm": 2.0, "class_weight": "balanced"}
    fused, exact = (quick(network, kernels=kernels, **given) for kernels in ("fused", "exact"))
    np.testing.assert_allclose(fused.train_loss, exact.train_loss, rtol=5e-3)
    np.testing.assert_allclose(fused.test_loss, exact.test_loss, rtol=5e-3)


def test_they_learn(quick: Quick) -> None:
    rates = {"rmsprop": 1e-3, "nadam": 2e-3, "lion": 1e-3, "muon": 0.02}
    for optimizer, lr in rates.items():
        run = quick(optimizer=optimizer, lr=lr, epochs=8)
        assert run.train_loss[-5:].mean() < 0.85 * run.train_loss[:5].mean(), optimizer


def test_a_sweep_goes_through_optimizers(tiny: eb.Network, glyphs: eb.Dataset, tmp_path: Path) -> None:
    sweep = eb.sweep(
        {"optimizer": ["lion", "muon"], "class_weight": ["balanced", None, (1.0,) * 10], "clip_grad_norm": [1.0]},
        glyphs,
        network=tiny,
        batch_size=64,
        store=tmp_path / "store",
        seeds=1,
        progress=False,
    )
    assert len(sweep.trials) == 6
    assert {trial.state for trial in sweep.trials} == {"finished"}


# ---- options -------------------------------------------------------------------------------------


def test_a_run_tells_the_options_that_its_optimizer_has(quick: Quick) -> None:
    def told(**given: Any) -> dict[str, Any]:
        training: dict[str, Any] = quick(steps=1, **given).config["training"]
        return {name: value for name, value in training.items() if value is not None}

    names = {
        "momentum",
        "nesterov",
        "betas",
        "eps",
        "alpha",
        "centered",
        "momentum_decay",
        "adjust_lr",
        "adamw_lr_ratio",
    }
    own = {
        "rmsprop": {"momentum", "eps", "alpha", "centered"},
        "nadam": {"betas", "eps", "momentum_decay"},
        "lion": {"betas"},
        "muon": {"momentum", "nesterov", "betas", "eps", "adjust_lr", "adamw_lr_ratio"},
    }
    for optimizer, expected in own.items():
        assert names & told(optimizer=optimizer).keys() == expected
    assert (told(optimizer="lion")["betas"], told(optimizer="lion")["weight_decay"]) == ([0.9, 0.99], 0)
    muon = told(optimizer="muon")
    assert (muon["momentum"], muon["weight_decay"], muon["adamw_lr_ratio"]) == (0.95, 0.1, 0.015)
    assert told(optimizer="muon", adjust_lr="match_rms_adamw")["adamw_lr_ratio"] == 1
    # As earlier versions told it, so that the trials of their sweeps are known again.
    for optimizer in ("sgd", "adam", "adamw"):
        legacy = told(optimizer=optimizer)
        assert names & legacy.keys() == {"momentum", "nesterov", "betas", "eps"}
        assert (legacy["momentum"], legacy["nesterov"], legacy["betas"]) == (0, False, [0.9, 0.999])
    assert not {"class_weight", "clip_grad_norm", "class_weights"} & told().keys()


def test_a_config_repeats_its_run(quick: Quick) -> None:
    for given in ({}, {"optimizer": "sgd", "momentum": 0.9}, {"optimizer": "muon", "class_weight": "balanced"}):
        run = quick(**given)
        training = run.config["training"]
        names = ("optimizer", "lr", "momentum", "nesterov", "betas", "eps", "weight_decay", "class_weight")
        again = quick(**{name: training[name] for name in names if name in training})
        np.testing.assert_array_equal(run.train_loss, again.train_loss)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"optimizer": "liom"}, "optimizer is 'liom'.*Did you mean 'lion'"),
    ({"optimizer": "rmspop"}, "Did you mean 'rmsprop'"),
    ({"momentum": 0.9}, "momentum is 0.9, and optimizer 'adam' has no such option: it has betas, eps and weight_decay"),
    ({"momentum": 0.9}, "momentum belongs to 'sgd', 'rmsprop' and 'muon'"),
    ({"optimizer": "lion", "momentum": 0.9}, "optimizer 'lion' has no such option"),
    ({"optimizer": "lion", "eps": 1e-6}, "eps is 1e-06"),
    ({"optimizer": "sgd", "betas": (0.9, 0.99)}, r"betas is \(0.9, 0.99\), and optimizer 'sgd'"),
    ({"optimizer": "rmsprop", "nesterov": True}, "nesterov is True.*belongs to 'sgd' and 'muon'"),
    ({"optimizer": "nadam", "alpha": 0.9}, "alpha belongs to 'rmsprop'"),
    ({"optimizer": "adamw", "adjust_lr": "original"}, "adjust_lr belongs to 'muon'"),
    ({"centered": True}, "centered belongs to 'rmsprop'"),
    ({"momentum_decay": 0.1}, "momentum_decay belongs to 'nadam'"),
    ({"optimizer": "rmsprop", "alpha": 1.0}, r"alpha is 1.*\[0, 1\)"),
    ({"optimizer": "rmsprop", "momentum": -1}, "momentum is -1"),
    ({"optimizer": "nadam", "momentum_decay": float("nan")}, "(?i)momentum_decay is nan"),
    ({"optimizer": "lion", "betas": (0.9, 1.0)}, "betas are"),
    ({"optimizer": "muon", "momentum": 1.0}, "momentum is 1"),
    ({"optimizer": "muon", "momentum": 0.0}, "nesterov needs a momentum above 0"),
    ({"optimizer": "muon", "adamw_lr_ratio": -1}, "adamw_lr_ratio is -1"),
    ({"optimizer": "muon", "adjust_lr": "match_rms"}, "Did you mean 'match_rms_adamw'"),
    ({"optimizer": "rmsprop", "schedule": "one_cycle"}, "one-cycle.*give momentum, or cycle_momentum=False"),
    ({"clip_grad_norm": 0}, "clip_grad_norm is 0: it is the norm that the gradient may have"),
    ({"clip_grad_norm": -1.0}, "clip_grad_norm is -1"),
    ({"clip_grad_norm": float("nan")}, "(?i)clip_grad_norm is nan"),
    ({"clip_grad_norm": float("inf")}, "clip_grad_norm is inf"),
]


@pytest.mark.parametrize(("given", "match"), WRONG, ids=[str(given) for given, _ in WRONG])
def test_wrong_options_are_refused(given: dict[str, Any], match: str, quick: Quick) -> None:
    with pytest.raises(ArgumentError, match=match):
        quick(**given)


def test_wrong_types_are_refused(quick: Quick) -> None:
    for given in ({"alpha": "x"}, {"centered": 1}, {"clip_grad_norm": True}, {"adjust_lr": 3}):
        with pytest.raises(TypeError, match=f"{next(iter(given))} must be"):
            quick(optimizer="rmsprop", **given)


def test_muon_needs_hidden_weights(quick: Quick) -> None:
    line = eb.Network([eb.Flatten(), eb.Linear(784, 10)], name="line")
    with pytest.raises(ArgumentError, match=r"no.*before its output layer.*adamw"):
        quick(line, optimizer="muon")


# ---- clipping ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernels", ["exact", "fused"])
@pytest.mark.parametrize("most", [0.5, 100.0])
def test_gradients_are_clipped_as_by_pytorch(kernels: str, most: float, tiny: eb.Network) -> None:
    norms: list[float] = []

    def sgd(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        own = list(parameters)
        optimizer = torch.optim.SGD(own, lr=0.05, momentum=0.9, weight_decay=0.01)
        optimizer.register_step_pre_hook(lambda *_: norms.append(nn.utils.clip_grad_norm_(own, most).item()))
        return optimizer

    arguments: dict[str, Any] = {"optimizer": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 0.01}
    data = eb.datasets.glyphs(train=16 * STEPS - 5, test=100)
    run, plain = both(
        tiny,
        plain_tiny(),
        data,
        sgd,
        batch_size=16,
        record="grad_norm",
        clip_grad_norm=most,
        kernels=kernels,
        **arguments,
    )
    tolerance = 1e-6 if kernels == "exact" else 1e-4
    np.testing.assert_allclose(run.grad_norm, norms, rtol=10 * tolerance)  # before it is clipped
    assert (run.grad_norm > most).all() == (most < 1)
    assert_same(run, plain, tolerance=10 * tolerance)
    assert run.config["training"]["clip_grad_norm"] == most


EXACT: dict[str, tuple[Callable[..., torch.optim.Optimizer], dict[str, Any]]] = {
    "sgd": (torch.optim.SGD, {"lr": 0.1}),
    "sgd, decay": (torch.optim.SGD, {"lr": 0.1, "weight_decay": 0.01}),
    "sgd, momentum": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}),
    "sgd, nesterov": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    "adam, decay": (torch.optim.Adam, {"lr": 1e-2, "weight_decay": 0.01}),
    "nadam, decay": (torch.optim.NAdam, {"lr": 1e-2, "weight_decay": 0.01}),
    "rmsprop, decay": (torch.optim.RMSprop, {"lr": 1e-3, "momentum": 0.5, "weight_decay": 0.01}),
}


# PyTorch's optimizers as they are by default. No size here is a multiple of 8; then its fused kernels round otherwise.
@pytest.mark.parametrize("name", EXACT)
def test_exact_steps_round_as_pytorchs_do(name: str) -> None:
    make, given = EXACT[name]
    network = eb.Network([eb.Flatten(), eb.Linear(784, 13), eb.Activation("relu"), eb.Linear(13, 10)])
    module = nn.Sequential(nn.Flatten(), nn.Linear(784, 13), nn.ReLU(), nn.Linear(13, 10))
    data = eb.datasets.glyphs(train=16 * STEPS, test=20)
    arguments = {"optimizer": name.partition(",")[0], "kernels": "exact", "batch_size": 16, **given}
    with torch_threads(1):
        run, _ = both(network, module, data, partial(make, **given), **arguments)
    for key, weights in run.model.state_dict().items():
        assert torch.equal(weights, module.state_dict()[key]), key
