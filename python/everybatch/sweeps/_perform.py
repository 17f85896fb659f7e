"""One trial from beginning to end, the same in every backend: train, sum up, store."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import traceback
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from everybatch._core import Network, Step, Turn, __version__
from everybatch._hooks import HOOKS, Hooks
from everybatch._metered import total_steps
from everybatch._trial import Trial
from everybatch.augment import Augment
from everybatch.dataset import Dataset
from everybatch.errors import ArgumentError, StopTraining
from everybatch.run import Run
from everybatch.runs._files import WEIGHTS, sealed
from everybatch.runs._write import write_files
from everybatch.schedules import Schedule
from everybatch.sweeps._going import Going
from everybatch.sweeps._index import Row, read_row
from everybatch.sweeps._store import FAILED, ROW, TRIALS, Store
from everybatch.sweeps._summary import summarise
from everybatch.sweeps._trials import arguments_of, keeps_weights
from everybatch.sweeps.pruning import Pruning

__all__ = ["Ask", "Job", "give_up", "perform", "stored_row"]

Ask = Callable[[int, int, float], bool]
"""Called with a trial's number, the steps taken and the monitored value: whether the trial is to end."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """What all trials of a sweep have in common, and the trials."""

    trials: list[Trial]
    dataset: Dataset | None
    function: Callable[[dict[str, Any]], Run] | None
    """A user's own, instead of `everybatch.train` on `dataset`."""
    defaults: dict[str, Any]
    """Arguments of `everybatch.train` that a config goes before."""
    device: str
    threads: int
    keep_models: bool
    pruning: Pruning | None


def perform(
    job: Job,
    number: int,
    store: Store,
    *,
    device: str,
    ask: Ask | None = None,
    turn: Turn | None = None,
    data: Callable[[Dataset, str], Any] | None = None,
) -> Row:
    """Train a trial, put it into the store, and return the row that is there then.

    What fails in training is stored as a failure.

    Parameters
    ----------
    job, number
        Which trial of what.
    store
        Where its folder goes.
    device
        That this trial is trained on.
    ask
        Decides about pruning; may wait.
    turn, data
        Of replicas in one process, see `everybatch._hooks`. The turn is left as soon as the training is over.

    Raises
    ------
    OSError
        The store cannot be written; what was kept of a trial on its way stays.
    KeyboardInterrupt
        Ctrl-C, while it trained.
    """
    trial = job.trials[number]
    rungs: dict[int, float] = {}
    pruned: list[int] = []
    rule = job.pruning

    def look(step: Step) -> None:
        if rule is None or ask is None or not rule.is_rung(step.step, step.total_steps):
            return
        rungs[step.step] = rule.value(step)
        if ask(number, step.step, rungs[step.step]):
            pruned.append(step.step)
            raise StopTraining(f"pruned after step {step.step}: {rule.reason}")

    callbacks = [(look, rule.every)] if rule is not None and ask is not None else []
    with contextlib.closing(_going(job, trial, store, shares=turn is not None)) as going:
        token = HOOKS.set(Hooks(turn=turn, data=data, callbacks=callbacks, passing=job.function is None))
        try:
            if rule is not None and ask is not None and any(ask(number, *rung) for rung in going.rungs(rule)):
                going.remove()  # it is to end earlier than it was cut off
            run = _train(job, trial, device, going)
            row = {**_identity(trial), **summarise(run)}
            if rule is not None and ask is not None and job.function is not None and not rungs:
                _warn_of_no_rungs(rule, run)
        except Exception as error:
            if isinstance(error, OSError) and job.function is None:
                raise  # of a disk: the trial has not failed, and goes on when the sweep is begun again
            going.remove()
            return _store_failure(store, trial, error, rungs=rungs)
        finally:
            HOOKS.reset(token)
            if turn is not None:
                turn.leave()  # the others need not wait for a disk
        if run.interrupted:
            raise KeyboardInterrupt
        if run.state == "stopped" and run.steps in pruned:  # and not another run, which the function returned
            assert rule is not None  # nothing else prunes
            row |= {"status": "pruned", "pruning": rule.to_dict()}
        with store.staging(trial.key) as folder:
            config = run._config
            if job.function is None and config["training"]["checkpoints"] is not None:
                config["training"]["checkpoints"] = str(folder.with_name(trial.key).absolute() / WEIGHTS)
            write_files(folder, config, run._arrays, run.model if job.keep_models and run._has_model else None)
            going.hand_over(folder / WEIGHTS)
            _write_row(folder, row)
            put = store.put(folder, TRIALS, trial.key)
        going.remove()
        return row if put else stored_row(store, row)


def give_up(job: Job, number: int, store: Store, error: BaseException) -> Row:
    """Put a trial that ends with its worker into the store as a failure, forget what was kept of it, return its row.

    Raises
    ------
    OSError
        The store cannot be written.
    """
    trial = job.trials[number]
    row = _store_failure(store, trial, error)
    with contextlib.closing(_going(job, trial, store)) as going:
        going.remove()
    return row


def _store_failure(store: Store, trial: Trial, error: BaseException, *, rungs: dict[int, float] | None = None) -> Row:
    """Put a failed trial into the store, with its traceback, and return its row."""
    sentence = " ".join(_text(error).split())
    message = f"{type(error).__name__}: {sentence}" if sentence else type(error).__name__
    row = {**_identity(trial), "status": "failed", "message": message, "rungs": rungs or {}}
    told = "".join(traceback.format_exception(error))
    with store.staging(trial.key) as folder:
        _write_row(folder, {**row, "traceback": told})
        store.put(folder, FAILED, trial.key)
    return row


def stored_row(store: Store, row: Row) -> Row:
    """Return the row that another sweep has stored of a trial, which has kept its place; `row` if it is gone by now."""
    return read_row(store, TRIALS, row["key"]) or row


def _text(error: BaseException) -> str:
    """What an exception says, if it can say anything."""
    try:
        return str(error)
    except Exception:
        return ""


def _going(job: Job, trial: Trial, store: Store, *, shares: bool = False) -> Going:
    """Return what is kept of a trial on its way; one that `shares` its process has no number of threads of its own."""
    if job.function is not None:
        return Going(None)
    spare = partial(store.spare, trial.key) if keeps_weights(trial.given) else None
    threads = job.threads if shares and job.device == "cpu" else None
    return Going(store.under_way(trial.key), spare, store.hold(trial.key), threads=threads)


def _train(job: Job, trial: Trial, device: str, going: Going) -> Run:
    if job.function is not None:
        # What it does to a list or a dict in its config must not reach other trials.
        made = _called(job.function, {**copy.deepcopy(trial.given, _unchanging(trial.given)), "seed": trial.seed})
        if not isinstance(made, Run):
            raise TypeError(f"the function must return the Run of eb.train, not {type(made).__name__}")
        if made.state in ("running", "lost"):
            raise ArgumentError(
                f"the function returned a run that has not ended (its state is {made.state!r}): return the run of an "
                "eb.Meter after its `with` block, and go on with a lost run by eb.resume"
            )
        return made
    assert job.dataset is not None  # `sweep` gives one of the two
    network, arguments = arguments_of(trial.given, job.dataset)
    arguments = {**job.defaults, **arguments, "seed": trial.seed, "device": device}
    return going.train(network, job.dataset, **arguments, progress=False)


def _unchanging(value: Any) -> dict[int, Any]:
    """Return as the memo of `copy.deepcopy` what it is not to copy: networks and the like, known by their place."""
    if isinstance(value, (Mapping, list, tuple)):
        entries = value.values() if isinstance(value, Mapping) else value
        return {name: thing for entry in entries for name, thing in _unchanging(entry).items()}
    return {id(value): value} if isinstance(value, (Network, Schedule, Augment)) else {}


def _warn_of_no_rungs(rule: Pruning, run: Run) -> None:
    """Warn if a rule should have looked at a run, and could not."""
    total = total_steps(run._config, run.steps)
    if any(rule.is_rung(step, total) for step in range(1, run.steps + 1)):
        warnings.warn(
            "pruning looks at the trainings of eb.train alone, and the function returned another run: an eb.Meter, or "
            "a run that was there before, is never ended early",
            RuntimeWarning,
            stacklevel=2,
        )


def _called(function: Callable[[dict[str, Any]], Any], config: dict[str, Any]) -> Any:
    """Return what a user's function does; where it would end the process, its trial fails."""
    try:
        return function(config)
    except SystemExit as error:
        raise RuntimeError(f"the function called sys.exit({'' if error.code is None else repr(error.code)})") from error
    except GeneratorExit as error:
        raise RuntimeError("the function raised GeneratorExit") from error


def _identity(trial: Trial) -> Row:
    asked = {name: getattr(trial, name) for name in ("key", "config", "contents", "seed")}
    return {**asked, "version": __version__}


def _write_row(folder: Any, row: Row) -> None:
    (folder / ROW).write_bytes(sealed(row, indent=1))
