"""`grid`: a small picture for each run, all on the same axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from everybatch._arguments import choice, optional_whole
from everybatch._measures import QUANTITIES

from ._curves import AXES, label_x
from ._error_bands import band_key
from ._inputs import Drawable, as_sources, check_fractions
from ._losses import loss_limits
from ._style import INK, TEST, TRAIN, VALIDATION, new_axes, percent_axis, plain, small, tidy
from ._train_test import LEGEND, Pair, draw_line, draw_measured, mark_divergence, pair
from ._zoom import zoomed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["grid"]

_MOST_COLUMNS = 4
_CELL = (3.2, 2.3)  # inches


def grid(
    runs: Drawable,
    *,
    metric: str = "loss",
    labels: Sequence[str] | None = None,
    x: str = "step",
    smooth: int | None = None,
    columns: int | None = None,
    zoom: bool = True,
) -> list[Axes]:
    """Draw a grid of small pictures, one for each run: its training, validation and test curves.

    All share their axes, so that runs can be compared from picture to picture. Above each stand the run's name and its
    last test loss or accuracy. Around measurements that are estimates lies a band of two standard errors to both sides.

    Parameters
    ----------
    runs
        Runs, folders of saved runs, or lists of numbers (one for each batch), in a list or a dict from label to run.
    metric
        ``"loss"`` or ``"accuracy"``.
    labels
        Names for the runs. By default what differs between their settings.
    x
        ``"step"`` (mini-batches), ``"epoch"`` or ``"seconds"`` (training and evaluation together).
    smooth
        Batches in the centred running median (mean for accuracies); 1 for none. By default a fiftieth of each run,
        none below 60 batches.
    columns
        Pictures side by side; as square a grid as possible by default, of at most four columns.
    zoom
        Fit the y axis of accuracies to the last four fifths of the runs. False: 0 to 100 %.

    Returns
    -------
    list of Axes
        One for each run, in order, all of one new figure (``axes[0].figure``).

    Raises
    ------
    TypeError, ArgumentError
        Something that cannot be drawn, with a sentence that says what could.
    """
    choice(metric, "metric", tuple(QUANTITIES))
    choice(x, "x", tuple(AXES))
    wanted = optional_whole(columns, "columns")
    sources = as_sources(runs, labels, plot="grid", ndim=1)
    if metric == "accuracy":
        check_fractions(sources, plot="grid")
    pairs = [pair(source, metric, x=x, window=smooth, plot="grid") for source in sources]
    axes = _axes(len(pairs), wanted)
    for ax, one in zip(axes, pairs, strict=True):
        _draw(ax, one)
        mark_divergence(ax, [one])
        label_x(ax, x)
        ax.set_xlabel("")
        tidy(ax)
        _name(ax, one)
    ends = [float(line.x[-1]) for one in pairs for line in (*one.lines, one.train) if len(line)]
    axes[0].set_xlim(0, 1.01 * max(ends) or 1)  # of the longest run; 1 where only untrained networks were measured
    if metric == "accuracy":
        percent_axis(axes[0])
        reach = [values for one in pairs for line in one.lines for values in line.reach]
        axes[0].set_ylim(*zoomed(reach) if zoom else (0, 1.02))
    else:
        loss_limits(axes[0], pairs, "auto")
    figure: Figure = axes[0].figure  # type: ignore[assignment]
    figure.supxlabel(AXES[x], fontsize="medium", color=INK)
    figure.supylabel(QUANTITIES[metric], fontsize="medium", color=INK)
    _legend(figure, axes)
    return axes


def _axes(count: int, columns: int | None) -> list[Axes]:
    """Return the Axes of a new figure, with ticks where no other picture stands below or to the left."""
    across = min(columns or min(int(np.ceil(np.sqrt(count))), _MOST_COLUMNS), count)
    down = -(-count // across)
    first = new_axes(None, (_CELL[0] * across + 0.4, _CELL[1] * down + 0.7))
    figure = first.figure
    first.remove()
    cells = list(figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).flat)
    for empty in cells[count:]:
        empty.remove()
    for ax in cells[max(0, count - across) : count]:  # the lowest of each column
        ax.tick_params(labelbottom=True)
    return cells[:count]


def _draw(ax: Axes, one: Pair) -> None:
    average = one.average
    if one.has_train:
        draw_line(ax, one.train, one.smoothed, TRAIN, "training", f"training, running {average}", light=one.window > 1)
    draw_measured(
        ax, one.validation, one.smoothed_validation, VALIDATION, "validation", f"validation, running {average}"
    )
    draw_measured(ax, one.test, one.smoothed_test, TEST, "test", f"test, running {average}")


def _name(ax: Axes, one: Pair) -> None:
    run = one.source.run
    name = one.source.label or ("" if run is None else str(run.config["network"].get("name") or ""))
    ax.set_title(plain(name), loc="left", fontsize="medium", color=INK)
    if run is not None and len(run.test_loss):
        measure = one.measures["test"]
        last = measure.sound(run)[-1]
        ax.set_title("" if np.isnan(last) else measure.text(last), loc="right", fontsize=small(), color=TEST)


def _legend(figure: Figure, axes: Sequence[Axes]) -> None:
    """Name each kind of line once, above all pictures."""
    named: dict[str, Any] = {}
    for ax in axes:
        handles, labels = ax.get_legend_handles_labels()
        named.update(zip(labels, handles, strict=True))
    order = sorted(named, key=lambda label: ("training", "validation", "test").index(label.split(",")[0]))
    key = band_key(*axes)
    legend = figure.legend(
        [*(named[label] for label in order), *key],
        [*order, *(str(each.get_label()) for each in key)],
        **LEGEND | {"loc": "outside upper left", "ncols": 3},
    )
    for handle in legend.legend_handles:
        if handle is not None and (handle.get_alpha() or 1) < 1:
            handle.set_alpha(0.5)  # a single pale hair line could not be seen there
