"""What looks on while a run's rows are written: it takes them as the run's folder does, and has them drawn."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from everybatch._log import logger
from everybatch._measures import ARRAYS
from everybatch.folder import nothing_yet
from everybatch.folder._rows import Columns, Counts, counts_of
from everybatch.run import Run
from everybatch.watch._table import Table

if TYPE_CHECKING:
    from everybatch.folder import Journal
    from everybatch.folder._records import Pieces

__all__ = ["MANY", "Beside", "View", "run_of"]

Array = npt.NDArray[Any]
MANY = 16
"""Above so many classes there is no curve for each, and their accuracies are not kept a second time."""


class View(Protocol):
    """Something that shows a run, made when it appears below its cell."""

    def draw(self, arrays: Mapping[str, Array]) -> None:
        """Show what there is, if it is time to: the arrays by name, which the next rows may change."""

    def end(self, run: Run | None) -> None:
        """Leave what is to stay: a picture of the run, if anything was measured."""


class Beside:
    """Stands where the training loop expects a run's journal, passes everything on to it, and has a view draw it.

    The loop comes by at most five times a second, so that nothing happens at the steps in between; with callbacks it
    comes by at every step, and what it brings is put aside until then. What fails in drawing is logged once and ends
    the drawing; the run goes on.

    Parameters
    ----------
    journal
        The run's folder; None if it has none.
    told
        What is known before the first step: ``config`` and ``arrays`` of the run as a whole.
    view
        Makes what draws.
    earlier
        The rows of a run that goes on, by name.
    pause
        Seconds from one drawing to the next, at least.
    """

    def __init__(
        self,
        journal: Journal | None,
        told: Mapping[str, Any],
        view: Callable[[Mapping[str, Any]], View],
        earlier: Mapping[str, Array] | None = None,
        *,
        pause: float = 0.2,
    ) -> None:
        self._journal, self._told, self._make_view = journal, told, view
        self._pause, self._last = pause, time.monotonic()
        self._rows = Counts()
        self._aside: list[tuple[Counts, Mapping[str, Array]]] = [(Counts(), earlier)] if earlier else []
        self._columns: Columns | None = None
        self._table: Table | None = None
        self._view: View | None = None
        self.run: Run | None = None
        """What became of it, once that is known."""
        self._fails = False

    def __enter__(self) -> Beside:
        self._try(self._begin)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._try(self._end)

    # ---- as the training loop calls a journal

    @property
    def rows(self) -> Counts:
        """How many need not be told again."""
        return self._rows if self._journal is None else self._journal.rows

    def write(self, added: Mapping[str, Array], ends: bool = False) -> bool:
        """Take the rows that come after `rows`, and tell whether the state is to be kept."""
        first, is_wanted = self.rows, False
        if self._journal is None:
            self._rows = first + counts_of(added)
        else:
            is_wanted = self._journal.write(added, ends)
        self._aside.append((first, added))
        if time.monotonic() - self._last >= self._pause:
            self._try(self._draw)
            self._last = time.monotonic()
        return is_wanted

    def keep(self, state: Pieces, *where: int) -> None:
        """Keep the state of the run where it is."""
        if self._journal is not None:
            self._journal.keep(state, *where)

    # ---- drawing

    def _begin(self) -> None:
        self._view = self._make_view(self._told)
        if self._aside:
            self._draw()

    def _draw(self) -> None:
        self._take()
        if self._view is not None and self._table is not None and not self._fails:
            self._view.draw(self._table.arrays())

    def _take(self) -> None:
        """Take what was put aside into the table."""
        aside, self._aside = self._aside, []
        for first, added in _joined(aside):
            if self._columns is None or self._table is None:
                self._columns = Columns.of(added)
                self._table = Table(self._columns, _left_out(len(self._told["config"]["dataset"]["classes"])))
            self._table.add(self._columns.rows(first, added))

    def _end(self) -> None:
        run = self.run
        if run is None:
            self._take()
        if run is None and self._table is not None:  # an error ended it
            run = run_of(self._told, self._table.arrays(), "interrupted")
        if self._view is not None:
            self._view.end(run)

    def _try(self, action: Callable[[], object]) -> None:
        """Do what is about drawing. If it fails, that is said once."""
        try:
            action()
        except Exception as error:
            if not self._fails:
                logger.warning("the run goes on, but it is not drawn any more: %s: %s", type(error).__name__, error)
            self._fails = True


def _joined(
    aside: Sequence[tuple[Counts, Mapping[str, Array]]],
) -> Iterator[tuple[Counts, Mapping[str, Array]]]:
    """Give rows that came one after the other as one piece: many small ones would take long."""
    pieces: list[Mapping[str, Array]] = []
    first = after = Counts()
    for place, added in aside:
        if pieces and place != after:
            yield first, _together(pieces)
            pieces = []
        first = first if pieces else place
        pieces.append(added)
        after = place + counts_of(added)
    if pieces:
        yield first, _together(pieces)


def _together(pieces: Sequence[Mapping[str, Array]]) -> Mapping[str, Array]:
    if len(pieces) == 1:
        return pieces[0]
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}


def run_of(told: Mapping[str, Any], arrays: Mapping[str, Array], state: str) -> Run:
    """Return a run with what was recorded so far, and nothing yet of what every run has."""
    config = {**told["config"], "status": {"state": state}}
    there = {name: np.asarray(values) for name, values in told["arrays"].items()} | dict(arrays)
    classes = len(config["dataset"]["classes"])
    there |= nothing_yet(there, counts_of(there) + Counts(classes=classes))
    there.setdefault("confusion", np.zeros((classes, classes), np.int64))  # it is made at the end
    return Run(there, config)


def _left_out(classes: int) -> set[str]:
    """Return the columns that nothing draws."""
    wide = {name for name, measure in ARRAYS.items() if len(measure.dimensions) > 1}
    return wide if classes > MANY else {name for name in wide if ARRAYS[name].dimensions[1] != "classes"}
