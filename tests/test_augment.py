"""Changes to training images: each alone is the geometry that it says, all are seeded, and labels stay true.

What a change should look like is computed here with NumPy: `sampled` takes each output pixel from where a formula says,
between its four neighbours.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

import everybatch as eb
from everybatch import Augment
from everybatch.errors import ArgumentError, DataError, ShapeError

HEIGHT, WIDTH = 24, 32
Array = npt.NDArray[Any]
EVERYTHING = Augment(shift=2, rotate=10, scale=0.1, shear=5, elastic=0.7, erase=0.5)


def places() -> tuple[Array, Array]:
    """x and y of each pixel's middle, in pixels from the middle of the image."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(float)
    return x - (WIDTH - 1) / 2, y - (HEIGHT - 1) / 2


def blob() -> Array:
    """A smooth bright bar that lies askew, off the middle, and ends within the image."""
    x, y = places()
    along, across = (x - 2) * 0.8 + (y + 1) * 0.6, (y + 1) * 0.8 - (x - 2) * 0.6
    return np.round(240 * np.exp(-((along / 5) ** 2) - (across / 2.2) ** 2)).astype(np.uint8)


def sampled(image: Array, x: Array, y: Array) -> Array:
    """The image's values at places in pixels from its middle, between the four neighbours; 0 outside."""
    padded = np.pad(image.astype(float), 1)
    column = np.clip(x + (WIDTH - 1) / 2 + 1, 0, WIDTH + 1 - 1e-9)
    row = np.clip(y + (HEIGHT - 1) / 2 + 1, 0, HEIGHT + 1 - 1e-9)
    left, top = column.astype(int), row.astype(int)
    right_share, bottom_share = column - left, row - top
    upper = padded[top, left] * (1 - right_share) + padded[top, left + 1] * right_share
    lower = padded[top + 1, left] * (1 - right_share) + padded[top + 1, left + 1] * right_share
    return upper * (1 - bottom_share) + lower * bottom_share


def centre(image: Array) -> tuple[float, float]:
    x, y = places()
    return float((x * image).sum() / image.sum()), float((y * image).sum() / image.sum())


def repeated(augment: Augment, count: int = 12) -> Array:
    return augment(np.repeat(blob()[None], count, axis=0), seed=3)


# ---- each alone ----------------------------------------------------------------------------------


def test_a_shift_moves_and_does_nothing_else() -> None:
    moved = []
    x, y = places()
    for image in repeated(Augment(shift=3)):
        right, down = np.subtract(centre(image), centre(blob()))
        np.testing.assert_allclose(image, sampled(blob(), x - right, y - down), atol=2)
        moved += [right, down]
    assert np.abs(moved).max() <= 3.02
    assert min(moved) < -1.5
    assert max(moved) > 1.5
    assert any(abs(by - round(by)) > 0.2 for by in moved)  # by parts of pixels too


# Where the pixel that lands at (x, y) is taken from, for a number within the bound.
MAPS: dict[str, tuple[float, Callable[[float, Array, Array], tuple[Array, Array]]]] = {
    "rotate": (
        30,
        lambda angle, x, y: (
            np.cos(np.radians(angle)) * x - np.sin(np.radians(angle)) * y,
            np.sin(np.radians(angle)) * x + np.cos(np.radians(angle)) * y,
        ),
    ),
    "scale": (0.3, lambda by, x, y: (x / (1 + by), y / (1 + by))),
    "shear": (25, lambda angle, x, y: (x + np.tan(np.radians(angle)) * y, y)),
}


@pytest.mark.parametrize("name", MAPS)
def test_each_image_is_turned_or_scaled_or_sheared_by_a_number_within_the_bound(name: str) -> None:
    bound, taken_from = MAPS[name]
    tried = np.linspace(-bound, bound, 241)
    candidates = np.stack([sampled(blob(), *taken_from(number, *places())) for number in tried])
    found = []
    for image in repeated(Augment(**{name: bound})):
        errors = np.abs(candidates - image).max(axis=(1, 2))
        assert errors.min() <= 3  # of 240: the candidates are not infinitely dense, and bytes are whole
        found.append(tried[errors.argmin()])
    assert min(found) < -0.4 * bound
    assert max(found) > 0.4 * bound


def test_an_elastic_change_displaces_smoothly_by_the_asked_deviation() -> None:
    # On a ramp the change of a value tells the displacement. White noise smoothed by a Gaussian of deviation s has the
    # correlation exp(-d² / (4 s²)) at distance d.
    ramp = np.broadcast_to((3 * np.arange(64)).astype(np.uint8), (40, 64, 64))
    moved = (Augment(elastic=1.5, elastic_sigma=4)(ramp).astype(float) - ramp) / 3
    inner = moved[:, 12:-12, 12:-12]
    assert inner.std() == pytest.approx(1.5, rel=0.1)
    assert abs(inner.mean()) < 0.15
    for distance in (2, 4, 8):
        expected = np.exp(-(distance**2) / (4 * 4**2))
        for a, b in (
            (inner[:, distance:], inner[:, :-distance]),
            (inner[..., distance:], inner[..., :-distance]),
        ):
            assert (a * b).mean() / inner.var() == pytest.approx(expected, abs=0.1)


def test_erasing_blackens_one_rectangle_of_the_asked_share() -> None:
    white = np.full((200, HEIGHT, WIDTH), 255, np.uint8)
    erased = Augment(erase=0.6, erase_area=(0.1, 0.3))(white)
    assert set(np.unique(erased)) == {0, 255}
    tops = set()
    shares = []
    for image in erased:
        if not (image == 0).any():
            continue
        rows, columns = np.flatnonzero((image == 0).any(axis=1)), np.flatnonzero((image == 0).any(axis=0))
        assert (image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] == 0).all()
        assert (image == 0).sum() == len(rows) * len(columns) == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
        shares.append((image == 0).mean())
        tops.add((rows[0], columns[0]))
    assert 0.48 < len(shares) / 200 < 0.72  # three and a half standard deviations of a binomial
    assert 0.07 < min(shares) < 0.15  # sides are whole pixels
    assert 0.2 < max(shares) < 0.33
    assert len(tops) > 50


def test_nothing_asked_is_nothing_done() -> None:
    np.testing.assert_array_equal(repeated(Augment()), np.repeat(blob()[None], 12, axis=0))
    np.testing.assert_array_equal(Augment(erase=0.0, erase_area=(0.5, 0.5))(blob()[None]), blob()[None])


# ---- seeds and shapes ----------------------------------------------------------------------------


def test_seed_and_step_decide() -> None:
    images = np.repeat(blob()[None], 4, axis=0)
    first = EVERYTHING(images, seed=1, step=2)
    np.testing.assert_array_equal(EVERYTHING(images, seed=1, step=2), first)
    assert not np.array_equal(EVERYTHING(images, seed=2, step=2), first)
    assert not np.array_equal(EVERYTHING(images, seed=1, step=3), first)
    assert not np.array_equal(first[0], first[1])  # each image has numbers of its own


@pytest.mark.parametrize("form", [np.array, torch.tensor, np.ndarray.tolist])
def test_grey_images_of_any_form(form: Any) -> None:
    images = np.repeat(blob()[None], 3, axis=0)
    changed = EVERYTHING(form(images))
    assert (changed.dtype, changed.shape) == (np.uint8, images.shape)
    np.testing.assert_array_equal(changed, EVERYTHING(images))


def test_all_channels_of_an_image_are_changed_alike() -> None:
    images = np.repeat(blob()[None], 3, axis=0)
    colour = np.stack([images, 255 - images, images // 2], axis=-1)
    changed = EVERYTHING(colour)
    assert (changed.dtype, changed.shape) == (np.uint8, (3, HEIGHT, WIDTH, 3))
    np.testing.assert_array_equal(changed[..., 0], EVERYTHING(images))
    np.testing.assert_allclose(changed[..., 2], changed[..., 0] / 2, atol=1)


def test_the_shape_is_that_of_the_given_images() -> None:
    images = np.repeat(blob()[None], 3, axis=0)
    grey, colour = EVERYTHING(images), EVERYTHING(np.stack([images, 255 - images, images // 2], axis=-1))
    planes = torch.from_numpy(np.stack([images, 255 - images, images // 2], axis=1))
    np.testing.assert_array_equal(EVERYTHING(planes), colour.transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(EVERYTHING(images[:, None]), grey[:, None])
    np.testing.assert_array_equal(EVERYTHING(images[..., None]), grey[..., None])
    np.testing.assert_array_equal(EVERYTHING(list(planes.float().bfloat16() / 255)).shape, planes.shape)


def test_given_images_are_left_alone() -> None:
    images = np.repeat(blob()[None], 3, axis=0)
    EVERYTHING(images)
    np.testing.assert_array_equal(images[1], blob())


# ---- in a run ------------------------------------------------------------------------------------

Quick = Callable[..., eb.Run]


def test_runs_with_one_seed_are_equal(quick: Quick) -> None:
    first, second, other = (quick(augment=EVERYTHING, epochs=2, seed=seed) for seed in (1, 1, 2))
    assert first.train_loss.tobytes() == second.train_loss.tobytes()
    assert first.test_loss.tobytes() == second.test_loss.tobytes()
    assert first.train_loss.tobytes() != other.train_loss.tobytes()


def test_what_is_shown_is_what_is_trained_on(glyphs: eb.Dataset) -> None:
    # PyTorch's loss of the batch as the call shows it; in training, pixels are not rounded to bytes. With a learning
    # rate of 0 the weights stay those of the start.
    network = eb.Network([eb.Flatten(), eb.Linear(784, 10)])
    run = eb.train(
        network, glyphs, epochs=2, batch_size=40, lr=0, augment=EVERYTHING, seed=6, progress=False, device="cpu"
    )
    state = network.initialize(6).state_dict()
    for step in range(run.steps):
        batch = run.batch_indices(step)
        shown = torch.tensor(EVERYTHING(glyphs.train_images[batch], seed=6, step=step))
        pixels = (shown.flatten(1) / 255 - glyphs.mean[0]) / glyphs.std[0]
        logits = torch.nn.functional.linear(pixels.float(), state["1.weight"], state["1.bias"])
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor(glyphs.train_labels[batch]))
        assert run.train_loss[step] == pytest.approx(loss.item(), rel=1e-3)
    assert len(np.unique(run.train_loss)) == run.steps  # each epoch shows the images anew


def test_test_and_validation_images_are_left_as_they_are(quick: Quick, glyphs: eb.Dataset) -> None:
    before = glyphs.train_images.copy(), glyphs.test_images.copy()
    run, plain = quick(augment=EVERYTHING, validation=0.2), quick(validation=0.2)
    assert run.test_loss[0] == plain.test_loss[0]
    assert run.validation_loss[0] == plain.validation_loss[0]
    held_out = run.validation_indices
    assert run.test_loss[-1] == np.float32(run.model.evaluate(glyphs).loss)
    measured = run.model.evaluate(glyphs.train_images[held_out], glyphs.train_labels[held_out])
    assert run.validation_loss[-1] == np.float32(measured.loss)
    assert not np.array_equal(run.train_loss, plain.train_loss)
    np.testing.assert_array_equal(glyphs.train_images, before[0])
    np.testing.assert_array_equal(glyphs.test_images, before[1])


def test_colour_images_are_trained_on(colour: eb.Dataset) -> None:
    run = eb.train(eb.networks.lenet5(in_channels=3), colour, augment=EVERYTHING, progress=False, device="cpu")
    assert np.isfinite(run.train_loss).all()


def test_labels_stay_true() -> None:
    # A network that learned the glyphs as they are still reads them after changes of a size that people use, and no
    # longer after changes that make other signs of them.
    data = eb.datasets.glyphs(train=3000, test=1000)
    run = eb.train(
        eb.networks.lenet5(), data, epochs=3, lr=3e-3, evaluate_every="epoch", seed=0, progress=False, device="cpu"
    )

    def accuracy(**bounds: Any) -> float:
        return run.model.evaluate(Augment(**bounds)(data.test_images), data.test_labels).accuracy

    assert run.final_accuracy > 0.95
    mild: dict[str, Any] = {"shift": 1, "rotate": 8, "scale": 0.08, "shear": 5, "elastic": 0.5}
    for name, bound in mild.items():
        assert accuracy(**{name: bound}) > run.final_accuracy - 0.04, name
    assert accuracy(erase=1.0, erase_area=(0.01, 0.03)) > run.final_accuracy - 0.05
    assert accuracy(**mild) > run.final_accuracy - 0.08
    assert accuracy(rotate=180) < 0.7


# ---- its own form, and errors --------------------------------------------------------------------


def test_it_is_plain_data(quick: Quick) -> None:
    assert Augment(**EVERYTHING.to_dict()) == EVERYTHING
    assert Augment(shift=np.float32(2)) == Augment(shift=2)
    assert eval(repr(EVERYTHING), {"Augment": Augment}) == EVERYTHING
    assert Augment() != EVERYTHING
    with pytest.raises(dataclasses.FrozenInstanceError):
        EVERYTHING.shift = 3.0  # type: ignore[misc]
    kept = quick(augment=EVERYTHING).config["training"]["augment"]
    assert quick(augment=kept).config["training"]["augment"] == kept
    assert Augment(**kept) == EVERYTHING


@pytest.mark.parametrize(
    ("bounds", "error", "match"),
    [
        ({"shift": -1}, ArgumentError, "shift is -1.*between 0 and"),
        ({"shift": float("nan")}, ArgumentError, "shift is nan"),
        ({"shift": float("inf")}, ArgumentError, "shift is inf"),
        ({"shift": "x"}, TypeError, "shift must be a number"),
        ({"rotate": 181}, ArgumentError, "rotate is 181.*180"),
        ({"scale": 0.95}, ArgumentError, r"scale is 0\.95.*0\.9"),
        ({"shear": 81}, ArgumentError, "shear is 81.*80"),
        ({"elastic": -0.1}, ArgumentError, "elastic is -0.1"),
        ({"elastic_sigma": 0}, ArgumentError, r"elastic_sigma is 0.*0\.1"),
        ({"erase": 1.5}, ArgumentError, r"erase is 1\.5"),
        ({"erase": True}, TypeError, "erase must be a number"),
        ({"erase_area": 0.2}, TypeError, "erase_area must be 2 numbers"),
        ({"erase_area": (0.3, 0.2)}, ArgumentError, r"erase_area\[1\] is 0\.2.*0\.3"),
        ({"erase_area": (0.1, 1.2)}, ArgumentError, r"erase_area\[1\] is 1\.2"),
        ({"flip": 1}, TypeError, "flip"),
    ],
)
def test_bounds_that_cannot_work(bounds: dict[str, Any], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        Augment(**bounds)


@pytest.mark.parametrize(
    ("images", "numbers", "error", "match"),
    [
        (np.zeros((28, 28), np.uint8), {}, ShapeError, r"\(28, 28\)"),
        (np.zeros((0, 28, 28), np.uint8), {}, DataError, "empty"),
        ("pictures", {}, TypeError, "images"),
        (np.zeros((1, 4, 4), np.uint8), {"seed": -1}, ArgumentError, "seed is -1"),
        (np.zeros((1, 4, 4), np.uint8), {"step": 0.5}, TypeError, "step must be a whole number"),
    ],
)
def test_images_that_are_none(images: Any, numbers: dict[str, Any], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        EVERYTHING(images, **numbers)


@pytest.mark.parametrize("given", ["shift", 2, [EVERYTHING], Augment])
def test_train_takes_nothing_else(quick: Quick, given: Any) -> None:
    with pytest.raises(TypeError, match=r"augment must be an eb\.Augment, not"):
        quick(augment=given)
    with pytest.raises(TypeError, match="turn"):
        quick(augment={"turn": 3})
