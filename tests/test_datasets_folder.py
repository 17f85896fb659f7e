"""Folders of pictures: which files are which class, what is passed over, how they are split, and how they are measured.

Expected values follow from the files that each test writes; those of pixels are `read_picture`'s, which
`test_pictures.py` holds against Pillow.
"""

from __future__ import annotations

import json
import os
import unicodedata
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import everybatch as eb
from everybatch._pictures import read_picture
from everybatch.datasets import from_folder
from everybatch.errors import ArgumentError, DataError, DataWarning, FileFormatError

Image = pytest.importorskip("PIL.Image")

Call = Callable[..., tuple[int, str, str]]


def fill(root: Path, names: Iterable[str] = ("ant", "bee"), count: int = 5, seed: int = 0) -> Path:
    """Write `count` grey pictures of noise, 6 x 5, for each class."""
    rng = np.random.default_rng(seed)
    for name in names:
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            Image.fromarray(rng.integers(0, 256, (6, 5), dtype=np.uint8)).save(root / name / f"{number}.png")
    return root


def everything(data: eb.Dataset) -> dict[bytes, str]:
    """Return the class of every image, by its pixels."""
    images = np.concatenate([data.train_images, data.test_images])
    labels = np.concatenate([data.train_labels, data.test_labels])
    return {image.tobytes(): data.classes[label] for image, label in zip(images, labels, strict=True)}


# ---- one reader ------------------------------------------------------------------------------------------------------


def odd_pictures(folder: Path) -> None:
    """Write pictures that can be read in two ways."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(5)
    alpha = rng.integers(0, 256, (8, 12), dtype=np.uint8)
    ink = rng.integers(0, 256, (8, 12), dtype=np.uint8)
    colour = rng.integers(0, 256, (8, 12, 3), dtype=np.uint8)
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(np.dstack([colour, alpha])).save(folder / "rgba.png")
    Image.fromarray(np.dstack([ink, alpha])).save(folder / "la.png")
    Image.fromarray(np.dstack([colour, alpha])).save(folder / "rgba.webp", lossless=True)
    Image.fromarray(ink // 8).convert("P").save(folder / "p.gif", transparency=7)
    Image.fromarray(ink.astype(np.uint16) * 200).save(folder / "deep.png")
    Image.fromarray(colour).save(folder / "turned.jpg", exif=turned)
    Image.fromarray(colour).save(folder / "other.jfif", "JPEG")
    Image.fromarray(ink > 99).save(folder / "bits.pbm")
    frames = [Image.fromarray(level) for level in (ink, 255 - ink)]
    frames[0].save(folder / "frames.gif", save_all=True, append_images=frames[1:])


@pytest.mark.parametrize("background", [255, 0, (9, 99, 199)])
@pytest.mark.parametrize("mode", [None, "L", "RGB"])
def test_every_way_in_reads_the_same(tmp_path: Path, mode: Any, background: Any) -> None:
    for name in ("ant", "bee"):
        odd_pictures(tmp_path / "train" / name)
    fill(tmp_path / "val", count=2)
    data = from_folder(tmp_path, size=(7, 5), mode=mode, background=background)
    channels = 1 if mode == "L" else 3
    files = sorted((tmp_path / "train" / "ant").iterdir())
    assert len(files) == 9
    for path, image in zip(files, data.train_images, strict=False):
        assert np.array_equal(image, read_picture(path, size=(7, 5), channels=channels, background=background)), path


def test_the_source_says_what_was_done(tmp_path: Path) -> None:
    for name in ("ant", "bee"):
        odd_pictures(tmp_path / "train" / name)
    fill(tmp_path / "test", count=2)
    told = from_folder(tmp_path, size=(7, 5), mode="L").source.split("; ")
    # Of 9 odd pictures a class: colour are rgba, rgba, turned and other; p and frames have palettes of greys.
    assert told == [
        f"pictures in {tmp_path}",
        "test images are those in test",
        "22 resized from 3 sizes, 6x5 to 12x8 to 7x5 (height x width)",
        "8 turned from colour to grey",
        "2 turned upright by their EXIF orientation",
        "2 brought from 16 bits to 8",
        "2 with several frames, of which the first was read",
        "8 see-through ones laid on a background of white",
    ]


@pytest.fixture
def ink_on_nothing(tmp_path: Path) -> Path:
    """White ink on a see-through ground, in the upper or the lower half: uniform on white."""
    for name, rows in (("high", slice(0, 3)), ("low", slice(3, 6))):
        (tmp_path / "ink" / name).mkdir(parents=True)
        for number in range(4):
            pixels = np.zeros((6, 5, 2), np.uint8)
            pixels[rows, number, :] = 255
            Image.fromarray(pixels).save(tmp_path / "ink" / name / f"{number}.png")
    return tmp_path / "ink"


def test_pictures_that_become_uniform_are_told(ink_on_nothing: Path) -> None:
    with pytest.warns(DataWarning, match=r"of 8 pictures 8 became one uniform colour.*background of 255"):
        data = from_folder(ink_on_nothing)
    assert (data.train_images == 255).all()
    black = from_folder(ink_on_nothing, background=0)
    assert all(image.max() == 255 and image.min() == 0 for image in black.train_images)


def test_sixteen_bits_that_hold_fewer_are_told(tmp_path: Path) -> None:
    fill(tmp_path)
    for path in tmp_path.rglob("*.png"):
        Image.fromarray(np.asarray(Image.open(path)).astype(np.uint16) * 16).save(path)  # of 12 bits
    with pytest.warns(DataWarning, match=r"16 bits a channel \(10 of 10\) hold nothing above 4,0"):
        from_folder(tmp_path)


# ---- what is a picture, and what a class -----------------------------------------------------------------------------


def test_what_is_passed_over_is_counted_once(tmp_path: Path) -> None:
    fill(tmp_path)
    np.save(tmp_path / "ant" / "array.npy", np.zeros(3))
    for name in ("a.heic", "b.HEIC", "list.txt"):
        (tmp_path / "bee" / name).write_bytes(b"x")
    for name in ("Thumbs.db", ".DS_Store", "desktop.ini"):
        (tmp_path / "bee" / name).write_bytes(b"x")
    (tmp_path / "labels.csv").write_text("beside the classes")
    with pytest.warns(DataWarning) as caught:
        data = from_folder(tmp_path)
    assert len(caught) == 1
    assert "2 .heic, 1 .npy, 1 .txt (4 in all" in str(caught[0].message)
    assert caught[0].filename == __file__
    assert len(everything(data)) == 10


def test_pictures_and_folders_out_of_place_are_told(tmp_path: Path) -> None:
    fill(tmp_path)
    fill(tmp_path / "ant", ["wing"], 2)
    (tmp_path / "bee" / "empty").mkdir()
    (tmp_path / "bee" / "folder.png").mkdir()
    (tmp_path / "stray.png").write_bytes((tmp_path / "ant" / "0.png").read_bytes())
    with pytest.warns(DataWarning) as caught:
        data = from_folder(tmp_path)
    told = sorted(str(each.message) for each in caught)
    assert told == [
        f"passed over folders of pictures within class folders: {tmp_path / 'ant' / 'wing'}",
        f"passed over pictures that are in no class folder: {tmp_path / 'stray.png'}",
    ]
    assert data.classes == ("ant", "bee")


def test_what_systems_leave_behind_is_no_class(tmp_path: Path) -> None:
    fill(tmp_path, ("ant", "bee", "$RECYCLE.BIN", ".ipynb_checkpoints", "__MACOSX", "@eaDir"))
    assert from_folder(tmp_path).classes == ("ant", "bee")
    fill(tmp_path, ["Thumbnails"])
    with pytest.warns(DataWarning, match="Thumbnails"):
        assert from_folder(tmp_path).classes == ("ant", "bee")


def test_folders_one_level_off_are_refused_with_a_hint(tmp_path: Path) -> None:
    fill(tmp_path / "wrapped" / "data")
    with pytest.raises(DataError, match=r"1 class folders.*seem to be in .*data: give that"):
        from_folder(tmp_path / "wrapped")
    fill(tmp_path / "nested" / "insects")
    fill(tmp_path / "nested" / "birds", ["owl", "wren"])
    with pytest.raises(DataError, match=r"birds has no pictures itself, but folders that do, such as owl"):
        from_folder(tmp_path / "nested")
    fill(tmp_path / "arrays")
    for path in (tmp_path / "arrays" / "bee").iterdir():
        path.rename(path.with_suffix(".npy"))
    with pytest.raises(DataError, match=r"bee has no pictures.*It has 5 \.npy; arrays go into everybatch\.Dataset"):
        from_folder(tmp_path / "arrays")


def test_all_bad_pictures_are_named_at_once(tmp_path: Path) -> None:
    fill(tmp_path, count=15)
    for number in (3, 7):
        (tmp_path / "bee" / f"{number}.png").write_bytes(b"no picture")
    (tmp_path / "ant" / "gone.png").symlink_to("nowhere")
    (tmp_path / "ant" / "circle").symlink_to("circle")  # no picture by its name
    os.mkfifo(tmp_path / "ant" / "pipe.jpg")  # must not be waited for
    with pytest.raises(FileFormatError) as failure:
        from_folder(tmp_path)
    text = str(failure.value)
    assert text.startswith("4 pictures cannot be read: ")
    for name in ("bee/3.png cannot", "bee/7.png cannot", "ant/gone.png cannot", "ant/pipe.jpg is a named pipe"):
        assert name in text
    for path in (tmp_path / "bee").iterdir():
        path.write_bytes(b"no picture")
    with pytest.raises(FileFormatError, match=r"17 pictures cannot be read: .*; and 7 more$"):
        from_folder(tmp_path)


def test_pillows_doubts_are_told_once(tmp_path: Path) -> None:
    fill(tmp_path)
    for name in ("ant", "bee"):
        path = tmp_path / name / "2.png"
        body = bytearray(path.read_bytes())
        body[-13] ^= 1  # the checksum of the pixels' chunk
        path.write_bytes(bytes(body))
    with pytest.warns(DataWarning, match=r"doubts about pictures \(2 in all\).*ant/2\.png.*bee/2\.png") as caught:
        from_folder(tmp_path)
    assert len(caught) == 1


# ---- names -----------------------------------------------------------------------------------------------------------


def test_numbers_are_ordered_as_numbers_and_all_else_as_text(tmp_path: Path) -> None:
    fill(tmp_path / "numbers", ["10", "9", "1", "02", "100"], 2)
    assert from_folder(tmp_path / "numbers").classes == ("1", "02", "9", "10", "100")
    fill(tmp_path / "mixed", ["10", "9", "one"], 2)
    assert from_folder(tmp_path / "mixed").classes == ("10", "9", "one")


def test_composed_and_decomposed_names_are_one_class(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "für") for form in ("NFC", "NFD"))
    fill(tmp_path / "train", [composed, "ant"])
    fill(tmp_path / "test", [decomposed, "ant"], 2)
    data = from_folder(tmp_path)
    assert data.classes == ("ant", composed)
    assert data.test_labels.tolist() == [0, 0, 1, 1]
    fill(tmp_path / "train", [decomposed])
    if len(os.listdir(tmp_path / "train")) == 3:  # noqa: PTH208 - the file system keeps them apart
        with pytest.raises(DataError, match=r"two folders called für.*fu\\u0308r.*f\\xfcr"):
            from_folder(tmp_path)


def test_names_that_could_not_be_saved_are_refused_at_once(tmp_path: Path) -> None:
    fill(tmp_path)
    try:
        (tmp_path / "caf\udce9").mkdir()  # Latin-1, as Python shows it
    except OSError:
        pytest.skip("this file system has only names in UTF-8")
    with pytest.raises(DataError, match=r"class folder .*caf\\udce9 is not text in UTF-8.*rename the folder"):
        from_folder(tmp_path)
    # A file or the folder of all may be called so: then what is kept of the name is text.
    root = fill(tmp_path / "data\udce9")
    (root / "ant" / "0.png").rename(root / "ant" / "\udce9.png")
    data = from_folder(root)
    assert data.name == "data\\udce9"
    data.source.encode("utf-8")


# ---- layouts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("train", "test"),
    [("train", "val"), ("Train", "Test"), ("train", "valid"), ("training", "testing"), ("TRAIN", "Validation")],
)
def test_layouts(tmp_path: Path, train: str, test: str) -> None:
    fill(tmp_path / train, count=4, seed=1)
    fill(tmp_path / test, count=3, seed=2)
    data = from_folder(tmp_path)
    assert (len(data.train_labels), len(data.test_labels)) == (8, 6)
    assert np.array_equal(data.test_images[0], read_picture(tmp_path / test / "ant" / "0.png"))
    assert f"test images are those in {test}" in data.source


def test_a_third_part_is_not_passed_over_in_silence(tmp_path: Path) -> None:
    for part, count in (("train", 4), ("val", 3), ("test", 2)):
        fill(tmp_path / part, count=count)
    data = from_folder(tmp_path)
    assert len(data.test_labels) == 4
    assert "test images are those in test, and val is not used" in data.source
    fill(tmp_path / "extra")
    with pytest.warns(DataWarning, match="beside those for training and testing: .*extra"):
        from_folder(tmp_path)


def test_pictures_to_be_classified_are_no_test_images(tmp_path: Path) -> None:
    fill(tmp_path / "train")
    fill(tmp_path / "val", count=2)
    fill(tmp_path, ["test"])  # as in many competitions: no classes
    with pytest.warns(DataWarning, match=r"beside those for training and testing: .*test"):
        assert len(from_folder(tmp_path).test_labels) == 4
    with pytest.raises(DataError, match="no folder for each class in"):
        from_folder(fill(tmp_path / "flat", ["train", "test"]))
    fill(tmp_path / "half" / "val")
    fill(tmp_path / "half" / "test")
    with pytest.raises(DataError, match="no train"):
        from_folder(tmp_path / "half")
    fill(tmp_path / "training")
    with pytest.raises(DataError, match="either could be meant"):
        from_folder(tmp_path)


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    assert from_folder(fill(tmp_path, ("bus", "car", "train"))).classes == ("bus", "car", "train")


# ---- the split -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_more_files_leave_the_others_where_they_are(tmp_path: Path, seed: int) -> None:
    root = fill(tmp_path, count=20, seed=seed)
    before = from_folder(root, seed=seed)
    trained_on = {image.tobytes() for image in before.train_images}
    for name in ("ant", "bee"):  # one that comes first in the order of names
        Image.fromarray(np.full((6, 5), 7, np.uint8)).save(root / name / "!.png")
    after = from_folder(root, seed=seed)
    # 4 of 21 are test images as 4 of 20 were: none of them was a training image before.
    assert len(before.test_labels) == len(after.test_labels) == 8
    assert not any(image.tobytes() in trained_on for image in after.test_images)
    assert from_folder(root, seed=seed).fingerprint == after.fingerprint
    assert from_folder(root, seed=seed + 1).fingerprint != after.fingerprint


def test_arguments_that_cannot_work(tmp_path: Path) -> None:
    fill(tmp_path)
    with pytest.raises(TypeError, match="test_fraction must be a number"):
        from_folder(tmp_path, test_fraction="0.2")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="background"):
        from_folder(tmp_path, background=300)


# ---- measuring a folder ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder of 2 x 15 pictures, light or dark, and a run of one batch on it."""
    from everybatch.cli import main

    base = tmp_path_factory.mktemp("trained")
    root = base / "tones"
    rng = np.random.default_rng(3)
    for name, low in (("dark", 0), ("light", 155)):
        (root / name).mkdir(parents=True)
        for number in range(15):
            Image.fromarray(rng.integers(low, low + 100, (28, 28), dtype=np.uint8)).save(root / name / f"{number}.png")
    words = ["train", "--network", "lenet5", "--data", str(root), "--batch-size", "24", "--steps", "1", "--quiet"]
    assert main([*words, "--out", str(base / "run"), "--checkpoints", str(base / "weights")]) == 0
    return root, base / "run"


def measured(call: Call, *words: object) -> tuple[int, str]:
    code, out, _ = call("evaluate", *words, "--json")
    assert code == 0
    told = json.loads(out)
    return int(np.sum(told["confusion"])), told["data"]["source"]


def test_a_run_is_measured_on_what_it_held_back(call: Call, trained: tuple[Path, Path]) -> None:
    root, run = trained
    images, source = measured(call, run, "--data", root)
    assert images == 6  # a fifth of 30
    assert "6 of 30 are test images" in source
    _, out, _ = call("evaluate", run, "--data", root, "--json")
    assert json.loads(out)["loss"] == pytest.approx(eb.load_run(run).test_loss[-1], rel=1e-4)
    assert measured(call, run, "--data", root, "--part", "all")[0] == 30
    code, out, err = call("predict", run, "--checkpoints", "--data", root)
    assert (code, err) == (0, "")  # the figures are those of the history
    assert "6 test images" in out
    copy = root.parent / "elsewhere"
    if not copy.exists():
        for path in root.rglob("*.png"):
            there = copy / path.relative_to(root)
            there.parent.mkdir(parents=True, exist_ok=True)
            there.write_bytes(path.read_bytes())
    assert measured(call, run, "--data", copy)[0] == 6  # the same files


def test_a_folder_that_is_new_to_a_model_is_measured_as_a_whole(call: Call, trained: tuple[Path, Path]) -> None:
    root, run = trained
    fresh = root.parent / "fresh"
    for name, colour in (("dark", (9, 9, 9, 255)), ("light", (200, 255, 0, 0))):
        (fresh / name).mkdir(parents=True, exist_ok=True)
        for number in range(4):
            Image.new("RGBA", (100, 30), colour).save(fresh / name / f"{number}.png")
    images, source = measured(call, run, "--data", fresh)
    assert images == 8
    assert "all 8 are test images" in source
    assert "8 resized from 30x100 to 28x28 (height x width)" in source
    assert "8 turned from colour to grey" in source
    assert "4 see-through ones laid on a background of white" in source
    assert "a background of (0, 0, 0)" in measured(call, run, "--data", fresh, "--background", "black")[1]
    model = run / "model.safetensors"
    assert measured(call, model, "--data", root)[0] == 30
    assert measured(call, model, "--data", root, "--part", "test")[0] == 6
    # The same network, by way of predict.
    _, out, _ = call("predict", run, *sorted(fresh.rglob("*.png")), "--json")
    by_file = [each["probabilities"] for each in json.loads(out)]
    _, out, _ = call("predict", run, "--data", fresh, "--index", *range(8), "--json")
    assert [each["probabilities"] for each in json.loads(out)] == by_file


def test_a_folder_that_has_changed_is_asked_about(call: Call, trained: tuple[Path, Path]) -> None:
    root, run = trained
    added = root / "dark" / "!.png"
    added.write_bytes((root / "dark" / "0.png").read_bytes())
    try:
        code, _, err = call("evaluate", run, "--data", root)
        assert code == 2
        assert "have changed since" in err
        assert "--part all" in err
        assert measured(call, run, "--data", root, "--part", "all")[0] == 31
        assert measured(call, run, "--data", root, "--part", "test")[0] == 6
    finally:
        added.unlink()


def test_part_is_for_undivided_folders(call: Call, trained: tuple[Path, Path], tmp_path: Path) -> None:
    fill(tmp_path / "train")
    fill(tmp_path / "test")
    code, _, err = call("evaluate", trained[1], "--data", tmp_path, "--part", "all")
    assert code == 2
    assert "--part is for a folder that is not divided yet" in err
    code, _, err = call("evaluate", trained[1], "--data", "glyphs", "--part", "all")
    assert code == 2
    assert "--part belongs to folders of pictures" in err


def test_warnings_are_lines_on_the_command_line(call: Call, ink_on_nothing: Path) -> None:
    words = ["train", "--network", "lenet5", "--data", ink_on_nothing, "--image-size", "28x28", "--batch-size", "6"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        code, out, err = call(*words)
    assert code == 0
    assert "everybatch: warning: of 8 pictures 8 became one uniform colour" in err
    assert "laid on a background of white" in out
    assert "uniform" not in call(*words, "--background", "0")[2]
    for wrong in ("256", "1,2", "grey", "-1"):
        code, _, err = call(*words, f"--background={wrong}")
        assert code == 2
        assert "R,G,B" in err


def test_a_run_remembers_its_background(call: Call, ink_on_nothing: Path) -> None:
    folder = ink_on_nothing.parent
    words = ["--data", ink_on_nothing, "--image-size", "28x28", "--batch-size", "6", "--background", "0", "--quiet"]
    assert call("train", "--network", "lenet5", *words, "--out", folder / "run")[0] == 0
    pictures = sorted(ink_on_nothing.rglob("*.png"))
    model = eb.load_run(folder / "run").model
    expected = model.predict_proba(from_folder(ink_on_nothing, size=(28, 28), background=0).test_images)

    def told(*more: object) -> list[list[float]]:
        code, out, _ = call("predict", folder / "run", *more, "--json")
        assert code == 0
        return [list(each["probabilities"].values()) for each in json.loads(out)]

    # Trained further, it is on the same ground.
    more = ["--init", folder / "run", "--data", ink_on_nothing, "--batch-size", "6"]
    _, out, err = call("train", *more)
    assert "laid on a background of (0, 0, 0)" in out
    assert "uniform" not in err
    alone = told(*pictures)
    assert alone == told(*pictures, "--background", "black") != told(*pictures, "--background", "white")
    np.testing.assert_allclose(told("--data", ink_on_nothing, "--index", 0, 1), expected, atol=2e-6)
    assert all(row in alone for row in told("--data", ink_on_nothing, "--index", 0, 1))


# The expected pictures are laid on the ground by Pillow, and given as arrays.
def test_a_model_remembers_its_background(call: Call, ink_on_nothing: Path) -> None:
    folder, pictures = ink_on_nothing.parent, sorted(ink_on_nothing.rglob("*.png"))
    labels = [path.parent.name for path in pictures]
    ground = Image.new("RGBA", (5, 6), (0, 0, 0, 255))
    layers = [Image.open(path).convert("RGBA") for path in pictures]
    seen = np.stack([np.asarray(Image.alpha_composite(ground, layer).convert("L")) for layer in layers])
    network = eb.Network([eb.layers.Flatten(), eb.layers.Linear(30, 2)], (1, 6, 5))
    data = from_folder(ink_on_nothing, background=0)
    steps: dict[str, Any] = {"steps": 2, "batch_size": 2}
    kept: list[eb.Model] = []
    run = eb.train(
        network,
        data.subset(train=4),
        **steps,
        checkpoints=folder / "kept",
        callbacks=lambda step: kept.append(step.model()),
    )
    run.save(folder / "run")
    file = folder / "model.safetensors"
    run.model.save(file)
    models = [run.model, run.model.copy(), eb.load_run(folder / "run").model, eb.Model.load(file), kept[-1]]
    models.append(eb.Model.load(next((folder / "kept").glob("*.safetensors"))))
    for model in models:
        assert model.background == (0, 0, 0)
        laid = model.logits(list(map(str, pictures)))
        np.testing.assert_allclose(laid, model.logits(seen), rtol=1e-4, atol=1e-5)
        assert not np.allclose(laid, model.logits(list(map(str, pictures)), background=70))
        measured = model.evaluate(list(map(str, pictures)), labels).loss
        assert measured == pytest.approx(model.evaluate(seen, labels).loss, rel=1e-4)
    # Trained further on arrays it keeps the ground, on pictures on another ground it takes theirs.
    arrays = eb.Dataset(data.train_images, data.train_labels, data.test_images, data.test_labels, classes=data.classes)
    assert eb.train(run.model, arrays, **steps).model.background == (0, 0, 0)
    with pytest.warns(DataWarning, match="uniform"):
        white = from_folder(ink_on_nothing)
    assert eb.train(run.model, white, **steps).model.background == (255, 255, 255)
    assert eb.train(network, arrays, **steps).model.background is None
    # On the command line, of a file.
    told = [call("predict", file, *pictures, *more) for more in ((), ("--background", "0"), ("--background", "255"))]
    assert told[0][0] == 0
    assert told[0][1] == told[1][1] != told[2][1]
    code, out, _ = call("evaluate", file, "--data", ink_on_nothing)
    assert code == 0
    assert "laid on a background of (0, 0, 0)" in out


@pytest.mark.parametrize("levels", [256, -1, (1, 2), 0.5, "black"])
def test_a_background_of_a_model_is_checked(levels: Any) -> None:
    model = eb.networks.kernel_net(input_size=(9, 9), widths=2, hidden=4).initialize(0)
    assert model.background is None
    model.background = 7
    assert model.background == (7, 7, 7)
    with pytest.raises(ArgumentError, match="background"):
        model.background = levels
    assert model.background == (7, 7, 7)
    model.background = None
    assert model.background is None


def test_predict_names_all_bad_files(call: Call, trained: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"bad")
    (tmp_path / "bad.npy").write_bytes(b"bad")
    good = trained[0] / "dark" / "0.png"
    code, _, err = call("predict", trained[1], tmp_path / "bad.png", good, tmp_path / "gone.png", tmp_path / "bad.npy")
    assert code == 2
    assert "3 files cannot be read" in err
    for name in ("bad.png cannot be read", "gone.png: No such file", "bad.npy is not"):
        assert name in err


def test_the_background_of_a_sweep(ink_on_nothing: Path) -> None:
    from everybatch.cli.sweep._file import parse_sweep

    text = 'data = "ink"\nbackground = {}\n[grid]\nlr = [0.1]\n'
    where = ink_on_nothing.parent / "space.toml"
    data = parse_sweep(text.format(0), where, {}).open_data()
    assert data.fingerprint == from_folder(ink_on_nothing, background=0).fingerprint
    data = parse_sweep(text.format("[9, 8, 7]"), where, {}).open_data()
    assert data.fingerprint == from_folder(ink_on_nothing, background=(9, 8, 7)).fingerprint
    with pytest.raises(ArgumentError, match="background"):
        parse_sweep(text.format('"white"'), where, {})


def test_sizes_on_the_command_line(call: Call, tmp_path: Path) -> None:
    fill(tmp_path)
    Image.new("L", (9, 9)).save(tmp_path / "bee" / "9.png")
    code, _, err = call("train", "--data", tmp_path)
    assert code == 2
    assert "pass --image-size HEIGHTxWIDTH" in err
    assert "size=" not in err


@pytest.mark.parametrize("text", ["[300, 0, 0]", "[1, 2]", "null", '"white"', "[1.5, 0, 0]", "", None])
def test_the_background_in_the_file_of_a_model(tmp_path: Path, text: str | None) -> None:
    model = eb.Network([eb.layers.Flatten(), eb.layers.Linear(30, 2)], (1, 6, 5)).initialize(0)
    model.background = 0
    path = tmp_path / "model.safetensors"
    model.save(path)
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    assert json.loads(header["__metadata__"].pop("everybatch.background")) == [0, 0, 0]
    if text is not None:
        header["__metadata__"]["everybatch.background"] = text
    changed = json.dumps(header).encode()
    path.write_bytes(len(changed).to_bytes(8, "little") + changed + content[8 + length :])
    if text is None:  # as earlier versions wrote it
        assert eb.Model.load(path).background is None
        return
    with pytest.raises(FileFormatError, match="background"):
        eb.Model.load(path)
