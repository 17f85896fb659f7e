"""torch's thread-local modes, as the core needs them whatever surrounds a call."""

from __future__ import annotations

import contextlib

import torch

__all__ = ["plain_torch"]


def plain_torch() -> contextlib.ExitStack:
    """Enter gradients on, inference mode off and autocast off; close the returned stack to restore the caller's."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        return stack.pop_all()
