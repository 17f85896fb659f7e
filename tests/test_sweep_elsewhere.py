"""The user's own modules in other processes: as they are in the one that calls sweep, or the sweep is refused.

What is expected comes from Python: what a function returns in this process.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

import everybatch as eb
from everybatch.errors import ArgumentError
from everybatch.sweeps import _elsewhere
from everybatch.sweeps._elsewhere import pack, unpack
from sweeping import job_of

SETTINGS = """
HIDDEN = 8
SHARED = {"lr": 1}
NONE = None
LOCK = __import__("threading").Lock()


class Size:
    hidden = 8


def choose(hidden):
    global HIDDEN
    HIDDEN = hidden


def given():
    return HIDDEN
"""
TASKS = """
import settings
from settings import SHARED


def task(config):
    return [settings.HIDDEN, settings.given(), SHARED["lr"], settings.SHARED is SHARED, settings.NONE]


def chosen(config):
    settings.choose(config["hidden"])
    return settings.HIDDEN


def sized(config):
    with settings.LOCK:
        return settings.Size.hidden
"""


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[ModuleType, ModuleType]]:
    """The modules `settings` and `tasks` of a user."""
    (tmp_path / "settings.py").write_text(SETTINGS)
    (tmp_path / "tasks.py").write_text(TASKS)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield importlib.import_module("settings"), importlib.import_module("tasks")
    for name in ("settings", "tasks"):
        sys.modules.pop(name, None)


DATASETS: dict[str, eb.Dataset] = {}
"""Set aside by all that is packed here."""


def packed(function: Callable[..., Any]) -> bytes:
    content, datasets = pack(job_of(function=function))
    DATASETS.update(datasets)
    return content


def opened_anew(content: bytes, config: dict[str, Any]) -> Any:
    """What the function gives where its modules are imported anew."""
    had = {name: sys.modules.pop(name) for name in ("settings", "tasks")}
    try:
        function: Any = unpack(content, DATASETS.__getitem__).function
        return function(config)
    finally:
        sys.modules.update(had)


def test_what_a_script_has_set_in_a_module_is_set_there(modules: tuple[Any, Any]) -> None:
    settings, tasks = modules
    settings.HIDDEN, settings.NONE = 32, 5
    settings.SHARED["lr"] = 2
    assert tasks.task({}) == [32, 32, 2, True, 5]
    assert opened_anew(packed(tasks.task), {}) == [32, 32, 2, True, 5]
    settings.NONE = None
    assert opened_anew(packed(lambda _: [settings.HIDDEN, settings.NONE]), {}) == [32, None]


def test_a_module_stays_one_for_functions_that_set_something_in_it(modules: tuple[Any, Any]) -> None:
    _, tasks = modules
    content = packed(tasks.chosen)
    assert opened_anew(content, {"hidden": 7}) == 7 == tasks.chosen({"hidden": 7})


def test_another_file_is_refused(modules: tuple[Any, Any], tmp_path: Path) -> None:
    settings, tasks = modules
    content = packed(tasks.task)
    (tmp_path / "settings.py").write_text(SETTINGS.replace("return HIDDEN", "return HIDDEN + 1000"))
    with pytest.raises(ArgumentError, match="given of the module settings is not the same"):
        opened_anew(content, {})
    assert settings.given() == 8


def test_what_is_set_in_a_class_is_refused(modules: tuple[Any, Any]) -> None:
    settings, tasks = modules
    assert opened_anew(packed(tasks.sized), {}) == 8
    settings.Size.hidden = 32
    with pytest.raises(ArgumentError, match="Size of the module settings is not the same"):
        opened_anew(packed(tasks.sized), {})


def test_what_is_large_is_not_sent(modules: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    settings, _ = modules
    for thing, size in ((np.zeros(10), 80), (torch.zeros(10), 40), (eb.datasets.glyphs(train=10, test=10), 15840)):
        settings.NONE = thing  # uint8 images of 28 by 28, and int64 labels
        content = packed(lambda _: type(settings.NONE))
        assert opened_anew(content, {}) is type(thing)
        with monkeypatch.context() as patch:
            patch.setattr(_elsewhere, "_MOST", size - 1)
            content = packed(lambda _: type(settings.NONE))
        with pytest.raises(ArgumentError, match="NONE of the module settings is not the same"):
            opened_anew(content, {})


def test_a_module_sent_whole_is_not_imported(modules: tuple[Any, Any], tmp_path: Path) -> None:
    cloudpickle = pytest.importorskip("cloudpickle")
    settings, _ = modules
    del settings.LOCK  # which no module that is sent whole may hold
    settings.HIDDEN = 32
    cloudpickle.register_pickle_by_value(settings)
    try:
        content = packed(lambda _: settings.HIDDEN)
    finally:
        cloudpickle.unregister_pickle_by_value(settings)
    (tmp_path / "settings.py").unlink()
    assert opened_anew(content, {}) == 32


def test_workers_take_what_the_script_has_set(tmp_path: Path) -> None:
    """One process for this, and for where its worker finds modules: not in the current folder, unless it is one."""
    (tmp_path / "here").mkdir()
    (tmp_path / "script").mkdir()
    (tmp_path / "here" / "random.py").write_text("raise RuntimeError('of the current folder')\n")
    (tmp_path / "script" / "settings.py").write_text(SETTINGS)
    (tmp_path / "lost.py").write_text("def lost(config):\n    return 1\n")
    (tmp_path / "script" / "main.py").write_text(f"""
import importlib.util, json, sys
import everybatch as eb
import settings

settings.HIDDEN = 32
data = eb.datasets.glyphs(train=64, test=20)

def train_one(config):
    network = eb.Network([eb.Flatten(), eb.Linear(784, settings.given()), eb.Linear(settings.HIDDEN, 10)],
                         input_shape=(1, 28, 28))
    return eb.train(network, data, steps=1, progress=False)

one = eb.sweeps.processes(workers=1)
made = eb.sweep(train_one, {{"x": [0]}}, backend=one, store="memory://s", progress=False)
spec = importlib.util.spec_from_file_location("lost", {str(tmp_path / "lost.py")!r})
sys.modules["lost"] = lost = importlib.util.module_from_spec(spec)
spec.loader.exec_module(lost)
try:
    eb.sweep(lost.lost, {{"x": [0]}}, backend=one, store="memory://s", progress=False)
except ImportError as error:
    print(json.dumps([made.trials[0].row.get("parameters"), str(error)]))
""")
    done = subprocess.run(
        [sys.executable, tmp_path / "script" / "main.py"],
        cwd=tmp_path / "here",
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    parameters, message = json.loads(done.stdout)
    assert parameters == 784 * 32 + 32 + 32 * 10 + 10
    assert "cannot be opened in a worker process (ModuleNotFoundError: No module named 'lost')" in message
