"""The contact sheet of `label_errors`: images, the label and the suggested one, and how the votes went."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from everybatch._arguments import whole
from everybatch.errors import ArgumentError
from everybatch.plots._style import BLUE, COLOURS, GREY, INK, VERMILLION, new_axes, plain, short, small

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from everybatch.insight._label_errors import LabelErrors

__all__ = ["draw", "strip_colours"]

_STRIP, _GAP = 0.16, 0.05  # of an image's height: the strip, and what is free above it
_TITLE, _LINE = 0.46, 0.12  # and what two lines of text take, or another one
_BETWEEN = 0.14  # of an image's width
_MOST = 60
"""Ticks of a strip: more are merged to the commonest class of each part."""
_ALL = (*COLOURS, "#8B5E3C", "#882255", "#999933")
"""Colours of up to ten classes."""
_LONG, _ROOM = 8, 18
"""Characters of a class's name: with more it gets a line of its own, and so many are written."""


def draw(found: LabelErrors, count: int, columns: int, ax: Axes | None) -> Axes:
    """See `LabelErrors.plot`."""
    count, columns = min(whole(count, "count"), len(found.indices)), whole(columns, "columns")
    if not count:
        raise ArgumentError("there are no labels to draw")
    columns = min(columns, count)
    rows = -(-count // columns)
    shape = found._pixels.shape
    width = shape[2] / shape[1]
    shown = np.concatenate([found.given[:count], found.suggested[:count]])
    long = max(len(found.classes[each]) for each in shown) > _LONG
    title = _TITLE + (_LINE if long else 0)
    across, down = width + _BETWEEN * width, 1 + title + _STRIP + _GAP + 0.16
    inches = 1.15
    ax = new_axes(ax, (max(columns * across * inches, 4.5), rows * down * inches + 0.6))
    for place in range(count):
        left, top = (place % columns) * across, -(place // columns) * down
        _cell(ax, found, place, left, top, width, long=long)
    ax.set_xlim(-_BETWEEN * width, columns * across)
    ax.set_ylim(-rows * down + title - 0.04, title + 0.04)
    ax.set_aspect("equal")
    ax.axis("off")
    part = "training" if found.part == "train" else "test"
    then = ", " if columns * across * inches > 5.5 else "\n"
    ax.set_title(
        f"{count} of {len(found.indices):,} {part} labels{then}most suspicious first: given → suggested",
        loc="left",
        fontsize="medium",
        color=INK,
    )
    if len(found.votes):
        _legend(ax, found, count)
    return ax


def _cell(ax: Axes, found: LabelErrors, place: int, left: float, top: float, width: float, *, long: bool) -> None:
    """Draw one image with what belongs to it; its upper left corner is given."""
    pixels = found._pixels[found.indices[place]]
    how: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 255} if pixels.ndim == 2 else {}
    ax.imshow(
        pixels[..., :3] if pixels.ndim == 3 else pixels,
        extent=(left, left + width, top - 1, top),
        interpolation="nearest",
        **how,
    )
    names = [found.classes[each[place]] for each in (found.given, found.suggested)]
    if long:
        names = [name if len(name) <= _ROOM else name[: _ROOM - 1] + "…" for name in names]
    text = plain(f"{names[0]}\n→ {names[1]}" if long else f"{names[0]} → {names[1]}")
    size = small() * (0.82 if long else 1.15 if max(map(len, names)) < 4 else 0.95)
    middle = left + width / 2
    ax.text(middle, top + 0.2, text, ha="center", va="bottom", fontsize=size, color=INK, linespacing=1.05)
    probability = found.probability[place]
    told = f"#{found.indices[place]:,}" + ("" if np.isnan(probability) else f"   {_percent(probability)}")
    ax.text(middle, top + 0.05, told, ha="center", va="bottom", fontsize=0.78 * small(), color="#666666")
    if len(found.votes):
        strip = strip_colours(found, place)
        bottom = top - 1 - _GAP - _STRIP
        ax.imshow(strip, extent=(left, left + width, bottom, bottom + _STRIP), interpolation="nearest")


def strip_colours(found: LabelErrors, place: int) -> npt.NDArray[np.float64]:
    """Return the strip of one image as a picture of one row, (1, ticks, 4): the colour of the class of each tick."""
    from matplotlib.colors import to_rgba

    votes = found.votes[:, place]
    counts = np.zeros(len(votes), bool)
    counts[found.counted] = True
    ticks = np.array_split(np.arange(len(votes)), min(len(votes), _MOST))
    strip = np.empty((1, len(ticks), 4))
    given, suggested = int(found.given[place]), int(found.suggested[place])
    for number, tick in enumerate(ticks):
        voted = int(np.argmax(np.bincount(votes[tick])))
        colour = to_rgba(_colour(voted, given, suggested, len(found.classes)))
        strip[0, number] = (*colour[:3], 1.0 if counts[tick].mean() >= 0.5 else 0.3)
    return strip


def _colour(voted: int, given: int, suggested: int, classes: int) -> str:
    """Return the colour of a vote: of its class where there are few, else only of what it is to the label."""
    if voted == given:
        return "#d0d0d0"
    if classes <= len(_ALL):
        return _ALL[voted]
    return VERMILLION if voted == suggested else BLUE


def _legend(ax: Axes, found: LabelErrors, count: int) -> None:
    from matplotlib.patches import Patch

    classes = len(found.classes)
    keys = [("as labelled", "#d0d0d0")]  # no dict: names that are shortened may be equal
    if classes <= len(_ALL):
        there = np.unique(found.votes[:, :count])
        keys += [(short(found.classes[each]), _ALL[each]) for each in there]
    else:
        keys += [("as suggested", VERMILLION), ("another class", BLUE)]
    handles = [Patch(facecolor=colour, label=name) for name, colour in keys]
    longest = max(len(name) for name, _ in keys)
    ax.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(0, 0),
        ncols=min(len(handles), 11 if longest < 12 else 4),
        title=f"voted over time, {'first to last measurement' if _all_count(found) else 'pale: does not count'}",
        alignment="left",
        frameon=False,
        fontsize="small",
        title_fontsize="small",
        labelcolor=INK,
        handlelength=1,
        columnspacing=0.9,
        handletextpad=0.4,
    ).get_title().set_color(GREY)


def _all_count(found: LabelErrors) -> bool:
    return len(range(*found.counted.indices(len(found.votes)))) == len(found.votes)


def _percent(value: float) -> str:
    if value > 0.995:
        return ">99%"
    return f"{value:.0%}" if value >= 0.01 else "<1%"
