"""What tests of `from_torch` share: modules whose every tensor matters, and comparisons with plain PyTorch."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import nn

import everybatch as eb
import reference
from parity import Optimizer


def unsettle(module: nn.Module) -> nn.Module:
    """Draw batch norm's scales and statistics far from 0 and 1, so that leaving one out is seen."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                for tensor in (part.weight, part.bias, part.running_mean, part.running_var):
                    if tensor is not None:
                        tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return module


def pictures(model: eb.Model, count: int = 5) -> np.ndarray:
    channels, height, width = model.input_shape
    shape = (count, height, width) if channels == 1 else (count, height, width, channels)
    return np.random.default_rng(count).integers(0, 256, shape, dtype=np.uint8)


@torch.no_grad()
def logits_of(module: nn.Module, images: np.ndarray, model: eb.Model) -> np.ndarray:
    """What plain PyTorch gives in evaluation mode; the module's own mode and buffers stay."""
    channels = model.input_shape[0]
    x = reference.pixels(images, model.mean or [0.0] * channels, model.std or [1.0] * channels)
    return copy.deepcopy(module).eval()(x).numpy()


def assert_same_logits(model: eb.Model, module: nn.Module) -> None:
    """Logits of the model equal the module's, or their log_softmax does if the module takes that."""
    images = pictures(model)
    expected, given = logits_of(module, images, model), model.logits(images)
    assert np.ptp(expected) > 1e-3  # or equality would mean little
    if np.allclose(np.exp(expected).sum(1), 1, atol=1e-5):
        given = torch.from_numpy(given).log_softmax(1).numpy()
    np.testing.assert_allclose(given, expected, rtol=1e-5, atol=1e-5 * max(1.0, np.abs(expected).max()))


def both(module: nn.Module, dataset: eb.Dataset, plain: Optimizer, **arguments: Any) -> tuple[eb.Run, reference.Losses]:
    """Train what `from_torch` makes of a module, and the module itself by PyTorch, on the same batches."""
    channels = 1 if dataset.train_images.ndim == 3 else dataset.train_images.shape[3]
    model = eb.from_torch(module, (channels, *dataset.train_images.shape[1:3]))
    run = eb.train(model, dataset, seed=7, progress=False, device="cpu", **arguments)
    images = reference.pixels(dataset.train_images, dataset.mean, dataset.std)
    labels = torch.tensor(dataset.train_labels)
    test = reference.pixels(dataset.test_images, dataset.mean, dataset.std), torch.tensor(dataset.test_labels)
    batches = [torch.tensor(run.batch_indices(step)) for step in range(run.steps)]
    return run, reference.train(module, ((images[b], labels[b]) for b in batches), test, plain)
