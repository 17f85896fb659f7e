"""What the site must hold, seen in its sources; `make docs` builds it, strictly, and looks at what came of it."""

from __future__ import annotations

import importlib
import re
import sys
import types
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import everybatch as eb

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if "_hooks" not in path.parts)
ROOMS = ("datasets", "estimates", "export", "insight", "networks", "plots", "schedules", "sweeps")
FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")


@pytest.fixture(scope="module")
def hooks() -> Iterator[types.SimpleNamespace]:
    """Return what the build adds to docs/."""
    sys.path.insert(0, str(DOCS / "_hooks"))
    names = ("made", "outside", "gallery", "measures", "notebooks", "check")
    try:
        yield types.SimpleNamespace(**{name: importlib.import_module(name) for name in names})
    finally:
        sys.path.remove(str(DOCS / "_hooks"))
        for name in names:
            sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    class Loader(yaml.SafeLoader):
        """Reads mkdocs.yml, whose address comes from the environment."""

    Loader.add_constructor("!ENV", lambda loader, node: loader.construct_sequence(node)[-1])
    read: dict[str, Any] = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), Loader)
    return read


def in_nav(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    elif isinstance(nav, dict):
        for value in nav.values():
            yield from in_nav(value)
    else:
        for each in nav:
            yield from in_nav(each)


def prose(text: str) -> str:
    return FENCE.sub("", text)


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, by the rule of Python-Markdown's toc extension."""
    found: set[str] = set()
    for heading in re.findall(r"^#{1,6} (.+)$", prose(text), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)|[`*]", lambda part: part[1] or "", heading)
        ascii_ = unicodedata.normalize("NFKD", plain).encode("ascii", "ignore").decode()
        slug = re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", ascii_).strip().lower())
        again = slug
        while again in found:
            again = re.sub(r"_(\d+)$|$", lambda part: f"_{int(part[1] or 0) + 1}", again, count=1)
        found.add(again)
    return found


def test_every_page_is_in_the_nav(config: dict[str, Any], hooks: types.SimpleNamespace) -> None:
    written = {path.relative_to(DOCS).as_posix() for path in PAGES}
    made = {uri for file, uri in hooks.outside.PAGES.items() if file != "README.md"}
    listed = list(in_nav(config["nav"]))
    assert len(listed) == len(set(listed))
    assert set(listed) == written | made


def test_nothing_is_fetched_from_elsewhere(config: dict[str, Any]) -> None:
    assert config["theme"]["font"] is False
    assert not [name for name in config if name in ("extra_javascript",)]
    assert all((DOCS / path).is_file() for path in config["extra_css"])
    for path in config["extra_css"]:
        text = (DOCS / path).read_text(encoding="utf-8")
        assert "http" not in text
        assert "@import" not in text
    for page in PAGES:
        assert not re.search(r"!\[[^\]]*\]\(http|<(?:img|script|iframe)\b", page.read_text(encoding="utf-8")), page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_every_link_leads_somewhere(page: Path, hooks: types.SimpleNamespace) -> None:
    text = page.read_text(encoding="utf-8")
    own = anchors(text)
    for link in LINK.findall(prose(text)):
        target, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        assert not target.startswith("/"), link
        there = (page.parent / target).resolve() if target else page
        made = {(DOCS / uri).resolve() for uri in hooks.outside.PAGES.values()}
        assert there.is_file() or there in made, link
        if anchor and not anchor.startswith("everybatch."):
            assert anchor in (own if there == page else anchors(there.read_text(encoding="utf-8"))), link


def test_links_out_of_docs_lead_to_pages_of_the_site(hooks: types.SimpleNamespace) -> None:
    linked = hooks.outside.linked
    assert linked("[a](../benches/README.md#memory)", "performance.md") == ("[a](benchmarks.md#memory)", [])
    assert linked("[a](docs/insight.md) [b](RESULTS.md)", "changes.md")[0] == "[a](insight.md) [b](results.md)"
    assert linked("[a](../docs/watching.png)", "benchmarks.md")[0] == "[a](watching.png)"
    text, wanted = linked("[a](../examples/ray_tune.py)\n\n```\n[b](../benches/README.md)\n```\n", "sweeps.md")
    assert text == "[a](files/examples/ray_tune.py)\n\n```\n[b](../benches/README.md)\n```\n"
    assert [(made.uri, made.path) for made in wanted] == [("files/examples/ray_tune.py", ROOT / "examples/ray_tune.py")]
    assert linked("[a](nowhere.md)", "sweeps.md") == ("[a](nowhere.md)", [])


def test_everything_public_is_in_the_reference() -> None:
    named: set[str] = set()
    for page in (DOCS / "reference").glob("*.md"):
        for path, options in re.findall(r"^::: (\S+)\n((?:    .*\n)*)", page.read_text(encoding="utf-8"), re.MULTILINE):
            members = re.findall(r"^ +- (\w+)$", options, re.MULTILINE)
            named.update([f"{path}.{member}" for member in members] or [path])
    assert len(named) > 100
    for path in named:  # each is there
        module, _, name = path.rpartition(".")
        assert hasattr(importlib.import_module(module), name), path
    documented = {getattr(importlib.import_module(path.rpartition(".")[0]), path.rpartition(".")[2]) for path in named}
    public = {f"everybatch.{name}" for name in eb.__all__ if name not in (*ROOMS, "__version__")}
    public |= {f"everybatch.{room}.{name}" for room in ROOMS for name in getattr(eb, room).__all__}
    public |= {f"everybatch.errors.{name}" for name in importlib.import_module("everybatch.errors").__all__}
    missing = {
        path
        for path in public - named
        if getattr(importlib.import_module(path.rpartition(".")[0]), path.rpartition(".")[2]) not in documented
    }
    assert not missing


def test_what_insight_returns_is_in_the_reference() -> None:
    text = (DOCS / "reference" / "insight.md").read_text(encoding="utf-8")
    for name in eb.insight.__all__:
        returns = str(getattr(eb.insight, name).__annotations__["return"])
        for kind in re.findall(r"\b[A-Z]\w+", returns):
            assert kind in ("Path", "NDArray", "Dataset") or re.search(rf"^::: .*\.{kind}$", text, re.MULTILINE), kind


def test_the_table_of_measures_has_them_all(hooks: types.SimpleNamespace) -> None:
    table = hooks.measures.section()
    for name in ("test_accuracy", "class_accuracy", "eval_step", "confusion", "states"):
        assert f"`{name}`" in table
    assert "| (evaluations,) float32 in [0, 1] |" in table
    assert hooks.measures.HERE in (DOCS / "reference" / "run.md").read_text(encoding="utf-8")


def test_the_gallery_has_scripts_and_pages_want_pictures_that_there_are(
    hooks: types.SimpleNamespace,
) -> None:
    scripts = {script.name: script for script in map(hooks.gallery.read, hooks.gallery.SCRIPTS)}
    assert len(scripts) == len(hooks.gallery.SCRIPTS) >= 10
    for name, script in scripts.items():
        compile(script.code, str(script.path), "exec")
        assert re.search(rf'savefig\("{name}\w*\.png"', script.code), script.path
        assert "glyphs" in script.code, script.path
    for page in PAGES:
        for wanted in hooks.gallery.PICTURE.findall(page.read_text(encoding="utf-8")):
            assert wanted in scripts, page
    assert hooks.gallery.HERE in (DOCS / "gallery.md").read_text(encoding="utf-8")


def test_no_page_tells_of_the_machine_that_it_was_written_on(hooks: types.SimpleNamespace) -> None:
    others = [ROOT / file for file in hooks.outside.PAGES]
    for path in [*PAGES, *others, *hooks.gallery.SCRIPTS]:
        assert not hooks.check.workplace(path.read_text(encoding="utf-8")), path


def test_the_check_of_the_built_site_finds_what_is_wrong(hooks: types.SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "index.html").write_text('<h1 id="top">One</h1><img src="../p.png"><a href="#top">a</a>')
    (tmp_path / "p.png").write_bytes(b"")
    (tmp_path / "index.html").write_text('<a href="one/#top">a</a><a href="https://example.org/">b</a>')
    assert hooks.check.faults(tmp_path) == ([], {"https://example.org/"})
    (tmp_path / "index.html").write_text(
        '<a href="one/#bottom">a</a><a href="two/">b</a><script src="https://example.org/x.js"></script>/work/x'
    )
    (tmp_path / "a.css").write_text("@import 'x.css';")
    assert sorted(hooks.check.faults(tmp_path)[0]) == [
        "a.css fetches from elsewhere",
        "index.html fetches https://example.org/x.js",
        "index.html links to one/#bottom: there is no such anchor",
        "index.html links to two/: there is no such file",
        "index.html says '/work/'",
    ]
