"""Settings as TOML writes them, into what `everybatch.sweep` takes: networks, schedules, augmentations, ranges."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from everybatch import networks, schedules
from everybatch._arguments import flag
from everybatch._core import Network
from everybatch._disk import at_home
from everybatch.augment import Augment
from everybatch.errors import ArgumentError, EverybatchError, FileFormatError, suggest
from everybatch.schedules import Schedule
from everybatch.sweeps.space import Range, log_uniform, uniform

__all__ = ["Values", "as_table", "check_keys", "made", "place", "schedule_of"]

Made = TypeVar("Made")

_SCHEDULES = tuple(name for name in schedules.__all__ if name != "Schedule")
_SCHEDULED = ("schedule", "augment_schedule", "label_smoothing_schedule")
_RANGE = ("low", "high")


@dataclasses.dataclass(frozen=True)
class Values:
    """Reads values; a network may be a file in `folder`, and the texts of those that were read stay in `texts`."""

    folder: Path
    texts: dict[str, str]

    def setting(self, name: str, given: Any) -> Any:
        """Return the value of one setting."""
        if name == "network":
            return self._network(given)
        if name in _SCHEDULED:
            return schedule_of(given)
        if name == "augment":
            return made(Augment, given)
        if isinstance(given, dict) and name != "class_weight":
            raise ArgumentError(
                f"only {', '.join(_SCHEDULED)}, augment and class_weight are tables; a range, {{ low = 1, high = 2 }}, "
                "goes into [random.space] or [sobol.space]"
            )
        return given

    def alternatives(self, name: str, given: Any, *, ranges: bool) -> Any:
        """Return the values of one setting: a list holds several. `ranges`: a table with low and high is one."""
        if isinstance(given, list):
            return [self._one(name, each, ranges=ranges) for each in given]
        return self._one(name, given, ranges=ranges)

    def _one(self, name: str, given: Any, *, ranges: bool) -> Any:
        # A class may be called low.
        if ranges and name != "class_weight" and isinstance(given, dict) and any(end in given for end in _RANGE):
            return made(_range, given)
        return self.setting(name, given)

    def _network(self, given: Any) -> str | Network:
        if not isinstance(given, str):
            raise TypeError(f"a network is the name of a builder or of a JSON file, not {given!r}")
        if given in networks.__all__:
            return given
        if given not in self.texts:
            path = self.folder / at_home(given)
            if not path.is_file():
                raise ArgumentError(
                    f"{given!r} is neither a builder ({', '.join(networks.__all__)}) nor a JSON file in {self.folder}."
                    f"{suggest(given, networks.__all__)}"
                )
            self.texts[given] = path.read_text(encoding="utf-8", errors="replace")
        try:
            return Network.from_json(self.texts[given])
        except EverybatchError as error:
            raise FileFormatError(f"{given} does not describe a network: {error}") from error


@contextlib.contextmanager
def place(name: str) -> Iterator[None]:
    """Put a place in the file before the message of an error."""
    try:
        yield
    except (EverybatchError, TypeError) as error:
        raise type(error)(f"{name}: {error}") from error


def made(make: Callable[..., Made], given: Any, *, besides: Iterable[str] = ()) -> Made:
    """Call a function with the entries of a table as its arguments; the keys `besides` are not for it.

    Raises
    ------
    ArgumentError, TypeError
        It is no table, has a key that the function does not take, lacks one that it needs, or has a wrong value.
    """
    given = as_table(given)
    parameters = inspect.signature(make).parameters
    check_keys(given, [*besides, *parameters])
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and name not in given:
            raise ArgumentError(f"{name} is missing")
    return make(**{name: value for name, value in given.items() if name not in besides})


def as_table(given: Any) -> dict[str, Any]:
    """Refuse what is no table.

    Raises
    ------
    TypeError
        It is none.
    """
    if not isinstance(given, dict):
        raise TypeError(f"this must be a table, not {given!r}")
    return given


def check_keys(given: Mapping[str, Any], known: Iterable[str]) -> None:
    """Refuse unknown keys.

    Raises
    ------
    ArgumentError
        There is one.
    """
    known = tuple(known)
    for name in given:
        if name not in known:
            raise ArgumentError(f"the key {name!r} is unknown: the keys are {', '.join(known)}.{suggest(name, known)}")


def schedule_of(given: Any) -> Schedule | str:
    """Return the schedule that a table stands for, or a name as it is.

    Raises
    ------
    ArgumentError, TypeError
        It is neither, or has a key or number that cannot work.
    """
    if isinstance(given, str):
        return given
    if not isinstance(given, dict) or "name" not in given:
        raise TypeError(f"a schedule is a name or a table with one, such as {{ name = 'one_cycle' }}, not {given!r}")
    name = given["name"]
    if str(name) not in _SCHEDULES:
        raise ArgumentError(f"name is {name!r}: choose one of {', '.join(_SCHEDULES)}.{suggest(str(name), _SCHEDULES)}")
    then = {"then": schedule_of(given["then"])} if "then" in given else {}  # of warmup
    made_of: Callable[..., Schedule] = getattr(schedules, name)
    return made(made_of, {**given, **then}, besides=("name",))


def _range(low: float, high: float, *, log: bool = False, whole: bool = False) -> Range:
    return (log_uniform if flag(log, "log") else uniform)(low, high, whole=whole)
