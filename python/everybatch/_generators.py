"""The random numbers that code of others may draw: torch's on the CPU, Python's and NumPy's."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

__all__ = ["States", "put_back", "states"]

States = tuple[torch.Tensor, Any, Any]


def states() -> States:
    """Return where the generators are."""
    return torch.get_rng_state(), random.getstate(), np.random.get_state()  # noqa: NPY002 - the one that others draw from


def put_back(before: States) -> None:
    """Have them draw from there again."""
    torch.set_rng_state(before[0])
    random.setstate(before[1])
    np.random.set_state(before[2])  # noqa: NPY002
