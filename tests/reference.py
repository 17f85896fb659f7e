"""What everybatch is compared with: networks and a training loop in plain PyTorch (eager, float32, NCHW).

Nothing here imports everybatch. The modules are nested `nn.Sequential`s, so that the names in their `state_dict` are
those of `Model.state_dict`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional

Array = np.ndarray


class Block(nn.Module):
    """activation(body(x) + shortcut(x)) with He et al. 2015's two convolutions, or any other body."""

    def __init__(self, body: nn.Module, shortcut: nn.Module | None = None, activation: nn.Module | None = None) -> None:
        super().__init__()
        self.body = body
        self.shortcut = nn.Sequential() if shortcut is None else shortcut
        self.activation = nn.Identity() if activation is None else activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.activation(self.body(x) + self.shortcut(x))


class Gate(nn.Module):
    """x * body(x), where the body gives (N, C) or (N, C, 1, 1): Hu et al. 2018's product."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.body(x).reshape(x.shape[:2] + (1,) * (x.dim() - 2))


def squeeze_excitation(
    channels: int,
    reduction: int,
    activation: Callable[[], nn.Module] = nn.ReLU,
    scale_activation: Callable[[], nn.Module] = nn.Sigmoid,
) -> Gate:
    """Hu et al. 2018: the mean of each channel, two linear layers, and a sigmoid."""
    squeezed = channels // reduction
    linear = nn.Linear(channels, squeezed), activation(), nn.Linear(squeezed, channels), scale_activation()
    return Gate(nn.Sequential(GlobalPool("avg"), *linear))


class GlobalPool(nn.Module):
    """(N, C, H, W) -> (N, C) by PyTorch's adaptive pooling, "max" or "avg"."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.pool = {"max": functional.adaptive_max_pool2d, "avg": functional.adaptive_avg_pool2d}[kind]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.pool(x, 1).flatten(1)


def lenet5(classes: int = 10, channels: int = 1) -> nn.Sequential:
    """LeNet-5 (LeCun et al. 1998) with ReLU, max pooling and batch norm: 61,990 parameters."""
    return nn.Sequential(
        nn.Conv2d(channels, 6, 5, padding=2),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 120, 5),
        nn.BatchNorm2d(120),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, classes),
    )


def basic_block(
    inputs: int, outputs: int, stride: int, activation: Callable[[], nn.Module] = nn.ReLU, norm: bool = False
) -> Block:
    """Two convolutions with batch norm (He et al. 2015); a projection where the shape changes may have one too."""
    shortcut = None
    if stride != 1 or inputs != outputs:
        norms = [nn.BatchNorm2d(outputs)] if norm else []
        shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), *norms)
    body = nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        activation(),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
    )
    return Block(body, shortcut, activation())


def resnet(stages: Iterable[int] = (64, 128, 256)) -> nn.Sequential:
    """The reference residual network: two blocks to a stage, stride 2 where a stage is wider. 2,778,314 parameters."""
    stages = list(stages)
    layers: list[nn.Module] = [
        nn.Conv2d(1, stages[0], 7, stride=2, padding=3, bias=False),
        nn.BatchNorm2d(stages[0]),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2, padding=1),
    ]
    channels = stages[0]
    for width in stages:
        layers += [basic_block(channels, width, 2 if width > channels else 1), basic_block(width, width, 1)]
        channels = width
    return nn.Sequential(*layers, GlobalPool("max"), nn.Linear(channels, 10))


class Losses(NamedTuple):
    train: Array  # (steps,)
    test: Array  # (steps + 1,): before the first step, then after each


def pixels(images: Array, mean: Iterable[float], std: Iterable[float]) -> torch.Tensor:
    """Float32 (N, C, H, W), normalised, of uint8 (N, H, W) or (N, H, W, C)."""
    grey = images[..., np.newaxis] if images.ndim == 3 else images
    x = torch.from_numpy(grey.transpose(0, 3, 1, 2).copy()).float() / 255
    mean, std = (torch.tensor(list(values)).view(1, -1, 1, 1) for values in (mean, std))
    return (x - mean) / std


def train(
    module: nn.Module,
    batches: Iterable[tuple[torch.Tensor, torch.Tensor]],
    test: tuple[torch.Tensor, torch.Tensor],
    optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer],
    criterion: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = functional.cross_entropy,
) -> Losses:
    """Train on the batches (images, labels), and measure the test images before the first and after every step.

    The `criterion` is of training; measured is the mean cross-entropy.
    """
    steps = optimizer(module.parameters())
    train_losses, test_losses = [], [mean_loss(module, *test)]
    for images, labels in batches:
        module.train()
        loss = criterion(module(images), labels)
        steps.zero_grad()
        loss.backward()
        steps.step()
        train_losses.append(loss.item())
        test_losses.append(mean_loss(module, *test))
    return Losses(np.array(train_losses), np.array(test_losses))


@torch.no_grad()
def mean_loss(module: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    module.eval()
    return functional.cross_entropy(module(images), labels).item()
