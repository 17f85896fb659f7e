"""From the graph of values to the tree of layers: sums become residual blocks, and products become gates."""

from __future__ import annotations

import dataclasses
from typing import Any

from everybatch.torch_modules._refused import METER, refused
from everybatch.torch_modules._values import Trace, Value, in_words

__all__ = ["Tree", "tree"]


@dataclasses.dataclass
class Tree:
    """A network's layers, as in its JSON, and which tensor of the module each of its tensors is."""

    layers: list[dict[str, Any]]
    tensors: dict[str, str]
    """The names in `Model.state_dict`, and the module's."""
    log_softmax: bool
    """The module takes it of the logits, which the layers end in."""


@dataclasses.dataclass
class _Block:
    """A residual block; `value` is the sum."""

    value: Value
    body: list[_Part]
    shortcut: list[_Part]
    activation: dict[str, Any] | None = None


@dataclasses.dataclass
class _Gate:
    """A value times one number for each of its channels; `value` is the product."""

    value: Value
    body: list[_Part]


_Part = Value | _Block | _Gate


def tree(trace: Trace) -> Tree:
    """Return the tree of what `trace` computed.

    Raises
    ------
    UnsupportedModuleError
        A value is used in another way than by the next layer, or by both branches of a residual block.
    """
    parts = _Reader(trace).chain(trace.output, trace.values[0])
    log_softmax = bool(parts) and isinstance(parts[-1], Value) and parts[-1].layer["type"] == "LogSoftmax"
    if log_softmax:
        parts.pop()  # the cross-entropy of what comes before it is the loss of what comes after it
    made = Tree([], {}, log_softmax)
    made.layers = _layers(parts, "", made.tensors)
    return made


class _Reader:
    def __init__(self, trace: Trace) -> None:
        self._fork: dict[int, Value] = {}  # the last value that all ways to a value come through
        self._depth = {id(trace.values[0]): 0}
        self._taken: set[int] = set()
        for value in trace.values[1:]:
            fork = value.inputs[0]
            for other in value.inputs[1:]:
                fork = self._common(fork, other)
            self._fork[id(value)] = fork
            self._depth[id(value)] = self._depth[id(fork)] + 1

    def _common(self, one: Value, other: Value) -> Value:
        while one is not other:
            if self._depth[id(one)] < self._depth[id(other)]:
                one, other = other, one
            one = self._fork[id(one)]
        return one

    def chain(self, end: Value, start: Value) -> list[_Part]:
        """Return what leads from `start` to `end`."""
        parts: list[_Part] = []
        while end is not start:
            if id(end) in self._taken:
                raise refused(
                    end.path,
                    f"gives a value ({end.operation}) that is used in several places which are not the two branches of "
                    "a residual block, nor a gate and what it multiplies",
                    f"write it as activation(body(x) + shortcut(x)), or as x * body(x); {METER}",
                )
            self._taken.add(id(end))
            fork = self._fork[id(end)]
            if end.kind == "sum":
                parts.append(self._block(end, fork))
            elif end.kind == "product":
                parts.append(self._gate(end, fork))
            else:
                parts.append(end)
            end = fork
        return parts[::-1]

    def _block(self, value: Value, fork: Value) -> _Block:
        body, shortcut = (self.chain(branch, fork) for branch in value.inputs)
        if _count(body) < _count(shortcut):
            body, shortcut = shortcut, body
        if not body:
            raise refused(value.path, "adds a value to itself, which no layer does")
        return _Block(value, body, shortcut)

    def _gate(self, value: Value, fork: Value) -> _Gate:
        factors = [each for each in value.inputs if each is not fork]
        if len(factors) != 1:
            what = "a value by itself" if not factors else "two values of which neither is computed from the other"
            raise refused(
                value.path,
                f"multiplies {what} ({value.operation}), and the only product is x * body(x)",
            )
        channels = fork.shape[:1]
        if fork.shape != value.shape or _unspread(factors[0]).shape not in (channels, (*channels, 1, 1)):
            given = f"{in_words(fork.shape)} by {in_words(factors[0].shape)}"
            raise refused(
                value.path,
                f"multiplies maps of {given} ({value.operation}), and the only product is "
                "that of a map and of one number for each of its channels, as in squeeze-and-excitation",
            )
        return _Gate(value, self.chain(factors[0], fork))


def _unspread(value: Value) -> Value:
    """Return what it is before it is expanded to all pixels, if that is all that was done to it but activations."""
    while value.layer.get("type") == "Activation":
        value = value.inputs[0]
    return value.inputs[0] if value.layer.get("type") == "Expand" else value


def _count(parts: list[_Part]) -> int:
    return sum(1 + sum(map(_count, _inner(part))) for part in parts)


def _inner(part: _Part) -> list[list[_Part]]:
    if isinstance(part, Value):
        return []
    return [part.body, part.shortcut] if isinstance(part, _Block) else [part.body]


def _layers(parts: list[_Part], prefix: str, tensors: dict[str, str]) -> list[dict[str, Any]]:
    layers = []
    for index, part in enumerate(_joined(parts)):
        path = f"{prefix}{index}."
        if isinstance(part, _Block):
            body = _layers(part.body, f"{path}body.", tensors)
            shortcut = _layers(part.shortcut, f"{path}shortcut.", tensors)
            layers.append({"type": "Residual", "body": body, "shortcut": shortcut, "activation": part.activation})
            continue
        if isinstance(part, _Gate):
            layers.append({"type": "Gate", "body": _layers(_as_vectors(part.body), f"{path}body.", tensors)})
            continue
        if part.layer["type"] == "LogSoftmax":
            raise refused(
                part.path, "takes log_softmax before its end", f"keep it for the end, or leave it out; {METER}"
            )
        if part.layer["type"] == "ZeroPad2d":
            raise refused(part.path, "pads with zeros what is not given to a convolution next")
        if part.layer["type"] in ("OnePixel", "Expand"):
            what = f"makes {in_words(part.shape)} of {in_words(part.inputs[0].shape)} by {part.operation}"
            raise refused(part.path, f"{what}, and the only change of shape is flatten, but for what multiplies a map")
        if part.layer["type"] == "StochasticDepth" and not prefix:
            what = "drops whole images outside of a residual block, where nothing of them would be left"
            raise refused(part.path, what, f"end the body of a block with it; {METER}")
        layers.append(part.layer)
        tensors.update({f"{path}{name}": given for name, given in part.tensors.items()})
    return layers


def _as_vectors(body: list[_Part]) -> list[_Part]:
    """Leave out what brings the numbers of a gate into the shape of a map: the layer does that itself."""
    kept = list(body)
    for index, part in reversed(list(enumerate(body))):
        kind = part.layer["type"] if isinstance(part, Value) else ""
        if kind in ("OnePixel", "Expand"):
            del kept[index]
        elif kind not in ("Activation", "Dropout", "StochasticDepth"):
            break
    return kept


def _joined(parts: list[_Part]) -> list[_Part]:
    """Join what is one layer: a block and the activation after it, a pool over all pixels and a flatten."""
    joined: list[_Part] = []
    for part in parts:
        last = joined[-1] if joined else None
        kind = part.layer["type"] if isinstance(part, Value) else ""
        if kind == "Activation" and isinstance(last, _Block) and last.activation is None and isinstance(part, Value):
            last.activation = {name: value for name, value in part.layer.items() if name != "type"}
        elif kind == "Flatten" and isinstance(last, Value) and last.layer["type"] == "OnePixel":
            joined.pop()  # a vector again
        elif kind == "Flatten" and isinstance(last, Value) and isinstance(part, Value) and _is_global(last):
            name = "GlobalMaxPool" if last.layer["type"] == "MaxPool2d" else "GlobalAvgPool"
            joined[-1] = dataclasses.replace(last, layer={"type": name}, shape=part.shape)
        else:
            joined.append(part)
    return joined


def _is_global(value: Value) -> bool:
    """Tell whether a layer pools a map as it is to one pixel."""
    layer = value.layer
    pools = layer["type"] in ("MaxPool2d", "AvgPool2d") and layer["padding"] == [0, 0]
    return pools and tuple(layer["kernel_size"]) == value.inputs[0].shape[1:]
