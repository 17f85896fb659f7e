"""The one reader of pictures. Expected values are Pillow's or NumPy's, or follow from what was written."""

from __future__ import annotations

import io
import os
import socket
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import everybatch as eb
from everybatch._pictures import endings, is_grey, read_picture
from everybatch.errors import ArgumentError, DataWarning, FileFormatError

Image = pytest.importorskip("PIL.Image")
ImageOps = pytest.importorskip("PIL.ImageOps")
features = pytest.importorskip("PIL.features")

RNG = np.random.default_rng(11)
GREY = RNG.integers(0, 256, (6, 9), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8)
WIDE = RNG.integers(0, 65536, (6, 9), dtype=np.uint16)


def saved(picture: Any, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def png(pixels: np.ndarray, clear: tuple[int, ...] | None = None) -> bytes:
    """Write a PNG by its specification, of 8 or 16 bits and any channels, with a transparent colour."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    height, width, *channels = pixels.shape
    colours = {(): 0, (2,): 4, (3,): 2, (4,): 6}[tuple(channels)]
    rows = b"".join(b"\0" + row.astype(f">u{pixels.itemsize}").tobytes() for row in pixels)
    head = struct.pack(">IIBBBBB", width, height, 8 * pixels.itemsize, colours, 0, 0, 0)
    transparent = b"" if clear is None else chunk(b"tRNS", struct.pack(f">{len(clear)}H", *clear))
    body = chunk(b"IHDR", head) + transparent + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def over(pixels: np.ndarray, alpha: np.ndarray, background: tuple[int, int, int] | int) -> np.ndarray:
    """Lay pixels on a ground: alpha blending by its definition."""
    part = alpha[..., None] / 255 if pixels.ndim == 3 else alpha / 255
    return part * pixels + (1 - part) * np.array(background)


# ---- as a person sees it ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(form: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    body = saved(Image.fromarray(COLOUR), form, exif=exif)
    # Pillow's exif_transpose is what viewers do.
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(body))))
    assert expected.shape[:2] == ((9, 6) if orientation > 4 else (6, 9))
    assert np.array_equal(read_picture(body), expected)
    if form == "PNG":  # lossless: the turned picture itself, and 16 bits likewise
        deep = saved(Image.fromarray(WIDE), form, exif=exif)
        grey = ImageOps.exif_transpose(Image.open(io.BytesIO(saved(Image.fromarray(GREY), form, exif=exif))))
        assert np.array_equal(read_picture(saved(Image.fromarray(GREY), form, exif=exif)), np.asarray(grey))
        assert read_picture(deep).shape == grey.size[::-1]


@pytest.mark.parametrize("background", [255, 0, 77, (10, 200, 30)])
@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF"])
def test_alpha_is_laid_on_the_background(form: str, background: Any) -> None:
    alpha = RNG.integers(0, 256, (6, 9), dtype=np.uint8)
    alpha[0], alpha[1] = 0, 255
    body = saved(Image.fromarray(np.dstack([COLOUR, alpha])), form, lossless=True, exact=True)
    told = read_picture(body, background=background)
    np.testing.assert_allclose(told, over(COLOUR, alpha, background), atol=1)
    assert np.array_equal(told[1], COLOUR[1])
    assert (told[0] == np.array(background)).all()


def test_every_kind_of_transparency() -> None:
    mask = RNG.random((6, 9)) < 0.5
    alpha = np.where(mask, 0, 255).astype(np.uint8)
    ink = np.where(mask, 200, GREY // 2).astype(np.uint8)  # 200 is nowhere but under the mask
    on_white = np.where(mask, 255, ink)
    entries = np.minimum(ink // 20, 9)  # a palette of ten colours, the last of which is see-through
    entries[~mask] = np.minimum(entries[~mask], 8)
    entries[mask] = 9
    palette = RNG.integers(0, 256, (10, 3), dtype=np.uint8)
    flat = Image.fromarray(entries.astype(np.uint8))
    flat.putpalette(palette.tobytes())
    coloured = np.where(mask[..., None], 255, palette[entries])
    deep = np.where(mask, 40_000, ink.astype(np.uint16) * 257).astype(np.uint16)
    assert np.array_equal(read_picture(png(np.dstack([ink, alpha]))), on_white)
    assert np.array_equal(read_picture(png(ink, (200,))), on_white)
    assert np.array_equal(read_picture(png(deep, (40_000,))), on_white)
    # (200, 200, 200) of 8 and (40000, 40000, 40000) of 16 bits are the transparent colours.
    assert np.array_equal(read_picture(png(np.dstack([ink] * 3), (200,) * 3), channels=1), on_white)
    assert np.array_equal(read_picture(png(np.dstack([deep] * 3), (40_000,) * 3), channels=1), on_white)
    assert np.array_equal(read_picture(saved(flat, "PNG", transparency=9)), coloured)
    assert np.array_equal(read_picture(saved(flat, "PNG", transparency=bytes([255] * 9 + [0]))), coloured)
    assert np.array_equal(read_picture(saved(flat, "GIF", transparency=9)), coloured)
    for mode in ("La", "RGBa", "PA"):
        whole = Image.fromarray(np.dstack([ink, alpha]))
        picture = whole.convert("La") if mode == "La" else whole.convert("RGBA")
        if mode == "RGBa":
            picture = picture.convert("RGBa")
        if mode == "PA":
            picture = Image.fromarray(ink).convert("PA")
            picture.putalpha(Image.fromarray(alpha))
        assert np.array_equal(read_picture(picture, channels=1), on_white), mode


def packed(levels: np.ndarray, bits: int, clear: int) -> bytes:
    """Write a grey PNG of so many bits a pixel by its specification: rows of packed pixels, the first uppermost."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    rows = b""
    for row in levels:
        digits = "".join(f"{level:0{bits}b}" for level in row)
        digits += "0" * (-len(digits) % 8)
        rows += b"\0" + int(digits, 2).to_bytes(len(digits) // 8, "big")
    head = struct.pack(">IIBBBBB", levels.shape[1], levels.shape[0], bits, 0, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"tRNS", struct.pack(">H", clear)) + chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_transparent_level_of_few_bits(bits: int, tmp_path: Path) -> None:
    # The specification of PNG: the level is one of the file's, before they are spread over 0 to 255, here evenly.
    most = 2**bits - 1
    levels = np.arange(most + 1 + (-most - 1) % 3).reshape(3, -1) % (most + 1) if bits > 1 else GREY % 2
    for clear in sorted({0, 1, most // 2, most}):
        body = packed(levels, bits, clear)
        expected = levels * (255 // most)
        for ground in (30, 100):
            laid = np.where(levels == clear, ground, expected)
            assert np.array_equal(read_picture(body, background=ground), laid), (clear, ground)
        (tmp_path / "a.png").write_bytes(body)
        for source in (tmp_path / "a.png", Image.open(io.BytesIO(body))):
            assert np.array_equal(read_picture(source, background=100), laid)
    if bits in (2, 4):  # PNG's third edition, 11.3.1.1: the other bits of the level are ignored
        told = read_picture(packed(levels, bits, 256 + most), background=9)
        assert np.array_equal(told, np.where(levels == most, 9, expected))


def test_a_given_picture_is_left_as_it_is() -> None:
    picture = Image.fromarray(GREY).convert("P")
    picture.info["transparency"] = bytes([0] * 128 + [255] * 128)
    before = picture.tobytes(), picture.im.getpalette("RGBA", "RGBA"), dict(picture.info)
    read_picture(picture, size=(3, 3), background=7)
    assert (picture.tobytes(), picture.im.getpalette("RGBA", "RGBA"), dict(picture.info)) == before


def test_one_channel_or_three_unless_asked_for() -> None:
    # L of red, green and blue is ITU-R 601's, by Pillow; grey in three channels is itself thrice.
    as_grey = np.asarray(Image.fromarray(COLOUR).convert("L"))
    assert np.array_equal(read_picture(png(COLOUR), channels=1), as_grey)
    assert np.array_equal(read_picture(png(GREY), channels=3), np.dstack([GREY] * 3))
    assert read_picture(png(GREY)).shape == (6, 9)
    assert read_picture(png(np.dstack([GREY, GREY])), background=(1, 2, 3)).shape == (6, 9, 3)
    assert read_picture(Image.new("CMYK", (3, 2)), channels=None).shape == (2, 3, 3)
    # A palette of greys is grey, one with a colour in it is not.
    few = Image.fromarray(GREY // 64)
    for colours, shape in ((b"\0\0\0\x40\x40\x40\x99\x99\x99\xff\xff\xff", (6, 9)), (b"rgbRGB", (6, 9, 3))):
        few.putpalette(colours)
        assert read_picture(saved(few, "PNG")).shape == shape
    bits = read_picture(saved(Image.fromarray(GREY > 99), "PNG"))
    assert np.array_equal(bits, np.where(GREY > 99, 255, 0))


def test_size_is_height_and_width() -> None:
    expected = Image.fromarray(COLOUR).resize((4, 5), Image.Resampling.BILINEAR)
    assert np.array_equal(read_picture(png(COLOUR), size=(5, 4)), np.asarray(expected))
    # What is beneath a see-through part must not bleed into the rest.
    inked = np.dstack([np.zeros_like(COLOUR), np.zeros_like(GREY)])
    inked[:, :3], inked[:, 8, 3] = 255, 255  # white, then nothing over black, then black
    assert read_picture(png(inked), size=(3, 4))[:, :2].min() == 255


# ---- more bits -------------------------------------------------------------------------------------------------------


def test_sixteen_bits_are_the_upper_eight() -> None:
    # Pillow reads 16-bit colour so itself: grey must not differ from it.
    colour = np.asarray(Image.open(io.BytesIO(png(np.dstack([WIDE] * 3)))))
    assert np.array_equal(colour[..., 0], WIDE >> 8)
    assert np.array_equal(read_picture(png(np.dstack([WIDE] * 3)))[..., 0], colour[..., 0])
    assert np.array_equal(read_picture(png(WIDE)), colour[..., 0])
    for body in (
        saved(Image.fromarray(WIDE), "TIFF"),
        b"P5 9 6 65535\n" + WIDE.astype(">u2").tobytes(),
    ):
        assert np.array_equal(read_picture(body), WIDE >> 8)
        assert read_picture(body, channels=3, size=(2, 2)).shape == (2, 2, 3)
    # Whatever was 8 bits comes back, be it shifted or repeated.
    for factor in (256, 257):
        assert np.array_equal(read_picture(png(GREY.astype(np.uint16) * factor)), GREY)


def test_grey_of_sixteen_bits_with_alpha_has_one_channel() -> None:
    # As with 8 bits: the upper eight of both, laid on white by the definition of alpha blending.
    both = np.dstack([WIDE, WIDE[::-1]])
    pixels = read_picture(png(both))
    assert pixels.shape == WIDE.shape
    np.testing.assert_allclose(pixels, over(WIDE >> 8, WIDE[::-1] >> 8, 255), atol=1)
    assert np.array_equal(pixels, read_picture(png((both >> 8).astype(np.uint8))))
    assert is_grey(png(both), (255, 255, 255))
    assert not is_grey(png(both), (9, 8, 7))
    assert read_picture(png(both), background=(9, 8, 7)).shape == (*WIDE.shape, 3)


def test_tiff_of_twelve_bits_and_with_white_as_zero() -> None:
    def tiff(bits: int, photometric: int, body: bytes) -> bytes:
        # By the specification of TIFF 6.0: a directory of nine entries after the pixels.
        tags = {256: 9, 257: 6, 258: bits, 259: 1, 262: photometric, 273: 8, 277: 1, 278: 6, 279: len(body)}
        entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
        return b"II*\0" + struct.pack("<I", 8 + len(body)) + body + struct.pack("<H", 9) + entries + b"\0" * 4

    assert np.array_equal(read_picture(tiff(16, 1, WIDE.tobytes())), WIDE >> 8)
    assert np.array_equal(read_picture(tiff(16, 0, WIDE.tobytes())), 255 - (WIDE >> 8))
    assert np.array_equal(read_picture(tiff(8, 0, GREY.tobytes())), 255 - GREY)
    nibbles = [f"{value >> 4:03x}" for row in WIDE for value in row]
    rows = ["".join(nibbles[9 * i : 9 * i + 9]) + "0" for i in range(6)]  # a row ends with a whole byte
    assert np.array_equal(read_picture(tiff(12, 1, bytes.fromhex("".join(rows)))), WIDE >> 8)


@pytest.mark.parametrize("pixels", [WIDE.astype(np.int32), WIDE.astype(np.float32)])
def test_unknown_ranges_are_refused(pixels: np.ndarray) -> None:
    for source in (Image.fromarray(pixels), saved(Image.fromarray(pixels), "TIFF")):
        with pytest.raises(FileFormatError, match="more than 16 bits"):
            read_picture(source)


# ---- what is no picture ----------------------------------------------------------------------------------------------


def test_nothing_waits_for_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(FileFormatError, match=r"pipe\.png is a named pipe"):
        read_picture(tmp_path / "pipe.png")
    with socket.socket(socket.AF_UNIX) as server:
        there = Path.cwd()
        os.chdir(tmp_path)  # the paths of sockets are short
        try:
            server.bind("socket.png")
        finally:
            os.chdir(there)
    with pytest.raises(FileFormatError, match=r"socket\.png is a socket"):
        read_picture(tmp_path / "socket.png")
    with pytest.raises(FileFormatError, match="/dev/zero is a device"):
        read_picture("/dev/zero")
    with pytest.raises(IsADirectoryError):
        read_picture(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_picture(tmp_path / "absent.png")
    (tmp_path / "text.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")  # not for Ghostscript
    with pytest.raises(FileFormatError, match=r"text\.png cannot be read"):
        read_picture(str(tmp_path / "text.png"))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"background": 256}, ArgumentError),
        ({"background": (1, 2)}, ArgumentError),
        ({"background": 0.5}, ArgumentError),
        ({"background": True}, ArgumentError),
        ({"background": "white"}, ArgumentError),
        ({"channels": 2}, ArgumentError),
        ({"size": 28}, ArgumentError),
        ({"size": (28, 0)}, ArgumentError),
        ({"source": 7}, TypeError),
    ],
)
def test_arguments_that_cannot_work(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match="picture" if "source" in options else next(iter(options))):
        read_picture(**{"source": png(GREY), **options})


def test_endings_are_those_that_pillow_opens() -> None:
    known = Image.registered_extensions()
    assert {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".gif", ".bmp", ".pbm", ".pgm", ".ppm", ".tif"} <= endings()
    assert all(known[ending] in (*Image.OPEN, "MPO") for ending in endings())  # MPO is opened as JPEG
    assert not {".eps", ".pdf", ".h5", ".mpg", ".ico"} & endings()
    for ending in (".jp2", ".avif", ".webp", ".jpe", ".jfif", ".pbm"):
        form = known[ending]
        if ending in endings() and features.check({"JPEG2000": "jpg_2000"}.get(form, "jpg").lower()):
            assert read_picture(saved(Image.fromarray(COLOUR), form)).shape == (6, 9, 3)


def test_pillows_warnings_become_ours() -> None:
    # An EXIF block that promises an entry of 4,000 bytes and ends: Pillow warns of it, and reads on.
    broken = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<HHHII", 1, 0x010E, 2, 4000, 26)
    body = saved(Image.fromarray(COLOUR), "JPEG", exif=broken)
    with pytest.warns(DataWarning, match="Tag data larger|Corrupt EXIF"):
        pixels = read_picture(body)
    assert np.array_equal(pixels, np.asarray(Image.open(io.BytesIO(saved(Image.fromarray(COLOUR), "JPEG")))))
    wrong = bytearray(png(GREY))
    wrong[-13] ^= 1  # within the checksum of the pixels' chunk, of which only verify() takes note
    with pytest.warns(DataWarning, match="checksum"):
        read_picture(bytes(wrong))


def test_uniform_by_the_background() -> None:
    ink = np.dstack([np.full_like(GREY, 255), GREY])
    with pytest.warns(DataWarning, match="uniform"):
        assert (read_picture(png(ink)) == 255).all()
    assert np.array_equal(read_picture(png(ink), background=0), GREY)
    assert (read_picture(png(np.full_like(GREY, 255))) == 255).all()  # uniform from the beginning: no warning


def test_bombs(monkeypatch: pytest.MonkeyPatch) -> None:
    large = bytearray(png(GREY))
    large[16:24] = struct.pack(">II", 60_000, 60_000)
    large[29:33] = struct.pack(">I", zlib.crc32(large[12:29]))
    with pytest.raises(FileFormatError, match=r"cannot be read as a picture.*bomb"):
        read_picture(bytes(large))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)  # GREY has 54
    with pytest.warns(DataWarning, match="bomb"):
        read_picture(png(GREY))


PACKED: list[tuple[str, dict[str, Any]]] = [
    *((form, {}) for form in ("PNG", "GIF", "BMP", "PPM", "WEBP")),
    *(("JPEG", {"quality": 1, "progressive": way, "optimize": True}) for way in (False, True)),
    *(("TIFF", {"compression": way}) for way in (None, "tiff_lzw", "tiff_adobe_deflate", "packbits", "group4")),
]


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize(("form", "options"), PACKED)
def test_a_picture_of_one_colour_takes_few_bytes_and_is_sound(
    mode: str, form: str, options: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    try:
        body = saved(Image.new(mode, (3000, 2000)), form, **options)
    except (KeyError, OSError, RuntimeError, ValueError):
        pytest.skip("the format has no such pictures")
    finally:
        capfd.readouterr()  # libtiff says so, too
    assert read_picture(body, size=(2, 3)).shape[:2] == (2, 3)


@pytest.mark.parametrize("form", ["PNG", "GIF", "BMP", "PPM", "JPEG", "TIFF"])
def test_a_header_that_announces_more_than_the_file_can_hold(form: str) -> None:
    body = bytearray(saved(Image.fromarray(COLOUR), form))
    height, width = COLOUR.shape[:2]
    claimed = 65_000 if form in ("GIF", "JPEG", "TIFF") else 30_000_000 // width
    if form == "PPM":
        body = body.replace(b"%d %d" % (width, height), b"%d %d" % (width, claimed), 1)
    else:
        kind, place = {
            "PNG": (">I", 20),
            "GIF": ("<H", 8),
            "BMP": ("<I", 22),
            "JPEG": (">H", body.find(b"\xff\xc0") + 5),
            "TIFF": ("<I", body.find(struct.pack("<HHI", 257, 4, 1)) + 8),
        }[form]
        assert struct.unpack_from(kind, body, place) == (height,)
        struct.pack_into(kind, body, place, claimed)
        if form in ("GIF", "JPEG"):
            struct.pack_into(kind, body, place - 2 if form == "GIF" else place + 2, claimed // 40)
        if form == "PNG":
            body[29:33] = struct.pack(">I", zlib.crc32(body[12:29]))
    with pytest.raises(FileFormatError, match=r"announces [\d,]+ x [\d,]+ pixels, more than [\d,]+ bytes can hold"):
        read_picture(bytes(body))


def test_threads_leave_warnings_as_they_were() -> None:
    before = warnings.showwarning, list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda _: read_picture(png(GREY)), range(200)))
    assert all(np.array_equal(each, GREY) for each in told)
    assert (warnings.showwarning, list(warnings.filters)) == before


# ---- damage ----------------------------------------------------------------------------------------------------------


def with_pillow(body: bytes) -> tuple[np.ndarray | None, bool]:
    """Return what Pillow makes of it, on white, or None if it raises; and whether it complains."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            picture = Image.open(io.BytesIO(body))
            picture.load()
            if picture.has_transparency_data:
                layer = picture.convert("RGBA")
                picture = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
            pixels = np.asarray(picture.convert("RGB"))
            sound = True
            if picture.format == "PNG":
                checked = Image.open(io.BytesIO(body))
                try:
                    checked.verify()
                except Exception:
                    sound = False
        except Exception:
            return None, True
    return pixels, bool(heard) or not sound


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"])
def test_damaged_files(form: str) -> None:
    body = saved(Image.fromarray(np.kron(COLOUR, np.ones((4, 4, 1), np.uint8))), form)
    rng = np.random.default_rng(sum(form.encode()))
    raised = 0
    for trial in range(20):
        damaged = bytearray(body)
        if trial % 4 == 0:
            damaged = damaged[: rng.integers(0, len(body))]
        for place in rng.integers(0, len(body), rng.integers(1, 9)):
            if place < len(damaged):
                damaged[place] ^= 1 << rng.integers(0, 8)
        expected, complains = with_pillow(bytes(damaged))
        refused = ""
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            try:
                pixels = read_picture(bytes(damaged), channels=3)
            except FileFormatError as error:
                raised += 1
                refused = str(error)
        if refused:  # Pillow makes four million black lines of a TIFF whose header is damaged
            assert expected is None or "announces" in refused, trial
            continue
        assert expected is not None, trial
        assert np.array_equal(pixels, expected), trial
        assert any(each.category is DataWarning for each in heard) >= complains, trial
    assert raised > 0  # some damage was noticed, or this test would test nothing


def test_public_warning() -> None:
    assert eb.DataWarning is DataWarning


# 8,192 x 8,192 pixels are 2**26.
def test_a_size_beyond_all_measure_is_refused_at_once() -> None:
    for size in ((10**6, 10**6), (1, 2**62), (8192, 8193)):
        with pytest.raises(ArgumentError, match="at most 67,108,864 pixels"):
            read_picture(png(GREY), size=size)
