"""The pictures of `confusion_film`: one matrix, and the largest flows between two."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from everybatch.plots._confusion import draw_matrix
from everybatch.plots._style import BLUE, GREY, INK, VERMILLION, new_axes, plain, short, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from everybatch.insight._confusion_film import ConfusionFilm
    from everybatch.insight._flows import Flows
    from everybatch.insight._seen import Seen

__all__ = ["cut", "draw", "draw_flows", "frames_of", "headline"]

_MOST, _SHOWN = 60, 40
"""Above so many classes a film has only those with the most errors."""


def draw(film: ConfusionFilm, place: int, ax: Axes | None) -> Axes:
    """See `ConfusionFilm.plot`."""
    ax, _ = draw_matrix(film.classes, film._seen.matrix(place), ax)
    ax.set_title(headline(film, place), loc="left", fontsize="medium", color=INK)
    return ax


def headline(film: ConfusionFilm, place: int) -> str:
    """Return the line above a matrix: when, how good, how often was measured."""
    matrix = film._seen.matrix(place)
    accuracy = matrix.trace() / matrix.sum()
    return f"step {film.step[place]:,}: {accuracy:.2%} right (measured {film.interval})"


def frames_of(count: int, most: int) -> npt.NDArray[np.int64]:
    """Return which of `count` measurements are shown, if at most so many are: closer together at the beginning."""
    if count <= most:
        return np.arange(count)
    return np.unique(np.round(np.linspace(0, 1, most) ** 2 * (count - 1)).astype(np.int64))


def cut(one: Seen, places: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the classes that a film shows, and its matrices of them at `places`, (frames, shown, shown).

    Of more than 60 classes these are the 40 with the most errors in all frames together, in their order.
    """
    classes = len(one.classes)
    kept = np.arange(classes)
    if classes > _MOST:
        errors = np.zeros(classes, np.int64)
        for place in places.tolist():
            wrong = one.predictions[place] != one.labels
            for each in (one.labels, one.predictions[place]):
                errors += np.bincount(each[wrong], minlength=classes)
        kept = np.sort(np.argsort(-errors, kind="stable")[:_SHOWN])
    return kept, np.stack([one.matrix(place)[np.ix_(kept, kept)] for place in places.tolist()])


def draw_flows(flows: Flows, ax: Axes | None, most: int) -> Axes:
    """See `Flows.plot`."""
    shown = min(most, len(flows.images))
    ax = new_axes(ax, (6.4, float(np.clip(0.28 * shown + 1.4, 2.4, 9))))
    true, source, target, images = (each[:shown] for each in (flows.true, flows.source, flows.target, flows.images))
    gained, lost = target == true, source == true
    names = [short(name) for name in flows.classes]
    for chosen, colour, hatch, label in (
        (gained, BLUE, "", "wrong, then right"),
        (lost, VERMILLION, "///", "right, then wrong"),
        (~gained & ~lost, GREY, "...", "wrong both times"),
    ):
        sign = np.where(lost[chosen], -1, 1)
        style: dict[str, Any] = {"color": colour, "hatch": hatch, "edgecolor": "white", "linewidth": 0, "label": label}
        if chosen.any():
            ax.barh(np.flatnonzero(chosen), sign * images[chosen], height=0.72, **style)
    for place in range(shown):
        ax.annotate(
            f"{images[place]:,}",
            (-images[place] if lost[place] else images[place], place),
            xytext=(-3 if lost[place] else 3, 0),
            textcoords="offset points",
            ha="right" if lost[place] else "left",
            va="center",
            fontsize="small",
            color=INK,
        )
    ax.set_yticks(
        range(shown),
        [
            f"{names[s]} → {names[t]}" + ("" if t == y or s == y else f" (true {names[y]})")
            for y, s, t in zip(true, source, target, strict=True)
        ],
        fontsize="small",
    )
    ax.set_ylim(shown - 0.4, -0.6)
    ax.margins(x=0.14)
    ax.axvline(0, color=GREY, linewidth=0.8)
    ax.xaxis.set_major_formatter(lambda value, _: f"{abs(value):,.0f}")
    rest = int(flows.images[shown:].sum())
    ax.set_xlabel(f"test images{f'; {rest:,} more went other ways' if rest else ''}")
    said = f"step {flows.before:,} to {flows.after:,}: {flows.gained:,} gained, {flows.lost:,} lost"
    ax.set_title(plain(said), loc="left", fontsize="medium", color=INK)
    if shown:
        ax.legend(frameon=False, fontsize="small", labelcolor=INK, loc="lower right")
    tidy(ax, grid=False)
    return ax
