"""Stochastic depth in modules of others, which multiply by random numbers of their own: known by name, and tried."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from everybatch._generators import put_back, states
from everybatch.torch_modules._refused import METER, refused

__all__ = ["dropped_images"]

_PROBABILITY = {"StochasticDepth": "p", "DropPath": "drop_prob"}
"""The attribute that holds it, by the name of the class: torchvision's; timm's and what was copied from there."""
_IMAGES = 1024
_DEVIATIONS = 6  # of a share of images by chance: once in 10^9 times


def dropped_images(module: nn.Module, forward: Callable[..., Any], path: str) -> float:
    """Return the probability with which a module drops whole images in training; 0 if it is none that does.

    Parameters
    ----------
    module
        What may be one.
    forward
        Its forward, in training mode; called on a batch of ones.
    path
        Of the module.

    Raises
    ------
    UnsupportedModuleError
        It is called as one, and does something else.
    """
    name = type(module).__name__
    p = getattr(module, _PROBABILITY[name], None) if name in _PROBABILITY else None
    if not isinstance(p, (int, float)) or not 0 < p < 1:
        return 0.0
    what = f"is called {name}, and does not drop each image by itself with probability {p:g} and divide by {1 - p:g}"
    if getattr(module, "mode", "row") != "row":
        what = f"is {name} in mode {module.mode!r}, and only mode 'row', image by image, is a layer"
        raise refused(path, what, f"make it that; {METER}")
    kept = _tried(forward)
    if kept is None:
        raise refused(path, what)
    dropped = float((kept == 0).double().mean())
    expected = torch.where(kept == 0, 0.0, 1 / (1 - p))
    deviation = math.sqrt(p * (1 - p) / _IMAGES)
    if not torch.allclose(kept, expected, rtol=1e-5) or abs(dropped - p) > _DEVIATIONS * deviation:
        raise refused(path, what)
    return float(p)


def _tried(forward: Callable[..., Any]) -> torch.Tensor | None:
    """Return what becomes of the ones of each image, (images,), or None if they do not stay alike."""
    before = states()
    try:
        with torch._C.DisableTorchFunction(), torch.no_grad():
            given = forward(torch.ones(_IMAGES, 3, 2, 2))
    except Exception:  # forward follows, and tells
        return None
    finally:
        put_back(before)
    if not isinstance(given, torch.Tensor) or given.shape != (_IMAGES, 3, 2, 2):
        return None
    flat = given.flatten(1)
    return flat[:, 0] if bool((flat == flat[:, :1]).all()) else None
