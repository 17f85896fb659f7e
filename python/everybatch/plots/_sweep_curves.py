"""`sweep_curves`: the learning curves of all trials of a sweep, coloured by one setting."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everybatch._measures import CURVES

from . import _curves
from ._curve_axes import check_curve_options, curve_axes
from ._curves import window_for
from ._error_bands import draw_band, name_band
from ._style import new_axes
from ._sweep_inputs import Swept, as_trials, check_setting, curves_of, label_left_out
from ._sweep_palette import draw_key, palette

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["sweep_curves"]


def sweep_curves(
    sweep: Swept,
    *,
    by: str | None = None,
    metric: str = "test_accuracy",
    x: str = "step",
    smooth: int | None = None,
    scale: str = "auto",
    ax: Axes | None = None,
) -> Axes:
    """Draw the learning curve of every trial as a thin line, in one colour for each value of a setting.

    The curve of one that diverged ends where its weights were numbers for the last time. Around measurements that are
    estimates lies a band of two standard errors to both sides.

    Parameters
    ----------
    sweep
        A sweep, some of its trials, or the path of a stored one.
    by
        The setting that the colours stand for, ``"seed"`` among them. By default the first one with more than one
        value.
    metric
        As in `compare`: ``"test_accuracy"``, ``"validation_loss"``, ...
    x
        ``"step"`` (mini-batches), ``"epoch"`` or ``"seconds"`` (training and evaluation together).
    smooth
        Points in the centred running median (mean for the training accuracy); 1 for none. By default a fiftieth of
        each run, none below 60 points.
    scale
        ``"linear"``, ``"log"``, or ``"auto"``, as in `compare`.
    ax
        Where to draw; a new figure by default.

    Raises
    ------
    TypeError, ArgumentError
        Something that cannot be drawn, with a sentence that says what could.
    """
    check_curve_options(metric, x, scale)
    trials = as_trials(sweep, "plots.sweep_curves")
    setting = check_setting("by", by, trials)
    found = curves_of(trials, metric, x, "sweep_curves")
    mean = CURVES[metric].average == "mean"
    lines = [_curves.smooth(raw, window_for(len(raw), smooth), mean=mean, points=200) for _, raw in found]
    colours = palette(setting, [trial.setting(setting) for trial in trials])

    ax = new_axes(ax, (6.8, 4.2))
    faint = min(0.85, max(0.45, 20 / len(found)))
    for (trial, raw), line in zip(found, lines, strict=True):
        colour, dashes = colours.styles[colours.place(trial.setting(setting))]
        draw_band(ax, raw, colour, alpha=max(0.04, 0.2 / len(found)))
        points = _curves.decimate(line, 600)
        ax.plot(points.x, points.y, color=colour, linestyle=dashes, linewidth=1.1, alpha=faint, label=trial.key)
    curve_axes(ax, lines, metric, x, scale, plot="sweep_curves")
    name_band(ax, "lower right" if CURVES[metric].better == "higher" else "upper right")
    label_left_out(ax, trials, [trial for trial, _ in found])
    draw_key(ax, colours)
    return ax
