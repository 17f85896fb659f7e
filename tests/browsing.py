"""A browser without a window, for tests that look at pages; where there is none they are skipped."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

__all__ = ["BROWSERS", "browser"]

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def browser() -> Iterator[Any]:
    """Chromium; skips the test where it or playwright is missing."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="looking at pages needs playwright: pip install it")
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("looking at pages needs a browser: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        options = ["--no-sandbox"] if os.geteuid() == 0 else []
        started = playwright.chromium.launch(executable_path=found, args=options)
        yield started
        started.close()
