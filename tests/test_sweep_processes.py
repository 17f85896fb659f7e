"""Sweeps by worker processes: shared data, workers and drivers that die at any moment."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import everybatch as eb
from everybatch.errors import ArgumentError, InternalError
from everybatch.sweeps._memory import dataset_in, put_dataset
from sweeping import assert_equal, swept

HERE = Path(__file__).parent
WORKER = b"everybatch.sweeps.backends._worker"


def workers_of(driver: int) -> list[int]:
    """The process ids of a driver's workers."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((process / "stat").read_text().rsplit(")", 1)[1].split()[1])
            if parent == driver and WORKER in (process / "cmdline").read_bytes():
                found.append(int(process.name))
        except (OSError, IndexError):
            continue  # it has just ended
    return found


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    yield
    assert not workers_of(os.getpid())


def test_processes_give_what_one_after_the_other_gives(glyphs: eb.Dataset, tmp_path: Path) -> None:
    one = swept(glyphs, tmp_path / "one", seeds=2)
    assert_equal(one, swept(glyphs, tmp_path / "two", seeds=2, backend=eb.sweeps.processes(workers=3)))
    assert_equal(one, swept(glyphs, tmp_path / "three", seeds=2, backend=eb.sweeps.packed(workers=3)))


def test_colour_images_travel_too(colour: eb.Dataset, tmp_path: Path) -> None:
    one = swept(colour, tmp_path / "one")
    assert_equal(one, swept(colour, tmp_path / "two", backend="processes"))


def test_a_data_set_is_shared_and_not_copied(colour: eb.Dataset) -> None:
    file = put_dataset(colour)
    try:
        first, second = dataset_in(file), dataset_in(file)
        assert first.fingerprint == colour.fingerprint
        assert (first.classes, first.mean, first.std, first.name) == (
            colour.classes,
            colour.mean,
            colour.std,
            colour.name,
        )
        assert not first.train_images.flags.writeable
        place = os.pread(file, os.fstat(file).st_size, 0).index(colour.test_images.tobytes())
        os.pwrite(file, bytes([first.test_images.flat[0] ^ 255]), place)
        assert first.test_images.flat[0] == second.test_images.flat[0] == colour.test_images.flat[0] ^ 255
        np.testing.assert_array_equal(first.train_labels, colour.train_labels)
    finally:
        os.close(file)


def test_data_sets_that_differ_in_little_are_told_apart(glyphs: eb.Dataset, tmp_path: Path) -> None:
    arrays = (glyphs.train_images, glyphs.train_labels, glyphs.test_images, glyphs.test_labels)
    sets = [eb.Dataset(*arrays, mean=mean, std=1.0) for mean in (0.1, 0.9)]

    def train_one(config: dict[str, Any]) -> eb.Run:
        return eb.train(eb.networks.lenet5(), sets[config["x"]], steps=2, progress=False, device="cpu")

    made = [
        eb.sweep(train_one, {"x": [0, 1]}, backend=backend, store=tmp_path / backend.name, progress=False)
        for backend in (eb.sweeps.serial(), eb.sweeps.processes(workers=1), eb.sweeps.packed(workers=2))
    ]
    assert [run.config["dataset"]["mean"] for run in made[1].runs] == [[0.1], [0.9]]
    assert made[0].runs[0].test_loss[0] != made[0].runs[1].test_loss[0]
    assert_equal(made[0], made[1])
    assert_equal(made[0], made[2])


def test_a_killed_worker_costs_its_trial_a_second_try(glyphs: eb.Dataset, tmp_path: Path) -> None:
    def train_one(config: dict[str, Any]) -> eb.Run:
        mark = tmp_path / f"seen {config['x']}"
        if config["x"] in (1, 2) and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return eb.train(eb.networks.lenet5(), glyphs, steps=2, seed=config["x"], progress=False, device="cpu")

    sweep = eb.sweep(
        train_one, {"x": list(range(5))}, backend=eb.sweeps.processes(workers=1), store=tmp_path / "s", progress=False
    )
    assert list(sweep.table()["status"]) == ["finished"] * 5
    assert (tmp_path / "seen 1").exists()


def test_a_trial_that_always_kills_its_worker_fails_and_the_rest_goes_on(glyphs: eb.Dataset, tmp_path: Path) -> None:
    def train_one(config: dict[str, Any]) -> eb.Run:
        if config["x"] == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if config["x"] == 2:
            os._exit(3)
        return eb.train(eb.networks.lenet5(), glyphs, steps=1, progress=False, device="cpu")

    sweep = eb.sweep(
        train_one, {"x": [0, 1, 2, 3]}, backend=eb.sweeps.processes(workers=1), store=tmp_path / "s", progress=False
    )
    table = sweep.table()
    assert list(table["status"]) == ["finished", "failed", "failed", "finished"]
    assert "SIGKILL, perhaps for want of memory" in table["message"].iloc[1]
    assert "2 times" in table["message"].iloc[1]
    assert "exit code 3" in table["message"].iloc[2]


def test_a_signal_without_a_name_is_told_by_its_number(tmp_path: Path) -> None:
    def train_one(config: dict[str, Any]) -> Any:
        os.kill(os.getpid(), signal.SIGRTMIN + 6)

    way = eb.sweeps.processes(workers=1, retries=0)
    (trial,) = eb.sweep(train_one, {"x": [1]}, backend=way, store=tmp_path / "s", progress=False).trials
    assert trial.state == "failed"
    assert f"was killed (signal {signal.SIGRTMIN + 6})" in trial.message


def test_a_worker_that_is_killed_in_the_middle_of_a_word_or_has_forked(glyphs: eb.Dataset, tmp_path: Path) -> None:
    """A message begins with its length in four bytes, as `multiprocessing.connection` writes it."""

    def train_one(config: dict[str, Any]) -> eb.Run:
        mark = tmp_path / f"seen {config['x']}"
        if not mark.exists():
            mark.touch()
            if config["x"]:
                if not os.fork():
                    end = time.monotonic() + 300
                    while not (tmp_path / "over").exists() and time.monotonic() < end:
                        time.sleep(0.05)
                    (tmp_path / ("gone" if (tmp_path / "over").exists() else "too late")).touch()
                    os._exit(0)
            else:
                os.write(int(sys.argv[1]), (1000).to_bytes(4, "big") + b"a part of it")
            os.kill(os.getpid(), signal.SIGKILL)
        return eb.train(eb.networks.lenet5(), glyphs, steps=1, progress=False, device="cpu")

    way = eb.sweeps.processes(workers=2)
    made = eb.sweep(train_one, {"x": [0, 1]}, backend=way, store=tmp_path / "s", progress=False)
    (tmp_path / "over").touch()
    assert [trial.state for trial in made.trials] == ["finished"] * 2
    wait_for(lambda: (tmp_path / "gone").exists() or (tmp_path / "too late").exists())
    assert (tmp_path / "gone").exists()


def test_ctrl_c_does_not_reach_a_worker_that_is_just_begun(
    glyphs: eb.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = subprocess.Popen

    def interrupted(*arguments: Any, **options: Any) -> Any:
        process = begin(*arguments, **options)
        process.send_signal(signal.SIGINT)
        return process

    def train_one(config: dict[str, Any]) -> eb.Run:
        assert not signal.pthread_sigmask(signal.SIG_BLOCK, ())
        return eb.train(eb.networks.lenet5(), glyphs, steps=1, progress=False, device="cpu")

    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", interrupted)
        way = eb.sweeps.processes(workers=1, retries=0)
        made = eb.sweep(train_one, {"x": [0]}, backend=way, store=tmp_path / "s", progress=False)
    assert [trial.message for trial in made.trials] == [""]
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


@pytest.mark.parametrize("backend", ["serial", "packed", "processes"])
def test_a_function_that_would_end_the_process_fails_its_trial(tmp_path: Path, backend: str) -> None:
    def train_one(config: dict[str, Any]) -> Any:
        if config["x"] == 2:
            raise GeneratorExit
        sys.exit(*config["x"])

    space = {"x": [[3], ["no such file"], [], 2]}
    made = eb.sweep(train_one, space, backend=backend, store=tmp_path / "s", progress=False)
    assert [(trial.state, trial.message) for trial in made.trials] == [
        ("failed", "RuntimeError: the function called sys.exit(3)"),
        ("failed", "RuntimeError: the function called sys.exit('no such file')"),
        ("failed", "RuntimeError: the function called sys.exit()"),
        ("failed", "RuntimeError: the function raised GeneratorExit"),
    ]
    assert "in train_one" in str(made.trials[0].error)


@pytest.mark.parametrize("backend", ["serial", "packed"])
def test_a_function_that_interrupts_ends_the_sweep(tmp_path: Path, backend: str) -> None:
    def train_one(config: dict[str, Any]) -> Any:
        raise KeyboardInterrupt

    made = eb.sweep(train_one, {"x": [1, 2]}, backend=backend, store=tmp_path / "s", progress=False)
    assert made.interrupted
    assert [trial.state for trial in made.trials] == ["missing"] * 2


def test_workers_that_cannot_start_are_not_started_for_ever(
    glyphs: eb.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(InternalError, match="exit code 1"):
        swept(glyphs, tmp_path / "s", backend="processes")


def test_what_cannot_be_sent_is_told(tmp_path: Path) -> None:
    lock = threading.Lock()

    def train_one(config: dict[str, Any]) -> Any:
        return lock

    with pytest.raises(ArgumentError, match="cannot be sent to another process"):
        eb.sweep(train_one, {"x": [1]}, store=tmp_path / "s", progress=False)


def test_a_script_needs_no_guard(tmp_path: Path) -> None:
    """Neither ``if __name__ == "__main__"`` nor a module for its functions."""
    script = tmp_path / "script.py"
    (tmp_path / "its_module.py").write_text("STEPS = 2\n")
    script.write_text(
        textwrap.dedent("""
            import everybatch as eb
            import its_module

            data = eb.datasets.glyphs(train=100, test=20)

            def train_one(config):
                net = eb.networks.lenet5()
                return eb.train(net, data, steps=its_module.STEPS, lr=config["lr"], seed=config["seed"], progress=False)

            one = eb.sweeps.processes(workers=1)
            sweep = eb.sweep(train_one, {"lr": [1e-3, 1e-2]}, seeds=2, backend=one, store="made", progress=False)
            print(sweep)
        """)
    )
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.stdout == "<Sweep 'made': 4 trials, 4 finished>\n", done.stderr


def test_ctrl_c_ends_the_workers_and_keeps_what_is_done(tmp_path: Path) -> None:
    driver = start(tmp_path / "s", trials=200, stdout=subprocess.PIPE)
    wait_for(lambda: len(stored(tmp_path / "s")) >= 3)
    workers = workers_of(driver.pid)
    driver.send_signal(signal.SIGINT)
    out, _ = driver.communicate(timeout=600)
    assert "interrupted" in out
    assert driver.returncode == 0
    assert workers
    wait_for(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers))
    assert len(eb.load_sweep(tmp_path / "s").runs) == len(stored(tmp_path / "s"))


@pytest.mark.slow
def test_a_driver_killed_at_four_moments_ends_up_with_the_same_table(tmp_path: Path) -> None:
    whole = start(tmp_path / "whole", trials=40)
    moments = random.Random(5)
    for more in (None, 0, *(moments.randrange(2, 8) for _ in range(2))):
        had = len(stored(tmp_path / "s"))
        driver = start(tmp_path / "s", trials=40)
        if more is not None:  # else before it has any worker
            wait_for(lambda driver=driver: workers_of(driver.pid))
            wait_for(lambda had=had, more=more: len(stored(tmp_path / "s")) >= had + more)
            time.sleep(moments.uniform(0, 0.1))  # somewhere in the middle of a trial, or of storing one
        workers = workers_of(driver.pid)
        driver.kill()
        driver.wait()
        wait_for(lambda workers=workers: not any(Path(f"/proc/{worker}").exists() for worker in workers))
    last = start(tmp_path / "s", trials=40)
    assert last.wait(timeout=600) == 0
    assert whole.wait(timeout=600) == 0
    assert_equal(eb.load_sweep(tmp_path / "whole"), eb.load_sweep(tmp_path / "s"))
    assert not [path for path in (tmp_path / "s" / "trials").iterdir() if path.name.startswith(".")]


def start(store: Path, trials: int, stdout: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
    """A driver of its own that goes through so many trials."""
    command = [sys.executable, HERE / "sweep_driver.py", store, str(trials)]
    return subprocess.Popen(command, stdout=stdout, text=True)


def stored(store: Path) -> list[Path]:
    return [path for path in (store / "trials").glob("*") if not path.name.startswith(".")]


def wait_for(happened: Any, seconds: float = 600) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)
