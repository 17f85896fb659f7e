"""Some test images side by side, each with a line below it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from everybatch.errors import ArgumentError
from everybatch.insight._mosaic import Caption, caption, characters
from everybatch.plots._style import INK, new_axes, plain, small

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from everybatch.dataset import Dataset

__all__ = ["draw_images"]

_COLUMNS = 10
_INCHES = 0.82
"""Of one image."""


def draw_images(
    data: Dataset, indices: npt.NDArray[np.int64], captions: Sequence[Caption], title: str, ax: Axes | None
) -> Axes:
    """Draw test images, ten in a row.

    Raises
    ------
    ArgumentError
        There are none.
    """
    if not len(indices):
        raise ArgumentError(f"there are no images to draw: {title}")
    columns = min(_COLUMNS, len(indices))
    rows = -(-len(indices) // columns)
    images = data.test_images[indices]
    height, width = images.shape[1:3]
    fits = characters(1.08 * _INCHES * width / height, small())
    below = [caption(each, fits) for each in captions]
    line = 0.34 * height * (1.4 if any("\n" in each for each in below) else 1)  # room for a caption
    ax = new_axes(ax, (max(columns * _INCHES * width / height, 4.2), rows * _INCHES * (0.96 + line / height) + 0.4))
    for place, (image, text) in enumerate(zip(images, below, strict=True)):
        left, top = (place % columns) * 1.08 * width, (place // columns) * (height + line)
        ax.imshow(
            image[..., :3] if image.ndim == 3 and image.shape[2] > 1 else image.reshape(height, width),
            cmap="gray",
            vmin=0,
            vmax=255,
            interpolation="nearest",
            extent=(left, left + width, top + height, top),
        )
        ax.text(
            left + width / 2,
            top + height + 0.02 * height,
            plain(text),
            ha="center",
            va="top",
            fontsize=small(),
            color=INK,
        )
    ax.set_xlim(-0.04 * width, columns * 1.08 * width)
    ax.set_ylim(rows * (height + line), -0.04 * height)
    ax.set_aspect("equal")
    ax.axis("off")
    ax.set_title(plain(title), loc="left", fontsize="medium", color=INK)
    return ax
