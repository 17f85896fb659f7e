"""Names for runs, made from what differs between them, and labels at line ends that do not overlap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ._style import INK, Dashes, text_height

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from everybatch.run import Run

__all__ = ["automatic_labels", "end_labels", "spread"]

# Follow from other settings, so they would only repeat what a label says already.
_DERIVED = {"steps", "steps_per_epoch", "record", "weights_every", "evaluate_every", "evaluate_on"}


def automatic_labels(runs: Sequence[Run | None], fallbacks: Sequence[str]) -> list[str]:
    """Return one label for each run: the settings that differ, as ``lr 0.01``, or else `fallbacks`.

    A single run needs no label and gets an empty one.
    """
    if len(runs) == 1:
        return [""]
    if any(run is None for run in runs):
        return list(fallbacks)
    settings = [_settings(run.config) for run in runs if run is not None]
    parts: list[list[str]] = [[] for _ in runs]
    for name in dict.fromkeys(key for each in settings for key in each):
        values = [each.get(name) for each in settings]
        if len({repr(value) for value in values}) == 1:
            continue
        for part, value in zip(parts, values, strict=True):
            part.append(f"{value}" if name in ("network", "data set") else f"{name.replace('_', ' ')} {value}")
        labels = [", ".join(part) for part in parts]
        if len(set(labels)) == len(labels):
            return labels
    return list(fallbacks)


def _settings(config: dict[str, Any]) -> dict[str, Any]:
    training = {k: v for k, v in config["training"].items() if k not in _DERIVED and not isinstance(v, dict | list)}
    return {"network": config["network"].get("name"), "data set": config["dataset"].get("name"), **training}


def end_labels(
    ax: Axes, texts: Sequence[str], ends: Sequence[float], styles: Sequence[tuple[str, Dashes]], size: float
) -> None:
    """Write each line's name right of the Axes at the height of its end, joined to it by a leader.

    The heights follow from today's limits and size of `ax`, so set the limits first.
    """
    low, high = ax.get_ylim()
    ends = [min(max(end, low), high) for end in ends]
    limits, where = (
        np.log(values) if ax.get_yscale() == "log" else np.asarray(values) for values in ((low, high), ends)
    )
    ends_in_axes = (where - limits[0]) / (limits[1] - limits[0])
    heights = spread(ends_in_axes, 1.1 * text_height(ax, size))
    for text, end, height, (colour, _) in zip(texts, ends, heights, styles, strict=True):
        ax.annotate(
            text,
            xy=(1, end),
            xycoords=("axes fraction", "data"),
            xytext=(1.045, height),
            textcoords="axes fraction",
            color=INK,
            fontsize=size,
            va="center",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": colour,
                "linewidth": 0.6,  # a leader, not data: thinner than any line
                "alpha": 0.6,
                "shrinkA": 1,
                "shrinkB": 0,
                "relpos": (0, 0.5),
            },
        )


def spread(wanted: Sequence[float] | np.ndarray, gap: float) -> np.ndarray:
    """Return heights at least `gap` apart, in the order of `wanted` and as near to it as a block can be.

    Labels that would overlap form a block, which is centred on the mean of its wanted heights; blocks that
    touch are joined. Then the whole is pushed back into [0, 1] as far as it fits.
    """
    wanted = np.asarray(wanted, dtype=float)
    order = np.argsort(wanted, kind="stable")
    blocks: list[list[int]] = []

    def place(block: list[int]) -> np.ndarray:
        reach = gap * (len(block) - 1) / 2
        centre = float(wanted[block].mean())
        if 2 * reach <= 1:
            centre = min(max(centre, reach), 1 - reach)
        return centre + gap * (np.arange(len(block)) - (len(block) - 1) / 2)

    for index in order:
        blocks.append([int(index)])
        while len(blocks) > 1 and place(blocks[-1])[0] - place(blocks[-2])[-1] < gap - 1e-9:
            last = blocks.pop()
            blocks[-1] = blocks[-1] + last
    heights = np.empty(len(wanted))
    for block in blocks:
        heights[block] = place(block)
    return heights
