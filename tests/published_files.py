"""Writes small files in the layouts in which data sets are published, byte by byte."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np


def idx(array: np.ndarray) -> bytes:
    """LeCun's layout: two zeros, the type (8: unsigned bytes, 12: 32 bits), dimensions, big-endian lengths, values."""
    kind = {1: 0x08, 4: 0x0C}[array.dtype.itemsize]
    head = struct.pack(f">HBB{array.ndim}I", 0, kind, array.ndim, *array.shape)
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write(folder: Path, files: dict[str, bytes], *, packed: bool = False) -> Path:
    """Write files, with ``.gz`` if `packed`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(content)) if packed else (folder / name).write_bytes(content)
    return folder


def cifar10(images: np.ndarray, labels: np.ndarray) -> bytes:
    """<1 x label><3072 x pixel> for each image; all of red, then green, then blue, each by rows."""
    return b"".join(
        bytes([label]) + b"".join(image[..., c].tobytes() for c in range(3))
        for image, label in zip(images, labels, strict=True)
    )


def cifar100(images: np.ndarray, coarse: np.ndarray, fine: np.ndarray) -> bytes:
    """<1 x coarse label><1 x fine label><3072 x pixel>."""
    return b"".join(
        bytes([c, f]) + image.transpose(2, 0, 1).tobytes() for image, c, f in zip(images, coarse, fine, strict=True)
    )


def mat(arrays: dict[str, np.ndarray], *, packed: bool = True, order: str = "<") -> bytes:
    """The MAT-file format of version 5: a header of 128 bytes, then elements; uint8 arrays only."""

    def element(kind: int, content: bytes) -> bytes:
        return struct.pack(f"{order}II", kind, len(content)) + content + b"\0" * (-len(content) % 8)

    body = b""
    for name, array in arrays.items():
        parts = element(6, struct.pack(f"{order}II", 9, 0))  # flags: class 9, uint8
        parts += element(5, struct.pack(f"{order}{array.ndim}i", *array.shape))
        if len(name) <= 4:  # a small element: length and type share the first four bytes
            parts += struct.pack(f"{order}I", len(name) << 16 | 1) + name.encode().ljust(4, b"\0")
        else:
            parts += element(1, name.encode())
        parts += element(2, array.tobytes(order="F"))
        whole = struct.pack(f"{order}II", 14, len(parts)) + parts
        if packed:
            whole = zlib.compress(whole)
            whole = struct.pack(f"{order}II", 15, len(whole)) + whole
        body += whole
    head = b"MATLAB 5.0 MAT-file, Platform: GLNX86".ljust(124) + struct.pack(f"{order}H", 0x0100)
    return head + (b"IM" if order == "<" else b"MI") + body
