"""`Dataset`: what it accepts, what it makes of it, and what it refuses with which words."""

from __future__ import annotations

import copy
import hashlib
import os
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from everybatch import _convert
from everybatch.dataset import Dataset
from everybatch.errors import ArgumentError, DataError, ShapeError

RNG = np.random.default_rng(20)
GREY = RNG.integers(0, 256, (30, 5, 7), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (30, 5, 7, 3), dtype=np.uint8)
LABELS = np.arange(30) % 3


def make(images: Any = GREY, labels: Any = LABELS, **options: Any) -> Dataset:
    return Dataset(images, labels, images[:9], labels[:9], **options)


def test_attributes() -> None:
    data = make(name="noise", source="made up")
    assert data.train_images.dtype == np.uint8
    assert data.train_images.shape == (30, 5, 7)
    assert data.test_images.shape == (9, 5, 7)
    assert data.train_labels.dtype == np.int64
    assert data.train_labels.tolist() == LABELS.tolist()
    assert data.image_shape == (1, 5, 7)
    assert data.num_classes == 3
    assert data.classes == ("0", "1", "2")
    assert (data.name, data.source) == ("noise", "made up")
    assert repr(data) == "Dataset('noise': 30 training and 9 test images of 1x5x7, 3 classes)"


def test_html_escapes_names() -> None:
    shown = make(classes=["<b>", "b", "c"], name="a&b")._repr_html_()
    assert "&lt;b&gt;" in shown
    assert "a&amp;b" in shown


def test_arrays_are_read_only() -> None:
    images = GREY.copy()
    data = make(images)
    for array in (data.train_images, data.train_labels, data.test_images, data.test_labels):
        assert array.flags.c_contiguous
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    assert images.flags.writeable


@pytest.mark.parametrize("given", [np.array, torch.tensor, lambda images: images.copy()[:, None][::1]])
def test_what_becomes_of_the_originals_does_not_matter(given: Any) -> None:
    # Independent source: a data set of arrays that nothing happened to.
    images, labels = given(GREY), given(LABELS)
    if isinstance(labels, np.ndarray):
        labels = labels.reshape(-1)
    view = images[:]
    if isinstance(view, np.ndarray):
        view.flags.writeable = False  # of what lies beneath it nothing is said
    data = Dataset(view, labels, GREY[:9], LABELS[:9])
    images //= 4
    labels[:] = 0
    assert np.array_equal(data.train_images, GREY)
    assert np.array_equal(data.train_labels, LABELS)
    assert (data.mean, data.std, data.fingerprint) == (make().mean, make().std, make().fingerprint)
    noisy = Dataset(images, labels, GREY[:9], LABELS[:9])
    assert noisy.fingerprint != data.fingerprint


def test_images_that_cannot_change_are_not_copied() -> None:
    images = GREY.copy()
    images.flags.writeable = False
    data = make(images)
    assert np.shares_memory(data.train_images, images)
    for own in (make(GREY), make(GREY / 255), make(torch.from_numpy(GREY)), make().subset(train=20)):
        again = Dataset(own.train_images, own.train_labels, own.test_images, own.test_labels)
        assert np.shares_memory(again.train_images, own.train_images)
    twin = pickle.loads(pickle.dumps(data))
    assert np.shares_memory(make(twin.train_images).train_images, twin.train_images)


def test_attributes_cannot_be_set() -> None:
    with pytest.raises(AttributeError, match="does not change"):
        make().mean = (0.5,)


def test_pickled_and_copied_data_sets_stay_equal_and_read_only() -> None:
    data = make()
    for twin in (pickle.loads(pickle.dumps(data)), copy.deepcopy(data)):
        assert twin.fingerprint == data.fingerprint
        assert twin.mean == data.mean
        assert not twin.train_images.flags.writeable


@pytest.mark.parametrize(
    ("images", "shape"),
    [
        (GREY, (30, 5, 7)),
        (GREY[..., None], (30, 5, 7)),
        (GREY[:, None], (30, 5, 7)),
        (COLOUR, (30, 5, 7, 3)),
        (COLOUR.transpose(0, 3, 1, 2), (30, 5, 7, 3)),
        (torch.from_numpy(COLOUR).permute(0, 3, 1, 2), (30, 5, 7, 3)),
        (COLOUR.tolist(), (30, 5, 7, 3)),
        (np.concatenate([COLOUR, COLOUR[..., :1]], axis=3), (30, 5, 7, 4)),
    ],
)
def test_layouts(images: Any, shape: tuple[int, ...]) -> None:
    data = make(images)
    assert data.train_images.shape == shape
    assert data.train_images.flags.c_contiguous
    if len(shape) == 4:
        assert np.array_equal(data.train_images[..., :3], COLOUR)
        assert data.image_shape == (shape[3], 5, 7)
    else:
        assert np.array_equal(data.train_images, GREY)


def test_ambiguous_layout_is_taken_as_channels_last() -> None:
    images = RNG.integers(0, 256, (30, 3, 8, 4), dtype=np.uint8)
    assert make(images).image_shape == (4, 3, 8)


@pytest.mark.parametrize(
    "images",
    [
        GREY.astype(np.int64),
        GREY.astype(np.int16),
        GREY.astype(">u4"),
        GREY.astype(np.float32) / np.float32(255),
        GREY / 255,
        torch.from_numpy(GREY) / 255,
        (torch.from_numpy(GREY) / 255).requires_grad_(),
        np.asfortranarray(GREY),
        GREY[:, ::-1][:, ::-1],
    ],
)
def test_pixel_types_give_the_same_data(images: Any) -> None:
    assert make(images).fingerprint == make().fingerprint


def test_low_precision_floats_round_to_the_nearest_pixel() -> None:
    # Half precision holds i / 255 to 2**-12, an eighth of a step: rounding finds i again. bfloat16 does not.
    ramp = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    half = (ramp / 255).astype(np.float16)
    assert np.array_equal(Dataset(half, [0], half, [0]).train_images, ramp)
    # All numbers of float16 in [0, 1]; the right pixels are NumPy's in float64.
    every = np.resize(np.arange(0x3C01, dtype=np.uint16).view(np.float16), (241, 8, 8))
    for given in (every, torch.from_numpy(every)):
        assert np.array_equal(_convert.images(given, "x"), np.rint(every.astype(np.float64) * 255))
    coarse = torch.from_numpy(ramp / 255).to(torch.bfloat16)
    assert Dataset(coarse, [0], coarse, [0]).train_images[0, -1, -1] == 255
    eighth = torch.tensor([[[0, 0.5, 1]]]).to(torch.float8_e4m3fn)  # NumPy has no such type
    assert Dataset(eighth, [0], eighth, [0]).train_images.tolist() == [[[0, 128, 255]]]


def test_booleans_become_black_and_white() -> None:
    assert np.array_equal(make(GREY > 127).train_images, np.where(GREY > 127, 255, 0))


def test_values_are_checked_beyond_the_first_block() -> None:
    images = np.zeros((5000, 2, 2), np.float32)
    labels = np.arange(5000) % 2
    images[4500, 1, 0] = np.nan
    images[4999, 0, 1] = np.inf
    with pytest.raises(DataError, match=r"2 NaN or infinite pixels, the first at index \(4500, 1, 0\)"):
        make(images, labels)
    integers = np.zeros((5000, 2, 2), np.int32)
    integers[4500, 1, 0] = 256
    with pytest.raises(DataError, match=r"a pixel of 256 at index \(4500, 1, 0\)"):
        make(integers, labels)


@pytest.mark.parametrize(
    ("images", "error", "words"),
    [
        (GREY.astype(np.int16) - 300, DataError, "must be from 0 to 255"),
        ((GREY / 255 - 0.1307) / 0.3081, DataError, "already normalised: pass the raw pixels"),
        (GREY.astype(np.float32), DataError, r"\.astype\('uint8'\)"),
        (np.zeros((0, 5, 7), np.uint8), DataError, "empty"),
        (np.zeros((30, 0, 7), np.uint8), DataError, "empty"),
        (np.zeros((30, 784), np.uint8), ShapeError, r"reshape\(-1, 28, 28\)"),
        (np.zeros((30, 5, 7, 3, 1), np.uint8), ShapeError, r"expected \(N, H, W\)"),
        (np.zeros((30, 5, 7, 2), np.uint8), ShapeError, "no axis of 1, 3 or 4 channels"),
        (np.array([GREY[0], None] * 15, dtype=object), TypeError, "np.stack"),
        ([GREY[0], GREY[0, :2]] * 15, ShapeError, "same size"),
        (np.full((30, 5, 7), "a"), TypeError, "dtype <U1"),
        (None, TypeError, "array of integers or floats"),
        (GREY.astype(complex), TypeError, "complex128"),
        (torch.zeros(30, 5, 7).to_sparse(), TypeError, r"to_dense\(\)"),
        (torch.quantize_per_tensor(torch.zeros(30, 5, 7), 0.1, 0, torch.quint8), TypeError, r"dequantize\(\)"),
    ],
)
def test_images_that_are_refused(images: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        Dataset(images, LABELS, GREY[:9], LABELS[:9])


def test_the_message_names_the_argument() -> None:
    with pytest.raises(DataError, match="test_images has 1 NaN"):
        Dataset(GREY, LABELS, np.array([[[0.5, np.nan]]]), [0])


@pytest.mark.parametrize(
    "labels",
    [
        LABELS.astype(np.uint8),
        LABELS.astype(np.float64),
        LABELS[:, None],
        torch.from_numpy(LABELS),
        LABELS.tolist(),
        LABELS[::-1][::-1],
    ],
)
def test_label_types_give_the_same_data(labels: Any) -> None:
    assert make(labels=labels).fingerprint == make().fingerprint


def changed(index: int, value: float, dtype: Any = np.int64) -> Any:
    labels = LABELS.astype(dtype)
    labels[index] = value
    return labels


@pytest.mark.parametrize(
    ("labels", "error", "words"),
    [
        (changed(4, -1), DataError, r"train_labels\[4\] is -1"),
        (changed(4, np.nan, float), DataError, r"train_labels\[4\] is nan"),
        (changed(4, np.inf, float), DataError, r"train_labels\[4\] is inf"),
        (changed(4, 1.5, float), DataError, r"train_labels\[4\] is 1.5"),
        (changed(4, 10_000), DataError, r"train_labels\[4\] is 10000, but there can be at most 10,000 classes"),
        (changed(4, 2**63, np.uint64), DataError, "at most 10,000 classes"),
        (changed(4, 2026), DataError, r"largest label is 2,026, but only \d+ different labels occur.*classes="),
        (np.eye(3)[LABELS], DataError, r"one-hot.*argmax\(axis=1\)"),
        (np.zeros((30, 2)), ShapeError, r"shape \(30, 2\)"),
        (np.array(0), ShapeError, r"shape \(\)"),
        ([], DataError, "empty"),
        (LABELS[:-1], DataError, "30 images but train_labels has 29 labels"),
        (["a"] * 30, DataError, "names but test_labels are numbers"),
        (None, TypeError, "train_labels has dtype object"),
    ],
)
def test_labels_that_are_refused(labels: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        Dataset(GREY, labels, GREY[:9], LABELS[:9])


def test_labels_beyond_the_named_classes_are_refused() -> None:
    with pytest.raises(DataError, match=r"test_labels\[1\] is 5, but there are 3 names in classes"):
        Dataset(GREY, LABELS, GREY[:2], [0, 5], classes=["a", "b", "c"])


def test_train_and_test_images_must_have_one_shape() -> None:
    with pytest.raises(ShapeError, match="5x7 grey but test images are 5x7 with 3 channels"):
        Dataset(GREY, LABELS, COLOUR, LABELS)


def test_number_of_classes() -> None:
    assert make(labels=np.zeros(30, int)).num_classes == 2
    assert Dataset(GREY, LABELS, GREY[:2], [0, 6]).num_classes == 7
    assert make(classes=range(12)).classes[-1] == "11"
    assert make(labels=changed(0, 255)).num_classes == 256


@pytest.mark.parametrize(
    ("classes", "error", "words"),
    [
        (["a"], ArgumentError, "at least 2"),
        (["a", "b", "a"], ArgumentError, "'a' more than once"),
        ("abc", TypeError, "list of names"),
        (5, TypeError, "list of names, not 5"),
        (range(10_001), DataError, "at most 10,000"),
        (["a", "b", os.fsdecode(b"caf\xe9")], ArgumentError, r"classes\[2\] is 'caf\\udce9', which is not UTF-8"),
        (["a\n", "b\n"], ArgumentError, r"classes\[0\] is 'a\\n', with a line break"),
        (["a", "b\0"], ArgumentError, "control character"),
        (["a", "\x1b[31mb"], ArgumentError, "control character"),
        (["a", " "], ArgumentError, "every class needs a name"),
        (["a", "b" * 1001], ArgumentError, "1,001 characters"),
    ],
)
def test_classes_that_are_refused(classes: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make(classes=classes)


def test_mean_and_std_are_of_the_training_images() -> None:
    # Independent source: NumPy's own mean and std in float64 over the pixels divided by 255.
    data = make()
    assert data.mean == pytest.approx([np.mean(GREY / 255)], rel=1e-14)
    assert data.std == pytest.approx([np.std(GREY / 255)], rel=1e-14)
    colour = make(COLOUR)
    assert colour.mean == pytest.approx(np.mean(COLOUR / 255, axis=(0, 1, 2)), rel=1e-14)
    assert colour.std == pytest.approx(np.std(COLOUR / 255, axis=(0, 1, 2)), rel=1e-14)


def test_a_constant_channel_gets_deviation_one() -> None:
    images = COLOUR.copy()
    images[..., 1] = 51
    data = make(images)
    assert data.std[1] == 1.0
    assert data.mean[1] == pytest.approx(0.2)
    assert data.std[0] != 1.0


def test_mean_and_std_may_be_given() -> None:
    assert make(COLOUR, mean=0.5, std=(0.1, 0.2, 0.3)).mean == (0.5, 0.5, 0.5)
    assert make(COLOUR, mean=0.5, std=(0.1, 0.2, 0.3)).std == (0.1, 0.2, 0.3)
    assert make(mean=torch.tensor(0.25), std=np.float32(2)).mean == (0.25,)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"std": 0}, ArgumentError, "above 0"),
        ({"std": -1.0}, ArgumentError, "above 0"),
        ({"std": float("nan")}, ArgumentError, "finite"),
        ({"mean": float("inf")}, ArgumentError, "mean"),
        ({"mean": 33.3}, ArgumentError, "divide it by 255"),
        ({"mean": (0.1, 0.2)}, ArgumentError, "2 values, but the images have 1 channels"),
        ({"std": "large"}, TypeError, "std must be a number"),
        ({"std": np.ma.masked_equal([0.5], 0.5)}, TypeError, "std has masked entries"),
    ],
)
def test_mean_and_std_that_are_refused(options: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make(**options)


def test_fingerprint() -> None:
    # Independent source: the same bytes put together by hand.
    parts = []
    for array in (GREY, LABELS.astype("<i8"), GREY[:9], LABELS[:9].astype("<i8")):
        parts += [str(array.shape).encode(), array.tobytes()]
    assert make().fingerprint == hashlib.sha256(b"".join(parts)).hexdigest()
    other = GREY.copy()
    other[-1, -1, -1] ^= 1
    assert make(other).fingerprint != make().fingerprint
    assert make(name="x", mean=0.1).fingerprint == make().fingerprint


def test_subset_is_stratified_and_repeatable() -> None:
    count = np.array([100, 50, 45, 5])
    labels = np.repeat(np.arange(4), count)
    images = np.arange(200, dtype=np.uint8).reshape(200, 1, 1) * np.ones((1, 2, 2), np.uint8)
    data = Dataset(images, labels, images, labels, classes=["w", "x", "y", "z"])
    small = data.subset(train=20, test=40, seed=3)
    # Quotas by hand: 20 of 200 is a tenth: 10, 5, 4.5, 0.5; of the two equal remainders the first class is
    # rounded up.
    assert np.bincount(small.train_labels, minlength=4).tolist() == [10, 5, 5, 0]
    assert np.bincount(small.test_labels, minlength=4).tolist() == [20, 10, 9, 1]
    chosen = small.train_images[:, 0, 0].astype(int)
    assert np.all(np.diff(chosen) > 0)  # without replacement, in their old order
    assert np.array_equal(labels[chosen], small.train_labels)
    assert (small.classes, small.mean, small.std) == (data.classes, data.mean, data.std)
    assert data.subset(20, 40, seed=3).fingerprint == small.fingerprint
    assert data.subset(20, 40, seed=4).fingerprint != small.fingerprint
    assert "subset(train=20, test=40, seed=3)" in small.source


def test_subset_draws_stay_the_same() -> None:
    # Recorded with NumPy 2.4: a change would silently change everyone's subsets.
    images = np.arange(40, dtype=np.uint8).reshape(40, 1, 1)
    data = Dataset(images, np.arange(40) % 2, images, np.arange(40) % 2)
    assert data.subset(train=6, seed=0).train_images.ravel().tolist() == [2, 3, 11, 13, 20, 32]


def test_subset_keeps_what_is_not_named() -> None:
    data = make()
    assert data.subset(train=3).test_images.shape == data.test_images.shape
    assert data.subset().fingerprint == data.fingerprint
    assert data.subset(train=30).fingerprint == data.fingerprint


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"train": 31}, ArgumentError),
        ({"test": 0}, ArgumentError),
        ({"train": 1.5}, TypeError),
        ({"train": True}, TypeError),
        ({"train": 3, "seed": -1}, ArgumentError),
    ],
)
def test_subsets_that_are_refused(options: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        make().subset(**options)


def test_pixels_that_were_divided_twice_are_noticed() -> None:
    """255 / 255 / 255 is the brightest that is left, and 255 times that is 1: black."""
    for given in (GREY / 255 / 255, torch.from_numpy(GREY).float() / 255 / 255, (GREY / 255 / 255).tolist()):
        with pytest.raises(DataError, match=r"float pixels up to 0\.0039\d*, .* divided by 255 twice"):
            make(given)
    both = TensorDataset(torch.from_numpy(GREY).float() / 255 / 255, torch.from_numpy(LABELS))
    with pytest.raises(DataError, match="divided by 255 twice"):
        Dataset.from_torch(both, both)
    assert make(GREY // 200).train_images.max() == 1  # masks of 0 and 1 are
    assert make(GREY * 0.0).train_images.max() == 0


def test_test_images_that_were_divided_twice_are_noticed() -> None:
    # As of the training images: at most 1 of 255 is left.
    for given in (GREY / 255 / 255, torch.from_numpy(GREY).float() / 255 / 255, (GREY / 255 / 255).tolist()):
        with pytest.raises(DataError, match=r"the test images have float pixels up to 0\.0039\d*, .* 255 twice"):
            Dataset(GREY / 255, LABELS, given, LABELS)
    with pytest.raises(DataError, match="with scale=255 all test pixels become 0 or 1 of 255"):
        Dataset(GREY, LABELS, GREY / 255, LABELS, scale=255)
    with pytest.raises(DataError, match="with scale=255 all training pixels become 0 or 1 of 255"):
        Dataset(GREY / 255, LABELS, GREY, LABELS, scale=255)


def test_test_images_that_were_cast_to_bytes_are_noticed() -> None:
    white = GREY.copy()
    white[:, 0, 0] = 255
    for given, high in ((white, 1), (GREY.clip(0, 254), 0)):  # a cast rounds down: what is left are 1 and 0
        with pytest.raises(
            DataError, match=rf"the test images have no pixel above {high} of 255.*go up to 255: prepare"
        ):
            Dataset(white, LABELS, (given / 255).astype(np.uint8), LABELS)


def test_training_images_that_were_cast_to_bytes_are_noticed() -> None:
    for given, high in ((GREY // 200, 1), (np.zeros_like(GREY), 0)):
        with pytest.raises(DataError, match=rf"the training images have no pixel above {high} of 255.*test images go"):
            Dataset(given, LABELS, GREY, LABELS)


def test_images_that_may_be_black() -> None:
    masks, black = GREY // 200, np.zeros_like(GREY)
    for train, test in ((masks, masks), (masks, black), (black, black), (black, masks)):
        assert np.array_equal(Dataset(train, LABELS, test, LABELS).test_images, test)
    assert Dataset(GREY, LABELS, black[:1], LABELS[:1]).test_images.max() == 0  # one blank picture
    assert Dataset(black[:1], LABELS[:1], GREY, LABELS).train_images.max() == 0
    assert Dataset(GREY / 255, LABELS, GREY * (1 / 255) * (GREY > 250), LABELS).test_images.max() > 250


def test_a_subset_may_draw_black_images() -> None:
    images = GREY.copy()
    images[3:9] = 0
    labels = np.array([0] * 3 + [1] * 6)
    data = Dataset(
        images, LABELS, images[:9], labels, mean=0.25, std=0.5, name="n", source="s", classes=["a", "b", "c"]
    )
    assert data.fingerprint  # which a subset must not keep
    # By the share of the classes, 2/3 of the test images are of the second.
    part = data.subset(test=1)
    assert part.test_labels.tolist() == [1]
    assert part.test_images.max() == 0
    told = part.train_images, part.train_labels, part.test_images, part.test_labels
    again = Dataset(*told, mean=0.25, std=0.5, classes=["a", "b", "c"])
    assert part.fingerprint == again.fingerprint != data.fingerprint
    assert (part.mean, part.std, part.classes, part.name) == (again.mean, again.std, again.classes, "n")
    assert part.source == "s; subset(train=None, test=1, seed=0)"
    assert not any(array.flags.writeable for array in told)
    assert all(array.flags.c_contiguous for array in told)


def test_a_tensor_without_values_is_refused() -> None:
    with pytest.raises(TypeError, match="train_images is a tensor on the device 'meta', which has a shape and no val"):
        make(torch.zeros(30, 5, 7, device="meta"))
