"""`Dataset`: the images and labels of one classification problem, checked once and never changed.

Everything after this file may rely on what is promised here: uint8 pixels, C-contiguous arrays, labels in
range, nothing empty, a mean and a deviation that can be divided by.
"""

from __future__ import annotations

import functools
import hashlib
import html
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset as TorchDataset

from everybatch import _convert, _torch_sets
from everybatch._arguments import real, whole
from everybatch._class_names import class_names, names_among, number
from everybatch._convert import BLOCK, MOST_CLASSES
from everybatch._draw import draw
from everybatch._names import as_utf8, check_names, check_unnamed, plain_text
from everybatch.errors import ArgumentError, DataError, ShapeError

__all__ = ["Dataset", "check_dataset"]

# Pixels become at most 1 / std, and squares of that, added up over 2**40 pixels, must be finite in float32. The
# deviation of so many pixels of 8 bits, unless it is 0, is at least 3e-9.
LEAST_STD = 1e-12


class Dataset:
    """Training and test images of one classification problem.

    Images may be NumPy arrays, torch tensors or nested lists: ``(N, H, W)`` grey, ``(N, H, W, C)`` with 1, 3
    or 4 channels, or ``(N, C, H, W)`` where the shape leaves no doubt (1, 3 or 4 channels second, not last).
    Pixels are uint8, other integers in 0 to 255, booleans (become 0 and 255), or floats in [0, 1] (become
    ``round(255 x)``). Labels are whole numbers ``(N,)`` or ``(N, 1)``, or text in either shape.

    A data set does not change: it holds copies, so that what becomes of the originals later does not matter, and the
    originals themselves are never changed. Only images that are uint8 and C-contiguous already, and that cannot be
    written to (``images.flags.writeable = False``, or ``np.load(..., mmap_mode="r")``), are taken without a copy.

    Parameters
    ----------
    train_images, test_images
        Images as above. Both sets have the same height, width and channels.
    train_labels, test_labels
        The class of each image, from 0 to the number of classes less one; or, in both sets, its name (str, or bytes
        in UTF-8).
    classes
        Names of the classes, at most 10,000: a list in the order of the class numbers, or a dict ``{0: name, ...}``.
        Without them the names are those among the labels of both sets, sorted, if these are text; else there are as
        many classes as the largest label says (at least two), named ``"0"``, ``"1"``, ...
    mean, std
        Mean and standard deviation of pixels in [0, 1], one number or one for each channel. Without them they
        are computed from the training images, over all pixels of a channel (a constant channel gets deviation
        1). A deviation must lie from 1e-12 to 255: what is divided by less has squares that float32 cannot sum.
    scale
        The value of a pixel that is full white, where it is not what the type says above: 16 for the digits of
        scikit-learn, 65535 for 16 bits. A pixel x becomes ``round(255 x / scale)``.
    name
        Short name for tables and files.
    source
        One plain line that says where the data came from.

    Attributes
    ----------
    train_images, test_images : uint8 ``(N, H, W)`` or ``(N, H, W, C)``, C-contiguous, read-only
    train_labels, test_labels : int64 ``(N,)``, read-only
    classes : tuple of str
    mean, std : tuple of float, one for each channel

    Raises
    ------
    TypeError
        For arrays that do not hold numbers (objects, text as pixels) and sparse ones.
    ShapeError
        For images that are not shaped as above or differ between the two sets, and for labels of a wrong
        shape.
    DataError
        For empty sets, unequal numbers of images and labels, pixels or labels out of range, not finite, masked or
        missing.
    ArgumentError
        For a wrong `classes`, `mean`, `std` or `scale`.

    Examples
    --------
    >>> import numpy as np
    >>> images = np.random.default_rng(0).integers(0, 256, (100, 28, 28), dtype=np.uint8)
    >>> data = Dataset(images, np.arange(100) % 10, images[:20], np.arange(20) % 10, name="noise")
    >>> data
    Dataset('noise': 100 training and 20 test images of 1x28x28, 10 classes)
    """

    train_images: npt.NDArray[np.uint8]
    train_labels: npt.NDArray[np.int64]
    test_images: npt.NDArray[np.uint8]
    test_labels: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    name: str
    source: str

    def __init__(
        self,
        train_images: npt.ArrayLike | torch.Tensor,
        train_labels: npt.ArrayLike | torch.Tensor,
        test_images: npt.ArrayLike | torch.Tensor,
        test_labels: npt.ArrayLike | torch.Tensor,
        *,
        classes: Iterable[object] | None = None,
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
        scale: float | None = None,
        name: str = "custom",
        source: str = "arrays given in Python",
    ) -> None:
        scale = _check_scale(scale)
        images = {
            "train": _convert.images(train_images, "train_images", scale, own=True),
            "test": _convert.images(test_images, "test_images", scale, own=True),
        }
        labels = {
            "train": _convert.labels_or_names(train_labels, "train_labels"),
            "test": _convert.labels_or_names(test_labels, "test_labels"),
        }
        for which in ("train", "test"):
            if len(images[which]) != len(labels[which]):
                raise DataError(
                    f"{which}_images has {len(images[which]):,} images but {which}_labels has "
                    f"{len(labels[which]):,} labels; there must be one label for each image"
                )
        shapes = [images[which].shape[1:] for which in ("train", "test")]
        if shapes[0] != shapes[1]:
            raise ShapeError(
                f"training images are {_size(shapes[0])} but test images are {_size(shapes[1])}; "
                "bring both to one size and number of channels"
            )
        kinds = ["names" if part.dtype == object else "numbers" for part in labels.values()]
        if kinds[0] != kinds[1]:
            raise DataError(f"train_labels are {kinds[0]} but test_labels are {kinds[1]}; give both the same way")
        names = _name_classes(classes, labels)
        if classes is None and kinds[0] == "numbers":
            check_unnamed(labels.values(), len(names))
        for which in ("train", "test"):
            if kinds[0] == "names":
                labels[which] = number(labels[which], names, f"{which}_labels")
            _check_range(labels[which], len(names), f"{which}_labels", named=classes is not None)

        for which, word, given in (("train", "training", train_images), ("test", "test", test_images)):
            _convert.check_not_black(images[which], scale, word, functools.partial(_convert.brightest_float, given))
        _check_not_black_alone(images["train"], images["test"])

        # By way of __dict__: assignment is refused, because a run must be able to rely on its data.
        self.__dict__.update(
            train_images=_read_only(images["train"]),
            train_labels=_read_only(labels["train"]),
            test_images=_read_only(images["test"]),
            test_labels=_read_only(labels["test"]),
            classes=names,
            name=plain_text(str(name)),
            source=plain_text(str(source)),
        )
        channels = self.image_shape[0]
        computed = _moments(self.train_images) if mean is None or std is None else ((), ())
        self.__dict__["mean"] = computed[0] if mean is None else _per_channel(mean, channels, "mean")
        self.__dict__["std"] = computed[1] if std is None else _per_channel(std, channels, "std")

    @classmethod
    def from_torch(
        cls,
        train: TorchDataset[Any],
        test: TorchDataset[Any],
        *,
        classes: Iterable[object] | None = None,
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
        scale: float | None = None,
        name: str = "custom",
        source: str | None = None,
    ) -> Dataset:
        """Take two map-style data sets of PyTorch, which give pairs (image, label) when they are indexed.

        Those of torchvision that hold all pixels in memory (MNIST and its kin, CIFAR, SVHN) are taken as they are if
        they have no transform, or only one to tensors; and so are ``TensorDataset`` and the subsets of all these
        (``Subset``, ``random_split``). All others, such as ``ImageFolder``, are read one by one: the pixels are those
        that indexing gives, after the transforms, which must neither be random nor normalise.

        Parameters
        ----------
        train, test
            The data sets. An image is a Pillow picture (grey, RGB or RGBA), a tensor ``(C, H, W)`` or ``(H, W)``, or
            an array ``(H, W)`` or ``(H, W, C)``; a label a whole number or text.
        classes
            Names of the classes; the data sets' own ``classes`` unless given. Where those of training and test
            differ (as of two ``ImageFolder``), labels are matched by name.
        mean, std, scale, name
            As for `Dataset`.
        source
            As for `Dataset`; the types of the data sets unless given.

        Raises
        ------
        TypeError
            If one is no map-style data set (a ``DataLoader``, an ``IterableDataset``), or gives no such pairs.
        ShapeError
            If images differ in shape; the message names two.
        DataError
            If images change from one reading to the next, are normalised, or out of range; if test images are of a
            class that training has not; and as for `Dataset`.

        Examples
        --------
        >>> import torch
        >>> from torch.utils.data import TensorDataset, random_split
        >>> pixels = torch.randint(0, 256, (100, 1, 28, 28), dtype=torch.uint8)
        >>> train, test = random_split(TensorDataset(pixels, torch.arange(100) % 10), [80, 20])
        >>> Dataset.from_torch(train, test)
        Dataset('custom': 80 training and 20 test images of 1x28x28, 10 classes)
        """
        scale = _check_scale(scale)
        parts = [_torch_sets.read(part, what, scale) for part, what in ((train, "train"), (test, "test"))]
        arrays, names = _torch_sets.joined(*parts)
        if source is None:
            source = " and ".join(f"{type(part).__module__}.{type(part).__name__}" for part in (train, test))
        return cls(
            *arrays,
            classes=names if classes is None else classes,
            mean=mean,
            std=std,
            name=name,
            source=source,
        )

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"cannot set {name!r}: a Dataset does not change; build a new one")

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Pickling forgets that arrays are read-only.
        self.__dict__.update({k: _read_only(v) if isinstance(v, np.ndarray) else v for k, v in state.items()})

    @property
    def num_classes(self) -> int:
        """Number of classes, 2 to 10,000."""
        return len(self.classes)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one image: what a network's input shape must be."""
        height, width, *channels = self.train_images.shape[1:]
        return (channels[0] if channels else 1, height, width)

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over shapes, images and labels of both sets: equal for equal data."""
        digest = hashlib.sha256()
        for array in (self.train_images, self.train_labels, self.test_images, self.test_labels):
            digest.update(repr(array.shape).encode())
            little_endian = array if array.dtype == np.uint8 else array.astype("<i8", copy=False)
            digest.update(little_endian.data)
        return digest.hexdigest()

    def subset(self, train: int | None = None, test: int | None = None, seed: int = 0) -> Dataset:
        """Return a smaller data set, drawn without replacement, each class in proportion.

        The same numbers and seed always draw the same images. They keep their order, and the subset keeps
        `classes`, `mean` and `std`, so that a model of one fits the other.

        Parameters
        ----------
        train, test
            How many training and test images to draw; None keeps them all.
        seed
            Any integer from 0.

        Raises
        ------
        ArgumentError
            If a number is below 1 or above the number of images, or `seed` is negative.
        """
        seed = whole(seed, "seed", least=0)
        keep_train = draw(self.train_labels, train, (seed, 0), "train")
        keep_test = draw(self.test_labels, test, (seed, 1), "test")
        part = object.__new__(Dataset)  # of checked data: what is drawn may all be black
        part.__dict__.update(self.__dict__)
        part.__dict__.pop("fingerprint", None)
        part.__dict__.update(
            train_images=_read_only(self.train_images[keep_train]),
            train_labels=_read_only(self.train_labels[keep_train]),
            test_images=_read_only(self.test_images[keep_test]),
            test_labels=_read_only(self.test_labels[keep_test]),
            source=f"{self.source}; subset(train={train}, test={test}, seed={seed})",
        )
        return part

    def __repr__(self) -> str:
        shape = "x".join(str(n) for n in self.image_shape)
        return (
            f"Dataset({self.name!r}: {len(self.train_labels):,} training and {len(self.test_labels):,} "
            f"test images of {shape}, {self.num_classes} classes)"
        )

    def _repr_html_(self) -> str:
        names = ", ".join(self.classes[:12]) + (", ..." if self.num_classes > 12 else "")
        rows = {
            "images": f"{len(self.train_labels):,} training, {len(self.test_labels):,} test",
            "shape": "channels {}, height {}, width {}".format(*self.image_shape),
            f"{self.num_classes} classes": names,
            "mean, std": "; ".join(f"{m:.4f}, {s:.4f}" for m, s in zip(self.mean, self.std, strict=True)),
            "source": self.source,
        }
        cells = "".join(f"<tr><th>{html.escape(k)}</th><td>{html.escape(v)}</td></tr>" for k, v in rows.items())
        return f"<table><caption>Dataset <b>{html.escape(self.name)}</b></caption>{cells}</table>"


def _check_range(labels: npt.NDArray[Any], count: int, what: str, *, named: bool) -> None:
    wrong = labels >= count
    if wrong.any():
        at = int(np.argmax(wrong))
        why = f"there are {count} names in classes" if named else f"there can be at most {count} classes"
        raise DataError(f"{what}[{at}] is {labels[at]}, but {why}, so labels go from 0 to {count - 1}")


def _name_classes(given: Iterable[object] | None, labels: dict[str, npt.NDArray[Any]]) -> tuple[str, ...]:
    """The classes' names: those given, or the labels themselves if they are text, or numbers."""
    if given is not None:
        names = tuple(map(as_utf8, class_names(given)))
    elif labels["train"].dtype == object:
        names = names_among(*labels.values())
    else:
        return tuple(str(i) for i in range(max(2, *(int(part.max()) + 1 for part in labels.values()))))
    if len(names) > MOST_CLASSES:
        where = "the labels have" if given is None else "classes has"
        raise DataError(f"{where} {len(names):,} names; there can be at most {MOST_CLASSES:,} classes")
    check_names(names)
    return names


def _check_scale(given: float | None) -> float | None:
    if given is None:
        return None
    scale = real(given, "scale")
    if not (math.isfinite(scale) and scale > 0):
        raise ArgumentError(f"scale is the value of full white, above 0 and finite, not {scale:g}")
    return scale


def _check_not_black_alone(train: npt.NDArray[np.uint8], test: npt.NDArray[np.uint8]) -> None:
    """Notice images in [0, 1] of one set that were cast to bytes; both may be masks of 0 and 1, and one image blank."""
    high = {"training": int(np.max(train)), "test": int(np.max(test))}
    dark, bright = sorted(high, key=lambda word: high[word])
    alone = len(train if dark == "training" else test) == 1
    if high[dark] > 1 or high[bright] <= 1 or (high[dark] == 0 and alone):
        return
    hint = "" if dark == "training" else ". To measure a model on black images, pass these to model.evaluate"
    raise DataError(
        f"the {dark} images have no pixel above {high[dark]} of 255, which is black, and the {bright} images go up to "
        f"{high[bright]}: prepare both in one way; if floats in [0, 1] were cast to integers, pass the floats{hint}"
    )


def _moments(images: npt.NDArray[np.uint8]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and population standard deviation of each channel, of pixels in [0, 1].

    From the counts of the 256 pixel values, in whole numbers, so that no rounding depends on size or order.
    """
    channels = images.shape[3] if images.ndim == 4 else 1
    means, deviations = [], []
    for channel in range(channels):
        plane = images[..., channel] if images.ndim == 4 else images
        counts = np.zeros(256, np.int64)
        for start in range(0, len(plane), BLOCK):
            counts += np.bincount(plane[start : start + BLOCK].reshape(-1), minlength=256)
        pairs = list(enumerate(counts.tolist()))
        number = sum(count for _, count in pairs)
        total = sum(value * count for value, count in pairs)
        squares = sum(value * value * count for value, count in pairs)
        spread = math.sqrt(number * squares - total * total)
        means.append(total / (number * 255))
        deviations.append(spread / (number * 255) if spread else 1.0)
    return tuple(means), tuple(deviations)


def _per_channel(given: float | Sequence[float], channels: int, what: str) -> tuple[float, ...]:
    if np.ma.is_masked(given):
        raise TypeError(f"{what} has masked entries, which have no value: {given!r}")
    try:
        values = tuple(float(v) for v in np.asarray(given, np.float64).reshape(-1))
    except (TypeError, ValueError) as error:
        raise TypeError(f"{what} must be a number or one number for each channel, not {given!r}") from error
    if len(values) == 1:
        values *= channels
    if len(values) != channels:
        raise ArgumentError(f"{what} has {len(values)} values, but the images have {channels} channels")
    for value in values:
        if what == "std" and not (math.isfinite(value) and value > 0):
            raise ArgumentError(f"std must be finite and above 0, not {value:g}; pixels are divided by it")
        if what == "std" and not LEAST_STD <= value <= 255:
            raise ArgumentError(f"std is of pixels in [0, 1] and must lie from {LEAST_STD:g} to 255, not {value:g}")
        if what == "mean" and not 0 <= value <= 1:
            raise ArgumentError(f"mean is of pixels in [0, 1] and cannot be {value:g}; divide it by 255 if need be")
    return values


def _read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return an array of which nobody else has a view that can be written to, as one that cannot be either."""
    array.flags.writeable = False  # of itself, not of a view: what cannot change is known to be so in another data set
    return array.view()


def _size(shape: tuple[int, ...]) -> str:
    channels = f" with {shape[2]} channels" if len(shape) == 3 else " grey"
    return f"{shape[0]}x{shape[1]}{channels}"


def check_dataset(given: object) -> Dataset:
    """Return what was given, if it is a data set.

    Raises
    ------
    TypeError
        It is none.
    """
    if not isinstance(given, Dataset):
        raise TypeError(f"dataset must be an everybatch Dataset, not {type(given).__name__}: see eb.Dataset")
    return given
