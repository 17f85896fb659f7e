"""`--augment`: KEY=VALUE,... into an `Augment`."""

from __future__ import annotations

import argparse
import dataclasses

from everybatch.augment import Augment
from everybatch.errors import ArgumentError, suggest

__all__ = ["BOUNDS", "parse_augment"]

BOUNDS = tuple(field.name for field in dataclasses.fields(Augment))


def parse_augment(text: str) -> Augment:
    """Parse ``shift=2,rotate=10``; two numbers of one key have a colon between them."""
    bounds: dict[str, object] = {}
    for part in text.split(","):
        key, equals, value = (word.strip() for word in part.partition("="))
        key = key.replace("-", "_")
        if key not in BOUNDS:
            known = ", ".join(BOUNDS)
            raise argparse.ArgumentTypeError(f"{key!r} is unknown: the keys are {known}.{suggest(key, BOUNDS)}")
        if not equals or key in bounds:
            raise argparse.ArgumentTypeError(f"{part!r}: write each key once, as {key}=NUMBER")
        try:
            numbers = tuple(float(number) for number in value.split(":"))
        except ValueError:
            raise argparse.ArgumentTypeError(f"{part!r}: {value!r} is not a number") from None
        bounds[key] = numbers if len(numbers) > 1 or key == "erase_area" else numbers[0]
    try:
        return Augment(**bounds)  # type: ignore[arg-type]
    except (ArgumentError, TypeError) as error:
        raise argparse.ArgumentTypeError(str(error)) from error
