"""What a model may be given to look at: arrays of one picture or many, files, Pillow's pictures; and that it is held to
the shape of its images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import everybatch as eb
from everybatch.errors import EverybatchError, ShapeError

Bytes = np.ndarray


def network(channels: int = 1, height: int = 8, width: int = 8) -> eb.Network:
    """Its layers take images of any size."""
    layers = [eb.Conv2d(channels, 4, 3), eb.Activation("relu"), eb.GlobalAvgPool(), eb.Linear(4, 3)]
    return eb.Network(layers, (channels, height, width), name=f"net{channels}")


def pixels(*shape: int, seed: int = 0) -> Bytes:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def ready(channels: int = 1, height: int = 8, width: int = 8) -> eb.Model:
    return network(channels, height, width).initialize(1, mean=[0.4] * channels, std=[0.2] * channels)


# ---- one picture, or many --------------------------------------------------------------------------


def test_one_grey_picture() -> None:
    model, many = ready(), pixels(5, 8, 8)
    expected = model.logits(many)[2:3]
    for one in (many[2], many[2][..., None], many[2][None], many[2].tolist(), torch.tensor(many[2])):
        for found in (model.logits(one), model.logits([one] if isinstance(one, list) else one)):
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
        assert model.predict(one).shape == (1,)
        assert model.predict_proba(one).shape == (1, 3)


@pytest.mark.parametrize("channels", [3, 4])
def test_one_picture_in_colour_has_its_channels_first_or_last(channels: int) -> None:
    model, many = ready(channels, 6, 7), pixels(5, 6, 7, channels)
    expected = model.logits(many)
    np.testing.assert_allclose(model.logits(many[1]), expected[1:2], rtol=1e-5, atol=1e-6)
    first = np.moveaxis(many, -1, 1)
    for given in (first, torch.tensor(first), first / 255):
        np.testing.assert_allclose(model.logits(given), expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(model.logits(given[1]), expected[1:2], rtol=1e-5, atol=1e-6)


def test_the_networks_shape_decides_what_is_meant() -> None:
    # (N, 3, 8, 4) has 3 or 4 channels; only one way to read it fits.
    given = pixels(2, 3, 8, 4)
    np.testing.assert_allclose(
        ready(3, 8, 4).logits(given), ready(3, 8, 4).logits(np.moveaxis(given, 1, -1).copy()), rtol=1e-5
    )
    assert ready(4, 3, 8).logits(given).shape == (2, 3)
    # A batch of three grey pictures is not a picture in colour, whatever else of that shape may be.
    assert ready(1, 8, 8).predict(pixels(3, 8, 8)).shape == (3,)
    assert ready(3, 8, 8).predict(pixels(3, 8, 8)).shape == (1,)
    with pytest.raises(ShapeError, match=r"\(3, 3, 3\).*first or last.*\(1, height, width, channels\)"):
        ready(3, 3, 3).predict(pixels(3, 3, 3))


def test_a_data_set_is_no_picture() -> None:
    with pytest.raises(TypeError, match=r"data\.test_images"):
        ready().predict(eb.Dataset(pixels(3, 8, 8), [0, 1, 2], pixels(3, 8, 8), [0, 1, 2]))  # type: ignore[arg-type]


def test_a_data_set_is_never_taken_for_one_picture() -> None:
    # Three grey pictures, and a network of one in colour: as an array that is one picture, as a data set it is not.
    grey = eb.Dataset(pixels(3, 8, 8), [0, 1, 2], pixels(3, 8, 8), [0, 1, 2])
    with pytest.raises(ShapeError, match=r"test images of data set 'custom' have shape \(1, 8, 8\).*takes \(3, 8, 8\)"):
        ready(3).evaluate(grey)


REFUSED: list[tuple[tuple[int, int, int], tuple[int, ...], str]] = [
    ((1, 8, 8), (8, 8, 5), r"\(8, 8, 5\) are 8 pictures of \(1, 8, 5\)"),
    ((1, 8, 8), (8, 8, 3), r"one picture of \(3, 8, 8\).*turn them grey"),
    ((1, 8, 8), (20, 24, 3), r"one picture of \(3, 20, 24\)"),
    ((1, 8, 8), (2, 8, 8, 3), r"2 pictures of \(3, 8, 8\).*turn them grey"),
    ((1, 28, 40), (5, 40, 28), r"5 pictures of \(1, 40, 28\).*exchanged: transpose"),
    ((1, 8, 8), (9, 8), r"\(9, 8\)"),
    ((3, 8, 8), (8, 8), r"grey picture or flat rows.*\(3, 8, 8\)"),
    ((3, 8, 8), (2, 8, 8), r"2 pictures of \(1, 8, 8\).*turn them to RGB"),
    ((3, 8, 8), (2, 8, 8, 4), r"without transparency"),
    ((3, 8, 8), (9, 8, 3), r"one picture of \(3, 9, 8\).*resize"),
]


@pytest.mark.parametrize(("own", "given", "match"), REFUSED)
def test_images_of_another_shape_are_refused_in_their_own_words(
    own: tuple[int, int, int], given: tuple[int, ...], match: str
) -> None:
    model = ready(*own)
    for ask in (model.predict, model.predict_proba, model.logits, lambda images: model.evaluate(images, [0])):
        with pytest.raises(ShapeError, match=match) as raised:
            ask(pixels(*given))
        assert "layer" not in str(raised.value)


def test_any_array_fits_or_is_refused() -> None:
    # Random shapes against random networks: as many answers as pictures, by a rule written anew here, or an error.
    rng, sizes = np.random.default_rng(3), [1, 3, 4, 5, 8]
    answered = 0
    for _ in range(400):
        channels, height, width = rng.choice([1, 3, 4]), *rng.choice([3, 4, 5, 8], 2)
        shape = tuple(int(size) for size in rng.choice(sizes, rng.integers(2, 5)))
        if rng.random() < 0.5:  # near misses and hits
            parts = [(height, width), (height, width, channels), (channels, height, width)][rng.integers(3)]
            shape = (*([int(rng.choice(sizes))] if rng.random() < 0.6 else []), *(int(size) for size in parts))
        readings = set()
        if channels == 1:
            readings |= {1} if shape == (height, width) or shape == (height, width, 1) else set()
            readings |= {shape[0]} if len(shape) == 3 and shape[1:] == (height, width) else set()
        else:
            readings |= {1} if shape in ((height, width, channels), (channels, height, width)) else set()
        if len(shape) == 4 and shape[1:] in ((height, width, channels), (channels, height, width)):
            readings |= {shape[0]}
        model = ready(int(channels), int(height), int(width))
        try:
            found = {len(model.predict(pixels(*shape)))}
        except EverybatchError:
            assert not readings or shape == (channels, height, width) == (height, width, channels), shape
        else:
            answered += 1
            assert found == readings, (shape, model.input_shape)
    assert answered > 50


# ---- training and measuring hold to it too ---------------------------------------------------------


def test_data_of_another_shape(tmp_path: Path) -> None:
    wide = network(1, 8, 12)

    def data(*shape: int) -> eb.Dataset:
        return eb.Dataset(pixels(12, *shape), np.arange(12) % 3, pixels(6, *shape), np.arange(6) % 3)

    run = eb.train(wide, data(8, 12), batch_size=4, progress=False, device="cpu", checkpoints=tmp_path)
    asked: tuple[Callable[[eb.Dataset], object], ...] = (
        lambda wrong: eb.train(wide, wrong, batch_size=4, progress=False),
        lambda wrong: eb.train(run.model, wrong, batch_size=4, progress=False),
        lambda wrong: run.model.evaluate(wrong),
        lambda wrong: eb.evaluate_checkpoints(tmp_path, wrong),
        lambda wrong: run.model.predict(wrong.test_images),
        lambda wrong: wide.check_images(wrong.image_shape),
    )
    for wrong in (data(12, 8), data(8, 12, 3), data(20, 20)):
        for ask in asked:
            with pytest.raises(ShapeError, match=r"takes \(1, 8, 12\)"):
                ask(wrong)


# ---- pictures ---------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> tuple[list[Path], Bytes]:
    image = pytest.importorskip("PIL.Image")
    many = pixels(3, 8, 8, seed=7)
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for picture, path in zip(many, paths, strict=True):
        image.fromarray(picture).save(path)
    return paths, many


def test_files_and_pillows_pictures(files: tuple[list[Path], Bytes]) -> None:
    image = pytest.importorskip("PIL.Image")
    paths, many = files
    model = ready()
    expected = model.logits(many)
    for given in (
        paths,
        [str(path) for path in paths],
        np.array([str(path) for path in paths]),
        [image.open(path) for path in paths],
        tuple(paths),
    ):
        np.testing.assert_array_equal(model.logits(given), expected)
    for given in (paths[1], str(paths[1]), image.open(paths[1]), paths[1].read_bytes()):
        np.testing.assert_allclose(model.logits(given), expected[1:2], rtol=1e-5, atol=1e-6)
        assert model.predict(given).shape == (1,)
    assert model.evaluate(paths, [0, 1, 2]).loss == model.evaluate(many, [0, 1, 2]).loss


def test_pictures_are_brought_to_the_networks_shape(tmp_path: Path) -> None:
    # Pillow's own conversion and resizing say what must be seen.
    image = pytest.importorskip("PIL.Image")
    image.fromarray(pixels(30, 20, 3)).save(tmp_path / "large.png")
    picture = image.open(tmp_path / "large.png")
    small = picture.resize((12, 8), image.Resampling.BILINEAR)
    colour, grey = ready(3, 8, 12), ready(1, 8, 12)
    np.testing.assert_allclose(colour.logits(tmp_path / "large.png"), colour.logits(np.asarray(small)), atol=0.02)
    np.testing.assert_allclose(grey.logits(picture), grey.logits(np.asarray(small.convert("L"))), atol=0.02)


def test_what_is_see_through_is_laid_on_a_ground(tmp_path: Path) -> None:
    # White ink on nothing: on white nothing is to be seen, on black it is. Pillow's alpha_composite says what is seen.
    image = pytest.importorskip("PIL.Image")
    ink = np.zeros((8, 8, 4), np.uint8)
    ink[2:6, 3:5], ink[0, 0, 3] = 255, 255  # and a black dot, or the picture would be one of nothing
    picture = image.fromarray(ink)
    picture.save(tmp_path / "ink.png")
    model = ready()
    for background, level in ((None, 255), (255, 255), (0, 0), ((40, 40, 40), 40)):
        ground = image.new("RGBA", (8, 8), (level,) * 3 + (255,))
        seen = np.asarray(image.alpha_composite(ground, picture).convert("L"))
        for given in (picture, tmp_path / "ink.png"):
            np.testing.assert_allclose(model.logits(given, background=background), model.logits(seen), rtol=1e-5)
    with pytest.raises(EverybatchError, match="background"):
        model.predict(picture, background=300)
    with pytest.raises(EverybatchError, match="background is for pictures"):
        model.predict(pixels(8, 8), background=0)


WRONG: dict[str, tuple[Callable[[Path], Any], type[Exception], str]] = {
    "nothing there": (lambda folder: folder / "no.png", FileNotFoundError, "no.png"),
    "no picture": (lambda folder: [folder / "0.png", folder / "text.png"], EverybatchError, "text.png"),
    "mixed": (lambda folder: [folder / "0.png", pixels(8, 8)], TypeError, r"images\[1\] is a ndarray among pictures"),
    "mixed again": (lambda folder: [pixels(8, 8), folder / "0.png"], TypeError, r"images\[0\]"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_picture(files: tuple[list[Path], Bytes], tmp_path: Path, name: str) -> None:
    given, error, match = WRONG[name]
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(error, match=match):
        ready().predict(given(tmp_path))


def test_pictures_have_one_channel_or_three(files: tuple[list[Path], Bytes]) -> None:
    with pytest.raises(ShapeError, match=r"4 channels.*give arrays"):
        ready(4).predict(files[0])
