"""Names of the columns of classes: each is there once, and none hides another. Expected names follow from the rule."""

from __future__ import annotations

import itertools

import pytest

from everybatch._measures import COLUMNS, MEASURES
from everybatch.runs._tables import class_columns

OWN = ("step", "epoch", "seconds")


@pytest.mark.parametrize(
    ("classes", "names"),
    [
        (("a", "b"), ["a", "b"]),
        (("seconds", "cat", "cat"), ["seconds (class 0)", "cat (class 1)", "cat (class 2)"]),
        # The number is added until there is no such name.
        (("step", "step (class 0)"), ["step (class 0) (class 0)", "step (class 0)"]),
        (("step (class 1)", "step"), ["step (class 1)", "step (class 1) (class 1)"]),
        (
            ("step", "step (class 0)", "step (class 0) (class 0)"),
            ["step (class 0) (class 0) (class 0)", "step (class 0)", "step (class 0) (class 0)"],
        ),
        (("cat", "cat", "cat (class 1)"), ["cat (class 0)", "cat (class 1) (class 1)", "cat (class 1)"]),
    ],
)
def test_names(classes: tuple[str, ...], names: list[str]) -> None:
    assert class_columns(classes) == names


def test_property_no_name_is_there_twice() -> None:
    parts = ("step", "a", "a_error", "lr")
    pool = [*parts, *(f"{part} (class {index})" for part in parts for index in (0, 1))]
    pool += ["a (class 0)_error", "a_error (class 0) (class 0)"]
    for classes in itertools.product(pool, repeat=3):
        names = class_columns(classes, beside=["low"])
        errors = class_columns(classes, MEASURES["class_accuracy_error"], beside=["low"])
        assert len({*names, *errors, *OWN, *COLUMNS, "low"}) == 6 + len({*OWN, *COLUMNS, "low"}), classes
