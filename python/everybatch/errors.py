"""Every exception that everybatch raises, in one place.

Each also derives from the builtin that fits, so ``except ValueError`` works as it would anywhere else. Wrong types
raise `TypeError`, missing or unreadable files the usual `OSError` family.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "ArgumentError",
    "DataError",
    "DataWarning",
    "DeviceError",
    "DownloadError",
    "EverybatchError",
    "FileFormatError",
    "InternalError",
    "LogitsWarning",
    "SelectionWarning",
    "ShapeError",
    "StopTraining",
    "UnsupportedModuleError",
]


class EverybatchError(Exception):
    """Base class of everything below, to catch them all."""


class ArgumentError(EverybatchError, ValueError):
    """An argument has a value that cannot work: unknown name, out of range, or at odds with another one."""


class UnsupportedModuleError(ArgumentError):
    """A PyTorch module computes something that the layers of everybatch cannot express. The message names the place."""


class ShapeError(EverybatchError, ValueError):
    """A layer, a weight or an image has a shape that does not fit. The message names the layer and both shapes."""


class DataError(EverybatchError, ValueError):
    """The data set itself is wrong: empty, labels out of range, NaN pixels, images and labels of unequal number."""


class FileFormatError(EverybatchError, ValueError):
    """A file is not what it should be: wrong magic number, truncated, too large, or a different format."""


class DeviceError(EverybatchError, RuntimeError):
    """The device is not there, or it cannot do what was asked (for example bfloat16 on a CPU without it)."""


class DownloadError(EverybatchError, OSError):
    """No mirror could deliver a file that matches its checksum."""


class InternalError(EverybatchError, RuntimeError):
    """libtorch failed, or everybatch has a bug: the message holds what is needed to report it."""


class DataWarning(UserWarning):
    """Files were read, but not all of them, or there is reason to look at them again. The message says which."""


class LogitsWarning(UserWarning):
    """A network ends in an activation that bounds its logits: its loss stays high, or some classes stop learning."""


class SelectionWarning(UserWarning):
    """Weights, length or learning rate of a run are chosen by its test images: their accuracy then flatters."""


class StopTraining(Exception):  # noqa: N818 - a signal, like StopIteration, not an error
    """Raise this in a callback to end the run after the current step; `train` returns what was recorded so far."""


def suggest(name: str, choices: Iterable[str]) -> str:
    """Return ``" Did you mean 'adam'?"`` for a near miss, or an empty string."""
    near = difflib.get_close_matches(name.lower(), list(choices), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""
