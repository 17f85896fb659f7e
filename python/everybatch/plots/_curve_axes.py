"""The axes that several curves of one quantity share: labels, limits, and whether they are logarithmic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from everybatch.errors import ArgumentError
from everybatch.run import Run

from ._curves import AXES, Curve, curve, end_at, label_x
from ._style import check_choice, log_axis, percent_axis, tidy
from ._zoom import zoomed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["METRICS", "check_curve_options", "curve_axes", "metric_curve"]

METRICS = {
    "test_accuracy": "test accuracy",
    "test_error": "test error",
    "test_loss": "test loss",
    "train_accuracy": "training accuracy",
    "train_loss": "training loss",
    "validation_accuracy": "validation accuracy",
    "validation_loss": "validation loss",
}
_LOG_FROM = 15.0  # as in `losses`


def check_curve_options(metric: str, x: str, scale: str) -> None:
    """Refuse what is no choice."""
    check_choice("metric", metric, tuple(METRICS))
    check_choice("x", x, tuple(AXES))
    check_choice("scale", scale, ("auto", "linear", "log"))


def metric_curve(run: Run, metric: str, x: str) -> Curve:
    """Return the measurements of one of `METRICS`."""
    if metric != "test_error":
        return curve(run, metric, x)
    data = curve(run, "test_accuracy", x)
    return Curve(data.x, 1 - data.y)


def curve_axes(ax: Axes, lines: Sequence[Curve], metric: str, x: str, scale: str, *, plot: str) -> None:
    """Label the axes and fit them to the curves."""
    values = np.concatenate([line.y for line in lines])
    values = values[~np.isnan(values)]
    if not len(values):  # NaN throughout
        ax.set_ylim(0, 1)
    else:
        low, high = float(values.min()), float(values.max())
        if scale == "log" and low <= 0:
            raise ArgumentError(f"plots.{plot}: scale='log' needs a {METRICS[metric]} above 0 throughout")
        if metric.endswith("accuracy") and scale != "log":
            ax.set_ylim(*zoomed([line.y for line in lines]))
        elif scale == "log" or (scale == "auto" and low > 0 and high > _LOG_FROM * low):
            log_axis(ax)
            ax.set_ylim(0.8 * low, 1.25 * high)
        elif low >= 0:
            ax.set_ylim(0, 1.05 * high or 1)
    label_x(ax, x)
    end_at(ax, lines)  # the longest lines end where their names begin
    if metric.endswith(("accuracy", "error")):
        percent_axis(ax)
    ax.set_ylabel(METRICS[metric])
    tidy(ax)
