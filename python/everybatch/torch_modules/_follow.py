"""What a module computes, whatever the mode and the number of images: several passes that must agree."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from torch import nn

from everybatch.torch_modules._refused import refused
from everybatch.torch_modules._trace import trace
from everybatch.torch_modules._values import Size, Trace, Value, all_inputs

__all__ = ["follow"]

_BATCHES = 251, 257  # primes, which no other size of a network is likely to be


def follow(module: nn.Module, input_shape: Size, *, only_evaluation: bool = False) -> Trace:
    """Follow forward in evaluation mode for batches of two sizes and in training mode; return what it does in training.

    Raises
    ------
    UnsupportedModuleError
        It computes what no layer does, or these differ in more than dropout.
    ShapeError
        A layer cannot take what it is given.
    """
    small, large = (
        _without_dropout(trace(module, input_shape, batch, training=False, frozen_is_fine=only_evaluation))
        for batch in _BATCHES
    )
    _agree(small, large, "depends on the number of images in a batch: for another number it")
    if only_evaluation:
        return small
    training = trace(module, input_shape, _BATCHES[0], training=True)
    _agree(small, _without_dropout(training), "is not the same in training and in evaluation mode: in training it")
    return training


def _without_dropout(given: Trace) -> Trace:
    """Return what matters for the output, with no dropout in it."""
    needed = {id(value) for value in all_inputs(given.output)} | {id(given.values[0])}
    now: dict[int, Value] = {}
    kept = []
    for value in given.values:
        if id(value) not in needed:
            continue
        inputs = tuple(now[id(each)] for each in value.inputs)
        if value.layer.get("type") in ("Dropout", "Dropout2d", "StochasticDepth"):
            now[id(value)] = inputs[0]
            continue
        now[id(value)] = dataclasses.replace(value, inputs=inputs)
        kept.append(now[id(value)])
    return Trace(kept, now[id(given.output)])


def _agree(one: Trace, other: Trace, differs: str) -> None:
    for first, second in zip(_steps(one), _steps(other), strict=False):
        if first[1:] != second[1:]:
            raise refused(second[0].path, f"{differs} calls {second[0].operation or 'nothing'} here, or another layer")
    if len(one.values) != len(other.values):
        value = max(one.values, other.values, key=len)[-1]
        raise refused(value.path, f"{differs} has other layers")


def _steps(given: Trace) -> list[tuple[Any, ...]]:
    place = {id(value): index for index, value in enumerate(given.values)}
    return [
        (value, value.kind, value.shape, json.dumps(value.layer), value.tensors, [place[id(i)] for i in value.inputs])
        for value in given.values
    ] + [(given.output, place[id(given.output)])]
