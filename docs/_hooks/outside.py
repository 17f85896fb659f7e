"""Files of the repository that are no files of docs/: the pages that some become, and links to all of them.

In docs/ a link goes to a file of the repository, ``../benches/README.md``, so that it works where the file is read as
it lies. On the site it goes to the page that this file has become; a file that is no page is copied.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from made import ROOT, Made

PAGES = {
    "README.md": "index.md",
    "benches/README.md": "benchmarks.md",
    "RESULTS.md": "results.md",
    "CHANGELOG.md": "changes.md",
    "CONTRIBUTING.md": "contributing.md",
} | {f"notebooks/{path.name}": f"notebooks/{path.stem}.md" for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}
"""By the file in the repository, the page that it is on the site. README.md has a page in docs/ in its place."""

__all__ = ["PAGES", "linked", "pages", "source", "uri_of"]

_LINK = re.compile(r"(?P<before>\]\()(?P<target>[^)\s]+)(?P<after>\))")
_FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)


def pages() -> Iterator[Made]:
    """Give the pages that are Markdown elsewhere in the repository."""
    for source_file, uri in PAGES.items():
        if source_file.endswith(".md") and uri != "index.md":
            yield Made(uri, content=(ROOT / source_file).read_text(encoding="utf-8"))


def source(uri: str) -> str:
    """Return the path in the repository of a page of the site."""
    for source_file, of in PAGES.items():
        if uri == of and uri != "index.md":
            return source_file
    return f"docs/{uri}"


def uri_of(file: str) -> tuple[str, Made | None]:
    """Return where a file of the repository is on the site, and the copy of it that this takes, if it does."""
    if file in PAGES:
        return PAGES[file], None
    if file.startswith("docs/"):
        return file.removeprefix("docs/"), None
    uri = f"files/{file}"
    return uri, Made(uri, path=ROOT / file)


def linked(markdown: str, uri: str) -> tuple[str, list[Made]]:
    """Return a page with links as the site wants them, and the files that have to be copied for these.

    What stands in blocks of code is no link. A link to a file that is not there stays as it is; MkDocs then says so.
    """
    wanted: list[Made] = []
    folder = Path(source(uri)).parent
    here = Path(uri).parent

    def changed(link: re.Match[str]) -> str:
        target, hash_, anchor = link["target"].partition("#")
        if not target or re.match(r"[a-z]+:|/", target):
            return link[0]
        file = os.path.normpath(folder / target)
        if file.startswith("..") or not (ROOT / file).is_file():
            return link[0]
        to, copy = uri_of(Path(file).as_posix())
        wanted.extend([copy] if copy else [])
        return f"{link['before']}{Path(os.path.relpath(to, here)).as_posix()}{hash_}{anchor}{link['after']}"

    parts, last = [], 0
    for fence in _FENCE.finditer(markdown):
        parts += [_LINK.sub(changed, markdown[last : fence.start()]), fence[0]]
        last = fence.end()
    parts.append(_LINK.sub(changed, markdown[last:]))
    return "".join(parts), wanted
