"""PyTorch modules as people write them, in tutorials, examples and model zoos. Nothing here imports everybatch."""

from __future__ import annotations

import itertools
import math
from collections import OrderedDict

import torch
import torch.nn as nn
import torch.nn.functional as F  # noqa: N812 - as everyone writes it
from torch import Tensor

# ---- those that go through -------------------------------------------------------------------------------------------


class ExampleNet(nn.Module):
    """pytorch/examples, mnist/main.py."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, 1)
        self.conv2 = nn.Conv2d(32, 64, 3, 1)
        self.dropout1 = nn.Dropout(0.25)
        self.dropout2 = nn.Dropout(0.5)
        self.fc1 = nn.Linear(9216, 128)
        self.fc2 = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        x = F.relu(x)
        x = self.conv2(x)
        x = F.relu(x)
        x = F.max_pool2d(x, 2)
        x = self.dropout1(x)
        x = torch.flatten(x, 1)
        x = self.fc1(x)
        x = F.relu(x)
        x = self.dropout2(x)
        x = self.fc2(x)
        output = F.log_softmax(x, dim=1)
        return output  # noqa: RET504


class OldExampleNet(nn.Module):
    """The same file before 2019, from which many tutorials are."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 10, kernel_size=5)
        self.conv2 = nn.Conv2d(10, 20, kernel_size=5)
        self.conv2_drop = nn.Dropout2d()
        self.fc1 = nn.Linear(320, 50)
        self.fc2 = nn.Linear(50, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(F.max_pool2d(self.conv1(x), 2))
        x = F.relu(F.max_pool2d(self.conv2_drop(self.conv2(x)), 2))
        x = x.view(-1, 320)
        x = F.relu(self.fc1(x))
        x = F.dropout(x, training=self.training)
        x = self.fc2(x)
        return F.log_softmax(x, dim=1)


class BlitzNet(nn.Module):
    """The 60-minute blitz, with num_flat_features as it was for years."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * 5 * 5, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), (2, 2))
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = x.view(-1, self.num_flat_features(x))
        x = F.relu(self.fc1(x))
        x = F.relu(self.fc2(x))
        return self.fc3(x)

    def num_flat_features(self, x: Tensor) -> int:
        size = x.size()[1:]  # all dimensions except the batch dimension
        num_features = 1
        for s in size:
            num_features *= s
        return num_features


class FashionMlp(nn.Module):
    """The quickstart of PyTorch's tutorials."""

    def __init__(self) -> None:
        super().__init__()
        self.flatten = nn.Flatten()
        self.linear_relu_stack = nn.Sequential(
            nn.Linear(28 * 28, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.flatten(x)
        logits = self.linear_relu_stack(x)
        return logits  # noqa: RET504


class LeNetTanh(nn.Module):
    """LeNet-5 as of 1998: tanh and average pooling."""

    def __init__(self, n_classes: int = 10) -> None:
        super().__init__()
        self.feature_extractor = nn.Sequential(
            nn.Conv2d(in_channels=1, out_channels=6, kernel_size=5, stride=1),
            nn.Tanh(),
            nn.AvgPool2d(kernel_size=2),
            nn.Conv2d(in_channels=6, out_channels=16, kernel_size=5, stride=1),
            nn.Tanh(),
            nn.AvgPool2d(kernel_size=2),
            nn.Conv2d(in_channels=16, out_channels=120, kernel_size=5, stride=1),
            nn.Tanh(),
        )
        self.classifier = nn.Sequential(nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, n_classes))

    def forward(self, x: Tensor) -> Tensor:
        x = self.feature_extractor(x)
        x = torch.flatten(x, 1)
        return self.classifier(x)


def keras_like() -> nn.Module:
    """A Keras tutorial, moved over."""
    return nn.Sequential(
        OrderedDict(
            [
                ("conv1", nn.Conv2d(1, 32, kernel_size=3, padding="same")),
                ("act1", nn.ReLU()),
                ("bn1", nn.BatchNorm2d(32, eps=1e-3, momentum=0.01)),
                ("pool1", nn.MaxPool2d(2)),
                ("drop1", nn.Dropout(0.25)),
                ("conv2", nn.Conv2d(32, 64, kernel_size=3, padding="valid")),
                ("act2", nn.ELU()),
                ("pool2", nn.MaxPool2d(2)),
                ("flatten", nn.Flatten()),
                ("dense1", nn.Linear(64 * 6 * 6, 64)),
                ("bn3", nn.BatchNorm1d(64)),
                ("act3", nn.ReLU()),
                ("dense2", nn.Linear(64, 10)),
            ]
        )
    )


class KuangliuBlock(nn.Module):
    """kuangliu/pytorch-cifar, resnet.py."""

    expansion = 1

    def __init__(self, in_planes: int, planes: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_planes, planes, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, kernel_size=3, stride=1, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.shortcut = nn.Sequential()
        if stride != 1 or in_planes != self.expansion * planes:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_planes, self.expansion * planes, kernel_size=1, stride=stride, bias=False),
                nn.BatchNorm2d(self.expansion * planes),
            )

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += self.shortcut(x)
        out = F.relu(out)
        return out  # noqa: RET504


class PreActBlock(nn.Module):
    """kuangliu/pytorch-cifar, preact_resnet.py: the shortcut starts after batch norm and ReLU."""

    def __init__(self, in_planes: int, planes: int, stride: int = 1) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_planes)
        self.conv1 = nn.Conv2d(in_planes, planes, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, kernel_size=3, stride=1, padding=1, bias=False)
        if stride != 1 or in_planes != planes:
            self.shortcut = nn.Sequential(nn.Conv2d(in_planes, planes, kernel_size=1, stride=stride, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(x))
        shortcut = self.shortcut(out) if hasattr(self, "shortcut") else x
        out = self.conv1(out)
        out = self.conv2(F.relu(self.bn2(out)))
        out += shortcut
        return out


class CifarResNet(nn.Module):
    """The network around both blocks, with a pooling that has the map's size written into it."""

    def __init__(self, block: type[nn.Module], widths: tuple[int, ...] = (8, 16, 16), num_classes: int = 10) -> None:
        super().__init__()
        self.in_planes = widths[0]
        self.conv1 = nn.Conv2d(3, widths[0], kernel_size=3, stride=1, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.layer1 = self._make_layer(block, widths[0], 2, stride=1)
        self.layer2 = self._make_layer(block, widths[1], 2, stride=2)
        self.layer3 = self._make_layer(block, widths[2], 1, stride=2)
        self.linear = nn.Linear(widths[2], num_classes)

    def _make_layer(self, block: type[nn.Module], planes: int, num_blocks: int, stride: int) -> nn.Sequential:
        strides = [stride] + [1] * (num_blocks - 1)
        layers = []
        for stride in strides:
            layers.append(block(self.in_planes, planes, stride))
            self.in_planes = planes
        return nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.layer1(out)
        out = self.layer2(out)
        out = self.layer3(out)
        out = F.avg_pool2d(out, 8)
        out = out.view(out.size(0), -1)
        out = self.linear(out)
        return out  # noqa: RET504


class WideBasic(nn.Module):
    """meliketoy/wide-resnet.pytorch, with functional dropout."""

    def __init__(self, in_planes: int, planes: int, rate: float, stride: int = 1) -> None:
        super().__init__()
        self.rate = rate
        self.bn1 = nn.BatchNorm2d(in_planes)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv1 = nn.Conv2d(in_planes, planes, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.relu2 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.equal_in_out = in_planes == planes
        self.conv_shortcut = None if self.equal_in_out else nn.Conv2d(in_planes, planes, 1, stride, 0, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if not self.equal_in_out:
            x = self.relu1(self.bn1(x))
        else:
            out = self.relu1(self.bn1(x))
        out = self.relu2(self.bn2(self.conv1(out if self.equal_in_out else x)))
        if self.rate > 0:
            out = F.dropout(out, p=self.rate, training=self.training)
        out = self.conv2(out)
        return torch.add(x if self.equal_in_out else self.conv_shortcut(x), out)  # type: ignore[misc]


class WideResNet(nn.Module):
    """xternalz/WideResNet-pytorch's shape: blocks of blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, kernel_size=3, stride=1, padding=1, bias=False)
        self.block1 = nn.Sequential(WideBasic(8, 16, 0.3), WideBasic(16, 16, 0.3))
        self.block2 = nn.Sequential(WideBasic(16, 24, 0.3, 2), WideBasic(24, 24, 0.3))
        self.bn1 = nn.BatchNorm2d(24)
        self.relu = nn.ReLU(inplace=True)
        self.fc = nn.Linear(24, 10)
        self.n_channels = 24

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(x)
        out = self.block1(out)
        out = self.block2(out)
        out = self.relu(self.bn1(out))
        out = F.adaptive_avg_pool2d(out, (1, 1))
        return self.fc(out.view(-1, self.n_channels))


class ListNet(nn.Module):
    """A loop over an nn.ModuleList, sizes asserted on the way."""

    def __init__(self, widths: tuple[int, ...] = (1, 8, 16, 32)) -> None:
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv2d(i, o, 3, padding=1) for i, o in itertools.pairwise(widths)])
        self.norms = nn.ModuleList([nn.BatchNorm2d(o) for o in widths[1:]])
        self.activations = nn.ModuleDict({"lrelu": nn.LeakyReLU(0.1), "silu": nn.SiLU()})
        self.head = nn.Linear(widths[-1], 10)

    def forward(self, x: Tensor) -> Tensor:
        b, c, _, _ = x.shape
        assert c == 1, f"grey images, not {c} channels"
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            x = self.activations["lrelu" if i else "silu"](norm(conv(x)))
            if min(x.shape[-2:]) > 7:
                x = F.max_pool2d(x, kernel_size=2, stride=2)
        return self.head(x.mean([2, 3]).reshape(b, -1))


class FeaturesClassifier(nn.Module):
    """The habit of self.features and self.classifier, with Identity where something may be put in."""

    def __init__(self, pool: str = "max", norm: bool = False) -> None:
        super().__init__()
        pooling = {"max": nn.MaxPool2d, "avg": nn.AvgPool2d}[pool]
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.BatchNorm2d(16) if norm else nn.Identity(),
            nn.GELU(),
            pooling(2, 2),
            nn.Sequential(nn.Conv2d(16, 32, 3, padding=1, groups=4), nn.Identity(), nn.Hardswish()),
            pooling(2, 2),
        )
        self.classifier = nn.Sequential(nn.Dropout(), nn.Linear(32 * 7 * 7, 32), nn.ReLU6(True), nn.Linear(32, 10))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).flatten(start_dim=1))


class SpelledPool(nn.Module):
    """Global average pooling in the ways that are seen."""

    def __init__(self, spelling: str) -> None:
        super().__init__()
        self.spelling = spelling
        self.conv = nn.Conv2d(1, 12, 3, stride=2)
        self.gap = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(12, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.conv(x))
        pooled = {
            "module": lambda: self.gap(x).flatten(1),
            "squeeze": lambda: self.gap(x).squeeze(),
            "squeezes": lambda: self.gap(x).squeeze(-1).squeeze(-1),
            "mean": lambda: x.mean(dim=(2, 3)),
            "mean, negative": lambda: torch.mean(x, [-1, -2]),
            "mean, keepdim": lambda: x.mean((2, 3), keepdim=True).view(x.size(0), -1),
            "row": lambda: x.flatten(2).mean(-1),
            "view": lambda: x.view(x.size(0), x.size(1), -1).mean(dim=2, keepdim=True).flatten(1),
            "size": lambda: F.avg_pool2d(x, x.size()[2:]).reshape(x.shape[0], -1),
            "kernel": lambda: F.avg_pool2d(x, kernel_size=x.shape[2:])[:, :, 0, 0],
        }[self.spelling]()
        return self.fc(pooled)


POOL_SPELLINGS = (
    "module",
    "squeeze",
    "squeezes",
    "mean",
    "mean, negative",
    "mean, keepdim",
    "row",
    "view",
    "size",
    "kernel",
)


class ConvBnAct(nn.Sequential):
    """A Sequential of its own."""

    def __init__(self, i: int, o: int, k: int = 3, s: int = 1, g: int = 1, act: type[nn.Module] = nn.ReLU6) -> None:
        super().__init__(nn.Conv2d(i, o, k, s, (k - 1) // 2, groups=g, bias=False), nn.BatchNorm2d(o), act())


class InvertedResidual(nn.Module):
    """MobileNetV2's block: depthwise convolutions."""

    def __init__(self, inp: int, oup: int, stride: int, expand: int) -> None:
        super().__init__()
        hidden = inp * expand
        self.use_res_connect = stride == 1 and inp == oup
        self.conv = nn.Sequential(
            ConvBnAct(inp, hidden, 1),
            ConvBnAct(hidden, hidden, 3, stride, hidden),
            nn.Conv2d(hidden, oup, 1, bias=False),
            nn.BatchNorm2d(oup),
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.use_res_connect:
            return x + self.conv(x)
        return self.conv(x)


class MobileNet(nn.Module):
    """MobileNetV2, small; weights drawn as torchvision does."""

    def __init__(self) -> None:
        super().__init__()
        blocks = [InvertedResidual(8, 8, 1, 2), InvertedResidual(8, 16, 2, 4), InvertedResidual(16, 16, 1, 4)]
        self.features = nn.Sequential(ConvBnAct(3, 8, 3, 2), *blocks, ConvBnAct(16, 32, 1, act=nn.Hardswish))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(32, 10))
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out")

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        x = nn.functional.adaptive_avg_pool2d(x, (1, 1))
        x = torch.flatten(x, 1)
        return self.classifier(x)


class ConvHead(nn.Module):
    """All convolutional: logits by a 1x1 convolution, then pooled."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1), nn.Mish(), nn.Conv2d(16, 16, 3, 2, 1), nn.Mish(), nn.Dropout2d(0.1)
        )
        self.head = nn.Conv2d(16, 10, 1)
        self.pool = nn.AdaptiveAvgPool2d((1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.head(self.body(x)))
        return x.view(x.size(0), -1)


class SumOfBranches(nn.Module):
    """Branches summed by Python's sum, one of them parallel layers of two kernels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 5, stride=2)
        self.branches = nn.ModuleList([nn.Conv2d(8, 8, k, padding=k // 2) for k in (1, 3, 5)])
        self.out = nn.Linear(8 * 6 * 6, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.selu(self.stem(x))
        x = torch.sigmoid(sum(branch(x) for branch in self.branches))
        return self.out(F.adaptive_max_pool2d(x, (6, 6)).flatten(1))


class Saves(nn.Module):
    """Keeps what it computed and counts its calls, as modules for class activation maps do."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.maps: list[Tensor] = []
        self.last: Tensor | None = None
        self.conv = nn.Conv2d(1, 8, 3)
        self.unused = nn.Linear(3, 3)
        self.fc = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.last = x = self.conv(x).contiguous()
        self.maps.append(x)
        return self.fc(F.adaptive_max_pool2d(F.leaky_relu(x, 0.2), 1).flatten(1))


# ---- those that no layers can express --------------------------------------------------------------------------------


class LambdaLayer(nn.Module):
    def __init__(self, lambd: object) -> None:
        super().__init__()
        self.lambd = lambd

    def forward(self, x: Tensor) -> Tensor:
        return self.lambd(x)  # type: ignore[operator]


class OptionABlock(nn.Module):
    """akamaster/pytorch_resnet_cifar10: the shortcut takes every other pixel and pads channels with zeros."""

    def __init__(self, in_planes: int, planes: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_planes, planes, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, kernel_size=3, stride=1, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.shortcut = nn.Sequential()
        if stride != 1 or in_planes != planes:
            self.shortcut = LambdaLayer(
                lambda x: F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, planes // 4, planes // 4), "constant", 0)
            )

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += self.shortcut(x)
        return F.relu(out)


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int, r: int = 4) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.squeeze = nn.AdaptiveAvgPool2d(1)
        self.excitation = nn.Sequential(
            nn.Linear(channels, channels // r), nn.ReLU(), nn.Linear(channels // r, channels), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        b, c, _, _ = x.size()
        y = self.squeeze(x).view(b, c)
        y = self.excitation(y).view(b, c, 1, 1)
        return x * y.expand_as(x)


class DenseLayer(nn.Module):
    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(channels)
        self.conv = nn.Conv2d(channels, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.conv(F.relu(self.bn(x)))], 1)


class WithMiddle(nn.Module):
    """A small network around any block of 16 channels."""

    def __init__(self, middle: nn.Module, channels: int = 16) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 16, 3, padding=1)
        self.middle = middle
        self.fc = nn.Linear(channels, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.middle(F.relu(self.stem(x)))
        return self.fc(x.mean((2, 3)))


class StochasticDepth(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(16, 16, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        if self.training and torch.rand(1).item() < 0.2:
            return x
        return x + self.conv(x)


class PatchTransformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(1, 16, 7, 7)
        self.encoder = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.fc = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        return self.fc(self.encoder(x).mean(1))


class SoftmaxNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(784, 32), nn.ReLU(), nn.Linear(32, 10))
        self.softmax = nn.Softmax(dim=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.softmax(self.net(x))


class TwoHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(784, 32), nn.ReLU())
        self.head, self.aux = nn.Linear(32, 10), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.body(x)
        return self.head(x), self.aux(x)


class RowLstm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(28, 32, batch_first=True)
        self.fc = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        out, _ = self.lstm(x.squeeze(1))
        return self.fc(out[:, -1])


class Recurrent(nn.Module):
    """The same block three times over."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(16, 16, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(3):
            x = F.relu(self.conv(x))
        return x


class DataDependent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(16, 16, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) if x.sum() > 0 else x


class ScaledStd(nn.Conv2d):
    """Weight standardisation: another weight than the parameter's."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        weight = weight / (weight.std((1, 2, 3), keepdim=True) + 1e-5)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


class AlwaysDrops(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(16, 16, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(self.conv(x), 0.5)


class Normalizes(nn.Module):
    """Normalises its pixels itself."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))

    def forward(self, x: Tensor) -> Tensor:
        return self.net((x - 0.1307) / 0.3081)


class CosineHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(10, 784) / math.sqrt(784))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(F.normalize(x.flatten(1)), F.normalize(self.weight))
