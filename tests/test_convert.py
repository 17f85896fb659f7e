"""Pixels and labels that are refused, with hints that give the right data when they are followed; `scale`."""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from everybatch import _convert
from everybatch.dataset import Dataset
from everybatch.errors import ArgumentError, DataError, ShapeError

RNG = np.random.default_rng(21)
PIXELS = RNG.integers(0, 256, (12, 5, 5), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (12, 5, 5, 3), dtype=np.uint8)
LABELS = np.arange(12) % 3


def follow(given: Any, convert: Any = _convert.images) -> Any:
    """Run the code that the message about `given` proposes, and convert what comes out."""
    with pytest.raises((DataError, ShapeError, TypeError)) as refused:
        convert(given, "x")
    codes = re.findall(r"(?:np\.asarray\(x\)|\bx)(?: ?/ ?\d+|\.[a-z]+\([^)]*\)|\[:, \d\])", str(refused.value))
    assert codes, str(refused.value)
    return convert(eval(codes[0], {"x": given, "np": np, "torch": torch}), "x")


# What follows the hint must be the pixels that the array was made of, by NumPy alone.


@pytest.mark.parametrize("form", [np.asarray, torch.from_numpy, np.ndarray.tolist], ids=["array", "tensor", "list"])
@pytest.mark.parametrize(
    ("given", "right"),
    [
        (PIXELS.astype(np.float32), PIXELS),
        (PIXELS * 0.9 + 0.25, np.rint(PIXELS * 0.9 + 0.25)),
        (PIXELS / 255 * 1.04 - 0.02, np.rint((PIXELS / 255 * 1.04 - 0.02).clip(0, 1) * 255)),
        (PIXELS.astype(np.int32) * 257, PIXELS),
    ],
)
def test_hints_about_pixels(form: Any, given: Any, right: Any) -> None:
    assert np.array_equal(follow(form(given)), right)


def test_hints_about_sixteen_greys_name_both_meanings() -> None:
    with pytest.raises(DataError, match=r"x / 255 for pixels of 8 bits, x / 16 for scikit-learn's digits.*scale="):
        _convert.images((PIXELS // 16).astype(np.float64), "x")


def test_overshoot_never_becomes_black() -> None:
    image = np.linspace(0, 1.02, 48).reshape(3, 4, 4)
    with pytest.raises(DataError) as refused:
        _convert.images(image, "x")
    assert "astype" not in str(refused.value)
    assert np.array_equal(follow(image), np.rint(image.clip(0, 1) * 255))


@pytest.mark.parametrize("form", [np.asarray, torch.from_numpy, np.ndarray.tolist, pd.DataFrame])
def test_hints_about_rows(form: Any) -> None:
    assert np.array_equal(follow(form(PIXELS.reshape(12, 25))), PIXELS)
    planes = COLOUR.transpose(0, 3, 1, 2).reshape(12, 75)
    assert np.array_equal(follow(form(planes)), COLOUR)


def test_rows_with_the_labels_among_them() -> None:
    with pytest.raises(ShapeError, match="one column more than 5x5 pixels: take the labels' column out"):
        _convert.images(np.zeros((5, 26), np.uint8), "x")


@pytest.mark.parametrize("form", [np.asarray, torch.from_numpy, np.ndarray.tolist, pd.DataFrame])
def test_hints_about_labels(form: Any) -> None:
    one_hot = np.eye(3)[LABELS]
    assert np.array_equal(follow(form(one_hot), _convert.labels), LABELS)
    # QMNIST's layout: the class, then seven columns about where the digit comes from.
    table = np.column_stack([LABELS, RNG.integers(0, 3000, (12, 7))])
    assert np.array_equal(follow(form(table), _convert.labels), LABELS)
    with pytest.raises(ShapeError, match="QMNIST's class is column 0"):
        _convert.labels(form(table), "x")
    assert np.array_equal(follow(form(LABELS[None]), _convert.labels), LABELS)


# Tensors that NumPy cannot read by itself: the pixels are PyTorch's own, rounded by NumPy.


def test_lists_of_tensors() -> None:
    floats = torch.from_numpy(PIXELS / 255)
    negative = torch.complex(floats * 0, -floats).conj().imag
    assert negative.is_neg()
    for given in (floats.bfloat16(), floats.half(), floats.clone().requires_grad_(), negative):
        right = np.rint(given.detach().resolve_neg().double().numpy() * 255)
        for form in (given, list(given), tuple(given), [given[0], *given.detach().float().resolve_neg().numpy()[1:]]):
            assert np.array_equal(_convert.images(form, "x"), right)
    assert np.array_equal(_convert.labels([torch.tensor(label) for label in LABELS], "x"), LABELS)
    with pytest.raises(ShapeError, match=r"x is not a regular array.*give every image the same size"):
        _convert.images([floats[0], floats[0, :2].bfloat16()], "x")
    with pytest.raises(TypeError, match="sparse"):
        _convert.images([floats[0].to_sparse()], "x")


# Masked entries have no value: numpy.asarray would show what lies beneath the mask.


@pytest.mark.parametrize("in_list", [False, True])
def test_masked_pixels_and_labels(in_list: bool) -> None:
    mask = np.zeros(PIXELS.shape, bool)
    mask[3, 1:3, 2] = True
    images = np.ma.masked_array(PIXELS, mask)
    with pytest.raises(DataError, match=r"train_images has .*masked of .*entries"):
        Dataset(list(images) if in_list else images, LABELS, PIXELS, LABELS)
    labels = np.ma.masked_equal(LABELS, 2)
    with pytest.raises(DataError, match="test_labels has 4 masked of 12 entries"):
        Dataset(PIXELS, LABELS, PIXELS, labels)


def test_nothing_masked() -> None:
    assert np.array_equal(_convert.images(np.ma.masked_array(PIXELS), "x"), PIXELS)
    assert np.array_equal(_convert.labels(np.ma.masked_array(LABELS), "x"), LABELS)


def test_masked_tensors() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls them a prototype
        given = torch.masked.masked_tensor(torch.ones(3, 2, 2), torch.ones(3, 2, 2) == 0)
        with pytest.raises(DataError, match="x has 12 masked of 12"):
            _convert.images(given, "x")


# numpy.asarray of a picture gives indices of a palette, or ink, for the mode's letters by Pillow's documentation.


@pytest.mark.parametrize("mode", ["P", "CMYK", "YCbCr", "HSV", "LA", "I", "F"])
def test_pictures_of_other_modes(mode: str) -> None:
    grey = [Image.fromarray(image) for image in PIXELS]
    assert np.array_equal(_convert.images(grey, "x"), PIXELS)
    other = (grey[3] if mode == "LA" else grey[3].convert("RGB")).convert(mode)
    with pytest.raises(DataError, match=f"x has a picture of mode {mode}; bring all to grey or RGB"):
        _convert.images([*grey[:3], other], "x")


# A pixel x of full white `scale` becomes round(255 x / scale), computed by NumPy in float64.


@pytest.mark.parametrize(
    ("scale", "pixels"),
    [
        (16, RNG.integers(0, 17, (6, 8, 8)).astype(np.float64)),  # scikit-learn's load_digits().images
        (16, RNG.integers(0, 17, (6, 8, 8), dtype=np.uint8)),
        (65535, RNG.integers(0, 65536, (6, 8, 8), dtype=np.uint16)),
        (255, RNG.uniform(0, 255, (6, 8, 8)).astype(np.float32)),
        (1, RNG.integers(0, 2, (6, 8, 8), dtype=np.uint8)),
        (1, RNG.uniform(0, 1, (6, 8, 8))),
        (1, RNG.uniform(0, 1, (6, 8, 8)) > 0.5),
        (0.5, RNG.uniform(0, 0.5, (6, 8, 8))),
    ],
)
def test_scale(scale: float, pixels: Any) -> None:
    data = Dataset(pixels, np.arange(6) % 2, pixels[:2], [0, 1], scale=scale)
    right = np.rint(pixels.astype(np.float64) * 255 / scale)
    assert np.array_equal(data.train_images, right)
    assert np.array_equal(data.test_images, right[:2])


def test_scale_255_is_what_bytes_have() -> None:
    data = Dataset(PIXELS, LABELS, PIXELS, LABELS, scale=255)
    assert np.array_equal(data.train_images, PIXELS)
    assert np.shares_memory(_convert.images(PIXELS, "x", 255), PIXELS)


@pytest.mark.parametrize(
    ("scale", "error", "words"),
    [
        (0, ArgumentError, "above 0"),
        (-1.0, ArgumentError, "above 0"),
        (float("nan"), ArgumentError, "finite"),
        (True, TypeError, "scale must be a number"),
        ("16", TypeError, "scale must be a number"),
        (16, DataError, "with scale=16 they must be from 0 to 16"),
    ],
)
def test_scales_that_are_refused(scale: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        Dataset(PIXELS, LABELS, PIXELS, LABELS, scale=scale)


@pytest.mark.parametrize("value", [1e-40, 1e-13, 5e-324, 256.0, 1e300])
def test_deviations_that_float32_cannot_divide_by(value: float) -> None:
    with pytest.raises(ArgumentError, match="std is of pixels in"):
        Dataset(PIXELS, LABELS, PIXELS, LABELS, std=value)


def test_the_smallest_deviation_of_real_pixels_may_be_given_back() -> None:
    # One pixel of 10**6 differs by 1/255: the deviation, by NumPy, is 3.9e-6.
    images = np.zeros((100, 100, 100), np.uint8)
    images[0, 0, 0] = 1
    data = Dataset(images, np.arange(100) % 2, images[:2], [0, 1])
    assert data.std == pytest.approx([np.std(images / 255)])
    assert data.subset(train=10).std == data.std
