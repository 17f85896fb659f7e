"""Docstrings: their examples, run as they stand, each in a folder of its own, and those of Rust in a running Python."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import everybatch
from everybatch import _core

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


def documented() -> Iterator[tuple[str, str]]:
    """Return the name and docstring of all that the stub documents and `everybatch` exports, members too."""
    for node in ast.parse(STUBS.read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef):
            continue
        if getattr(everybatch, node.name, None) is getattr(_core, node.name):  # no class of Python's by that name
            for inner in (node, *(node.body if isinstance(node, ast.ClassDef) else ())):
                if isinstance(inner, ast.ClassDef | ast.FunctionDef) and (text := ast.get_docstring(inner)):
                    yield node.name if inner is node else f"{node.name}.{inner.name}", text


DOCUMENTED = dict(documented())


def test_all_that_rust_makes_is_documented() -> None:
    assert {"Model", "Model.evaluate", "Network.initialize", "Step.lr", "Conv2d", "precisions"} <= DOCUMENTED.keys()


@pytest.mark.parametrize("name", DOCUMENTED)
def test_help_says_what_the_stub_says(name: str) -> None:
    thing = everybatch
    for part in name.split("."):
        thing = getattr(thing, part)
    assert inspect.getdoc(thing) == DOCUMENTED[name]
