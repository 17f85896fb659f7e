"""PyTorch modules as models of everybatch: what their forward computes, as a tree of layers."""

from everybatch.torch_modules._from_torch import from_torch

__all__ = ["from_torch"]
