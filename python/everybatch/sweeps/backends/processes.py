"""Worker processes, each with few threads: two runs side by side end sooner than one after the other on all cores."""

from __future__ import annotations

import contextlib
import dataclasses
import heapq
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

from everybatch._system import can_pass_files, usable_cores
from everybatch.errors import ArgumentError, InternalError
from everybatch.sweeps._elsewhere import pack
from everybatch.sweeps._memory import put_bytes, put_dataset
from everybatch.sweeps._perform import give_up, stored_row
from everybatch.sweeps.backends import Event, Order

__all__ = ["run"]

_STARTS = 3  # workers in a row that may die before they are ready


@dataclasses.dataclass
class _Worker:
    process: subprocess.Popen[bytes]
    connection: Connection
    lifeline: int
    ready: bool = False
    number: int | None = None
    """The trial that it trains."""
    asks: int | None = None
    """The step at which it waits for a verdict."""


def run(order: Order) -> Iterator[Event]:
    """Train the trials; see `everybatch.sweeps.backends`.

    Raises
    ------
    ArgumentError
        The system cannot give a new process open files.
    """
    if not can_pass_files():
        raise ArgumentError(
            "backend='processes' gives its workers open files, which this system cannot: "
            "choose backend='serial', 'packed' or 'ray'"
        )
    with _Pool(order) as pool:
        yield from pool.work()


class _Pool:
    """The workers, and what each does."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._waiting = list(order.numbers)
        heapq.heapify(self._waiting)
        self._tries: dict[int, int] = {}
        self._workers: list[_Worker] = []
        self._failed_starts = 0
        self._started = 0

    def __enter__(self) -> _Pool:
        self._files = contextlib.ExitStack()
        content, datasets = pack(self._order.job)
        self._job = self._keep(put_bytes(content))
        self._datasets = {name: self._keep(put_dataset(dataset)) for name, dataset in datasets.items()}
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.process.kill()  # a trial is stored whole or not at all
        for worker in self._workers:
            self._bury(worker)
        self._files.close()

    def work(self) -> Iterator[Event]:
        """Keep the workers busy until every trial has ended."""
        for _ in range(min(self._order.backend.workers or _usual_workers(self._order), len(self._waiting))):
            self._start()
        while self._waiting or any(worker.number is not None for worker in self._workers):
            by_connection = {worker.connection: worker for worker in self._workers}
            for connection in wait(list(by_connection)):
                worker = by_connection[connection]  # type: ignore[index] # these are Connections
                try:
                    message = worker.connection.recv()
                except (EOFError, OSError):  # also in the middle of a message
                    yield from self._died(worker)
                else:
                    yield from self._heard(worker, message)
            self._answer()

    def _heard(self, worker: _Worker, message: tuple[Any, ...]) -> Iterator[Event]:
        referee, number = self._order.referee, worker.number
        match message:
            case ("ready",):
                worker.ready, self._failed_starts = True, 0
                yield from self._give(worker)
            case ("rung", step, value):
                assert referee is not None  # or nobody would ask
                assert number is not None
                referee.came(number, step, value)
                worker.asks = step
            case ("ended", row, (kind, key, files)):
                assert number is not None  # it had one
                if files and not self._order.store.put_files(kind, key, files):
                    row = stored_row(self._order.store, row)
                if referee is not None:
                    referee.ended(number)
                worker.number = None
                yield Event(number, row)
                yield from self._give(worker)
            case ("broken", error):
                raise error

    def _give(self, worker: _Worker) -> Iterator[Event]:
        """Give a free worker the next trial."""
        while self._waiting and worker.number is None:
            number = heapq.heappop(self._waiting)
            if not self._order.begin(number):
                continue
            worker.number = number
            with contextlib.suppress(OSError):  # it has died; the end of its connection is still to be read
                worker.connection.send(worker.number)
            yield Event(worker.number)

    def _answer(self) -> None:
        """Send the verdicts that can be told by now."""
        referee = self._order.referee
        for worker in self._workers:
            if worker.asks is None or referee is None or worker.number is None:
                continue
            verdict = referee.verdict(worker.number, worker.asks)
            if verdict is not None:
                worker.asks = None
                with contextlib.suppress(OSError):
                    worker.connection.send(verdict)

    def _died(self, worker: _Worker) -> Iterator[Event]:
        """Try the trial of a dead worker again, or give it up; and start another worker if there is work for it."""
        self._workers.remove(worker)
        how = self._bury(worker)
        if not worker.ready:
            self._failed_starts += 1
            if self._failed_starts >= _STARTS:
                raise InternalError(f"the worker processes die as soon as they start: {how}")
        number = worker.number
        if number is not None:
            tries = self._tries[number] = self._tries.get(number, 0) + 1
            if tries <= self._order.backend.retries:
                heapq.heappush(self._waiting, number)
            else:
                error = InternalError(f"its worker process {how}, {tries} times")
                row = give_up(self._order.job, number, self._order.store, error)
                if self._order.referee is not None:
                    self._order.referee.ended(number)
                yield Event(number, row)
        if self._waiting:
            self._start()

    def _start(self) -> None:
        here, there = Pipe()
        watched, held = os.pipe()
        numbers = [there.fileno(), watched, self._job, *self._datasets.values()]
        pairs = [f"{name}={file}" for name, file in self._datasets.items()]
        job = self._order.job
        asserts = ["-" + "O" * sys.flags.optimize] if sys.flags.optimize else []  # a function's code is compared
        command = [sys.executable, *asserts, "-P", "-m", "everybatch.sweeps.backends._worker"]
        store = self._order.store
        command += [str(there.fileno()), str(watched), str(self._job), "" if store.reaches == "process" else store.name]
        command += [_device(job.device, self._started), *pairs]
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(job.threads),
            # Modules are found where they are found here: in the current folder only if it is one of these places.
            "PYTHONPATH": os.pathsep.join(path or os.curdir for path in sys.path),
        }
        # Ctrl-C in a terminal reaches all: a worker must not see it before it ignores it. It is born with our mask.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=numbers, env=environment)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        there.close()
        os.close(watched)
        self._workers.append(_Worker(process, here, held))
        self._started += 1

    def _bury(self, worker: _Worker) -> str:
        """Wait for the end of a worker whose connection is closed, or that was killed; tell how it ended."""
        worker.connection.close()
        os.close(worker.lifeline)
        code = worker.process.wait()
        if code < 0:
            name = _signal(-code)
            return f"was killed ({name}{', perhaps for want of memory' if name == 'SIGKILL' else ''})"
        return f"ended with exit code {code}"

    def _keep(self, file: int) -> int:
        self._files.callback(os.close, file)
        return file


def _signal(number: int) -> str:
    """The name of a signal; those for programs' own use have none."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _usual_workers(order: Order) -> int:
    if order.job.device.startswith("cuda"):
        return max(1, torch.cuda.device_count())
    return max(1, usable_cores() // order.job.threads)


def _device(device: str, number: int) -> str:
    """One GPU after the other, unless the user has named one."""
    return f"cuda:{number % max(1, torch.cuda.device_count())}" if device == "cuda" else device
