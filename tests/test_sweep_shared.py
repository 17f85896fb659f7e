"""Several sweeps on one store at the same time: no failure, each trial trained once, the same results for all."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import everybatch as eb
from everybatch.sweeps import _perform
from everybatch.sweeps._claims import Claims
from everybatch.sweeps._store import TRIALS, open_store
from sweeping import swept

SCRIPT = """
    import sys
    from pathlib import Path
    import everybatch as eb

    log = Path("log")
    data = eb.datasets.glyphs(train=40, test=20)

    def train_one(config):
        with log.open("a") as file:
            file.write(f"{config['x']} ")
        lr = 1e-3 * (1 + config["x"])
        return eb.train(eb.networks.lenet5(), data, steps=2, batch_size=20, lr=lr, progress=False, device="cpu")

    space = {"x": [*range(int(sys.argv[1]), 8)]}
    backend = {"serial": eb.sweeps.serial(), "packed": eb.sweeps.packed(workers=1)}.get(sys.argv[2])
    backend = backend or eb.sweeps.processes(workers=1)
    made = eb.sweep(train_one, space, backend=backend, store="s", progress=False)
    print([run.test_loss.tolist() for run in made.runs][-4:], made.interrupted)
"""


def test_each_trial_is_trained_once_by_whoever_comes_first(tmp_path: Path) -> None:
    sweeps = [("0", "packed"), ("2", "serial"), ("4", "processes")]
    running = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(SCRIPT), *each], cwd=tmp_path, stdout=subprocess.PIPE, text=True
        )
        for each in sweeps
    ]
    told = [process.communicate(timeout=600)[0] for process in running]
    assert [process.returncode for process in running] == [0] * 3
    assert len(set(told)) == 1
    assert told[0].endswith("False\n")
    assert sorted((tmp_path / "log").read_text().split()) == [str(x) for x in range(8)]
    assert len(eb.load_sweep(tmp_path / "s", everything=True).runs) == 8


def test_a_sweep_is_told_of_its_own_trials_while_another_one_begins(glyphs: eb.Dataset, tmp_path: Path) -> None:
    def train_one(config: dict[str, Any]) -> eb.Run:
        if config["x"] == 1:
            swept(glyphs, tmp_path / "s", {"lr": [1e-3, 1e-2, 1e-1]}, steps=1)
        return eb.train(eb.networks.lenet5(), glyphs, steps=1, progress=False, device="cpu")

    made = swept({"x": [0, 1]}, tmp_path / "s", train_one)  # type: ignore[arg-type] # the function comes first
    assert made.columns == ("x",)
    assert list(made.table()["x"]) == [0, 1]


def test_many_put_the_same_trial(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s")
    store.prepare()
    begin = threading.Barrier(8)

    def put(who: int) -> None:
        begin.wait()
        for attempt in range(25):
            row = {"key": "abc", "status": ["finished", "pruned", "diverged"][(who + attempt) % 3]}
            with store.staging("abc") as folder:
                (folder / "trial.json").write_text(json.dumps(row))
                (folder / "other").write_text(row["status"])
                store.put(folder, TRIALS, "abc")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, range(8)))
    there = tmp_path / "s" / TRIALS / "abc"
    assert json.loads((there / "trial.json").read_text())["status"] == (there / "other").read_text()
    store.prepare()  # which clears what was put aside
    assert store.keys(TRIALS) == {"abc"}
    assert [path.name for path in (tmp_path / "s" / TRIALS).iterdir()] == ["abc"]


def test_claims(tmp_path: Path) -> None:
    one, two = Claims(tmp_path), Claims(tmp_path)
    first, second = "f" * 20, "0123456789abcdef0123"
    assert one.take(first)
    assert one.take(first)  # it has it
    assert not two.take(first)
    assert two.take(second)
    one.drop(first)
    assert two.take(first)
    two.close()
    assert one.take(first)
    one.close()
    nowhere = Claims(tmp_path / "none")  # no file, no claims
    assert nowhere.take(first)
    assert not nowhere.shared
    nowhere.close()


@pytest.mark.parametrize("meanwhile", ["while it is pruned", "after it was pruned"])
@pytest.mark.parametrize("where", ["disk", "memory"])
def test_a_whole_run_takes_the_place_of_a_pruned_one_and_never_the_other_way(
    glyphs: eb.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, meanwhile: str
) -> None:
    """A sweep without a rule trains everything when one that prunes writes its second trial, or its third."""
    store = tmp_path / "s" if where == "disk" else f"memory://{tmp_path.name}/pruned"
    given: dict[str, Any] = {"steps": 12, "validation": 30, "space": {"lr": [3e-3, 1e-7, 5e-3]}}
    write, at, written = _perform.write_files, {"while it is pruned": 2, "after it was pruned": 3}[meanwhile], 0

    def interfered(*arguments: Any) -> None:
        nonlocal written
        written += 1
        if written == at:
            assert {trial.state for trial in swept(glyphs, store, **given).trials} == {"finished"}
        write(*arguments)

    monkeypatch.setattr(_perform, "write_files", interfered)
    made = swept(glyphs, store, pruning=eb.sweeps.median(every=4, min_trials=1), **given)
    assert written == 3 + 2  # the other one finds the first trial whole
    for sweep in (made, eb.load_sweep(store)):
        assert [trial.state for trial in sweep.trials] == ["finished"] * 3
        for trial in sweep.trials:
            run = trial.run
            assert run is not None
            assert (run.state, run.steps, trial.row["steps"]) == ("finished", 12, 12)
            assert trial.row["final_test_loss"] == run.test_loss[-1]


def test_a_pruned_run_with_weights_takes_the_place_of_a_whole_one_without(glyphs: eb.Dataset, tmp_path: Path) -> None:
    given: dict[str, Any] = {"steps": 12, "validation": 30, "space": {"lr": [3e-3, 1e-7]}}
    swept(glyphs, tmp_path / "s", keep_models=False, **given)
    made = swept(glyphs, tmp_path / "s", pruning=eb.sweeps.median(every=4, min_trials=1), **given)
    assert [trial.state for trial in made.trials] == ["finished", "pruned"]
    assert [run.steps for run in made.runs] == [trial.row["steps"] for trial in made.trials] == [12, 4]
    assert all(run.model is not None for run in made.runs)
