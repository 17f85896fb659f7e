"""MkDocs' hooks: what becomes a page beside the files in docs/, and what is put into those.

Nothing here is needed to read docs/ where it lies: links point to files of the repository, as GitHub wants them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import gallery
import measures
import notebooks
import outside

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

for module in (gallery, measures, notebooks, outside):  # `mkdocs serve` keeps them from the build before
    importlib.reload(module)


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages and pictures that are made here."""
    for made in (*outside.pages(), *notebooks.pages(), *gallery.pictures()):
        files.append(made.file(config))
    return files


def on_page_markdown(markdown: str, *, page: Page, files: Files, config: MkDocsConfig, **_: Any) -> str:
    """Fill in what a page leaves to the build, and turn its links to files of the repository into links of the site."""
    uri = page.file.src_uri
    if measures.HERE in markdown:
        markdown = markdown.replace(measures.HERE, measures.section())
    text, wanted = outside.linked(gallery.placed(markdown), uri)
    for made in wanted:
        if files.get_file_from_path(made.uri) is None:
            files.append(made.file(config))
    return text
