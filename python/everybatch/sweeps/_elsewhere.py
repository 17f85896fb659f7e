"""A job for another process, where the user's own modules are as they are here.

What is in a module goes there by its name, and the other process imports the module anew: it would neither know what a
script has set in it, such as ``conf.HIDDEN = 32``, nor that its file was changed meanwhile, and would train other
numbers under the same key. No module is sent whole: a function that sets something in its module would then set it in
one of two copies.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from everybatch.dataset import Dataset
from everybatch.errors import ArgumentError
from everybatch.sweeps._content import Place, digest_alone, own_things
from everybatch.sweeps._parcel import open_parcel, parcel, parts_of
from everybatch.sweeps._perform import Job

__all__ = ["pack", "unpack"]

_MOST = 2**26  # bytes of what is sent lest it be another one there: what is larger, a module reads itself
_NOTHING = object()


def pack(job: Job) -> tuple[bytes, dict[str, Dataset]]:
    """Pickle a job, with what its function uses of the user's own modules; data sets are set aside as by `parcel`.

    Raises
    ------
    ArgumentError
        The function, or a config, cannot be pickled.
    """
    things = {} if job.function is None else own_things(job.function)
    modules = frozenset(module for module, _ in things)
    told = {place: digest_alone(thing, modules) for place, thing in things.items()}
    values, theirs = _sent(things)
    content, aside = parcel(job)
    return parcel((told, values, content))[0], {**theirs, **aside}


def unpack(content: bytes, dataset: Callable[[str], Dataset]) -> Job:
    """Unpickle what `pack` made, and set in the user's modules what is another value here.

    Raises
    ------
    ArgumentError
        A function or a class of a module is another one here.
    Exception
        Whatever a module raises that cannot be imported here.
    """
    told, values, packed = open_parcel(content, dataset)
    modules = frozenset(module for module, _ in told)
    others = {place for place, digest in told.items() if _digest(_here(place), modules) != digest}
    if others:
        sent = open_parcel(values, dataset)
        for place in sorted(others):
            _put(place, sent.get(place, _NOTHING))
    job: Job = open_parcel(packed, dataset)
    return job


def _sent(things: Mapping[Place, Any]) -> tuple[bytes, dict[str, Dataset]]:
    """Pickle all that can be: together, so that what is one thing in two modules stays one."""
    few = {place: thing for place, thing in things.items() if _size(thing) <= _MOST}
    try:
        return parcel(few)
    except Exception:  # whatever a thing raises; it is told if the other process lacks it
        return parcel({place: thing for place, thing in few.items() if _can_be_sent(thing)})


def _size(thing: Any) -> int:
    """Bytes of images and the like; 0 for anything else."""
    if isinstance(thing, Dataset):
        return sum(array.nbytes for array in parts_of(thing)[0].values())
    return thing.nbytes if isinstance(thing, (np.ndarray, torch.Tensor)) else 0


def _can_be_sent(thing: Any) -> bool:
    try:
        parcel(thing)
    except Exception:
        return False
    return True


def _here(place: Place) -> Any:
    module, name = place
    return vars(importlib.import_module(module)).get(name, _NOTHING)


def _digest(thing: Any, modules: frozenset[str]) -> str:
    try:
        return "" if thing is _NOTHING else digest_alone(thing, modules)
    except ArgumentError:
        return ""  # it cannot be told, unlike the one that it is to be


def _put(place: Place, thing: Any) -> None:
    module, name = place
    if thing is _NOTHING or thing is _here(place):  # what goes by its name is what is here already
        raise ArgumentError(
            f"{name} of the module {module} is not the same in the process that is to train as in the one that called "
            "sweep: its file was changed after it was imported, or something was set in it that cannot be sent, as an "
            "attribute of a class or a large array. Start the program again, or put into the config what it sets"
        )
    setattr(importlib.import_module(module), name, thing)
