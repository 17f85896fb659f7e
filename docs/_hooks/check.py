"""Look through the site as it was built: links and anchors, what a page would fetch, words that do not belong there.

    python docs/_hooks/check.py target/site

Links to other sites are listed and not followed: CI has no network.
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

__all__ = ["Page", "faults", "workplace"]

_FETCHES = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "link": "href"}
_ONLY_NAMES = {"canonical", "next", "prev", "author", "license", "alternate"}
_OURS = ("/work/", "/root/", "/home/user", "shared/mnist", "site-packages/everybatch")
"""What a page must not say: paths of the machine that it was written on."""


class Page(HTMLParser):
    """The anchors of a page, its links, and what a browser fetches to show it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take up one tag."""
        of = {name: value or "" for name, value in attrs}
        self.anchors.update(of[name] for name in ("id", "name") if name in of)
        if tag == "a" and "href" in of:
            self.links.append(of["href"])
        target = of.get(_FETCHES.get(tag, ""), "")
        if target and not set(of.get("rel", "").split()) & _ONLY_NAMES:
            self.fetched.append(target)


def workplace(text: str) -> list[str]:
    """Return the words in a text that tell of the machine that it was written on."""
    return [word for word in _OURS if word in text]


def faults(site: Path) -> tuple[list[str], set[str]]:
    """Return what is wrong with a site, a sentence each, and the links that lead away from it."""
    texts = {path: path.read_text(encoding="utf-8") for path in sorted(site.rglob("*.html"))}
    pages = {path: Page(text) for path, text in texts.items()}
    found: list[str] = []
    away: set[str] = set()
    for path, page in pages.items():
        name = path.relative_to(site).as_posix()
        found += [f"{name} says {word!r}" for word in workplace(texts[path])]
        if name == "404.html":  # served at any address, so that its links are absolute
            continue
        found += [f"{name} fetches {each}" for each in page.fetched if _scheme(each) not in ("", "data")]
        for link in {*page.links, *page.fetched}:
            if _scheme(link) in ("http", "https", "mailto"):
                away.add(link)
            elif _scheme(link) == "" and (fault := _broken(site, path, link, pages)):
                found.append(f"{name} links to {link}: {fault}")
    for path in sorted(site.rglob("*.css")):
        text = path.read_text(encoding="utf-8")
        if "@import" in text or "url(http" in text or "url(//" in text:
            found.append(f"{path.relative_to(site)} fetches from elsewhere")
    return found, away


def _scheme(link: str) -> str:
    return "http" if link.startswith("//") else urlsplit(link).scheme


def _broken(site: Path, path: Path, link: str, pages: dict[Path, Page]) -> str:
    """Return why a link within the site leads nowhere, or nothing."""
    parts = urlsplit(link)
    target = path if not parts.path else (path.parent / unquote(parts.path)).resolve()
    if target.is_dir():
        target = target / "index.html"
    if not target.is_relative_to(site.resolve()) or not target.is_file():
        return "there is no such file"
    if not parts.fragment or target.suffix != ".html" or parts.fragment.startswith("__"):
        return ""
    return "" if unquote(parts.fragment) in pages[target].anchors else "there is no such anchor"


def main(arguments: list[str]) -> int:
    """Check the site in a folder; the exit code is 1 if something is wrong."""
    site = Path(arguments[0]).resolve()
    found, away = faults(site)
    for link in sorted(away):
        print(f"leads away: {link}")
    for fault in found:
        print(f"WRONG: {fault}", file=sys.stderr)
    print(f"{len(list(site.rglob('*.html')))} pages, {len(away)} links to other sites, {len(found)} faults")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
