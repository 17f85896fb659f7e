"""Curves: which numbers of a run to draw against what, smoothing, and fewer points than pixels can show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from everybatch._measure import Measure
from everybatch._measures import MEASURES
from everybatch._metered import NO_EPOCHS, epoch_steps
from everybatch.errors import ArgumentError
from everybatch.run import Run

from ._error_bands import bounds

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["AXES", "Curve", "bare", "curve", "decimate", "end_at", "label_x", "smooth", "sound_curve", "window_for"]

Doubles = npt.NDArray[np.float64]
AXES = {"step": "mini-batches", "epoch": "epochs", "seconds": "seconds"}


@dataclass(frozen=True)
class Curve:
    """Numbers over mini-batches (or epochs, or seconds): `x` (n,), `y` (n,) or (n, classes).

    Where `y` was estimated, `low` and `high` are where the band of its errors begins and ends, in the same shape.
    """

    x: Doubles
    y: Doubles
    low: Doubles | None = None
    high: Doubles | None = None

    def __len__(self) -> int:
        return len(self.x)

    @property
    def reach(self) -> list[Doubles]:
        """What must be in the picture: the numbers, and both ends of their band."""
        return [values for values in (self.y, self.low, self.high) if values is not None]

    def at(self, places: slice | npt.NDArray[Any]) -> Curve:
        """Return a part of it."""
        return self._with(self.x[places], lambda values: values[places])

    def column(self, number: int) -> Curve:
        """Return the curve of one class."""
        return self._with(self.x, lambda values: values[:, number])

    def where(self, known: npt.NDArray[np.bool_]) -> Curve:
        """Return it with NaN elsewhere."""
        return self._with(self.x, lambda values: np.where(known, values, np.nan))

    def _with(self, x: Doubles, change: Callable[[Doubles], Doubles]) -> Curve:
        low, high = (None if values is None else change(values) for values in (self.low, self.high))
        return Curve(x, change(self.y), low, high)


def curve(run: Run, metric: str, x: str) -> Curve:
    """Return one measure over `x`: step, epoch or seconds since the start."""
    measure = MEASURES[metric]
    y = _finite(np.asarray(getattr(run, metric), dtype=np.float64))
    at = measure.steps_of(run)
    low, high = bounds(run, measure, y) or (None, None)
    if x == "epoch":
        per_epoch = epoch_steps(run._config)
        if per_epoch is None:
            raise ArgumentError(f"x is 'epoch', and {NO_EPOCHS}")
        return Curve(at / per_epoch, y, low, high)
    if x == "seconds":
        spent = np.concatenate([[0.0], run.train_seconds])
        spent[run.eval_step] += run.eval_seconds
        return Curve(np.cumsum(spent)[at], y, low, high)
    return Curve(at.astype(np.float64), y, low, high)


def sound_curve(run: Run, measure: Measure[Any], x: str) -> Curve:
    """Return the curve of a run as far as its weights were numbers: others get some images right, by chance."""
    return curve(run, measure.name, x).where(~np.isnan(measure.sound(run)))


def bare(values: Doubles, x: str, plot: str) -> Curve:
    """Return bare numbers as a curve over 1, 2, 3, ..."""
    if x != "step":
        raise ArgumentError(f"plots.{plot}: bare numbers have no {AXES[x]}; leave x='step' or give a Run")
    return Curve(np.arange(1.0, len(values) + 1), _finite(values))


def window_for(n: int, asked: int | None, *, part: int = 50) -> int:
    """Return the odd width of the smoothing window: one `part`-th of `n` points, at most 1001; 1 for none."""
    if asked is not None:
        if not isinstance(asked, int | np.integer) or isinstance(asked, bool):
            raise TypeError(f"smooth must be a whole number of points, or None, not {type(asked).__name__}")
        if asked < 0:
            raise ArgumentError(f"smooth must be 0 or 1 (none) or a number of points to smooth over, not {asked}")
        return max(1, min(int(asked), n)) | 1
    return 1 if n < 60 else min(n // part, 1001) | 1


def smooth(data: Curve, window: int, *, mean: bool = False, points: int = 1200) -> Curve:
    """Return the centred running median (or mean) of a curve, at no more than about `points` places.

    At the beginning the window is cut on both sides, so that the first steep fall stays where it is; at the
    end only on the side that has no numbers, so that the end is as smooth as the rest. NaN is left out of
    its neighbours' windows and stays NaN. A median is not moved by single bad batches; its stairs are rounded
    off by a running mean of half its width. A mean suits accuracies of small batches, which only take a few
    values. The result has no band: errors are those of single measurements.
    """
    n = len(data)
    if window <= 1 or n == 0:
        return data
    places = np.unique(np.linspace(0, n - 1, min(n, points)).astype(int))
    y = np.stack([_running(column, places, window, mean=mean) for column in np.atleast_2d(data.y.T)], axis=-1)
    if not mean:
        step = max(1.0, n / len(places))
        width = round(window / 2 / step)
        y = np.stack([_running(column, np.arange(len(places)), width, mean=True) for column in y.T], axis=-1)
    return Curve(data.x[places], y if data.y.ndim == 2 else y[:, 0])


def _running(values: Doubles, places: npt.NDArray[np.int64], window: int, *, mean: bool) -> Doubles:
    """Return the median or mean of the window around each place."""
    middle, half = (np.mean if mean else np.median), window // 2
    result = np.full(len(places), np.nan)
    whole = (places >= half) & (places + half < len(values)) & bool(not np.isnan(values).any())
    if whole.any():  # all at once: one by one they take half the time of a picture
        result[whole] = middle(
            np.lib.stride_tricks.sliding_window_view(values, 2 * half + 1)[places[whole] - half], axis=1
        )
    for row, place in zip(np.flatnonzero(~whole), places[~whole], strict=True):
        reach = min(half, int(place))
        part = values[place - reach : place + reach + 1]
        part = part[~np.isnan(part)]
        if len(part) and not np.isnan(values[place]):
            result[row] = middle(part)
    return result


def decimate(data: Curve, points: int = 3000) -> Curve:
    """Return a curve that looks the same with about `points` points: each stretch's lowest and highest.

    Peaks survive, which they would not if every n-th point was drawn. The line alone: `draw_band` does this itself.
    """
    n = len(data)
    if n <= points:
        return data
    edges = np.linspace(0, n, points // 2 + 1).astype(int)
    low = np.where(np.isnan(data.y), np.inf, data.y)
    high = np.where(np.isnan(data.y), -np.inf, data.y)
    keep = {0, n - 1}
    for start, stop in pairwise(edges):
        keep |= {start + int(np.argmin(low[start:stop])), start + int(np.argmax(high[start:stop]))}
    chosen = np.array(sorted(keep))
    return Curve(data.x[chosen], data.y[chosen])


def label_x(ax: Axes, x: str) -> None:
    """Label the x axis and start it at 0."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    ax.set_xlabel(AXES[x])
    ax.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=x == "step", steps=[1, 2, 5, 10]))
    if x == "step":
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    ax.margins(x=0.01)
    ax.set_xlim(left=0)


def end_at(ax: Axes, lines: Sequence[Curve]) -> None:
    """End the x axis where the longest line does."""
    right = max(float(line.x[-1]) for line in lines)
    if right > 0:  # not with the untrained network's evaluation alone
        ax.set_xlim(right=right)


def _finite(y: npt.NDArray[np.float64]) -> Doubles:
    return np.where(np.isfinite(y), y, np.nan)
