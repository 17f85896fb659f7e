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


def names_of(code: CodeType) -> Names:
    """Return the names that code uses."""
    found: tuple[set[str], set[str], set[Import]] = (set(), set(), set())
    _collect(code, *found)
    names, attributes, imports = found
    return Names(
        sorted(names), sorted(attributes), sorted(imports, key=lambda each: (each.level, each.name, each.parts))
    )


def _collect(code: CodeType, names: set[str], attributes: set[str], imports: set[Import]) -> None:
    before: list[object] = [0, None]  # an import follows its level and the names that it takes
    for instruction in dis.get_instructions(code):
        value = instruction.argval
        if instruction.opname in ("EXTENDED_ARG", "CACHE"):
            continue
        if instruction.opname in _GLOBAL:
            names.add(value)
        elif instruction.opname in _ATTRIBUTE:
            attributes.add(value)
        elif instruction.opname == "IMPORT_NAME":
            level, parts = before
            taken = parts if isinstance(parts, tuple) else ()
            imports.add(Import(value, level if isinstance(level, int) else 0, taken))
        before = [before[1], value]
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            _collect(constant, names, attributes, imports)
