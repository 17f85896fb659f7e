"""`class_weight`: the training loss and its gradients against PyTorch's, and what it is given."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import everybatch as eb
from everybatch.cli._class_weight import parse_class_weight
from everybatch.errors import ArgumentError
from parity import STEPS, assert_same, both
from test_parity import plain_tiny

Quick = Callable[..., eb.Run]
WEIGHTS = [0.5, 2.0, 1.0, 0.0, 3.0, 1.5, 0.25, 1.0, 4.0, 0.75]


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("kernels", ["exact", "fused"])
def test_losses_and_gradients_are_pytorchs(smoothing: float, kernels: str, tiny: eb.Network) -> None:
    norms: list[float] = []

    def sgd(parameters: Any) -> torch.optim.Optimizer:
        own = list(parameters)
        optimizer = torch.optim.SGD(own, lr=0.05)
        optimizer.register_step_pre_hook(lambda *_: norms.append(nn.utils.get_total_norm([p.grad for p in own]).item()))
        return optimizer

    module = plain_tiny()
    run, plain = both(
        tiny,
        module,
        eb.datasets.glyphs(train=16 * STEPS - 5, test=100),
        sgd,
        criterion=nn.CrossEntropyLoss(weight=torch.tensor(WEIGHTS), label_smoothing=smoothing),
        batch_size=16,
        optimizer="sgd",
        lr=0.05,
        kernels=kernels,
        record="grad_norm",
        label_smoothing=smoothing,
        class_weight=WEIGHTS,
    )
    tolerance = 1e-6 if kernels == "exact" else 1e-4
    assert_same(run, plain, tolerance=10 * tolerance)  # test losses without weights
    np.testing.assert_allclose(run.grad_norm, norms, rtol=10 * tolerance)
    for name, tensor in run.model.state_dict().items():
        torch.testing.assert_close(tensor, module.state_dict()[name], rtol=100 * tolerance, atol=tolerance, msg=name)


def test_the_loss_of_a_batch_is_the_mean_by_weight(quick: Quick, glyphs: eb.Dataset) -> None:
    plain = quick(lr=0, record=("grad_norm",), batch_size=26)
    twice = quick(lr=0, class_weight=[2.0] * 10, batch_size=26)
    np.testing.assert_allclose(twice.train_loss, plain.train_loss, rtol=1e-6)
    alone = eb.Dataset(
        glyphs.train_images[glyphs.train_labels == 3],
        glyphs.train_labels[glyphs.train_labels == 3],
        glyphs.test_images,
        glyphs.test_labels,
        classes=glyphs.classes,
        mean=glyphs.mean,
        std=glyphs.std,
    )
    bare = eb.Network([eb.Flatten(), eb.Linear(784, 10)])  # no batch norm, which sees all images
    of_one = quick(
        bare, lr=0, class_weight={"3": 1.0} | {str(other): 0.0 for other in range(10) if other != 3}, batch_size=130
    )
    only = quick(bare, alone, lr=0, batch_size=len(alone.train_labels))
    np.testing.assert_allclose(of_one.train_loss, only.train_loss, rtol=1e-5)


def test_what_is_measured_knows_no_weights(quick: Quick) -> None:
    given: dict[str, Any] = {"lr": 0, "validation": 30, "record": ("examples",)}
    plain, weighted = quick(**given), quick(class_weight=WEIGHTS, **given)
    for name in ("test_loss", "validation_loss", "train_accuracy", "step_sums", "test_sums", "training_losses"):
        np.testing.assert_array_equal(getattr(weighted, name), getattr(plain, name), err_msg=name)
    assert not np.array_equal(weighted.train_loss, plain.train_loss)


# ---- what it is given ----------------------------------------------------------------------------


def test_balanced_is_scikit_learns(quick: Quick) -> None:
    # sklearn.utils.class_weight.compute_class_weight("balanced", classes=np.arange(3), y=[0, 0, 0, 0, 1, 1, 2, 2]):
    # 8 / (3 * [4, 2, 2])
    labels = [0, 0, 0, 0, 1, 1, 2, 2]
    images = np.random.default_rng(0).integers(0, 256, (8, 28, 28), np.uint8)
    data = eb.Dataset(images, labels, images, labels, classes=["a", "b", "c"])
    network = eb.networks.lenet5(num_classes=3)
    train = partial(quick, network, data, batch_size=4)
    balanced = train(class_weight="balanced")
    expected = [2 / 3, 4 / 3, 4 / 3]
    np.testing.assert_allclose(balanced.config["training"]["class_weights"], expected)
    assert balanced.config["training"]["class_weight"] == "balanced"
    np.testing.assert_array_equal(train(class_weight=expected).train_loss, balanced.train_loss)
    # Of the images that are trained on.
    held_out = train(class_weight="balanced", validation=[0, 1])
    np.testing.assert_allclose(held_out.config["training"]["class_weights"], [1, 1, 1])


def test_there_are_many_ways_to_say_it(quick: Quick) -> None:
    import pandas as pd

    expected = quick(class_weight=WEIGHTS)
    assert expected.config["training"]["class_weight"] == WEIGHTS
    by_name = {str(label): weight for label, weight in enumerate(WEIGHTS) if weight != 1}  # 1 is what others have
    for same in (
        tuple(WEIGHTS),
        np.array(WEIGHTS),
        np.array(WEIGHTS, np.float32),
        torch.tensor(WEIGHTS),
        by_name,
        {int(name): weight for name, weight in by_name.items()},
        dict(reversed(by_name.items())),
        pd.Series(by_name),
        pd.Series(WEIGHTS[::-1], index=range(9, -1, -1)),
    ):
        run = quick(class_weight=same)
        np.testing.assert_array_equal(run.train_loss, expected.train_loss)
        assert run.config["training"]["class_weight"] == WEIGHTS


NAMES = ("cat", "dog", "7")
WRONG: list[tuple[Any, type[Exception], str]] = [
    (
        [1.0, 2.0],
        ArgumentError,
        "class_weight has 2 numbers, and the data set has 3 classes: give one for each, or a dict",
    ),
    ([], ArgumentError, "class_weight has 0 numbers"),
    ([1, -1, 1], ArgumentError, "class_weight has -1 for class dog: a weight is a finite number"),
    ([1, float("nan"), 1], ArgumentError, "class_weight has nan for class dog"),
    ([1, 1, float("inf")], ArgumentError, "class_weight has inf for class 7"),
    ([1, 1e39, 1], ArgumentError, r"class_weight has 1e\+39 for class dog"),
    ([0, 0, 0], ArgumentError, "class_weight is 0 for all classes"),
    ([1e-50, 1, 1], ArgumentError, "class_weight has 1e-50 for class cat, which is 0 in float32: give 0, or more"),
    ({"7": 1e-50}, ArgumentError, "class_weight has 1e-50 for class 7, which is 0"),
    ([0, 0, 1.0], ArgumentError, "class_weight is 0 for every class that has training images"),
    ({"cat": 0, "dog": 0}, ArgumentError, "class_weight is 0 for every class that has training images"),
    ([True, False, True], TypeError, r"class_weight\[0\] must be a number, not True"),
    (["1", 2, 3], TypeError, r"class_weight\[0\] must be a number"),
    ([[1, 2, 3]], TypeError, r"class_weight\[0\] must be a number"),
    (np.ones((3, 1)), TypeError, r"not an array of shape \(3, 1\)"),
    (np.ones(3, bool), TypeError, "type bool"),
    (np.ma.masked_equal(np.arange(3), 1), TypeError, "not a masked array"),
    ({1.0, 2.0, 3.0}, TypeError, "class_weight must be a list or array with one number for each class"),
    (2.0, TypeError, "class_weight must be a list or array"),
    (True, TypeError, "class_weight must be a list or array"),
    ("balance", ArgumentError, "class_weight is 'balance'.*Did you mean 'balanced'"),
    ({}, ArgumentError, "class_weight is an empty dict"),
    ({"cow": 1}, ArgumentError, "class_weight names class 'cow': the classes are cat, dog, 7"),
    ({"Dog": 1}, ArgumentError, "Did you mean 'dog'"),
    ({3: 1.0}, ArgumentError, "class number 3, and there are 3, from 0 on"),
    ({-1: 1.0}, ArgumentError, "class number -1"),
    ({"cat": 1, 0: 2}, ArgumentError, "class cat twice"),
    ({0.0: 1}, TypeError, "the key 0.0"),
    ({"cat": "2"}, TypeError, r"class_weight\['cat'\] must be a number"),
    ("balanced", ArgumentError, "class 7 has no image to train on"),
]


@pytest.mark.parametrize(("given", "error", "match"), WRONG, ids=[str(given) for given, *_ in WRONG])
def test_what_cannot_be_meant(given: Any, error: type[Exception], match: str, quick: Quick) -> None:
    images, labels = np.arange(6 * 784, dtype=np.uint16).astype(np.uint8).reshape(6, 28, 28), [0, 1, 0, 1, 0, 1]
    data = eb.Dataset(images, labels, images, labels, classes=NAMES)
    with pytest.raises(error, match=match):
        quick(eb.networks.lenet5(num_classes=3), data, batch_size=3, class_weight=given)


def test_a_number_that_is_a_name_of_another_class_is_refused(quick: Quick) -> None:
    images, labels = np.zeros((6, 28, 28), np.uint8), [0, 1, 0, 1, 0, 1]
    images[::2] = 200
    data = eb.Dataset(images, labels, images, labels, classes=("1", "2"))
    network = eb.networks.lenet5(num_classes=2)
    with pytest.raises(ArgumentError, match="key 1, which could be class number 1, 2, or the class that is called '1'"):
        quick(network, data, batch_size=3, class_weight={1: 3.0})
    assert quick(network, data, batch_size=3, class_weight={"1": 3.0}).config["training"]["class_weight"] == [3, 1]


def test_a_batch_that_weighs_nothing_ends_the_run_with_a_hint(quick: Quick) -> None:
    weights = {str(label): 0.0 for label in range(9)}
    with pytest.warns(RuntimeWarning, match="a batch had no image of a class whose class_weight is above 0"):
        run = quick(class_weight=weights, batch_size=1)
    assert run.diverged_at is not None


# ---- elsewhere -----------------------------------------------------------------------------------


def test_steps_without_images_keep_the_weights_of_the_others(quick: Quick, glyphs: eb.Dataset) -> None:
    # Plain descent without batch norm goes along the mean gradient by weight; the parts of all images add up to it.
    network = eb.networks.lenet5(batch_norm=False)
    run = quick(
        network, optimizer="sgd", lr=0.01, record=("weights",), batch_size=16, class_weight=WEIGHTS, kernels="exact"
    )
    found = eb.insight.replay(run, 3, without="each", dataset=glyphs)
    weights = np.array(WEIGHTS)[found.labels]
    assert abs(found.together) < 0.1 * abs(found.effect).sum()
    np.testing.assert_allclose(found.effect[weights == 0], 0, atol=1e-6)
    of_weight = run.batch_indices(3)[weights > 0]
    with pytest.raises(ArgumentError, match=r"class_weight is 0 for all images that would be left.*null step"):
        eb.insight.replay(run, 3, without=of_weight, dataset=glyphs)


def test_find_lr_takes_it(tiny: eb.Network, glyphs: eb.Dataset) -> None:
    given: dict[str, Any] = {"class_weight": "balanced", "clip_grad_norm": 1.0, "optimizer": "muon", "batch_size": 32}
    found = eb.find_lr(tiny, glyphs, steps=20, **given)
    assert np.isfinite(found.suggestion)


def test_a_saved_run_tells_it(quick: Quick, tmp_path: Path) -> None:
    run = quick(class_weight={"3": 2}, clip_grad_norm=1)
    run.save(tmp_path / "run")
    training = eb.load_run(tmp_path / "run").config["training"]
    assert training["class_weight"] == [1, 1, 1, 2, 1, 1, 1, 1, 1, 1]
    assert training["clip_grad_norm"] == 1


def test_the_command_line_reads_it() -> None:
    assert parse_class_weight("balanced") == "balanced"
    assert parse_class_weight("1,2.5, 0") == [1, 2.5, 0]
    assert parse_class_weight("cat=2,a=b=0.5") == {"cat": 2, "a=b": 0.5}
    assert parse_class_weight('{"cat, small": 2}') == {"cat, small": 2}
    assert parse_class_weight("[1, 2]") == [1, 2]
