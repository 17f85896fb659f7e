"""What the page asks for, trusting none of it."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from everybatch.watch._charts import AXES, CHARTS, View

__all__ = ["Asked"]

MOST_RUNS = 12
MOST_CLASSES = 12
MOST_COLUMNS = 4096


@dataclass(frozen=True)
class Asked:
    """Curves that the page wants."""

    runs: tuple[tuple[str, str | None], ...]
    """Names, and what the page has of each already."""
    axis: str
    views: tuple[View, ...]
    classes: tuple[int, ...]

    @property
    def what(self) -> tuple[Any, ...]:
        """What makes two answers for a run the same, if it did not change."""
        return self.axis, self.views, self.classes

    @classmethod
    def read(cls, data: bytes) -> Asked:
        """Return what these bytes ask for.

        Raises
        ------
        ValueError
            They are not what the page sends.
        """
        try:
            told = json.loads(data)
            runs = tuple(
                (_text(one["name"]), None if one.get("known") is None else _text(one["known"])) for one in told["runs"]
            )
            views = tuple(_view(one) for one in told["charts"])
            classes = tuple(_whole(one, 0, 1 << 31) for one in told["classes"])
            axis = told["x"]
        except (KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
            raise ValueError(f"no question of the page: {error}") from error
        if axis not in AXES or len(runs) > MOST_RUNS or len(views) > len(CHARTS) or len(classes) > MOST_CLASSES:
            raise ValueError("no question of the page: it asks for too much")
        return cls(runs, axis, views, classes)


def _view(told: Any) -> View:
    chart = told["chart"]
    if chart not in CHARTS:
        raise ValueError(f"no chart {chart!r}")
    first, last = told.get("from"), told.get("to")
    window = None if first is None or last is None else (_finite(first), _finite(last))
    return View(chart, _whole(told["columns"], 1, MOST_COLUMNS), window)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _whole(value: Any, least: int, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(f"{value!r} is no whole number from {least} to {most}")
    return value


def _finite(value: Any) -> float:
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is no number")
    return float(value)
