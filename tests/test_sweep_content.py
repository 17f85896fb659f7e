"""By what the trials of a function are known: all that decides its numbers, and nothing that changes by process.

What is expected comes from Python itself: two functions that return different values are different functions, and the
same script is the same function, whatever the seed of its hashes.
"""

from __future__ import annotations

import functools
import importlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import everybatch as eb
from everybatch.errors import ArgumentError
from everybatch.sweeps._content import content_of
from sweeping import swept

SCALE = 3.0


def scaled(x: float) -> float:
    return SCALE * x


def through_helper(x: float) -> float:
    return scaled(x) + 1


def closure(a: Any) -> Callable[[float], Any]:
    return lambda x: x + a


def with_default(a: Any) -> Callable[..., Any]:
    def function(x: float, a: Any = a) -> Any:
        return x + a

    return function


def with_keyword(a: Any) -> Callable[..., Any]:
    def function(x: float, *, a: Any = a) -> Any:
        return x + a

    return function


def add(a: Any, x: float, b: Any = 0) -> Any:
    return x + a + b


@dataclass
class Adder:
    a: Any
    more: list[Any] = field(default_factory=list)

    def __call__(self, x: float) -> Any:
        return x + self.a

    def method(self, x: float) -> Any:
        return self(x)


def recursive(a: Any) -> Callable[[float], Any]:
    def function(x: float) -> Any:
        return a if x <= 0 else function(x - 1)

    return function


def decorated(a: Any) -> Callable[[float], Any]:
    @functools.lru_cache
    @torch.no_grad()
    @functools.wraps(scaled)
    def function(x: float) -> Any:
        return x + a

    return function


def of_a_class(a: Any) -> Callable[[float], Any]:
    class Local:
        value = a

        @staticmethod
        def static() -> Any:
            return a

        @property
        def both(self) -> Any:
            return self.value + self.static()

    return lambda x: Local().both + x


def nested(a: Any) -> Callable[[float], Any]:
    inner = functools.partial(Adder(a).method)
    return lambda x: next(each(x) for each in (inner,))


def of_a_list(a: Any) -> Callable[[float], Any]:
    held: dict[str, Any] = {"values": [a, {"deep": (a, {a})}]}
    return lambda x: held["values"][0] + x


MAKERS: dict[str, Callable[[Any], Callable[..., Any]]] = {
    "closure": closure,
    "default": with_default,
    "keyword": with_keyword,
    "partial": lambda a: functools.partial(add, a),
    "partial by keyword": lambda a: functools.partial(add, 1, b=a),
    "object": Adder,
    "bound method": lambda a: Adder(a).method,
    "recursive": recursive,
    "decorated": decorated,
    "class": of_a_class,
    "nested": nested,
    "containers": of_a_list,
    "namespace": lambda a: closure(SimpleNamespace(a=a).a),
}


@pytest.mark.parametrize("name", MAKERS)
def test_two_functions_are_one_if_they_hold_the_same(name: str) -> None:
    make = MAKERS[name]
    values = [0, 1, 2, -1, 1.0, 2.5, 2**80]
    keys = [content_of(make(value)) for value in values]
    assert len(set(keys)) == len(values)
    assert keys == [content_of(make(value)) for value in values]
    used = make(1)
    before = content_of(used)
    used(2.0)
    assert content_of(used) == before


@pytest.mark.parametrize(
    "values",
    [
        (np.arange(3), np.arange(4), np.arange(3.0), np.array([0, 1, 3]), np.float32(1)),
        (torch.zeros(2), torch.ones(2), torch.zeros(1, 2), torch.zeros(2, dtype=torch.bfloat16)),
        (torch.nn.Linear(1, 1, bias=False), torch.nn.Linear(1, 2, bias=False), torch.nn.ReLU()),
        (eb.networks.lenet5(), eb.networks.lenet5(dropout=0.5), eb.networks.resnet()),
        (eb.schedules.cosine(), eb.schedules.cosine(min_lr=1e-5), eb.Augment(shift=1), eb.Augment(shift=2)),
        ("a", b"a", ("a",), ["a"], {"a"}, frozenset("a"), {"a": None}, "", None, "\ud800"),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": 1}, {"a": 2, "b": 1}),  # a function may go through them in order
        (0.0, -0.0, float("nan"), float("inf"), 0, False, 0j),
        (Path("a"), Path("b"), Enum("A", "x y"), Enum("A", "x z"), int, float),
        (len, np.sin, np.cos, torch.relu, torch.sigmoid, [].append, [1].append, str.upper, str.lower),
        (range(3), range(4), slice(3), slice(4), Ellipsis, NotImplemented),
    ],
    ids=lambda values: type(values[0]).__name__,
)
def test_values_are_told_apart(values: tuple[Any, ...]) -> None:
    keys = [content_of(closure(value)) for value in values]
    assert len(set(keys)) == len(keys)
    assert keys == [content_of(closure(value)) for value in values]


def test_helpers_and_constants_of_the_same_file_count(monkeypatch: pytest.MonkeyPatch) -> None:
    before = content_of(through_helper)
    monkeypatch.setitem(globals(), "SCALE", 4.0)
    other = content_of(through_helper)
    monkeypatch.setitem(globals(), "SCALE", 3.0)
    assert content_of(through_helper) == before != other
    monkeypatch.setitem(globals(), "scaled", lambda x: x - 1)
    assert content_of(through_helper) not in (before, other)


@pytest.mark.parametrize(
    "use",
    [
        "import helpers\ndef f(x):\n    return helpers.make(x)",
        "from helpers import make\ndef f(x):\n    return make(x)",
        "def f(x):\n    import helpers\n    return helpers.make(x)",
        "def f(x):\n    from helpers import make\n    return make(x)",
        "import helpers\ndef f(x):\n    return getattr(helpers, 'ma' + 'ke')(x)",
        "def outer():\n    import helpers\n    return lambda x: helpers.make(x)\nf = outer()",
        "import helpers\ndef g(m, x):\n    return m.make(x)\ndef f(x):\n    return g(helpers, x)",
        "def f(x):\n    import helpers as h\n    return (lambda m: m.make(x))(h)",
        "import helpers\ndef f(x):\n    return helpers.__dict__['make'](x)",
        "import helpers\nclass A:\n    def __call__(self, x):\n        return helpers.make(x)\nf = A()",
    ],
)
def test_modules_of_ones_own_count(use: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    keys, results = [], []
    for width, other in ((1, 1), (2, 1), (1, 1), (1, 2)):
        (tmp_path / "deeper.py").write_text(f"WIDTH = {width}\nUNUSED = {other}\n")
        (tmp_path / "helpers.py").write_text("import deeper\ndef make(x):\n    return x * deeper.WIDTH\n")
        for name in ("helpers", "deeper"):
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
        there: dict[str, Any] = {"__name__": "__main__"}
        exec(use, there)
        keys.append(content_of(there["f"]))
        results.append(there["f"](1))
    for name in ("helpers", "deeper"):
        sys.modules.pop(name, None)
    assert results == [1, 2, 1, 1]
    assert keys[0] == keys[2] != keys[1]
    anything = ("getattr", "(h", "__dict__")  # which may mean any of a module's attributes
    assert (keys[3] == keys[0]) == (not any(word in use for word in anything))


@pytest.mark.parametrize(
    "use",
    ["globals()['rate'](x)", "globals()[''.join(('ra', 'te'))](x)", "eval('rate(x)')", "eval('x * FACTOR + rate(x)')"],
)
def test_names_in_texts_count(use: str) -> None:
    keys, results = [], []
    for factor in (1, 2, 1):
        there: dict[str, Any] = {"__name__": "__main__"}
        exec(f"FACTOR = {factor}\ndef rate(x):\n    return x * {factor}\ndef f(x):\n    return {use}", there)
        keys.append(content_of(there["f"]))
        results.append(there["f"](1))
    assert results[0] == results[2] != results[1]
    assert keys[0] == keys[2] != keys[1]


def test_data_sets_that_differ_in_a_name_are_told_apart(glyphs: eb.Dataset) -> None:
    """A function may take the name of a class, such as in ``class_weight``, and the run has all of them."""
    arrays = (glyphs.train_images, glyphs.train_labels, glyphs.test_images, glyphs.test_labels)
    named = [f"c{number}" for number in range(10)]
    given: list[dict[str, Any]] = [{"classes": named}, {"classes": named[::-1]}, {}, {"name": "n"}, {"source": "s"}]
    keys = [content_of(closure(eb.Dataset(*arrays, **each))) for each in given]
    assert len(set(keys)) == len(given)
    assert keys == [content_of(closure(eb.Dataset(*arrays, **each))) for each in given]


def test_models_with_the_same_weights_are_told_apart(tiny: eb.Network) -> None:
    def model(mean: float, std: float, classes: list[str] | None = None, background: int | None = None) -> eb.Model:
        made = tiny.initialize(0, mean=[mean], std=[std])
        made.classes, made.background = classes, background
        return made

    names = list("abcdefghij")
    given: list[tuple[Any, ...]] = [(0.1, 0.3), (0.6, 0.3), (0.1, 0.9), (0.1, 0.3, names), (0.1, 0.3, names[::-1])]
    given += [(0.1, 0.3, names, 0), (0.1, 0.3, names, 255)]
    keys = [content_of(closure(model(*each))) for each in given]
    assert len(set(keys)) == len(given)
    assert keys == [content_of(closure(model(*each))) for each in given]


def test_generators_are_told_apart_by_their_state() -> None:
    for make in (np.random.default_rng, np.random.RandomState, np.random.SeedSequence, np.random.PCG64):
        kept: Any = make
        keys = [content_of(closure(kept(seed))) for seed in (0, 1, 0)]
        assert keys[0] == keys[2] != keys[1]
    used = np.random.default_rng(0)
    used.normal()
    assert content_of(closure(used)) != content_of(closure(np.random.default_rng(0)))


def test_tables_are_told_apart_by_their_contents() -> None:
    pandas = pytest.importorskip("pandas")

    def made(**changed: Any) -> Any:
        return pandas.DataFrame(
            {"lr": [1e-3, 3e-3], "name": ["a", "b"], "when": pandas.to_datetime(["2020", "2021"])} | changed
        )

    tables = [made(), made(lr=[1e-3, 2e-3]), made(name=["a", "c"]), made(more=[1, 2]), made().set_index("name")]
    tables += [made()["lr"], made().rename(columns={"lr": "rate"})]
    keys = [content_of(closure(each)) for each in tables]
    assert len(set(keys)) == len(tables)
    again = made()
    assert again.loc[0, "lr"] == 1e-3
    assert content_of(closure(again)) == content_of(closure(made())) == keys[0]


def test_a_ufunc_that_numpy_does_not_have_is_refused() -> None:
    assert content_of(closure(np.sin)) != content_of(closure(np.cos))
    with pytest.raises(ArgumentError, match=r"a numpy\.ufunc, which cannot be told from another one"):
        content_of(closure(np.frompyfunc(lambda x: 2 * x, 1, 1)))


def test_what_does_not_change_a_function_does_not_count() -> None:
    def from_text(text: str) -> Callable[..., Any]:
        there: dict[str, Any] = {"__name__": "__main__"}
        exec(text, there)
        made: Callable[..., Any] = there["f"]
        return made

    plain = content_of(from_text("def g(x): return x\ndef f(x): return g(x)"))
    assert content_of(from_text("# more\n\n\ndef g(x): return x\ndef f(x): # it\n    return g(x)")) == plain
    assert content_of(from_text("def g(x): return x\ndef f(x): return g(x)\ndef h(x): return 3")) == plain
    assert content_of(from_text("def g(x): return -x\ndef f(x): return g(x)")) != plain


class Shared:
    def __init__(self) -> None:
        self.lock, self.event = threading.Lock(), threading.Event()
        self.itself = self

    @functools.cached_property
    def slow(self) -> int:
        return 3

    def __call__(self, x: float) -> float:
        return x + self.slow


def test_locks_circles_and_what_is_remembered_do_no_harm() -> None:
    shared = Shared()
    key = content_of(shared)
    assert shared(1) == 4
    assert content_of(shared) == key == content_of(Shared())


@pytest.mark.parametrize("kind", ["file", "generator", "iterator", "socket"])
def test_what_cannot_be_told_apart_is_refused_by_name(kind: str, tmp_path: Path, glyphs: eb.Dataset) -> None:
    with (tmp_path / "file").open("w") as file, socket.socket() as connection:
        source: Any = {"file": file, "generator": (x for x in "ab"), "iterator": iter([1]), "socket": connection}[kind]

        def train_one(config: dict[str, Any]) -> Any:
            return source

        with pytest.raises(ArgumentError, match=r"refers to source of train_one, a .*cannot be told from another one"):
            swept({"x": [1]}, tmp_path / "s", train_one)  # type: ignore[arg-type] # a function comes first
    assert not (tmp_path / "s").exists()


def test_deep_nesting_is_refused() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ArgumentError, match="nested too deeply: a of "):
        content_of(closure(deep))
    while deep:  # Python takes lists apart one within the other
        deep = deep.pop()


SCRIPT = """
import enum, functools, dataclasses, sys
import everybatch as eb
from everybatch.sweeps._content import content_of

NAMES = {"alpha", "beta", "gamma", "delta"}

class Kind(enum.Enum):
    ONE = "one"
    TWO = "two"

@dataclasses.dataclass(frozen=True)
class Plan:
    names: frozenset
    kind: Kind = Kind.ONE
    def run(self, x):
        return x in self.names and x in {"a", "b", "c", "d"}

data = eb.datasets.glyphs(train=20, test=10)

def helper(x, plan=Plan(frozenset(NAMES))):
    return plan.run(x) or x in NAMES or data

def train_one(config, more=object):
    class Inner:
        def __init__(self):
            self.b = self.a = self.c = 1
    return helper(config), [each for each in NAMES], Inner

print(content_of(functools.partial(train_one, more=[Kind.TWO, eb.networks.lenet5, {1: NAMES}])))
"""


def test_the_same_script_is_the_same_function_in_every_process(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "other.py").write_text(SCRIPT.replace('"delta"', '"epsilon"'))
    running = [
        subprocess.Popen(
            [sys.executable, tmp_path / name],
            env={**os.environ, "PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
            text=True,
        )
        for name, seed in (("script.py", "1"), ("script.py", "2"), ("other.py", "1"))
    ]
    one, two, other = (process.communicate(timeout=600)[0] for process in running)
    assert one
    assert one == two != other


NOTEBOOK = """
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()

def cell(text):
    shell.run_cell(text).raise_error()

helper = "def rate(x):\\n    return x * {factor}"
setup = '''
import everybatch as eb
data = eb.datasets.glyphs(train=40, test=20)
def train_one(config):
    return eb.train(eb.networks.lenet5(), data, steps=1, batch_size=20, lr=rate(1e-3), progress=False, device="cpu")
'''
go = '''
made = eb.sweep(train_one, {"x": [1]}, backend="serial", store="s", progress=False)
print(made.runs.trials[0], float(made.runs[0].test_loss[-1]), made.runs[0].config["started"])
'''
cell(helper.format(factor=1))
cell(setup)
cell(go)
cell(helper.format(factor=5))
cell(go)
cell(helper.format(factor=1))
cell(setup)
cell(go)
"""


def test_a_cell_that_is_edited_and_run_again_is_another_function(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    done = subprocess.run([sys.executable, "-c", NOTEBOOK], cwd=tmp_path, capture_output=True, text=True, timeout=600)
    first, edited, again = done.stdout.splitlines()[-3:]
    assert first == again, done.stderr
    assert edited.split()[0] != first.split()[0]
    assert edited.split()[1] != first.split()[1]  # a learning rate five times as large gives other weights


def test_a_sweep_over_a_changed_function_trains_again(glyphs: eb.Dataset, tmp_path: Path) -> None:
    def made(lr: float) -> list[float]:
        def train_one(config: dict[str, Any]) -> eb.Run:
            return eb.train(eb.networks.lenet5(), glyphs, steps=1, lr=lr, progress=False, device="cpu")

        return list(swept({"x": [0]}, tmp_path / "s", train_one).runs[0].test_loss)  # type: ignore[arg-type]

    low, high = made(1e-3), made(1e-2)
    assert low != high  # as eb.train gives it
    assert made(1e-3) == low
    assert len(list((tmp_path / "s" / "trials").iterdir())) == 2


def test_a_function_that_changes_what_it_holds_is_warned_of(glyphs: eb.Dataset, tmp_path: Path) -> None:
    seen: list[int] = []

    def train_one(config: dict[str, Any]) -> eb.Run:
        seen.append(config["x"])
        return eb.train(eb.networks.lenet5(), glyphs, steps=1, progress=False, device="cpu")

    with pytest.warns(RuntimeWarning, match="changed something that it refers to") as caught:
        swept({"x": [0]}, tmp_path / "s", train_one)  # type: ignore[arg-type]
    assert [Path(each.filename).name for each in caught] == ["sweeping.py"]
