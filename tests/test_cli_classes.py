"""`everybatch evaluate` and `predict` on data that the model was not trained on: classes by name, and no trust in names
of data sets."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import everybatch as eb

Call = Callable[..., tuple[int, str, str]]

ALL = ("ant", "bee", "cow")


def one_error(call: Call, *argv: object) -> str:
    code, out, err = call(*argv)
    assert (code, out) == (2, "")
    assert err.startswith("everybatch: error: ")
    assert err.count("\n") == 1
    return err


def zoo(names: Any = ALL, *, name: str = "zoo", seed: int = 0) -> eb.Dataset:
    """Grey noise, the brighter the later the class comes in `ALL`."""
    rng = np.random.default_rng(seed)
    order = sorted(names)
    given = [names[number % len(names)] for number in range(24)]
    bright = np.array([50 + 70 * (ALL.index(each) if each in ALL else 3) for each in given])
    images = np.clip(bright[:, None, None] + rng.normal(0, 15, (24, 6, 6)), 0, 255).astype(np.uint8)
    labels = np.array([order.index(each) for each in given])
    return eb.Dataset(images, labels, images, labels, classes=order, mean=0.5, std=0.3, name=name)


def as_folder(data: eb.Dataset, folder: Path) -> Path:
    """Write the test images as from_folder reads them: sub-folders of train/ and test/."""
    image = pytest.importorskip("PIL.Image")
    for part in ("train", "test"):
        for number, (pixels, label) in enumerate(zip(data.test_images, data.test_labels, strict=True)):
            place = folder / part / data.classes[label]
            place.mkdir(parents=True, exist_ok=True)
            image.fromarray(pixels).save(place / f"{number:02}.png")
    return folder


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a, b and c, in a folder of its own, with kept weights beside it."""
    folder = tmp_path_factory.mktemp("runs")
    layers = [eb.Conv2d(1, 4, 3), eb.Activation("relu"), eb.GlobalAvgPool(), eb.Linear(4, 3)]
    network = eb.Network(layers, (1, 6, 6), name="small")
    run = eb.train(
        network, zoo(), epochs=20, batch_size=8, lr=0.05, progress=False, device="cpu", checkpoints=folder / "weights"
    )
    run.save(folder / "abc")
    run.model.save(folder / "abc.safetensors")
    nameless = run.model.copy()
    nameless.classes = None
    nameless.save(folder / "old.safetensors")
    return folder


# ---- classes ---------------------------------------------------------------------------------------------------------


def test_evaluate_on_a_folder_that_lacks_a_class(call: Call, saved: Path, tmp_path: Path) -> None:
    data = zoo(("bee", "cow"), seed=1)
    folder = as_folder(data, tmp_path / "bc")
    model = eb.load_run(saved / "abc").model
    # NumPy on the names.
    right = np.array(ALL)[model.predict(data.test_images)] == np.array(data.classes)[data.test_labels]
    for given in (saved / "abc", saved / "abc.safetensors"):
        code, out, err = call("evaluate", given, "--data", folder)
        assert (code, err) == (0, "")
        assert f"Test accuracy: {100 * right.mean():.2f} % ({right.sum()} of 24)" in out
        assert [line.split()[0] for line in out.splitlines()[-3:]] == list(ALL)
        assert "no images" in next(line for line in out.splitlines() if line.startswith("  ant"))
        code, out, err = call("evaluate", given, "--data", folder, "--json")
        told = json.loads(out)
        assert (code, err) == (0, "")
        assert told["accuracy"] == right.mean()
        assert list(told["class_accuracy"]) == list(ALL)
        assert told["class_accuracy"]["ant"] is None
        assert [sum(row) for row in told["confusion"]] == [0, 12, 12]


def test_a_class_that_the_model_lacks(call: Call, saved: Path, tmp_path: Path) -> None:
    folder = as_folder(zoo(("bee", "cow", "dog")), tmp_path / "bcd")
    for argv in (
        ("evaluate", saved / "abc"),
        ("predict", saved / "abc", "--index", 23),
        ("predict", saved / "abc", "--checkpoints"),
    ):
        error = one_error(call, *argv, "--data", folder)
        assert "no class 'dog'" in error
        assert "--match-classes position" in error
        assert "match_classes" not in error
        assert call(*argv, "--data", folder, "--match-classes", "position")[0] == 0


def test_training_goes_on_for_other_classes_only_if_told_to(call: Call, saved: Path, tmp_path: Path) -> None:
    folder = as_folder(zoo(("dog", "emu", "fox")), tmp_path / "def")
    train = (
        "train",
        "--init",
        saved / "abc",
        "--data",
        folder,
        "--batch-size",
        8,
        "--quiet",
        "--out",
        tmp_path / "run",
    )
    error = one_error(call, *train)
    assert "no class in common" in error
    assert "give --match-classes position" in error
    assert call(*train, "--match-classes", "position")[0] == 0
    assert eb.load_run(tmp_path / "run").model.classes == ("dog", "emu", "fox")
    assert "--init" in one_error(call, "train", "--data", folder, "--match-classes", "position")


def test_predict_names_the_true_class_in_the_models_words(call: Call, saved: Path, tmp_path: Path) -> None:
    data = zoo(("bee", "cow"), seed=1)
    folder = as_folder(data, tmp_path / "bc")
    code, out, _ = call("predict", saved / "abc", "--data", folder, "--index", 0, 13, "--json")
    read = eb.datasets.from_folder(folder)
    predicted = eb.load_run(saved / "abc").model.predict(read.test_images[[0, 13]])
    told = json.loads(out)
    assert code == 0
    assert [each["labelled"] for each in told] == [read.classes[read.test_labels[i]] for i in (0, 13)]
    assert [each["class"] for each in told] == [ALL[number] for number in predicted]
    assert [list(each["probabilities"]) for each in told] == [list(ALL)] * 2


def test_names_are_printed_only_if_they_are_known(call: Call, saved: Path, tmp_path: Path) -> None:
    data = zoo()
    np.save(tmp_path / "one.npy", data.test_images[0])
    number = int(eb.Model.load(saved / "old.safetensors").predict(data.test_images[:1])[0])
    assert f": {ALL[number]} (" in call("predict", saved / "abc.safetensors", tmp_path / "one.npy")[1]
    assert f": class number {number} (" in call("predict", saved / "old.safetensors", tmp_path / "one.npy")[1]
    (told,) = json.loads(call("predict", saved / "old.safetensors", tmp_path / "one.npy", "--json")[1])
    assert (told["class"], told["number"]) == (None, number)
    assert sum(told["probabilities"]) == pytest.approx(1, abs=1e-4)
    # With data of as many classes, these lend their names, and that is said.
    code, out, err = call("evaluate", saved / "old.safetensors", "--data", as_folder(data, tmp_path / "abc"))
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[-3:]] == list(ALL)
    assert err == "everybatch: note: the model has no names for its classes: they are matched by position\n"


def test_arrays_of_another_shape(call: Call, saved: Path, tmp_path: Path) -> None:
    for name, shape in (("turned", (6, 5)), ("many", (3, 9, 9)), ("colour", (2, 6, 6, 3))):
        np.save(tmp_path / f"{name}.npy", np.zeros(shape, np.uint8))
        assert f"{name}.npy" in one_error(call, "predict", saved / "abc", tmp_path / f"{name}.npy")
    assert "(1, 28, 28)" in one_error(call, "evaluate", saved / "abc", "--data", "glyphs", "--test-images", 20)


# ---- what the run was trained on -------------------------------------------------------------------------------------


def trained_on(data: eb.Dataset, folder: Path) -> Path:
    channels, height, width = data.image_shape
    network = eb.Network([eb.Flatten(), eb.Linear(channels * height * width, data.num_classes)], data.image_shape)
    run = eb.train(
        network,
        data,
        steps=1,
        batch_size=8,
        progress=False,
        device="cpu",
        checkpoints=folder.with_suffix(".weights"),
        checkpoint_every=1,
    )
    run.save(folder)
    return folder


def named(data: eb.Dataset, name: str, shift: int = 0) -> eb.Dataset:
    """The same images under another name, and with other labels."""
    train, test = (data.train_labels + shift) % 10, (data.test_labels + shift) % 10
    return eb.Dataset(
        data.train_images, train, data.test_images, test, classes=data.classes, name=name, source=data.source
    )


def test_ones_own_data_are_not_taken_for_the_built_in_ones(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(eb.datasets, "mnist", lambda **_: eb.datasets.glyphs(90, 70))
    glyphs = eb.datasets.glyphs(50, 30)
    for number, (data, difference) in enumerate(
        [
            (named(glyphs, "glyphs", shift=1), "as many images, with other pixels or labels"),
            (zoo(name="glyphs"), "images of 1x6x6 instead of 1x28x28"),
            (named(glyphs, "mnist"), "50 training and 30 test images instead of 90 and 70"),
        ]
    ):
        run = trained_on(data, tmp_path / str(number))
        for argv in (("evaluate", run), ("evaluate", run, "--json"), ("predict", run, "--checkpoints")):
            error = one_error(call, *argv)
            assert f"cannot be found again: it is called {data.name}, and had" in error
            assert difference in error
            assert f"--data {data.name}" in error


def test_the_built_in_data_are_found_again_as_they_were(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    glyphs = eb.datasets.glyphs(90, 70, seed=5)
    arrays = (glyphs.train_images, glyphs.train_labels, glyphs.test_images, glyphs.test_labels)
    builtin = eb.Dataset(*arrays, classes=glyphs.classes, name="mnist", source="built in")
    monkeypatch.setattr(eb.datasets, "mnist", lambda **_: builtin)
    # The names that the run was given are not those of the built-in data; its images and labels are.
    renamed = eb.Dataset(*arrays, classes=[*"1023456789"], name="mnist", source="built in")
    for number, data in enumerate((glyphs, builtin, builtin.subset(train=40, test=30, seed=7), renamed)):
        run = trained_on(data, tmp_path / str(number))
        code, out, err = call("evaluate", run, "--json")
        assert (code, err) == (0, "")
        told, expected = json.loads(out), eb.load_run(run)
        assert told["data"]["test_images"] == len(data.test_labels)
        assert np.float32(told["accuracy"]) == np.float32(expected.final_accuracy)
        assert list(told["class_accuracy"]) == list(data.classes)
        assert told["confusion"] == expected.confusion.tolist()
        code, _, err = call("predict", run, "--checkpoints")
        assert (code, err) == (0, "")  # no note that the figures differ from the history


def test_nan_is_no_class_and_no_json(call: Call, saved: Path, tmp_path: Path) -> None:
    broken = eb.load_run(saved / "abc").model.copy()
    next(iter(broken.state_dict().values())).fill_(float("nan"))
    broken.save(tmp_path / "broken.safetensors")
    np.save(tmp_path / "images.npy", zoo().test_images[:2])
    np.savez(tmp_path / "zoo.npz", x=zoo().test_images, y=zoo().test_labels)
    model, images = tmp_path / "broken.safetensors", tmp_path / "images.npy"
    code, out, err = call("predict", model, images)
    assert (code, out.count("no class (NaN)")) == (0, 2)
    assert "gives NaN for 2 of 2 images" in err
    told = json.loads(call("predict", model, images, "--json")[1], parse_constant=pytest.fail)
    assert [each["class"] for each in told] == [None, None]
    assert told[0]["probabilities"] == dict.fromkeys(ALL)
    by_number = ("--keys", "x,y", "--match-classes", "position", "--json")
    code, out, err = call("evaluate", model, "--data", tmp_path / "zoo.npz", *by_number)
    assert json.loads(out, parse_constant=pytest.fail)["loss"] is None
    assert "loss that is NaN" in err
