"""What a function is, as a digest: the same in every process for the same function, another one for any other.

It is made of the function's byte code and of all that it refers to: what a closure has captured, defaults, arguments of
`functools.partial`, attributes of an object, and the functions, classes and values of the user's own modules by the
names that the code uses. What is installed counts by its name alone.
"""

from __future__ import annotations

import copyreg
import functools
import hashlib
import importlib
import pickle
import re
import struct
import sys
import threading
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.util import resolve_name
from typing import Any

import numpy as np
import torch

from everybatch._core import Model
from everybatch.dataset import Dataset
from everybatch.errors import ArgumentError
from everybatch.sweeps._code import Import, Names, names_of
from everybatch.sweeps._own import importable, is_own, own_module
from everybatch.sweeps._parcel import identity

__all__ = ["Place", "content_of", "decisive", "digest_alone", "own_things"]

Place = tuple[str, str]
"""A module, and a name in it."""

_LOCKS = (type(threading.Lock()), type(threading.RLock()))
_BUILTINS = (types.BuiltinFunctionType, types.MethodWrapperType)
_OF_CYTHON = ("cython_function_or_method", "fused_cython_function")
"""Types of functions in compiled modules, such as those of NumPy; each version of Cython has its own ones."""
_NOT_OF_A_CLASS = frozenset(
    (
        *("__dict__", "__weakref__", "__doc__", "__module__", "__firstlineno__", "__static_attributes__", "_abc_impl"),
        *("__annotations__", "__annotations_cache__", "__annotate__", "__annotate_func__"),
    )
)
"""What says nothing about how a class works, or where it was written."""
_WORD = re.compile(r"[^\W\d]\w*")
_NONE = Names([], [], [])
_ANY = Names(["vars"], [], [])
"""Of code that may mean every attribute of a module."""


def content_of(function: Callable[..., Any]) -> str:
    """Return the digest of a function and all that it refers to.

    Raises
    ------
    ArgumentError
        It refers to something that cannot be told from another one of its kind, such as an open file.
    """
    return _told(function).digest()


def own_things(function: Callable[..., Any]) -> dict[Place, Any]:
    """Return what a function uses of the user's own modules that another process finds by name, in modules of its own.

    Raises
    ------
    ArgumentError
        As of `content_of`.
    """
    return _told(function).own


def digest_alone(thing: Any, modules: frozenset[str]) -> str:
    """Return the digest of a thing, but not of what its code refers to by names.

    Parameters
    ----------
    thing
        Of any kind that `content_of` takes.
    modules
        Names of modules that are the user's own, wherever they may lie in this process.

    Raises
    ------
    ArgumentError
        As of `content_of`.
    """
    teller = _Alone(modules)
    teller.tell(thing)
    return teller.digest()


def decisive(dataset: Dataset) -> str:
    """Return what of a data set decides a run's numbers: its images and labels, and how they are normalised."""
    return f"{dataset.fingerprint} {dataset.mean} {dataset.std}"


def _told(function: Callable[..., Any]) -> _Teller:
    teller = _Teller()
    try:
        teller.tell(function)
    except RecursionError:
        raise ArgumentError(
            f"the function of this sweep refers to something that is nested too deeply: {teller.place}"
        ) from None
    return teller


class _Teller:
    """Goes through things and takes what they are into a hash, each function, class and object once."""

    def __init__(self, modules: frozenset[str] = frozenset()) -> None:
        self.own: dict[Place, Any] = {}
        """What was met in the user's own modules, but for modules in them."""
        self._modules = modules
        self._hash = hashlib.sha256()
        self._numbers: dict[Any, int] = {}
        self._kept: list[Any] = []
        """What is numbered, so that no other thing gets its address."""
        self._path: list[str] = []

    def digest(self) -> str:
        return self._hash.hexdigest()

    @property
    def place(self) -> str:
        """Where the thing is that is looked at, for a message."""
        names = list(dict.fromkeys(self._path))
        return " of ".join(reversed(names[-3:])) if names else "itself"

    def tell(self, thing: Any) -> None:
        """Take in a thing of any kind."""
        kind = type(thing)
        if thing is None or kind is bool:
            self._put("constant", repr(thing))
        elif kind is int:
            self._put("int", f"{thing:x}")
        elif kind in (float, complex):
            self._put(kind.__name__, struct.pack("dd", thing.real, thing.imag))
        elif kind is str:
            self._put("str", thing)
        elif kind in (bytes, bytearray):
            self._put(kind.__name__, bytes(thing))
        elif kind in (tuple, list):
            self._sequence(thing)
        elif kind in (set, frozenset):
            self._put(kind.__name__, " ".join(sorted(self._apart(entry) for entry in thing)))
        elif kind is dict or kind is types.MappingProxyType:
            self._mapping(thing)
        elif kind is types.CodeType:
            self._code(thing)
        elif not self._data(thing):
            self._referred(thing)

    def _referred(self, thing: Any) -> None:
        """Take in something that may be met again, and then is told by the number of its first time."""
        if isinstance(thing, types.MethodType):
            self._put("method", "")
            self.tell(thing.__func__)
            self.tell(thing.__self__)
        elif isinstance(thing, _BUILTINS):
            self._builtin(thing)
        elif type(thing).__name__ in _OF_CYTHON:
            self._put("compiled", f"{thing.__module__} {thing.__qualname__}")
        elif isinstance(thing, types.ModuleType):
            self._module(thing, _ANY)
        elif self._first_time(thing):
            if isinstance(thing, types.FunctionType):
                self._function(thing)
            elif isinstance(thing, type):
                self._class(thing)
            elif isinstance(thing, (staticmethod, classmethod)):
                self._put(type(thing).__name__, "")
                self.tell(thing.__func__)
            elif isinstance(thing, functools._lru_cache_wrapper):
                self._put("cached", "")  # what it remembers changes nothing
                self.tell(thing.__wrapped__)
            elif type(thing) is property:
                self._named("property", {"get": thing.fget, "set": thing.fset, "del": thing.fdel})
            else:
                self._object(thing)

    # ---- values ----------------------------------------------------------------------------------------

    def _sequence(self, things: tuple[Any, ...] | list[Any]) -> None:
        if isinstance(things, list) and not self._first_time(things):
            return
        self._put(type(things).__name__, str(len(things)))
        for entry in things:
            self.tell(entry)

    def _mapping(self, things: Mapping[Any, Any]) -> None:
        """Take in a dict in its order, which a function may go through."""
        if not self._first_time(things):
            return
        self._put("dict", str(len(things)))
        for name, value in things.items():
            self.tell(name)
            with self._within(str(name) if isinstance(name, (str, int)) else type(name).__name__):
                self.tell(value)

    def _data(self, thing: Any) -> bool:
        """Take in arrays, tensors, data sets and models; tell whether it was one."""
        if isinstance(thing, Dataset):
            self._put("data", identity(thing))  # a function may go by the names of classes, too
        elif isinstance(thing, Model):
            self._put("model", thing.network.to_json())
            self._put("images", repr((thing.mean, thing.std, thing.background)))
            self._put("classes", repr(thing.classes))
            self._named("state", thing.state_dict())
        elif isinstance(thing, torch.Tensor):
            self._tensor(thing)
        elif type(thing) is np.ndarray and thing.dtype != object:
            self._put("array", f"{thing.dtype!r} {thing.shape}")
            self._put("values", np.ascontiguousarray(thing).tobytes())
        else:
            return False
        return True

    def _tensor(self, tensor: torch.Tensor) -> None:
        self._put("tensor", f"{type(tensor).__name__} {tensor.dtype} {tuple(tensor.shape)} {tensor.requires_grad}")
        if tensor.device.type == "meta":
            return
        with self._refusing(tensor):
            values = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
            self._put("values", values.numpy().tobytes())

    def _object(self, thing: Any) -> None:
        """Take in an object as it would be pickled."""
        kind = type(thing)
        if isinstance(thing, _LOCKS) or kind.__module__.partition(".")[0] in ("IPython", "ipykernel"):
            self._put("tool", kind.__qualname__)  # nothing that decides numbers
            return
        for name in ("stdin", "stdout", "stderr", "__stdin__", "__stdout__", "__stderr__"):
            if thing is getattr(sys, name):
                self._put("stream", name.strip("_"))
                return
        if isinstance(thing, Iterator):
            self._refuse(thing)  # it is another one after each step
        with self._refusing(thing):
            reduce = copyreg.dispatch_table.get(kind)
            reduced = thing.__reduce_ex__(4) if reduce is None else reduce(thing)
        self._put("object", "")
        self.tell(kind)
        if isinstance(reduced, str):
            with self._refusing(thing):
                pickle.dumps(thing)  # it is found by this name, unlike one of `numpy.frompyfunc`
            self._put("name", f"{getattr(thing, '__module__', '')} {reduced}")
            return
        make, arguments, *rest = reduced
        padded: list[Any] = [*rest, None, None, None]
        state, entries, pairs = padded[:3]
        self.tell(make)
        self.tell(arguments)
        if type(state) is dict:
            known = vars(kind).get
            state = {key: each for key, each in state.items() if not isinstance(known(key), functools.cached_property)}
        self.tell(state)
        self.tell(None if entries is None else list(entries))
        self.tell(None if pairs is None else list(pairs))

    # ---- code ------------------------------------------------------------------------------------------

    def _code(self, code: types.CodeType) -> None:
        counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
        self._put("code", code.co_code)
        self.tell((counts, code.co_exceptiontable, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars))
        self.tell(code.co_consts)

    def _function(self, function: types.FunctionType) -> None:
        cells = {
            name: _held(cell)
            for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        }
        own = self._is_own(function.__globals__.get("__name__"))
        home = importable(function.__globals__.get("__name__"), function.__globals__) if own else None
        if "<" in function.__qualname__:
            home = None  # it is sent as it is, with what it refers to
        self._meet(home, function.__qualname__.partition(".")[0])
        with self._within(function.__name__):
            if not own:
                self._put("installed", f"{function.__module__} {function.__code__.co_qualname}")
                if hasattr(function, "registry") and "dispatch_cache" in cells:  # functools.singledispatch
                    cells = {f"{kind.__module__}.{kind.__qualname__}": each for kind, each in function.registry.items()}
            else:
                self._put("function", "")
                self._code(function.__code__)
                self._named("more", vars(function))
            if own or cells:  # of what is installed, only a function made by another one can hold something of ours
                names = names_of(function.__code__) if own else _NONE
                self._named("captured", cells, names)
                self.tell(function.__defaults__)
                self._named("defaults", function.__kwdefaults__ or {})
                self._names(function.__globals__, names, home)

    def _names(self, there: Mapping[str, Any], names: Names, home: str | None) -> None:
        """Take in what the names that code uses stand for, in a module if there is one to be imported."""
        for name in dict.fromkeys((*names.globals, *_by_text(names, there))):
            if name in there:
                self._put("global", name)
                self._meet(home, name)
                with self._within(name):
                    self._value(there[name], _ANY if name in names.passed else names)
        passed = names.imported & names.passed
        for each in names.imports:
            for name, value in _imported(each, there).items():
                self._put("imported", name)
                with self._within(name):
                    bound = name in each.parts or not each.parts
                    self._value(value, _ANY if passed and bound else names)

    def _value(self, value: Any, names: Names) -> None:
        """Take in what a name in code stands for."""
        if isinstance(value, types.ModuleType):
            self._module(value, names)
        else:
            self.tell(value)

    def _module(self, module: types.ModuleType, names: Names) -> None:
        """Take in a module; if it is the user's own, all in it that code may mean by its attributes."""
        if not self._is_own(module.__name__):
            self._put("module", module.__name__)
            return
        known = sorted(name for name in vars(module) if not name.startswith("__"))
        if not {"getattr", "vars"}.intersection(names.globals) and "__dict__" not in names.attributes:
            known = [name for name in names.attributes if name in vars(module)]
        if self._first_time(module, tuple(known)):
            self._put("own module", module.__name__)
            home = importable(module.__name__, vars(module))
            for name in known:
                self._put("attribute", name)
                self._meet(home, name)
                with self._within(name):
                    self._value(vars(module)[name], names)

    def _class(self, kind: type) -> None:
        own = self._is_own(kind.__module__)
        self._put("class", kind.__qualname__ if own else f"{kind.__module__} {kind.__qualname__}")
        if not own:
            return
        if "<" not in kind.__qualname__:
            self._meet(importable(kind.__module__), kind.__qualname__.partition(".")[0])
        with self._within(kind.__name__):
            self.tell(type(kind))
            self.tell(kind.__bases__)
            self._named("members", {name: each for name, each in vars(kind).items() if name not in _NOT_OF_A_CLASS})

    def _builtin(self, function: Any) -> None:
        self._put("builtin", function.__qualname__)
        owner = getattr(function, "__self__", None)
        if isinstance(owner, types.ModuleType) or type(owner).__name__ == "PyCapsule":
            self._put("of", str(function.__module__))
        else:
            self.tell(owner)

    # ---- how -------------------------------------------------------------------------------------------

    def _is_own(self, name: object) -> bool:
        return name in self._modules or is_own(name)

    def _meet(self, home: str | None, name: str) -> None:
        """Note what a name in a module stands for, if another process imports the module."""
        if home is None or name.startswith("__"):
            return
        thing = vars(sys.modules[home]).get(name, sys)  # a module is looked into where it is met
        if not isinstance(thing, types.ModuleType):
            self.own[home, name] = thing

    def _put(self, kind: str, content: str | bytes) -> None:
        raw = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
        self._hash.update(f"{kind} {len(raw)}:".encode() + raw)

    def _named(self, kind: str, things: Mapping[str, Any], names: Names = _ANY) -> None:
        """Take in things by name, whose order says nothing; `names` are those of the code that they are for."""
        self._put(kind, str(len(things)))
        for name in sorted(things):
            self._put("name", name)
            with self._within(name):
                self._value(things[name], _ANY if name in names.passed else names)

    def _apart(self, thing: Any) -> str:
        """The digest of a thing by itself."""
        teller = type(self)(self._modules)
        teller._path, teller.own = self._path, self.own
        teller.tell(thing)
        return teller.digest()

    def _first_time(self, thing: Any, *more: Any) -> bool:
        """Number a thing; if it has a number already, that is what is to be known of it."""
        key = (id(thing), *more)
        if key in self._numbers:
            self._put("again", str(self._numbers[key]))
            return False
        self._numbers[key] = len(self._numbers)
        self._kept.append(thing)
        return True

    @contextmanager
    def _within(self, name: str) -> Iterator[None]:
        """Remember the way to a thing for as long as it is looked at; where that fails, the way stays."""
        self._path.append(name)
        yield
        self._path.pop()

    @contextmanager
    def _refusing(self, thing: Any) -> Iterator[None]:
        """Whatever a thing of any kind raises when it is to be written down means that it cannot be."""
        try:
            yield
        except RecursionError:
            raise
        except Exception as error:
            self._refuse(thing, error)

    def _refuse(self, thing: Any, error: Exception | None = None) -> None:
        kind = type(thing)
        why = f" ({error})" if error is not None else ""
        raise ArgumentError(
            f"the function of this sweep refers to {self.place}, a {kind.__module__}.{kind.__qualname__}, which cannot "
            f"be told from another one{why}, so that its stored trials could not be known again: make it within the "
            "function, or put what decides the numbers, such as a path or a list, in its place"
        ) from error


class _Alone(_Teller):
    """Leaves out what code refers to by names, which is told where it is."""

    def _names(self, there: Mapping[str, Any], names: Names, home: str | None) -> None:
        pass

    def _module(self, module: types.ModuleType, names: Names) -> None:  # noqa: ARG002 - all are told by their names
        self._put("module", module.__name__)


def _by_text(names: Names, there: Mapping[str, Any]) -> list[str]:
    """Names of functions and values that code may find by a text: with `globals`, `eval` or `exec`.

    The text may come from a config, and then means a function or a class as a rule.
    """
    if not {name for name in ("eval", "exec", "globals") if name in names.globals and name not in there}:
        return []
    written = {word for text in names.texts for word in _WORD.findall(text)}
    return sorted(
        name
        for name, value in there.items()
        if name in written
        or (isinstance(value, (type, types.FunctionType)) and is_own(getattr(value, "__module__", None)))
    )


def _held(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return ()  # nothing yet


def _imported(statement: Import, there: Mapping[str, Any]) -> dict[str, Any]:
    """Return the modules of the user's own that an import within a function brings."""
    name = statement.name
    if statement.level:
        try:
            name = resolve_name("." * statement.level + name, str(there.get("__package__") or ""))
        except ImportError:
            return {}
    module = own_module(name)
    if module is None:
        return {}
    for part in statement.parts:
        if not hasattr(module, part):
            with suppress(Exception):  # the trial itself will tell
                importlib.import_module(f"{name}.{part}")
    # `import a.b` brings a, and what the code says goes through it.
    found = {name: module, **{part: getattr(module, part) for part in statement.parts if hasattr(module, part)}}
    return {**found, **({name.partition(".")[0]: sys.modules[name.partition(".")[0]]} if "." in name else {})}
