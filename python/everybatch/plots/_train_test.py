"""What `losses`, `accuracy` and `grid` share: batches thin and light, a smoothed line above, the test in contrast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from everybatch._measure import Measure, Part
from everybatch._measures import parts_of
from everybatch._words import count
from everybatch.errors import ArgumentError
from everybatch.run import Run

from ._curves import Curve, bare, decimate, smooth, sound_curve, window_for
from ._error_bands import band_key, draw_band
from ._inputs import Source
from ._style import COLOURS, FEW, GREY, INK, MARKERS, TEST, TRAIN, VALIDATION, plain

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

__all__ = ["LEGEND", "Pair", "draw_line", "draw_measured", "draw_pairs", "mark_divergence", "pair"]

DENSE = 3000  # batches that are so many that their lines merge into a band
# No frame, but a ground that keeps the text readable should a line pass behind it.
LEGEND: dict[str, Any] = {
    "fontsize": "small",
    "labelcolor": INK,
    "framealpha": 0.85,
    "edgecolor": "none",
    "facecolor": "white",
}


@dataclass(frozen=True)
class Pair:
    """The curves of one run, ready to draw; `test` is None for bare numbers, `validation` often."""

    source: Source
    measures: dict[Part, Measure[Any]]
    train: Curve
    smoothed: Curve  # `train` over `window` batches
    window: int
    test: Curve | None
    smoothed_test: Curve | None
    validation: Curve | None
    smoothed_validation: Curve | None

    @property
    def has_train(self) -> bool:
        """Whether the training batches were measured: a meter that is not given logits knows their loss alone."""
        return not bool(np.all(np.isnan(self.train.y)))

    @property
    def average(self) -> str:
        """What the smoothed curves are: the running mean or median."""
        return self.measures["train"].average

    @property
    def lines(self) -> list[Curve]:
        """The curves that matter for the limits: all but the single training batches."""
        return [line for line in (self.smoothed, self.validation, self.test) if line is not None and len(line)]


def pair(source: Source, quantity: str, *, x: str, window: int | None, plot: str) -> Pair:
    """Return the curves of one of `QUANTITIES` of one run, or of bare numbers."""
    run, measures = source.run, parts_of(quantity)
    if run is None:
        assert source.values is not None  # a Source has one or the other
        train, test, validation = bare(source.values, x, plot), None, None
    else:
        train, test = (sound_curve(run, measures[part], x) for part in ("train", "test"))
        held_out = measures["validation"]
        validation = sound_curve(run, held_out, x) if held_out.is_in(run) else None
        if not len(train) and not len(test):
            raise ArgumentError(f"plots.{plot}: the run ended before anything was measured; there is nothing to draw")
    mean = measures["train"].average == "mean"
    width = window_for(len(train), window)
    smoothed_test, smoothed_validation = (
        None if measured is None else smooth(measured, window_for(len(measured), window), mean=mean)
        for measured in (test, validation)
    )
    smoothed = smooth(train, width, mean=mean)
    return Pair(source, measures, train, smoothed, width, test, smoothed_test, validation, smoothed_validation)


def draw_pairs(ax: Axes, pairs: Sequence[Pair], *, location: str) -> None:
    """Draw the curves and the legend."""
    if len(pairs) == 1:
        _draw_one(ax, pairs[0])
        handles = [*ax.get_legend_handles_labels()[0], *band_key(ax)]
        legend = ax.legend(**LEGEND | {"loc": location, "handles": handles})
        for handle in legend.legend_handles:
            if handle is not None and (handle.get_alpha() or 1) < 1:
                handle.set_alpha(0.5)  # a single pale hair line could not be seen there
    else:
        _draw_several(ax, pairs, location)


def mark_divergence(ax: Axes, pairs: Sequence[Pair]) -> None:
    """Say where the loss of a single run became NaN or infinite."""
    run = pairs[0].source.run
    if len(pairs) > 1 or run is None or run.diverged_at is None or not len(pairs[0].train):
        return
    x = pairs[0].train.x[min(max(run.diverged_at - 1, 0), len(pairs[0].train) - 1)]
    ax.axvline(x, color=INK, linewidth=1, linestyle=":")
    ax.annotate(
        f"diverged at step {run.diverged_at:,}",
        xy=(x, 0.5),
        xycoords=("data", "axes fraction"),
        xytext=(-4, 0),
        textcoords="offset points",
        rotation=90,
        ha="right",
        va="center",
        fontsize="small",
        color=INK,
    )


def _draw_one(ax: Axes, one: Pair) -> None:
    average, run, named = one.average, one.source.run, "training, " if one.source.run is not None else ""
    if one.has_train:
        line = f"{named}{average} of {one.window} batches"
        draw_line(ax, one.train, one.smoothed, TRAIN, f"{named}every batch", line, light=one.window > 1)
    if run is None:
        return
    if one.validation is not None:
        label = f"validation, {count(len(run.validation_indices), 'image')}{_final(run, one.measures['validation'])}"
        draw_measured(ax, one.validation, one.smoothed_validation, VALIDATION, label, f"validation, running {average}")
    label = f"test, {count(len(run.test_indices), 'image')}{_final(run, one.measures['test'])}"
    draw_measured(ax, one.test, one.smoothed_test, TEST, label, f"test, running {average}")


def _final(run: Run, measure: Measure[Any]) -> str:
    """Return the last and the best accuracy as text; nothing of a loss, or where none was measured.

    Weights that are no numbers any more have no last accuracy.
    """
    values, best = measure.sound(run), measure.best_of(run)
    if best is None or measure.unit != "fraction":
        return ""
    final = "" if np.isnan(values[-1]) else f"final {measure.text(values[-1])}, "
    return f": {final}best {measure.text(values[best])}"


def draw_measured(
    ax: Axes, raw: Curve | None, smoothed: Curve | None, colour: str, label: str, smoothed_label: str
) -> None:
    """Draw a curve of evaluations. As long as they fit, all are drawn in full: they are what a run is about."""
    if raw is None or smoothed is None or not len(raw):
        return
    draw_band(ax, raw, colour)
    dense = len(raw) > DENSE and smoothed is not raw
    draw_line(ax, raw, smoothed, colour, label, smoothed_label, light=dense)


def draw_line(
    ax: Axes, raw: Curve, smoothed: Curve, colour: str, label: str, smoothed_label: str, *, light: bool
) -> None:
    """Draw all points; with `light` pale, and the smoothed line above them."""
    every = decimate(raw)
    if not light:
        ax.plot(every.x, every.y, color=colour, linewidth=1.3, label=label, zorder=3, **_marker(every))
        return
    alpha = 0.3 if len(raw) <= DENSE else 0.16
    ax.plot(every.x, every.y, color=colour, alpha=alpha, linewidth=0.6, label=label, zorder=2)
    line = decimate(smoothed)
    ax.plot(line.x, line.y, color=colour, linewidth=1.8, label=smoothed_label, zorder=4)


def _draw_several(ax: Axes, pairs: Sequence[Pair], location: str) -> None:
    from matplotlib.lines import Line2D

    handles: list[Artist] = []
    for number, one in enumerate(pairs):
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        raw, line = decimate(one.train), decimate(one.smoothed)
        if one.window > 1:
            ax.plot(raw.x, raw.y, color=colour, alpha=max(0.06, 0.4 / len(pairs)), linewidth=0.5, zorder=2)
        # Markers tell runs apart without colour; each run's stand elsewhere, so that none hides another.
        every = max(1, len(line) // 6)
        places: dict[str, Any] = {
            "marker": marker,
            "markevery": (number * every // len(pairs), every),
            "markersize": 5.0,
        }
        style: dict[str, Any] = {
            "color": colour,
            "linewidth": 1.6,
            "markeredgecolor": "white",
            "markeredgewidth": 0.6,
        }
        ax.plot(line.x, line.y, zorder=4, **style, **places)
        handles.append(Line2D([], [], marker=marker, markersize=5, label=plain(one.source.label), **style))
        # All measurements of all runs would be a thicket: here the test set's line is smoothed too.
        if one.smoothed_test is not None and len(one.smoothed_test):
            if one.test is not None:
                draw_band(ax, one.test, colour, alpha=max(0.08, 0.2 - 0.03 * len(pairs)))
            test = decimate(one.smoothed_test)
            ax.plot(
                test.x,
                test.y,
                color=colour,
                linewidth=1.1,
                linestyle=(0, (3, 1.2)),
                zorder=3,
                **_marker(test),
            )
    if any(one.test is not None for one in pairs):
        widest = max(one.window for one in pairs)
        smoothed = f"training, {pairs[0].average} of {widest}" if widest > 1 else "training"
        if any(one.has_train for one in pairs):
            handles.append(Line2D([], [], color=GREY, linewidth=1.6, label=smoothed))
        handles.append(Line2D([], [], color=GREY, linewidth=1.1, linestyle=(0, (3, 1.2)), label="test"))
    ax.legend(**LEGEND | {"loc": location, "handles": [*handles, *band_key(ax)]})


def _marker(data: Curve) -> dict[str, Any]:
    return {"marker": "o", "markersize": 3.5} if np.count_nonzero(~np.isnan(data.y)) <= FEW else {}
