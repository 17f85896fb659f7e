"""What surrounds a call of `train` within a sweep, for functions that call it themselves."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from contextvars import ContextVar

from everybatch._core import Data, Step, Turn
from everybatch.dataset import Dataset

__all__ = ["HOOKS", "Hooks"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hooks:
    """What `train` does besides what its arguments say, in the thread where these are set.

    Attributes
    ----------
    turn
        Waited for before a run begins, and passed on after each of its steps but the last.
    data
        Gives the one `Data` of a data set on a device, for all runs.
    callbacks
        Functions, each with a number of steps: called with a `Step` after every so many.
    passing
        A run's folder is for going on alone, and goes away when the run has ended.
    """

    turn: Turn | None = None
    data: Callable[[Dataset, str], Data] | None = None
    callbacks: Sequence[tuple[Callable[[Step], object], int]] = ()
    passing: bool = False


HOOKS: ContextVar[Hooks] = ContextVar("everybatch hooks", default=Hooks())  # noqa: B039 - it is frozen
