"""What a forward pass computes, as a graph: each value is made by one layer, or is the sum or product of two others."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import torch

__all__ = ["Memory", "Size", "Trace", "Traced", "Value", "all_inputs", "in_words"]

Size = tuple[int, ...]


def in_words(shape: Size) -> str:
    """Return how a batch of values of that shape is written: (N, channels, height, width)."""
    return "(N" + "".join(f", {size}" for size in shape) + ")"


@dataclasses.dataclass(eq=False)
class Value:
    """A value on its way through the network."""

    kind: str
    """``"input"``, ``"layer"``, ``"sum"`` or ``"product"``."""
    shape: Size
    """Of one image: (channels, height, width) or (features,)."""
    path: str = ""
    """Of the module that made it."""
    operation: str = ""
    """How it is called there."""
    inputs: tuple[Value, ...] = ()
    layer: dict[str, Any] = dataclasses.field(default_factory=dict)
    """As in the layer tree: its ``"type"`` and PyTorch's arguments."""
    tensors: dict[str, str] = dataclasses.field(default_factory=dict)
    """The layer's names of its tensors, and the module's, as in its `state_dict`."""

    @property
    def place(self) -> str:
        """Where it is made, in words."""
        return f"{self.path or 'the module'} ({self.operation})"


@dataclasses.dataclass
class Trace:
    """What a forward pass computed."""

    values: list[Value]
    """In the order in which they were made; the first is the batch itself."""
    output: Value


def all_inputs(output: Value) -> Iterator[Value]:
    """Go through the values that `output` is computed from, each once, itself included."""
    seen, open_values = set(), [output]
    while open_values:
        value = open_values.pop()
        if id(value) not in seen:
            seen.add(id(value))
            yield value
            open_values.extend(value.inputs)


class Memory:
    """The memory of a tensor and of all views of it: how often it was written to in place."""

    def __init__(self) -> None:
        self.writes = 0


class Traced(torch.Tensor):
    """Stands for a batch in a forward pass: a shape without numbers, and the value that it is."""

    value: Value
    memory: Memory
    seen: int  # the memory's writes when this view of it was made or last written to itself

    @staticmethod
    def of(size: Size, value: Value, memory: Memory | None = None) -> Traced:
        """Return one of that shape, batch included; a view if it gets the memory of another."""
        with torch._C.DisableTorchFunction():
            made: Traced = torch.Tensor._make_subclass(Traced, torch.empty(size, dtype=torch.float32, device="meta"))
        made.value, made.memory = value, memory or Memory()
        made.seen = made.memory.writes
        return made
