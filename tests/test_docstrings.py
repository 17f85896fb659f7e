"""The examples in docstrings, run as they stand, each in a folder of its own."""

from __future__ import annotations

import ast
import doctest
import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import everybatch

FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


STUBS = Path(everybatch.__file__).with_name("_core.pyi")


def examples() -> Iterator[doctest.DocTest]:
    """Return every docstring with an example, of modules, functions, classes and methods."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    for found in pkgutil.walk_packages(everybatch.__path__, "everybatch."):
        if not found.name.endswith("__main__"):
            yield from finder.find(importlib.import_module(found.name))
    parser = doctest.DocTestParser()  # what is written in Rust has its docstrings in the stubs
    for node in ast.walk(ast.parse(STUBS.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            text = ast.get_docstring(node) or ""
            yield parser.get_doctest(text, {}, f"everybatch._core.{node.name}", str(STUBS), node.lineno)


EXAMPLES = {test.name: test for test in examples() if test.examples}


def test_there_are_examples() -> None:
    assert {"everybatch.training.train", "everybatch.dataset.Dataset", "everybatch._core.Network"} <= EXAMPLES.keys()


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_gives_what_it_says(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    failures = doctest.DocTestRunner(optionflags=FLAGS).run(EXAMPLES[name], clear_globs=False).failed
    assert not failures, capsys.readouterr().out
