"""Notebooks with their outputs, as they are committed: executed, pictures made small, and nothing kept that changes.

    make notebooks                                 # all of them; the studies at EVERYBATCH_SIZE, "quick" by default
    make notebooks NOTEBOOKS=notebooks/insight.ipynb

A notebook remembers which code its outputs are of, so that a test can tell when they are old. What of an output is
compared with another run is its kind (text, a table, a picture), never its numbers or pixels.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import io
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from PIL import Image

__all__ = ["FOLDER", "execute", "has_outputs", "is_of_its_code", "kept", "structure"]

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
WIDEST = 900  # pixels of a picture
COLOURS = 256
LARGEST_TABLE = 20_000  # characters of HTML
_KINDS = ("image/png", "text/plain", "text/html", "text/markdown")
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_OF_THE_MACHINE = "MNIST cannot be had here"
"""What a notebook says on some machines and not on others."""


def execute(path: Path, folder: Path) -> nbformat.NotebookNode:
    """Run a notebook from top to bottom in a folder, in a fresh kernel, and return it with its outputs."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=7200, kernel_name="python3", resources={"metadata": {"path": folder}}).execute()
    return notebook


def kept(notebook: nbformat.NotebookNode, folder: Path) -> nbformat.NotebookNode:
    """Return an executed notebook as it is committed; `folder` is where it ran, and is not named in it."""
    small = copy.deepcopy(notebook)
    small.metadata = {name: small.metadata[name] for name in ("kernelspec",)}
    small.metadata["language_info"] = {"name": "python"}
    small.metadata["everybatch"] = {"outputs_of": _code(small)}
    count = 0
    for cell in small.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            count += 1
            cell.execution_count = count
            cell.outputs = list(_outputs(cell.outputs, count, folder))
    return small


def has_outputs(notebook: nbformat.NotebookNode) -> bool:
    """Whether a notebook was committed with its outputs."""
    return any(cell.get("outputs") for cell in notebook.cells)


def is_of_its_code(notebook: nbformat.NotebookNode) -> bool:
    """Whether the outputs of a notebook are those of its code as it is now."""
    return notebook.metadata.get("everybatch", {}).get("outputs_of") == _code(notebook)


def structure(notebook: nbformat.NotebookNode) -> list[list[tuple[str, ...]]]:
    """Return of each code cell what kinds of outputs it has."""
    return [
        [_kind(output) for output in cell.outputs if not _is_of_the_machine(output)]
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


def _outputs(outputs: list[Any], count: int, folder: Path) -> Iterator[Any]:
    said = ""
    for output in outputs:
        if output.output_type == "stream":
            said += output.text if output.name == "stdout" else ""  # on stderr are bars that move
            continue
        if said:
            yield _stream(said, folder)
            said = ""
        if any(kind.startswith("application/vnd.jupyter.widget") for kind in output.get("data", {})):
            continue  # bars again
        data = {kind: output.data[kind] for kind in _KINDS if kind in output.get("data", {})}
        if len(data.get("text/html", "")) > LARGEST_TABLE:
            del data["text/html"]
        if "image/png" in data:
            data["image/png"] = _small(data["image/png"])
        for kind in ("text/plain", "text/html"):
            if kind in data:
                data[kind] = _plain(data[kind], folder)
        if not data:
            continue
        if output.output_type == "execute_result":
            yield nbformat.v4.new_output("execute_result", data, execution_count=count)
        else:
            yield nbformat.v4.new_output("display_data", data)
    if said:
        yield _stream(said, folder)


def _stream(said: str, folder: Path) -> Any:
    return nbformat.v4.new_output("stream", name="stdout", text=_plain(said, folder))


def _plain(text: str, folder: Path) -> str:
    for path, name in ((f"{folder}/", ""), (str(folder), "."), (os.environ.get("EVERYBATCH_DATA"), "$EVERYBATCH_DATA")):
        text = text.replace(path, name) if path else text
    return _ADDRESS.sub("", text)


def _small(png: str) -> str:
    """Return a picture with few colours, and no wider than need be."""
    picture = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    if picture.width > WIDEST:
        height = round(picture.height * WIDEST / picture.width)
        picture = picture.resize((WIDEST, height), Image.Resampling.LANCZOS)
    written = io.BytesIO()
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(written, "PNG", optimize=True)
    return base64.b64encode(written.getvalue()).decode()


def _kind(output: Any) -> tuple[str, ...]:
    return (output.output_type, *sorted(output.get("data", ())))


def _is_of_the_machine(output: Any) -> bool:
    return output.output_type == "stream" and output.text.startswith(_OF_THE_MACHINE)


def _code(notebook: nbformat.NotebookNode) -> str:
    code = "\0".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    return hashlib.sha256(code.encode()).hexdigest()[:16]


def main(arguments: list[str]) -> None:
    """Execute the notebooks that are named, or all, and write them with their outputs."""
    for path in map(Path, arguments or sorted(map(str, FOLDER.glob("*.ipynb")))):
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            done = kept(execute(path, Path(folder)), Path(folder))
        nbformat.validate(done)
        path.write_text(nbformat.writes(done) + "\n", encoding="utf-8")
        print(f"{path.name}: {path.stat().st_size / 1000:,.0f} kB, {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
