"""What a user may hand to a plot: runs, folders of saved runs, bare numbers, or several of these."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from everybatch.errors import ArgumentError
from everybatch.run import Run, load_run

from ._labels import automatic_labels

__all__ = ["Drawable", "Source", "as_sources", "check_fractions", "class_names"]

One = Run | str | os.PathLike[str] | Sequence[Any] | npt.NDArray[Any]
Drawable = One | Sequence[One] | Mapping[str, One]


@dataclass(frozen=True)
class Source:
    """One thing to draw: a run, or bare numbers; `label` tells it from the others, empty if it is alone."""

    label: str
    run: Run | None
    values: npt.NDArray[np.float64] | None


def as_sources(runs: Drawable, labels: Sequence[str] | None, *, plot: str, ndim: int | None) -> list[Source]:
    """Return what to draw, loaded, checked and labelled.

    Parameters
    ----------
    runs
        The argument of the plot function.
    labels
        One for each run, or None for labels made from what differs between the runs.
    plot
        The function's name, for messages: of `everybatch.plots`, or with its module, "insight.compare".
    ndim
        Dimensions of bare numbers (1: a curve, 2: a matrix); None if the plot needs runs.

    Raises
    ------
    TypeError
        Something is neither a run, nor a folder, nor numbers.
    ArgumentError
        Nothing to draw, numbers of the wrong shape, or labels that do not fit.
    """
    if isinstance(runs, Mapping):
        if labels is not None:
            raise ArgumentError(f"{_asked(plot)}: give labels as the keys of the dict or with labels=, not both")
        items, labels = list(runs.values()), [str(name) for name in runs]
    elif _is_one(runs, ndim):
        items = [runs]
    elif isinstance(runs, Sequence | np.ndarray):
        items = list(runs)
    else:
        raise _wrong_type(runs, plot, ndim)
    if not items:
        raise ArgumentError(f"{_asked(plot)}: there is nothing to draw in an empty {type(runs).__name__}")

    loaded = [_load(item, plot, ndim) for item in items]
    if labels is None:
        names = automatic_labels([item if isinstance(item, Run) else None for item in loaded], _fallbacks(items))
    else:
        names = [labels] if isinstance(labels, str) else [str(label) for label in labels]
        if len(names) != len(items):
            raise ArgumentError(f"{_asked(plot)}: {len(names)} labels for {len(items)} runs; give one for each")
    return [
        Source(name, item, None) if isinstance(item, Run) else Source(name, None, item)
        for name, item in zip(names, loaded, strict=True)
    ]


def check_fractions(sources: Sequence[Source], *, plot: str) -> None:
    """Refuse bare numbers that are no accuracies; NaN is one that was not measured.

    Raises
    ------
    ArgumentError
        One is below 0, above 1 or infinite.
    """
    for source in sources:
        if source.values is None:
            continue
        wrong = source.values[(source.values < 0) | (source.values > 1)]
        if len(wrong):
            hint = ": divide percents by 100" if np.all(np.isfinite(wrong)) and np.min(wrong) > 1 else ""
            raise ArgumentError(f"{_asked(plot)}: accuracies are from 0 to 1, and {wrong[0]:g} is not{hint}")


def class_names(sources: Sequence[Source], counts: Sequence[int], *, plot: str) -> tuple[str, ...]:
    """Return the names of the classes, which all sources must share; numbers if only bare numbers are drawn.

    Raises
    ------
    ArgumentError
        The sources have different classes.
    """
    known = [source.run.classes for source in sources if source.run is not None]
    names = known[0] if known else tuple(str(number) for number in range(counts[0]))
    if any(other != names for other in known) or any(count != len(names) for count in counts):
        raise ArgumentError(f"{_asked(plot)}: these runs have different classes and do not fit into one picture")
    return names


def _load(item: Any, plot: str, ndim: int | None) -> Run | npt.NDArray[np.float64]:
    if isinstance(item, Run):
        return item
    if isinstance(item, str | os.PathLike):
        return load_run(item)
    if ndim is None or (not isinstance(item, Sequence | np.ndarray) and not hasattr(item, "__array__")):
        raise _wrong_type(item, plot, ndim)
    shape = "a list of numbers" if ndim == 1 else "a two-dimensional array"
    try:
        values = np.asarray(item, dtype=np.float64)  # None becomes NaN: not measured
    except (TypeError, ValueError) as error:
        raise _wrong_type(item, plot, ndim) from error
    if values.ndim != ndim:
        raise ArgumentError(f"{_asked(plot)}: bare numbers must be {shape}; these have shape {values.shape}")
    if not values.size:
        raise ArgumentError(f"{_asked(plot)}: there is nothing to draw in an empty list")
    return values


def _is_one(runs: Any, ndim: int | None) -> bool:
    """Tell a single run, folder or set of numbers from a list of them."""
    if isinstance(runs, Run | str | os.PathLike):
        return True
    return ndim is not None and _depth(runs) == ndim


def _depth(item: Any) -> int:
    """Return how deep the numbers lie: 0 for a number, 1 for a list of them; an array knows its own."""
    if isinstance(item, Run | str | os.PathLike):
        return -10  # no numbers at all
    if hasattr(item, "__array__"):
        return int(np.ndim(item))
    if isinstance(item, Sequence):
        return 1 + _depth(item[0]) if item else 1
    return 0


def _fallbacks(items: Sequence[Any]) -> list[str]:
    """Return the folder's name for a saved run and a number for everything else."""
    return [
        Path(item).name if isinstance(item, str | os.PathLike) else f"run {number}"
        for number, item in enumerate(items, 1)
    ]


def _asked(plot: str) -> str:
    return plot if "." in plot else f"plots.{plot}"


def _wrong_type(item: Any, plot: str, ndim: int | None) -> TypeError:
    bare = {None: "", 1: ", a list of numbers", 2: ", a two-dimensional array"}[ndim]
    kind = type(item).__name__
    if isinstance(item, list | tuple) and item:
        kind = f"a {kind} with {type(item[-1]).__name__} in it"
    return TypeError(
        f"{_asked(plot)} takes a Run, the folder of a saved run{bare}, or a list or dict of these, not {kind}"
    )
