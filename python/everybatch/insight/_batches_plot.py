"""The picture of `batches`: the accuracy with its falls, and one fall with the batches before it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from everybatch._arguments import whole
from everybatch._metered import is_metered
from everybatch._words import count
from everybatch.errors import ArgumentError
from everybatch.insight._mosaic import caption, mosaic
from everybatch.plots._style import BLUE, FEW, GREY, INK, TEST, VERMILLION, new_axes, percent_axis, small, tidy, title
from everybatch.plots._zoom import zoomed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from everybatch.insight._batches import Batches

__all__ = ["ledger"]

_MOST = 15
"""Images that are shown of a batch, and of what was lost."""
_FITS = 7
"""Characters that have room below one of them."""


def ledger(found: Batches, fall: int | None) -> Figure:
    """See `Batches.plot`."""
    if fall is not None:
        fall = whole(fall, "fall", least=0)
        if fall >= len(found.step):
            raise ArgumentError(f"fall is {fall}, and the ledger has {count(len(found.step), 'row')}")
    elif len(found.falls):
        fall = found.deepest
    top = new_axes(None, (9.0, 3.4 if fall is None else 7.2))
    figure = top.get_figure(root=True)
    assert figure is not None
    if fall is not None:
        top.remove()
        grid = figure.add_gridspec(2, 3, height_ratios=(1, 1.05), width_ratios=(1.25, 1, 1))
        top = figure.add_subplot(grid[0, :])
        _suspects(figure.add_subplot(grid[1, 0]), found, fall)
        _batch(figure.add_subplot(grid[1, 1]), found, fall)
        _lost(figure.add_subplot(grid[1, 2]), found, fall)
    _curve(top, found, fall)
    return figure


def _curve(ax: Axes, found: Batches, fall: int | None) -> None:
    taken = np.concatenate([[found.step[0] + 1 - found.steps[0]], found.step + 1])
    ax.plot(taken, found.accuracy, color=TEST, linewidth=1.0, marker="." if len(taken) <= FEW else "")
    low, high = zoomed([found.accuracy])
    if len(found.falls):
        at = found.falls + 1
        label = count(len(found.falls), "fall")
        ax.plot(taken[at], found.accuracy[at], "v", color=BLUE, markersize=6, markeredgecolor="white", label=label)
    if fall is not None:
        ax.axvline(taken[fall + 1], color=GREY, linewidth=0.9, linestyle=(0, (4, 2)), zorder=0.6)
        begin = found.begin(fall)
        steps = f"step {found.step[fall]}" if begin == fall else f"steps {found.step[begin]} to {found.step[fall]}"
        ax.annotate(
            f"{steps}: {found.net[begin : fall + 1].sum():+d} images", (taken[fall + 1], high), (4, -2),
            textcoords="offset points", va="top", fontsize=small(), color=INK,
        )  # fmt: skip
    ax.set_ylim(low, high)
    ax.set_xlabel(f"mini-batches (measured {found.interval})")
    ax.set_ylabel("test accuracy")
    percent_axis(ax)
    tidy(ax)
    title(ax, [found._seen.run])
    if len(found.falls):
        ax.legend(fontsize="small", frameon=False, loc="lower right")


def _suspects(ax: Axes, found: Batches, fall: int) -> None:
    """The batches up to the fall by their effects."""
    steps = found.before(fall)
    effects = found.effects
    known = np.isin(steps, effects.step) if effects is not None else np.zeros(len(steps), bool)
    if effects is None or not known.any():
        lacking = 'No effects of these steps\nwere measured:\nbatches(run, effects="every")'
        if effects is None:
            lacking = 'No effects were measured:\nbatches(run, effects="falls")\n'
            lacking += 'of a run with record=\n("predictions", "weights")'
        ax.set_axis_off()
        ax.text(0, 1, lacking, va="top", fontsize=small(), color=INK)
        return
    steps = steps[known]
    rows = np.searchsorted(effects.step, steps)
    values, errors = effects.loss[rows], 2 * effects.loss_error[rows]
    places = np.arange(len(steps))
    ax.barh(places, values, color=np.where(values > 0, VERMILLION, BLUE), height=0.72)
    ax.errorbar(values, places, xerr=errors, fmt="none", ecolor=INK, elinewidth=0.9, capsize=2)
    ax.axvline(0, color=GREY, linewidth=0.8)
    ax.set_yticks(places, [f"step {step}" for step in steps], fontsize=small())
    ax.invert_yaxis()
    ax.set_xlabel("effect on the test loss,\nagainst a null step (two standard errors)", fontsize=small())
    ax.tick_params(axis="x", labelsize=small())
    ax.locator_params(axis="x", nbins=4)
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.set_title("The last batches by their effect", loc="left", fontsize=small() + 1, color=INK)
    tidy(ax, grid=False)


def _batch(ax: Axes, found: Batches, fall: int) -> None:
    """Images of the batch that did the most harm."""
    if is_metered(found._seen.run._config):
        ax.axis("off")
        ax.text(0, 1, "A meter does not know\nthe images of batches.", va="top", fontsize=small(), color=INK)
        return
    step = int(found.before(fall)[0])
    batch = found._seen.run.batch_indices(step)
    shown, data = batch[:_MOST], found._seen.data
    names = [caption([(data.classes[label], "")], _FITS) for label in data.train_labels[shown]]
    mosaic(ax, data.train_images[shown], names, 5)
    more = f" ({len(shown)} of {len(batch)})" if len(shown) < len(batch) else ""
    ax.set_title(f"The batch of step {step}{more}", loc="left", fontsize=small() + 1, color=INK)


def _lost(ax: Axes, found: Batches, fall: int) -> None:
    """Test images that the fall lost: what they are, and what they were taken for."""
    lost = found.lost_images(fall)
    shown, data = lost[:_MOST], found._seen.data
    order = {int(image): place for place, image in enumerate(found._seen.run.test_indices)}
    after = [int(found._seen.predictions[fall + 1, order[int(image)]]) for image in shown]
    names = [(data.classes[data.test_labels[i]], data.classes[p]) for i, p in zip(shown, after, strict=True)]
    captions = [caption([(is_, "→"), (taken_for, "")], _FITS) for is_, taken_for in names]
    mosaic(ax, data.test_images[shown], captions, 5)
    ax.set_title(f"Lost: {count(len(lost), 'image')}", loc="left", fontsize=small() + 1, color=INK)
