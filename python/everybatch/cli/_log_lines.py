"""Where the lines of `--log-every` go: to stderr, as they are."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator

from everybatch._log import logger

__all__ = ["log_lines"]


@contextlib.contextmanager
def log_lines() -> Iterator[None]:
    """Show the log lines of runs on stderr meanwhile, and not as notes of the command line too."""
    handler = logging.StreamHandler(sys.stderr)
    level, propagate = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.propagate = propagate
        logger.setLevel(level)
        logger.removeHandler(handler)
