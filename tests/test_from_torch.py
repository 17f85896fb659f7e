"""`Dataset.from_torch` and `from_huggingface`: the pixels are those that indexing gives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import ConcatDataset, DataLoader, IterableDataset, Subset, TensorDataset, random_split

from everybatch import datasets
from everybatch.dataset import Dataset
from everybatch.errors import ArgumentError, DataError, ShapeError

RNG = np.random.default_rng(25)
GREY = RNG.integers(0, 256, (40, 6, 5), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (40, 6, 5, 3), dtype=np.uint8)
LABELS = np.arange(40) % 4
TENSORS = TensorDataset(torch.from_numpy(GREY), torch.from_numpy(LABELS))


class Pairs(torch.utils.data.Dataset[Any]):
    """Any map-style data set."""

    def __init__(self, images: Any, labels: Any = LABELS, change: Any = None, **attributes: Any) -> None:
        self.images, self.labels, self.change, self.read = images, labels, change, 0
        vars(self).update(attributes)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(index)
        self.read += 1
        image = self.images[index]
        return (image if self.change is None else self.change(image)), self.labels[index]


def picture(array: np.ndarray) -> Image.Image:
    return Image.fromarray(array)


def to_tensor(array: np.ndarray) -> torch.Tensor:
    """As torchvision's ToTensor: float32 in [0, 1], channels first."""
    return torch.from_numpy(array).reshape(*array.shape[:2], -1).permute(2, 0, 1).float() / 255


def same(data: Dataset, images: np.ndarray, labels: Any = LABELS) -> None:
    for part, numbers in ((data.train_images, data.train_labels), (data.test_images, data.test_labels)):
        assert np.array_equal(part, images)
        assert np.array_equal(numbers, labels)


FORMS = {
    "picture": picture,
    "floats": to_tensor,
    "bytes, channels first": lambda a: (to_tensor(a) * 255).round().to(torch.uint8),
    "array": lambda a: a,
    "float array": lambda a: a / 255,
    "list": lambda a: torch.from_numpy(a.astype(np.int64)),
}


@pytest.mark.parametrize("images", [GREY, COLOUR], ids=["grey", "colour"])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_one_by_one(images: np.ndarray, form: Any) -> None:
    given = Pairs(images, change=form)
    same(Dataset.from_torch(given, given), images)


@pytest.mark.parametrize(
    "label",
    [int, np.int64, torch.tensor, lambda i: torch.tensor([i]), float, lambda i: f"name {i}", lambda i: np.array(i)],
)
def test_labels(label: Any) -> None:
    given = Pairs(GREY, [label(int(i)) for i in LABELS], picture)
    same(Dataset.from_torch(given, given), GREY)


def test_lists_of_pairs() -> None:
    given = [(image, int(label)) for image, label in zip(GREY, LABELS, strict=True)]
    same(Dataset.from_torch(given, given), GREY)  # type: ignore[arg-type]


@pytest.mark.parametrize("images", [GREY, COLOUR], ids=["grey", "colour"])
def test_tensor_data_sets(images: np.ndarray) -> None:
    planes = torch.stack([to_tensor(image) for image in images])
    given = TensorDataset(planes, torch.from_numpy(LABELS))
    same(Dataset.from_torch(given, given), images)
    if images.ndim == 3:
        given = TensorDataset(torch.from_numpy(images), torch.from_numpy(LABELS))
        same(Dataset.from_torch(given, given), images)


def test_channels_come_first_in_tensors_even_where_the_width_is_three() -> None:
    images = RNG.integers(0, 256, (4, 5, 3, 3), dtype=np.uint8)  # 5x3 in RGB
    planes = torch.from_numpy(images).permute(0, 3, 1, 2)
    for given in (TensorDataset(planes, torch.arange(4)), Pairs(planes, range(4))):
        same(Dataset.from_torch(given, given), images, range(4))


@pytest.mark.parametrize("whole", [TensorDataset(torch.from_numpy(GREY), torch.from_numpy(LABELS)), Pairs(GREY)])
def test_subsets(whole: Any) -> None:
    first, second = random_split(whole, [30, 10], torch.Generator().manual_seed(0))
    nested = Subset(Subset(first, [5, 3, 7, 11]), torch.tensor([2, 0, 1]))
    data = Dataset.from_torch(nested, second)
    right = np.array(first.indices)[[5, 3, 7, 11]][[2, 0, 1]]
    assert np.array_equal(data.train_images, GREY[right])
    assert np.array_equal(data.train_labels, LABELS[right])
    assert np.array_equal(data.test_images, GREY[second.indices])


def test_property_nested_subsets_are_what_indexing_gives() -> None:
    whole = TensorDataset(torch.from_numpy(GREY), torch.from_numpy(LABELS))
    for seed in range(20):
        rng, given = np.random.default_rng(seed), whole
        for _ in range(rng.integers(1, 4)):
            given = Subset(given, rng.integers(0, len(given), rng.integers(2, 30)).tolist())  # type: ignore[assignment]
        data = Dataset.from_torch(given, whole)
        assert np.array_equal(data.train_images, np.stack([given[i][0] for i in range(len(given))]))
        assert data.train_labels.tolist() == [int(given[i][1]) for i in range(len(given))]


def test_joined_data_sets() -> None:
    given = ConcatDataset([Pairs(GREY[:10], LABELS[:10]), Pairs(GREY[10:], LABELS[10:])])
    same(Dataset.from_torch(given, given), GREY)


# ---- torchvision's, by their names alone: it need not be installed ---------------------------------------------------


class ToTensor:
    """Stands for torchvision's."""

    def __call__(self, image: Image.Image) -> torch.Tensor:
        return to_tensor(np.array(image))


class Compose:
    """Stands for torchvision's."""

    def __init__(self, *transforms: Any) -> None:
        self.transforms = transforms

    def __call__(self, image: Any) -> Any:
        for transform in self.transforms:
            image = transform(image)
        return image


class RandomErasing(torch.nn.Module):
    """Stands for torchvision's."""

    def forward(self, image: Any) -> Any:
        return image


class Normalize(RandomErasing):
    """Stands for torchvision's."""


class Invert:
    """A transform of one's own."""

    def __call__(self, image: Any) -> Any:
        return Image.fromarray(255 - np.asarray(image))


class FakeMnist(Pairs):
    """Holds pixels as torchvision's MNIST does."""

    def __init__(self, data: Any, targets: Any = LABELS, transform: Any = None, **attributes: Any) -> None:
        super().__init__(data, targets, data=data, targets=targets, transform=transform, **attributes)

    def __getitem__(self, index: int) -> Any:
        self.read += 1
        image = picture(np.asarray(self.data[index]))
        label = self.targets[index]
        label = int(label if np.ndim(label) == 0 else label[0])
        return (image if self.transform is None else self.transform(image)), label


FakeMnist.__module__ = "torchvision.datasets.mnist"


@pytest.mark.parametrize("transform", [None, ToTensor(), Compose(ToTensor())])
@pytest.mark.parametrize("images", [torch.from_numpy(GREY), COLOUR], ids=["MNIST", "CIFAR"])
def test_pixels_in_memory_are_taken_whole(images: Any, transform: Any) -> None:
    given = FakeMnist(images, LABELS.tolist(), transform)
    same(Dataset.from_torch(given, Subset(given, range(40))), np.asarray(images))
    assert given.read == 32  # a few to compare, twice


def test_other_transforms_are_obeyed() -> None:
    given = FakeMnist(torch.from_numpy(GREY), LABELS, Compose(Invert(), ToTensor()))
    same(Dataset.from_torch(given, given), 255 - GREY)


def test_what_indexing_gives_goes_before_what_is_in_memory() -> None:
    class Other(FakeMnist):
        def __getitem__(self, index: int) -> Any:
            image, label = super().__getitem__(index)
            return Invert()(image), (label + 1) % 4

    Other.__module__ = FakeMnist.__module__
    given = Other(torch.from_numpy(GREY))
    same(Dataset.from_torch(given, given), 255 - GREY, (LABELS + 1) % 4)
    # QMNIST's targets have eight columns, of which indexing gives the first.
    table = torch.from_numpy(np.column_stack([LABELS, RNG.integers(0, 99, (40, 7))]))
    given = FakeMnist(torch.from_numpy(GREY), table)  # type: ignore[assignment]
    same(Dataset.from_torch(given, given), GREY)


@pytest.mark.parametrize(
    ("transform", "words"),
    [
        (RandomErasing(), "transform RandomErasing, which changes images at random.*augment="),
        (Compose(ToTensor(), Compose(RandomErasing())), "RandomErasing"),
        (torch.nn.Sequential(torch.nn.Identity(), RandomErasing()), "RandomErasing"),
        (Compose(ToTensor(), Normalize()), "transform Normalize: leave it away"),
        (lambda image: image.rotate(float(RNG.uniform(10, 80))), "not the same when it is read again"),
        (lambda image: (to_tensor(np.array(image)) - 0.13) / 0.3, "already normalised|outside"),
    ],
)
def test_transforms_that_are_refused(transform: Any, words: str) -> None:
    given = FakeMnist(torch.from_numpy(GREY), LABELS, transform)
    for wrapped in (given, Subset(given, range(20)), ConcatDataset([given])):
        with pytest.raises(DataError, match=words):
            Dataset.from_torch(wrapped, given)


# ---- names of classes ------------------------------------------------------------------------------------------------


def test_names() -> None:
    train, test = Pairs(GREY, classes=["ant", "bee", "cat", "dog"]), Pairs(GREY[:8], LABELS[:8])
    assert Dataset.from_torch(train, test).classes == ("ant", "bee", "cat", "dog")
    assert Dataset.from_torch(Subset(train, range(9)), Subset(test, [0])).classes == ("ant", "bee", "cat", "dog")
    assert Dataset.from_torch(train, test, classes=["w", "x", "y", "z"]).classes == tuple("wxyz")
    assert Dataset.from_torch(train, test, name="n", source="s", mean=0.5).source == "s"


class Pets(Pairs):
    """Stands for torchvision's OxfordIIITPet: its `classes` are the breeds, whatever the labels are."""

    def __init__(self, labels: Any, *kinds: str) -> None:
        super().__init__(GREY, labels, _target_types=list(kinds))
        self.bin_classes, self.classes = ["Cat", "Dog"], ["Abyssinian", "Beagle", "Boxer", "Sphynx"]


Pets.__module__ = "torchvision.datasets.oxford_iiit_pet"


def test_cats_and_dogs_are_not_called_by_breeds() -> None:
    # torchvision/datasets/oxford_iiit_pet.py: "binary-category" gives 0 for a cat and 1 for a dog.
    animals, breeds = Pets(LABELS % 2, "binary-category"), Pets(LABELS, "category")
    assert Dataset.from_torch(animals, animals).classes == ("Cat", "Dog")
    assert Dataset.from_torch(Subset(animals, range(9)), animals).classes == ("Cat", "Dog")
    assert Dataset.from_torch(breeds, breeds).classes == ("Abyssinian", "Beagle", "Boxer", "Sphynx")
    del animals.bin_classes  # as torchvision's of earlier versions: numbers rather than wrong names
    assert Dataset.from_torch(animals, animals).classes == ("0", "1")


def test_labels_are_matched_by_name() -> None:
    # As two folders of pictures of which the second lacks some classes: their numbers mean other names.
    train = Pairs(GREY, classes=["ant", "bee", "cat", "dog"])
    test = Pairs(GREY[:6], [0, 1, 1, 0, 1, 0], classes=["bee", "dog"])
    assert Dataset.from_torch(train, test).test_labels.tolist() == [1, 3, 3, 1, 3, 1]
    with pytest.raises(DataError, match="test has images of the classes eel, which train does not have"):
        Dataset.from_torch(train, Pairs(GREY[:6], [0, 1, 1, 0, 1, 0], classes=["bee", "eel"]))
    with pytest.raises(DataError, match="parts of train have different classes"):
        Dataset.from_torch(ConcatDataset([train, test]), test)


# ---- what is refused -------------------------------------------------------------------------------------------------


class Endless(IterableDataset[Any]):
    """A data set without a length."""

    def __iter__(self) -> Iterator[Any]:
        return iter([(GREY[0], 0)])


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        (DataLoader(Pairs(GREY)), TypeError, r"is a DataLoader; pass the data set in it: train\.dataset"),
        (Endless(), TypeError, "must be a data set with a length"),
        (GREY, TypeError, "is an array; pass images and labels to everybatch.Dataset"),
        (Pairs(GREY[:0]), DataError, "train is empty"),
        ([GREY[0]], TypeError, r"train\[0\] must be a pair \(image, label\), not ndarray"),
        ([(GREY[0], 0, 0)], TypeError, "not tuple of 3"),
        ([{"image": GREY[0], "label": 0}], TypeError, "keys image, label.*from_huggingface"),
        ([("cat.png", 0)], TypeError, "not str"),
        (TensorDataset(torch.zeros(3, 4, 4)), TypeError, "has 1 tensors"),
        (Subset(Pairs(GREY), LABELS > 1), TypeError, r"no whole numbers, but of type bool: .*np\.flatnonzero\(mask\)"),
        (Subset(Subset(Pairs(GREY), [True, False]), [0]), TypeError, "of type bool"),
        (ConcatDataset([Subset(TENSORS, torch.from_numpy(LABELS > 1))]), TypeError, "of type bool"),
        (Subset(TENSORS, [1.0, 2.0]), TypeError, "of type float64: pass the numbers of its images"),
        (Pairs([GREY[0], GREY[1][:3]]), ShapeError, r"train\[1\] has an image of shape \(3, 5\) and train\[0\]"),
        (Pairs([GREY[0], COLOUR[0]]), ShapeError, r"train\[1\] has an image of shape \(6, 5, 3\)"),
        (Pairs([torch.zeros(30)]), ShapeError, r"shape \(30,\)"),
        (Pairs([torch.zeros(2, 5, 5)]), ShapeError, r"shape \(2, 5, 5\)"),
        (Pairs([GREY[0], GREY[1] / 3.0]), DataError, r"train\[1\] has float pixels"),
        (Pairs([np.full((4, 4), np.nan)]), DataError, r"train\[0\] has 16 NaN"),
        (Pairs([np.ma.masked_equal(GREY[0], GREY[0, 0, 0])]), DataError, r"train\[0\] has . masked"),
        (Pairs(GREY, np.eye(4)[LABELS]), TypeError, r"label of shape \(4,\)"),
        (Pairs(GREY, LABELS - 1), DataError, r"labels\[0\] is -1"),
        (Pairs([picture(GREY[0]).convert("P")]), DataError, r"mode P; bring all to grey or RGB.*convert\('L'\)"),
        (Pairs([Image.fromarray(GREY[0].astype(np.int32))]), DataError, "mode I;"),
        (Pairs([picture(COLOUR[0]).convert("CMYK")]), DataError, "mode CMYK"),
    ],
)
def test_data_sets_that_are_refused(given: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        Dataset.from_torch(given, Pairs(GREY))


def test_scale() -> None:
    given = Pairs(GREY // 16, change=torch.from_numpy)
    data = Dataset.from_torch(given, given, scale=15)
    same(data, np.rint(GREY // 16 * 255.0 / 15))
    floats = Pairs(GREY, change=to_tensor)
    with pytest.raises(DataError, match="which is black: check it"):
        Dataset.from_torch(floats, floats, scale=255)
    with pytest.raises(DataError, match="which is black: check it"):
        Dataset(GREY / 255, LABELS, GREY / 255, LABELS, scale=255)


def test_pixels_that_were_divided_twice_are_noticed() -> None:
    """255 / 255 / 255 is the brightest that is left, and 255 times that is 1: black, whatever gives the pixels."""

    def again(array: np.ndarray) -> torch.Tensor:
        return to_tensor(array) / 255

    sound, tensors = (
        Pairs(GREY, change=to_tensor),
        TensorDataset(torch.from_numpy(GREY) / 255 / 255, torch.arange(40) % 4),
    )
    for given in (
        Pairs(GREY, change=again),
        list(Pairs(GREY, change=again)),
        Subset(Pairs(GREY, change=again), range(9)),
        ConcatDataset([Pairs(GREY, change=again)]),
        tensors,
        Subset(tensors, range(9)),
        FakeMnist(torch.from_numpy(GREY), LABELS, Compose(ToTensor(), lambda image: image / 255)),
    ):
        with pytest.raises(DataError, match=r"the training images have float pixels up to 0\.00\d+, .* 255 twice"):
            Dataset.from_torch(given, sound)
        with pytest.raises(DataError, match=r"the test images have float pixels up to 0\.00\d+, .* 255 twice"):
            Dataset.from_torch(sound, given)
    with pytest.raises(DataError, match="with scale=255 all test pixels become 0 or 1 of 255"):
        Dataset.from_torch(Pairs(GREY), Pairs(GREY, change=to_tensor), scale=255)
    with pytest.raises(DataError, match="the test images have no pixel above 1 of 255"):
        Dataset.from_torch(sound, Pairs(np.maximum(GREY, 255) // 255))


def test_masks_and_black_pictures_stay_what_they_are() -> None:
    masks = GREY // 200
    for given in (
        Pairs(masks),
        Pairs(masks, change=picture),
        list(Pairs(masks, change=picture)),
        FakeMnist(torch.from_numpy(masks), LABELS, ToTensor()),  # held as bytes, which nobody has divided
        TensorDataset(torch.from_numpy(masks), torch.from_numpy(LABELS)),
    ):
        same(Dataset.from_torch(given, given), masks)
    black = Pairs(GREY * 0, change=to_tensor)
    same(Dataset.from_torch(black, black), GREY * 0)


# ---- with the libraries themselves, where they are installed ---------------------------------------------------------


def test_torchvision(tmp_path: Path) -> None:
    pytest.importorskip("torchvision")
    from torchvision import datasets as vision
    from torchvision.transforms import v2

    for index, name in enumerate("abba"):
        (tmp_path / name).mkdir(exist_ok=True)
        Image.fromarray(COLOUR[index]).save(tmp_path / name / f"{index}.png")
    folder = vision.ImageFolder(str(tmp_path))
    data = Dataset.from_torch(folder, folder)
    same(data, COLOUR[[0, 3, 1, 2]], [0, 0, 1, 1])
    assert data.classes == ("a", "b")
    tensors = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
    for transform in (None, v2.PILToTensor(), tensors):
        fake = vision.FakeData(8, (3, 6, 5), 4, transform, random_offset=3)
        right = vision.FakeData(8, (3, 6, 5), 4, random_offset=3)
        data = Dataset.from_torch(fake, fake)
        same(data, np.stack([np.asarray(right[i][0]) for i in range(8)]), [int(right[i][1]) for i in range(8)])
    for transform in (v2.RandomCrop(4), v2.Compose([v2.RandomHorizontalFlip()]), v2.Normalize([0.5], [0.5])):
        with pytest.raises(DataError, match=r"has the transform (Random|Normalize)"):
            Dataset.from_torch(vision.ImageFolder(str(tmp_path), transform=transform), folder)


class Feature:
    """Stands for a feature of Hugging Face's library; only its type's name and `names` matter."""

    def __init__(self, names: list[str] | None = None) -> None:
        if names is not None:
            self.names = names


Picture = type("Image", (Feature,), {})
ClassLabel = type("ClassLabel", (Feature,), {})
Value = type("Value", (Feature,), {})


class Table:
    """Stands for a data set of Hugging Face."""

    def __init__(self, columns: dict[str, Any], **features: Feature) -> None:
        self.columns, self.features = columns, features

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {name: column[index] for name, column in self.columns.items()}


def table(names: list[str], labels: Any = LABELS, images: Any = GREY, label: str = "label") -> Table:
    columns = {"image": [picture(image) for image in images], label: [int(i) for i in labels], "id": [0] * len(images)}
    return Table(columns, image=Picture(), id=Value(), **{label: ClassLabel(names)})


def test_huggingface() -> None:
    train = table(["a", "b", "c", "d"])
    same(datasets.from_huggingface(train, train), GREY)
    data = datasets.from_huggingface({"train": train, "test": table(["d", "a"], [0, 1, 0], GREY[:3])})
    assert data.classes == ("a", "b", "c", "d")
    assert data.test_labels.tolist() == [3, 0, 3]
    text = Table({"img": list(GREY), "label": ["x", "y"] * 20}, img=Picture(), label=Value())
    assert datasets.from_huggingface(text, text).classes == ("x", "y")
    columns = {"img": list(GREY), "fine": LABELS, "coarse": LABELS // 2}
    two = Table(columns, img=Picture(), fine=ClassLabel(list("abcd")), coarse=ClassLabel(["e", "f"]))
    assert datasets.from_huggingface(two, two, image="img", label="fine").num_classes == 4


def test_huggingface_that_is_refused() -> None:
    good = table(["a", "b", "c", "d"])
    two = Table({}, image=Picture(), fine=ClassLabel(["a"]), coarse=ClassLabel(["a"]))
    no_label = table(["a", "b", "c", "d"], [-1] * 40)
    for given, error, words in (
        ((good,), ArgumentError, "pass the test images too"),
        (({"train": good, "validation": good},), ArgumentError, "no split test, only train, validation: pass two"),
        (({"train": good, "test": good}, good), ArgumentError, "leave test away"),
        ((Pairs(GREY), good), TypeError, "must be a data set of Hugging Face, not Pairs"),
        ((two, good), ArgumentError, "2 columns of kind ClassLabel among image, fine, coarse: name one with label="),
        ((good, no_label), DataError, "test has rows without a label"),
    ):
        with pytest.raises(error, match=words):
            datasets.from_huggingface(*given)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="no column 'pic'; it has image, id, label"):
        datasets.from_huggingface(good, good, image="pic")


def test_huggingface_itself() -> None:
    hf = pytest.importorskip("datasets")
    features = hf.Features({"image": hf.Image(), "label": hf.ClassLabel(names=["a", "b", "c", "d"])})
    rows = {"image": [picture(image) for image in COLOUR], "label": LABELS.tolist()}
    given = hf.Dataset.from_dict(rows, features=features)
    data = datasets.from_huggingface(hf.DatasetDict(train=given, test=given.with_format("torch")))
    same(data, COLOUR)
    assert data.classes == ("a", "b", "c", "d")
    with pytest.raises(TypeError, match="streamed"):
        datasets.from_huggingface(given.to_iterable_dataset(), given)
