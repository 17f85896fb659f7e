"""What the tests of `eb.Meter` share: modules, the loop by hand, and the figures of PyTorch alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

import everybatch as eb


class Net(nn.Module):
    """A network as people write it: with dropout, batch norm, a residual sum, and functions in forward."""

    def __init__(self, classes: int = 10, channels: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 4, 5, stride=2)
        self.norm = nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1)
        self.drop = nn.Dropout(0.2)
        self.fc = nn.Linear(4 * 6 * 6, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.norm(self.conv1(x)))
        x = F.relu(x + self.conv2(x))
        x = F.max_pool2d(x, 2)
        return self.fc(self.drop(torch.flatten(x, 1)))


class Itself(nn.Module):
    """Computes what another module computes, in a way that is no layer of ours, so that it is run to be measured."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.within = module

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([self.within(x), self.within(x)]).amax(0)


def net(seed: int = 0, **options: int) -> Net:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Net(**options)


def pixels(images: np.ndarray, mean: tuple[float, ...] = (0.0,), std: tuple[float, ...] = (1.0,)) -> torch.Tensor:
    """Images as torchvision's ToTensor and Normalize give them."""
    given = torch.tensor(images.reshape(*images.shape[:3], -1)).permute(0, 3, 1, 2).float().div(255)
    return given.sub(torch.tensor(mean).view(1, -1, 1, 1)).div(torch.tensor(std).view(1, -1, 1, 1))


def by_hand(
    module: nn.Module,
    images: torch.Tensor,
    labels: np.ndarray,
) -> tuple[float, float, np.ndarray]:
    """Mean cross-entropy, accuracy, and predictions by a module in evaluation mode, left as it was."""
    modes = {each: each.training for each in module.modules()}
    module.eval()
    with torch.no_grad():
        logits = torch.cat([module(part) for part in images.split(50)]).double()
    for each, mode in modes.items():
        each.training = mode
    truth = torch.tensor(labels)
    predicted = logits.argmax(1)
    return F.cross_entropy(logits, truth).item(), (predicted == truth).double().mean().item(), predicted.numpy()


def steps(
    module: nn.Module,
    data: eb.Dataset,
    count: int,
    tell: Callable[[torch.Tensor], object] = lambda _: None,
    lr: float = 0.05,
) -> Iterator[torch.Tensor]:
    """Train for so many steps, each on 32 images; tell each loss and give it."""
    images, labels = pixels(data.train_images, data.mean, data.std), torch.tensor(data.train_labels)
    optimizer = torch.optim.SGD(module.parameters(), lr=lr, momentum=0.9)
    draw = torch.Generator().manual_seed(1)
    module.train()
    for _ in range(count):
        batch = torch.randperm(len(labels), generator=draw)[:32]
        loss = F.cross_entropy(module(images[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        tell(loss)
        yield loss
