"""A copy of a module with the same weights and buffers, whose forward leaves no trace on the module."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable
from typing import Any

from torch import nn

__all__ = ["stand_in"]

_CONTAINERS = (list, dict, set, deque)

Enter = Callable[[str, Callable[..., Any]], Callable[..., Any]]


def stand_in(module: nn.Module, enter: Enter) -> nn.Module:
    """Return a copy of `module` and of all modules within, of which only the tensors are the same objects.

    Whatever forward assigns to ``self``, and the modes that `train` and `eval` set, stay in the copy.

    Parameters
    ----------
    enter
        Makes of a submodule's path and its forward the forward that the copy has in its place.
    """
    return _copy(module, "", enter, {})


def _copy(module: nn.Module, path: str, enter: Enter, made: dict[int, nn.Module]) -> nn.Module:
    if id(module) in made:
        return made[id(module)]
    twin: nn.Module = object.__new__(type(module))
    made[id(module)] = twin
    # Lists and dicts too: forward may add to them.
    own: dict[str, Any] = {
        name: value.copy() if isinstance(value, _CONTAINERS) else value for name, value in module.__dict__.items()
    }
    prefix = f"{path}." if path else ""
    own["_modules"] = {
        name: None if child is None else _copy(child, f"{prefix}{name}", enter, made)
        for name, child in module._modules.items()
    }
    own["_compiled_call_impl"] = None  # what module.compile() leaves
    forward = own.get("forward") or functools.partial(type(module).forward, twin)
    own["forward"] = enter(path, forward)
    twin.__dict__.update(own)
    return twin
