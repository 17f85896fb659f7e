"""Backends with their options: `serial`, `processes`, `packed` and `ray`."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from everybatch import _core
from everybatch._arguments import choice, optional_whole, whole
from everybatch.errors import ArgumentError

if TYPE_CHECKING:
    from everybatch.sweeps.backends import Event, Order

__all__ = [
    "BACKENDS",
    "Backend",
    "as_backend",
    "owner_of",
    "packed",
    "processes",
    "ray",
    "serial",
    "with_options",
]

_MOST_WORKERS = 1024


@dataclasses.dataclass(frozen=True)
class Backend:
    """A way to work off the trials of a sweep: `serial`, `processes`, `packed` or `ray`."""

    name: str
    workers: int | None = None
    """Trials at a time."""
    retries: int = 0
    """How often a trial is tried again whose worker died."""
    address: str | None = None
    resources: Mapping[str, float] | None = None

    def device(self, given: object) -> str:
        """Return "cpu", "cuda" for all GPUs, or the one that was named.

        Raises
        ------
        ArgumentError
            There is no such device.
        """
        if self.name != "ray":
            found = _core.resolve_device(str(given))
            return "cuda" if given in ("auto", "cuda") and found.startswith("cuda") else found
        if given == "auto":  # the nodes may have GPUs that this machine lacks
            return "cuda" if (self.resources or {}).get("num_gpus") else "cpu"
        return choice(given, "device", ("auto", "cpu", "cuda"))

    def train(self, order: Order) -> Iterator[Event]:
        """Train the trials of an order. Closing the stream early ends what is running, which is then lost.

        Raises
        ------
        ImportError
            The backend needs a package that is not installed; only the one that is asked for is imported.
        """
        run: Callable[[Order], Iterator[Event]] = importlib.import_module(f"{__package__}.{self.name}").run
        return run(order)


def serial() -> Backend:
    """One trial after the other, in this process."""
    return Backend("serial")


def processes(*, workers: int | None = None, retries: int = 1) -> Backend:
    """Worker processes on this machine, which share the data set in memory.

    Parameters
    ----------
    workers
        Trials at a time. By default as many as there are cores (for the threads of each) or GPUs.
    retries
        How often a trial is tried again whose worker process died.

    Raises
    ------
    ArgumentError
        A number cannot work.
    """
    return Backend("processes", _few(workers), whole(retries, "retries", least=0))


def packed(*, workers: int | None = None) -> Backend:
    """Many replicas in this process that take turns, meant for one GPU, which works for all of them at once.

    Parameters
    ----------
    workers
        Trials at a time. By default 4 on a CPU and 16 on a GPU.

    Raises
    ------
    ArgumentError
        The number cannot work.
    """
    return Backend("packed", _few(workers))


def ray(
    *,
    address: str | None = None,
    resources: Mapping[str, float] | None = None,
    workers: int | None = None,
    retries: int = 1,
) -> Backend:
    """A Ray cluster. Needs Ray: ``pip install "everybatch[ray]"``.

    Parameters
    ----------
    address
        Of the cluster: ``"auto"``, ``"ray://host:10001"``. By default the one of ``RAY_ADDRESS``, or a local one.
    resources
        What each trial needs, such as ``{"num_cpus": 1, "num_gpus": 0.25, "big": 1}``.
    workers
        Trials at a time. By default as many as the cluster has resources for.
    retries
        How often a trial is tried again whose worker died.

    Raises
    ------
    ArgumentError, TypeError
        A number cannot work, or something is of the wrong type.
    """
    if address is not None and not isinstance(address, str):
        raise TypeError(f"address must be text, such as 'auto', not {address!r}")
    if resources is not None and not isinstance(resources, Mapping):
        raise TypeError(f"resources must be a dict, such as {{'num_gpus': 0.25}}, not {resources!r}")
    return Backend("ray", optional_whole(workers, "workers"), whole(retries, "retries", least=0), address, resources)


BACKENDS: dict[str, Callable[..., Backend]] = {
    "serial": serial,
    "processes": processes,
    "packed": packed,
    "ray": ray,
}


def as_backend(given: object) -> Backend:
    """Return a backend, which may be given by its name.

    Raises
    ------
    ArgumentError, TypeError
        It is none.
    """
    if isinstance(given, Backend):
        return given
    if not isinstance(given, str):
        raise TypeError(f"backend must be a name or a backend, such as eb.sweeps.processes(workers=2), not {given!r}")
    return BACKENDS[choice(given, "backend", tuple(BACKENDS))]()


def owner_of(option: str, asked: object) -> str | None:
    """Return the backend that an option belongs to, the one that was asked for if it has it; None if to none."""
    owners = [name for name in BACKENDS if option in _options_of(name)]
    return str(asked) if asked in owners else next(iter(owners), None)


def with_options(backend: Backend, given: Mapping[str, Any]) -> Backend:
    """Return a backend with some of its options changed.

    Raises
    ------
    ArgumentError
        One cannot work.
    """
    had = {name: getattr(backend, name) for name in _options_of(backend.name)}
    return BACKENDS[backend.name](**{**had, **given})


def _options_of(name: str) -> tuple[str, ...]:
    """Return the options of a backend."""
    return tuple(inspect.signature(BACKENDS[name]).parameters)


def _few(workers: object) -> int | None:
    number = optional_whole(workers, "workers")
    if number is not None and number > _MOST_WORKERS:
        raise ArgumentError(f"workers is {number:,}: the most on one machine are {_MOST_WORKERS:,}")
    return number
