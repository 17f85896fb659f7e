"""Runs that are killed again and again: how much is lost, and whether the end is that of a run which never was.

    python benches/soak.py                       # ten minutes
    python benches/soak.py --kills 1000 --minutes 60

Each life of a run is a forked process that trains with a folder, or goes on with it, and is killed (SIGKILL) at a
random moment. After each death the folder is loaded: it must say that the run is lost, its history must be the
beginning of the uninterrupted run's to the last bit, and it must have been written to within two seconds before. When a
run comes to its end, all of its arrays but seconds and all of its weights must equal those of the uninterrupted run.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import torch

import everybatch as eb
from everybatch.folder._rows import counts_of

LEAST = 2.0  # seconds of history that may be lost
STEPS = 120
OVER_THE_RUN = {"confusion", *(f"{of}_{what}" for of in ("step", "test") for what in ("sums", "votes", "events"))}
RUNS: dict[str, dict[str, Any]] = {
    "tolerance, EMA, cosine, validation": {
        "tolerance": 0.02,
        "ema": 0.9,
        "schedule": "cosine",
        "validation": 100,
    },
    "plateau, momentum, best": {
        "schedule": "plateau",
        "optimizer": "sgd",
        "momentum": 0.9,
        "validation": 100,
        "select": "best",
        "evaluate_every": 3,
    },
    "bfloat16, one cycle, augmentation": {
        "precision": "bfloat16",
        "schedule": "one_cycle",
        "augment": eb.Augment(shift=2, rotate=5),
        "label_smoothing": 0.1,
    },
    "predictions, losses, gradient norms, examples, epochs": {
        "record": ("predictions", "losses", "grad_norm", "examples"),
        "evaluate_every": "epoch",
    },
}


def train(folder: Path | None, data: eb.Dataset, given: dict[str, Any]) -> eb.Run:
    """Train a run, or go on with it."""
    if folder is not None and (folder / "history.records").exists() and eb_began(folder):
        return eb.resume(folder, data, progress=False)
    return eb.train(
        eb.networks.lenet5(dropout=0.2),
        data,
        steps=STEPS,
        deterministic=True,
        progress=False,
        folder=folder,
        keep_state_every=0.2,
        **given,
    )


def eb_began(folder: Path) -> bool:
    """Whether there is something to go on with; what was killed before its first record is cleared away."""
    try:
        eb.load_run(folder)
    except eb.errors.FileFormatError as error:
        if "ended before it began" not in str(error):
            raise
        for path in folder.iterdir():
            path.unlink()
        return False
    return True


def forked(work: Any) -> int:
    """Do it in a process of its own, and return its number."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def ended(child: int, seconds: float) -> bool:
    """Whether a process ended well within so many seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert os.waitstatus_to_exitcode(status) == 0, "a life ended with an error"
            return True
        time.sleep(0.002)
    return False


def begins(run: eb.Run, whole: eb.Run) -> None:
    """Refuse a history that is not the beginning of the whole one."""
    counts = counts_of(run._arrays)
    for name, array in run._arrays.items():
        if name.endswith("seconds") or name in OVER_THE_RUN:
            continue
        first = eb._measures.ARRAYS[name].dimensions[0]
        expected = whole._arrays[name][: counts.get(first)]
        assert np.array_equal(array, expected, equal_nan=array.dtype.kind == "f"), f"{name} is another one"


def equal(run: eb.Run, whole: eb.Run) -> None:
    begins(run, whole)
    assert (run.state, run.steps, run.model_step) == ("finished", whole.steps, whole.model_step)
    for name in OVER_THE_RUN & whole._arrays.keys():
        assert np.array_equal(run._arrays[name], whole._arrays[name]), f"{name} is another one"
    weights = whole.model.state_dict()
    for name, value in run.model.state_dict().items():
        assert np.array_equal(np.asarray(value), np.asarray(weights[name])), f"weights {name} differ"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--kills", type=int, default=1_000_000, help="end after so many")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    moments = random.Random(options.seed)
    torch.set_num_threads(1)  # so that it does not matter which process a run goes on in
    data = eb.datasets.glyphs(train=640, test=1200)
    kills, finished, begun, resumed, lost = 0, 0, 0, 0, [0.0]
    with tempfile.TemporaryDirectory(prefix="everybatch-soak-") as place:
        wholes = {}
        for name, given in RUNS.items():
            folder = Path(place) / f"whole {name}"
            child = forked(lambda folder=folder, given=given: train(folder, data, given))  # type: ignore[misc]
            assert ended(child, 300), f"{name} took too long"
            wholes[name] = eb.load_run(folder)
        end = time.monotonic() + 60 * options.minutes
        while time.monotonic() < end and kills < options.kills:
            name = moments.choice(list(RUNS))
            folder = Path(place) / f"run {finished} {begun}"
            begun += 1
            while True:
                child = forked(lambda folder=folder, name=name: train(folder, data, RUNS[name]))  # type: ignore[misc]
                if ended(child, moments.random() * 1.5):
                    break
                os.kill(child, signal.SIGKILL)
                died = time.time()
                os.waitpid(child, 0)
                kills += 1
                history = folder / "history.records"
                if not history.exists() or not eb_began(folder):
                    continue
                run = eb.load_run(folder)
                if run.state == "finished":  # killed after its last byte
                    break
                assert run.state in ("lost", "finished"), run.state
                begins(run, wholes[name])
                if run.steps:
                    lost.append(died - history.stat().st_mtime)
                    assert lost[-1] < LEAST, f"{lost[-1]:.1f} s of history were lost"
                if (folder / "state.records").exists():
                    resumed += 1
                    run.model  # noqa: B018 - it can be read
            equal(eb.load_run(folder), wholes[name])
            finished += 1
            if finished % 20 == 0:
                print(f"{kills} kills, {finished} runs to their ends", flush=True)
    print(
        f"{kills} kills of {finished} runs of {STEPS} steps, {resumed} with a kept state: none unreadable, none with "
        f"other numbers, all {finished} ended like runs that were not killed. Last written before the kill: "
        f"{1000 * float(np.median(lost)):.0f} ms in the median, {1000 * max(lost):.0f} ms at most."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
