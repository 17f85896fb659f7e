"""Nothing that a program can set in torch reaches a run, and afterwards all is as the program left it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import everybatch as eb
from test_train import assert_identical
from threads import PATIENCE, in_threads

# What is set, in a process of its own, for a mode that reaches the core unnoticed can end the process. Each case is a
# context manager; a run without any gives what is expected.
CASES = """
import contextlib, faulthandler, itertools, warnings
import numpy as np
import torch
import everybatch as eb
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

faulthandler.enable()
warnings.simplefilter("error")

class Dispatch(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        return result * 1.01 if isinstance(result, torch.Tensor) and result.is_floating_point() else result

class Function(TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):
        raise RuntimeError("a torch function was called")

@contextlib.contextmanager
def setting(get, put, value):
    before = get()
    put(value)
    try:
        yield
        assert get() == value, (get(), value)
    finally:
        put(before)

def attribute(where, name, value):
    return setting(lambda: getattr(where, name), lambda given: setattr(where, name, given), value)

def dtype(value):
    return setting(torch.get_default_dtype, torch.set_default_dtype, value)

def precision(value):
    return setting(torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, value)

def key(value):
    has = torch._C._dispatch_tls_is_dispatch_key_included
    put = torch._C._dispatch_tls_set_dispatch_key_included
    return setting(lambda: has(value), lambda given: put(value, given), True)

@contextlib.contextmanager
def flushing():
    torch.set_flush_denormal(True)
    try:
        yield
        assert torch.tensor([1e-39]).mul(1.0).item() == 0.0
    finally:
        torch.set_flush_denormal(False)

mkldnn = torch.backends.mkldnn
hooks = torch.autograd.graph.saved_tensors_hooks
on, off = torch.set_grad_enabled, lambda: torch.set_grad_enabled(False)

CASES = {
    "grad mode": off,
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "autocast of cuda": lambda: setting(
        lambda: torch.is_autocast_enabled("cuda"), lambda given: torch.set_autocast_enabled("cuda", given), True
    ),
    "float64": lambda: dtype(torch.float64),
    "bfloat16": lambda: dtype(torch.bfloat16),
    "meta": lambda: torch.device("meta"),
    "anomalies": lambda: torch.autograd.set_detect_anomaly(True),
    "deterministic": lambda: setting(
        torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms, True
    ),
    "dispatch mode": Dispatch,
    "fake tensors": FakeTensorMode,
    "function mode": Function,
    "saved tensors": lambda: hooks(lambda tensor: tensor, lambda tensor: tensor * 2),
    "saved on cpu": torch.autograd.graph.save_on_cpu,
    "forward gradients": torch.autograd.forward_ad.dual_level,
    "below autograd": torch._C._AutoDispatchBelowAutograd,
    "functionalised": lambda: key(torch._C.DispatchKey.Functionalize),
    "oneDNN": lambda: setting(torch._C._get_mkldnn_enabled, torch._C._set_mkldnn_enabled, False),
    "medium": lambda: precision("medium"),
    "high": lambda: precision("high"),
    "bfloat16 products": lambda: attribute(mkldnn.matmul, "fp32_precision", "bf16"),
    "bfloat16 convolutions": lambda: attribute(mkldnn.conv, "fp32_precision", "bf16"),
    "bfloat16 everywhere": lambda: attribute(mkldnn, "fp32_precision", "bf16"),
    "flushing": flushing,
}
THREADS = {"threads": lambda: setting(torch.get_num_threads, torch.set_num_threads, 1 + torch.get_num_threads())}

def called_in(transform):
    def call(work):
        results = []
        def function(x):
            results.append(work())
            return (x * 1).sum()
        transform(function)
        return results[0]
    return call

ones = torch.ones(2)
CALLS = {
    "vmap": called_in(lambda function: torch.func.vmap(function)(torch.ones(2, 2))),
    "grad": called_in(lambda function: torch.func.grad(function)(ones)),
    "functionalize": called_in(lambda function: torch.func.functionalize(function)(ones)),
}

DATA = eb.datasets.glyphs(train=96, test=40)
BLOCK = [eb.Conv2d(4, 4, 3, padding=1), eb.BatchNorm2d(4)]
NETWORK = eb.Network([
    eb.Conv2d(1, 4, 5, stride=2, bias=False), eb.BatchNorm2d(4), eb.Activation("gelu"), eb.MaxPool2d(2),
    eb.Residual(BLOCK, activation="relu"), eb.Dropout2d(0.1), eb.AvgPool2d(2), eb.Flatten(),
    eb.Linear(36, 20), eb.Activation("leaky_relu"), eb.Dropout(0.3), eb.Linear(20, 10),
])
AUGMENT = eb.Augment(shift=1, rotate=5, elastic=1.0, erase=0.5)

def train(kernels, callbacks=()):
    return eb.train(
        NETWORK, DATA, steps=4, batch_size=32, augment=AUGMENT, ema=0.9, kernels=kernels, device="cpu", progress=False,
        callbacks=callbacks,
    )

def measured(run):
    return [run.train_loss, run.test_loss, run.confusion]

def same(found, expected):
    return all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True))
"""

BEFORE = """
def work(kernels):
    # What else computes: fresh weights, probabilities, measuring.
    run = train(kernels)
    evaluation = run.model.evaluate(DATA)
    probabilities = run.model.predict_proba(DATA.test_images), run.model.copy().logits(DATA.test_images)
    fresh = NETWORK.initialize(3).logits(DATA.test_images)
    return [*measured(run), evaluation.loss, evaluation.confusion, *probabilities, fresh]

for kernels in ("exact", "fused"):
    expected = work(kernels)
    for name, case in CASES.items():
        print(kernels, name, flush=True)
        with case():
            found = work(kernels)
        assert same(found, expected), name
    for name, call in CALLS.items():
        print(kernels, name, flush=True)
        assert same(call(lambda: work(kernels)), expected), name

def find():
    found = eb.find_lr(NETWORK, DATA, steps=20, batch_size=32, device="cpu")
    return found.lr, found.loss, found.smooth_loss

expected = find()
for name in ("inference_mode", "autocast", "dispatch mode", "medium"):
    with CASES[name]():
        found = find()
    assert same(found, expected), name
"""

WITHIN = """
# Set by a callback and left on, it holds for the next callback and for the program, and not for the run.
EXPECTED = {kernels: measured(train(kernels)) for kernels in ("exact", "fused")}
for (name, case), kernels in itertools.product((CASES | THREADS).items(), EXPECTED):
    print(kernels, name, flush=True)
    entered = contextlib.ExitStack()
    def callback(step):
        if step.step == 1:
            entered.enter_context(case())
        if step.step == 2 and name == "no_grad":
            assert not torch.is_grad_enabled()
        if step.step == 3:
            assert len(step.model().logits(DATA.test_images)) == 40
    run = train(kernels, callback)
    assert name != "no_grad" or not torch.is_grad_enabled()
    entered.close()
    assert same(measured(run), EXPECTED[kernels]), name
assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()

# Entered by one callback and left by another.
def in_and_out(step, entered=contextlib.ExitStack()):
    if step.step == 1:
        for name in ("no_grad", "inference_mode", "autocast", "dispatch mode"):
            entered.enter_context(CASES[name]())
    if step.step == 3:
        entered.close()
assert same(measured(train("exact", in_and_out)), EXPECTED["exact"])
assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
"""

DIVERGING = """
# Anomaly detection would make an error of what is a run that diverged.
with torch.autograd.set_detect_anomaly(True), warnings.catch_warnings():
    warnings.simplefilter("ignore")
    run = eb.train(NETWORK, DATA, optimizer="sgd", lr=1e30, steps=9, device="cpu", progress=False)
    assert run.state == "diverged", run.state
"""


def run_in_a_process(code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CASES + code],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    last = done.stdout.splitlines()[-1:]
    assert done.returncode == 0, f"the last case was {last}, and it ended with {done.returncode}: {done.stderr[-3000:]}"


def test_what_is_set_before_changes_nothing() -> None:
    run_in_a_process(BEFORE)


def test_what_a_callback_leaves_set_changes_nothing() -> None:
    run_in_a_process(WITHIN + DIVERGING)


# ---- threads -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernels", ["exact", "fused"])
def test_threads_at_a_time_give_what_they_give_one_after_the_other(glyphs: eb.Dataset, kernels: str) -> None:
    def run(seed: int) -> eb.Run:
        return eb.train(
            eb.networks.lenet5(dropout=0.5),
            glyphs,
            steps=8,
            batch_size=32,
            seed=seed,
            kernels=kernels,
            record="predictions",
            device="cpu",
            progress=False,
        )

    before, threads = torch.get_rng_state(), torch.get_num_threads()
    alone = [run(seed) for seed in range(4)]
    together = in_threads([lambda seed=seed: run(seed) for seed in range(4)])  # type: ignore[misc]
    for one, other in zip(alone, together, strict=True):
        assert_identical(one, other)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads
    assert in_threads([torch.get_num_threads]) == [threads]


def test_each_thread_computes_with_its_own_number_of_threads(glyphs: eb.Dataset) -> None:
    # torch itself keeps a number for each thread, and one that new threads begin with.
    had = torch.get_num_threads()

    def run(number: int) -> tuple[int, int, int]:
        torch.get_num_threads()  # or what was set last, in any thread, is taken over at the first operation
        torch.set_num_threads(number)
        seen: list[int] = []
        network = eb.networks.lenet5()
        run = eb.train(
            network,
            glyphs,
            steps=3,
            device="cpu",
            progress=False,
            callbacks=lambda _: seen.append(torch.get_num_threads()),
        )
        return seen[-1], torch.get_num_threads(), int(run.config["hardware"]["threads"])

    try:
        assert in_threads([lambda: run(1), lambda: run(2), lambda: run(3)]) == [(1, 1, 1), (2, 2, 2), (3, 3, 3)]
        assert torch.get_num_threads() == had
    finally:
        torch.set_num_threads(had)


def test_dropout_is_a_function_of_seed_and_step(glyphs: eb.Dataset) -> None:
    # All else is equal from step to step.
    network = eb.Network([eb.Flatten(), eb.Dropout(0.5), eb.Linear(784, 10)])
    fixed: dict[str, Any] = {"optimizer": "sgd", "lr": 0.0, "steps": 6, "shuffle": False, "device": "cpu"}
    losses = [
        eb.train(network, glyphs, batch_size=130, progress=False, seed=seed, **fixed).train_loss for seed in (0, 0)
    ]
    assert np.array_equal(*losses)
    assert len(set(losses[0].tolist())) == 6


# ---- processes -----------------------------------------------------------------------------------

# GNU's OpenMP waits for ever for threads that were not forked with the process; PyTorch's own operators do.
FORKING = """
import os, sys, threading, time
import numpy as np
import torch
import everybatch as eb

data = eb.datasets.glyphs(train=130, test=60, seed=3)
torch.set_num_threads(2)

def results():
    run = eb.train(eb.networks.lenet5(), data, steps=3, batch_size=32, device="cpu", progress=False, kernels=KERNELS)
    return np.concatenate([run.train_loss, run.test_loss, run.model.predict_proba(data.test_images).ravel()])

def as_here(_=None):
    np.testing.assert_allclose(results(), expected, atol=1e-4)

def forked(work):
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert torch.get_num_threads() == 2

for KERNELS in ("exact", "fused"):
    expected = results()
    forked(as_here)
    forked(lambda: forked(as_here))
    eb.train(eb.networks.lenet5(), data, steps=1, device="cpu", progress=False, callbacks=lambda _: forked(as_here))
    as_here()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_process_computes_too() -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "2"}
    subprocess.run([sys.executable, "-c", FORKING], check=True, timeout=PATIENCE, env=environment)


COMPILED = """
import sys
import torch
import everybatch as eb

assert "torch._dynamo" not in sys.modules  # it would make `import everybatch` slow
data = eb.datasets.glyphs(train=130, test=60, seed=3)
network, how = eb.networks.lenet5(), dict(device="cpu", progress=False)

def work(x):
    run = eb.train(network, data, steps=2, checkpoints=next(folders), checkpoint_every=1, **how)
    found = eb.find_lr(network, data, steps=20, **how)
    kept = eb.evaluate_checkpoints(run.config["training"]["checkpoints"], data)
    swept = eb.sweep({"lr": [1e-3]}, data, network="lenet5", steps=2, backend="serial", store="memory://x",
                     device="cpu", progress=False)
    return x * 2, run.test_loss.tolist(), found.loss.tolist(), kept[2].loss, swept.runs[0].test_loss.tolist()

folders = iter(("one", "two"))
expected = work(torch.ones(3))
given = torch.compile(work, backend="eager")(torch.ones(3))
assert (given[0] == expected[0]).all() and given[1:] == expected[1:], (expected, given)
"""


def test_a_compiled_function_may_train(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", COMPILED], cwd=tmp_path, check=True, timeout=PATIENCE)
