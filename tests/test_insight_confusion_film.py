"""`insight.confusion_film`: matrices against brute force, flows that add up, alarms, and the page in a browser."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

import everybatch as eb
from browsing import browser
from everybatch.errors import ArgumentError
from everybatch.insight._film_picture import cut, frames_of
from flickering import flickering_data, flickering_run, recorded_run


def counted(labels: np.ndarray, predicted: np.ndarray, classes: int) -> list[list[int]]:
    """The matrix by the definition: one image after the other."""
    matrix = [[0] * classes for _ in range(classes)]
    for true, taken_for in zip(labels.tolist(), predicted.tolist(), strict=True):
        matrix[true][taken_for] += 1
    return matrix


def labelled(labels: Any, classes: int) -> eb.Dataset:
    """Noise whose test images have these labels."""
    noise = flickering_data(images=len(labels), classes=classes)
    pixels = (noise.train_images, noise.train_labels, noise.test_images)
    return eb.Dataset(*pixels, np.asarray(labels), classes=noise.classes, name="noise")


def test_every_frame_is_counted_right() -> None:
    """scikit-learn 1.9.1's `confusion_matrix` on the small example, which has a class without images."""
    data = labelled([3, 0, 0, 0, 0, 3, 3, 1, 3, 1, 0, 3], classes=4)
    predictions = np.array([[3, 0, 1, 0, 2, 3, 1, 1, 3, 1, 0, 0], [3, 0, 0, 0, 0, 3, 3, 2, 3, 1, 0, 1]])
    film = eb.insight.confusion_film(recorded_run(data, predictions), dataset=data)
    # confusion_matrix(data.test_labels, predictions[-1], labels=[0, 1, 2, 3])
    assert film.matrix().tolist() == [[5, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0], [0, 1, 0, 4]]

    data = flickering_data(images=200, classes=7)
    run = flickering_run(data, 30)
    film = eb.insight.confusion_film(run, dataset=data)
    assert film.matrix().tolist() == run.confusion.tolist()
    for step in (0, 11, 29):
        assert film.matrix(step).tolist() == counted(data.test_labels, run.predictions[step], 7)
    np.testing.assert_array_equal(film.matrices[11], film.matrix(11))
    images = np.bincount(data.test_labels, minlength=7)
    assert (film.matrices.sum(axis=2) == images).all()  # a row has the images of its class, at all times


@pytest.mark.parametrize("seed", range(5))
def test_flows_add_up(seed: int) -> None:
    """Whatever the predictions: each flow is counted by hand, and all together are how the matrix changes."""
    draw = np.random.default_rng(seed)
    data = flickering_data(images=80, classes=4, seed=seed)
    predictions = draw.integers(0, 4, (6, 80))
    film = eb.insight.confusion_film(recorded_run(data, predictions), dataset=data)
    for before, after in ((0, 5), (1, 2), (2, 2), (5, 3)):
        flows = film.flows(before, after)
        np.testing.assert_array_equal(film.matrix(before) + flows.net, film.matrix(after))
        moved = predictions[before] != predictions[after]
        assert flows.images.sum() == moved.sum()
        for true, source, target, images in zip(flows.true, flows.source, flows.target, flows.images, strict=True):
            same = (data.test_labels == true) & (predictions[before] == source) & (predictions[after] == target)
            assert images == same.sum()
            assert source != target
        assert np.all(np.diff(flows.images) <= 0)
        right = [predictions[place] == data.test_labels for place in (before, after)]
        assert (flows.gained, flows.lost) == ((~right[0] & right[1]).sum(), (right[0] & ~right[1]).sum())
    steps = sum(film.flows(step, step + 1).net for step in range(5))
    np.testing.assert_array_equal(steps, film.flows(0, 5).net)


def test_images_of_a_cell() -> None:
    data = flickering_data(images=60, classes=3)
    run = flickering_run(data, 10)
    film = eb.insight.confusion_film(run, dataset=data)
    for true, predicted in ((0, 0), (2, 1)):
        images = film.images(true, predicted, 4)
        assert len(images) == film.matrix(4)[true, predicted]
        assert (data.test_labels[images] == true).all()
        assert (run.predictions[4][images] == predicted).all()
    ax = film.plot_images(2, 1, 4, most=2)
    assert [text.get_text() for text in ax.texts] == [str(each) for each in film.images(2, 1, 4)[:2]]
    np.testing.assert_array_equal(ax.images[0].get_array(), data.test_images[film.images(2, 1, 4)[0]])
    assert f"c2 taken for c1 after step 4: 2 of {film.matrix(4)[2, 1]} images" in ax.get_title(loc="left")
    empty = recorded_run(data, np.tile(data.test_labels, (2, 1)))
    with pytest.raises(ArgumentError, match="there are no images to draw: c2 taken for c1"):
        eb.insight.confusion_film(empty, dataset=data).plot_images(2, 1)
    plt.close("all")
    with pytest.raises(ArgumentError, match="true is 3, but the 3 classes are numbered from 0"):
        film.images(3, 0)


def test_a_class_that_falls_alone_is_an_alarm() -> None:
    """A tenth of 1,000 images of class 1 is lost at step 2; at step 4 a tenth of all classes is; at step 6 two images.

    The fall of 100 of 1,000 images has √(100 - 100²/1000)/1000 = 0.00949 as its standard error.
    """
    labels = np.repeat(np.arange(4), 1000)
    data = labelled(labels, classes=4)
    right = np.ones((8, 4000), bool)
    right[2, 1000:1100] = False
    right[4, ::10] = False
    right[6, 2000:2002] = False
    run = recorded_run(data, np.where(right, labels, (labels + 1) % 4), np.arange(8) * 5)
    film = eb.insight.confusion_film(run, dataset=data)
    assert film.alarm_step.tolist() == [10]
    assert film.alarm_class.tolist() == [1]
    np.testing.assert_allclose(film.alarm_fall, [0.1])
    np.testing.assert_allclose(film.alarm_error, [np.sqrt(90) / 1000])
    np.testing.assert_allclose(film.alarm_of_all, [-0.025])
    assert 9 < film.alarm_standard_errors[0] < 0.1 / (np.sqrt(90) / 1000)
    assert film.frame["class"].tolist() == ["c1"]
    assert "1 alarm of a class that fell by more than 4 standard errors alone" in repr(film)
    assert "every 5 steps" in repr(film)
    assert len(eb.insight.confusion_film(run, dataset=data, threshold=11).alarm_step) == 0
    for threshold in (-1, np.inf, np.nan):
        with pytest.raises(ArgumentError, match=f"threshold is {threshold:g}: give .* a finite number above 0"):
            eb.insight.confusion_film(run, dataset=data, threshold=threshold)


def test_pictures() -> None:
    data = flickering_data(images=60, classes=3)
    film = eb.insight.confusion_film(flickering_run(data, 10), dataset=data)
    ax = film.plot(4)
    title = ax.get_title(loc="left")
    assert title == f"step 4: {film.matrix(4).trace() / 60:.2%} right (measured every step)"
    texts = [int(text.get_text()) for text in ax.texts]
    assert sum(texts) == 60
    flows = film.flows(4)
    bars = [bar.get_width() for bar in flows.plot(most=3).patches]
    assert sorted(map(abs, bars)) == sorted(flows.images[:3].tolist())
    film.flows(4, 4).plot()  # nothing changed
    plt.close("all")


def test_frames_are_closer_at_the_beginning() -> None:
    assert frames_of(5, 10).tolist() == [0, 1, 2, 3, 4]
    frames = frames_of(1000, 60)
    assert (frames[0], frames[-1]) == (0, 999)
    assert 40 < len(frames) <= 60
    assert np.all(np.diff(frames, 2) >= -1)


@pytest.mark.parametrize("classes", [3, 70])
def test_the_moving_picture(tmp_path: Path, classes: int) -> None:
    data = flickering_data(images=300, classes=classes)
    film = eb.insight.confusion_film(flickering_run(data, 12), dataset=data)
    film.to_gif(tmp_path / "film.gif", frames=4, seconds=1)
    with Image.open(tmp_path / "film.gif") as picture:
        assert picture.n_frames == 4
        durations = []
        for frame in range(4):
            picture.seek(frame)
            durations.append(picture.info["duration"])
        assert durations == [250, 250, 250, 1250]
    with pytest.raises(FileExistsError):
        film.to_gif(tmp_path / "film.gif")


def test_of_many_classes_those_with_the_most_errors_are_shown() -> None:
    data = flickering_data(images=2000, classes=300)
    run = flickering_run(data, 10)
    film = eb.insight.confusion_film(run, dataset=data)
    assert run.predictions.dtype == np.uint16
    kept, matrices = cut(film._seen, np.array([2, 9]))
    errors = [film.matrix(step) * ~np.eye(300, dtype=bool) for step in (2, 9)]
    of_class = sum(each.sum(axis=0) + each.sum(axis=1) for each in errors)
    assert len(kept) == 40
    assert of_class[kept].min() >= np.delete(of_class, kept).max()
    np.testing.assert_array_equal(matrices[1], film.matrix(9)[kept][:, kept])
    assert "The 40 of 300 classes with the most errors." in film._repr_html_()


def test_the_page_shows_every_frame_in_a_browser(tmp_path: Path) -> None:
    data = flickering_data(images=90, classes=3)
    labels, run = data.test_labels, flickering_run(data, 8, step=np.arange(8) * 10, per_epoch=100)
    film = eb.insight.confusion_film(run, dataset=data)
    film.to_html(tmp_path / "film.html")
    with browser() as started:
        page = started.new_page(color_scheme="dark", viewport={"width": 900, "height": 700})
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.on("request", lambda request: None if request.url.startswith("file:") else wrong.append(request.url))
        page.goto((tmp_path / "film.html").as_uri())
        last = film.matrix()
        assert page.inner_text("#now") == f"step 70 · {100 * last.trace() / 90:.2f}% right"
        page.keyboard.press("Home")
        page.keyboard.press("ArrowRight")
        accuracy = 100 * (run.predictions[1] == labels).mean()
        assert page.inner_text("#now") == f"step 10 · {accuracy:.2f}% right"
        flows = film.flows(0, 10)
        cells = page.eval_on_selector_all("#flows tbody td", "cells => cells.map(cell => cell.textContent)")
        assert cells[:3] == [film.classes[each[0]] for each in (flows.true, flows.source, flows.target)]
        assert int(re.sub(r"\D", "", cells[3])) == flows.images[0]
        box = page.locator("#matrix").bounding_box()
        page.mouse.move(box["x"] + 0.55 * box["width"], box["y"] + 0.45 * box["height"])  # the cell in the middle
        value, of = film.matrix(10)[1, 1], (labels == 1).sum()
        assert page.inner_text("#cell") == f"c1 recognised: {value} of {of} images ({100 * value / of:.2f}%)"
        page.keyboard.press("Home")
        page.keyboard.press(" ")
        page.locator("#now", has_text="step 70 ").wait_for()
        page.locator("#play", has_text="Play").wait_for()
        assert wrong == []


def test_names_are_no_markup(tmp_path: Path) -> None:
    noise = flickering_data(images=30, classes=3)
    pixels = (noise.train_images, noise.train_labels, noise.test_images, noise.test_labels)
    data = eb.Dataset(*pixels, classes=["</script><b>", '"&', "c"], name="<i>noise</i>")
    film = eb.insight.confusion_film(flickering_run(data, 3), dataset=data)
    film.to_html(tmp_path / "film.html")
    text = (tmp_path / "film.html").read_text(encoding="utf-8")
    assert "<b>" not in text
    assert "&lt;i&gt;noise&lt;/i&gt;" in text
    assert text.count("</script>") == 2
    assert "http" not in text.replace("http-equiv", "")  # nothing is fetched
    shown = film._repr_html_()
    assert shown.startswith("<iframe srcdoc=")
    assert "<script" not in shown  # all of the page is within the attribute
    with pytest.raises(FileExistsError):
        film.to_html(tmp_path / "film.html")
    film.to_html(tmp_path / "film.html", frames=2, overwrite=True)


def test_a_single_measurement_is_a_film_of_one_frame(tmp_path: Path) -> None:
    data = flickering_data()
    film = eb.insight.confusion_film(flickering_run(data, 1), dataset=data)
    assert len(film.alarm_step) == 0
    film.to_html(tmp_path / "film.html")
    film.to_gif(tmp_path / "film.gif")
    with pytest.raises(ArgumentError, match="nothing was measured after step 1"):
        film.matrix(1)


def test_test_images_of_one_class_alone() -> None:
    data = flickering_data(images=40, classes=2, without=(1,))
    runs = [flickering_run(data, 12, seed=seed) for seed in (0, 1)]
    film = eb.insight.confusion_film(runs[0], dataset=data)
    assert film.matrix()[1].tolist() == [0, 0]
    film.plot()
    assert film._repr_html_()
    learning = eb.insight.learning(runs[0], dataset=data)
    assert (learning.hidden_class_fall == learning.hidden_fall).all()
    learning.plot()
    right = np.arange(40) >= np.array([[0], [39]])  # all but one are lost: with nobody beside whom the class fell alone
    fallen = recorded_run(data, np.where(right, data.test_labels, 1 - data.test_labels))
    assert len(eb.insight.confusion_film(fallen, dataset=data).alarm_step) == 0
    bands = eb.insight.bands(runs[0], dataset=data)
    assert np.isnan(bands.class_accuracy[:, 1]).all()
    np.testing.assert_allclose(bands.class_low[:, 0], bands.low)
    found = eb.insight.compare(runs, labels=["a", "b"], dataset=data)
    assert found.shared_errors[0, 0] == film.matrix()[0, 1]
    plt.close("all")
