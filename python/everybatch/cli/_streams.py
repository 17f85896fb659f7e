"""Printing to whatever a command was given: a terminal of ASCII alone, a pipe that nobody reads any more, nothing."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["forget", "printable_streams"]


@contextlib.contextmanager
def printable_streams() -> Iterator[None]:
    """Write what stdout or stderr cannot encode as its escape, and what they are too closed for to nowhere."""
    with contextlib.ExitStack() as stack:
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if stream is None:  # closed before Python began, as by >&-
                nowhere = stack.enter_context(Path(os.devnull).open("w", encoding="utf-8"))
                setattr(sys, name, nowhere)
                stack.callback(setattr, sys, name, None)
            elif isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
                stream.reconfigure(errors="backslashreplace")
                stack.callback(_again_strict, stream)
        yield


def _again_strict(stream: io.TextIOWrapper) -> None:
    with contextlib.suppress(OSError, ValueError):  # it flushes, and may be closed
        stream.reconfigure(errors="strict")


def forget() -> None:
    """Send what can no longer be written to nowhere, or Python would complain when it flushes at its end."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except ValueError:
            pass  # closed
        except OSError:
            with contextlib.suppress(OSError, ValueError), Path(os.devnull).open("wb") as nowhere:
                os.dup2(nowhere.fileno(), stream.fileno())  # not in a notebook, where it is no file
