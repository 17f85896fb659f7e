"""What needs no file: the built-in glyph digits, and the choice between them and MNIST."""

from __future__ import annotations

import logging
import os

import numpy as np

from everybatch import _core
from everybatch.dataset import Dataset
from everybatch.datasets._idx_sets import MNIST
from everybatch.datasets._locate import find
from everybatch.datasets._named import build
from everybatch.errors import ArgumentError

__all__ = ["default", "glyphs"]

_MOST = 10_000_000  # the core has the same limit

_log = logging.getLogger("everybatch")


def glyphs(train: int = 60_000, test: int = 10_000, seed: int = 0) -> Dataset:
    """Draw the built-in digits: ten classes of strokes, randomly bent, thickened and noised, 28x28, grey.

    They need no file and no network, and are the same for the same seed. They stand in for MNIST where it
    cannot be had, but they are not MNIST: no figure measured on them can be compared with one of MNIST.

    Parameters
    ----------
    train, test
        Number of training and of test images, from 1 to 10,000,000.
    seed
        From 0 to 2**64 - 1. Training and test images are drawn from separate random streams of it.

    Raises
    ------
    ArgumentError
        If a number is out of range.

    Examples
    --------
    >>> import everybatch as eb
    >>> data = eb.datasets.glyphs(train=200, test=50)
    >>> data.train_images.shape, data.train_images.dtype, data.num_classes
    ((200, 28, 28), dtype('uint8'), 10)
    """
    return _draw_glyphs(train, test, seed, f"built-in glyph digits, drawn with seed {seed}")


def default(root: str | os.PathLike[str] | None = None) -> Dataset:
    """MNIST if it is on this machine, else the built-in glyph digits; nothing is downloaded.

    MNIST is looked for as `mnist` does: in `root`, ``$EVERYBATCH_DATA`` and the cache. Where the glyphs take
    its place, one line on the logger ``everybatch`` (which Python shows on stderr unless logging is set up
    otherwise) and `Dataset.source` say so.

    Raises
    ------
    FileFormatError
        If MNIST's files were found but are damaged: this is not passed over in silence.
    """
    found = find(MNIST, root)
    if found.arrays is not None:
        return build(MNIST, found.arrays, f"MNIST, read from {found.folder}")
    where = "; ".join(found.looked)
    _log.warning("MNIST is not on this machine (looked in %s): using the built-in glyph digits instead", where)
    return _draw_glyphs(
        60_000, 10_000, 0, f"built-in glyph digits, drawn with seed 0, because MNIST was not in {where}"
    )


def _draw_glyphs(train: int, test: int, seed: int, source: str) -> Dataset:
    for what, value, low, high in (("train", train, 1, _MOST), ("test", test, 1, _MOST), ("seed", seed, 0, 2**64 - 1)):
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool):
            raise TypeError(f"{what} must be an integer, not {value!r}")
        if not low <= int(value) <= high:
            raise ArgumentError(f"{what} must be from {low} to {high:,}, not {value}")
    train_images, train_labels = _core.glyphs(train, seed, 0)
    test_images, test_labels = _core.glyphs(test, seed, 1)
    return Dataset(
        train_images,
        train_labels,
        test_images,
        test_labels,
        classes=tuple("0123456789"),
        name="glyphs",
        source=source,
    )
