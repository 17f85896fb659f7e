"""`eb.insight.report` and `everybatch insight`: the page of a run."""

from __future__ import annotations

import base64
import gzip
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import browsing
import everybatch as eb
from everybatch.cli import main
from everybatch.insight._falls import Fall, falls
from everybatch.insight._packed import loss_codes, packed, sprites

EVIL = "</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def data() -> eb.Dataset:
    return eb.datasets.glyphs(train=320, test=150)


@pytest.fixture(scope="module")
def run(data: eb.Dataset) -> eb.Run:
    how: dict[str, Any] = {"batch_size": 32, "steps": 25, "lr": 3e-3, "record": ("predictions",)}
    return eb.train(eb.networks.lenet5(), data, progress=False, **how)


def content(page: Path) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="content">(.*?)</script>', page.read_text(), re.DOTALL)
    assert found is not None
    told: dict[str, Any] = json.loads(found[1])
    return told


def unpacked(text: str, kind: type[np.generic]) -> np.ndarray[Any, Any]:
    return np.frombuffer(gzip.decompress(base64.b64decode(text)), kind)


def test_the_page_has_what_was_recorded(run: eb.Run, data: eb.Dataset, tmp_path: Path) -> None:
    told = content(eb.insight.report(run, tmp_path / "a.html"))  # the data set is found again
    np.testing.assert_array_equal(unpacked(told["predictions"], np.uint8).reshape(150, 26), run.predictions.T)
    assert told["labels"] == data.test_labels.tolist()
    assert told["steps"] == list(range(26))
    np.testing.assert_allclose(told["accuracy"], run.test_accuracy, rtol=1e-5)
    picture = Image.open(io.BytesIO(base64.b64decode(told["images"]["pictures"][0].partition(",")[2])))
    sheet = np.asarray(picture)
    np.testing.assert_array_equal(sheet[28:56, 28 * 49 : 28 * 50], data.test_images[149])
    assert told["losses"] is None


def test_few_measurements_are_chosen_evenly_and_falls_are_sought_among_all(run: eb.Run, tmp_path: Path) -> None:
    told = content(eb.insight.report(run, tmp_path / "a.html", measurements=6))
    assert told["steps"] == [0, 5, 10, 15, 20, 25]
    assert "6 of the measurements are shown" in told["facts"]
    np.testing.assert_array_equal(unpacked(told["predictions"], np.uint8).reshape(150, 6), run.predictions[::5].T)
    whole = content(eb.insight.report(run, tmp_path / "b.html"))
    assert told["falls"] == whole["falls"]
    for fall in told["falls"]:
        (batch,) = fall["batches"]
        assert batch["step"] == fall["step"] - 1  # by which run.batch_indices and insight.replay know it
        named = np.array(told["trained"]["numbers"])[batch["images"]]
        np.testing.assert_array_equal(named, run.batch_indices(batch["step"]))


def train_in_large_batches(data: eb.Dataset) -> eb.Run:
    how: dict[str, Any] = {"batch_size": 300, "steps": 4, "record": ("predictions",)}
    return eb.train(eb.Network([eb.Flatten(), eb.Linear(784, 10)]), data, progress=False, **how)


def test_of_a_large_batch_the_page_has_as_many_images_as_it_shows(
    data: eb.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train_in_large_batches(data)
    monkeypatch.setattr("everybatch.insight._report_content.falls", lambda *_: [Fall(3, 3, 1, -1.0)])
    told = content(eb.insight.report(run, tmp_path / "a.html", dataset=data))
    ((batch,),) = (fall["batches"] for fall in told["falls"])
    assert (batch["step"], batch["size"]) == (2, 300)
    assert len(told["trained"]["numbers"]) == 128
    named = np.array(told["trained"]["numbers"])[batch["images"]]
    np.testing.assert_array_equal(named, run.batch_indices(2)[:128])
    assert told["trained"]["labels"] == data.train_labels[told["trained"]["numbers"]].tolist()


# By hand: of 10 images 3 are lost and 1 is gained, so that the mean of -1, 0 and 1 is -0.2, its square's 0.4.
def test_a_fall_is_measured_by_its_paired_error() -> None:
    predictions = np.ones((30, 10), np.uint8)
    predictions[20, [0, 1, 2]] = 0
    predictions[:20, 9] = 0
    (found,) = falls(predictions, np.ones(10, np.int64), 5)
    assert (found.measurement, found.lost, found.gained) == (20, 3, 1)
    assert found.z == pytest.approx(-0.2 / np.sqrt((0.4 - 0.04) / 10))
    assert falls(predictions[:1], np.ones(10, np.int64), 5) == []


def test_losses_are_kept_to_within_three_percent() -> None:
    losses = np.exp(np.random.default_rng(0).uniform(np.log(6.1e-5), np.log(545.0), 10_000))
    codes = loss_codes(np.concatenate([losses, [0.0, 6.1e-5, 545.0, 65504.0, np.inf, np.nan]]))
    np.testing.assert_allclose(2 ** (codes[:-6] / 11 - 14), losses, rtol=0.033)
    assert codes[-6:].tolist() == [0, 0, 254, 254, 254, 255]


@pytest.mark.parametrize("shape", [(3, 5, 7), (3, 5, 7, 3), (3, 80, 40), (3, 40, 80, 3), (3, 9, 9, 4), (3, 9, 9, 1)])
def test_images_of_any_shape_become_pictures(shape: tuple[int, ...]) -> None:
    made = sprites(np.full(shape, 200, np.uint8))
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(made["pictures"][0].partition(",")[2]))))
    assert max(made["width"], made["height"]) <= 32
    assert picture.shape[:2] == (made["height"], 100 * made["width"])
    assert (picture[:, : 3 * made["width"]] == 200).all()


def test_arrays_are_packed_little_endian() -> None:
    array = np.arange(6, dtype=">u2").reshape(2, 3)
    np.testing.assert_array_equal(unpacked(packed(array.T), np.uint16), [0, 3, 1, 4, 2, 5])


def test_what_a_run_lacks_is_said(data: eb.Dataset, run: eb.Run, tmp_path: Path) -> None:
    plain = eb.train(eb.networks.lenet5(), data, steps=1, progress=False)
    with pytest.raises(AttributeError, match=r"train with record=\('predictions',\)"):
        eb.insight.report(plain, tmp_path / "a.html")
    with pytest.raises(eb.errors.ArgumentError, match="at least 2"):
        eb.insight.report(run, tmp_path / "a.html", measurements=1)
    with pytest.raises(eb.errors.ArgumentError, match="other images"):
        eb.insight.report(run, tmp_path / "a.html", dataset=eb.datasets.glyphs(train=320, test=150, seed=1))
    (tmp_path / "a.html").write_text("mine")
    with pytest.raises(FileExistsError):
        eb.insight.report(run, tmp_path / "a.html")
    assert (tmp_path / "a.html").read_text() == "mine"


def test_a_folder_is_as_good_as_a_run(run: eb.Run, tmp_path: Path) -> None:
    run.save(tmp_path / "run")
    page = eb.insight.report(str(tmp_path / "run"), tmp_path / "a.html")
    assert content(page) == content(eb.insight.report(run, tmp_path / "b.html"))


def test_with_a_tolerance_there_are_no_predictions_to_show(data: eb.Dataset, tmp_path: Path) -> None:
    estimated = eb.train(eb.networks.lenet5(), data, steps=1, tolerance=0.01, progress=False)
    with pytest.raises(AttributeError, match="train without tolerance="):
        eb.insight.report(estimated, tmp_path / "a.html")


def test_the_command_writes_the_page(
    run: eb.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run.save("kept")
    assert main(["insight", "kept", "--measurements", "3"]) == 0
    assert capsys.readouterr().out == "kept-insight.html\n"
    assert content(tmp_path / "kept-insight.html")["steps"] == [0, 12, 25]
    assert main(["insight", "kept"]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main(["insight", "kept", "--out", "b.html", "--data", "glyphs"]) == 2
    assert "other images" in capsys.readouterr().err


# ---- in a browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with browsing.browser() as browser:
        yield browser


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A window; at the end, that nothing was fetched and nobody complained."""
    page = browser.new_page(viewport={"width": 1300, "height": 900})
    page.set_default_timeout(60_000.0)
    fetched, said = [], []
    page.on("request", lambda request: fetched.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append(dialog.message))
    yield page
    page.close()
    assert [url for url in fetched if not url.startswith(("file:", "data:", "blob:"))] == []
    assert said == []


def opened(page: Any, path: Path) -> None:
    page.goto(path.as_uri())
    page.locator("body[data-ready]").wait_for()


def move(page: Any, moment: int) -> None:
    page.locator("#slider").fill(str(moment))


# The expected numbers are NumPy's, on the recorded predictions.
def test_the_slider_goes_through_the_measurements(page: Any, run: eb.Run, data: eb.Dataset, tmp_path: Path) -> None:
    opened(page, eb.insight.report(run, tmp_path / "a.html"))
    right = run.predictions == data.test_labels
    for moment in (1, 7, 25):
        move(page, moment)
        lost, gained = (right[moment - 1] & ~right[moment]).sum(), (~right[moment - 1] & right[moment]).sum()
        text = page.locator("#now").text_content()
        assert f"step {moment} of 25: {100 * run.test_accuracy[moment]:.2f}% right" in text
        assert f"{lost} lost, {gained} gained" in text
        counts = np.zeros((10, 10), int)
        np.add.at(counts, (data.test_labels, run.predictions[moment]), 1)
        shown = page.locator("#confusion td").all_text_contents()
        assert [int(text) for text in shown] == counts.ravel().tolist()
        assert page.locator("#tiles .tile").count() == min(60, lost)


def test_images_are_found_by_cell_by_number_and_by_what_happened_to_them(
    page: Any, run: eb.Run, data: eb.Dataset, tmp_path: Path
) -> None:
    opened(page, eb.insight.report(run, tmp_path / "a.html"))
    right = run.predictions == data.test_labels
    true, taken = data.test_labels, run.predictions[25]
    wrong = np.flatnonzero(true != taken)[0]
    cell = (true == true[wrong]) & (taken == taken[wrong])
    page.locator(f'#confusion [data-cell="{true[wrong]} {taken[wrong]}"]').click()
    shown = [int(tile) for tile in page.locator("#tiles .tile").evaluate_all("all => all.map(t => t.dataset.image)")]
    assert shown == np.flatnonzero(cell).tolist()
    page.locator("#number").fill("37")
    page.locator("#search button").click()
    about = page.locator("#about").text_content()
    lost = int((right[:-1, 37] & ~right[1:, 37]).sum())
    assert f"Test image 37, labelled {data.classes[true[37]]}." in about
    assert f"Lost {lost} time" in about
    page.locator("#number").fill("5000")
    page.locator("#search button").click()
    assert page.locator("#no-such").is_visible()
    page.locator('#tabs [data-tab="forgotten"]').click()
    often = int((right[:-1] & ~right[1:]).sum(0).max())
    assert f"lost {often}×" in page.locator("#tiles .tile").first.text_content()
    page.locator('#tabs [data-tab="never"]').click()
    assert f"{(~right[-1]).sum()} images wrong at the last" in page.locator("#listed").text_content()


def test_a_fall_shows_its_images_and_its_batches(page: Any, run: eb.Run, tmp_path: Path) -> None:
    path = eb.insight.report(run, tmp_path / "a.html")
    fall = content(path)["falls"][0]
    opened(page, path)
    page.locator("#falls button").first.click()
    assert f"step {fall['step']} of 25" in page.locator("#now").text_content()
    assert page.locator("#tiles .tile").count() == min(60, fall["lost"])
    assert page.locator("#batches .tile").count() == len(run.batch_indices(fall["step"] - 1))
    assert page.locator('#falls [aria-pressed="true"]').count() == 1
    assert f"The batch of step {fall['step'] - 1}:" in page.locator("#batches h3").first.text_content()


def test_of_a_large_batch_the_first_images_are_shown(
    page: Any, data: eb.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train_in_large_batches(data)
    monkeypatch.setattr("everybatch.insight._report_content.falls", lambda *_: [Fall(3, 3, 1, -1.0)])
    opened(page, eb.insight.report(run, tmp_path / "a.html", dataset=data))
    page.locator("#falls button").first.click()
    assert page.locator("#batches .tile").count() == 128
    assert page.locator("#batches h3").text_content() == "The batch of step 2: 300 images, the first 128 of them"


def test_names_are_text_and_nothing_else(page: Any, data: eb.Dataset, tmp_path: Path) -> None:
    names = [EVIL, "<b>two</b>", *map(str, range(2, 10))]
    evil = eb.Dataset(
        data.train_images, data.train_labels, data.test_images, data.test_labels, classes=names, name="<i>mine</i>"
    )
    how: dict[str, Any] = {"steps": 3, "record": ("predictions",), "progress": False}
    run = eb.train(eb.networks.lenet5(), evil, **how)
    opened(page, eb.insight.report(run, tmp_path / "a.html", dataset=evil))
    assert page.locator("#confusion th").all_text_contents()[1:3] == [EVIL, "<b>two</b>"]
    assert "<i>mine</i>" in page.locator("#facts").text_content()


def test_many_classes_and_a_single_measurement(page: Any, data: eb.Dataset, tmp_path: Path) -> None:
    classes = 300
    labels = [np.arange(len(part)) % classes for part in (data.train_labels, data.test_labels)]
    labels[0][-1] = classes - 1
    many = eb.Dataset(data.train_images, labels[0], data.test_images, labels[1], classes=list(map(str, range(classes))))
    how: dict[str, Any] = {"steps": 2, "record": ("predictions",), "progress": False}
    run = eb.train(eb.networks.lenet5(num_classes=classes), many, evaluate_every=2, **how)
    opened(page, eb.insight.report(run, tmp_path / "a.html", dataset=many))
    assert page.locator("#confusion li").count() == 30
    page.locator("#confusion button").first.click()
    assert page.locator("#tiles .tile").count() >= 1
    assert page.locator("#falls").text_content() == "None: the accuracy never fell after the first tenth of the run."


# What stood there is kept by an observer: whoever asks now and then misses a moment on a busy machine.
def test_play_goes_through_all_moments_to_the_end(page: Any, run: eb.Run, tmp_path: Path) -> None:
    path = eb.insight.report(run, tmp_path / "a.html", measurements=4)
    opened(page, path)
    page.evaluate(
        """() => {
          const now = document.getElementById("now");
          window.seen = [];
          const seen = () => window.seen.push(now.textContent);
          new MutationObserver(seen).observe(now, { childList: true });
        }"""
    )
    page.locator("#play").click()
    page.locator("#play", has_text="play").wait_for()
    steps = [int(text.split()[1]) for text in page.evaluate("window.seen")]
    assert list(dict.fromkeys(steps)) == content(path)["steps"] == [0, 8, 17, 25]
