"""Bands of two standard errors around what was estimated.

A band is that of the measurements themselves, as their errors are: a smoothed line above them has none of its own.
Where all images were looked at there is nothing to see.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from everybatch._measure import Measure
from everybatch.run import Run

from ._style import GREY, INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.patches import Patch

    from ._curves import Curve

__all__ = ["BAND", "band_key", "bounds", "draw_band", "name_band", "thinned"]

Doubles = npt.NDArray[np.float64]
BAND = "± 2 standard errors"
_WIDTH = 2  # standard errors to both sides
_OWN = f"_{BAND}"  # names without an underscore would be put into the legend, once for each band
_POINTS = 1500


def bounds(run: Run, measure: Measure[Any], y: Doubles) -> tuple[Doubles, Doubles] | None:
    """Return where the band around the values `y` of a measure begins and ends, in their shape; None without errors.

    Nothing measured is below 0, and a fraction is not above 1.
    """
    if measure.errors is None:
        return None
    width = _WIDTH * np.asarray(getattr(run, measure.errors), np.float64)
    if not np.any(width > 0):
        return None
    finite = np.isfinite(width)
    width = np.where(finite, width, width[finite].max(initial=0.0))  # as wide as any where nothing is known of it
    return np.maximum(y - width, 0), np.minimum(y + width, 1 if measure.unit == "fraction" else np.inf)


def draw_band(ax: Axes, data: Curve, colour: str, *, alpha: float = 0.22) -> None:
    """Draw the band of a curve below all lines; nothing if it has none."""
    if (band := thinned(data, _POINTS)) is not None:
        ax.fill_between(*band, color=colour, alpha=alpha, linewidth=0, zorder=1.5, label=_OWN)


def thinned(data: Curve, points: int) -> tuple[Doubles, Doubles, Doubles] | None:
    """Return x, beginning and end of the band of a curve, at no more than so many places; None if it has none.

    Where there are more measurements, each place stands for a stretch of them and has its lowest and highest.
    """
    x, low, high = data.x, data.low, data.high
    if low is None or high is None or not len(x):
        return None
    if len(x) <= points:
        return x, low, high
    starts = np.linspace(0, len(x), points, endpoint=False).astype(int)
    middle = (x[starts] + x[np.append(starts[1:], len(x)) - 1]) / 2
    middle[[0, -1]] = x[[0, -1]]
    return middle, np.fmin.reduceat(low, starts), np.fmax.reduceat(high, starts)


def band_key(*axes: Axes) -> list[Patch]:
    """Return what a legend says of the bands in these Axes: one entry, or none."""
    from matplotlib.patches import Patch

    drawn = any(each.get_label() == _OWN for ax in axes for each in ax.collections)
    return [Patch(facecolor=GREY, alpha=0.4, linewidth=0, label=BAND)] if drawn else []


def name_band(ax: Axes, location: str) -> None:
    """Explain the bands, if there are any, in a picture whose lines have their names elsewhere."""
    from matplotlib.legend import Legend

    if key := band_key(ax):
        style: dict[str, Any] = {"frameon": False, "fontsize": "small", "labelcolor": INK, "loc": location}
        ax.add_artist(Legend(ax, key, [BAND], **style))
