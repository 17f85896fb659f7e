"""Augmentation and label smoothing that fall over a run: each step has what a formula of its number says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import everybatch as eb
import reference
from everybatch import schedules
from everybatch.errors import ArgumentError
from everybatch.schedules import Schedule
from test_train import assert_identical

PER_EPOCH, EPOCHS = 5, 4
STEPS = PER_EPOCH * EPOCHS
SGD: dict[str, Any] = {"optimizer": "sgd", "lr": 0.05, "batch_size": 20, "progress": False, "device": "cpu"}
ALL = eb.Augment(shift=2, rotate=10, scale=0.1, shear=5, elastic=0.7, erase=0.5)
OFF_AFTER_HALF = schedules.linear(begin=0.5, end=0.5)


@pytest.fixture(scope="module")
def few() -> eb.Dataset:
    return eb.datasets.glyphs(train=PER_EPOCH * 20, test=20)


@pytest.fixture(scope="module")
def small() -> eb.Network:
    block = [eb.Conv2d(4, 4, 3, padding=1), eb.BatchNorm2d(4)]
    layers = [eb.Conv2d(1, 4, 5, stride=3), eb.BatchNorm2d(4), eb.Residual(block, activation="relu")]
    return eb.Network([*layers, eb.GlobalAvgPool(), eb.Linear(4, 10)], name="small")


def by_hand(name: str) -> tuple[Schedule, np.ndarray]:
    """A schedule, and the factor (STEPS,) of each step by its formula in NumPy."""
    at = np.arange(STEPS)
    return {
        "linear": (schedules.linear(0.25), 1 - 0.75 * at / STEPS),
        "held": (schedules.linear(begin=0.5, end=0.8), np.clip((16 - at) / 6, 0, 1)),
        "cosine": (schedules.cosine(), (1 + np.cos(np.pi * at / STEPS)) / 2),
        "each epoch": (schedules.step(gamma=0.3), 0.3 ** (at // PER_EPOCH)),
        "exponential": (schedules.exponential(0.01), 0.01 ** (at / (STEPS - 1))),
        "multistep": (schedules.multistep([3, 11], gamma=0.5), 0.5 ** ((at >= 3) * 1.0 + (at >= 11))),
    }[name]


@pytest.mark.parametrize("name", ["linear", "held", "cosine", "each epoch", "exponential", "multistep"])
def test_each_step_has_its_strength_and_its_smoothing(few: eb.Dataset, name: str) -> None:
    # PyTorch's loop on the images that Augment shows, which are whole numbers where it only erases.
    schedule, factors = by_hand(name)
    augment = eb.Augment(erase=1.0, erase_area=(0.1, 0.5))
    model = eb.Network([eb.Flatten(), eb.Linear(784, 10)]).initialize(3)
    module = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    module.load_state_dict(model.state_dict())
    run = eb.train(
        model,
        few,
        **SGD,
        epochs=EPOCHS,
        seed=4,
        augment=augment,
        augment_schedule=schedule,
        label_smoothing=0.4,
        label_smoothing_schedule=schedule,
    )
    optimizer = torch.optim.SGD(module.parameters(), lr=SGD["lr"])
    labels, expected = torch.tensor(few.train_labels), []
    for step, factor in enumerate(factors):
        batch = run.batch_indices(step)
        seen = augment(few.train_images[batch], seed=4, step=step, strength=factor)
        logits = module(reference.pixels(seen, few.mean, few.std))
        loss = nn.functional.cross_entropy(logits, labels[batch], label_smoothing=0.4 * factor)
        expected.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    np.testing.assert_allclose(run.train_loss, expected, rtol=1e-5)


@pytest.mark.parametrize("kernels", ["exact", "fused"])
def test_at_factor_0_there_is_none(few: eb.Dataset, small: eb.Network, kernels: str) -> None:
    # Without momentum and in one order, a run from weights goes on as the run that had them.
    given = SGD | {"kernels": kernels, "shuffle": False}
    moved: dict[str, Any] = {"augment": ALL, "label_smoothing": 0.2}
    scheduled = {"augment_schedule": OFF_AFTER_HALF, "label_smoothing_schedule": OFF_AFTER_HALF}
    whole = eb.train(small, few, **given, **moved, **scheduled, epochs=EPOCHS)
    begun = eb.train(small, few, **given, **moved, epochs=EPOCHS // 2)
    ended = eb.train(begun.model, few, **given, epochs=EPOCHS // 2)
    np.testing.assert_array_equal(whole.train_loss, np.concatenate([begun.train_loss, ended.train_loss]))
    np.testing.assert_array_equal(whole.test_loss, np.concatenate([begun.test_loss, ended.test_loss[1:]]))
    assert whole.train_loss[STEPS // 2] != eb.train(begun.model, few, **given, **moved, steps=1).train_loss[0]


def test_at_factor_1_all_is_as_without_a_schedule(few: eb.Dataset, small: eb.Network) -> None:
    given = SGD | {"augment": ALL, "label_smoothing": 0.2, "epochs": 2, "record": ("predictions",)}
    one = {"augment_schedule": "constant", "label_smoothing_schedule": schedules.linear(1.0)}
    assert_identical(eb.train(small, few, **given, **one), eb.train(small, few, **given))


def test_one_moves_without_the_other(few: eb.Dataset, small: eb.Network) -> None:
    given = SGD | {"augment": ALL, "label_smoothing": 0.2, "epochs": 1}
    images, labels, neither = (
        eb.train(small, few, **given, **moved).train_loss
        for moved in ({"augment_schedule": "linear"}, {"label_smoothing_schedule": "linear"}, {})
    )
    assert images[0] == labels[0] == neither[0]
    assert len({images[1], labels[1], neither[1]}) == 3


# ---- what a step sees ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "half",
    [
        eb.Augment(shift=1),
        eb.Augment(rotate=15, scale=0.1, shear=5),
        eb.Augment(elastic=0.5, elastic_sigma=3),
        eb.Augment(erase=0.25, erase_area=(0.1, 0.4)),
        eb.Augment(shift=1, elastic=0.5, erase=0.25),
    ],
    ids=lambda augment: str({name: value for name, value in augment.to_dict().items() if value}),
)
def test_half_the_strength_is_half_of_each_bound(few: eb.Dataset, half: eb.Augment) -> None:
    doubled = {name: 2 * getattr(half, name) for name in ("shift", "rotate", "scale", "shear", "elastic", "erase")}
    whole = eb.Augment(**doubled, elastic_sigma=half.elastic_sigma, erase_area=half.erase_area)
    images = few.train_images[:40]
    seen = whole(images, seed=2, step=7, strength=0.5)
    np.testing.assert_array_equal(seen, half(images, seed=2, step=7))
    assert (seen != whole(images, seed=2, step=7)).any()
    assert (seen != images).any()
    np.testing.assert_array_equal(whole(images, seed=2, step=7, strength=0), images)


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan"), float("inf")])
def test_a_strength_is_a_share(few: eb.Dataset, strength: float) -> None:
    with pytest.raises(ArgumentError, match=r"strength is .*: it must lie in \[0, 1\]"):
        ALL(few.train_images[:2], strength=strength)
    with pytest.raises(TypeError, match="strength must be a number"):
        ALL(few.train_images[:2], strength="half")  # type: ignore[arg-type]


# ---- what belongs together -------------------------------------------------------------------------------------------

WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    (
        {"augment": ALL, "augment_schedule": "plateau"},
        ArgumentError,
        "augment_schedule: a plateau goes by measurements",
    ),
    ({"augment": ALL, "augment_schedule": schedules.warmup(3)}, ArgumentError, "augment_schedule: a warm-up is for"),
    ({"augment": ALL, "augment_schedule": schedules.cosine(1.5)}, ArgumentError, r"min_lr is 1\.5.*above 1"),
    ({"augment": ALL, "augment_schedule": schedules.linear(2)}, ArgumentError, "final_lr is 2.*above 1"),
    ({"augment": ALL, "augment_schedule": schedules.step(gamma=3)}, ArgumentError, "gamma is 3.*above 1"),
    ({"augment": ALL, "augment_schedule": "falling"}, ArgumentError, "augment_schedule is 'falling'"),
    ({"augment": ALL, "augment_schedule": 0.5}, TypeError, "augment_schedule must be a schedule of eb.schedules"),
    ({"augment": ALL, "augment_schedule": {"type": "linear"}}, ArgumentError, "final_lr"),
    ({"augment_schedule": "linear"}, ArgumentError, "augment_schedule is given without augment"),
    ({"augment_schedule": "constant"}, ArgumentError, "augment_schedule is given without augment"),
    ({"augment": eb.Augment(), "augment_schedule": "linear"}, ArgumentError, "augment changes nothing"),
    (
        {"label_smoothing_schedule": "linear"},
        ArgumentError,
        "label_smoothing_schedule is given, and label_smoothing is 0",
    ),
    (
        {"label_smoothing": 0.1, "label_smoothing_schedule": "plateau"},
        ArgumentError,
        "label_smoothing_schedule: a plateau",
    ),
]


@pytest.mark.parametrize(("given", "exception", "match"), WRONG, ids=lambda value: str(value)[:60])
def test_what_cannot_work_is_refused(
    few: eb.Dataset, small: eb.Network, given: dict[str, Any], exception: type[Exception], match: str
) -> None:
    with pytest.raises(exception, match=match):
        eb.train(small, few, **SGD, **given)


def test_the_numbers_of_a_line_are_checked_where_they_are_given() -> None:
    for numbers, match in (
        ({"begin": -0.1}, r"begin is -0\.1"),
        ({"begin": 0.5, "end": 0.4}, r"end is 0\.4, and must lie between 0\.5 and 1"),
        ({"end": 1.5}, r"end is 1\.5"),
        ({"final_lr": -1}, "final_lr is -1"),
        ({"final_lr": float("nan")}, "final_lr is nan"),
    ):
        with pytest.raises(ArgumentError, match=match):
            schedules.linear(**numbers)
    with pytest.raises(TypeError, match="begin must be a number"):
        schedules.linear(begin="half")  # type: ignore[arg-type]


def test_a_sweep_knows_runs_apart_by_them(few: eb.Dataset, small: eb.Network, tmp_path: Path) -> None:
    falls = ["constant", "linear", schedules.linear(begin=0.5)]
    given: dict[str, Any] = {"steps": 2, "batch_size": 20, "label_smoothing": 0.1, "augment": ALL}
    sweep = eb.sweep(
        eb.sweeps.grid({"network": small, "augment_schedule": falls, "label_smoothing_schedule": [None, "linear"]}),
        few,
        store=tmp_path,
        backend="serial",
        progress=False,
        **given,
    )
    assert len({trial.key for trial in sweep.trials}) == 6
    told = [trial.run.config["training"]["augment_schedule"] for trial in sweep.trials if trial.run is not None]
    assert told[::2] == [schedules.constant().data, schedules.linear().data, schedules.linear(begin=0.5).data]
