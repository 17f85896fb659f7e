"""Residual blocks whose parts end in vectors, against PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import everybatch as eb
from everybatch.errors import ArgumentError


class TwoHeads(nn.Module):
    """A linear layer on all pixels, and one on the means of the maps."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(1, 4, 3)
        self.pixels, self.means = nn.Linear(4 * 26 * 26, 10), nn.Linear(4, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.relu(self.features(x))
        return self.pixels(x.flatten(1)) + self.means(x.mean((2, 3)))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_sum_of_vectors_is_measured_and_trained(precision: str) -> None:
    module = TwoHeads()
    model = eb.from_torch(module, (1, 28, 28))
    data = eb.datasets.glyphs(train=64, test=50)  # more images than classes
    with torch.no_grad():
        expected = module(torch.tensor(data.test_images)[:, None] / 255).numpy()
    np.testing.assert_allclose(model.logits(data.test_images), expected, atol=1e-4)
    loss = nn.functional.cross_entropy(torch.tensor(expected), torch.tensor(data.test_labels)).item()
    assert model.evaluate(data, precision=precision).loss == pytest.approx(loss, rel=0.02)
    run = eb.train(model, data, epochs=2, batch_size=16, precision=precision, progress=False)
    assert np.isfinite(run.test_loss).all()


# Layer BatchNorm1d has no variance to divide by in a batch of one image: 65 images make 4 batches of 16, and one of 1.
def test_a_batch_of_one_image_matters_where_the_run_comes_to_it() -> None:
    network = eb.Network([eb.Flatten(), eb.Linear(784, 8), eb.BatchNorm1d(8), eb.Linear(8, 10)])
    data = eb.datasets.glyphs(train=65, test=10)
    assert eb.train(network, data, batch_size=16, steps=4, progress=False).steps == 4
    for given in ({"batch_size": 16, "steps": 5}, {"batch_size": 1, "steps": 2}):
        with pytest.raises(ArgumentError, match="the last batch of an epoch holds one image"):
            eb.train(network, data, progress=False, **given)
