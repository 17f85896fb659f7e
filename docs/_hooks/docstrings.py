"""What the reference makes of docstrings, as an extension of griffe, which reads the sources for mkdocstrings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import griffe

__all__ = ["Docstrings"]

_NAMED = re.compile(r"(?<!`)`(everybatch(?:\.\w+)+|(?:Run|Sweep|Model|Network|Dataset|Estimator)\.\w+)`(?!`)")


class Docstrings(griffe.Extension):
    """Three things that griffe's numpy style leaves to be done."""

    def on_class_members(self, *, cls: griffe.Class, **_: Any) -> None:
        """Let a class that Rust makes have its ``__new__`` where others have ``__init__``."""
        new = cls.members.get("__new__")
        if isinstance(new, griffe.Function) and "__init__" not in cls.members:
            new.name = "__init__"
            cls.set_member("__init__", new)
            cls.del_member("__new__")

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Link the names in docstrings, and give parameters that are described together a default each of their own."""
        for each in _objects(pkg):
            if each.docstring is None:
                continue
            each.docstring.value = _NAMED.sub(_link, each.docstring.value)
            if not isinstance(each, griffe.Class | griffe.Function):
                continue
            for section in each.docstring.parsed:
                if section.kind is griffe.DocstringSectionKind.parameters:
                    for parameter in section.value:
                        _correct(parameter, each.parameters)


def _objects(of: griffe.Object) -> Iterator[griffe.Object]:
    yield of
    for member in of.members.values():
        if not member.is_alias:
            yield from _objects(member)


def _link(name: re.Match[str]) -> str:
    """Give a name as a link, or as it is where the reference has no such thing."""
    path = name[1] if name[1].startswith("everybatch.") else f"everybatch.{name[1]}"
    return f'<autoref identifier="{path}" optional><code>{name[1]}</code></autoref>'


def _correct(parameter: griffe.DocstringParameter, signature: griffe.Parameters) -> None:
    """Give a parameter the type and the default of the signature: griffe takes those of the first in its line."""
    if parameter.name in signature:
        parameter.annotation = signature[parameter.name].annotation
        parameter.value = signature[parameter.name].default
