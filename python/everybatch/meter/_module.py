"""A module of PyTorch as it is measured: run in evaluation mode, and left as it was."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from everybatch._generators import put_back, states
from everybatch.errors import ArgumentError

__all__ = ["Forward", "forward_of", "placed", "untouched", "unwrapped"]

Forward = Callable[[torch.Tensor], torch.Tensor]

_WRAPPERS = {
    "torch.nn.parallel.data_parallel.DataParallel": "module",
    "torch.nn.parallel.distributed.DistributedDataParallel": "module",
    "torch.optim.swa_utils.AveragedModel": "module",
    "torch._dynamo.eval_frame.OptimizedModule": "_orig_mod",
}
"""What holds a module and computes the same, and where. Named, for to import them all takes long."""


def unwrapped(module: nn.Module) -> nn.Module:
    """Return the module within torch.compile, DataParallel and the like: the same weights, in this process alone."""
    while True:
        names = (f"{kind.__module__}.{kind.__qualname__}" for kind in type(module).__mro__)
        attribute = next((_WRAPPERS[name] for name in names if name in _WRAPPERS), None)
        if attribute is None:
            return module
        module = getattr(module, attribute)


def placed(module: nn.Module) -> tuple[torch.device, torch.dtype]:
    """Return where a module takes images, and in which numbers.

    Raises
    ------
    ArgumentError
        It has no values to compute with.
    """
    device, dtype = torch.device("cpu"), torch.get_default_dtype()
    tensors = [*module.named_parameters(), *module.named_buffers()]
    for name, tensor in tensors:
        if nn.parameter.is_lazy(tensor):
            raise ArgumentError(f"{name} of the module is lazy, and has no values yet: give the module one batch first")
        if tensor.is_meta:
            raise ArgumentError(f"{name} of the module is on the device meta, where tensors have no values")
    if tensors:
        device = tensors[0][1].device
    floating = (tensor.dtype for _, tensor in tensors if tensor.is_floating_point())
    return device, next(floating, dtype)


def forward_of(module: nn.Module, transform: Forward | None) -> Forward:
    """Return what makes logits of images (n, C, H, W), on the CPU, for as long as the module is where it is now."""
    device, dtype = placed(module)

    def forward(images: torch.Tensor) -> torch.Tensor:
        given: Any = images if transform is None else transform(images)
        if not isinstance(given, torch.Tensor):
            raise TypeError(f"inputs must give a tensor for the module, not {type(given).__name__}")
        logits: Any = module(given.to(device, dtype))
        if not isinstance(logits, torch.Tensor):
            raise TypeError(
                f"the module gave a {type(logits).__name__}, and logits are a tensor (images, classes): wrap it in a "
                "module that returns them"
            )
        if logits.is_complex():
            raise TypeError("the module gave complex numbers, and logits are real")
        return logits.detach().to("cpu", torch.float32)

    return forward


@contextlib.contextmanager
def untouched(module: nn.Module, precision: str = "float32") -> Iterator[None]:
    """Put a module into evaluation mode, without gradients or autocast; leave it and all random numbers as they were.

    Modes are set and brought back one by one: methods `train` and `eval` of one's own are not called. With "bfloat16"
    it computes under `torch.autocast`.
    """
    device, _ = placed(module)
    modes = [(each, each.training) for each in module.modules()]
    buffers = list(_kept(module))
    with contextlib.ExitStack() as stack:
        stack.enter_context(_random_numbers(device))
        stack.enter_context(torch.inference_mode(mode=False))
        stack.enter_context(torch.no_grad())
        for kind in {"cpu", "cuda", device.type}:
            wanted = precision == "bfloat16" and kind == device.type
            if wanted or torch.is_autocast_enabled(kind):
                # Without its cache: what is cached there without gradients would be used with them.
                stack.enter_context(torch.autocast(kind, torch.bfloat16, enabled=wanted, cache_enabled=False))
        try:
            for each, _ in modes:
                each.training = False
            yield
        finally:
            for each, mode in modes:
                each.training = mode
            for owner, name, buffer, version, copy in buffers:
                owner._buffers[name] = buffer
                if buffer._version != version:
                    buffer.copy_(copy)


def _kept(module: nn.Module) -> Iterator[tuple[nn.Module, str, torch.Tensor, int, torch.Tensor]]:
    """Give the buffers of a module, with what is needed to bring them back."""
    for owner in module.modules():
        for name, buffer in owner._buffers.items():
            if buffer is not None and not buffer.is_inference():  # those cannot be changed in place
                yield owner, name, buffer, buffer._version, buffer.detach().clone()


@contextlib.contextmanager
def _random_numbers(device: torch.device) -> Iterator[None]:
    """Bring back the states of all generators that a module may draw from."""
    before = states()
    cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    try:
        yield
    finally:
        put_back(before)
        if cuda is not None:
            torch.cuda.set_rng_state(cuda, device)
