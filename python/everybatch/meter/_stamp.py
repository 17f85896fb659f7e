"""Whether a plan of a module's weights is one still: everything that it was made of, as it was."""

from __future__ import annotations

from collections.abc import Hashable, Iterator

import torch
from torch import nn
from torch.nn.modules import module as everywhere

__all__ = ["stamp"]

_PLAIN = (bool, int, float, complex, str, bytes, tuple, type(None))
_MODE = "training"


def stamp(module: nn.Module) -> Hashable:
    """Return what changes when anything of a module is replaced: tensors, layers, their settings.

    Numbers that are written into its tensors do not count: a plan reads them anew each time.
    """
    of_all = bool(everywhere._global_forward_hooks or everywhere._global_forward_pre_hooks)
    return of_all, tuple(_layers(module)), tuple(_tensors(module))


def _tensors(module: nn.Module) -> Iterator[Hashable]:
    for owner in module.modules():
        for tensors in (owner._parameters, owner._buffers):
            for name, tensor in tensors.items():
                yield name, None if tensor is None else _place(tensor)


def _place(tensor: torch.Tensor) -> Hashable:
    """Return which memory a tensor is. It cannot become another's while a plan holds it."""
    return id(tensor), tensor.data_ptr(), tensor.dtype, tensor.device, tensor.shape, tensor.stride()


def _layers(module: nn.Module) -> Iterator[Hashable]:
    for name, layer in module.named_modules(remove_duplicate=False):
        own = vars(layer)
        settings = tuple(value for key, value in own.items() if key != _MODE and _is_plain(value))
        yield name, id(layer), type(layer), id(own.get("forward")), _hooked(layer), settings


def _is_plain(value: object) -> bool:
    """Whether a value compares as it is: what is in a tuple may not."""
    if type(value) is tuple:
        return all(map(_is_plain, value))
    return type(value) in _PLAIN


def _hooked(layer: nn.Module) -> bool:
    """Return whether anything looks at what a layer is given or gives, and may change it."""
    return bool(layer._forward_hooks or layer._forward_pre_hooks)
