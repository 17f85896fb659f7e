"""Small images side by side, as parts of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from everybatch.plots._style import INK, plain, small

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Caption", "caption", "characters", "mosaic"]

Caption = Sequence[tuple[str, str]]
"""Names, each with what follows it: [("cat", " → "), ("dog", " (2/3)")]. Only the names may be cut."""


def caption(parts: Caption, most: int) -> str:
    """Return a caption of at most so many characters a line: in one line if it fits, else a line for each name."""
    whole = "".join(name + after for name, after in parts)
    if len(whole.rstrip()) <= most:
        return whole.rstrip()
    lines = []
    for name, after in parts:
        room = max(most - len(after.rstrip()), 2)
        lines.append((name if len(name) <= room else name[: room - 1] + "…") + after.rstrip())
    return "\n".join(lines)


def characters(inches: float, size: float) -> int:
    """Return how many characters of a font of `size` points have room, at least 4."""
    return max(int(inches * 72 / (0.62 * size)), 4)


def mosaic(ax: Axes, images: npt.NDArray[np.uint8], captions: Sequence[str], columns: int) -> None:
    """Draw images (n, height, width) or (n, height, width, channels) in rows of so many, with captions below."""
    ax.set_axis_off()
    if not len(images):
        return
    height, width = images.shape[1:3]
    rows = -(-len(images) // columns)
    room, gap = 0.55 * height, 0.18 * width  # for a caption, and between images
    if images.ndim == 4 and images.shape[3] == 1:
        images = images[..., 0]
    grey: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 255} if images.ndim == 3 else {}
    for place, (image, caption) in enumerate(zip(images, captions, strict=True)):
        row, column = divmod(place, columns)
        left, top = column * (width + gap), row * (height + room)
        ax.imshow(
            image[..., :3] if image.ndim == 3 else image,
            extent=(left, left + width, top + height, top),
            interpolation="nearest",
            **grey,
        )
        ax.text(
            left + width / 2, top + height + 0.06 * height, plain(caption), ha="center", va="top", fontsize=small() - 1,
            color=INK, clip_on=False,
        )  # fmt: skip
    ax.set_xlim(0, columns * (width + gap) - gap)
    ax.set_ylim(rows * (height + room), 0)
    ax.set_aspect("equal")
    ax.set_anchor("NW")
