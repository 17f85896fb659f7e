"""The notebooks as pages: what is written, the code, and the outputs that they were committed with."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from made import ROOT, Made

__all__ = ["pages"]

WITHOUT = """!!! note
    This notebook was committed without its outputs: they come when it is run.
"""


def pages() -> Iterator[Made]:
    """Give a page for each notebook, and its pictures."""
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        yield from _page(path)


def _page(path: Path) -> Iterator[Made]:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    parts: list[str] = []
    for number, cell in enumerate(cells):
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for place, output in enumerate(cell.get("outputs", ())):
            picture = f"assets/notebooks/{path.stem}_{number}_{place}.png"
            data = output.get("data", {})
            if "image/png" in data:
                yield Made(picture, content=base64.b64decode("".join(data["image/png"])))
                parts.append(f"![What the cell above draws](../{picture})")
            elif said := _said(output, data):
                parts.append(f"```text\n{said}\n```")
    title = parts.index(next(part for part in parts if part.startswith("# "))) + 1
    if not any(cell.get("outputs") for cell in cells):
        parts.insert(title, WITHOUT)
    parts.insert(title, f"The notebook itself: [{path.name}](../files/notebooks/{path.name})\n")
    yield Made(f"notebooks/{path.stem}.md", content="\n\n".join(parts) + "\n")
    yield Made(f"files/notebooks/{path.name}", path=path)


def _said(output: dict[str, Any], data: dict[str, Any]) -> str:
    text = "".join(output.get("text", data.get("text/plain", ())))
    return text.rstrip().replace("```", "'''")
