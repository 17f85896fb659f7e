"""`sweep`: what is asked for, less what is stored, goes to a backend; what comes back goes into the index."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from everybatch._arguments import flag, whole
from everybatch._metered import total_steps
from everybatch._not_compiled import not_compiled
from everybatch._trial import Trial
from everybatch.dataset import Dataset, check_dataset
from everybatch.errors import ArgumentError
from everybatch.run import Run
from everybatch.sweeps._claims import Claims
from everybatch.sweeps._content import content_of
from everybatch.sweeps._index import Index, Row
from everybatch.sweeps._known import Known
from everybatch.sweeps._perform import Job
from everybatch.sweeps._store import Store, open_store
from everybatch.sweeps._stored import Description, with_results, write_description
from everybatch.sweeps._sweep import Sweep
from everybatch.sweeps._trials import check_number, keeps_weights, plan, plan_for_function, seeds_of
from everybatch.sweeps._work import Shared, work
from everybatch.sweeps.backends import Order
from everybatch.sweeps.backends._backend import Backend, as_backend, owner_of
from everybatch.sweeps.pruning import Pruning, Referee
from everybatch.sweeps.space import Config, Space, configs_of

__all__ = ["sweep"]

_MOST_THREADS = 1024


@not_compiled
def sweep(
    space: Space | Callable[[Config], Run],
    dataset: Dataset | Space,
    *,
    seeds: int | Sequence[int] = 1,
    backend: str | Backend = "processes",
    store: str | os.PathLike[str] = "sweeps/default",
    threads: int = 1,
    device: str = "auto",
    pruning: Pruning | None = None,
    keep_models: bool = True,
    retry_failed: bool = False,
    progress: bool = True,
    **fixed: Any,
) -> Sweep:
    """Train every config of a space with every seed; keep each run in a store, and do only what is not there yet.

    ``sweep(space, dataset, ...)`` calls `everybatch.train`. ``sweep(train_one, space, ...)`` calls your own function
    with each config, a dict with the key ``"seed"`` among the others; it returns the `Run`. A function is known by its
    code and all that it refers to: captured values, defaults, and the functions, classes and values of your own files
    or notebook that it uses, and that these use. Where any of it is changed, the trials are trained again.
    What it looks up only while it runs is not seen: files, environment variables, and modules whose names are made by
    the program; such a thing belongs into the config.

    Parameters
    ----------
    space
        A grid, from names to lists of values: every combination is trained. Or a list of configs, such as
        `everybatch.sweeps.random` and `everybatch.sweeps.sobol` draw. Names are arguments of `everybatch.train`,
        ``"network"`` (a `Network`, or the name of a builder in `everybatch.networks`) and options of the builder,
        such as ``"network.dropout"``. In a list, each config may have a ``"label"``, a text of its own that names it in
        tables and pictures, and changes nothing. With ``"checkpoint_every"``, which makes it another trial, a store
        on a disk of this machine keeps weights of each trial on the way, for `Run.checkpoints` and
        `everybatch.evaluate_checkpoints`; those of trials that fail go.
    dataset
        Training and test images.
    seeds
        How many seeds, from 0 on, or a list of them. Each config is trained with each.
    backend
        "processes": worker processes on this machine. "serial": one trial after the other in this process. "packed":
        many replicas in this process that take turns, meant for one GPU, which works for all of them at once. "ray": a
        Ray cluster. Or one of these with options of its own, such as ``eb.sweeps.processes(workers=2)`` or
        ``eb.sweeps.ray(resources={"num_gpus": 0.25})``. With as many threads, all give the same numbers.
    store
        A folder, or any path that fsspec knows, such as ``"s3://bucket/sweep"``. Several sweeps may share one, even at
        the same time: trials are known by a hash of config, seed, data and version, and in a folder those that another
        sweep trains already are waited for, unless `pruning` is given.
    threads
        CPU threads of a trial. Two trials of one thread each end sooner than one after the other with two. The last
        digits of a run depend on this number, so it does not depend on the machine unless you say so.
    device
        "auto" (GPUs if there are any; with Ray, if a trial's resources have ``num_gpus``), "cpu", "cuda" (all GPUs in
        turn) or "cuda:1".
    pruning
        End trials early that stay behind on the validation images: `everybatch.sweeps.median()` or
        `everybatch.sweeps.successive_halving()`.
    keep_models
        Keep the weights of each run. Without them `Sweep.ensemble` and `Run.model` of its runs are not to be had.
        Trials that an earlier sweep has stored without them are trained again.
    retry_failed
        Train those trials again that have failed before.
    progress
        Whether to draw a line with trials done, failed and running, the best so far and the time left.
    **fixed
        Settings that all configs share, such as ``epochs=2``; a config goes before them.

    Returns
    -------
    Sweep
        Its table, runs, best run, ensemble and pictures. Ctrl-C returns what there is until then, with
        ``sweep.interrupted`` true. A trial that fails is kept with its traceback, and the others go on.

    Raises
    ------
    ArgumentError, ShapeError
        A config cannot work: nothing is trained then. Or the store holds a trial of the same images and labels whose
        classes had other names.
    TypeError
        An argument is of the wrong type.
    OSError
        The store cannot be written. What is in it stays whole.
    ImportError
        The backend "ray" needs Ray: ``pip install "everybatch[ray]"``.

    Warns
    -----
    SelectionWarning
        The test images choose weights or length of the runs.

    Examples
    --------
    >>> import everybatch as eb
    >>> data = eb.datasets.glyphs(train=600, test=200)
    >>> made = eb.sweep(
    ...     {"lr": [1e-3, 5e-3], "network.dropout": [0.0, 0.5]},
    ...     data,
    ...     network="lenet5",
    ...     steps=5,
    ...     backend="serial",
    ...     store="memory://example",
    ...     progress=False,
    ... )
    >>> made
    <Sweep 'memory://example': 4 trials, 4 finished>
    """
    way = as_backend(backend)
    for name in fixed:
        if (owner := owner_of(name, way.name)) is not None:
            raise ArgumentError(
                f"{name} belongs to the backend: give backend=eb.sweeps.{owner}({name}={fixed[name]!r})"
            )
    function, asked, data = _told_apart(space, dataset)
    given = seeds_of(seeds)
    if pruning is not None and not isinstance(pruning, Pruning):
        raise TypeError(f"pruning must be eb.sweeps.median() or successive_halving(), not {type(pruning).__name__}")
    where = way.device(device)
    drawn = configs_of(asked)
    configs = [{**fixed, **config} for config in drawn]
    check_number(configs, given)
    columns = list(dict.fromkeys(name for config in drawn for name in config))
    # Nothing is chosen by its speed, so that every backend gives the same numbers.
    defaults = {"deterministic": True} if where == "cpu" else {}
    if function is None:
        assert data is not None  # told apart
        here = "cpu" if way.name == "ray" else where
        trials = plan(configs, given, data, defaults, device=here, prunes=pruning is not None)
    else:
        content = content_of(function)
        trials = plan_for_function(function, content, configs, given)

    there = open_store(store)
    if function is None and any(map(keeps_weights, configs)):
        _check_room_for_weights(there, way)
    there.prepare()
    index = Index(there)
    known = Known(
        store=there,
        dataset=data,
        pruning=pruning,
        keep_models=flag(keep_models, "keep_models"),
        retry_failed=flag(retry_failed, "retry_failed"),
    )
    done = known.among(index.rows[trial.key] for trial in trials if trial.key in index.rows)
    stored = {trial.number: index.rows[trial.key] for trial in trials if trial.key in done}
    there.clear(done)
    write_description(there, trials, columns)
    job = Job(
        trials=trials,
        dataset=data,
        function=function,
        defaults=defaults,
        device=where,
        threads=_few_threads(threads),
        keep_models=known.keep_models,
        pruning=pruning,
    )
    # Pruning needs every trial before a later one, so that a sweep with it trains all of its own.
    with contextlib.closing(there.claims() if pruning is None else Claims(None)) as claims:
        shared = Shared(job, index, claims, known.counts)
        order = Order(
            backend=way,
            job=job,
            numbers=[trial.number for trial in trials if trial.number not in stored],
            begin=shared.begin,
            store=there,
            referee=None if pruning is None else _referee(pruning, trials, stored, there),
        )
        interrupted = work(order, index, shared, stored, shown=flag(progress, "progress"))
    index.look_at_pruned(trial.key for trial in trials)
    if function is not None:
        _warn_of_change(function, content)
    described = with_results(Description(trials, tuple(columns)), index.rows, there)
    return Sweep(there, described, interrupted=interrupted)


def _check_room_for_weights(store: Store, backend: Backend) -> None:
    """Refuse a sweep whose trials cannot keep weights on the way."""
    if store.under_way("") is None:
        raise ArgumentError(
            f"checkpoint_every: weights are kept in a folder of this machine alone, not in {store.name}"
        )
    if backend.name == "ray":
        raise ArgumentError(
            "checkpoint_every: workers of Ray may be on other machines than the store. Take another backend, or pass a "
            "function as the first argument of sweep, and call eb.train in it"
        )


def _told_apart(first: object, second: object) -> tuple[Callable[[Config], Run] | None, object, Dataset | None]:
    """Return function, space and data set of either form of the call."""
    if callable(first):
        if isinstance(second, Dataset):
            raise TypeError(
                "with a function of your own, the second argument is the space: eb.sweep(train_one, space). The "
                "function brings its own data set"
            )
        return first, second, None
    return None, first, check_dataset(second)


def _warn_of_change(function: Callable[[Config], Run], before: str) -> None:
    """Warn if a function is another one after its trials, which are stored by what it was before."""
    with contextlib.suppress(ArgumentError):
        if content_of(function) == before:
            return
    warnings.warn(
        "the function changed something that it refers to while it trained, such as a list that it added to: the next "
        "sweep takes it for another function, and trains its trials again. Keep such things in files, or make them "
        "within the function",
        RuntimeWarning,
        stacklevel=3,
    )


def _few_threads(given: object) -> int:
    threads = whole(given, "threads")
    if threads > _MOST_THREADS:
        raise ArgumentError(f"threads is {threads:,}: the most on one machine are {_MOST_THREADS:,}")
    return threads


def _referee(rule: Pruning, trials: Sequence[Trial], stored: Mapping[int, Row], store: Store) -> Referee:
    """Return a referee that knows the stored trials."""
    referee = Referee(rule, len(trials))
    for number, row in stored.items():
        for step, value in _rungs(rule, row, store).items():
            referee.came(number, step, value)
        referee.ended(number)
    return referee


def _rungs(rule: Pruning, row: Row, store: Store) -> dict[int, float]:
    """Return the monitored values of a stored trial at the steps at which it was looked at, or would have been."""
    if row["status"] == "failed":
        return {int(step): value for step, value in row["rungs"].items()}
    run = store.load_run(row["key"])
    total = total_steps(run._config, run.steps)
    rungs = (step for step in range(rule.every, run.steps + 1) if rule.is_rung(step, total))
    return {step: rule.value_of(run, step) for step in rungs}
