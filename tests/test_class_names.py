"""`classes`, and labels that are names instead of numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from everybatch import _convert
from everybatch.dataset import Dataset
from everybatch.errors import ArgumentError, DataError, ShapeError

RNG = np.random.default_rng(22)
GREY = RNG.integers(0, 256, (6, 3, 3), dtype=np.uint8)
NUMBERS = [0, 1, 2, 0, 1, 2]
TRAIN = ["dog", "cat", "dog", "eel", "cat", "dog"]
TEST = ["ant", "cat"]


def make(**options: Any) -> Dataset:
    return Dataset(GREY, NUMBERS, GREY[:2], NUMBERS[:2], **options)


def named(train: Any, test: Any, **options: Any) -> Dataset:
    return Dataset(GREY, train, GREY[:2], test, **options)


@pytest.mark.parametrize(
    "classes",
    [
        ["a", "b", "c"],
        ("a", "b", "c"),
        iter("abc"),
        np.array(["a", "b", "c"]),
        np.array([b"a", b"b", b"c"]),
        [b"a", "b", np.bytes_(b"c")],
        pd.Series(["a", "b", "c"]),
        pd.Series(["a", "b", "c"], index=[9, 4, 7]),
        pd.Categorical(["a", "b", "c"]),
        {"a": 1, "b": 2, "c": 0}.keys(),
        {0: "a", 1: "b", 2: "c"},
        {2: "c", np.int64(0): "a", 1: "b"},
    ],
)
def test_classes(classes: Any) -> None:
    assert make(classes=classes).classes == ("a", "b", "c")


def test_numbers_as_names() -> None:
    assert make(classes=torch.arange(3)).classes == make(classes=range(3)).classes == ("0", "1", "2")


def test_names_in_utf8() -> None:
    assert make(classes=["ä".encode(), "ö", "ü"]).classes == ("ä", "ö", "ü")


@pytest.mark.parametrize(
    ("classes", "error", "words"),
    [
        ({"a", "b", "c"}, TypeError, "no order"),
        (frozenset("abc"), TypeError, "no order"),
        ({"a": 0, "b": 1, "c": 2}, ArgumentError, r"sorted\(classes, key=classes.get\)"),
        ({1: "a", 2: "b", 3: "c"}, ArgumentError, "keys 1, 2, 3; it must map the numbers 0 to 2"),
        ({0: "a", "1": "b"}, ArgumentError, "must map the numbers 0 to 1"),
        ({"a": "x", "b": "y"}, ArgumentError, "must map"),
        ([b"\xff", b"a"], ArgumentError, r"classes\[0\].*not text in UTF-8"),
        (["a", None, "c"], TypeError, r"classes\[1\] is None"),
        (["a", float("nan"), "c"], TypeError, r"classes\[1\] is nan"),
        ([["a"], ["b"]], TypeError, r"classes\[0\]"),
        (np.eye(2), TypeError, "not a name"),
        (pd.Series(["a", "b", "c"], index=[2, 0, 1]), ArgumentError, r"classes\.sort_index\(\)"),
        (["a", b"a"], ArgumentError, "'a' more than once"),
    ],
)
def test_classes_that_are_refused(classes: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make(classes=classes)


def test_a_dict_of_numbers_by_name_works_as_the_hint_says() -> None:
    given = {"b": 1, "c": 2, "a": 0}
    assert make(classes=sorted(given, key=given.get)).classes == ("a", "b", "c")  # type: ignore[arg-type]


FORMS = {
    "list": list,
    "array": np.array,
    "objects": lambda names: np.array(names, object),
    "bytes": lambda names: np.array(names, "S"),
    "bytes objects": lambda names: [name.encode() for name in names],
    "column": lambda names: np.array(names)[:, None],
    "rows": lambda names: [[name] for name in names],
    "series": lambda names: pd.Series(names, index=range(7, 7 + len(names))),
    "categorical": pd.Categorical,
    "categorical series": lambda names: pd.Series(names, dtype="category"),
    "frame": lambda names: pd.DataFrame({"y": names}),
    "pandas strings": lambda names: pd.array(names, dtype="string"),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_text_labels(form: Any) -> None:
    # NumPy's own numbering of both sets together.
    names, right = np.unique(TRAIN + TEST, return_inverse=True)
    data = named(form(TRAIN), form(TEST))
    assert data.classes == tuple(names)
    assert data.train_labels.tolist() == right[:6].tolist()
    assert data.test_labels.tolist() == right[6:].tolist()


def test_text_labels_take_their_numbers_from_classes() -> None:
    data = named(TRAIN, TEST, classes=["eel", "dog", "cat", "ant", "bee"])
    assert data.train_labels.tolist() == [1, 2, 1, 0, 2, 1]
    assert data.test_labels.tolist() == [3, 2]
    with pytest.raises(DataError, match=r"test_labels\[0\] is 'ant', which is not in classes \(cat, dog, eel\)"):
        named(TRAIN, TEST, classes=["cat", "dog", "eel"])


def test_text_of_numbers_is_named_by_it() -> None:
    data = named(["10", "9", "10", "2", "9", "10"], ["2", "9"], classes=range(11))
    assert data.train_labels.tolist() == [10, 9, 10, 2, 9, 10]


def test_property_names_come_back() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        words = ["".join(rng.choice(list("abcäß ☃"), 3)) + str(i) for i in range(rng.integers(2, 30))]
        train, test = (rng.choice(words, count).tolist() for count in (6, 2))
        if len({*train, *test}) > 1:
            data = named(train, test)
            assert [data.classes[i] for i in data.train_labels] == train
            assert [data.classes[i] for i in data.test_labels] == test
            assert list(data.classes) == sorted({*train, *test})


@pytest.mark.parametrize(
    ("train", "test", "error", "words"),
    [
        (TRAIN, [0, 1], DataError, "train_labels are names but test_labels are numbers"),
        (NUMBERS, TEST, DataError, "train_labels are numbers but test_labels are names"),
        (["a", None, "b", None, "a", "a"], ["a", "b"], DataError, "2 missing labels, the first None at index 1"),
        (pd.Series(["a", "b", None, "b", "a", "a"], dtype="string"), ["a", "b"], DataError, "1 missing labels"),
        (["a", "", "b", "b", "a", "a"], ["a", "b"], DataError, "1 missing labels, the first '' at index 1"),
        (["a", 1, "b", "b", "a", "a"], ["a", "b"], DataError, r"mixes text.*train_labels\[1\] is 1"),
        ([b"a", b"\xff", b"b", b"b", b"a", b"a"], ["a", "b"], DataError, r"\[1\] is .*not text in UTF-8"),
        (["a"] * 6, ["a", "a"], DataError, "all labels are 'a'"),
        (["a", "b"] * 3, ["a ", "b"], DataError, "labels 'a' and 'a ' look alike"),
        (["\u00e9", "b"] * 3, ["e\u0301", "b"], DataError, r"look alike"),
        (["a"] * 5, ["a", "b"], DataError, "6 images but train_labels has 5 labels"),
        (np.array([["a", "b"]] * 6), ["a", "b"], TypeError, "does not hold plain numbers"),
    ],
)
def test_text_labels_that_are_refused(train: Any, test: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        named(train, test)


def test_many_names_are_counted() -> None:
    images = np.zeros((10_001, 2, 2), np.uint8)
    with pytest.raises(DataError, match="the labels have 10,001 names; there can be at most 10,000"):
        Dataset(images, [f"n{i}" for i in range(10_001)], images[:1], ["n0"])


def test_whole_numbers_in_an_array_of_objects() -> None:
    for labels in (np.array(NUMBERS, object), pd.array(NUMBERS, dtype="Int64"), pd.Series(NUMBERS, dtype="Int64")):
        assert named(labels, [0, 1]).train_labels.tolist() == NUMBERS
    with pytest.raises((TypeError, DataError), match=r"dtype object|train_labels\[2\] is nan"):  # by pandas' version
        named(pd.array([0, 1, None, 2, 1, 0], dtype="Int64"), [0, 1])


def test_where_numbers_are_needed_the_hint_works() -> None:
    classes = ["cat", "dog", "eel"]
    with pytest.raises(TypeError, match=r"classes\.index") as refused:
        _convert.labels(TRAIN, "labels")
    code = str(refused.value).rpartition("trained on, ")[2]
    right = [1, 0, 1, 2, 0, 1]
    assert eval(code, {"classes": classes, "labels": TRAIN, "np": np}) == right


def test_a_table_of_labels_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"pass it alone, such as np.asarray\(train_labels\)\[:, 0\]"):
        named(pd.DataFrame({"a": NUMBERS, "b": NUMBERS}), [0, 1])
