"""`--schedule` and the like: NAME or NAME,KEY=VALUE,... into a schedule."""

from __future__ import annotations

import argparse
from typing import Any

from everybatch.cli.sweep._values import schedule_of
from everybatch.errors import EverybatchError
from everybatch.schedules import Schedule

__all__ = ["parse_schedule"]


def parse_schedule(text: str) -> Schedule | str:
    """Parse ``cosine`` or ``linear,begin=0.7``; several numbers of one key have colons between them."""
    name, *parts = (word.strip() for word in text.split(","))
    if not parts:
        return name  # `train` knows which do without numbers
    given: dict[str, Any] = {}
    for part in parts:
        key, equals, value = (word.strip() for word in part.partition("="))
        key = key.replace("-", "_")
        if not equals or key in given or key == "name":
            raise argparse.ArgumentTypeError(f"{part!r}: write each number of a schedule once, as KEY=NUMBER")
        values = [_value(one) for one in value.split(":")]
        given[key] = values if len(values) > 1 or key == "milestones" else values[0]
    try:
        return schedule_of({"name": name, **given})
    except (EverybatchError, TypeError) as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from error


def _value(text: str) -> Any:
    """Return a number, a truth value, or a word such as epoch."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
