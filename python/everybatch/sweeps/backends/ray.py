"""A Ray cluster: each trial is a task, on whichever node has what it needs.

The driver submits trials in their order, some more than fit at a time, and Ray begins them in that order. Trials and
driver leave word for each other at a desk, an actor beside the driver; so the referee stays in the driver.
"""

from __future__ import annotations

import contextlib
import dataclasses
import heapq
import itertools
import re
import time
import warnings
from collections.abc import Iterator
from typing import Any

try:
    import ray
except ImportError as error:
    raise ImportError(f'backend="ray" needs Ray: pip install "everybatch[ray]" ({error})') from error

from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from everybatch._core import __version__
from everybatch.errors import ArgumentError, EverybatchError, InternalError
from everybatch.sweeps._elsewhere import pack
from everybatch.sweeps._index import Row
from everybatch.sweeps._parcel import parts_of
from everybatch.sweeps._perform import give_up, stored_row
from everybatch.sweeps.backends import Event, Order
from everybatch.sweeps.backends._ray_cluster import Cluster, Node, capacity, connected, needs_of, shown
from everybatch.sweeps.backends._ray_task import Desk, train

__all__ = ["run"]

_LOOK = 3.0  # seconds between two looks at the nodes
_GROWS = 300.0  # seconds in which a cluster may grow a node that has what a trial needs
_STUCK = 30.0  # seconds that a trial may lack a place that later ones hold, while all of those wait for it
_ENDS = 30.0  # seconds in which trials that are cancelled may end
_CALLS = 100_000  # trials that may wait at the desk at a time
_DEATHS = (
    ray.exceptions.WorkerCrashedError,
    ray.exceptions.NodeDiedError,
    ray.exceptions.OutOfMemoryError,
    ray.exceptions.ObjectLostError,  # the result went with the node that kept it
    ray.exceptions.TaskCancelledError,  # by somebody else
)

_GONE = (
    ray.exceptions.LocalRayletDiedError,
    ray.exceptions.RayActorError,  # the desk's node is this process's own
    ray.exceptions.RaySystemError,
    ray.exceptions.RpcError,
)
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@dataclasses.dataclass(eq=False)
class _Task:
    """One try of a trial, submitted."""

    ticket: int
    number: int
    result: Any
    begun: bool = False
    asks: int | None = None
    """The step at which it waits for a verdict."""


def run(order: Order) -> Iterator[Event]:
    """Train the trials; see `everybatch.sweeps.backends`.

    Raises
    ------
    ArgumentError
        No node has what a trial needs; of a cluster that was there before, none has come up for five minutes either.
    ConnectionError
        The cluster cannot be reached, or no longer. What is stored is whole.
    ImportError
        The nodes lack everybatch, or the module of a user's function.
    """
    needs = needs_of(order.backend.resources, threads=order.job.threads, device=order.job.device)
    with connected(order.backend.address) as cluster, _Pool(order, needs, cluster) as pool:
        try:
            yield from pool.work()
        except _GONE as error:
            raise ConnectionError(f"the Ray cluster fails, or is gone: {_plain(error)}") from error


class _Pool:
    """The tasks that are submitted, and what is known of each."""

    def __init__(self, order: Order, needs: Node, cluster: Cluster) -> None:
        self._order, self._needs, self._cluster = order, needs, cluster
        self._waiting = list(order.numbers)
        heapq.heapify(self._waiting)
        self._tasks: dict[int, _Task] = {}
        """By ticket."""
        self._tickets = itertools.count()
        self._tries: dict[int, int] = {}
        self._places = 1
        self._looked = self._fits = self._moves = time.monotonic()
        """When there was a look at the nodes, one that fits, and no trial that lacked its place."""
        self._warned = False

    def __enter__(self) -> _Pool:
        job, needs = self._order.job, self._needs
        content, datasets = pack(job)
        store = self._order.store
        self._shared = [
            ray.put(content),
            store.name if store.reaches == "anywhere" else "",
            "cuda:0" if job.device == "cuda" else job.device,  # the first of those that Ray lets a task see
            __version__,
            *(ray.put((name, *parts_of(dataset))) for name, dataset in datasets.items()),
        ]
        options: dict[str, Any] = {
            "num_cpus": needs["CPU"],
            "num_gpus": needs["GPU"],
            "resources": {name: need for name, need in needs.items() if name not in ("CPU", "GPU", "memory")},
            "max_retries": 0,  # we count them, and keep the order
        }
        if "memory" in needs:
            options["memory"] = needs["memory"]
        self._train = ray.remote(**options)(train)
        here = NodeAffinitySchedulingStrategy(self._cluster.here, soft=False)
        desk: Any = ray.remote(Desk)  # its methods become others
        self._desk = desk.options(
            num_cpus=0, max_restarts=-1, max_task_retries=-1, max_concurrency=_CALLS, scheduling_strategy=here
        ).remote()
        self._news = self._desk.news.remote()
        return self

    def __exit__(self, *_: object) -> None:
        if self._cluster.gone or not self._cluster.lasts:
            return
        running = [task.result for task in self._tasks.values()]
        with contextlib.suppress(ConnectionError, ray.exceptions.RayError):
            for result in running:
                ray.cancel(result)  # not by force: Ray 2.60 aborts this process if a task ends at that moment
            self._desk.close.remote()
            last = [self._news, *running]
            ray.wait(last, num_returns=len(last), timeout=_ENDS, fetch_local=False)
            ray.kill(self._desk)

    def work(self) -> Iterator[Event]:
        """Keep tasks submitted until every trial has ended."""
        self._look()
        while self._waiting or self._tasks:
            while self._waiting and len(self._tasks) < (self._order.backend.workers or max(1, 2 * self._places)):
                number = heapq.heappop(self._waiting)
                if self._order.begin(number):
                    self._submit(number)
            by_result = {task.result: task for task in self._tasks.values()}
            ready, _ = ray.wait([self._news, *by_result], timeout=_LOOK, fetch_local=False)
            for result in ready:
                if result == self._news:
                    yield from self._heard()
                else:
                    yield from self._ended(by_result[result])
            self._answer()
            if time.monotonic() - self._looked > _LOOK:
                self._look()

    def _submit(self, number: int) -> None:
        ticket = next(self._tickets)
        self._tasks[ticket] = _Task(ticket, number, self._train.remote(self._desk, ticket, number, *self._shared))

    def _heard(self) -> Iterator[Event]:
        """Read what trials have left at the desk."""
        news = ray.get(self._news)
        self._news = self._desk.news.remote()
        referee = self._order.referee
        for ticket, rung in news:
            task = self._tasks.get(ticket)
            if task is None:
                continue  # it is no more
            if not task.begun:
                task.begun = True
                yield Event(task.number)
            if rung is not None:
                assert referee is not None  # or nobody would ask
                referee.came(task.number, *rung)
                task.asks = rung[0]

    def _answer(self) -> None:
        """Send the verdicts that can be told by now."""
        referee = self._order.referee
        for task in self._tasks.values():
            if task.asks is None or referee is None:
                continue
            verdict = referee.verdict(task.number, task.asks)
            if verdict is not None:
                task.asks = None
                self._desk.answer.remote(task.ticket, verdict)

    def _ended(self, task: _Task) -> Iterator[Event]:
        """Store what a task brings, or see what became of it."""
        del self._tasks[task.ticket]
        try:
            row, (kind, key, files) = ray.get(task.result)
        except _DEATHS as error:
            yield from self._died(task.number, error)
            return
        except ray.exceptions.RayTaskError as error:
            raise _reason(error) from error
        if files and not self._order.store.put_files(kind, key, files):
            row = stored_row(self._order.store, row)
        if not task.begun:
            yield Event(task.number)
        yield self._done(task.number, row)

    def _died(self, number: int, error: Exception) -> Iterator[Event]:
        """Try the trial of a dead worker again, before later ones, or give it up."""
        self._look()  # or is it the cluster that has died?
        tries = self._tries[number] = self._tries.get(number, 0) + 1
        if tries > self._order.backend.retries:
            what = _plain(error).strip().partition("\n")[0]
            failure = InternalError(f"its Ray worker died, {tries} times: {what}")
            yield self._done(number, give_up(self._order.job, number, self._order.store, failure))
            return
        heapq.heappush(self._waiting, number)
        for task in list(self._tasks.values()):
            if not task.begun and task.number > number:
                self._withdraw(task)

    def _done(self, number: int, row: Row) -> Event:
        if self._order.referee is not None:
            self._order.referee.ended(number)
        return Event(number, row)

    def _withdraw(self, task: _Task) -> None:
        """Take a task back; its trial is submitted again in its turn."""
        ray.cancel(task.result)
        del self._tasks[task.ticket]
        heapq.heappush(self._waiting, task.number)

    def _look(self) -> None:
        """See what nodes there are."""
        nodes = self._cluster.nodes()
        self._looked = time.monotonic()
        if nodes is None:
            return
        self._places = capacity(nodes, self._needs)
        if self._places:
            self._fits = self._looked
        else:
            self._lacks(nodes)
        self._make_room()

    def _lacks(self, nodes: list[Node]) -> None:
        """No node has what a trial needs: wait for one that may come, but not for ever."""
        sentence = f"no node of the Ray cluster has what a trial needs ({shown(self._needs)}); there are " + ", ".join(
            f"({text})" for text in sorted({shown(node) for node in nodes})
        )
        if self._cluster.own or self._looked - self._fits > _GROWS:
            raise ArgumentError(f"{sentence}. Give other resources")
        if not self._warned:
            self._warned = True
            warnings.warn(f"{sentence}. Waiting {_GROWS:.0f} seconds for one that has", RuntimeWarning, stacklevel=2)

    def _make_room(self) -> None:
        """Take the last trial back, if all that have begun wait for an earlier one that finds no place."""
        begun = [task for task in self._tasks.values() if task.begun]
        first = min((task.number for task in self._tasks.values() if not task.begun), default=None)
        last = max(begun, key=lambda task: task.number, default=None)
        if first is None or last is None or first > last.number or any(task.asks is None for task in begun):
            self._moves = time.monotonic()
        elif time.monotonic() - self._moves > _STUCK:
            self._moves = time.monotonic()
            self._withdraw(last)


def _reason(error: ray.exceptions.RayTaskError) -> Exception:
    """Return what a task has raised, rather than Ray's account of it."""
    if isinstance(error.cause, (EverybatchError, ImportError, OSError)):
        return error.cause
    return InternalError(f"a task of Ray failed; everybatch must be installed on all nodes. {_plain(error)}")


def _plain(error: Exception) -> str:
    """Return what an error says, without the colours that Ray gives it for a terminal."""
    return _COLOURS.sub("", str(error))
