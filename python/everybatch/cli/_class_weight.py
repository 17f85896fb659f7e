"""`--class-weight`: a word, numbers, or CLASS=NUMBER,... into what `train` takes."""

from __future__ import annotations

import argparse
import json
from typing import Any

__all__ = ["parse_class_weight"]


def parse_class_weight(text: str) -> Any:
    """Parse ``balanced``, ``1,2,0.5``, ``cat=2,dog=0.5`` or JSON, for names with commas. `train` checks the values."""
    if text.lstrip().startswith(("{", "[")):
        try:
            return json.loads(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r} is not JSON: {error}") from None
    if "=" not in text:
        try:
            return [float(number) for number in text.split(",")]
        except ValueError:
            return text
    weights: dict[str, float] = {}
    for part in text.split(","):
        name, equals, value = part.rpartition("=")
        if not equals or name in weights:
            raise argparse.ArgumentTypeError(f"{part!r}: write each class once, as CLASS=NUMBER")
        try:
            weights[name] = float(value)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{part!r}: {value!r} is not a number") from None
    return weights
