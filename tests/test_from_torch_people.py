"""Modules as people write them: each goes through `from_torch` with its logits, or is refused by a sentence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import everybatch as eb
import modules_of_people as people
from everybatch.errors import UnsupportedModuleError
from lab_modules import assert_same_logits, unsettle

GREY, WIDE, COLOUR = (1, 28, 28), (1, 32, 32), (3, 32, 32)

THROUGH: dict[str, tuple[Callable[[], nn.Module], tuple[int, int, int]]] = {
    "example of PyTorch": (people.ExampleNet, GREY),
    "example before 2019": (people.OldExampleNet, GREY),
    "60-minute blitz": (people.BlitzNet, WIDE),
    "quickstart": (people.FashionMlp, GREY),
    "LeNet with tanh": (people.LeNetTanh, WIDE),
    "Keras-like": (people.keras_like, GREY),
    "resnet of CIFAR": (lambda: people.CifarResNet(people.KuangliuBlock), COLOUR),
    "pre-activation": (lambda: people.CifarResNet(people.PreActBlock), COLOUR),
    "wide resnet": (people.WideResNet, COLOUR),
    "ModuleList": (people.ListNet, GREY),
    "features, classifier": (people.FeaturesClassifier, GREY),
    "features, average": (lambda: people.FeaturesClassifier("avg", norm=True), GREY),
    "mobile": (people.MobileNet, COLOUR),
    "all convolutional": (people.ConvHead, COLOUR),
    "sum of branches": (people.SumOfBranches, GREY),
    "squeeze and excite": (lambda: people.WithMiddle(people.SqueezeExcite(16)), GREY),
    "saves": (people.Saves, GREY),
    **{
        f"pooled by {spelling}": (lambda spelling=spelling: people.SpelledPool(spelling), GREY)  # type: ignore[misc]
        for spelling in people.POOL_SPELLINGS
    },
}


@pytest.mark.parametrize("share", [False, True], ids=["copied", "shared"])
@pytest.mark.parametrize("name", THROUGH)
def test_it_goes_through(name: str, share: bool) -> None:
    build, shape = THROUGH[name]
    torch.manual_seed(0)
    module = build()
    unsettle(module)
    model = eb.from_torch(module, shape, share=share)
    assert model.network.name == type(module).__name__
    assert_same_logits(model, module)


def middle(block: Any, channels: int = 16) -> Callable[[], nn.Module]:
    return lambda: people.WithMiddle(block() if callable(block) else block, channels)


REFUSED: dict[str, tuple[Callable[[], nn.Module], tuple[int, int, int], str]] = {
    "option A": (
        lambda: people.CifarResNet(people.OptionABlock),
        COLOUR,
        r"layer2\.0\.shortcut takes a part of a tensor by its index",
    ),
    "dense": (middle(lambda: people.DenseLayer(16, 8), 24), GREY, "middle concatenates values.*torch's cat"),
    "stochastic depth": (middle(people.StochasticDepth), GREY, "draws random numbers in forward"),
    "transformer": (people.PatchTransformer, GREY, "the module calls transpose, which no layer computes"),
    "softmax": (people.SoftmaxNet, GREY, "softmax ends in or contains a softmax.*Leave it out, so that"),
    "two heads": (people.TwoHeads, GREY, "returns a tuple of several results"),
    "LSTM": (people.RowLstm, GREY, r"makes \(N, 28, 28\) of \(N, 1, 28, 28\) by squeeze"),
    "recurrent": (middle(people.Recurrent), GREY, r"middle\.conv uses middle\.conv\.weight a second time"),
    "data-dependent": (middle(people.DataDependent), GREY, "middle calls sum"),
    "weight standardisation": (
        middle(lambda: people.ScaledStd(16, 16, 3, padding=1)),
        GREY,
        "middle computes its weight in forward",
    ),
    "dropout that stays": (middle(people.AlwaysDrops), GREY, r"middle drops in evaluation.*training=self\.training"),
    "normalises itself": (people.Normalizes, GREY, "the module subtracts.*give from_torch mean= and std="),
    "cosine": (people.CosineHead, GREY, "the module calls normalize"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused(name: str) -> None:
    build, shape, words = REFUSED[name]
    with pytest.raises(UnsupportedModuleError, match=words) as refused:
        eb.from_torch(build(), shape)
    assert "eb.Meter" in str(refused.value)


def test_it_leaves_no_trace() -> None:
    module = people.Saves().train()
    module.fc.eval()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    states = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    eb.from_torch(module, GREY)
    assert (module.calls, module.last, module.maps) == (0, None, [])
    assert [part.training for part in module.modules()] == [True, True, True, False]
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert all(parameter.grad is None and parameter.is_leaf for parameter in module.parameters())
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])  # noqa: NPY002


def test_batch_norm_keeps_its_statistics_while_it_is_followed() -> None:
    module = people.keras_like().train()
    eb.from_torch(module, GREY)
    assert module.bn1.num_batches_tracked == 0
    assert torch.equal(module.bn1.running_mean, torch.zeros(32))
