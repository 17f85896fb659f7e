"""What a module may not have, whatever its forward computes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

import torch
from torch import nn
from torch.nn.utils import parametrize

from everybatch._core import Model, Network
from everybatch.errors import ArgumentError
from everybatch.torch_modules._refused import METER, refused
from everybatch.torch_modules._values import Trace, Value

__all__ = ["as_module", "check_apart", "check_module"]

_WRAPPERS = ("DataParallel", "DistributedDataParallel", "FullyShardedDataParallel")
_HOOKS = (
    ("_forward_hooks", "forward hook"),
    ("_forward_pre_hooks", "forward hook"),
    ("_backward_hooks", "backward hook"),
    ("_backward_pre_hooks", "backward hook"),
)
_GRADIENT_HOOKS = "_backward_hooks", "_post_accumulate_grad_hooks"


def as_module(given: object) -> nn.Module:
    """Return `given` if it is a module; one that torch.compile has wrapped is taken out."""
    if isinstance(given, type) and issubclass(given, nn.Module):
        raise TypeError(f"module must be an nn.Module, not its class: pass {given.__name__}()")
    if not isinstance(given, nn.Module):
        hint = ""
        if isinstance(given, (Model, Network)):
            hint = ", which everybatch takes as it is"
        elif isinstance(given, dict):
            hint = ": build the module and call its load_state_dict first"
        raise TypeError(f"module must be an nn.Module, not {type(given).__name__}{hint}")
    if type(given).__name__ in _WRAPPERS:
        raise refused("", f"is a {type(given).__name__}", "pass the module within it, module.module")
    original = getattr(given, "_orig_mod", None) if type(given).__name__ == "OptimizedModule" else None
    return original if isinstance(original, nn.Module) else given


def check_module(module: nn.Module, *, share: bool, only_evaluation: bool) -> None:
    """Refuse hooks, parametrizations, other number formats and devices, lazy and compiled parts."""
    if any(vars(torch.nn.modules.module).get(f"_global{kind}") for kind, _ in _HOOKS):
        raise refused("", "would run under hooks of all modules (register_module_forward_hook)", "remove these first")
    tensors: list[tuple[str, torch.Tensor]] = [*module.named_parameters(), *module.named_buffers()]
    for name, tensor in tensors:
        _check_values(name, tensor)
    for path, part in module.named_modules():
        _check_part(path, part, only_evaluation)
    for name, tensor in tensors:
        _check_form(name, tensor, share)
        if not only_evaluation:
            _check_gradient(name, tensor)


def check_apart(trace: Trace, tensors: Mapping[str, torch.Tensor]) -> None:
    """Refuse tensors in use that share memory: a model has one of its own for each, and would train them apart.

    One tensor that is used twice is refused while forward is followed; here it is several, such as two parameters that
    were made of one, or views of one.
    """
    users = {name: value for value in trace.values for name in value.tensors.values()}
    extents = sorted((*_extent(tensors[name]), name) for name in users if tensors[name].numel())
    before: list[tuple[int, str]] = []
    for start, end, name in extents:
        before = [(other_end, other) for other_end, other in before if other_end > start]
        for _, other in before:
            if _share(tensors[name], tensors[other]):
                _refuse_shared(users, name, other)
        before.append((end, name))


def _refuse_shared(users: dict[str, Value], name: str, other: str) -> NoReturn:
    first, second = sorted((name, other), key=list(users).index)
    raise refused(
        users[second].path,
        f"uses {second}, which lies in the memory of {first}, used by {users[first].place}: the weights are shared",
        f"give each place weights of its own; {METER}",
    )


def _extent(tensor: torch.Tensor) -> tuple[int, int]:
    """Return the address of the first byte of a tensor that is not empty, and the one after its last."""
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return tensor.data_ptr(), tensor.data_ptr() + (last + 1) * tensor.element_size()


def _share(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Tell whether two tensors whose addresses overlap have an element in common, which columns of one do not."""
    if one.device != other.device:
        return False
    (start, end), (other_start, other_end) = _extent(one), _extent(other)
    least = min(start, other_start)
    marks = torch.zeros(max(end, other_end) - least, dtype=torch.bool)
    _bytes(marks, one, start - least).fill_(True)
    return bool(_bytes(marks, other, other_start - least).any())


def _bytes(marks: torch.Tensor, tensor: torch.Tensor, offset: int) -> torch.Tensor:
    """Return the marks of a tensor's bytes."""
    size = tensor.element_size()
    return marks.as_strided((*tensor.shape, size), (*(stride * size for stride in tensor.stride()), 1), offset)


def _check_gradient(name: str, tensor: torch.Tensor) -> None:
    if any(getattr(tensor, hooks, None) for hooks in _GRADIENT_HOOKS):
        raise refused(
            name,
            "has a hook on its gradient (register_hook or register_post_accumulate_grad_hook), which a model does not "
            "call when it trains",
            f"remove it first, with the remove() of the handle that registering it returned; {METER}",
        )


def _check_part(path: str, part: nn.Module, only_evaluation: bool) -> None:
    if isinstance(part, torch.jit.ScriptModule):
        raise refused(path, "is compiled TorchScript", "pass the nn.Module that it was made of")
    if path and type(part).__name__ in (*_WRAPPERS, "OptimizedModule"):
        raise refused(path, f"is a {type(part).__name__}", "pass a module of plain parts")
    if ".quantized" in type(part).__module__ or ".ao.nn" in type(part).__module__:
        raise refused(path, f"is quantized ({type(part).__name__})", f"pass the module in float32; {METER}")
    if parametrize.is_parametrized(part):
        what = "computes weights by a parametrization, as weight_norm and spectral_norm do"
        raise refused(path, what, f"torch.nn.utils.parametrize.remove_parametrizations makes plain weights; {METER}")
    for attribute, what in _HOOKS:
        hooks: dict[int, Any] = getattr(part, attribute)
        if hooks and not (only_evaluation and what == "backward hook"):
            raise refused(path, f"has a {what}, which may change what it computes", f"remove it first; {METER}")
    norm = isinstance(part, nn.modules.batchnorm._NormBase)
    if norm and part.track_running_stats and part.momentum is None and not only_evaluation:
        what = "is batch norm with momentum=None, a mean over all batches, and the layer's statistics are weighted"
        raise refused(path, what, f"give it a momentum, such as 0.1; {METER}")


def _check_values(name: str, tensor: torch.Tensor) -> None:
    if torch.nn.parameter.is_lazy(tensor):
        raise ArgumentError(
            f"from_torch: {name} has no values yet, because its module is lazy: call the module on one batch first, "
            "such as module(torch.zeros(2, *input_shape))"
        )
    if tensor.is_meta:
        raise ArgumentError(f"from_torch: {name} is on the device meta, where tensors have no values")


def _check_form(name: str, tensor: torch.Tensor, share: bool) -> None:
    if share and tensor.device.type != "cpu":
        raise ArgumentError(
            f"from_torch: {name} is on {tensor.device}, and a model shares only what is on the CPU: leave share=True "
            "out to get a copy, or call module.cpu() first"
        )
    if tensor.is_complex() or (tensor.is_floating_point() and tensor.dtype != torch.float32):
        raise refused(
            name, f"has the number format {tensor.dtype}", "models compute in float32: call module.float() first"
        )
