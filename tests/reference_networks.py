"""The networks of the studies in plain PyTorch, each written out from the paper's or the study's description.

Nothing here imports everybatch. As in `reference`, nested `nn.Sequential`s give the names of `Model.state_dict`.
Dropout is left out: masks are random.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from torch import nn

from reference import Block, GlobalPool, basic_block


def alexnet() -> nn.Sequential:
    """AlexNet (Krizhevsky et al. 2012) with 3x3 kernels: 28x28 -> 14x14 -> 7x7 -> 3x3."""
    return nn.Sequential(
        nn.Conv2d(1, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(64, 192, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(192, 384, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(256 * 3 * 3, 4096),
        nn.ReLU(),
        nn.Linear(4096, 4096),
        nn.ReLU(),
        nn.Linear(4096, 10),
    )


def vgg(layout: Iterable[int | str], batch_norm: bool = False, hidden: int = 4096) -> nn.Sequential:
    """As Simonyan & Zisserman 2014. `layout` is torchvision's: channels of a convolution, or "M" for a pooling."""
    layers: list[nn.Module] = []
    channels = 1
    for entry in layout:
        if entry == "M":
            layers.append(nn.MaxPool2d(2))
        else:
            layers.append(nn.Conv2d(channels, entry, 3, padding=1))
            if batch_norm:
                layers.append(nn.BatchNorm2d(entry))
            layers.append(nn.ReLU())
            channels = entry
    return nn.Sequential(
        *layers,
        nn.Flatten(),
        nn.Linear(512 * 7 * 7, hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Linear(hidden, 10),
    )


VGG11 = (64, "M", 128, "M", 256, 256, 512, 512, 512, 512)
VGG13 = (64, 64, "M", 128, 128, "M", 256, 256, 512, 512, 512, 512)


def four_stages(
    blocks: tuple[int, int, int, int],
    stem: list[nn.Module],
    activation: Callable[[], nn.Module] = nn.ReLU,
    block_norm: bool = False,
) -> nn.Sequential:
    layers, channels = stem, 64
    for width, count in zip((64, 128, 256, 512), blocks, strict=True):
        for index in range(count):
            stride = 2 if index == 0 and width > 64 else 1
            layers.append(basic_block(channels, width, stride, activation, norm=True))
            if block_norm:
                layers.append(nn.BatchNorm2d(width))
            channels = width
    return nn.Sequential(*layers, GlobalPool("avg"), nn.Linear(512, 10))


def resnet18() -> nn.Sequential:
    stem = [nn.Conv2d(1, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    return four_stages((2, 2, 2, 2), stem)


def resnet34() -> nn.Sequential:
    stem = [nn.Conv2d(1, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    return four_stages((3, 4, 6, 3), stem)


def deep_resnet(stem_kernel: int = 3, block_norm: bool = False) -> nn.Sequential:
    """The network of study B."""
    stem = [
        nn.Conv2d(1, 64, stem_kernel, padding=stem_kernel // 2, bias=False),
        nn.BatchNorm2d(64),
        nn.LeakyReLU(0.01),
        nn.MaxPool2d(3, stride=2, padding=1),
    ]
    return four_stages((3, 4, 6, 3), stem, lambda: nn.LeakyReLU(0.01), block_norm)


def kernel_net(kernel: int) -> nn.Sequential:
    """The network of study C: 28x28 -> 26x26 -> 24x24 -> 12x12."""
    body = nn.Sequential(
        nn.Conv2d(32, 32, kernel, padding="same"),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Conv2d(32, 32, kernel, padding="same"),
        nn.BatchNorm2d(32),
    )
    return nn.Sequential(
        nn.Conv2d(1, 32, 3),
        nn.ReLU(),
        nn.BatchNorm2d(32),
        Block(body, activation=nn.ReLU()),
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),
        nn.BatchNorm2d(64),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * 12 * 12, 128),
        nn.ReLU(),
        nn.BatchNorm1d(128),
        nn.Linear(128, 10),
    )


def convnet() -> nn.Sequential:
    """The network of study E: 28x28 -> 14x14 -> 7x7."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 128, 3, padding=1),
        nn.BatchNorm2d(128),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(128, 512, 3, padding=1),
        nn.BatchNorm2d(512),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(512 * 7 * 7, 1024),
        nn.ReLU(),
        nn.Linear(1024, 256),
        nn.ReLU(),
        nn.Linear(256, 10),
    )


def wide_resnet() -> nn.Sequential:
    """WRN-16-4 with batch norm and ReLU after each convolution."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        basic_block(16, 64, 1),
        basic_block(64, 64, 1),
        basic_block(64, 128, 2),
        basic_block(128, 128, 1),
        basic_block(128, 256, 2),
        basic_block(256, 256, 1),
        GlobalPool("avg"),
        nn.Linear(256, 10),
    )


def pre_activation_blocks(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    """The first block and the second of a stage: the first one's projection sees its batch norm and ReLU too."""
    first = nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
    )
    second = nn.Sequential(
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
    )
    projection = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False))
    return [nn.BatchNorm2d(inputs), nn.ReLU(), Block(first, projection), Block(second)]


def pre_activation_wide_resnet() -> nn.Sequential:
    """WRN-16-4 as in Zagoruyko & Komodakis 2016."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False),
        *pre_activation_blocks(16, 64, 1),
        *pre_activation_blocks(64, 128, 2),
        *pre_activation_blocks(128, 256, 2),
        nn.BatchNorm2d(256),
        nn.ReLU(),
        GlobalPool("avg"),
        nn.Linear(256, 10),
    )
