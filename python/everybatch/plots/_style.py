"""The look that all plots share. Colours are Okabe and Ito's, which colour-blind readers tell apart.

matplotlib is imported only when something is drawn, so that ``import everybatch`` stays quick.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any, Literal

from everybatch.run import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "BLUE",
    "COLOURS",
    "DASHES",
    "FEW",
    "GREEN",
    "GREY",
    "INK",
    "LOG_FROM",
    "MARKERS",
    "ORANGE",
    "PURPLE",
    "TEST",
    "TRAIN",
    "VALIDATION",
    "VERMILLION",
    "Dashes",
    "line_style",
    "log_axis",
    "name_classes",
    "new_axes",
    "percent_axis",
    "plain",
    "short",
    "small",
    "text_height",
    "tidy",
    "title",
]

BLUE, VERMILLION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
SKY, ORANGE, BLACK = "#56B4E9", "#E69F00", "#000000"
COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, SKY, ORANGE, BLACK)  # not the palette's yellow: too pale on white
TRAIN, VALIDATION, TEST = BLUE, GREEN, VERMILLION
INK, GREY = "#262626", "#8c8c8c"
FEW = 30
"""Points that are so few that each gets a marker."""
LOG_FROM = 15.0
"""Highest over lowest loss from which a linear axis would squeeze the end of a run into a flat line."""
_FEW_DECADES = 1000.0
"""Top over bottom of a logarithmic axis up to which there is room for 1, 2 and 5 of each decade."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
Dashes = Literal["-"] | tuple[float, tuple[float, ...]]
DASHES: tuple[Dashes, ...] = ("-", (0, (4, 1.5)), (0, (1, 1.2)), (0, (5, 1.2, 1, 1.2)))


def new_axes(ax: Axes | None, size: tuple[float, float] = (6.4, 4.0)) -> Axes:
    """Return `ax`, or the Axes of a new figure of `size` inches whose layout makes room for labels."""
    try:
        import matplotlib.pyplot as plt
        from matplotlib.axes import Axes as AxesType
    except ImportError as error:
        raise ImportError("everybatch.plots needs matplotlib: pip install matplotlib") from error
    if ax is None:
        _, axes = plt.subplots(figsize=size, layout="constrained")
        return axes
    if not isinstance(ax, AxesType):
        raise TypeError(f"ax must be a matplotlib Axes, not {type(ax).__name__}; plt.subplots(2, 2) gives an array")
    return ax


def line_style(number: int) -> tuple[str, Dashes]:
    """Return colour and dashes of the line with this number: all colours solid, then all dashed, ..."""
    styles = [(colour, dashes) for dashes, colour in product(DASHES, COLOURS)]
    return styles[number % len(styles)]


def tidy(ax: Axes, *, grid: bool = True) -> None:
    """Take away what carries no information, and put a light grid below everything."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(GREY)
    ax.tick_params(color=GREY, labelcolor=INK)
    if grid:
        ax.grid(visible=True, axis="y", color="#e6e6e6", linewidth=0.8)
        ax.set_axisbelow(True)


def percent_axis(ax: Axes) -> None:
    """Label the y axis, which holds fractions, in percent; room that is left below 0 and above 100 % has no numbers."""
    from matplotlib.ticker import FuncFormatter

    def percent(value: float, _: object) -> str:
        return f"{abs(100 * value):.5g}%" if -1e-9 < value < 1 + 1e-9 else ""  # 98% and 97.5%, not 98.0%

    ax.yaxis.set_major_formatter(FuncFormatter(percent))


def title(ax: Axes, runs: list[Run | None]) -> None:
    """Say above the Axes, once, which network and data set all of the runs share."""
    names = {(run.config["network"].get("name"), run.config["dataset"].get("name")) for run in runs if run is not None}
    if len(names) == 1 and None not in runs:
        text = " on ".join(str(name) for name in names.pop() if name)
        ax.set_title(plain(text), loc="left", fontsize="medium", color=INK)


def small() -> float:
    """Return the font size of the small print, in points."""
    from matplotlib.font_manager import FontProperties

    return float(FontProperties(size="small").get_size_in_points())


def text_height(ax: Axes, size: float) -> float:
    """Return the height of a line of text of `size` points as a fraction of the height of `ax`."""
    figure = ax.figure
    points = ax.get_position().height * figure.get_figheight() * 72  # type: ignore[union-attr]
    return 1.2 * size / max(points, 1.0)


def plain(text: str) -> str:
    """Keep matplotlib from reading dollar signs in a user's name as mathematics."""
    return text.replace("$", r"\$")


def short(name: str) -> str:
    """Return a class's name as a picture has room for it."""
    return plain(name if len(name) <= 24 else name[:23] + "…")


def log_axis(ax: Axes) -> None:
    """Make the y axis logarithmic, with ticks that read as plain numbers: 0.1, 0.2, 0.5, or 0.1, 1, 10 of many."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    class Decades(LogLocator):
        """Decides by what is to be seen; matplotlib leaves no decade out of those that have more than one tick."""

        def tick_values(self, vmin: float, vmax: float) -> Any:
            self.set_params(subs=(1.0, 2.0, 5.0))
            ticks = super().tick_values(vmin, vmax)
            if vmax < _FEW_DECADES * vmin and sum(vmin <= tick <= vmax for tick in ticks) > 1:
                return ticks
            self.set_params(subs=(1.0,))
            return super().tick_values(vmin, vmax)

    ax.set_yscale("log")
    ax.yaxis.set_major_locator(Decades())
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def name_classes(ax: Axes, names: tuple[str, ...], *, both: bool = False) -> None:
    """Write the class names below the Axes (and, with `both`, left of it): slanted if long, fewer if many."""
    many = len(names) > 40
    places = list(range(0, len(names), -(-len(names) // 40) if many else 1))
    texts = [short(names[place]) for place in places]
    widest = max(len(text) for text in texts)
    long = widest > 9 or (widest > 3 and sum(len(text) for text in texts) > 60)
    size = small() if len(places) > 16 or long else None
    slant: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if long else {}
    ax.set_xticks(places, texts, fontsize=size, **slant)
    if both:
        ax.set_yticks(places, texts, fontsize=size)
    ax.set_xlim(-0.6, len(names) - 0.4)
