"""The gallery: every picture comes from a script in docs/gallery/, which the build runs.

A script begins with a docstring, a title and what there is to see, and saves its pictures as PNG in the folder that it
runs in. What it printed stands below them. Pictures are kept in target/gallery/ by what they come from: the script, the
package's sources, and the versions of what draws them.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from made import DOCS, ROOT, Made

__all__ = ["HERE", "PICTURE", "SCRIPTS", "Script", "drawn", "pictures", "placed", "read"]

HERE = "<!-- the gallery -->"
PICTURE = re.compile(r"<!-- picture: (\w+) -->")
"""Where a page of docs/ wants the picture of a script, by its name without the number."""
SCRIPTS = sorted((DOCS / "gallery").glob("*.py"))
KEPT = ROOT / "target" / "gallery"
LONGEST = 900  # seconds of a script, on a machine that is busy


class Script(NamedTuple):
    """What a script says about itself."""

    path: Path
    title: str
    text: str
    code: str

    @property
    def name(self) -> str:
        """What its pictures are called: its own name without the number."""
        return self.path.stem[3:]

    def shown(self) -> str:
        """Return its pictures in Markdown, as from the top of the site."""
        seen = re.sub(r"[`\[\]]", "", self.text.split("\n\n")[0].replace("\n", " "))
        found = sorted(drawn(self).glob("*.png"))
        return "\n\n".join(f"![{seen}](assets/gallery/{each.name}){{ loading=lazy }}" for each in found)


def read(path: Path) -> Script:
    """Take a script apart.

    Raises
    ------
    ValueError
        It has no title, or nothing below it.
    """
    whole = path.read_text(encoding="utf-8")
    tree = ast.parse(whole)
    title, _, text = (ast.get_docstring(tree) or "").partition("\n\n")
    if not title or not text or title[-1] not in ".?":
        raise ValueError(f"{path} must begin with a docstring: a title that is a sentence, and what there is to see")
    after = tree.body[1].lineno - 1
    return Script(path, title.removesuffix("."), text, "".join(whole.splitlines(keepends=True)[after:]))


def pictures() -> Iterator[Made]:
    """Give the pictures of all scripts, drawn now if need be."""
    for script in map(read, SCRIPTS):
        for picture in sorted(drawn(script).glob("*.png")):
            yield Made(f"assets/gallery/{picture.name}", path=picture)


def placed(markdown: str) -> str:
    """Return a page with the pictures of the gallery that it wants, or all of it where it is to be.

    Raises
    ------
    KeyError
        There is no such script.
    """
    scripts = {script.name: script for script in map(read, SCRIPTS)}
    markdown = PICTURE.sub(lambda wanted: scripts[wanted[1]].shown(), markdown)
    return markdown.replace(HERE, "\n\n".join(map(_section, scripts.values()))) if HERE in markdown else markdown


def _section(script: Script) -> str:
    """Return what the gallery has of a script, in Markdown."""
    parts = [f"## {script.title}", script.text, script.shown()]
    said = (drawn(script) / "said.txt").read_text(encoding="utf-8").rstrip()
    parts += [f"```text\n{said}\n```"] if said else []
    code = "".join(f"    {line}" if line.strip() else line for line in script.code.splitlines(keepends=True))
    parts.append(f'??? example "docs/gallery/{script.path.name}"\n\n    ```python\n{code.rstrip()}\n    ```')
    return "\n\n".join(parts)


def drawn(script: Script) -> Path:
    """Return the folder with the pictures of a script and what it said, and run it if there is none.

    Raises
    ------
    RuntimeError
        It failed, drew nothing, or left something else than pictures.
    """
    path = script.path
    kept = KEPT / f"{path.stem}-{_key(path)}"
    if kept.is_dir():
        return kept
    KEPT.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=KEPT, prefix=".drawing-") as folder:
        done = subprocess.run(
            [sys.executable, str(path)],
            cwd=folder,
            env={**os.environ, "MPLBACKEND": "Agg", "CUDA_VISIBLE_DEVICES": ""},
            capture_output=True,
            text=True,
            timeout=LONGEST,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{path} failed:\n{done.stderr[-4000:]}")
        left = sorted(each.name for each in Path(folder).iterdir())
        drew = [name for name in left if name.endswith(".png")]
        if not drew or not all(name.startswith(script.name) for name in drew):
            raise RuntimeError(f"{path} must save pictures named {script.name}*.png, and left {left}")
        for old in KEPT.glob(f"{path.stem}-*"):
            shutil.rmtree(old)
        fresh = Path(tempfile.mkdtemp(dir=KEPT, prefix=".kept-"))
        for name in drew:
            shutil.move(Path(folder) / name, fresh / name)
        (fresh / "said.txt").write_text(done.stdout, encoding="utf-8")
        fresh.rename(kept)
    print(f"gallery: {path.name} drew {len(drew)} in {time.monotonic() - began:.1f} s")
    return kept


def _key(path: Path) -> str:
    return hashlib.sha256(path.read_bytes() + _sources()).hexdigest()[:16]


@functools.cache
def _sources() -> bytes:
    """Return a digest of all but the script that a picture comes from."""
    digest = hashlib.sha256()
    files = [*(ROOT / "python").rglob("*.py"), *(ROOT / "src").rglob("*.rs"), ROOT / "Cargo.lock"]
    for file in sorted(files):
        digest.update(file.relative_to(ROOT).as_posix().encode() + b"\0" + file.read_bytes())
    for name in ("matplotlib", "numpy", "torch"):
        digest.update(importlib.metadata.version(name).encode())
    return digest.digest()
