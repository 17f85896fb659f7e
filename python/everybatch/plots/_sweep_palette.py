"""A colour for each value of a setting, and the key that explains them, above the picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ._style import GREY, INK, MARKERS, Dashes, line_style, small
from ._sweep_inputs import is_number, name_of, ordered, text_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap

__all__ = ["Palette", "colour_map", "draw_key", "palette", "spans_decades"]

_FEW = 3  # numbers that need no order of colours
_ENTRIES = 12  # more are a scale, or cut short
_LONGEST = 20  # characters of an entry


@dataclass(frozen=True)
class Palette:
    """The values of one setting in order, and how each is drawn."""

    setting: str
    values: list[Any]
    styles: list[tuple[str, Dashes]]
    markers: list[str]
    scaled: bool
    """Whether the colours are a scale of numbers."""

    def place(self, value: Any) -> int:
        """Return where a value stands among the others."""
        return [repr(one) for one in self.values].index(repr(value))


def palette(setting: str, given: Sequence[Any]) -> Palette:
    """Choose colours: in order from dark to light for more than three numbers, else as different as can be."""
    from matplotlib.colors import to_hex

    values = ordered(given)
    count = len(values)
    scaled = count > _FEW and all(is_number(value) for value in values)
    if not scaled:
        return Palette(
            setting, values, [line_style(i) for i in range(count)], [MARKERS[i % 7] for i in range(count)], False
        )
    # Few values get colours equally far apart; many get those of their places on a scale.
    shares = np.linspace(0, 1, count) if count <= _ENTRIES else _shares(np.array(values, float))
    return Palette(setting, values, [(to_hex(colour_map()(s)), "-") for s in shares], ["o"] * count, True)


def colour_map() -> Colormap:
    """Return viridis without its palest fifth, which cannot be seen on white."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    return ListedColormap(colormaps["viridis"](np.linspace(0, 0.88, 256)))


def spans_decades(values: np.ndarray) -> bool:
    """Whether positive numbers are better told apart on a logarithmic axis: far apart, and most of them small."""
    low, high = values.min(), values.max()
    if not (low > 0 and high >= 10 * low):
        return False
    middle = np.median(np.unique(values))
    linear, logarithmic = (middle - low) / (high - low), np.log(middle / low) / np.log(high / low)
    return bool(abs(logarithmic - 0.5) <= abs(linear - 0.5) or len(np.unique(values)) == 2)


def draw_key(ax: Axes, colours: Palette, *, markers: bool = False) -> None:
    """Explain the colours above the Axes: a legend, or a scale if there are many numbers."""
    if len(colours.values) == 1:
        return
    if colours.scaled and len(colours.values) > _ENTRIES:
        _draw_scale(ax, colours)
    else:
        _draw_legend(ax, colours, markers=markers)


def _draw_legend(ax: Axes, colours: Palette, *, markers: bool) -> None:
    from matplotlib.lines import Line2D

    handles = []
    for value, (colour, dashes), marker in zip(colours.values, colours.styles, colours.markers, strict=True):
        style: dict[str, Any] = {"linestyle": dashes, "linewidth": 2}
        if markers:
            style = {"linestyle": "", "marker": marker, "markersize": 7, "markeredgecolor": "white"}
        handles.append(Line2D([], [], color=colour, label=text_of(value, _LONGEST), **style))
    if len(handles) > 2 * _ENTRIES:
        shown = 2 * _ENTRIES - 1
        handles = [*handles[:shown], Line2D([], [], linestyle="", label=f"and {len(handles) - shown} more")]
    widest = max(len(str(handle.get_label())) for handle in handles)
    figure = ax.figure
    room = ax.get_position().width * figure.get_figwidth() * 72 * 0.9  # type: ignore[union-attr]
    across = max(1, min(len(handles), int(room / (0.58 * small() * widest + 36))))
    legend = ax.legend(
        handles=handles,
        title=name_of(colours.setting),
        loc="lower left",
        bbox_to_anchor=(0, 1.01),
        borderaxespad=0,
        ncols=across,
        frameon=False,
        fontsize="small",
        title_fontsize="small",
        labelcolor=INK,
        alignment="left",
        handlelength=1.6,
        columnspacing=1.4,
        borderpad=0.2,
    )
    legend.get_title().set_color(INK)


def _draw_scale(ax: Axes, colours: Palette) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm, Normalize
    from matplotlib.ticker import FuncFormatter, NullLocator

    numbers = np.array(colours.values, float)
    norm = (LogNorm if spans_decades(numbers) else Normalize)(numbers.min(), numbers.max())
    bar = ax.figure.colorbar(
        ScalarMappable(norm, colour_map()), ax=ax, location="top", shrink=0.5, aspect=30, anchor=(0.0, 0.5), pad=0.02
    )
    bar.outline.set_visible(False)
    bar.ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    bar.ax.xaxis.set_minor_locator(NullLocator())
    bar.ax.tick_params(labelsize="small", color=GREY, labelcolor=INK)
    bar.set_label(name_of(colours.setting), fontsize="small", color=INK, loc="left")


def _shares(values: np.ndarray) -> np.ndarray:
    numbers = np.log(values) if spans_decades(values) else values
    shares: np.ndarray = (numbers - numbers.min()) / (numbers.max() - numbers.min())
    return shares
