"""Which tensors `Model.load_state_dict` copies: plain ones, whose numbers are in memory."""

from __future__ import annotations

from typing import Any

import torch

from everybatch.errors import ArgumentError

__all__ = ["check_tensor"]


def check_tensor(name: str, tensor: torch.Tensor) -> None:
    """Refuse a tensor that the core cannot read.

    Raises
    ------
    ArgumentError
        With the tensor's name, and what to do.
    """
    wrong = _wrong(tensor)
    if wrong is not None:
        raise ArgumentError(f"state dict: {name} {wrong}")


def _wrong(tensor: torch.Tensor) -> str | None:
    c: Any = torch._C  # partly without types
    keys = c._dispatch_keys(tensor)
    if torch.nn.parameter.is_lazy(tensor):
        return "is a lazy module's, and has no values yet"
    if tensor.is_nested:
        return "is a nested tensor: give a plain one"
    if tensor.is_meta:
        return "is on the device meta, where tensors have no values: give one with values"
    if tensor.is_quantized:
        return "is quantized: pass it through dequantize()"
    if keys.has(c.DispatchKey.Python):  # it computes by Python code of its own, and may have no memory
        return f"is a {type(tensor).__name__}, which wraps other tensors or none: give a plain tensor"
    if c._functorch.is_functorch_wrapped_tensor(tensor):
        return "belongs to a function within torch.func: load it outside"
    if tensor.layout != torch.strided:
        return "is sparse, or stored in a form of its own: pass it through to_dense()"
    if tensor.numel():
        pairs = zip(tensor.shape, tensor.stride(), strict=True)
        reach = tensor.storage_offset() + sum((size - 1) * stride for size, stride in pairs) + 1
        if tensor.untyped_storage().nbytes() < reach * tensor.element_size():
            return "has lost its memory: its storage was resized"
    return None
