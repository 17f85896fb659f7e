"""The data set that a run was trained on: given, or found again by what the config of the run keeps of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from everybatch import datasets
from everybatch.dataset import Dataset, check_dataset
from everybatch.errors import ArgumentError

__all__ = ["found_again", "trained_on"]

_CUT = re.compile(r"; subset\(train=(\d+|None), test=(\d+|None), seed=(\d+)\)")
_SEED = re.compile(r"drawn with seed (\d+)")
_GLYPHS = 60_000, 10_000
"""How many are drawn unless one is asked for others."""


def trained_on(given: Dataset | None, described: Mapping[str, Any]) -> Dataset:
    """Return the data set that a run was trained on; `described` is the section ``dataset`` of its config.

    Raises
    ------
    ArgumentError, TypeError
        It is another one, or none, or cannot be found again.
    """
    if given is not None:
        check_dataset(given)
    name = described.get("name")
    found = found_again(described) if given is None else given
    if found is None:
        raise ArgumentError(f"the run was trained on {name!r}, which cannot be found by its name: give dataset=...")
    if found.fingerprint != described.get("fingerprint"):
        of = f"those of {found.name!r} here" if given is not None else f"what is found as {name!r}: give dataset=..."
        raise ArgumentError(f"the run was trained on other images than {of} (their fingerprints differ)")
    for scale in ("mean", "std"):  # the images are the same before they are normalised
        here = list(getattr(found, scale))
        if here != described[scale]:
            raise ArgumentError(f"the run was trained on images with a {scale} of {described[scale]}, and it is {here}")
    return found


def found_again(described: Mapping[str, Any], **options: Any) -> Dataset | None:
    """Return the built-in data set of that name, drawn and cut down as its source says; None if there is none.

    A name proves nothing: one's own pictures may be called "mnist" too. `options` go to the function of
    `everybatch.datasets`, of data that are not drawn.
    """
    name, source = str(described.get("name")), str(described.get("source", ""))
    if name not in datasets.__all__:
        return None
    cuts = _CUT.findall(source)
    if name == "glyphs":
        seed = _SEED.search(source)
        train, test = _GLYPHS if cuts else (described["train"], described["test"])
        data = datasets.glyphs(train, test, seed=int(seed[1]) if seed else 0)
    else:
        try:
            data = getattr(datasets, name)(**options)
        except TypeError:  # it takes more than a name
            return None
    try:
        for train, test, seed in cuts:
            data = data.subset(train=_number(train), test=_number(test), seed=int(seed))
    except ArgumentError:  # not as many images: it is another data set, as its fingerprint tells
        pass
    return data if isinstance(data, Dataset) else None


def _number(text: str) -> int | None:
    return None if text == "None" else int(text)
