"""The page of `everybatch watch` in a real browser, beside runs that grow."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import browsing
from everybatch.watch import Server, Watch
from growing_runs import GrowingRun, lose_all
from sweep_stores import make_store

EVIL = "<img src=x onerror=alert(1)>"
PATIENCE = 60_000.0  # milliseconds, on a busy machine


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with browsing.browser() as browser:
        yield browser


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "runs"
    lose_all()


@pytest.fixture
def address(folder: Path) -> Iterator[str]:
    folder.mkdir(parents=True, exist_ok=True)
    server = Server(Watch(folder), port=0)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield server.url
    server.shutdown()
    server.server_close()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """A window that shows nothing yet; at the end, that nothing was fetched from elsewhere and nobody complained."""
    page = browser.new_page(viewport={"width": 1300, "height": 1000})
    page.set_default_timeout(PATIENCE)
    fetched, said = [], []
    page.on("request", lambda request: None if request.url.startswith(address) else fetched.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append(dialog.message))
    yield page
    page.close()
    assert fetched == []
    assert said == []


def wait(page: Any, script: str, argument: Any = None) -> None:
    page.wait_for_function(script, arg=argument)


def words(page: Any, chart: str) -> str:
    """Return what a chart tells of itself: its last values."""
    return str(page.locator(f'[data-chart="{chart}"] .everybatch-chart').get_attribute("aria-label"))


def tells(page: Any, chart: str, text: str) -> None:
    """Wait until a chart tells something of itself."""
    wait(
        page,
        "([name, text]) => document.querySelector(`[data-chart=${name}] .everybatch-chart`)"
        ".getAttribute('aria-label').includes(text)",
        [chart, text],
    )


def spoken(page: Any, chart: str) -> str:
    return str(page.locator(f'[data-chart="{chart}"] .everybatch-spoken').text_content())


def says(page: Any, text: str) -> None:
    page.locator("#states p", has_text=text).wait_for()


def test_a_curve_grows_and_its_run_is_lost_while_the_page_is_open(page: Any, address: str, folder: Path) -> None:
    run = GrowingRun(folder / "a", 200)
    run.grow(50)
    page.goto(address)
    says(page, "is running: step 50 of 200")
    tells(page, "accuracy", f"test {100 * run.arrays['test_accuracy'][50]:.2f}%")
    run.grow(70)
    says(page, "is running: step 120 of 200")
    tells(page, "accuracy", f"test {100 * run.arrays['test_accuracy'][120]:.2f}%")
    assert page.locator("#runs progress").evaluate("bar => [bar.value, bar.max]") == [120, 200]
    run.lose()
    says(page, "is lost: its process ended at step 120 of 200")
    assert page.locator("#states code").text_content() == f"everybatch resume {folder / 'a'}"
    assert page.locator("#runs .state").text_content() == "✕ lost"


def test_a_run_that_ends_says_so_and_another_one_appears(page: Any, address: str, folder: Path) -> None:
    page.goto(address)
    page.locator("#nothing").wait_for()
    run = GrowingRun(folder / "a", 20)
    run.grow(20)
    says(page, "is running: step 20 of 20")  # chosen by itself
    run.end()
    says(page, "is finished: 20 steps")
    other = GrowingRun(folder / "deep" / "er" / "b", 30, seed=1)
    other.grow(10)
    page.locator("#runs label", has_text="deep/er/b").click()
    says(page, "deep/er/b is running")
    tells(page, "loss", "deep/er/b: test")
    assert "a: test" in words(page, "loss")
    assert page.locator("#runs li").count() == 2
    assert "run=a" in page.url
    assert "run=deep%2Fer%2Fb" in page.url


def test_names_are_text(page: Any, address: str, folder: Path) -> None:
    """Of folders, networks and classes; `page` sees every dialog and every request."""
    run = GrowingRun(folder / EVIL, 20, name=EVIL)
    run.grow(5)
    page.goto(address)
    says(page, EVIL)
    page.locator("#runs .what", has_text=EVIL).wait_for()
    other = GrowingRun(folder / "<b>b", 20, name="&amp;")
    other.grow(5)
    page.locator("#runs label", has_text="<b>b").click()
    tells(page, "loss", f"{EVIL}: test")
    page.locator('[data-chart="loss"] button', has_text=f"{EVIL}: test").hover()
    page.locator('[data-chart="loss"] canvas').last.hover()
    assert page.locator("#runs img, #runs b, #states img, [data-chart] img").count() == 0


def test_the_keyboard_zooms_pans_and_reads_values(page: Any, address: str, folder: Path) -> None:
    """Values against the arrays; after a zoom the window is asked for anew, and has a value for each step."""
    run = GrowingRun(folder / "a", 4000)
    run.grow(4000)
    page.goto(address)
    tells(page, "loss", "test")
    chart = page.locator('[data-chart="loss"] .everybatch-chart')
    chart.focus()
    page.keyboard.press("Shift+ArrowRight")
    wait(page, "() => document.querySelector('.everybatch-spoken').textContent.includes(' to ')")  # columns of several
    for _ in range(4):
        page.keyboard.press("+")
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowRight")
    for _ in range(600):  # until what was asked for is there, a step a value
        page.keyboard.press("Home")
        first = spoken(page, "loss")
        page.keyboard.press("Shift+ArrowRight")
        if " to " not in first + spoken(page, "loss"):
            break
        page.wait_for_timeout(100)
    one, other = (int(text.split(": ")[1].split(".")[0].replace(",", "")) for text in (first, spoken(page, "loss")))
    assert other == one + 1
    assert 1900 < one < 2100  # an eighth of 4,000 steps around the middle, moved by a fifth of that
    train, test = run.arrays["train_loss"][other - 1], run.arrays["test_loss"][other]
    assert spoken(page, "loss").endswith(f". train {train:.4g}; test {test:.4g}")
    page.keyboard.press("0")
    for _ in range(600):
        page.keyboard.press("Home")
        if spoken(page, "loss").startswith("mini-batches: 0"):
            break
        page.wait_for_timeout(100)
    assert spoken(page, "loss").startswith("mini-batches: 0")


def test_curves_tell_no_values_where_they_have_none(page: Any, address: str, folder: Path) -> None:
    """Runs of 8 and 80 steps: at the ends, by the arrays."""
    short, long = GrowingRun(folder / "short", 8), GrowingRun(folder / "long", 80, seed=1)
    short.grow(8)
    long.grow(80)
    page.goto(address)
    tells(page, "accuracy", "test")
    for name in ("short", "long"):
        page.locator("#runs label", has_text=name).locator("input").check()
    tells(page, "accuracy", "long: test")
    tells(page, "accuracy", "short: test")
    page.locator('[data-chart="accuracy"] .everybatch-chart').focus()
    page.keyboard.press("End")
    train, test = (f"{100 * long.arrays[f'{part}_accuracy'][at]:.2f}%" for part, at in (("train", 79), ("test", 80)))
    assert spoken(page, "accuracy") == f"mini-batches: 80. long: train {train}; long: test {test}"
    page.keyboard.press("Home")
    first, other = (f"{100 * run.arrays['test_accuracy'][0]:.2f}%" for run in (long, short))
    told = spoken(page, "accuracy").removeprefix("mini-batches: 0. ").split("; ")
    assert sorted(told) == [f"long: test {first}", f"short: test {other}"]


def test_a_value_beside_the_cursor_tells_where_it_is(page: Any, address: str, folder: Path) -> None:
    run = GrowingRun(folder / "a", 40)
    run.grow(40)
    page.goto(address)
    tells(page, "seconds", "step")
    told = page.evaluate(
        """async () => {
            const { createChart } = await import("./chart.js"), place = document.createElement("div");
            document.body.append(place);
            const chart = createChart(place), box = place.querySelector(".everybatch-chart");
            chart.update([{ run: "", name: "train", color: 0, dash: 0, x: [1, 2, 3, 4], y: [5, 6, 7, 8] },
                          { run: "", name: "test", color: 1, dash: 0, x: [0, 4], y: [1, 2] }]);
            box.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", shiftKey: true }));
            box.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", shiftKey: true }));
            const said = place.querySelector(".everybatch-spoken").textContent;
            chart.destroy();
            return said;
        }"""
    )
    assert told == "mini-batches: 1. train 5; test 1 (at 0)"


def test_a_folder_that_was_made_anew_is_shown_from_its_beginning(page: Any, address: str, folder: Path) -> None:
    first = GrowingRun(folder / "a", 400)
    first.grow(400)
    first.end()
    page.goto(address)
    says(page, "is finished: 400 steps")
    tells(page, "accuracy", "test")
    chart = page.locator('[data-chart="accuracy"] .everybatch-chart')
    for key in ("End", "+", "+", "Escape"):  # its last steps, which the next run has not
        chart.press(key)
    shutil.rmtree(folder / "a")
    other = GrowingRun(folder / "a", 30, seed=1)
    other.grow(20)
    says(page, "is running: step 20 of 30")
    tells(page, "accuracy", f"test {100 * other.arrays['test_accuracy'][20]:.2f}%")
    for _ in range(600):
        chart.press("Home")
        if spoken(page, "accuracy").startswith("mini-batches: 0."):
            break
        page.wait_for_timeout(100)
    assert spoken(page, "accuracy") == f"mini-batches: 0. test {100 * other.arrays['test_accuracy'][0]:.2f}%"


def answered(body: str, route: Any) -> None:
    route.fulfill(content_type="text/html", body=body)


def test_a_link_elsewhere_opens_the_page(browser: Any, folder: Path) -> None:
    """On a page of another site, with a token and without, and after reloading."""
    run = GrowingRun(folder / "a", 20)
    run.grow(20)
    for host in ("127.0.0.1", "0.0.0.0"):
        server = Server(Watch(folder), host, port=0)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        token = "" if server.guard.token is None else f"?token={server.guard.token}"
        context = browser.new_context()
        for rel in ("opener", "noopener"):
            linked = f'<a target=_blank rel={rel} href="http://127.0.0.1:{server.server_port}/{token}">runs</a>'
            page = context.new_page()
            page.route("http://one.example/", partial(answered, linked))
            page.goto("http://one.example/")
            with context.expect_page() as opened:
                page.click("a")
            for again in (False, True):
                if again:
                    opened.value.reload()
                says(opened.value, "is running: step 20 of 20")
        context.close()
        server.shutdown()
        server.server_close()


def test_dragging_zooms_all_charts_and_a_double_click_shows_everything(page: Any, address: str, folder: Path) -> None:
    run = GrowingRun(folder / "a", 400)
    run.grow(400)
    page.goto(address)
    tells(page, "loss", "test")
    box = page.locator('[data-chart="loss"] .everybatch-chart').bounding_box()
    asked: list[Any] = []
    page.on("request", lambda one: asked.append(json.loads(one.post_data)) if one.method == "POST" else None)
    page.mouse.move(box["x"] + 200, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 300, box["y"] + 100, steps=3)
    page.mouse.up()
    with page.expect_request(lambda one: "curves" in one.url and '"from":null' not in (one.post_data or "")):
        pass
    windows = {(one["from"], one["to"]) for one in asked[-1]["charts"]}
    ((start, end),) = windows
    across = 400 / (box["width"] - 62 - 14)  # steps a pixel, between the margins
    assert (start, end) == pytest.approx(((200 - 62) * across, (300 - 62) * across), abs=2 * across)
    page.locator('[data-chart="accuracy"] canvas').last.dblclick()
    with page.expect_request(lambda one: "curves" in one.url and '"from":null' in (one.post_data or "")):
        pass


def test_settings_change_what_is_shown_and_stay_in_the_address(page: Any, address: str, folder: Path) -> None:
    run = GrowingRun(folder / "a", 40, error=0.02)
    run.grow(40)
    page.goto(address)
    tells(page, "loss", "test")
    band = page.locator('[data-chart="accuracy"]', has_text="± 2 standard errors")
    band.wait_for()
    picture = "() => document.querySelector('[data-chart=loss] .everybatch-chart canvas').toDataURL()"
    pictures = [page.evaluate(picture)]
    for change in (
        lambda: page.check("#log"),
        lambda: page.select_option("#smooth", "0.1"),
        lambda: page.uncheck("#bands"),
        lambda: page.select_option("#axis", "epoch"),
    ):
        change()
        wait(page, f"before => ({picture})() !== before", pictures[-1])
        pictures.append(page.evaluate(picture))
    assert len(set(pictures)) == 5
    band.wait_for(state="hidden")
    address = page.url
    page.goto("about:blank")
    page.goto(address)
    tells(page, "loss", "test")
    assert page.locator("#log").is_checked()
    assert not page.locator("#bands").is_checked()
    assert [page.locator(one).input_value() for one in ("#smooth", "#axis")] == ["0.1", "epoch"]


def test_classes_can_be_chosen(page: Any, address: str, folder: Path) -> None:
    run = GrowingRun(folder / "a", 20)
    run.grow(20)
    page.goto(address)
    last = run.arrays["class_accuracy"][20]
    tells(page, "classes", "; ".join(f"c{number} {100 * value:.2f}%" for number, value in enumerate(last)))
    page.locator("#classes summary").click()
    page.locator("#class-list label", has_text="c1").click()
    tells(page, "classes", f"c0 {100 * last[0]:.2f}%; c2 {100 * last[2]:.2f}%")


def test_a_sweep_tells_how_far_it_is_and_shows_its_trials(page: Any, address: str, folder: Path) -> None:
    sweep = make_store(
        folder / "sweep",
        [{"lr": lr, "tag": EVIL} for lr in (0.1, 0.01)],
        seeds=3,
        fate=lambda number: {1: "failed", 4: "missing"}.get(number, "finished"),
    )
    page.goto(address)
    item = page.locator("#sweeps li").first
    item.locator(".numbers", has_text="5 of 6 trials done, 1 failed, best validation accuracy").wait_for()
    assert item.locator("progress").first.evaluate("bar => [bar.value, bar.max]") == [5, 6]
    assert (
        item.locator(".what").text_content() == f"nobody trains the rest: everybatch sweeps {folder / 'sweep'} --resume"
    )
    item.locator("summary").click()
    labels = item.locator("ul label")
    assert labels.count() == 4
    best = max(sweep.runs, key=lambda run: run.validation_accuracy[-1])
    labels.first.click()
    tells(page, "accuracy", f"test {100 * float(np.float32(best.test_accuracy[-1])):.2f}%")


def test_a_server_that_ends_is_told(browser: Any, folder: Path) -> None:
    run = GrowingRun(folder / "a", 20)
    run.grow(20)
    server = Server(Watch(folder), port=0)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    page = browser.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(server.url)
    tells(page, "loss", "test")
    page.route("**/api/*", lambda route: route.abort())
    page.locator("#trouble", has_text="The server does not answer").wait_for()
    assert "test" in words(page, "loss")
    page.unroute("**/api/*")
    page.locator("#trouble").wait_for(state="hidden")
    page.close()
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_text_stands_out_from_its_ground(browser: Any, address: str, folder: Path, mode: str) -> None:
    """Of all words on the page, by the contrast of WCAG 2.2, 1.4.3: 4.5 to 1."""
    for number, state in enumerate(("finished", "stopped", "failed", "diverged")):
        run = GrowingRun(folder / state, 10, seed=number)
        run.grow(10)
        run.end(state)
    lost = GrowingRun(folder / "lost", 10, seed=5)
    lost.grow(10)
    lost.lose()
    going = GrowingRun(folder / "going", 10, seed=6)
    going.grow(10)
    page = browser.new_page(color_scheme=mode, viewport={"width": 1300, "height": 1000})
    page.set_default_timeout(PATIENCE)
    page.goto(address)
    says(page, "going is running")
    for name in ("lost", "finished", "failed"):
        page.locator("#runs label", has_text=name).first.click()
    says(page, "is lost")
    page.wait_for_timeout(300)
    found = page.evaluate(
        """() => {
            const parts = colour => colour.match(/[0-9.]+/g).map(Number);
            const ground = one => {
                for (; one; one = one.parentElement) {
                    const [r, g, b, a = 1] = parts(getComputedStyle(one).backgroundColor);
                    if (a === 1) return [r, g, b];
                }
                return null;
            };
            const made = [];
            for (const one of document.querySelectorAll('body *')) {
                const own = [...one.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
                if (own && one.getClientRects().length && one.checkVisibility())
                    made.push([one.textContent.trim(), parts(getComputedStyle(one).color).slice(0, 3), ground(one)]);
            }
            return made;
        }"""
    )
    page.close()

    def luminance(colour: list[float]) -> float:
        shares = [value / 255 for value in colour]
        linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
        return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))

    assert len(found) > 30
    for text, ink, ground in found:
        light, dark = sorted((luminance(ink), luminance(ground)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, ink, ground)
