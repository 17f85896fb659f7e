"""Each network against plain PyTorch: the first 20 losses of training and of the test images are the same.

Of large networks, 10.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn

import everybatch as eb
import reference
import reference_networks as plain
from parity import ADAM, STEPS, Optimizer, assert_same, both

# Adam keeps two more numbers for each parameter; networks of more than 20 million are trained without it.
pytestmark = pytest.mark.usefixtures("two_threads")
SGD: Optimizer = partial(torch.optim.SGD, lr=0.01)
# From PyTorch's initial weights to He's, with which the images get through deep networks that have no batch norm. With
# PyTorch's, their logits are the same for every image, and so are the losses of networks that differ.
HE = 6**0.5


class Case(NamedTuple):
    build: Callable[[], eb.Network]
    module: Callable[[], nn.Module]
    gain: float = 1.0


SMALL = {
    "kernel_net": Case(eb.networks.kernel_net, partial(plain.kernel_net, 3)),
    "kernel_net 5": Case(partial(eb.networks.kernel_net, kernel_size=5), partial(plain.kernel_net, 5)),
    "resnet, 3 stages": Case(eb.networks.resnet, reference.resnet),
    "resnet, 4 stages": Case(
        partial(eb.networks.resnet, stages=(64, 64, 128, 256)),
        partial(reference.resnet, (64, 64, 128, 256)),
    ),
    "resnet, 8 stages": Case(
        partial(eb.networks.resnet, stages=(64, 64, 64, 128, 128, 256, 256, 256)),
        partial(reference.resnet, (64, 64, 64, 128, 128, 256, 256, 256)),
    ),
    "resnet18": Case(eb.networks.resnet18, plain.resnet18),
    "wide_resnet": Case(eb.networks.wide_resnet, plain.wide_resnet),
    "wide_resnet, pre-activation": Case(
        partial(eb.networks.wide_resnet, pre_activation=True), plain.pre_activation_wide_resnet
    ),
}
LARGE = {
    "alexnet": Case(partial(eb.networks.alexnet, dropout=0), plain.alexnet, HE),
    "convnet": Case(eb.networks.convnet, plain.convnet),
    "deep_resnet": Case(partial(eb.networks.deep_resnet, dropout=0), plain.deep_resnet),
    "deep_resnet, batch norm after blocks": Case(
        partial(eb.networks.deep_resnet, dropout=0, block_norm=True), partial(plain.deep_resnet, block_norm=True)
    ),
    "deep_resnet, 7x7": Case(
        partial(eb.networks.deep_resnet, dropout=0, stem_kernel_size=7), partial(plain.deep_resnet, 7)
    ),
    "resnet34": Case(eb.networks.resnet34, plain.resnet34),
    "vgg11": Case(partial(eb.networks.vgg11, dropout=0, hidden=256), partial(plain.vgg, plain.VGG11, hidden=256), HE),
    "vgg13, batch norm": Case(
        partial(eb.networks.vgg13, dropout=0, batch_norm=True, hidden=128),
        partial(plain.vgg, plain.VGG13, batch_norm=True, hidden=128),
    ),
}


def losses(case: Case, steps: int, plain_optimizer: Optimizer, **arguments: Any) -> tuple[eb.Run, reference.Losses]:
    data = eb.datasets.glyphs(train=4 * steps, test=10)
    run, plain_losses = both(case.build(), case.module(), data, plain_optimizer, case.gain, batch_size=4, **arguments)
    assert run.steps == steps
    return run, plain_losses


@pytest.mark.parametrize("name", SMALL)
def test_networks(name: str) -> None:
    assert_same(*losses(SMALL[name], STEPS, ADAM, lr=1e-3))


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_large_networks(name: str) -> None:
    assert_same(*losses(LARGE[name], STEPS // 2, SGD, optimizer="sgd", lr=0.01))
