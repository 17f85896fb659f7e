"""One reader of pictures for every way in: folders of classes, single files, the command line.

What a picture looks like to a person is what is read: upright, as its EXIF orientation says; what is see-through laid
on a ground of one colour; 16 bits a channel brought to 8. Files are opened by what they hold, not by their ending.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import importlib.util
import io
import operator
import os
import stat
import threading
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from everybatch.errors import ArgumentError, DataWarning, EverybatchError, FileFormatError

if TYPE_CHECKING:
    from PIL import Image

__all__ = [
    "Facts",
    "Ground",
    "Source",
    "endings",
    "ground",
    "is_grey",
    "read",
    "read_picture",
    "shown",
    "whole_size",
]

Pixels = npt.NDArray[np.uint8]
Source = Any
"""A path, the bytes of a file, or a PIL image."""
Ground = tuple[int, int, int]
"""Red, green and blue, 0 to 255, of what lies behind a see-through picture."""
MOST_PIXELS = 2**26
"""Of a size that pictures are brought to: more would take minutes and gigabytes for each."""

# Of the formats that Pillow knows, those for pictures of things: no documents (EPS would run another program), no
# icons, no measurements. HEIF and JXL are there if a plug-in of Pillow's is.
_FORMATS = (
    *("AVIF", "BMP", "DIB", "GIF", "HEIF", "JPEG", "JPEG2000", "JXL", "MPO", "PCX", "PNG", "PPM", "QOI"),
    *("SGI", "TGA", "TIFF", "WEBP"),
)
_GREY_MODES = {"1", "L", "LA", "La", "I;16", "I;16L", "I;16B", "I;16N"}
_SIXTEEN_BITS = {"I;16", "I;16L", "I;16B", "I;16N"}
_WIDE_OF_SIXTEEN = {"PNG", "PPM"}  # formats whose mode I holds 16 bits
_HEARING = threading.RLock()  # threads that leave in another order than they came would change warnings for good
_DENSEST = {"PNG": 1100, "GIF": 2800, "JPEG": 2800, "BMP": 1100, "PPM": 2}
_DENSEST |= {"raw": 2, "packbits": 130, "tiff_lzw": 2800, "tiff_deflate": 1100, "tiff_adobe_deflate": 1100}
"""Bytes of pixels that a byte of a file can hold at most; in other formats a picture of one colour takes nothing."""
_BITS_OF = {"1": 1, "P": 1, "L": 2, "RGB": 24, "RGBA": 32, "CMYK": 32, "YCbCr": 24, "LA": 16, "I;16": 16, "I;16B": 16}
_GREY_BITS = {"L;2": 2, "L;4": 4}
"""Of a pixel of a grey PNG in the file, by `_raw_mode`; 8 of all other pictures."""
_ORIENTATION, _WHITE_IS_ZERO, _BITS = 0x0112, 262, 258  # tags of EXIF and TIFF
_SPECIAL = {
    stat.S_ISFIFO: "a named pipe",
    stat.S_ISSOCK: "a socket",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
}


@dataclass(frozen=True)
class Facts:
    """What a picture was, and what was done to it."""

    mode: str
    """Pillow's name for its colours: L, RGB, RGBA, P, ..."""
    grey: bool
    """Whether it holds no colour."""
    size: tuple[int, int]
    """(height, width) in pixels, upright, before it was brought to another size."""
    turned: bool
    """Whether its EXIF orientation turned it."""
    see_through: bool
    """Whether some of it was, and the ground shows."""
    deepest: int | None
    """The highest of its 16-bit values; None with 8 bits."""
    became_uniform: bool
    """Whether it has one colour only, though the file holds more."""
    frames: bool
    """Whether there are more frames than the first, which was read."""
    complaints: tuple[str, ...]
    """Of Pillow."""


def read_picture(
    source: str | os.PathLike[str] | bytes | Image.Image,
    *,
    size: tuple[int, int] | None = None,
    channels: int | None = None,
    background: int | Sequence[int] = 255,
) -> Pixels:
    """Read one picture.

    It is turned upright as its EXIF orientation says. What is see-through (an alpha channel, a transparent colour or
    palette entry) is laid on `background`. Of 16 bits a channel the upper 8 are kept, as Pillow itself does with
    colour. Of several frames the first is read. Needs Pillow.

    Parameters
    ----------
    source
        A path, the bytes of a file, or a PIL image. What is in the file decides on its format, not the ending.
    size
        (height, width) to bring it to (bilinear, with antialiasing); its own unless given.
    channels
        1 (grey), 3 (red, green, blue), or None: as the picture is.
    background
        The ground: a grey level or (red, green, blue), 0 to 255. White unless given.

    Returns
    -------
    numpy.ndarray
        uint8, (H, W), or (H, W, 3) with three channels.

    Raises
    ------
    ImportError
        Pillow is not installed.
    ArgumentError, TypeError
        An argument cannot work.
    FileNotFoundError, IsADirectoryError, PermissionError
        The file cannot be opened.
    FileFormatError
        It is not a picture, or damaged, or has more than 16 bits a channel; the message names it.

    Warns
    -----
    DataWarning
        Pillow has doubts about the file, or the picture became one uniform colour.
    """
    pixels, facts = read(
        source,
        size=None if size is None else whole_size(size),
        channels=channels,
        background=ground(background),
    )
    for complaint in facts.complaints:
        warnings.warn(f"{_name(source)}: {complaint}", DataWarning, stacklevel=2)
    if facts.became_uniform:
        why = "laid on the background" if facts.see_through else "as it was read"
        warnings.warn(f"{_name(source)} is of one uniform colour, {why}", DataWarning, stacklevel=2)
    return pixels


def read(
    source: Source, *, size: tuple[int, int] | None, channels: int | None, background: Ground
) -> tuple[Pixels, Facts]:
    """Do what `read_picture` does, with checked arguments, and tell what was done."""
    if channels not in (None, 1, 3):
        raise ArgumentError(f"channels must be 1 (grey) or 3 (red, green, blue), not {channels!r}")
    with _opened(source) as (picture, complaints):
        from PIL import Image

        raw_mode = _raw_mode(picture)
        picture.load()
        mode = picture.mode
        given = picture  # as it is in the file, to compare with
        grey = _grey(picture, raw_mode, background)
        deepest = None
        if _is_deep(picture, _name(source)):
            picture, deepest = _upper_bits(picture)
        picture, see_through = _laid(picture, background, _GREY_BITS.get(raw_mode, 8))
        turn = _turn(given, complaints)
        if turn is not None:
            picture = picture.transpose(turn)
        target = "L" if channels == 1 or (channels is None and grey) else "RGB"
        if picture.mode != target:
            picture = picture.convert(target)
        before = (picture.height, picture.width)
        if size is not None and size != before:
            picture = picture.resize((size[1], size[0]), Image.Resampling.BILINEAR)
        pixels = np.array(picture, np.uint8)
        facts = Facts(
            mode=mode,
            grey=_is_without_colour(given, raw_mode),
            size=before,
            turned=turn is not None,
            see_through=see_through,
            deepest=deepest,
            became_uniform=bool(np.min(pixels) == np.max(pixels)) and _varies(given),
            frames=given.format not in ("MPO", "HEIF") and bool(getattr(given, "is_animated", False)),
            complaints=tuple(complaints),
        )
    return pixels, facts


def is_grey(source: Source, background: Ground) -> bool:
    """Tell whether a picture is read with one channel unless another number is asked for, by its head if that tells."""
    with _opened(source, check=False) as (picture, _):
        return _grey(picture, _raw_mode(picture), background)


def endings() -> frozenset[str]:
    """Return the endings of picture files, such as ``.png``."""
    from PIL import Image

    _formats()
    return frozenset(ending for ending, name in Image.registered_extensions().items() if name in _FORMATS)


def ground(given: int | Sequence[int]) -> Ground:
    """Check a background, and return it as red, green and blue.

    Raises
    ------
    ArgumentError
        It is neither a grey level nor three of them.
    """
    levels: Any = given if isinstance(given, (tuple, list, np.ndarray)) and np.ndim(given) == 1 else (given,)
    try:
        whole = [operator.index(level) for level in levels if not isinstance(level, (bool, np.bool_))]
    except TypeError:
        whole = []
    if len(whole) != len(levels) or len(whole) not in (1, 3) or not all(0 <= level <= 255 for level in whole):
        raise ArgumentError(f"background must be a grey level or (red, green, blue), from 0 to 255, not {given!r}")
    return (whole[0], whole[0], whole[0]) if len(whole) == 1 else (whole[0], whole[1], whole[2])


def whole_size(given: object) -> tuple[int, int]:
    """Check a size in pixels.

    Raises
    ------
    ArgumentError
        It is not (height, width).
    """
    try:
        height, width = cast("Iterable[Any]", given)
        whole = operator.index(height), operator.index(width)
    except (TypeError, ValueError):
        whole = (0, 0)
    if min(whole) < 1:
        raise ArgumentError(f"size must be (height, width) in pixels, not {given!r}")
    if whole[0] * whole[1] > MOST_PIXELS:
        raise ArgumentError(f"size must be (height, width) of at most {MOST_PIXELS:,} pixels in all, not {given!r}")
    return whole


def shown(path: object) -> str:
    r"""Return a path as text that can be printed and stored, with what is not Unicode in it as ``\udc..``."""
    return str(path).encode("utf-8", "backslashreplace").decode("utf-8")


def _name(source: Source) -> str:
    return shown(source) if isinstance(source, (str, os.PathLike)) else "the picture"


@functools.cache
def _load_plugins() -> None:
    from PIL import Image

    Image.init()


def _formats() -> list[str]:
    from PIL import Image

    _load_plugins()
    return [name for name in Image.ID if name in _FORMATS]  # in Pillow's order; plug-ins may come at any time


@contextlib.contextmanager
def _opened(source: Source, *, check: bool = True) -> Iterator[tuple[Image.Image, list[str]]]:
    """Open a picture; give also what Pillow complains of, which grows. Whatever fails within names the picture."""
    if importlib.util.find_spec("PIL") is None:
        raise ImportError("reading pictures needs Pillow: pip install pillow")
    from PIL import Image, UnidentifiedImageError

    complaints: list[str] = []
    with contextlib.ExitStack() as stack:
        if isinstance(source, Image.Image):
            file: Any = None
        elif isinstance(source, (bytes, bytearray, memoryview)):
            file = io.BytesIO(source)
        elif isinstance(source, (str, os.PathLike)):
            file = stack.enter_context(_file(Path(source)))
        else:
            raise TypeError(f"a picture is a path, the bytes of a file or a PIL image, not {type(source).__name__}")
        stack.enter_context(_heard(complaints))
        try:
            if file is None:
                yield source, complaints
            else:
                picture = Image.open(file, formats=_formats())
                if check and picture.format == "PNG":  # Pillow compares the checksums only when asked to
                    _verify(picture, complaints)
                    file.seek(0)
                    picture = Image.open(file, formats=_formats())
                _refuse_more_than_fits(picture, file.seek(0, io.SEEK_END))
                with picture:
                    yield picture, complaints
        except (EverybatchError, PermissionError):
            raise
        except UnidentifiedImageError as error:
            why = complaints[0] if complaints else "it has no format that Pillow knows"
            raise FileFormatError(f"{_name(source)} cannot be read as a picture ({why})") from error
        except Exception as error:  # a damaged file can make Pillow raise anything
            why = " ".join(str(error).split()) or type(error).__name__
            raise FileFormatError(f"{_name(source)} cannot be read as a picture ({why})") from error


def _refuse_more_than_fits(picture: Image.Image, length: int) -> None:
    """Refuse a damaged header before Pillow takes memory for what it claims: more than so many bytes can hold."""
    packed = picture.info.get("compression") if picture.format == "TIFF" else picture.format
    taken = picture.width * picture.height * _BITS_OF.get(picture.mode, 8) // 8
    if packed in _DENSEST and taken > _DENSEST[packed] * length:
        raise FileFormatError(
            f"its header announces {picture.width:,} x {picture.height:,} pixels, more than {length:,} bytes can hold"
        )


def _file(path: Path) -> io.BufferedReader:
    """Open a file, and nothing that would wait for somebody to write into it."""
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "is a folder, not a picture", str(path))
    if not stat.S_ISREG(mode):
        kind = next((name for test, name in _SPECIAL.items() if test(mode)), "no plain file")
        raise FileFormatError(f"{shown(path)} is {kind}, and pictures are read from files")
    return path.open("rb")


@contextlib.contextmanager
def _heard(complaints: list[str]) -> Iterator[None]:
    """Collect the warnings of Pillow, each once."""

    def hear(message: Warning | str, category: type[Warning], *_: object) -> None:
        text = " ".join(str(message).split())
        if not issubclass(category, (DeprecationWarning, ResourceWarning)) and text not in complaints:
            complaints.append(text)

    with _HEARING, warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = hear  # type: ignore[assignment] # the other arguments do not matter here
        yield


def _verify(picture: Image.Image, complaints: list[str]) -> None:
    try:
        picture.verify()
    except Exception as error:  # as above
        complaints.append(f"its checksums say that it is damaged ({error})")


def _grey(picture: Image.Image, raw_mode: str, background: Ground) -> bool:
    grey = _is_without_colour(picture, raw_mode)
    return grey and (len(set(background)) == 1 or not picture.has_transparency_data)


def _is_without_colour(picture: Image.Image, raw_mode: str) -> bool:
    if raw_mode == "LA;16B":  # Pillow makes RGBA of it
        return True
    if picture.mode == "P":  # what programs that make files small turn grey pictures into
        palette = picture.getpalette("RGB") or [0, 1, 2]
        return palette[0::3] == palette[1::3] == palette[2::3]
    return picture.mode in _GREY_MODES or (picture.mode == "I" and picture.format in _WIDE_OF_SIXTEEN)


def _is_deep(picture: Image.Image, name: str) -> bool:
    if picture.mode in _SIXTEEN_BITS or (picture.mode == "I" and picture.format in _WIDE_OF_SIXTEEN):
        return True
    if picture.mode in ("I", "F"):
        raise FileFormatError(
            f"{name} has more than 16 bits a channel, or signed ones (mode {picture.mode}), whose black and white are "
            "not known; save it with 8 or 16 bits"
        )
    return False


def _upper_bits(picture: Image.Image) -> tuple[Image.Image, int]:
    """Return a picture of 16 bits with 8, grey, and the highest of its values."""
    from PIL import Image

    tags: Any = getattr(picture, "tag_v2", {})  # of TIFF
    values = np.asarray(picture).astype(np.int64)
    deepest = int(np.max(values))
    levels = (values >> (4 if tags.get(_BITS) == (12,) else 8)).astype(np.uint8)
    if tags.get(_WHITE_IS_ZERO) == 0:  # Pillow heeds it with 8 bits only
        levels = 255 - levels
    grey = Image.fromarray(levels)
    clear = picture.info.get("transparency")
    if isinstance(clear, int):
        grey.putalpha(Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)))
    return grey, deepest


def _raw_mode(picture: Image.Image) -> str:
    """Return Pillow's name for what the pixels of a PNG are in the file, by its head; "" for all other pictures.

    Pillow keeps that until the pixels are loaded. Of a PIL image that was loaded before, nothing tells.
    """
    tiles: Any = getattr(picture, "tile", []) if picture.format == "PNG" else []
    return str(tiles[0][3]) if tiles else ""


def _laid(picture: Image.Image, background: Ground, bits: int) -> tuple[Image.Image, bool]:
    """Lay what is see-through on the ground, and tell whether there is any; `bits` are those of a grey pixel."""
    from PIL import Image

    if not picture.has_transparency_data:
        return picture, False
    clear = picture.info.get("transparency")
    if picture.mode == "RGB" and isinstance(clear, tuple) and max(clear) > 255:
        # Of 16 bits, of which Pillow has kept the upper 8: a colour that differs in the lower ones alone is clear too.
        picture = picture.copy()
        picture.info["transparency"] = tuple(level >> 8 for level in clear)
    if picture.mode == "L" and isinstance(clear, int) and bits < 8:
        picture = picture.copy()  # Pillow has spread the pixels over 0 to 255, and not the level that is transparent
        most = 2**bits - 1
        picture.info["transparency"] = (clear & most) * (255 // most)  # PNG has a decoder ignore the other bits
    if picture.mode == "P":
        picture = picture.copy()  # Pillow notes transparent entries in the palette of what it converts
    layer = (picture.convert("LA") if picture.mode == "La" else picture).convert("RGBA")
    if layer.getchannel("A").getextrema()[0] == 255:
        return layer.convert("RGB"), False
    return Image.alpha_composite(Image.new("RGBA", layer.size, (*background, 255)), layer).convert("RGB"), True


def _turn(picture: Image.Image, complaints: list[str]) -> Image.Transpose | None:
    """Return what makes a picture upright: the reverse of what its EXIF orientation says was done."""
    from PIL import Image

    turns: dict[Any, Image.Transpose] = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    try:
        return turns.get(picture.getexif().get(_ORIENTATION))
    except Exception as error:  # as in _opened
        complaints.append(f"its EXIF data are damaged ({error})")
        return None


def _varies(picture: Image.Image) -> bool:
    extrema: Any = picture.getextrema()
    return any(low != high for low, high in (extrema if isinstance(extrema[0], tuple) else (extrema,)))
