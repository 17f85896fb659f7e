"""What `train` calls while a run goes on: functions, and objects with methods of certain names."""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Protocol

from everybatch._core import Step
from everybatch.errors import ArgumentError, StopTraining, suggest
from everybatch.run import Run

__all__ = ["Callback", "Callbacks", "OnEnd", "OnEvaluation", "OnStart", "OnStep", "RunStart", "listed"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunStart:
    """What the method `on_start` of a callback is given.

    Attributes
    ----------
    config
        What is known of the run before its first step, as `Run.config` has it: ``network``, ``dataset``, ``training``
        (the arguments of `train`), ``versions``, ``hardware``, ``started``. A copy.
    step
        Optimizer steps taken: 0, or those after which a run goes on.
    total_steps
        Optimizer steps of the whole run.
    """

    config: dict[str, Any]
    step: int
    total_steps: int


class OnStart(Protocol):
    """Has a method that is called once, before anything is measured."""

    def on_start(self, start: RunStart, /) -> object:
        """Take notice of the beginning."""


class OnStep(Protocol):
    """Has a method that is called after every optimizer step."""

    def on_step(self, step: Step, /) -> object:
        """Take notice of a step."""


class OnEvaluation(Protocol):
    """Has a method that is called after every measurement of the test images."""

    def on_evaluation(self, step: Step, /) -> object:
        """Take notice of a measurement."""


class OnEnd(Protocol):
    """Has a method that is called once, when the run has ended."""

    def on_end(self, run: Run, /) -> object:
        """Take notice of the end."""


Callback = Callable[[Step], object] | OnStart | OnStep | OnEvaluation | OnEnd
"""A function that is called after every step, or an object with any of four methods."""

_METHODS = {
    "on_start": "a RunStart",
    "on_step": "a Step",
    "on_evaluation": "a Step",
    "on_end": "the Run",
}
_NAMES = f"{', '.join(list(_METHODS)[:-1])} or on_end"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Callbacks:
    """All that is to be called, by the occasion. Made by `check`."""

    on_start: list[Callable[[RunStart], object]]
    on_step: list[Callable[[Step], object]]
    on_evaluation: list[Callable[[Step], object]]
    on_end: list[Callable[[Run], object]]

    @classmethod
    def check(cls, given: object, name: str) -> Callbacks:
        """Check what a user gave: one function or object, or several.

        Raises
        ------
        ArgumentError, TypeError
            One is neither, or two things could be meant.
        """
        called: dict[str, list[Any]] = {method: [] for method in _METHODS}
        for entry in listed(given, name):
            methods = _methods_of(entry, name)
            for method, function in methods.items():
                called[method].append(function)
            if not methods:
                called["on_step"].append(entry)
        return cls(**called)

    def starting(self, config: Mapping[str, Any]) -> list[Callable[[int], object]]:
        """Return functions that tell each of the beginning, of a run with this config, after so many steps."""

        def start(function: Callable[[RunStart], object], taken: int) -> object:
            told = json.loads(json.dumps(config))  # as it will be read
            return function(RunStart(config=told, step=taken, total_steps=told["training"]["total_steps"]))

        return [partial(start, function) for function in self.on_start]

    def ended(self, run: Run, raised: BaseException | None) -> BaseException | None:
        """Tell each of the end, also when another one failed, and return what is to be raised then.

        Parameters
        ----------
        run
            What there is of it.
        raised
            What had ended it. What is raised here is added to that as a note.
        """
        for function in self.on_end:
            try:
                function(run)
            except StopTraining:
                pass  # it has ended
            except BaseException as error:
                if raised is None:
                    raised = error
                elif error is not raised:
                    raised.add_note(f"on_end of {_shown(function)} raised, too: {type(error).__name__}: {error}")
        return raised


def listed(given: object, name: str) -> list[Any]:
    """Return one function or object, or several, as a list of those that they are."""
    if callable(given) or any(_has(given, method) for method in _METHODS):
        entries = [given]
    elif isinstance(given, Iterable) and not isinstance(given, (str, bytes, Mapping)):
        entries = list(given)
    else:
        raise TypeError(f"{name} must be a function or a list of functions, or of objects with {_NAMES}, not {given!r}")
    for entry in entries:
        _methods_of(entry, name)
    return entries


def _methods_of(entry: object, name: str) -> dict[str, Callable[[Any], object]]:
    """Return the methods of an object by their names; none of a function.

    Raises
    ------
    ArgumentError, TypeError
        It is neither, or two things could be meant.
    """
    own = [method for method in _METHODS if _has(entry, method)]
    if isinstance(entry, type) and own:
        raise TypeError(
            f"{name} holds the class {entry.__name__}, which has {own[0]}: give an object of it, {entry.__name__}()"
        )
    if callable(entry):
        if own:
            raise ArgumentError(
                f"{name} holds {_shown(entry)}, which has {own[0]} and can be called itself: two things could be "
                "meant. Give the method alone, or an object without __call__"
            )
        return {}
    for other in sorted(attribute for attribute in dir(entry) if attribute.startswith("on_")):
        if other not in _METHODS and callable(getattr(entry, other, None)):
            raise ArgumentError(
                f"{name} holds {_shown(entry)}, which has {other}, and nothing calls that: the methods are "
                f"{', '.join(_METHODS)}.{suggest(other, _METHODS)}"
            )
    if not own:
        raise TypeError(f"{name} must hold functions, or objects with {_NAMES}, and {entry!r} is none")
    return {method: _checked(getattr(entry, method), f"{method} of {_shown(entry)}", method) for method in own}


def _has(entry: object, method: str) -> bool:
    """Whether an object has a method; one that has whatever it is asked for has none."""
    return inspect.getattr_static(entry, method, None) is not None


def _checked(function: Any, what: str, method: str) -> Callable[[Any], object]:
    """Check that a method can be called as it will be, which for some is hours later.

    Raises
    ------
    TypeError
        It cannot.
    """
    if not callable(function):
        raise TypeError(f"{what} must be a method, not {function!r}")
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise TypeError(f"{what} would do nothing when it is called: write it without async and yield")
    try:
        inspect.signature(function).bind(None)
    except ValueError:
        pass  # some that are not written in Python do not tell
    except TypeError as error:
        raise TypeError(f"{what} is called with {_METHODS[method]}, and cannot be: {error}") from None
    return function  # type: ignore[no-any-return]


def _shown(thing: Any) -> str:
    owner = getattr(thing, "__self__", thing)
    return f"a {type(owner).__name__}"
