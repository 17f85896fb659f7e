"""Arrays and images as text for a page: gzip in base 64, and pictures with many images each."""

from __future__ import annotations

import base64
import gzip
import io
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["loss_codes", "packed", "sprites"]

SIDE = 32
"""Pixels, at most, of an image's longer side on a page."""
_COLUMNS, _ROWS = 100, 100
_LEAST, _STEPS = 2.0**-14, 11.0


def packed(array: npt.NDArray[Any]) -> str:
    """Return an array's bytes, little-endian, compressed."""
    little = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False)
    return base64.b64encode(gzip.compress(little.tobytes(), 6, mtime=0)).decode()


def loss_codes(losses: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.uint8]:
    """Return losses as bytes: 0 for 2**-14 and less, then 11 for each doubling, 254 at most, 255 for what is no number.

    The loss is 2**(code / 11 - 14), which is within 3.3 percent from 6.1e-5 to 545; those beyond become these.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        codes = np.rint(_STEPS * np.log2(np.maximum(losses.astype(np.float32), _LEAST) / _LEAST))
    return np.where(np.isnan(losses), 255, np.clip(codes, 0, 254)).astype(np.uint8)


def sprites(images: npt.NDArray[np.uint8]) -> dict[str, Any]:
    """Return uint8 images (N, H, W) or (N, H, W, C) as PNG pictures with 100 rows of 100 images.

    Large ones are made smaller.

    Returns
    -------
    dict
        ``width`` and ``height`` of an image, ``columns`` and ``rows`` of a picture, and ``pictures``: data URLs.
    """
    from PIL import Image

    count, height, width = images.shape[:3]
    shrink = min(1.0, SIDE / max(height, width))
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    pictures = []
    for start in range(0, count, _COLUMNS * _ROWS):
        some = images[start : start + _COLUMNS * _ROWS]
        rows = -(-len(some) // _COLUMNS)
        channels = some.shape[3] if some.ndim == 4 else 1
        kept = 1 if channels == 1 else 3
        sheet = np.zeros((rows * size[1], _COLUMNS * size[0], kept), np.uint8)
        for place, image in enumerate(some):
            if shrink < 1.0:
                image = np.asarray(_image(image).resize(size, Image.Resampling.BOX))
            top, left = place // _COLUMNS * size[1], place % _COLUMNS * size[0]
            sheet[top : top + size[1], left : left + size[0]] = image.reshape(*size[::-1], -1)[:, :, :kept]
        file = io.BytesIO()
        _image(sheet).save(file, "PNG", optimize=False)
        pictures.append("data:image/png;base64," + base64.b64encode(file.getvalue()).decode())
    return {"width": size[0], "height": size[1], "columns": _COLUMNS, "rows": _ROWS, "pictures": pictures}


def _image(pixels: npt.NDArray[np.uint8]) -> Any:
    from PIL import Image

    return Image.fromarray(pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels)
