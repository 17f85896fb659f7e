"""Sweeps on a Ray cluster: a real one of several nodes on this machine, whose workers and nodes die."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
import ray
from ray.cluster_utils import Cluster

import everybatch as eb
from everybatch.errors import ArgumentError
from everybatch.sweeps import median
from everybatch.sweeps.backends import _ray_cluster
from everybatch.sweeps.backends import ray as backend
from everybatch.sweeps.backends._ray_cluster import capacity, needs_of
from everybatch.sweeps.pruning import Referee
from sweeping import GRID, assert_equal, swept


def test_messages_have_no_colours() -> None:
    """Ray 2.60 colours the name of a task in an error, as for a terminal."""
    error = ray.exceptions.RayError("\x1b[36mray::train()\x1b[39m (pid=1, ip=192.0.2.2)")
    assert backend._plain(error) == "ray::train() (pid=1, ip=192.0.2.2)"


def test_whatever_ray_raises_where_it_does_not_come_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray 2.60 raises `Exception` itself where the processes of a node do not start."""

    def fails(*_: Any, **__: Any) -> None:
        raise Exception("The current node timed out during startup.")

    monkeypatch.setattr(ray, "init", fails)
    with pytest.raises(ConnectionError, match=r"cannot connect to a Ray cluster .* timed out during startup"):
        _ray_cluster._connect("local")


NODE = {"num_cpus": 1, "object_store_memory": 100 * 2**20}
HEALTH = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 3}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head without places for trials, and two nodes; this process is connected to it."""
    head = {**NODE, "num_cpus": 0, "include_dashboard": False, "_system_config": HEALTH}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            for name in "ab":
                cluster.add_node(**NODE, num_gpus=int(name == "a"), resources={name: 1, "trial": 1})
            cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the nodes do not have this file
            ray.init(cluster.address, log_to_driver=False, logging_level="ERROR")
            yield cluster
        finally:
            cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
            ray.shutdown()
            cluster.shutdown()
            wait_for(lambda: not ours("raylet/raylet"))


def on_ray(data: Any, store: Path | str, space: Any = GRID, **arguments: Any) -> eb.Sweep:
    """With the options of the backend among the arguments."""
    own = {name: arguments.pop(name) for name in ("address", "resources", "workers") if name in arguments}
    return swept(data, store, space, backend=eb.sweeps.ray(**{"resources": {"trial": 1}} | own), **arguments)


def test_a_cluster_gives_what_one_process_gives(cluster: Any, glyphs: eb.Dataset, tmp_path: Path) -> None:
    one = swept(glyphs, tmp_path / "one", seeds=2)
    assert_equal(one, on_ray(glyphs, tmp_path / "two", seeds=2))
    for node in "ab":  # the other node has no such resource
        assert_equal(one, on_ray(glyphs, tmp_path / node, seeds=2, resources={node: 0.5}, workers=1))
    assert_equal(one, on_ray(glyphs, "memory://ray", seeds=2))
    assert ray.is_initialized()


def test_threads_are_those_of_the_trial(cluster: Any, colour: eb.Dataset, tmp_path: Path) -> None:
    """Ray sets OMP_NUM_THREADS to the number of CPUs, here 1."""
    one = swept(colour, tmp_path / "one", threads=2)
    two = on_ray(colour, tmp_path / "two", threads=2, resources={"num_cpus": 1, "trial": 1})
    assert_equal(one, two)
    assert two.runs[0].config["hardware"]["threads"] == 2


def test_trials_spread_over_the_nodes(cluster: Any, glyphs: eb.Dataset, tmp_path: Path) -> None:
    def train_one(config: dict[str, Any]) -> eb.Run:
        marks = [tmp_path / f"node of {x}" for x in (0, 1)]
        marks[config["x"]].write_text(ray.get_runtime_context().get_node_id())
        while not all(mark.exists() for mark in marks):  # they train at the same time
            time.sleep(0.05)
        return train(glyphs)

    on_ray({"x": [0, 1]}, tmp_path / "s", train_one)
    nodes = {(tmp_path / f"node of {x}").read_text() for x in (0, 1)}
    assert nodes == {node["NodeID"] for node in ray.nodes() if "trial" in node["Resources"]}


def test_two_trials_share_a_gpu(cluster: Any, glyphs: eb.Dataset, tmp_path: Path) -> None:
    """As far as that can be seen without one: Ray shows it to both, each in a process that nobody had before."""

    def train_one(config: dict[str, Any]) -> eb.Run:
        mark = tmp_path / f"{config['x']}"
        mark.write_text(f"{os.environ['CUDA_VISIBLE_DEVICES']} {os.getpid()}")
        while config["x"] < 2 and not (tmp_path / f"{1 - config['x']}").exists():
            time.sleep(0.05)
        return train(glyphs)

    on_ray({"x": [0, 1, 2]}, tmp_path / "s", train_one, resources={"num_cpus": 0, "num_gpus": 0.5})
    seen = [(tmp_path / f"{x}").read_text().split() for x in range(3)]
    assert {gpu for gpu, _ in seen} == {"0"}
    assert len({process for _, process in seen}) == 3


def test_what_a_trial_needs() -> None:
    assert needs_of(None, threads=2, device="cpu") == {"CPU": 2, "GPU": 0}
    assert needs_of(None, threads=2, device="cuda") == {"CPU": 2, "GPU": 1}
    needs = needs_of({"num_cpus": 0.5, "num_gpus": 0.25, "big": 1}, threads=2, device="cuda")
    assert needs == {"CPU": 0.5, "GPU": 0.25, "big": 1}
    assert capacity([{"CPU": 8, "GPU": 2, "big": 5}, {"CPU": 1, "GPU": 1, "big": 5}, {"CPU": 8}], needs) == 7
    assert capacity([{"CPU": 8.0}, {"CPU": 4.0}], needs_of({"num_cpus": 0}, threads=1, device="cpu")) == 12
    for resources, device, message in (
        ({"CPU": 1}, "cpu", "say num_cpus"),
        ({"num_gpus": 1.5}, "cpu", "must be a whole number"),
        ({"trial": -1}, "cpu", "must be 0 or above"),
        ({"num_gpus": 0}, "cuda", "gives a trial no GPU"),
        (None, "cuda:1", "Ray chooses the GPU"),
    ):
        with pytest.raises(ArgumentError, match=message):
            needs_of(resources, threads=1, device=device)


def test_a_killed_worker_costs_its_trial_a_second_try(cluster: Any, glyphs: eb.Dataset, tmp_path: Path) -> None:
    def train_one(config: dict[str, Any]) -> eb.Run:
        mark = tmp_path / f"seen {config['x']}"
        if config["x"] == 3 or (config["x"] in (0, 1) and not mark.exists()):
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return train(glyphs, seed=config["x"])

    table = on_ray({"x": list(range(5))}, tmp_path / "s", train_one).table()
    assert list(table["status"]) == ["finished"] * 3 + ["failed", "finished"]
    assert "its Ray worker died, 2 times" in table["message"].iloc[3]


def test_failures_are_kept_and_the_rest_goes_on(cluster: Any, glyphs: eb.Dataset, tmp_path: Path) -> None:
    def train_one(config: dict[str, Any]) -> eb.Run:
        return train(glyphs, lr=config["lr"])

    table = on_ray({"lr": [1e-3, -1.0]}, tmp_path / "s", train_one).table()
    assert list(table["status"]) == ["finished", "failed"]
    assert "ArgumentError: lr is -1" in table["message"].iloc[1]


@pytest.mark.parametrize("workers", [None, 1])
def test_pruning_decides_as_one_process_does(
    cluster: Any, glyphs: eb.Dataset, tmp_path: Path, workers: int | None
) -> None:
    space = {"lr": [1e-3, 1e-4, 3e-3, 1e-2], "network.dropout": [0.0, 0.5]}
    arguments: dict[str, Any] = {"validation": 0.2, "steps": 12, "pruning": median(every=4, min_trials=2)}
    one = swept(glyphs, tmp_path / "one", space, **arguments)
    assert {"finished", "pruned"} == set(one.table()["status"])
    assert_equal(one, on_ray(glyphs, tmp_path / "two", space, workers=workers, **arguments))


def test_a_node_that_goes_takes_no_trial_with_it(
    cluster: Any, glyphs: eb.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a trial that waits for one without a place makes room for it."""
    monkeypatch.setattr(backend, "_STUCK", 1.0)
    nodes = [cluster.add_node(**NODE, resources={"frail": 1}) for _ in range(2)]
    there = tmp_path / "there"
    there.mkdir()
    asks = threading.Event()
    came = Referee.came

    def heard(referee: Referee, number: int, step: int, value: float) -> None:
        came(referee, number, step, value)
        if number == 1:
            asks.set()

    monkeypatch.setattr(Referee, "came", heard)

    def train_one(config: dict[str, Any], there: Path | None = there) -> eb.Run:
        if there is not None:
            mark = there / str(config["x"])
            again = mark.exists()
            mark.write_text(ray.get_runtime_context().get_node_id())
            while config["x"] == 0 and not again:
                time.sleep(0.1)  # until its node goes
        return train(glyphs, seed=config["x"], steps=8, validation=0.2)

    def remove() -> None:
        wait_for(lambda: len(list(there.iterdir())) == 2)
        assert asks.wait(600)  # now 1 waits for 0
        goes = (there / "0").read_text()
        cluster.remove_node(next(node for node in nodes if node.node_id == goes), allow_graceful=False)

    remover = threading.Thread(target=remove)
    remover.start()
    arguments: dict[str, Any] = {"pruning": median(every=4, min_trials=1)}
    made = on_ray({"x": [0, 1, 2]}, tmp_path / "s", train_one, resources={"frail": 1}, **arguments)
    remover.join()
    cluster.remove_node(next(node for node in nodes if node in cluster.worker_nodes))
    assert (there / "0").read_text() == (there / "2").read_text()
    one = swept({"x": [0, 1, 2]}, tmp_path / "one", lambda config: train_one(config, None), **arguments)
    assert list(made.table()["status"]) == list(one.table()["status"])
    for run, its_like in zip(made.runs, one.runs, strict=True):
        assert list(run.test_loss) == list(its_like.test_loss)


def test_what_no_node_has_is_told(
    cluster: Any, glyphs: eb.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "_GROWS", 1.0)
    with (
        pytest.warns(RuntimeWarning, match=r"needs \(1 CPU, 1 trail\); there are \(1 CPU, 1 GPU, 1 a, .* 1 trial\), "),
        pytest.raises(ArgumentError, match=r"Give other resources"),
    ):
        on_ray(glyphs, tmp_path / "s", resources={"trail": 1})


def test_another_cluster_than_the_one_that_is_connected_is_told(
    cluster: Any, glyphs: eb.Dataset, tmp_path: Path
) -> None:
    with pytest.raises(ArgumentError, match=r"call ray.shutdown\(\)"):
        on_ray(glyphs, tmp_path / "s", address="10.0.0.1:6379")


def test_a_module_that_the_nodes_lack_is_told(cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "of_the_driver.py").write_text("def train_one(config):\n    return config\n")
    monkeypatch.syspath_prepend(tmp_path)
    import of_the_driver  # type: ignore[import-not-found]

    with pytest.raises(ImportError, match=r"cannot be opened on the node .*of_the_driver"):
        on_ray({"x": [1]}, tmp_path / "s", of_the_driver.train_one)


def test_a_driver_that_is_killed_takes_its_trials_along_and_goes_on_later(cluster: Any, tmp_path: Path) -> None:
    store = tmp_path / "s"
    with subprocess.Popen(driver(store, cluster.address)) as process:
        wait_for(lambda: len(stored(store)) >= 2)
        process.kill()
    before = stored(store)
    wait_for(lambda: not ours("ray::train"))
    assert len(before) < TRIALS
    data, asked = eb.datasets.glyphs(train=500, test=100), {"network": "lenet5", "steps": 40, "batch_size": 64}
    made = on_ray(data, store, LATER, **asked)
    assert before.items() <= stored(store).items()
    assert_equal(swept(data, tmp_path / "one", LATER, **asked), made)


def test_ctrl_c_ends_the_tasks(cluster: Any, tmp_path: Path) -> None:
    store = tmp_path / "s"
    with subprocess.Popen(driver(store, cluster.address), stdout=subprocess.PIPE, text=True) as process:
        wait_for(lambda: len(stored(store)) >= 2)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=600)
    assert "interrupted" in out
    wait_for(lambda: not ours("ray::train"))
    assert f" {len(stored(store))} finished" in out


def test_a_cluster_that_goes_away_is_told(tmp_path: Path) -> None:
    """With one that the script has started itself."""
    script = f"""
        import contextlib, os, signal, threading, time
        from pathlib import Path
        import everybatch as eb
        from everybatch.sweeps.backends import _ray_cluster
        from ray.cluster_utils import Cluster

        _ray_cluster._GONE = 2.0
        cluster = Cluster(initialize_head=True, head_node_args={{**{NODE}, "include_dashboard": False}})

        raylet = cluster.head_node.all_processes["raylet"][0].process.pid
        agents = Path(f"/proc/{{raylet}}/task/{{raylet}}/children").read_text().split()

        def kill():
            while len(list(Path("s/trials").glob("[0-9a-f]*"))) < 2:
                time.sleep(0.02)
            cluster.head_node.kill_gcs_server(check_alive=False)

        threading.Thread(target=kill).start()
        try:
            eb.sweep({{"lr": [1e-4 * n for n in range(1, 1000)]}}, eb.datasets.glyphs(train=100, test=50),
                     backend=eb.sweeps.ray(address=cluster.address), network="lenet5", steps=20, store="s",
                     progress=False)
        except ConnectionError as error:
            print(error, len(eb.load_sweep("s").runs) >= 2)
        cluster.head_node.kill_all_processes(check_alive=False, allow_graceful=False)
        for agent in agents:  # they would look for the cluster for another minute
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(agent), signal.SIGKILL)
    """
    done = run_script(script, tmp_path)
    assert "has not answered for" in done.stdout, done.stderr
    assert done.stdout.endswith("True\n")


def test_a_cluster_of_our_own_ends_with_the_sweep(tmp_path: Path) -> None:
    """And says next to nothing meanwhile."""
    script = """
        import ray
        import everybatch as eb

        made = eb.sweep({"lr": [1e-3, 1e-2]}, eb.datasets.glyphs(train=100, test=50), network="lenet5", steps=2,
                        store="s", backend=eb.sweeps.ray(address="local"), progress=False)
        print(made, ray.is_initialized())
        try:
            eb.sweep({"lr": [1e-3, 1e-4]}, eb.datasets.glyphs(train=100, test=50), network="lenet5", steps=2,
                     store="s", backend=eb.sweeps.ray(address="local", resources={"big": 1}), progress=False)
        except ValueError as error:
            print("told:", error)
    """
    done = run_script(script, tmp_path)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first == "<Sweep 's': 2 trials, 2 finished> False", done.stderr
    assert second.startswith("told: no node of the Ray cluster has what a trial needs (1 CPU, 1 big)")
    # Ray itself may say something on a busy machine, but not much.
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) < 5, done.stderr


def test_nobody_there_and_no_ray(tmp_path: Path) -> None:
    with pytest.raises(ConnectionError, match=r"no Ray cluster answers at 127\.0\.0\.1:1"):
        _ray_cluster._connect("127.0.0.1:1")
    script = """
        import sys
        sys.modules["ray"] = None
        import everybatch as eb
        try:
            eb.sweeps.ray().train(None)
        except ImportError as error:
            print(error)
    """
    assert 'pip install "everybatch[ray]"' in run_script(script, tmp_path).stdout


def test_the_example_with_ray_tune(tmp_path: Path) -> None:
    """Ray Tune and Optuna are not among the packages that the tests need."""
    example = Path(__file__).parents[1] / "examples" / "ray_tune.py"
    compile(example.read_text(), example, "exec")
    if not all(importlib.util.find_spec(name) for name in ("optuna", "pandas", "tensorboardX")):
        pytest.skip('needs pip install "ray[tune]" optuna')
    command = [sys.executable, example, "--samples", "2", "--steps", "4", "--cpus", "2"]
    alone = {**os.environ, "RAY_ADDRESS": "local", "RAY_USAGE_STATS_ENABLED": "0"}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600, env=alone)
    assert "best of 2: {'lr': " in done.stdout, done.stderr


TRIALS = 12
LATER = {"lr": [1e-4 * (1 + n) for n in range(TRIALS)]}


def driver(store: Path, address: str) -> list[Any]:
    """The command of a driver of its own."""
    script = f"""
        import signal
        import everybatch as eb

        signal.signal(signal.SIGINT, signal.default_int_handler)
        made = eb.sweep({LATER}, eb.datasets.glyphs(train=500, test=100),
                        network="lenet5", steps=40, batch_size=64, device="cpu", store={str(store)!r},
                        progress=False, backend=eb.sweeps.ray(address={address!r}, resources={{"trial": 1}}))
        print(made)
    """
    return [sys.executable, "-c", textwrap.dedent(script)]


def run_script(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", textwrap.dedent(script)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)


def train(data: eb.Dataset, **arguments: Any) -> eb.Run:
    settings: dict[str, Any] = {"steps": 1, "progress": False, "device": "cpu", "deterministic": True}
    return eb.train(eb.networks.lenet5(), data, **settings | arguments)


def stored(store: Path) -> dict[str, int]:
    """The trials that are there, and when they were written."""
    return {path.name: path.stat().st_mtime_ns for path in (store / "trials").glob("[!.]*")}


def ours(name: str) -> list[int]:
    """The process ids of those whose command line holds a name, of this process's clusters and not of others'."""
    names, parents = {}, {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            names[int(process.name)] = (process / "cmdline").read_bytes()
            parents[int(process.name)] = int((process / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except (OSError, IndexError):
            continue  # it has just ended

    def is_ours(number: int) -> bool:
        while number not in (0, 1, os.getpid()):
            number = parents.get(number, 0)
        return number == os.getpid()

    return [number for number, line in names.items() if name.encode() in line and number in parents and is_ours(number)]


def wait_for(happened: Callable[[], bool], seconds: float = 600) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)
