"""`Sweep`: the trials of a sweep as a table, as runs, and in pictures; `load_sweep` opens a stored one."""

from __future__ import annotations

import html
import math
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

from everybatch._arguments import choice, flag, whole
from everybatch._measures import MEASURES, RESULTS
from everybatch._trial import Trial, count_states
from everybatch.errors import ArgumentError, SelectionWarning, suggest
from everybatch.run import Run
from everybatch.sweeps._ensemble import Ensemble
from everybatch.sweeps._store import Store
from everybatch.sweeps._stored import Description, open_trials
from everybatch.sweeps._table import pivot, table

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Runs", "Sweep", "load_sweep"]


class Sweep:
    """The trials of a sweep, in the order in which it asked for them.

    `everybatch.sweep` and `load_sweep` return it. Everything is read from the store when it is asked for.

    Attributes
    ----------
    name
        The store's path.
    interrupted
        Whether Ctrl-C ended the sweep before all trials were trained.
    columns
        Names of the settings that the sweep went through.
    trials
        A `Trial` for each training that was asked for, whatever became of it.
    """

    name: str
    interrupted: bool
    columns: tuple[str, ...]
    trials: tuple[Trial, ...]

    def __init__(self, store: Store, described: Description, *, interrupted: bool = False) -> None:
        self._store, self.name, self.interrupted = store, store.name, interrupted
        self.columns, self.trials = described.columns, tuple(described.trials)
        self._with_run = {trial.key: trial for trial in self.trials if trial.has_run}

    # ---- as a table ------------------------------------------------------------------------------------

    def table(self) -> pd.DataFrame:
        """Return a pandas DataFrame with one row per trial.

        Columns: the settings that the sweep went through, ``seed``, ``parameters``, the best and final training,
        validation and test accuracies and losses (``best_test_accuracy``, ``final_test_accuracy``, ...), ``steps``,
        ``seconds`` (of steps and measurements), ``status`` and ``message``. The index, ``trial``, is the trial's name
        in the store.

        "final" is measured with the weights that the run returned; "best" is the best measurement after the first step,
        and flatters; of runs with a tolerance it is the best complete one. Training accuracy and loss are means over
        100 batches in a row. ``status`` is "finished", "pruned", "stopped", "diverged", "failed", or "missing" for
        trials that are still to be trained.

        Raises
        ------
        ImportError
            pandas is not installed.
        """
        return table(self.trials, self.columns)

    def pivot(
        self, index: str, columns: str, values: str = "final_test_accuracy", aggregate: str = "mean"
    ) -> pd.DataFrame:
        """Return a table of one column of `table` by two settings, over seeds and all other settings.

        No accuracy or loss of a trial that diverged counts: what it reached before, or gets right with weights that
        are not numbers, is not what it came to. It is left out, as trials are that failed, and where none is left,
        there is NaN. A trial that was pruned or stopped counts with the weights that it ended with.

        Parameters
        ----------
        index, columns
            Settings: their values become rows and columns.
        values
            The column.
        aggregate
            "mean", "median", "min", "max", "std" or "count" of the trials that fall together.

        Raises
        ------
        ArgumentError
            There is no such column, one is named twice, or `values` has no such aggregate.
        ImportError
            pandas is not installed.

        Warns
        -----
        RuntimeWarning
            Trials that diverged or failed are left out.
        """
        return pivot(self.table(), index, columns, values, aggregate)

    def __len__(self) -> int:
        return len(self.trials)

    # ---- as runs ---------------------------------------------------------------------------------------

    @property
    def runs(self) -> Runs:
        """The runs of all trials that have one, in order; each is read when it is asked for."""
        return Runs(self._store, list(self._with_run))

    def run(self, trial: str) -> Run:
        """Return the run of a trial, by its name in the store (the index of `table`).

        Raises
        ------
        KeyError
            The sweep has no such trial, or it has no run.
        """
        if trial not in self._with_run:
            raise KeyError(f"no trial {trial!r} with a run.{suggest(str(trial), self._with_run)}")
        return self._store.load_run(trial)

    def tracebacks(self) -> dict[str, str]:
        """Return the traceback of each failed trial, by its name in the store."""
        return {trial.key: error for trial in self.trials if (error := trial.error) is not None}

    def best(self, by: str = "validation_accuracy") -> Run:
        """Return the best run, by a value that was measured with the weights that it returned.

        Runs that diverged are never chosen.

        Parameters
        ----------
        by
            "validation_accuracy", "validation_loss", "test_accuracy", "test_loss", "train_accuracy" or "train_loss".

        Raises
        ------
        ArgumentError
            No trial has this value, or all have diverged.

        Warns
        -----
        SelectionWarning
            `by` is measured on the test images.
        """
        return self._store.load_run(self._ranked(by)[0].key)

    def ensemble(self, k: int = 5, by: str = "validation_accuracy") -> Ensemble:
        """Return the `k` best runs' models as one, which averages their probabilities.

        Runs that diverged are never among them.

        Parameters
        ----------
        k
            How many models.
        by
            As for `best`.

        Raises
        ------
        ArgumentError
            Fewer trials have this value, or their weights were not kept.

        Warns
        -----
        SelectionWarning
            `by` is measured on the test images.
        """
        wanted = whole(k, "k")
        ranked = self._ranked(by)
        if len(ranked) < wanted:
            raise ArgumentError(f"k is {wanted}, and {len(ranked)} trials have a {by}: choose a smaller one")
        runs = [self._store.load_run(trial.key) for trial in ranked[:wanted]]
        try:
            return Ensemble([run.model for run in runs])
        except AttributeError as error:
            raise ArgumentError("the weights of these runs were not kept: sweep with keep_models=True") from error

    def _ranked(self, by: str) -> list[Trial]:
        measure = MEASURES[choice(by, "by", RESULTS)]
        trained = self._with_run.values()
        if trained and all(trial.state == "diverged" for trial in trained):
            raise ArgumentError("all trials of this sweep have diverged: none of them is the best")
        # weights that are not numbers have an accuracy, but no loss
        needed = (f"final_{by}", f"final_{measure.loss or by}")
        trials = [trial for trial in trained if all(math.isfinite(trial.value(name)) for name in needed)]
        if not trials:
            hint = ": train with validation=0.1, or choose by='test_accuracy'" if measure.part == "validation" else ""
            raise ArgumentError(f"no trial of this sweep has a {by}{hint}")
        if measure.part == "test":
            _warn_of_selection(by)
        return sorted(trials, key=lambda trial: measure.sign * trial.value(f"final_{by}"))

    # ---- as pictures and text --------------------------------------------------------------------------

    def plot(self, kind: str = "curves", **options: Any) -> Any:
        """Draw the sweep.

        Parameters
        ----------
        kind
            "curves" (`everybatch.plots.sweep_curves`), "bands" (`sweep_bands`), "grid" (`sweep_grid`), "parallel"
            (`sweep_parallel`) or "scatter" (`sweep_scatter`).
        **options
            Of that function, such as ``by="lr"``.

        Returns
        -------
        Axes or list of Axes
            What the function returns.

        Raises
        ------
        TypeError, ArgumentError
            Something that cannot be drawn, with a sentence that says what could.
        """
        from everybatch import plots  # matplotlib is needed from here on

        kinds: dict[str, Callable[..., Any]] = {
            "curves": plots.sweep_curves,
            "bands": plots.sweep_bands,
            "grid": plots.sweep_grid,
            "parallel": plots.sweep_parallel,
            "scatter": plots.sweep_scatter,
        }
        return kinds[choice(kind, "kind", tuple(kinds))](self, **options)

    def _counted(self) -> Counter[str]:
        """How many trials are in which state, the most frequent first."""
        return count_states(self.trials)

    def _repr_html_(self) -> str:
        try:
            shown = self.table().dropna(axis="columns", how="all").to_html(max_rows=20)
        except ImportError:
            shown = ""
        return f"<p>{html.escape(repr(self)[1:-1])}</p>{shown}"

    def __repr__(self) -> str:
        parts = [f"{len(self)} trial{'' if len(self) == 1 else 's'}"]
        parts += [f"{count} {status}" for status, count in self._counted().items()]
        return f"<Sweep {self.name!r}: {', '.join(parts)}{', interrupted' if self.interrupted else ''}>"


class Runs(Sequence[Run]):
    """Runs in a store, read one by one as they are asked for."""

    def __init__(self, store: Store, keys: Sequence[str]) -> None:
        self._store, self._keys = store, list(keys)

    @property
    def trials(self) -> list[str]:
        """The names of their trials in the store."""
        return list(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    @overload
    def __getitem__(self, index: int) -> Run: ...
    @overload
    def __getitem__(self, index: slice) -> Runs: ...
    def __getitem__(self, index: int | slice) -> Run | Runs:
        if isinstance(index, slice):
            return Runs(self._store, self._keys[index])
        return self._store.load_run(self._keys[index])

    def __iter__(self) -> Iterator[Run]:
        return map(self._store.load_run, self._keys)

    def __repr__(self) -> str:
        return f"<{len(self)} runs>"


def load_sweep(store: str | os.PathLike[str], *, everything: bool = False) -> Sweep:
    """Open a stored sweep.

    Parameters
    ----------
    store
        The path that was given to `everybatch.sweep`.
    everything
        Show all trials in the store, and not only those that the last sweep asked for.

    Raises
    ------
    FileNotFoundError
        There is no sweep at this path.
    FileFormatError
        Its files are not what a sweep writes.
    """
    return Sweep(*open_trials(store, everything=flag(everything, "everything")))


def _warn_of_selection(by: str) -> None:
    warnings.warn(
        f"by={by!r} chooses among the trials by the test images, so that the accuracy of the chosen one flatters. "
        "Train with validation=0.1 to choose by images held out of the training set",
        SelectionWarning,
        stacklevel=4,
    )
