"""Whether a module still has the tensors that a model shares with it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

__all__ = ["Owner"]


class Owner:
    """Tells, when it is called, that a tensor of the module was replaced by another one.

    Assignments do that, and what torch does to buffers in ``module.to(...)``, ``half()`` and ``float()``.
    """

    def __init__(self, module: nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
        self._module = module
        self._tensors = dict(tensors)

    def __call__(self) -> str | None:
        """Return the message for the user, or None."""
        parts: dict[str, nn.Module | None] = {"": self._module}
        for name, tensor in self._tensors.items():
            path, _, own = name.rpartition(".")
            part = _submodule(path, parts)
            if part is None or (part._parameters.get(own) is not tensor and part._buffers.get(own) is not tensor):
                return (
                    f"the model shares the tensors of a module, and the module's {name} is another tensor by now: it "
                    "was replaced by an assignment, or by to(), half() or the like. Call "
                    "eb.from_torch(module, share=True) again"
                )
        return None


def _submodule(path: str, parts: dict[str, nn.Module | None]) -> nn.Module | None:
    if path not in parts:
        parent, _, name = path.rpartition(".")
        found = _submodule(parent, parts)
        parts[path] = None if found is None else found._modules.get(name)
    return parts[path]
