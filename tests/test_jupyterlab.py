"""A run in JupyterLab: its chart grows below the cell, the kernel is killed, and the run goes on to its end."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

import everybatch as eb
import lab

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(lab.needs() is not None, reason=str(lab.needs())),
]

# A callback that waits leaves time to look. The first picture beside the chart comes soon, and not after minutes.
TRAIN = """
import time
import everybatch as eb
from everybatch.live import _widget_view
_widget_view._PICTURE_PACE = {"pause": 1.0, "share": 0.5}
layers = [eb.Conv2d(1, 8, 5, stride=2), eb.Activation("relu"), eb.MaxPool2d(2), eb.Flatten(), eb.Linear(288, 10)]
data = eb.datasets.glyphs(train=640, test=100)
eb.train(
    eb.Network(layers, name="tiny"), data, epochs=20, batch_size=32, lr=0.003, device="cpu", progress=False,
    folder="runs/a", keep_state_every=0.5, live=True, callbacks=lambda step: time.sleep(0.1),
)
"""
RESUME = """
import everybatch as eb
run = eb.resume("runs/a", progress=False, live=True)
print("the run is", run.state)
"""
STEPS = 400
# From step 100 on it goes slowly until there is a file, so that it can be looked at for as long as that takes.
WAIT = """
import pathlib, time
import everybatch as eb
def wait(step):
    if step.step >= 100 and not pathlib.Path("go").exists():
        time.sleep(0.2)
eb.train(
    eb.Network([eb.Flatten(), eb.Linear(784, 10)], name="<b>linear"), eb.datasets.glyphs(train=640, test=1500),
    steps=600, batch_size=32, validation=100, tolerance=0.02, device="cpu", live=True, callbacks=wait,
)
"""
INK_ON_DARK = "rgb(232, 232, 232)"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with lab.browser() as browser:
        yield browser


def steps_shown(chart: Any) -> int:
    """How many batches the chart says that it shows."""
    found = re.match(r"([\d,]+) of 400 batches", chart.locator(".everybatch-live-status").inner_text())
    return int(found[1].replace(",", "")) if found else 0


def wait_for_steps(page: Any, steps: int) -> None:
    """Wait until the chart shows so many."""
    script = "least => parseInt(document.querySelector('.everybatch-live-status')?.textContent) >= least"
    page.page.wait_for_function(script, arg=steps)


def pictures(path: Path) -> list[list[bytes]]:
    """The pictures below each cell of a saved notebook."""
    cells = nbformat.read(path, as_version=4).cells
    return [[out.data["image/png"] for out in cell.outputs if "image/png" in out.get("data", {})] for cell in cells]


def test_the_curve_grows_the_kernel_is_killed_and_the_run_goes_on(browser: Any, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    notebook, run = folder / "run.ipynb", folder / "runs" / "a"
    lab.write_notebook(notebook, TRAIN, RESUME)
    with lab.lab(folder, tmp_path / "home") as address:
        with lab.Page(browser, address, notebook.name) as page:
            page.run(1)
            chart = page.cell(1).locator(".everybatch-live")
            chart.wait_for()
            wait_for_steps(page, 5)
            before = steps_shown(chart)
            canvas = chart.locator(".everybatch-chart canvas").first
            drawn = canvas.evaluate("canvas => canvas.toDataURL()")
            wait_for_steps(page, before + 5)
            assert canvas.evaluate("canvas => canvas.toDataURL()") != drawn
            assert eb.load_run(run).state == "running"

            # The picture beside it is there, and the chart hides it.
            kept = page.cell(1).locator(".jp-OutputArea-output img")
            kept.wait_for(state="attached")
            assert not kept.is_visible()
            wait_for_steps(page, before + 20)
            page.screenshot("growing")

            os.kill(json.loads((run / "lock").read_text())["pid"], signal.SIGKILL)
            page.page.locator(".jp-Dialog button.jp-mod-accept").click()  # "The kernel appears to have died."
            page.save()
        lost = eb.load_run(run)
        assert lost.state == "lost"
        assert before + 20 <= lost.steps < STEPS
        assert [len(each) for each in pictures(notebook)] == [0, 1, 0]

        with lab.Page(browser, address, notebook.name) as page:
            # The chart went with its kernel: the picture is in its place.
            page.cell(1).locator(".jp-OutputArea-output img").wait_for()
            page.screenshot("opened again")
            page.run(2)
            page.cell(2).get_by_text("the run is finished").wait_for()
            page.cell(2).locator(".jp-OutputArea-output img").wait_for()
            page.cell(2).locator(".everybatch-live").wait_for(state="detached")
            page.screenshot("finished")
            page.save()
            assert page.foreign == []

    finished = eb.load_run(run)
    assert (finished.state, finished.steps) == ("finished", STEPS)
    assert [len(each) for each in pictures(notebook)] == [0, 1, 1]


def test_the_chart_follows_the_dark_theme_and_names_are_text(browser: Any, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    lab.write_notebook(folder / "dark.ipynb", WAIT)
    with (
        lab.lab(folder, tmp_path / "home", dark=True) as address,
        lab.Page(browser, address, "dark.ipynb") as page,
    ):
        page.run(1)
        chart = page.cell(1).locator(".everybatch-live")
        wait_for_steps(page, 100)
        assert chart.evaluate("element => getComputedStyle(element).color") == INK_ON_DARK
        assert "<b>linear on glyphs" in chart.inner_text()
        told = [each.get_attribute("aria-label") for each in chart.locator(".everybatch-chart").all()]
        for label in told[:2]:
            assert re.search(r"train .*; test .*; validation ", label)
        assert "± 2 standard errors" in chart.inner_text()
        page.screenshot("dark")

        # Keys are the chart's: in a notebook, 0 0 asks whether to restart the kernel.
        first = chart.locator(".everybatch-chart").first
        first.focus()
        for key in ("0", "0", "Shift+End"):
            page.page.keyboard.press(key)
        first.locator(".everybatch-tip").wait_for()
        assert page.page.locator(".jp-Dialog").count() == 0
        page.page.set_viewport_size({"width": 700, "height": 1000})
        page.screenshot("narrow")
        (folder / "go").touch()
        page.cell(1).locator(".jp-OutputArea-output img").wait_for()
        page.screenshot("dark, finished")
        assert page.foreign == []
