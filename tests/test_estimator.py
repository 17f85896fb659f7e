"""Measuring by estimate, replayed on logits of all images: the truth is known at every step, by NumPy.

Seeds are fixed. Bounds are far wider than what chance does: other machines round, and then sample, differently.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest

import everybatch as eb
from everybatch import _core
from everybatch.errors import DataError, ShapeError

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


def labels_of(images: int, classes: int) -> Labels:
    return np.random.default_rng(classes).integers(0, classes, images)


def drift(
    labels: Labels, classes: int, steps: int, *, pace: float = 0.1, seed: int = 0, gap: float = 4
) -> Iterator[Floats]:
    """Logits that walk at random, image by image and class by class, around means that the labels tell of."""
    draw = np.random.default_rng(seed)
    means = gap * np.eye(classes)[labels]
    noise, common = 1.5 * draw.normal(size=means.shape), np.zeros(classes)
    for _ in range(steps):
        yield (means + noise + common).astype(np.float32)
        noise = (1 - pace**2 / 4) * noise + pace * draw.normal(size=means.shape)
        common = 0.9 * common + pace * draw.normal(size=classes)


def constant(logits: npt.ArrayLike, steps: int) -> Iterator[Floats]:
    return (np.asarray(logits, np.float32) for _ in range(steps))


def truth(logits: Floats, labels: Labels) -> dict[str, Any]:
    """Accuracy (of the first of the greatest logits), loss and accuracy of each class, of all images."""
    wide = logits.astype(np.float64)
    right = np.argmax(logits, axis=1) == labels
    losses = np.logaddexp.reduce(wide, axis=1) - wide[np.arange(len(labels)), labels]
    of_class = [right[labels == one].mean() if np.any(labels == one) else np.nan for one in range(logits.shape[1])]
    return {"accuracy": right.mean(), "loss": losses.mean(), "class_accuracy": np.array(of_class)}


class Estimate(NamedTuple):
    step: int
    found: dict[str, Any]
    truth: dict[str, Any]

    def errors(self, name: str) -> npt.NDArray[np.float64]:
        """What it is off by, in standard errors that it states; half an image counts as nothing."""
        off = np.atleast_1d(self.found[name] - self.truth[name])
        return np.where(np.abs(off) < 1e-9, 0, off / np.maximum(self.found[f"{name}_error"], 1e-12))


class Replay(NamedTuple):
    estimates: list[Estimate]
    complete: list[int]
    """Steps after which all images were looked at."""

    def off(self, name: str) -> npt.NDArray[np.float64]:
        """Errors in standard errors, of all estimates; without those of classes that have no image."""
        off = np.concatenate([one.errors(name) for one in self.estimates])
        return off[~np.isnan(off)]

    def covered(self, name: str) -> float:
        """The share of the true values in intervals of 95 %."""
        return float(np.mean(np.abs(self.off(name)) <= 1.96))

    def images(self) -> float:
        return float(np.mean([one.found["images"] for one in self.estimates]))


def replay(estimator: _core.Estimator, logits: Iterable[Floats], labels: Labels) -> Replay:
    """Measure after each step, by a complete pass where one is due; everything that is stated is within its bounds."""
    replay = Replay([], [])
    for step, now in enumerate(logits):
        looked: list[int] = []

        def look(images: Labels, now: Floats = now, looked: list[int] = looked) -> Floats:
            looked.extend(images.tolist())
            return now[images]

        found = estimator.estimate(step, look)
        true = truth(now, labels)
        if found is None:
            seen = estimator.saw_all(step, now)
            assert all(seen[name] == pytest.approx(value, rel=1e-5, nan_ok=True) for name, value in true.items())
            replay.complete.append(step)
            continue
        assert found["images"] == len(looked) == len(set(looked)) <= len(labels)
        assert 0 <= found["accuracy"] <= 1
        assert found["loss"] >= 0
        shares = found["class_accuracy"][~np.isnan(true["class_accuracy"])]
        assert np.all((shares >= 0) & (shares <= 1))
        assert np.array_equal(np.isnan(found["class_accuracy"]), np.isnan(true["class_accuracy"]))
        for error in (found["accuracy_error"], found["loss_error"], *found["class_accuracy_error"]):
            assert 0 <= error < np.inf
        replay.estimates.append(Estimate(step, found, true))
    return replay


def together(replays: Iterable[Replay], first: int = 10) -> Replay:
    """All estimates, without those of the first steps, in which the estimator learns."""
    replays = list(replays)
    return Replay([one for replay in replays for one in replay.estimates if one.step >= first], [])


def assert_honest(replay: Replay, at_least: float = 0.88) -> None:
    for name in ("accuracy", "loss", "class_accuracy"):
        assert at_least <= replay.covered(name), name
    off = replay.off("accuracy")
    assert abs(off.mean()) < 5 / np.sqrt(len(off)), "the errors do not go either way"


# Honesty


@pytest.mark.parametrize(
    ("classes", "steps", "seeds", "gap"), [(2, 80, 3, 3.0), (10, 80, 3, 4.0), (100, 60, 2, 6.0), (1000, 20, 1, 7.0)]
)
def test_errors_are_as_large_as_is_stated(classes: int, steps: int, seeds: int, gap: float) -> None:
    labels = labels_of(1000, classes)
    replays = [
        replay(
            _core.Estimator(labels, classes, 0.003, seed=seed),
            drift(labels, classes, steps, seed=seed, gap=gap),
            labels,
        )
        for seed in range(seeds)
    ]
    assert_honest(together(replays))
    for one in replays:
        assert one.complete[0] == 0
        assert len(one.complete) < steps / 3
        assert one.images() < 400  # a plain random subset would have to be of two thirds or more of the images
        late = [estimate.found["accuracy_error"] for estimate in one.estimates if estimate.step >= 10]
        assert np.median(late) <= 0.003


def test_a_real_training() -> None:
    glyphs = eb.datasets.glyphs(train=640, test=1000, seed=1)
    network = eb.Network([eb.Flatten(), eb.Linear(784, 32), eb.Activation("relu"), eb.Linear(32, 10)])
    logits: list[Floats] = []
    eb.train(
        network,
        glyphs,
        epochs=3,
        batch_size=32,
        evaluate_every=1000,
        device="cpu",
        progress=False,
        callbacks=lambda step: logits.append(step.model().logits(glyphs.test_images)),
    )
    labels = np.asarray(glyphs.test_labels, np.int64)
    found = [replay(_core.Estimator(labels, 10, 0.005, seed=seed), logits, labels) for seed in range(3)]
    assert_honest(together(found, first=15))
    assert sum(one.images() for one in found) / len(found) < 500


@pytest.mark.parametrize("tolerance", [0.002, 0.01])
def test_a_network_that_is_another_after_one_step(tolerance: float) -> None:
    labels = labels_of(2000, 10)
    estimates = []
    for seed in range(5):
        walks = (drift(labels, 10, 30, pace=0.05, seed=seed), drift(labels, 10, 20, pace=0.05, seed=100 + seed, gap=2))
        one = replay(_core.Estimator(labels, 10, tolerance, seed=seed), (now for walk in walks for now in walk), labels)
        assert 30 in one.complete, "what nothing tells of is looked at completely"
        estimates += [estimate for estimate in one.estimates if estimate.step > 30]
    assert Replay(estimates, []).covered("accuracy") >= 0.88


def test_images_that_seemed_sure_and_are_wrong_of_a_sudden() -> None:
    labels = labels_of(4000, 10)
    lapse = np.zeros((4000, 10), np.float32)
    hit = np.random.default_rng(0).random(4000) < 0.1
    lapse[hit, labels[hit]] = -12
    off = []
    for seed in range(6):
        walk = drift(labels, 10, 35, pace=0.03, gap=6, seed=seed)
        found = replay(
            _core.Estimator(labels, 10, 0.002, seed=seed),
            (now + lapse * (at == 30) for at, now in enumerate(walk)),
            labels,
        )
        off += [abs(one.errors("accuracy")[0]) for one in found.estimates if one.step >= 30]
    assert np.mean(np.array(off) <= 1.96) >= 0.85
    assert max(off) < 8


def test_steps_that_grow_tenfold() -> None:
    labels = labels_of(2000, 10)

    def logits(seed: int) -> Iterator[Floats]:
        draw = np.random.default_rng(seed)
        *_, now = drift(labels, 10, 2, seed=seed)
        for step in range(70):
            yield now
            now = now + (0.02 if step < 30 else 0.2) * draw.normal(size=now.shape).astype(np.float32)

    found = [replay(_core.Estimator(labels, 10, 0.003, seed=seed), logits(seed), labels) for seed in range(3)]
    assert_honest(together(found))
    assert together(found, first=30).covered("accuracy") >= 0.85


def test_networks_that_are_sure_of_everything() -> None:
    labels = labels_of(2000, 10)
    found = [
        replay(
            _core.Estimator(labels, 10, 0.003, seed=seed),
            (20 * now for now in drift(labels, 10, 70, seed=seed)),
            labels,
        )
        for seed in range(3)
    ]
    assert_honest(together(found), 0.85)


def test_noise_that_nothing_predicts_costs_complete_passes() -> None:
    labels = labels_of(1000, 10)
    draw = np.random.default_rng(0)
    logits = [(3 * np.eye(10)[labels] + draw.normal(size=(1000, 10))).astype(np.float32) for _ in range(20)]
    assert len(replay(_core.Estimator(labels, 10, 0.001), logits, labels).complete) > 15


# Repetition


def test_repetition_gives_the_same_bits_and_another_seed_others() -> None:
    labels = labels_of(1000, 10)
    logits = list(drift(labels, 10, 25))

    def found(seed: int) -> list[str]:
        estimates = replay(_core.Estimator(labels, 10, 0.003, seed=seed), logits, labels).estimates
        return [repr(one.found) for one in estimates]

    assert found(3) == found(3)
    assert found(3) != found(4)


def test_an_exception_of_the_source_leaves_no_trace() -> None:
    labels = labels_of(1000, 10)
    logits = list(drift(labels, 10, 12))
    clean, disturbed = (_core.Estimator(labels, 10, 0.003, complete_every=100) for _ in range(2))
    for estimator in (clean, disturbed):
        estimator.saw_all(0, logits[0])
    for step, now in enumerate(logits[1:], 1):
        parts = iter([now])

        def late(images: Labels, parts: Iterator[Floats] = parts) -> Floats:
            return next(parts)[images]

        with pytest.raises(StopIteration):
            disturbed.estimate(step, late)
        found = [repr(one.estimate(step, now.__getitem__)) for one in (clean, disturbed)]
        assert found[0] == found[1]


# Complete passes


@pytest.mark.parametrize("every", [1, 7, 1000])
def test_complete_passes_come_when_they_are_due(every: int) -> None:
    labels = labels_of(1000, 10)
    (now,) = drift(labels, 10, 1)
    found = replay(_core.Estimator(labels, 10, 0.003, every), constant(now, 30), labels)
    assert found.complete == list(range(0, 30, every))


def test_complete_passes_cost_as_much_as_the_rest() -> None:
    labels = labels_of(1000, 10)
    found = replay(_core.Estimator(labels, 10, 0.003), drift(labels, 10, 60), labels)
    images = {one.step: one.found["images"] for one in found.estimates}
    assert len(found.complete) > 3
    for before, after in zip(found.complete, found.complete[1:], strict=False):
        between = [images[step] for step in range(before + 1, after)]
        assert sum(between) >= 1000 > sum(between[:-1])


# What cannot be measured


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_logit_that_is_not_finite_asks_for_a_complete_pass(value: float) -> None:
    labels = labels_of(1000, 10)
    (now,) = drift(labels, 10, 1)
    broken = now.copy()
    broken[:, 3] = value
    estimator = _core.Estimator(labels, 10, 0.003)
    estimator.saw_all(0, now)
    assert estimator.estimate(1, now.__getitem__) is not None
    assert estimator.estimate(2, broken.__getitem__) is None
    estimator.saw_all(2, broken)
    assert estimator.estimate(3, now.__getitem__) is None  # nothing is known of the images
    estimator.saw_all(3, now)
    assert estimator.estimate(4, now.__getitem__) is not None


def test_logits_too_far_apart_for_a_float32_ask_for_a_complete_pass() -> None:
    labels = labels_of(1000, 2)
    now = np.where(labels[:, None] == np.arange(2), 3e38, -3e38).astype(np.float32)
    assert replay(_core.Estimator(labels, 2, 0.003), constant(now, 3), labels).complete == [0, 1, 2]


def test_of_too_few_images_every_pass_is_complete() -> None:
    labels = labels_of(999, 10)
    (now,) = drift(labels, 10, 1)
    estimator = _core.Estimator(labels, 10, 0.003)
    assert estimator.target() is None
    assert replay(estimator, constant(now, 4), labels).complete == [0, 1, 2, 3]


def test_labels_of_no_class_are_told() -> None:
    for wrong in (10, -1):
        labels = labels_of(1000, 10)
        labels[17] = wrong
        with pytest.raises(DataError, match=f"label {wrong} is none of 10 classes"):
            _core.Estimator(labels, 10, 0.003)


@pytest.mark.parametrize(
    ("give", "error", "message"),
    [
        (lambda now, images: now[images][:-1], ShapeError, r"images of 10 classes have \(\d+, 10\)"),
        (lambda now, images: now[images, :9], ShapeError, r"logits have the shape \(\d+, 9\)"),
        (lambda now, images: now[images].astype(np.float64), TypeError, "logits must be a float32 array"),
        (lambda now, images: now[images, 0], TypeError, "logits must be a float32 array"),
        (lambda *_: None, TypeError, "logits must be a float32 array"),
        (lambda *_: 1 / 0, ZeroDivisionError, "division"),
    ],
)
def test_a_source_that_gives_something_else_is_told(
    give: Callable[[Floats, Labels], Any], error: type[Exception], message: str
) -> None:
    labels = labels_of(1000, 10)
    (now,) = drift(labels, 10, 1)
    estimator = _core.Estimator(labels, 10, 0.003)
    estimator.saw_all(0, now)
    with pytest.raises(error, match=message):
        estimator.estimate(1, lambda images: give(now, images))
    assert estimator.estimate(1, now.__getitem__) is not None


def test_a_complete_pass_of_another_shape_is_told() -> None:
    estimator = _core.Estimator(labels_of(1000, 10), 10, 0.003)
    for shape in ((999, 10), (1000, 9)):
        with pytest.raises(ShapeError, match=r"1000 images of 10 classes have \(1000, 10\)"):
            estimator.saw_all(0, np.zeros(shape, np.float32))


# Odd sets of images, and odd logits


@pytest.mark.parametrize(
    "counts",
    [(500, 0, 500, 200), (1199, 1, 0, 0), (1200, 0, 0, 0)],
    ids=["a class without images", "a class with one image", "one class alone"],
)
def test_classes_of_few_images(counts: tuple[int, ...]) -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(4), counts))
    walks = [drift(labels, 4, 50, seed=seed, gap=3) for seed in range(3)]
    found = [replay(_core.Estimator(labels, 4, 0.003, seed=at), walk, labels) for at, walk in enumerate(walks)]
    assert_honest(together(found))
    for one in (estimate for each in found for estimate in each.estimates):
        assert np.all(one.found["class_accuracy_error"][np.array(counts) == 0] == 0)


def test_logits_that_stay_are_known() -> None:
    labels = labels_of(1000, 10)
    (now,) = drift(labels, 10, 1)
    found = replay(_core.Estimator(labels, 10, 0.003), constant(now, 30), labels)
    for one in found.estimates:
        assert one.found["accuracy"] == pytest.approx(one.truth["accuracy"], abs=3e-4)
        assert one.found["loss"] == pytest.approx(one.truth["loss"], rel=1e-3)


def test_of_equal_logits_the_first_counts() -> None:
    labels = labels_of(1500, 3)
    (now,) = drift(labels, 3, 1)
    now[::3] = [1, 1, 0]  # of these, those with label 0 are right
    found = replay(_core.Estimator(labels, 3, 0.004), constant(now, 40), labels)
    assert_honest(together([found], first=1))
    assert replay(_core.Estimator(labels, 3, 0.004), constant(np.zeros((1500, 3)), 5), labels).complete[0] == 0


def test_a_network_that_says_the_same_of_all_images() -> None:
    labels = labels_of(1000, 10)
    draw = np.random.default_rng(0)
    biases = np.cumsum(draw.normal(size=(40, 10)), axis=0)
    found = replay(
        _core.Estimator(labels, 10, 0.003), (np.tile(bias, (1000, 1)).astype(np.float32) for bias in biases), labels
    )
    assert together([found]).covered("accuracy") >= 0.88


def test_margins_of_fifty_and_flips() -> None:
    labels = labels_of(1000, 10)
    draw = np.random.default_rng(1)

    def logits() -> Iterator[Floats]:
        said = labels.copy()
        for _ in range(50):
            said = np.where(draw.random(1000) < 0.005, draw.integers(0, 10, 1000), said)
            yield (50 * np.eye(10)[said]).astype(np.float32)

    assert together([replay(_core.Estimator(labels, 10, 0.004), logits(), labels)]).covered("accuracy") >= 0.85
