"""More classes than a byte can number: predictions of two bytes, from training to files and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

import everybatch as eb
from everybatch.errors import ArgumentError
from everybatch.run import Run, load_run
from test_run import example_config


def data_set(classes: int) -> eb.Dataset:
    """Noise, one training and two test images of each class."""
    rng = np.random.default_rng(classes)
    images = rng.integers(0, 256, (3 * classes, 6, 6), dtype=np.uint8)
    labels = np.arange(3 * classes) % classes
    names = [f"class {number}" for number in range(classes)]
    return eb.Dataset(images[:classes], labels[:classes], images[classes:], labels[classes:], classes=names)


def logits(model: eb.Model, data: eb.Dataset) -> torch.Tensor:
    """By PyTorch, from the model's weights."""
    weight, bias = model.state_dict().values()
    pixels = torch.tensor(data.test_images).flatten(1).double() / 255
    return functional.linear((pixels - data.mean[0]) / data.std[0], weight.double(), bias.double())


# Expected: PyTorch's linear layer and cross-entropy in float64, with the weights before and after training.
@pytest.mark.parametrize("kernels", ["exact", "fused"])
@pytest.mark.parametrize("classes", [256, 300, 1000])
def test_predictions_are_pytorchs(tmp_path: Path, classes: int, kernels: str) -> None:
    data = data_set(classes)
    network = eb.Network([eb.Flatten(), eb.Linear(36, classes)], input_shape=(1, 6, 6))
    before = network.initialize(seed=0)
    run = eb.train(
        before, data, steps=6, batch_size=50, lr=0.01, record=("predictions",), progress=False, kernels=kernels
    )
    assert run.predictions.dtype == (np.uint8 if classes == 256 else np.uint16)
    truth = torch.tensor(data.test_labels)
    for row, model in ((0, before), (-1, run.model)):
        expected = logits(model, data)
        chosen = expected.argmax(1)
        clear = (expected.topk(2).values.diff().abs() > 1e-4).flatten()  # no tie that rounding could turn
        assert clear.float().mean() > 0.9
        predicted = torch.tensor(run.predictions[row].astype(np.int64))
        assert torch.equal(predicted[clear], chosen[clear])
        assert run.test_loss[row] == pytest.approx(functional.cross_entropy(expected, truth).item(), rel=1e-5)
        assert run.test_accuracy[row] == pytest.approx(float((predicted == truth).float().mean()))
    counts = np.zeros((classes, classes), int)
    np.add.at(counts, (data.test_labels, run.predictions[-1]), 1)
    assert np.array_equal(run.confusion, counts)
    assert np.array_equal(run.model.evaluate(data).confusion, counts)
    assert np.array_equal(run.model.predict(data.test_images), run.predictions[-1])
    run.save(tmp_path / "run")
    loaded = load_run(tmp_path / "run")
    assert loaded.predictions.dtype == run.predictions.dtype
    assert np.array_equal(loaded.predictions, run.predictions)
    assert np.array_equal(loaded.class_accuracy_table()["correct"], counts.diagonal())
    assert list(loaded.history().columns[7:-1]) == list(data.classes)


@pytest.mark.parametrize(("classes", "given", "right"), [(256, np.uint16, "uint8"), (257, np.uint8, "uint16")])
def test_predictions_have_one_type(classes: int, given: Any, right: str) -> None:
    arrays = arrays_of(classes) | {"predictions": np.zeros((1, 5), given)}
    with pytest.raises(ArgumentError, match=f"'predictions' has dtype {np.dtype(given)}; it must be {right}"):
        Run(arrays, example_config(classes))


def test_predictions_are_among_the_classes() -> None:
    arrays = arrays_of(300) | {"predictions": np.full((1, 5), 300, np.uint16)}
    with pytest.raises(ArgumentError, match="'predictions' holds 300, and there are 300 classes"):
        Run(arrays, example_config(300))


def arrays_of(classes: int) -> dict[str, Any]:
    """Of a run of one evaluation of five images."""
    zeros = {name: np.zeros(0, np.float32) for name in ("train_loss", "train_accuracy")}
    measured = {name: np.zeros(1, np.float32) for name in ("test_loss", "test_accuracy")}
    return {
        **zeros,
        **measured,
        "train_seconds": np.zeros(0),
        "eval_step": np.zeros(1, np.int64),
        "eval_seconds": np.zeros(1),
        "class_accuracy": np.zeros((1, classes), np.float32),
        "confusion": np.zeros((classes, classes), np.int64),
        "test_indices": np.arange(5),
    }
