"""Which file of the package imports which: never, neither at once nor within a function, each other."""

from __future__ import annotations

import ast
import graphlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import everybatch

PACKAGE = Path(everybatch.__file__).parent


def module_of(path: Path, root: Path = PACKAGE) -> str:
    parts = path.relative_to(root.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(tree: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Return the imports in a file, those in functions too, but not those for types alone."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            for each in node.orelse:
                yield from imports(each)
        else:
            yield from imports(node)


def modules_in(root: Path = PACKAGE) -> set[str]:
    """Return the files of a package, and its compiled extension, as modules."""
    return {module_of(each, root) for each in root.rglob("*.py")} | {f"{root.name}._core"}


def imported(path: Path, modules: set[str], root: Path = PACKAGE) -> set[str]:
    """Return those of the package's modules that a file imports."""
    package = module_of(path, root).split(".")[: None if path.stem == "__init__" else -1]
    found = set()
    for node in imports(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
            continue
        base = package[: len(package) - node.level + 1] if node.level else []
        base = [*base, *(node.module or "").split(".")] if node.module else base
        # `from package import name` is the module of that name, if there is one
        inner = {".".join([*base, alias.name]) for alias in node.names}
        found |= {name if name in modules else ".".join(base) for name in inner}
    return (found & modules) - {module_of(path, root)}


def circle(root: Path = PACKAGE) -> list[str]:
    """Return a circle of modules, each of which is imported by the next one; empty if there is none."""
    modules = modules_in(root)
    files = {module_of(path, root): imported(path, modules, root) for path in root.rglob("*.py")}
    sorter = graphlib.TopologicalSorter(files)
    try:
        sorter.prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def test_no_files_import_each_other() -> None:
    assert circle() == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("from pack import other", "from pack.one import x"),
        ("from . import other", "def f():\n    from .one import x"),
        ("import pack.other", "class A:\n    if True:\n        from pack import one"),
    ],
)
def test_a_circle_is_found(tmp_path: Path, one: str, other: str) -> None:
    root = tmp_path / "pack"
    root.mkdir()
    (root / "__init__.py").write_text("from pack import one")
    (root / "one.py").write_text(one)
    (root / "other.py").write_text(other)
    assert set(circle(root)) == {"pack.one", "pack.other"}
    (root / "other.py").write_text("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from pack.one import x")
    assert circle(root) == []


def test_nothing_of_the_package_is_ignored_by_git() -> None:
    """Wheels leave out what git ignores, even where it was added in spite of that; so does ruff."""
    root = PACKAGE.parent.parent
    if shutil.which("git") is None or not (root / ".git").exists():
        pytest.skip("not a checkout")
    files = "\n".join(
        str(path.relative_to(root))
        for path in PACKAGE.rglob("*")
        if path.suffix in {".py", ".css", ".html", ".js", ".svg"}
    )
    asked = ["git", "-C", str(root), "check-ignore", "--no-index", "--stdin"]
    answer = subprocess.run(asked, input=files, capture_output=True, text=True, check=False)
    assert answer.stdout == ""
