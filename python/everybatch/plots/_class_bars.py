"""`class_bars`: the final test accuracy of every class as bars."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from everybatch.errors import ArgumentError

from ._inputs import Drawable, Source, as_sources, class_names
from ._style import BAR_COLOURS, HATCHES, INK, new_axes, percent_axis, plain, small, tidy, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["class_bars"]

_MOST_RUNS = 4
_LABELLED = 60  # bars up to which each carries its value


def class_bars(
    runs: Drawable, *, labels: Sequence[str] | None = None, zoom: bool = True, ax: Axes | None = None
) -> Axes:
    """Draw the test accuracy of every class at the last evaluation, and that of all images as a line.

    Parameters
    ----------
    runs
        A run, the folder of a saved run, a list of accuracies in [0, 1] (one for each class), or a list or dict of up
        to four of these. A list's line is the plain mean of its classes.
    labels
        Names for several runs. By default what differs between their settings.
    zoom
        Start the y axis below the lowest class instead of at 0, and say so at the axis.
    ax
        Where to draw; a new figure by default.

    Raises
    ------
    TypeError, ArgumentError
        Something that cannot be drawn, with a sentence that says what could.
    """
    sources = as_sources(runs, labels, plot="class_bars", ndim=1)
    if len(sources) > _MOST_RUNS:
        raise ArgumentError(
            f"plots.class_bars: {len(sources)} runs make too many bars; give at most {_MOST_RUNS}, "
            "or draw each into an Axes of its own"
        )
    heights = [_heights(source) for source in sources]
    names = class_names(sources, [len(each) for each in heights], plot="class_bars")
    ax = new_axes(ax, (min(max(6.4, 0.42 * len(names) * (1 + len(sources)) / 2 + 1.5), 14), 4.0))

    bottom = _bottom(heights) if zoom else 0.0
    ax.set_ylim(bottom, 1 + 0.04 * (1 - bottom) if bottom else 1.04)
    width = 0.8 / len(sources)
    for number, (source, values) in enumerate(zip(sources, heights, strict=True)):
        places = np.arange(len(names)) + (number - (len(sources) - 1) / 2) * width
        _bars(ax, places, values, width, number, plain(source.label), len(names) * len(sources))
    if len(sources) == 1:
        _overall(ax, sources[0], heights[0])
    else:
        ax.legend(frameon=False, fontsize="small", labelcolor=INK, ncols=len(sources), loc="lower left",
                  bbox_to_anchor=(0, 1), borderaxespad=0.2)  # fmt: skip
    _name_classes(ax, names)
    percent_axis(ax)
    ax.set_ylabel("test accuracy" + (f" (axis starts at {bottom:.4g})".replace(f"{bottom:.4g}", f"{bottom:.4%}".rstrip("0%").rstrip(".") + "%") if bottom else ""))
    tidy(ax)
    ax.tick_params(axis="x", length=0)
    if len(sources) == 1:
        title(ax, [sources[0].run])
    return ax
