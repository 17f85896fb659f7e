"""One run by everybatch and the same by PyTorch, from equal weights and on equal batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

import everybatch as eb
import reference

Optimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
ADAM: Optimizer = partial(torch.optim.Adam, lr=1e-3)
STEPS = 20


def both(
    network: eb.Network,
    module: nn.Module,
    dataset: eb.Dataset,
    plain: Optimizer,
    gain: float = 1.0,
    criterion: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = nn.functional.cross_entropy,
    **arguments: Any,
) -> tuple[eb.Run, reference.Losses]:
    """Train `network` for one epoch with the arguments, and `module` from the same weights on the same batches.

    `gain` multiplies the initial weights of convolutions and linear layers; `criterion` is PyTorch's training loss.
    """
    model = network.initialize(seed=1)
    for tensor in model.state_dict().values():
        if tensor.ndim > 1:
            tensor.detach().mul_(gain)
    module.load_state_dict(model.state_dict())  # strict: every name and shape
    run = eb.train(model, dataset, seed=7, progress=False, device="cpu", **arguments)
    images = reference.pixels(dataset.train_images, dataset.mean, dataset.std)
    labels = torch.tensor(dataset.train_labels)
    test = reference.pixels(dataset.test_images, dataset.mean, dataset.std), torch.tensor(dataset.test_labels)
    batches = [torch.tensor(run.batch_indices(step)) for step in range(run.steps)]
    return run, reference.train(module, ((images[b], labels[b]) for b in batches), test, plain, criterion)


def assert_same(run: eb.Run, plain: reference.Losses, tolerance: float = 1e-4) -> None:
    np.testing.assert_allclose(run.train_loss, plain.train, rtol=tolerance)
    np.testing.assert_allclose(run.test_loss, plain.test, rtol=tolerance)
