"""`train(live=True)`: what a view is given, what it may not harm, and what a notebook keeps."""

from __future__ import annotations

import base64
import io
import itertools
import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from nbconvert import HTMLExporter
from PIL import Image

import everybatch as eb
from everybatch import live, resuming, training
from everybatch._measures import ARRAYS
from everybatch.folder._rows import Counts
from everybatch.live._beside import MANY, Beside, run_of
from everybatch.live._curves import charts
from everybatch.live._pace import Pace
from everybatch.live._picture import picture

Array = np.ndarray[Any, Any]
Quick = Callable[..., eb.Run]


class Recorder:
    """A view that remembers what it was given, and fails where it is told to."""

    fails_at = ""

    def __init__(self, told: Mapping[str, Any]) -> None:
        self.fail("show")
        self.told = told
        self.drawn: list[dict[str, Array]] = []
        self.ended: list[eb.Run | None] = []

    def draw(self, arrays: Mapping[str, Array]) -> None:
        self.fail("draw")
        self.drawn.append({name: array.copy() for name, array in arrays.items()})

    def end(self, run: eb.Run | None) -> None:
        self.fail("end")
        self.ended.append(run)

    def fail(self, at: str) -> None:
        if at in self.fails_at:
            raise ZeroDivisionError(f"{at} fails")


@pytest.fixture
def views(monkeypatch: pytest.MonkeyPatch) -> list[Recorder]:
    """The views that are made, where a test stands for a notebook."""
    made: list[Recorder] = []

    def view(told: Mapping[str, Any]) -> Recorder:
        made.append(Recorder(told))
        return made[-1]

    def beside(journal: Any, told: Mapping[str, Any], earlier: Mapping[str, Array] | None = None) -> Beside:
        return Beside(journal, told, view, earlier, pause=0.0)

    for module in (training, resuming):
        monkeypatch.setattr(module, "can_show", lambda wanted: wanted)
    monkeypatch.setattr(training, "beside", beside)
    return made


def same(run: eb.Run, other: eb.Run) -> bool:
    return all(
        np.array_equal(array, other._arrays[name], equal_nan=array.dtype.kind == "f")
        for name, array in run._arrays.items()
        if not name.endswith("seconds")
    )


def look(step: eb.Step) -> None:
    """With a callback, rows are told after every step."""


# ---- what a view is given


@pytest.mark.parametrize("has_folder", [False, True])
def test_a_view_is_given_every_row_as_the_run_has_it(
    quick: Quick, views: list[Recorder], tmp_path: Path, has_folder: bool
) -> None:
    folder = {"folder": tmp_path / "run"} if has_folder else {}
    run = quick(epochs=2, live=True, callbacks=look, record="predictions", validation=20, **folder)
    (view,) = views
    assert view.ended == [run]
    assert [len(drawn["train_loss"]) for drawn in view.drawn][-1] == run.steps
    for drawn in view.drawn:
        steps = len(drawn["train_loss"])
        for name in ("train_loss", "train_accuracy", "train_seconds", "lr"):
            assert np.array_equal(drawn[name], run._arrays[name][:steps])
        for name in ("test_loss", "test_accuracy", "class_accuracy", "eval_step", "validation_loss"):
            assert np.array_equal(drawn[name], run._arrays[name][: len(drawn["eval_step"])])
        assert "predictions" not in drawn
    assert same(run, quick(epochs=2, record="predictions", validation=20))
    if has_folder:
        assert same(run, eb.load_run(tmp_path / "run"))


def rows(run: eb.Run, steps: slice, evaluations: slice) -> dict[str, Array]:
    """Rows of a run as the training loop tells them."""
    cut = {"steps": steps, "evaluations": evaluations}
    axes = {name: ARRAYS[name].dimensions[0] for name in run._arrays}
    return {name: array[cut[axes[name]]] for name, array in run._arrays.items() if axes[name] in cut}


def test_rows_are_put_aside_until_it_is_time_to_draw_and_none_is_lost(quick: Quick) -> None:
    run = quick(epochs=1)
    told = {"config": run._config, "arrays": {"test_indices": run.test_indices}}
    view = Recorder(told)
    with Beside(None, told, lambda _: view, rows(run, slice(2), slice(3)), pause=1000.0) as beside:
        beside._rows = Counts(steps=2, evaluations=3)  # as after a run that goes on
        beside.write(rows(run, slice(2, 3), slice(3, 4)))
        beside.write(rows(run, slice(3, 4), slice(4, 5)))
        assert beside.rows == Counts(steps=4, evaluations=5)
    assert [len(drawn["train_loss"]) for drawn in view.drawn] == [2]  # what was there at the beginning
    (ended,) = view.ended  # nobody told of a run, as when the core fails
    assert ended is not None
    assert (ended.state, ended.steps) == ("interrupted", 4)
    assert np.array_equal(ended.train_loss, run.train_loss[:4])
    assert np.array_equal(ended.class_accuracy, run.class_accuracy[:5])


def test_rows_take_the_place_of_those_that_were_told_before(quick: Quick) -> None:
    """As when a disk that failed makes the loop tell them once more."""
    run = quick(epochs=1)
    told = {"config": run._config, "arrays": {"test_indices": run.test_indices}}
    view = Recorder(told)
    with Beside(None, told, lambda _: view, pause=1000.0) as beside:
        for end in (2, 4, 3):
            beside._rows = Counts()
            beside.write(rows(run, slice(end), slice(end + 1)))
        beside.write(rows(run, slice(3, 5), slice(4, 6)))
    assert view.ended[0] is not None
    assert np.array_equal(view.ended[0].train_loss, run.train_loss)
    assert np.array_equal(view.ended[0].test_accuracy, run.test_accuracy)


def test_without_a_callback_it_comes_by_now_and_then(quick: Quick, views: list[Recorder]) -> None:
    """At most five times a second, that is, and at the end: fewer times than there are steps."""
    run = quick(steps=100, evaluate_every=50, live=True)
    assert len(views[0].drawn[-1]["train_loss"]) == 100
    assert len(views[0].drawn) < 100
    assert views[0].ended == [run]


def test_a_run_that_goes_on_is_drawn_from_its_beginning(
    quick: Quick, views: list[Recorder], tmp_path: Path, glyphs: eb.Dataset
) -> None:
    def stop(step: eb.Step) -> None:
        if step.step == 3:
            raise eb.StopTraining("enough")

    quick(epochs=2, live=True, folder=tmp_path / "run", callbacks=stop)
    run = eb.resume(tmp_path / "run", glyphs, live=True, progress=False, callbacks=look)
    first, second = views
    assert first.ended[0] is not None
    assert first.ended[0].state == "stopped"
    lengths = [len(drawn["train_loss"]) for drawn in second.drawn]
    assert lengths == sorted(lengths)
    assert set(lengths) == set(range(3, 11))
    for drawn in second.drawn:
        assert np.array_equal(drawn["test_loss"], run.test_loss[: len(drawn["test_loss"])])
    assert same(run, quick(epochs=2))


def test_many_classes_are_not_kept_twice(views: list[Recorder]) -> None:
    labels = np.arange(2 * (MANY + 1)) % (MANY + 1)
    images = np.random.default_rng(0).integers(0, 256, (len(labels), 28, 28), np.uint8)
    data = eb.Dataset(images, labels, images, labels)
    network = eb.Network([eb.Flatten(), eb.Linear(784, MANY + 1)])
    run = eb.train(network, data, steps=2, batch_size=8, device="cpu", progress=False, live=True)
    assert run.class_accuracy.shape == (3, MANY + 1)
    assert not [name for name in views[0].drawn[-1] if name.startswith("class")]


# ---- what may not harm


@pytest.mark.parametrize("at", ["show", "draw", "end", "draw end", "show draw end"])
def test_errors_in_drawing_are_told_once_and_harm_nothing(
    quick: Quick,
    views: list[Recorder],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    at: str,
) -> None:
    monkeypatch.setattr(Recorder, "fails_at", at)
    with caplog.at_level(logging.WARNING, "everybatch.train"):
        run = quick(epochs=2, live=True, callbacks=look, folder=tmp_path / "run")
    assert [record.getMessage() for record in caplog.records] == [
        f"the run goes on, but it is not drawn any more: ZeroDivisionError: {at.split()[0]} fails"
    ]
    assert (run.state, run.steps) == ("finished", 10)
    assert same(run, eb.load_run(tmp_path / "run"))
    if at == "draw":
        assert views[0].ended == [run]  # a picture may do where a chart did not


def test_a_run_that_ends_with_an_error_is_drawn_to_there(quick: Quick, views: list[Recorder]) -> None:
    def fail(step: eb.Step) -> None:
        if step.step == 3:
            raise ValueError("no more")

    with pytest.raises(ValueError, match="no more") as raised:
        quick(epochs=2, live=True, callbacks=fail)
    assert views[0].ended == [raised.value.run]  # type: ignore[attr-defined]


def test_it_takes_true_or_false(quick: Quick) -> None:
    with pytest.raises(TypeError, match="live must be True or False, not 'yes'"):
        quick(live="yes")


def test_elsewhere_it_says_what_to_do(quick: Quick, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="no notebook.*folder=.*`everybatch watch`") as warned:
        assert quick(live=True, folder=tmp_path / "run").state == "finished"
    assert [Path(each.filename).name for each in warned] == ["conftest.py"]  # where train was called
    assert not live.in_notebook()


# ---- when to draw


def test_it_draws_after_a_pause_and_for_no_more_than_its_share() -> None:
    now = 0.0
    pace = Pace(1.0, share=0.01, credit=0.451, clock=lambda: now)
    drawn = []

    def draw() -> None:
        nonlocal now
        drawn.append(round(now, 3))
        now += 0.3

    for tick in itertools.count():
        now = max(now, tick / 4)
        if now > 100:
            break
        pace.draw(draw)
    # 1 s after the beginning. Then, as each takes 0.3 s: two of them are within 0.451 s and a hundredth of the time
    # after 14.9 s, three after 44.9 s, four after 74.9 s.
    assert drawn == [1.0, 15.0, 45.0, 75.0]


# ---- what is drawn


def test_the_chart_is_told_every_value_as_long_as_there_is_room(quick: Quick) -> None:
    run = quick(epochs=2, validation=20)
    loss, accuracy, classes = charts(run._arrays, run._config)
    for chart, quantity in ((loss, "loss"), (accuracy, "accuracy")):
        assert [(curve["name"], curve["color"]) for curve in chart["curves"]] == [
            ("train", 0),
            ("test", 1),
            ("validation", 2),
        ]
        for curve in chart["curves"]:
            assert np.array_equal(np.frombuffer(curve["y"], "<f4"), getattr(run, f"{curve['name']}_{quantity}"))
            at = np.arange(1, run.steps + 1) if curve["name"] == "train" else run.eval_step
            assert np.array_equal(np.frombuffer(curve["x"], "<f8"), at)
            assert curve["low"] is curve["bandLow"] is None  # one value in each column, and all images measured
    assert [curve["name"] for curve in classes["curves"]] == list(run.classes)
    assert len({(curve["color"], curve["dash"]) for curve in classes["curves"]}) == len(run.classes)
    for number, curve in enumerate(classes["curves"]):
        assert np.array_equal(np.frombuffer(curve["y"], "<f4"), run.class_accuracy[:, number])


def test_long_runs_are_told_in_as_many_columns_as_a_screen_has(quick: Quick) -> None:
    run = quick(steps=2)
    steps = 100_000
    loss = np.random.default_rng(1).random(steps, np.float32)
    loss[77_777] = 9.0
    arrays = {**run._arrays, "train_loss": loss, "train_accuracy": loss / 10, "train_seconds": np.ones(steps)}
    told = charts(arrays, run._config)[0]["curves"][0]
    assert len(np.frombuffer(told["x"])) <= 1200
    assert np.frombuffer(told["high"], "<f4").max() == 9.0
    assert np.frombuffer(told["low"], "<f4").min() == loss.min()


def test_estimates_come_with_their_bands() -> None:
    data = eb.datasets.glyphs(train=130, test=1500, seed=3)
    network = eb.Network([eb.Flatten(), eb.Linear(784, 10)])
    run = eb.train(network, data, steps=6, batch_size=32, tolerance=0.02, device="cpu", progress=False)
    curve = charts(run._arrays, run._config)[1]["curves"][1]
    y, error = (np.asarray(values, np.float64) for values in (run.test_accuracy, run.test_accuracy_error))
    assert error.max() > 0
    assert np.allclose(np.frombuffer(curve["bandLow"], "<f4"), np.clip(y - 2 * error, 0, 1), atol=1e-6)
    assert np.allclose(np.frombuffer(curve["bandHigh"], "<f4"), np.clip(y + 2 * error, 0, 1), atol=1e-6)


@pytest.mark.parametrize("steps", [0, 1, 5])
def test_a_picture_can_be_made_of_any_beginning(quick: Quick, steps: int) -> None:
    run = quick(epochs=1)
    told = {"config": run._config, "arrays": {"test_indices": run.test_indices}}
    there = {
        name: run._arrays[name][: steps + (name != "train_loss")]
        for name in ("eval_step", "test_loss", "test_accuracy", "test_loss_error", "test_accuracy_error")
        if name in run._arrays
    }
    there |= {name: run._arrays[name][:steps] for name in ("train_loss", "train_accuracy", "train_seconds", "lr")}
    there |= {"eval_seconds": run.eval_seconds[: steps + 1], "class_accuracy": run.class_accuracy[: steps + 1]}
    figures = plt.get_fignums()
    data, metadata = picture(run_of(told, there, "running"), dots=75)
    size = metadata["image/png"]
    image = Image.open(io.BytesIO(data["image/png"]))
    assert np.allclose(image.size, np.array([size["width"], size["height"]]) * 75 / 96, atol=1)
    assert plt.get_fignums() == figures
    assert data["text/plain"].startswith("loss and accuracy of ")


# ---- a notebook

CELL = """
import sys
{before}
import everybatch as eb
data = eb.datasets.glyphs(train=130, test=60)
run = eb.train(
    eb.networks.lenet5(), data, epochs=2, batch_size=32, device="cpu", progress=False, live=True,
)
"""


@pytest.mark.parametrize("has_widgets", [True, False])
def test_the_notebook_keeps_a_picture(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, has_widgets: bool) -> None:
    if has_widgets:
        pytest.importorskip("anywidget", reason="the chart in notebooks needs anywidget: pip install it")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    cell = CELL.format(before="" if has_widgets else "sys.modules['anywidget'] = None")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)])
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    outputs = notebook.cells[0].outputs
    assert [output.output_type for output in outputs] == ["display_data"] * (1 + has_widgets)  # and no warnings
    shown, *rest = (output.data for output in outputs)
    assert Image.open(io.BytesIO(base64.b64decode(shown["image/png"]))).width == 1200
    assert re.fullmatch(r"loss and accuracy of 10 mini-batches, test accuracy \d+\.\d\d %", shown["text/plain"])
    assert all(each["text/plain"] == "" for each in rest)  # the place of a widget that is closed
    html, _ = HTMLExporter().from_notebook_node(notebook)
    assert html.count("<img") == 1
