"""Networks drawn at random from a seed: any layers, small, for tests over many of them."""

from __future__ import annotations

import numpy as np

import everybatch as eb

ACTIVATIONS = (
    "relu",
    "leaky_relu",
    "softplus",
    "gelu",
    "silu",
    "tanh",
    "sigmoid",
    "relu6",
    "elu",
    "selu",
    "mish",
    "hardswish",
    "hardsigmoid",
)


def random_network(seed: int) -> eb.Network:
    """Return a network of any layers but dropout, for small images of one or three channels and five classes."""
    return _Draw(seed).network()


class _Draw:
    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.channels, self.height, self.width = (
            int(self.random.integers(low, high)) for low, high in [(0, 2), (6, 13), (6, 13)]
        )
        self.channels = 1 + 2 * self.channels  # as pictures have
        self.input_shape = self.channels, self.height, self.width

    def among(self, *choices: object) -> object:
        return choices[int(self.random.integers(len(choices)))]

    def activation(self) -> eb.Layer:
        # ReLU most of the time: what networks are made of.
        name = str(self.among("relu", "relu", "relu", *ACTIVATIONS))
        if name == "leaky_relu":
            return eb.Activation(name, negative_slope=float(self.random.uniform(0.0, 0.5)))
        return eb.Activation(name)

    def conv(self, channels: int, keep: bool) -> eb.Layer:
        kernel = int(self.random.choice([1, 3, 5]))
        dilation = int(self.random.integers(1, 3)) if kernel > 1 else 1
        reach = dilation * (kernel - 1) + 1
        fits = min(self.height, self.width) >= reach
        padding = reach // 2 if keep or not fits else int(self.random.integers(0, reach // 2 + 1))
        stride = 1 if keep else int(self.random.integers(1, 3))
        common = [groups for groups in (1, 2, 3, 4) if self.channels % groups == 0 and channels % groups == 0]
        groups = int(self.random.choice(common))
        bias = bool(self.random.integers(2))
        layer = eb.Conv2d(
            self.channels, channels, kernel, stride=stride, padding=padding, dilation=dilation, groups=groups, bias=bias
        )
        self.channels = channels
        self.height, self.width = ((size + 2 * padding - reach) // stride + 1 for size in (self.height, self.width))
        return layer

    def plain(self, depth: int) -> list[eb.Layer]:
        """Layers that keep the shape."""
        kind = self.random.integers(7 if depth else 6)
        if kind == 0:
            return [self.conv(self.channels, keep=True), self.activation()]
        if kind == 1:
            return [eb.BatchNorm2d(self.channels)]
        if kind == 2:
            return [eb.BatchNorm2d(self.channels), self.activation()]
        if kind == 3:
            return [self.activation()]
        if kind == 4:
            return [eb.MaxPool2d(3, stride=1, padding=1)]
        if kind == 5:
            return [self.gate()]
        body = [layer for _ in range(self.random.integers(1, 4)) for layer in self.plain(depth - 1)]
        if self.random.integers(2):
            body.append(eb.BatchNorm2d(self.channels))
        return [eb.Residual(body, activation=self.among(None, "relu", "gelu"))]

    def gate(self) -> eb.Layer:
        """By a vector or by a map of one pixel."""
        channels, hidden = self.channels, int(self.random.integers(1, 5))
        first, last = self.activation(), self.among(self.activation(), eb.Activation("sigmoid"))
        if self.random.integers(2):
            pool = self.among(eb.GlobalAvgPool(), eb.GlobalMaxPool())
            return eb.Gate([pool, eb.Linear(channels, hidden), first, eb.Linear(hidden, channels), last])
        pool = eb.AdaptiveAvgPool2d(1)
        return eb.Gate([pool, eb.Conv2d(channels, hidden, 1), first, eb.Conv2d(hidden, channels, 1), last])

    def network(self) -> eb.Network:
        layers: list[eb.Layer] = []
        for _ in range(self.random.integers(1, 6)):
            kind = self.random.integers(4)
            if kind == 0:
                layers += [self.conv(int(self.random.choice([4, 6, 8])), keep=False), self.activation()]
            elif kind == 1 and min(self.height, self.width) > 3:
                pool = self.among(eb.MaxPool2d, eb.AvgPool2d)
                layers.append(pool(2))  # type: ignore[operator]
                self.height, self.width = self.height // 2, self.width // 2
            else:
                layers += self.plain(2)
        if self.random.integers(3) == 0:
            self.height, self.width = (int(size) for size in self.random.integers(1, 6, 2))
            layers.append(eb.AdaptiveAvgPool2d((self.height, self.width)))
        last = self.random.integers(4)
        if last < 2:
            layers.append([eb.GlobalAvgPool(), eb.GlobalMaxPool()][last])
            features = self.channels
        else:
            layers.append(eb.Flatten())
            features = self.channels * self.height * self.width
        if self.random.integers(2):
            layers += [eb.Linear(features, 6), eb.BatchNorm1d(6), self.activation()]
            features = 6
        layers.append(eb.Linear(features, 5))
        return eb.Network(layers, input_shape=self.input_shape)
