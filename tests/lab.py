"""JupyterLab in a headless browser, for tests of what a notebook shows."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
TOKEN = "a-token-of-this-test"
PATIENCE = 60.0
"""Seconds to wait for anything, on a busy machine."""
_ANSWER = "import os; os.urandom(8).hex()"


def needs() -> str | None:
    """Say what is missing to drive JupyterLab; None if nothing is."""
    for module in ("jupyterlab", "anywidget", "playwright"):
        try:
            __import__(module)
        except ImportError:
            return f"driving JupyterLab needs {module}: pip install {module}"
    if next(filter(None, map(shutil.which, BROWSERS)), None) is None:
        return "driving JupyterLab needs a browser: apt-get install chromium"
    return None


@contextmanager
def browser() -> Iterator[Any]:
    """Chromium, without a window."""
    from playwright.sync_api import sync_playwright

    found = next(filter(None, map(shutil.which, BROWSERS)))
    with sync_playwright() as playwright:
        options = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=found, args=options)
        yield browser
        browser.close()


@contextmanager
def lab(folder: Path, home: Path, *, dark: bool = False) -> Iterator[str]:
    """JupyterLab on a free port, showing a folder; gives its address. Its own files are in `home`."""
    runtime = home / "runtime"
    settings = {
        "JUPYTER_CONFIG_DIR": home / "config",
        "JUPYTER_DATA_DIR": home / "data",
        "JUPYTER_RUNTIME_DIR": runtime,
        "JUPYTERLAB_SETTINGS_DIR": home / "settings",
        "JUPYTERLAB_WORKSPACES_DIR": home / "workspaces",
        "IPYTHONDIR": home / "ipython",
    }
    options = {
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port": 0,
        "ServerApp.open_browser": False,
        "ServerApp.allow_root": True,
        "ServerApp.root_dir": folder,
        "IdentityProvider.token": TOKEN,
        "LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
    }
    news = home / "settings" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    news.parent.mkdir(parents=True)
    news.write_text('{"fetchNews": "false"}')
    theme = news.with_name("themes.jupyterlab-settings")
    theme.write_text(json.dumps({"theme": f"JupyterLab {'Dark' if dark else 'Light'}"}))
    log = home / "log.txt"
    with log.open("wb") as file:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *(f"--{name}={value}" for name, value in options.items())],
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, **{name: str(path) for name, path in settings.items()}},
        )
    try:
        yield _address(server, runtime, log)
    finally:
        server.terminate()  # it takes its kernels along
        try:
            server.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _address(server: subprocess.Popen[bytes], runtime: Path, log: Path) -> str:
    told = runtime / f"jpserver-{server.pid}.json"
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and server.poll() is None:
        try:
            return str(json.loads(told.read_text())["url"])
        except (FileNotFoundError, ValueError):  # not yet, or not to its end
            time.sleep(0.1)
    pytest.fail(f"JupyterLab did not start:\n{log.read_text()[-3000:]}")


def write_notebook(path: Path, *cells: str) -> None:
    """Write a notebook with these cells, not run, below one by which a page knows that its kernel is there."""
    made = [nbformat.v4.new_code_cell(cell.strip()) for cell in (_ANSWER, *cells)]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=made, metadata=metadata), path)


class Page:
    """A notebook in the browser.

    Parameters
    ----------
    browser
        What to show it in.
    address
        Of JupyterLab.
    name
        The notebook's file.
    """

    def __init__(self, browser: Any, address: str, name: str) -> None:
        self._address = address
        self.page = browser.new_page(viewport={"width": 1400, "height": 1000})
        self.page.set_default_timeout(1000 * PATIENCE)
        self.foreign: list[str] = []
        """What it wanted to fetch from elsewhere."""
        self.page.route(lambda url: not url.startswith((address, "data:", "blob:")), self._refuse)
        self.page.goto(f"{address}lab/tree/{name}?token={TOKEN}&reset")
        self.page.locator(".jp-Notebook .jp-Cell").first.wait_for()
        self._wait_for_kernel()

    def _wait_for_kernel(self) -> None:
        """Run the first cell until its answer comes: JupyterLab forgets what it is asked for before it is connected."""
        self._poll(self._is_connected, "the page is not connected to a kernel")
        answer = self.cell(0).locator(".jp-OutputArea-output")
        before = answer.all_inner_texts()

        def is_answered() -> bool:
            self.run(0)
            self.page.wait_for_timeout(1000)
            return answer.all_inner_texts() not in ([], before)

        self._poll(is_answered, "the kernel does not answer")

    def _is_connected(self) -> bool:
        request = urllib.request.Request(f"{self._address}api/sessions", headers={"Authorization": f"token {TOKEN}"})
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            kernels = [session["kernel"] for session in json.load(answer)]
        return any(kernel["connections"] and kernel["execution_state"] == "idle" for kernel in kernels)

    def _poll(self, is_so: Callable[[], bool], otherwise: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not is_so():
            if time.monotonic() > deadline:
                self.screenshot("failed")
                pytest.fail(otherwise)
            self.page.wait_for_timeout(100)

    def __enter__(self) -> Page:
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        if error is not None:
            self.screenshot("failed")
            print(self.page.locator(".jp-Notebook").inner_text())  # pytest shows it
        self.page.close(run_before_unload=False)

    def _refuse(self, route: Any) -> None:
        self.foreign.append(route.request.url)
        route.abort()

    def cell(self, number: int) -> Any:
        """One of its cells."""
        return self.page.locator(".jp-Notebook .jp-CodeCell").nth(number)

    def run(self, number: int) -> None:
        """Run a cell."""
        self.cell(number).locator(".jp-InputArea-editor").click()
        self.page.keyboard.press("Control+Enter")

    def save(self) -> None:
        """Save the notebook, and wait until it is."""
        self.page.keyboard.press("Control+s")
        self.page.locator(".jp-mod-dirty").wait_for(state="detached")

    def screenshot(self, name: str) -> None:
        """Keep a picture of the window in the folder that the environment variable names, for people to look at."""
        if folder := os.environ.get("EVERYBATCH_SCREENSHOTS"):
            self.page.screenshot(path=Path(folder) / f"{name}.png")
