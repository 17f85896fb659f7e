"""Which names a piece of byte code uses."""

from __future__ import annotations

import dataclasses
import dis
from types import CodeType

__all__ = ["Import", "Names", "names_of"]

_GLOBAL = frozenset({"LOAD_GLOBAL", "STORE_GLOBAL", "DELETE_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
_ATTRIBUTE = frozenset({"LOAD_ATTR", "LOAD_METHOD", "STORE_ATTR", "DELETE_ATTR", "IMPORT_FROM", "LOAD_SUPER_ATTR"})


@dataclasses.dataclass(frozen=True)
class Import:
    """An import within a function: ``from ..name import parts``."""

    name: str
    level: int
    parts: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Names:
    """Names in code and in the functions and classes that it defines, each in alphabetical order."""

    globals: list[str]
    attributes: list[str]
    imports: list[Import]
    passed: frozenset[str] = frozenset()
    """Those that are used otherwise than with an attribute of theirs, as a module that is given to a function."""
    imported: frozenset[str] = frozenset()
    """Names that imports within the code give."""
    texts: tuple[str, ...] = ()
    """Constants that are text, in which names may stand."""


def names_of(code: CodeType) -> Names:
    """Return the names that code uses."""
    found = _Found()
    found.collect(code)
    return Names(
        sorted(found.names),
        sorted(found.attributes),
        sorted(found.imports, key=lambda each: (each.level, each.name, each.parts)),
        frozenset(found.passed),
        frozenset(found.imported),
        tuple(sorted(found.texts)),
    )


class _Found:
    """What was found in code until now."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.imports: set[Import] = set()
        self.passed: set[str] = set()
        self.imported: set[str] = set()
        self.texts: set[str] = set()

    def collect(self, code: CodeType) -> None:
        before: list[object] = [0, None]  # an import follows its level and the names that it takes
        loaded: list[str] = []  # by the instruction before
        last = ""
        for instruction in dis.get_instructions(code):
            name, value = instruction.opname, instruction.argval
            if name in ("EXTENDED_ARG", "CACHE"):
                continue
            self.passed.update(loaded[:-1] if name in _ATTRIBUTE else loaded)
            loaded = []
            if name in _GLOBAL:
                self.names.add(value)
            elif name in _ATTRIBUTE:
                self.attributes.add(value)
            elif name == "IMPORT_NAME":
                level, parts = before
                taken = parts if isinstance(parts, tuple) else ()
                self.imports.add(Import(value, level if isinstance(level, int) else 0, taken))
            if name.startswith("LOAD_") and name not in _ATTRIBUTE and name != "LOAD_CONST":
                loaded = [each for each in (value if isinstance(value, tuple) else (value,)) if isinstance(each, str)]
            elif name.startswith("STORE_") and last in ("IMPORT_NAME", "IMPORT_FROM"):
                self.imported.add(value[0] if isinstance(value, tuple) else value)
            before, last = [before[1], value], name
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                self.collect(constant)
            elif isinstance(constant, str):
                self.texts.add(constant)
