"""Which modules are the user's own: their code may change from one sweep to the next; what is installed may not."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import site
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle

__all__ = ["importable", "is_own", "own_module"]

_INSTALLED = frozenset({"site-packages", "dist-packages"})


def is_own(name: object) -> bool:
    """Whether a module of this name is the user's own: the script or notebook, and what lies beside it."""
    if not isinstance(name, str):
        return True  # code that was made by hand, by exec for example
    top = name.partition(".")[0]
    if top == "__main__":
        return True
    if top == "everybatch" or top in sys.stdlib_module_names or top in sys.builtin_module_names:
        return False
    module = sys.modules.get(name)
    if module is None:
        return True
    spec = getattr(module, "__spec__", None)
    origin = getattr(module, "__file__", None) or getattr(spec, "origin", None)
    return _is_own_file(origin) if origin is not None else spec is None


def importable(name: object, there: Mapping[str, Any] | None = None) -> str | None:
    """Return the name of a module that another process imports, and that holds these names; None if it is none.

    The script or notebook itself is not imported, nor is what was registered with cloudpickle to be sent whole.
    """
    if not isinstance(name, str) or name == "__main__" or name not in sys.modules:
        return None
    if there is not None and vars(sys.modules[name]) is not there:
        return None
    whole = cloudpickle.list_registry_pickle_by_value()
    return None if any(name == each or name.startswith(f"{each}.") for each in whole) else name


def own_module(name: str) -> ModuleType | None:
    """Import a module if it is the user's own; None if it is not, or cannot be imported."""
    top = name.partition(".")[0]
    if top == "everybatch" or top in sys.stdlib_module_names or top in sys.builtin_module_names:
        return None
    try:
        spec = None if top in sys.modules else importlib.util.find_spec(top)
        if top in sys.modules:
            own = is_own(top)
        else:
            places = (
                [spec.origin] if spec and spec.has_location else list((spec and spec.submodule_search_locations) or [])
            )
            own = any(_is_own_file(place) for place in places)
        return importlib.import_module(name) if own else None
    except Exception:  # whatever it raises, the trial that imports it will tell
        return None


def _is_own_file(path: str | None) -> bool:
    if path is None:
        return False
    place = Path(path)
    if place.suffix in (".so", ".pyd") or _INSTALLED.intersection(place.parts):
        return False
    return not any(place.is_relative_to(folder) for folder in _folders())


@functools.cache
def _folders() -> tuple[Path, ...]:
    """Where Python and packages are installed."""
    paths = sysconfig.get_paths()
    names = {paths[kind] for kind in ("stdlib", "platstdlib", "purelib", "platlib")}
    return tuple(Path(name) for name in (*names, *site.getsitepackages(), site.getusersitepackages()))
