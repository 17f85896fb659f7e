"""Run as a program with `disk.c` before libc: makes every call that writes fail in turn, and looks at what is left.

    LD_PRELOAD=disk.so python tests/disk_faults.py           # all of it, in minutes
    LD_PRELOAD=disk.so python tests/disk_faults.py train 7   # one in seven of the calls, of one act
    LD_PRELOAD=disk.so python tests/disk_faults.py power     # what a loss of power leaves, after each call

Each act is done once for each of its calls and each way of failing, until it goes through without having failed. Its
error must be an OSError that names a file, what stood there before must be there, old or new and whole, and what was
trained must be returned. The last line is a table in JSON: of each act its calls, tries, and how many were refused.
"""

from __future__ import annotations

import errno
import json
import logging
import shutil
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import everybatch as eb
from disk import ERRORS, WAYS, Disk, Powerless
from same_runs import assert_same

DATA = eb.datasets.glyphs(train=64, test=50)
GIVEN: dict[str, Any] = {"steps": 4, "batch_size": 16, "validation": 16, "progress": False, "device": "cpu"}
NETWORK = eb.Network([eb.Flatten(), eb.Linear(784, 10)], name="line")
FOREVER = ("from then on", "torn from then on")


def train(seed: int = 0, stops: int | None = None, **given: Any) -> eb.Run:
    """Train a short run, which writes at every step; to its end or to a step."""

    def look(step: eb.Step) -> None:
        if step.step == stops:
            raise eb.StopTraining("enough")

    return eb.train(NETWORK, DATA, seed=seed, callbacks=look, **{**GIVEN, **given})


WHOLE, OTHER = train(), train(seed=1)


class Act:
    """What is done to a folder while its disk fails."""

    def prepare(self, folder: Path) -> None:
        """What is there before."""

    def do(self, folder: Path) -> Any:
        raise NotImplementedError

    def check(self, folder: Path, result: Any, error: OSError | None, *, forever: bool) -> None:
        """Look at the result, None if it was an error, and at what is there, on a disk that works again."""
        raise NotImplementedError


class Training(Act):
    """A run in a folder: its result is returned, and what is in the folder is the beginning of it, and goes on."""

    def do(self, folder: Path) -> eb.Run:
        return train(folder=folder / "run", keep_state_every=0)

    def check(self, folder: Path, result: Any, error: OSError | None, *, forever: bool) -> None:
        if error is not None:  # before the first step, where nothing is lost
            assert not hasattr(error, "run"), "a run began"
            if forever:  # what could not even be taken away
                shutil.rmtree(folder / "run", ignore_errors=True)
            assert_same(train(folder=folder / "run"), WHOLE)
            return
        assert_same(result, WHOLE)
        self.goes_on(folder / "run")

    def goes_on(self, folder: Path) -> None:
        loaded = eb.load_run(folder)
        assert loaded.state in ("finished", "lost", "stopped"), loaded.state
        for name in ("train_loss", "test_loss", "validation_loss"):
            there = getattr(loaded, name)
            np.testing.assert_array_equal(there, getattr(WHOLE, name)[: len(there)], err_msg=name)
        if loaded.state != "finished":
            assert_same(eb.resume(folder, DATA, progress=False), WHOLE)


class Resuming(Training):
    """The same for a run that goes on; refused, it goes on later."""

    def __init__(self) -> None:
        self._place = tempfile.TemporaryDirectory()
        train(folder=Path(self._place.name) / "run", keep_state_every=0, stops=2)

    def prepare(self, folder: Path) -> None:
        shutil.copytree(Path(self._place.name) / "run", folder / "run")

    def do(self, folder: Path) -> eb.Run:
        return eb.resume(folder / "run", DATA, progress=False, callbacks=lambda _: None)

    def check(self, folder: Path, result: Any, error: OSError | None, *, forever: bool) -> None:
        del forever
        assert error is None or not hasattr(error, "run"), "a run began"
        if error is None:
            assert_same(result, WHOLE)
        self.goes_on(folder / "run")


class Checkpoints(Act):
    """Weights that a run keeps: those that are there are whole, and the error carries what was recorded."""

    def do(self, folder: Path) -> eb.Run:
        return train(checkpoints=folder / "kept", checkpoint_every=2)

    def check(self, folder: Path, result: Any, error: OSError | None, *, forever: bool) -> None:
        del forever
        if error is None:
            assert_same(result, WHOLE)
        elif (folder / "kept").exists() and hasattr(error, "run"):
            np.testing.assert_array_equal(error.run.train_loss, WHOLE.train_loss[: error.run.steps])
        for path in eb.checkpoints.list_checkpoints(folder / "kept").values() if (folder / "kept").exists() else ():
            eb.Model.load(path)


class Saving(Act):
    """A run that is saved: there whole or not at all."""

    def do(self, folder: Path) -> bool:
        WHOLE.save(folder / "a/run")
        return True

    def check(self, folder: Path, result: Any, error: OSError | None, *, forever: bool) -> None:
        del result
        if error is None:
            assert_same(eb.load_run(folder / "a/run"), WHOLE)
        elif not (folder / "a/run").exists():
            assert forever or not list(folder.iterdir()), "something is left behind"
            WHOLE.save(folder / "a/run")
        else:
            assert_same(eb.load_run(folder / "a/run"), WHOLE)
        assert [path.name for path in (folder / "a").iterdir()] == ["run"], "something is left behind"


class SavingAgain(Act):
    """A run that takes the place of another: there is one of the two, whole."""

    def prepare(self, folder: Path) -> None:
        OTHER.save(folder / "run")

    def do(self, folder: Path) -> bool:
        WHOLE.save(folder / "run", overwrite=True)
        return True

    def check(self, folder: Path, result: Any, error: OSError | None, *, forever: bool) -> None:
        del result, forever
        loaded = eb.load_run(folder / "run")
        assert_same(loaded, OTHER if error is not None and loaded.config["training"]["seed"] else WHOLE)
        WHOLE.save(folder / "run", overwrite=True)
        assert [path.name for path in folder.iterdir()] == ["run"], "something is left behind"


class Writing(Act):
    """A file of the kind that one function writes, in the place of another: one of the two is there, whole."""

    def __init__(self, write: Callable[[eb.Run, Path], object], name: str = "file") -> None:
        self._write, self._name = write, name
        self._place = tempfile.TemporaryDirectory()
        self._contents = []
        for run in (OTHER, WHOLE):
            write(run, Path(self._place.name) / name)
            self._contents.append(self._read(Path(self._place.name) / name))

    def _read(self, path: Path) -> Any:
        if path.is_dir():
            return sorted(len(file.read_bytes()) for file in path.iterdir())  # their names are of the moment
        if path.suffix == ".safetensors":  # the order within its header is by chance
            return {name: np.asarray(value).tobytes() for name, value in eb.Model.load(path).state_dict().items()}
        if path.suffix == ".pt":
            state = torch.jit.load(path).state_dict()  # type: ignore[no-untyped-call]
            return {name: value.numpy().tobytes() for name, value in state.items()}
        return path.read_bytes()

    def prepare(self, folder: Path) -> None:
        self._write(OTHER, folder / self._name)

    def do(self, folder: Path) -> bool:
        self._write(WHOLE, folder / self._name)
        return True

    def check(self, folder: Path, result: Any, error: OSError | None, *, forever: bool) -> None:
        del result
        there = self._read(folder / self._name)
        assert there in (self._contents if error is not None else self._contents[1:]), "it is not whole"
        self._write(WHOLE, folder / self._name)
        assert forever or [path.name for path in folder.iterdir()] == [self._name], "something is left behind"


class Sweeping(Act):
    """A sweep of two trials: begun again it gives what one gives that nothing happened to."""

    def do(self, folder: Path) -> eb.Sweep:
        given = {**GIVEN, "progress": False}
        return eb.sweep({"lr": [0.01, 0.001]}, DATA, store=folder / "sweep", backend="serial", network=NETWORK, **given)

    def check(self, folder: Path, result: Any, error: OSError | None, *, forever: bool) -> None:
        for sweep in [result] * (error is None) + [self.do(folder)]:
            assert [trial.row["status"] for trial in sweep.trials] == ["finished"] * 2
            for run in sweep.runs:
                assert_same(run, EACH[run.config["training"]["lr"]])
        assert forever or not list((folder / "sweep/trials").glob(".*")), "something is left behind"


EACH = {lr: train(lr=lr) for lr in (0.01, 0.001)}

ACTS: dict[str, Callable[[], Act]] = {
    "train": Training,
    "resume": Resuming,
    "checkpoints": Checkpoints,
    "Run.save": Saving,
    "Run.save over another": SavingAgain,
    "Model.save over another": lambda: Writing(lambda run, path: run.model.save(path), "a.safetensors"),
    "csv": lambda: Writing(lambda run, path: eb.export.csv(run, path, overwrite=True)),
    "onnx": lambda: Writing(lambda run, path: eb.export.onnx(run.model, path, overwrite=True)),
    "torchscript": lambda: Writing(lambda run, path: eb.export.torchscript(run.model, path, overwrite=True), "a.pt"),
    "tensorboard": lambda: Writing(lambda run, path: eb.export.tensorboard(run, path, overwrite=True)),
    "sweep": Sweeping,
}


def tried(disk: Disk, act: Act, folder: Path, number: int, error: str, way: str) -> tuple[bool, bool]:
    """Do an act with one call failing, and look at the end; tell whether it was refused, and whether a call failed."""
    folder.mkdir()
    act.prepare(folder)
    result, refused = None, None
    disk.watch(folder)
    disk.fail(number, getattr(errno, error), way)
    try:
        result = act.do(folder)
    except OSError as raised:
        refused = raised
    failed = disk.count > number
    disk.watch(None)
    if refused is not None and (not failed or str(folder) not in str(refused)):
        raise AssertionError("an error without a reason, or that does not say where") from refused
    act.check(folder, result, refused, forever=way in FOREVER)
    shutil.rmtree(folder)
    return refused is not None, failed


LEFT = {
    "what was flushed": {"names": False, "contents": False},
    "names before contents": {"names": True, "contents": False},
    "contents before names": {"names": False, "contents": True},
}


def lose_power(disk: Disk, place: Path) -> dict[str, int]:
    """Train with a folder: after each call a loss of power leaves the state kept last, whole."""
    folder, told = place / "disk", place / "told"
    folder.mkdir()
    disk.watch(folder, told)
    train(folder=folder / "run", keep_state_every=0)
    disk.watch(None)
    power, calls, looked, kept, renamed = Powerless(folder, told), 0, 0, 0, False
    last: dict[str, dict[str, bytes]] = {}
    for call in power.calls():
        calls += 1
        renamed = renamed or power.newest == "state.records"
        if call == "flush" and renamed and power.newest == "run":  # the name of the state is on the disk
            kept, renamed = kept + 1, False
        for way, options in LEFT.items():
            left = place / "left"
            power.leave(left, **options)
            content = {path.name: path.read_bytes() for path in (left / "run").glob("*")}
            if content != last.get(way):
                last[way] = content
                looked += 1
                print(f"power: after call {calls}, {way}", file=sys.stderr)
                if kept or (left / "run/state.records").exists():
                    run = eb.load_run(left / "run")
                    assert run.model_step >= kept, f"{run.model_step} steps of {kept}"
                    Training().goes_on(left / "run")
            shutil.rmtree(left)
    assert kept == GIVEN["steps"], "a state was not kept for good"
    power.leave(place / "left", names=False, contents=False)
    assert_same(eb.load_run(place / "left/run"), WHOLE)
    shutil.rmtree(folder)
    shutil.rmtree(place / "left")
    return {"calls": calls, "left": looked, "kept": kept, "replaced": lose_power_in_replacing(disk, place)}


def lose_power_in_replacing(disk: Disk, place: Path) -> int:
    """Save a run and a model over others: after each call a loss of power leaves the old or the new one, whole."""
    folder, told, looked = place / "disk", place / "told", 0
    folder.mkdir()
    disk.watch(folder, told)
    begun = 0
    for run in (OTHER, WHOLE):
        begun = told.stat().st_size
        run.save(folder / "runs/a", overwrite=True)
        run.model.save(folder / "a.safetensors")
    disk.watch(None)
    power, left = Powerless(folder, told), place / "left"
    for _ in power.calls():
        for options in LEFT.values() if power.at >= begun else ():
            power.leave(left, **options)
            seed = eb.load_run(left / "runs/a").config["training"]["seed"]
            assert_same(eb.load_run(left / "runs/a"), (WHOLE, OTHER)[seed])
            eb.Model.load(left / "a.safetensors")
            looked += 1
            shutil.rmtree(left)
    power.leave(left, names=False, contents=False)
    assert_same(eb.load_run(left / "runs/a"), WHOLE)
    np.testing.assert_array_equal(*(weights(model) for model in (eb.Model.load(left / "a.safetensors"), WHOLE.model)))
    return looked


def weights(model: eb.Model) -> Any:
    return np.concatenate([np.asarray(value).ravel() for value in model.state_dict().values()])


def main(only: str = "", every: int = 1) -> None:
    warnings.simplefilter("ignore")
    threading.excepthook = lambda _: None  # TensorBoard's writer raises the same in the thread that asked
    logging.getLogger("everybatch").setLevel(logging.ERROR)
    disk, seen = Disk(), {}
    for name in only.split(",") if only else [*ACTS, "power"]:
        if name == "power":
            with tempfile.TemporaryDirectory() as place:
                seen[name] = lose_power(disk, Path(place))
            continue
        act, calls, tries, refusals, turn = ACTS[name](), 0, 0, 0, 0
        with tempfile.TemporaryDirectory() as place:
            for way in WAYS:
                for error in ERRORS:
                    turn += 1
                    number, failed = turn % every, True
                    while failed:
                        print(f"{name}: {error}, {way}, call {number}", file=sys.stderr)  # should the process end
                        refused, failed = tried(disk, act, Path(place) / "disk", number, error, way)
                        tries, refusals, calls = tries + failed, refusals + refused, max(calls, number)
                        number += every
        seen[name] = {"calls": calls, "tries": tries, "refused": refusals}
    print(json.dumps(seen))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "", int(sys.argv[2]) if len(sys.argv) > 2 else 1)
