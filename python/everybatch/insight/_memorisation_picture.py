"""The picture of `memorisation`: the test accuracy, and below it who is fitted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from everybatch.plots._style import BLUE, GREEN, INK, TEST, VERMILLION, new_axes, percent_axis, small, tidy, title
from everybatch.plots._zoom import zoomed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from everybatch.insight._memorisation import Memorisation

__all__ = ["draw"]


def draw(found: Memorisation) -> list[Axes]:
    """See `Memorisation.plot`."""
    run = found._run
    first = new_axes(None, (7.2, 5.2))
    figure: Any = first.figure
    first.remove()
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 3))
    step, accuracy = found._measured
    above.plot(step, accuracy, color=TEST, linewidth=1)
    above.set_ylabel("test accuracy")
    above.set_ylim(*zoomed([accuracy[len(accuracy) // 20 :].astype(float)]))
    marks: dict[str, Any] = {"linewidth": 1.4, "markersize": 5}
    below.plot(found.step, found.others_fitted, color=BLUE, marker="o", label="all other images", **marks)
    below.plot(found.step, found.suspects_fitted, color=VERMILLION, marker="s", label="suspects", **marks)
    below.set_ylim(-0.02, 1.04)
    below.set_xlabel("mini-batches")
    below.set_ylabel("predicted as labelled")
    for ax in (above, below):
        percent_axis(ax)
        tidy(ax)
        if found.onset_step is not None:
            ax.axvline(found.onset_step, color=GREEN, linewidth=1.4, linestyle=(0, (4, 1.5)), zorder=1.5)
    said = "no memorisation" if found.onset_step is None else f"memorisation from step {found.onset_step:,} on"
    if found.onset_step is not None:
        text = f" {found.accuracy_at_onset:.2%}"
        place = above.get_xaxis_transform()
        above.text(found.onset_step, 0.04, text, transform=place, fontsize=small(), color=GREEN)
    title(above, [run])
    above.set_title(said, loc="right", fontsize="medium", color=INK if found.onset_step is None else GREEN)
    below.set_xlim(0, 1.01 * max(run.steps, 1))
    count = f"{int(found.suspects[-1]):,} of {len(run.trained_indices):,} images at the end"
    how: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (-0.01, 1.0), "ncols": 2, "borderaxespad": 0.2}
    legend = below.legend(frameon=False, fontsize="small", labelcolor=INK, **how)
    legend.get_texts()[1].set_text(f"suspects, voted against before ({count})")
    return [above, below]
