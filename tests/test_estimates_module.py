"""`everybatch.estimates`: measuring by estimate with logits of one's own.

The true accuracies and losses are NumPy's and PyTorch's over all images.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch

from everybatch.errors import ArgumentError, DataError, ShapeError
from everybatch.estimates import Estimate, Estimator

IMAGES, CLASSES = 4_000, 5
Logits = npt.NDArray[np.float32]


def walk(steps: int, *, seed: int = 0, images: int = IMAGES) -> tuple[npt.NDArray[np.int64], list[Logits]]:
    """Labels, and logits before and after each of some steps, which move all images alike and each a little."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(CLASSES, size=images)
    logits = draw.normal(size=(images, CLASSES)) + 3 * np.eye(CLASSES)[labels]
    found = [logits]
    for _ in range(steps):
        common, own = draw.normal(size=CLASSES), draw.normal(size=logits.shape)
        found.append(found[-1] + 0.15 * common + 0.03 * own)
    return labels, [each.astype(np.float32) for each in found]


def accuracy(logits: Logits, labels: npt.NDArray[np.int64]) -> float:
    return float(np.mean(logits.argmax(axis=1) == labels))


def cross_entropy(logits: Logits, labels: npt.NDArray[np.int64]) -> float:
    return torch.nn.functional.cross_entropy(torch.tensor(logits, dtype=torch.float64), torch.tensor(labels)).item()


def followed(estimator: Estimator, logits: list[Logits]) -> list[Estimate]:
    return [estimator.measure(step, each.__getitem__) for step, each in enumerate(logits)]


def test_the_first_measurement_is_complete() -> None:
    labels, (logits,) = walk(0)
    found = Estimator(labels, CLASSES, tolerance=0.001).measure(0, logits.__getitem__)
    assert (found.step, found.complete, found.images_measured) == (0, True, IMAGES)
    assert found.accuracy == accuracy(logits, labels)
    assert found.loss == pytest.approx(cross_entropy(logits, labels), rel=1e-7)
    right = logits.argmax(axis=1) == labels
    np.testing.assert_allclose(found.class_accuracy, [right[labels == each].mean() for each in range(CLASSES)])
    assert found.accuracy_error == found.loss_error == found.class_accuracy_error.max() == 0


def test_estimates_look_at_few_images_and_are_as_far_off_as_they_say() -> None:
    labels, logits = walk(60)
    off: dict[str, list[float]] = {"accuracy": [], "loss": []}
    for seed in range(4):
        found = followed(Estimator(labels, CLASSES, tolerance=0.002, seed=seed), logits)
        estimates = [each for each in found if not each.complete]
        assert len(estimates) > 30
        assert np.mean([each.images_measured for each in estimates]) < IMAGES / 2
        for each in estimates:
            now = logits[each.step]
            off["accuracy"].append((each.accuracy - accuracy(now, labels)) / each.accuracy_error)
            off["loss"].append((each.loss - cross_entropy(now, labels)) / each.loss_error)
    for errors in off.values():  # in standard errors, so that 1 is to be expected
        assert 0.7 < np.sqrt(np.mean(np.square(errors))) < 1.3
        assert np.mean(np.abs(errors) <= 2) > 0.9


def test_no_image_is_looked_at_twice_in_a_measurement() -> None:
    labels, logits = walk(5)
    estimator = Estimator(labels, CLASSES, tolerance=0.002)
    for step, each in enumerate(logits):
        seen: list[npt.NDArray[np.int64]] = []

        def look(images: npt.NDArray[np.int64], each: Logits = each, seen: list[object] = seen) -> Logits:  # type: ignore[assignment]
            seen.append(images)
            return each[images]

        found = estimator.measure(step, look)
        if not found.complete:
            looked = np.concatenate(seen)
            assert len(looked) == len(np.unique(looked)) == found.images_measured
    assert not found.complete


def test_complete_passes_come_when_they_are_wanted() -> None:
    labels, logits = walk(9)
    found = followed(Estimator(labels, CLASSES, tolerance=0.02, complete_every=4), logits)
    assert [each.step for each in found if each.complete] == [0, 4, 8]


def test_few_images_are_all_measured_every_time() -> None:
    labels, logits = walk(3, images=999)
    found = followed(Estimator(labels, CLASSES, tolerance=0.02), logits)
    assert all(each.complete for each in found)
    assert [each.accuracy for each in found] == [accuracy(each, labels) for each in logits]


def test_a_seed_repeats_it() -> None:
    labels, logits = walk(5)
    first, again, other = (
        [each.accuracy for each in followed(Estimator(labels, CLASSES, tolerance=0.005, seed=seed), logits)]
        for seed in (1, 1, 2)
    )
    assert first == again != other


def test_tensors_will_do() -> None:
    labels, logits = walk(3)
    arrays = followed(Estimator(labels, CLASSES, tolerance=0.005), logits)
    estimator = Estimator(torch.tensor(labels), CLASSES, tolerance=0.005)
    for step, each in enumerate(logits):
        tensor = torch.tensor(each, requires_grad=True)
        found = estimator.measure(step, lambda images, tensor=tensor: tensor[images])
        assert (found.accuracy, found.loss) == (arrays[step].accuracy, arrays[step].loss)


def test_logits_that_are_not_finite() -> None:
    labels, logits = walk(3)
    logits[2][7] = np.nan
    logits[2][8:] = np.inf
    found = followed(Estimator(labels, CLASSES, tolerance=0.005), logits)
    assert found[2].complete
    assert np.isnan(found[2].loss)
    assert found[3].complete  # nothing was known any more


def test_an_exception_of_the_function_comes_through_and_nothing_is_lost() -> None:
    labels, logits = walk(2)
    estimator = Estimator(labels, CLASSES, tolerance=0.005)
    estimator.measure(0, logits[0].__getitem__)

    def fails(images: object) -> Logits:
        raise LookupError("no such image")

    with pytest.raises(LookupError, match="no such image"):
        estimator.measure(1, fails)
    with pytest.raises(ArgumentError, match="the estimator is measuring already"):
        estimator.measure(1, lambda _: estimator.measure(1, logits[1].__getitem__))  # type: ignore[arg-type, return-value]
    assert not estimator.measure(1, logits[1].__getitem__).complete


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"tolerance": 0}, ArgumentError, "tolerance must be above 0 and below 1, not 0"),
        ({"tolerance": float("nan")}, ArgumentError, "tolerance must be above 0 and below 1, not nan"),
        ({"complete_every": 0}, ArgumentError, "complete_every is 0: it must be at least 1"),
        ({"seed": -1}, ArgumentError, "seed is -1"),
        ({"classes": 1}, ArgumentError, "classes is 1: it must be at least 2"),
        ({"classes": 2}, ArgumentError, "classes is 2, and among the labels is 4"),
        ({"classes": 10**9}, ArgumentError, "there can be at most 10,000"),
        ({"labels": []}, DataError, "labels is empty"),
        ({"labels": [0.5]}, DataError, "labels must be whole numbers"),
    ],
)
def test_arguments_that_cannot_work(arguments: dict[str, object], error: type[Exception], message: str) -> None:
    given: dict[str, object] = {"labels": walk(0)[0], "classes": CLASSES, "tolerance": 0.01} | arguments
    with pytest.raises(error, match=message):
        Estimator(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize("after", [0, 1])  # at a complete pass, and at an estimate
def test_a_function_that_gives_something_else(after: int) -> None:
    labels, logits = walk(1)
    estimator = Estimator(labels, CLASSES, tolerance=0.005)
    followed(estimator, logits[:after])
    with pytest.raises(ShapeError, match=r"logits gave the shape \(\d+, 4\): \d+ images of 5 classes have \(\d+, 5\)"):
        estimator.measure(after, lambda images: logits[after][images, :4])
    with pytest.raises(TypeError, match="logits must give an array of numbers, not str"):
        estimator.measure(after, lambda _: "many")
    with pytest.raises(ArgumentError, match="step is -1"):
        estimator.measure(-1, logits[after].__getitem__)


# `for epoch: for step, batch in enumerate(loader)` counts anew in each epoch, and no complete pass would come any more.
def test_a_step_before_the_last_one_is_refused() -> None:
    labels = np.arange(1200) % 3
    estimator = Estimator(labels, 3, tolerance=0.01)
    estimator.measure(5, lambda images: np.eye(3, dtype=np.float32)[labels[images]])
    with pytest.raises(ArgumentError, match="step is 4, and the last measurement was after 5: count steps through"):
        estimator.measure(4, lambda images: np.eye(3, dtype=np.float32)[labels[images]])
