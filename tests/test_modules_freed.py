"""A module that leads to what was made of it, and back: Python's collector has to see both ways."""

from __future__ import annotations

import gc
import weakref

import torch
from torch import nn

import everybatch as eb


class WithMeter(nn.Module):
    def __init__(self, data: eb.Dataset) -> None:
        super().__init__()
        self.layer = nn.Linear(784, 10)
        self.meter = eb.Meter(self, data)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x.flatten(1))


class WithModel(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(784, 10))
        self.shared = [eb.from_torch(self, (1, 28, 28), share=True)]


def test_a_module_that_holds_its_meter_is_freed() -> None:
    module = WithMeter(eb.datasets.glyphs(train=20, test=20))
    module.meter.step(1.0)
    module.meter.end()
    seen = weakref.ref(module)
    del module
    gc.collect()
    assert seen() is None


def test_a_module_that_holds_its_own_shared_model_is_freed() -> None:
    module = WithModel()
    seen = weakref.ref(module)
    del module
    gc.collect()
    assert seen() is None
