"""The report of a sweep, looked at in a real browser: what it shows, what a click does, that nothing is fetched."""

from __future__ import annotations

import builtins
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import browsing
import everybatch as eb
from everybatch.sweeps import Sweep, load_sweep, write_report
from sweep_stores import make_store

EVIL = "<script>window.broken = 1</script>"
LRS = [1e-4, 5e-3, 2e-2, 1e-3]


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """Sixteen trials; the third failed, the sixth is missing. Names hold what would be harm if it was not escaped."""
    configs = [{"lr": lr, "network": name, "tag": f'{EVIL}"&'} for lr in LRS for name in (EVIL, "b")]
    return make_store(
        tmp_path_factory.mktemp("store") / "<b>sweep",
        configs,
        seeds=2,
        steps=30,
        level=lambda config: 0.9 + 0.01 * np.log10(config["lr"]),
        fate=lambda number: {2: "failed", 5: "missing", 7: "pruned"}.get(number, "finished"),
        network=EVIL,
    )


@pytest.fixture(scope="module")
def report(swept: Sweep, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(swept, tmp_path_factory.mktemp("report") / "report.html")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with browsing.browser() as browser:
        yield browser


@pytest.fixture
def page(browser: Any, report: Path) -> Iterator[Any]:
    """The report in a window; at the end, that nothing was fetched and nobody complained."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    fetched, said = [], []

    def refuse(route: Any) -> None:
        if route.request.url == report.as_uri():
            route.continue_()
        elif not route.request.url.startswith("data:"):
            fetched.append(route.request.url)
            route.abort()

    page.route("**/*", refuse)
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(report.as_uri())
    yield page
    page.wait_for_timeout(50)
    page.close()
    assert fetched == []
    assert said == []


def column(page: Any, name: str) -> list[str]:
    """Return the visible texts of a column, by the trial's full name for "trial"."""
    script = """name => {
        const heads = [...document.querySelectorAll('#trials thead th')];
        const place = heads.findIndex(head => head.dataset.name === name);
        const rows = [...document.querySelectorAll('#trials tbody tr')].filter(row => !row.hidden);
        return rows.map(row => name === 'trial' ? row.cells[0].querySelector('a').hash.slice(5)
                                                : row.cells[place].textContent);
    }"""
    return list(page.evaluate(script, name))


def click(page: Any, name: str) -> str:
    """Click on a heading; return what it then says of its order."""
    head = page.locator(f'#trials th[data-name="{name}"]')
    head.locator("button").click()
    return str(head.get_attribute("aria-sort"))


def test_all_trials_are_there_in_order(page: Any, swept: Sweep) -> None:
    table = swept.table()
    assert column(page, "trial") == list(table.index)
    assert column(page, "status") == list(table["status"])
    expected = ["" if value != value else f"{value:.2%}" for value in table["final_test_accuracy"]]
    assert column(page, "final_test_accuracy") == expected
    assert page.locator("#trials tbody tr.failed").count() == 1
    assert page.locator("#trials svg.spark polyline.test").count() == len(swept.runs)
    assert page.locator("#trials svg.spark polyline.validation").count() == len(swept.runs)


@pytest.mark.parametrize("name", ["lr", "final_test_accuracy", "best_train_loss", "parameters", "seconds", "network"])
def test_a_heading_sorts_and_again_reverses(page: Any, swept: Sweep, name: str) -> None:
    """In the order of pandas; equal values stay in the sweep's order."""
    table = swept.table()
    assert click(page, name) == "ascending"
    assert column(page, "trial") == list(table.sort_values(name, kind="stable").index)
    assert click(page, name) == "descending"
    assert column(page, "trial") == list(table.sort_values(name, kind="stable", ascending=False).index)
    assert click(page, "status") == "ascending"
    assert page.locator('#trials th[aria-sort="ascending"]').count() == 1
    assert page.locator('#trials th[aria-sort="descending"]').count() == 0
    assert column(page, "trial") == list(table.sort_values("status", kind="stable").index)


def test_the_filter_filters(page: Any, swept: Sweep) -> None:
    table = swept.table()
    page.fill("#filter", "FAILED")
    assert column(page, "trial") == list(table.index[table["status"] == "failed"])
    assert page.locator("#shown").inner_text() == "1 of 16"
    page.fill("#filter", "finished  0.005")
    both = (table["status"] == "finished") & (table["lr"] == 5e-3)
    assert column(page, "trial") == list(table.index[both])
    click(page, "lr")  # what is hidden stays hidden
    assert sorted(column(page, "trial")) == sorted(table.index[both])
    page.fill("#filter", "")
    assert page.locator("#shown").inner_text() == "16 of 16"
    assert len(column(page, "trial")) == 16


def test_a_trial_opens_and_shows_curves_and_config(page: Any, swept: Sweep) -> None:
    key = swept.runs.trials[0]
    section = page.locator(f"#run-{key}")
    assert not section.locator(".panels").is_visible()
    page.locator(f'#trials a[href="#run-{key}"]').click()
    page.wait_for_function("key => document.getElementById('run-' + key).open", arg=key)
    assert section.locator("svg.panel").count() == 2  # accuracy and loss
    for panel in section.locator("svg.panel").all():
        assert panel.bounding_box()["width"] > 100
        assert panel.locator("polyline").count() == 2
    section.locator("details.config > summary").click()
    text = section.locator("details.config pre").inner_text()
    assert '"batch_size_of_trial": 0' in text
    assert EVIL in text


def test_a_failed_trial_shows_its_traceback(page: Any, swept: Sweep) -> None:
    (key,) = swept.tracebacks()
    section = page.locator(f"#run-{key}")
    section.locator("summary").first.click()
    assert section.locator("details.traceback pre").is_visible()
    assert section.locator("details.traceback pre").inner_text() == swept.tracebacks()[key].rstrip("\n") + "\n"
    assert "ValueError: <b>broken</b>" in section.locator("p").inner_text()
    assert section.locator("b").count() == 1  # the result's own, empty here


def test_every_picture_has_a_size(page: Any) -> None:
    figures = page.locator("figure")
    assert figures.count() == 5
    for figure in figures.all():
        box = figure.locator("> svg, > img").bounding_box()
        assert box["width"] > 200
        assert box["height"] > 100
        assert figure.locator("figcaption").inner_text()
    for image in page.locator("figure > img").all():
        assert image.evaluate("image => image.naturalWidth") > 0


def test_nothing_that_a_user_named_runs(page: Any, report: Path) -> None:
    assert page.evaluate("window.broken") is None
    assert page.locator("script").count() == 1
    assert page.locator("h1").inner_text() == "<b>sweep"
    assert EVIL in column(page, "network")
    assert f'{EVIL}"&' in column(page, "tag")
    assert EVIL not in report.read_text(encoding="utf-8")


def test_the_head_tells_what_the_sweep_was(page: Any, swept: Sweep) -> None:
    assert page.locator(".counts").inner_text() == "16 trials, 13 finished, 1 failed, 1 missing, 1 pruned"
    facts = page.locator("dl").inner_text()
    assert "shapes: 22 training and 100 test images" in facts
    assert f"everybatch {eb.__version__}" in facts
    assert "AMD <EPYC>" in facts
    assert "2026-01-01 00:00 UTC" in facts
    seconds = sum(run.total_seconds for run in swept.runs)
    assert f"{seconds:.1f} s of training" in facts


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_is_as_wide_as_the_window(browser: Any, report: Path, width: int, scheme: str) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page.goto(report.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(255, 255, 255)") == (scheme == "light")
    page.close()


# ---- the file, without a browser -------------------------------------------------------------------


def test_ids_are_unique_and_links_lead_somewhere(report: Path) -> None:
    text = report.read_text(encoding="utf-8")
    ids = re.findall(r'\bid="([^"]*)"', text)
    assert len(ids) == len(set(ids))
    targets = set(re.findall(r'href="#([^"]*)"', text)) | set(re.findall(r"url\(#([^)]*)\)", text))
    assert targets <= set(ids)
    assert not re.findall(r'(?:src|href)="(?!#|data:)[^"]*"', text)


def test_a_sweep_that_trained_nothing_has_a_report_too(tmp_path: Path) -> None:
    sweep = make_store(tmp_path / "s", [{"lr": 0.1}, {"lr": 0.2}], fate=lambda n: ("failed", "missing")[n])
    text = write_report(sweep, tmp_path / "r.html").read_text(encoding="utf-8")
    assert "<figure" in text  # the grid says what became of both
    assert "Traceback" in text


def test_a_real_sweep_by_the_path_of_its_store(glyphs: eb.Dataset, tmp_path: Path) -> None:
    eb.sweep(
        {"lr": [1e-3, 5e-3]},
        glyphs,
        network="lenet5",
        steps=4,
        validation=0.2,
        backend="serial",
        store=tmp_path / "store",
        progress=False,
        device="cpu",
    )
    written = write_report(tmp_path / "store", str(tmp_path / "r.html"))
    assert written == tmp_path / "r.html"
    text = written.read_text(encoding="utf-8")
    assert "glyphs: 130 training and 60 test images" in text
    layers = eb.networks.lenet5().to_json().count('"Conv2d"')
    assert text.count("&quot;type&quot;: &quot;Conv2d&quot;") == layers  # those of both runs' network, once
    with pytest.raises(FileExistsError, match="overwrite=True"):
        write_report(load_sweep(tmp_path / "store"), written)
    write_report(load_sweep(tmp_path / "store"), written, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.html", "store"]


def test_says_what_is_wrong(swept: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TypeError, match="write_report takes a Sweep or the path of a stored one, not int"):
        write_report(3, tmp_path / "r.html")  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError, match="make it first"):
        write_report(swept, tmp_path / "nowhere" / "r.html")
    real = builtins.__import__

    def without_pandas(name: str, *args: Any, **options: Any) -> Any:
        if name == "pandas":
            raise ImportError(name)
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without_pandas)
    with pytest.raises(ImportError, match="pip install pandas"):
        write_report(swept, tmp_path / "r.html")
    assert not list(tmp_path.iterdir())
