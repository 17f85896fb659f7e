"""The axes that several curves of one quantity share: labels, limits, and whether they are logarithmic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from everybatch._arguments import choice
from everybatch._measures import CURVES
from everybatch.errors import ArgumentError

from ._curves import AXES, Curve, end_at, label_x
from ._style import LOG_FROM, log_axis, percent_axis, tidy
from ._zoom import zoomed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["check_curve_options", "curve_axes"]


def check_curve_options(metric: str, x: str, scale: str) -> None:
    """Refuse what is no choice."""
    choice(metric, "metric", tuple(CURVES))
    choice(x, "x", tuple(AXES))
    choice(scale, "scale", ("auto", "linear", "log"))


def curve_axes(ax: Axes, lines: Sequence[Curve], metric: str, x: str, scale: str, *, plot: str) -> None:
    """Label the axes and fit them to the curves."""
    measure = CURVES[metric]
    values = np.concatenate([line.y for line in lines])
    values = values[~np.isnan(values)]
    if not len(values):  # NaN throughout
        ax.set_ylim(0, 1)
    else:
        low, high = float(values.min()), float(np.nanmax(np.concatenate([end for line in lines for end in line.reach])))
        if scale == "log" and low <= 0:
            raise ArgumentError(f"plots.{plot}: scale='log' needs a {measure.label} above 0 throughout")
        if measure.unit == "fraction" and measure.better == "higher" and scale != "log":
            ax.set_ylim(*zoomed([values for line in lines for values in line.reach]))
        elif scale == "log" or (scale == "auto" and low > 0 and high > LOG_FROM * low):
            log_axis(ax)
            ax.set_ylim(0.8 * low, 1.25 * high)
        elif low >= 0:
            ax.set_ylim(0, 1.05 * high or 1)
    label_x(ax, x)
    end_at(ax, lines)  # the longest lines end where their names begin
    if measure.unit in ("fraction", "points"):
        percent_axis(ax)
    ax.set_ylabel(measure.label)
    tidy(ax)
