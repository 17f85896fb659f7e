"""A last look: the model's logits against the module's, on a few images."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from everybatch._core import Model
from everybatch.errors import InternalError
from everybatch.torch_modules._stand_in import stand_in

__all__ = ["check_same"]

_IMAGES = 3
_TOLERANCE = 1e-3  # of the largest logit: rounding stays far below, another function far above


def check_same(module: nn.Module, model: Model, *, log_softmax: bool) -> None:
    """Compare the logits of images drawn at random; the module stays as it is.

    Parameters
    ----------
    log_softmax
        The module takes it of the logits.

    Raises
    ------
    InternalError
        They differ.
    """
    channels, height, width = model.input_shape
    shape = (_IMAGES, height, width) if channels == 1 else (_IMAGES, height, width, channels)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    mean, std = (np.array(values, np.float32).reshape(-1, 1, 1) for values in (model.mean or [0], model.std or [1]))
    pixels = images.reshape(_IMAGES, height, width, channels).transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
    x = torch.from_numpy(np.ascontiguousarray((pixels - mean) / std))
    twin = stand_in(module, lambda _, forward: forward)
    twin.eval()
    device = next((tensor.device for tensor in module.parameters()), torch.device("cpu"))
    with torch.no_grad():
        expected = twin(x.to(device)).double().cpu()
    given = torch.from_numpy(model.logits(images)).double()
    if log_softmax:
        given = given.log_softmax(1)
    if not expected.isfinite().all():
        return
    gap, largest = float((given - expected).abs().max()), float(expected.abs().max())
    if not gap <= _TOLERANCE * largest + 1e-6:
        raise InternalError(
            f"from_torch: the model gives other logits than the module, by {gap:g} where the largest is {largest:g}: "
            "either forward depends on something else than the images, or everybatch has a bug; please report it with "
            "the module"
        )
