"""The arrays of a run, as a table of the reference: they are declared once, in everybatch's table of measures."""

from __future__ import annotations

import re

__all__ = ["HERE", "section"]

HERE = "<!-- the table of measures -->"


def section() -> str:
    """Return the table in Markdown, in the order of the measures."""
    from everybatch._measures import MEASURES

    rows = ["| attribute | shape, type | what it is |", "|---|---|---|"]
    for name, measure in MEASURES.items():
        shape, _, told = (measure.__doc__ or "").partition(": ")  # as `help(Run)` has it
        told = re.sub(r"\s+", " ", told).replace("``", "`").replace("|", "\\|")
        rows.append(f'| <span id="{name}"></span>`{name}` | {shape} | {told} |')
    return "\n".join(rows)
