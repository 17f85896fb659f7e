"""Where the values of a setting stand on an upright axis of height 1, and what is written beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ._sweep_inputs import is_number, ordered, text_of
from ._sweep_palette import spans_decades

__all__ = ["Scale", "scale_of", "ticks_of"]

_FEW = 8  # values that all get a tick
_NAMED = 16  # categories that are all named
_CLOSEST = 0.06  # ticks nearer than that would run into each other


@dataclass(frozen=True)
class Scale:
    """Places in [0, 1] of the trials' values, and ticks as places and texts."""

    places: np.ndarray
    ticks: list[tuple[float, str]]
    gap: float
    """Between the nearest two ticks of a scale of single values; 0 on a continuous one."""


def scale_of(values: Sequence[Any]) -> Scale:
    """Return the scale of a setting: logarithmic if its numbers span decades, in steps if it has few values."""
    distinct = ordered(values)
    numeric = all(is_number(value) for value in distinct)
    if numeric and len(distinct) > _FEW:
        numbers = np.array(values, float)
        log = spans_decades(numbers)
        return Scale(_shares(numbers, numbers, log=log), ticks_of(numbers, log=log), 0.0)
    where = np.linspace(0, 1, len(distinct)) if len(distinct) > 1 else np.array([0.5])
    if numeric and len(distinct) > 1:
        numbers = np.array(distinct, float)
        exact = _shares(numbers, numbers, log=spans_decades(numbers))
        if np.diff(exact).min() >= _CLOSEST and not (distinct[0] == 0 and spans_decades(numbers[1:])):
            where = exact
    index = {repr(value): place for value, place in zip(distinct, where, strict=True)}
    step = -(-len(distinct) // _NAMED)
    ticks = [(float(index[repr(value)]), text_of(value, 18)) for value in distinct[::step]]
    gap = float(np.diff(where).min()) if len(where) > 1 else 1.0
    return Scale(np.array([index[repr(value)] for value in values]), ticks, gap)


def ticks_of(numbers: np.ndarray, *, log: bool, percent: bool = False) -> list[tuple[float, str]]:
    """Return round numbers within a range, and their places in it."""
    from matplotlib.ticker import MaxNLocator

    low, high = float(numbers.min()), float(numbers.max())
    if log:
        exponents = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
        tens = [10.0**exponent for exponent in exponents]
        chosen = [one for one in tens if low <= one <= high]
        if len(chosen) < 3:
            chosen = [part * ten for ten in tens for part in (1, 2, 5) if low <= part * ten <= high]
        marks = np.array(chosen)
    else:
        marks = np.array([one for one in MaxNLocator(6).tick_values(low, high) if low <= one <= high])
    texts = [f"{100 * mark:.5g}%" if percent else f"{mark:g}" for mark in marks]
    return list(zip(_shares(marks, numbers, log=log).tolist(), texts, strict=True))


def _shares(values: np.ndarray, among: np.ndarray, *, log: bool) -> np.ndarray:
    """Return where values stand between the lowest and the highest of others."""
    if log:
        values, among = np.log(values), np.log(among)
    low, high = among.min(), among.max()
    shares: np.ndarray = (values - low) / (high - low) if high > low else np.full(len(values), 0.5)
    return shares
