"""The reader of the layer tree that writes ONNX operators. Imports onnx, so import it only when that is there."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from onnx import NodeProto, TensorProto, helper, numpy_helper

from everybatch.export._given import unknown_layer

__all__ = ["Graph"]

Layer = Mapping[str, Any]
Floats = npt.NDArray[np.float32]
Whole = npt.NDArray[np.int64]


class Graph:
    """Operators in the order of their computation, and the tensors that they read.

    Parameters
    ----------
    weights
        `Model.state_dict`.
    size
        Height and width of the images; then of the maps that the operators so far give.
    """

    def __init__(self, weights: Mapping[str, torch.Tensor], size: tuple[int, int] = (0, 0)) -> None:
        self.size = size
        self.flat = False  # whether what the operators so far give is vectors
        self.nodes: list[NodeProto] = []
        self.tensors: list[TensorProto] = []
        self._weights = weights

    def add(self, operator: str, name: str, *inputs: str | Floats | Whole, **attributes: Any) -> str:
        """Add an operator, and those of its inputs that are numbers; return the name of its output, which is `name`."""
        names = [
            given if isinstance(given, str) else self._tensor(f"{name}.constant{index}", given)
            for index, given in enumerate(inputs)
        ]
        self.nodes.append(helper.make_node(operator, names, [name], name=name, **attributes))
        return name

    def weight(self, name: str) -> str:
        """Add a weight of the model and return its name."""
        return self._tensor(name, self._weights[name].detach().cpu().numpy())

    def layers(self, layers: Sequence[Layer], x: str, prefix: str) -> str:
        """Add layers one after the other; return the name of what the last one gives, or `x` if there is none."""
        for index, layer in enumerate(layers):
            path = f"{prefix}{index}"
            if layer["type"] not in _READERS:
                raise unknown_layer(layer["type"], path)
            x = _READERS[layer["type"]](self, layer, x, path)
        return x

    def _tensor(self, name: str, values: Floats | Whole) -> str:
        self.tensors.append(numpy_helper.from_array(values, name))
        return name


def _conv(graph: Graph, layer: Layer, x: str, path: str) -> str:
    _slide(graph, layer)
    return graph.add(
        "Conv",
        f"{path}.output",
        x,
        *_weight_and_bias(graph, layer, path),
        kernel_shape=layer["kernel_size"],
        strides=layer["stride"],
        pads=layer["padding"] * 2,  # top, left, bottom, right
        dilations=layer["dilation"],
        group=layer["groups"],
    )


def _linear(graph: Graph, layer: Layer, x: str, path: str) -> str:
    return graph.add("Gemm", f"{path}.output", x, *_weight_and_bias(graph, layer, path), transB=1)


def _weight_and_bias(graph: Graph, layer: Layer, path: str) -> list[str]:
    return [graph.weight(f"{path}.{name}") for name in (("weight", "bias") if layer["bias"] else ("weight",))]


def _batch_norm(graph: Graph, layer: Layer, x: str, path: str) -> str:
    statistics = [graph.weight(f"{path}.{name}") for name in ("weight", "bias", "running_mean", "running_var")]
    return graph.add("BatchNormalization", f"{path}.output", x, *statistics, epsilon=layer["eps"])


def _pool(operator: str, **attributes: Any) -> Callable[[Graph, Layer, str, str], str]:
    def read(graph: Graph, layer: Layer, x: str, path: str) -> str:
        _slide(graph, layer)
        return graph.add(
            operator,
            f"{path}.output",
            x,
            kernel_shape=layer["kernel_size"],
            strides=layer["stride"],
            pads=layer["padding"] * 2,
            **attributes,
        )

    return read


def _slide(graph: Graph, layer: Layer) -> None:
    """Follow the size of a map that a window slides over."""
    height, width = (
        (size + 2 * layer["padding"][axis] - layer.get("dilation", (1, 1))[axis] * (layer["kernel_size"][axis] - 1) - 1)
        // layer["stride"][axis]
        + 1
        for axis, size in enumerate(graph.size)
    )
    graph.size = height, width


def _adaptive_pool(graph: Graph, layer: Layer, x: str, path: str) -> str:
    """Each pixel is a mean of rows and columns: rows · x · columns, for which ONNX has no operator of its own."""
    rows, columns = (_means(size, count) for size, count in zip(graph.size, layer["output_size"], strict=True))
    graph.size = layer["output_size"][0], layer["output_size"][1]
    return graph.add("MatMul", f"{path}.output", graph.add("MatMul", f"{path}.rows", rows, x), columns.T.copy())


def _means(size: int, count: int) -> Floats:
    """Return (count, size): the share that each of `size` pixels has in each window, which are PyTorch's."""
    means = np.zeros((count, size), np.float32)
    for index in range(count):
        start, stop = index * size // count, -(-(index + 1) * size // count)
        means[index, start:stop] = 1 / (stop - start)
    return means


def _global_pool(operator: str) -> Callable[[Graph, Layer, str, str], str]:
    def read(graph: Graph, layer: Layer, x: str, path: str) -> str:  # noqa: ARG001 - it has no arguments
        graph.flat = True
        return graph.add("Flatten", f"{path}.output", graph.add(operator, f"{path}.pooled", x))

    return read


def _flatten(graph: Graph, layer: Layer, x: str, path: str) -> str:  # noqa: ARG001 - it has no arguments
    graph.flat = True
    return graph.add("Flatten", f"{path}.output", x)


def _nothing(graph: Graph, layer: Layer, x: str, path: str) -> str:  # noqa: ARG001 - dropout does nothing after training
    return x


def _residual(graph: Graph, layer: Layer, x: str, path: str) -> str:
    start = graph.size, graph.flat
    body = graph.layers(layer["body"], x, f"{path}.body.")
    graph.size, graph.flat = start
    shortcut = graph.layers(layer["shortcut"], x, f"{path}.shortcut.")
    both = graph.add("Add", f"{path}.sum", body, shortcut)
    return both if layer["activation"] is None else _activation(graph, layer["activation"], both, path)


def _gate(graph: Graph, layer: Layer, x: str, path: str) -> str:
    start = graph.size, graph.flat
    factors = graph.layers(layer["body"], x, f"{path}.body.")
    if graph.flat and not start[1]:
        factors = graph.add("Unsqueeze", f"{path}.factors", factors, np.array([2, 3], np.int64))
    graph.size, graph.flat = start
    return graph.add("Mul", f"{path}.output", x, factors)


def _activation(graph: Graph, layer: Layer, x: str, path: str) -> str:
    function, output = layer["function"], f"{path}.output"
    if function in _SAME:
        return graph.add(_SAME[function], output, x)
    if function == "leaky_relu":
        return graph.add("LeakyRelu", output, x, alpha=layer["negative_slope"])
    if function == "silu":  # x · sigmoid(x)
        return graph.add("Mul", output, x, graph.add("Sigmoid", f"{path}.sigmoid", x))
    if function == "gelu":  # x · (1 + erf(x / √2)) / 2, an operator of its own only from operator set 20 on
        scaled = graph.add("Mul", f"{path}.scaled", x, np.array(math.sqrt(0.5), np.float32))
        erf = graph.add("Erf", f"{path}.erf", scaled)
        share = graph.add("Add", f"{path}.share", erf, np.array(1, np.float32))
        half = graph.add("Mul", f"{path}.half", x, np.array(0.5, np.float32))
        return graph.add("Mul", output, half, share)
    if function == "relu6":
        return graph.add("Clip", output, x, np.array(0, np.float32), np.array(6, np.float32))
    if function == "hardsigmoid":
        return graph.add("HardSigmoid", output, x, alpha=1 / 6)
    if function == "mish":  # x · tanh(softplus(x)), an operator of its own only from operator set 18 on
        share = graph.add("Tanh", f"{path}.tanh", graph.add("Softplus", f"{path}.softplus", x))
        return graph.add("Mul", output, x, share)
    raise unknown_layer(function, path)


_SAME = {
    "relu": "Relu",
    "softplus": "Softplus",
    "tanh": "Tanh",
    "sigmoid": "Sigmoid",
    "elu": "Elu",
    "selu": "Selu",
    "hardswish": "HardSwish",
}
_READERS: dict[str, Callable[[Graph, Layer, str, str], str]] = {
    "Activation": _activation,
    "AdaptiveAvgPool2d": _adaptive_pool,
    "AvgPool2d": _pool("AveragePool", count_include_pad=1),
    "BatchNorm1d": _batch_norm,
    "BatchNorm2d": _batch_norm,
    "Conv2d": _conv,
    "Dropout": _nothing,
    "Dropout2d": _nothing,
    "Flatten": _flatten,
    "Gate": _gate,
    "GlobalAvgPool": _global_pool("GlobalAveragePool"),
    "GlobalMaxPool": _global_pool("GlobalMaxPool"),
    "Linear": _linear,
    "MaxPool2d": _pool("MaxPool"),
    "Residual": _residual,
    "StochasticDepth": _nothing,
}
