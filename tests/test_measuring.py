"""How the test set is measured: the way is chosen by measurement, and no way changes the result."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

import everybatch as eb
from test_train import has_bfloat16


@pytest.fixture(scope="module")
def many() -> eb.Dataset:
    """Enough test images for calibration."""
    return eb.datasets.glyphs(train=2_000, test=1_000, seed=5)


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    had = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(had)


def trained(dataset: eb.Dataset, **arguments: object) -> eb.Run:
    return eb.train(eb.networks.lenet5(), dataset, batch_size=64, device="cpu", progress=False, **arguments)  # type: ignore[arg-type]


def test_the_fastest_way_is_taken_and_told(many: eb.Dataset, threads: Callable[[int], None]) -> None:
    threads(2)
    chosen = trained(many, steps=20).config["evaluation"]
    measured = chosen["measured"]
    ways = [(way["chunk"], way["workers"]) for way in measured]
    assert len(set(ways)) == len(ways) >= 3
    assert {workers for _, workers in ways} == {1, 2}
    assert all(way["images_per_second"] > 0 for way in measured)
    fastest = max(measured, key=lambda way: way["images_per_second"])
    assert (chosen["chunk"], chosen["workers"]) == (fastest["chunk"], fastest["workers"])
    # Equal runs are measured in equal ways, so the choice is kept.
    assert trained(many, steps=20, seed=1).config["evaluation"] == chosen


def test_few_measurements_are_not_worth_a_choice(many: eb.Dataset) -> None:
    assert trained(many, steps=18).config["evaluation"]["measured"] == []
    assert trained(many, steps=19).config["evaluation"]["measured"] != []
    assert trained(many, steps=19, evaluate_every=2).config["evaluation"]["measured"] == []
    assert trained(many, steps=19, evaluate_on=300).config["evaluation"]["measured"] == []


@pytest.mark.parametrize("count", [1, 2, 31, 64, 65, 999, 1000])
def test_any_number_of_images_by_any_number_of_threads(
    many: eb.Dataset, threads: Callable[[int], None], count: int
) -> None:
    model = eb.networks.lenet5().initialize(3)
    images, labels = many.test_images[:count], many.test_labels[:count]
    found = []
    for number in (1, 2, 3):
        threads(number)
        found.append((model.logits(images), model.evaluate(images, labels)))
        assert torch.get_num_threads() == number
    for logits, evaluation in found[1:]:
        np.testing.assert_allclose(logits, found[0][0], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(evaluation.loss, found[0][1].loss, rtol=1e-6)
        np.testing.assert_array_equal(evaluation.confusion, found[0][1].confusion)


def test_bfloat16_measures_what_float32_does(many: eb.Dataset) -> None:
    if not has_bfloat16():
        pytest.skip("this CPU has no instructions for bfloat16")
    narrow = eb.networks.kernel_net(widths=(8, 16), hidden=32), eb.networks.resnet(stages=(16, 32))
    for network in (eb.networks.lenet5(), *narrow):
        run = eb.train(network, many, epochs=3, batch_size=50, evaluate_every="epoch", device="cpu", progress=False)
        model = run.model
        exact, rounded = (model.evaluate(many, precision=precision) for precision in ("float32", "bfloat16"))
        assert exact.accuracy > 0.8, network
        assert rounded.loss == pytest.approx(exact.loss, rel=0.01), network
        # Of bfloat16's eight bits a few roundings may take two: logits as near as that may change their order.
        logits = np.sort(model.logits(many.test_images))
        near = logits[:, -1] - logits[:, -2] < 2**-6 * np.abs(logits).max(axis=1)
        moved = np.abs(rounded.confusion - exact.confusion).sum() // 2
        assert moved <= near.sum() < 20, network
        assert rounded.loss != exact.loss
