"""What the chart in a notebook is told: the curves of `everybatch watch`, with their numbers as bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from everybatch._measures import QUANTITIES, Measures
from everybatch.watch._charts import View, series
from everybatch.watch._thin import Thin

__all__ = ["charts"]

Array = npt.NDArray[Any]

_COLUMNS = 1200  # of a chart as wide as a screen
_COLUMNS_OF_CLASSES = 400  # there are many of them
_COLOURS = {"train": 0, "test": 1, "validation": 2}  # as in `everybatch.plots`
_COLOURS_APART = 7  # then dashes tell classes apart
_SMOOTH_FROM = 60  # steps; fewer are not smoothed
_LOG_FROM = 15.0  # highest over lowest loss, from which a linear axis would squeeze the end into a flat line


class _Growing(Measures):
    """A run that grows, as `everybatch watch` takes one."""

    narrow = False

    def __init__(self, arrays: Mapping[str, Array], config: dict[str, Any]) -> None:
        self._arrays, self._config = arrays, config


def charts(arrays: Mapping[str, Array], config: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what is to be drawn of a run, chart by chart: loss, accuracy, and that of each class if it is there.

    Parameters
    ----------
    arrays, config
        Those of the run.
    """
    run: Any = _Growing(arrays, config)
    told = []
    for quantity, title in QUANTITIES.items():
        curves = dict(series(run, View(quantity, _COLUMNS, None), "step", ()))
        told.append(
            {
                "title": title,
                "unit": "fraction" if quantity == "accuracy" else "number",
                "log": quantity == "loss" and _is_wide(curves),
                "smooth": len(run.train_loss) / 50 if len(run.train_loss) >= _SMOOTH_FROM else 0,
                "curves": [_told(part, curves[part], colour, 0) for part, colour in _COLOURS.items() if part in curves],
            }
        )
    if "class_accuracy" in arrays:
        places = tuple(range(len(config["dataset"]["classes"])))
        lines = series(run, View("classes", _COLUMNS_OF_CLASSES, None), "step", places)
        told.append(
            {
                "title": "test accuracy of each class",
                "unit": "fraction",
                "log": False,
                "smooth": 0,
                "curves": [
                    _told(name, line, number % _COLOURS_APART, number // _COLOURS_APART)
                    for number, (name, line) in enumerate(lines)
                ],
            }
        )
    return told


def _told(name: str, curve: Thin, colour: int, dash: int) -> dict[str, Any]:
    singles = {"y": curve.y, "low": curve.low, "high": curve.high, "error": curve.error}
    singles |= {"bandLow": curve.band_low, "bandHigh": curve.band_high}
    return {
        "name": name,
        "color": colour,
        "dash": dash,
        "smooth": name == "train",
        "x": np.asarray(curve.x, "<f8").tobytes(),
        **{key: None if values is None else np.asarray(values, "<f4").tobytes() for key, values in singles.items()},
    }


def _is_wide(curves: Mapping[str, Thin]) -> bool:
    """Whether losses span so much that a logarithmic axis shows more."""
    means = np.concatenate([curve.y for curve in curves.values()])
    means = means[np.isfinite(means)]
    return bool(len(means) > 0 and means.min() > 0 and means.max() > _LOG_FROM * means.min())
