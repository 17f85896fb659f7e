"""What runs in a Ray cluster: the trials, and the desk where they and the driver leave word for each other."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any

import numpy as np
import ray

from everybatch._core import __version__
from everybatch.sweeps._elsewhere import unpack
from everybatch.sweeps._index import Row
from everybatch.sweeps._parcel import dataset_from
from everybatch.sweeps._perform import perform
from everybatch.sweeps._store import Satchel, open_store
from everybatch.sweeps._threads import threads

__all__ = ["Desk", "News", "Packed", "Result", "train"]

News = tuple[int, tuple[int, float] | None]
"""A ticket, and the rung that its trial has come to with which value; None: it has begun."""
Packed = tuple[str, dict[str, np.ndarray], dict[str, Any]]
"""A data set: its identity, its arrays, which Ray shares between the tasks of a node, and the rest."""
Result = tuple[Row, tuple[str, str, dict[str, bytes]]]
"""A trial's row; and kind, key and files for the store, which are empty if the task has written them itself."""


class Desk:
    """An actor that keeps messages. A ticket stands for one try of one trial.

    Nothing here is lost for good: should Ray have to start the desk anew, those who wait ask again.
    """

    def __init__(self) -> None:
        self._news: list[News] = []
        self._fresh = asyncio.Event()
        self._verdicts: dict[int, asyncio.Future[bool]] = {}

    @ray.method(max_task_retries=0)  # where it gets lost, nobody misses it
    async def begun(self, ticket: int) -> None:
        """Tell the driver that a trial has begun."""
        self._tell((ticket, None))

    async def ask(self, ticket: int, step: int, value: float) -> bool:
        """Tell the driver that a trial has come to a rung, and wait for the verdict."""
        self._tell((ticket, (step, value)))
        verdict = self._verdicts.setdefault(ticket, asyncio.get_running_loop().create_future())
        return await asyncio.shield(verdict)

    async def answer(self, ticket: int, verdict: bool) -> None:
        """Give the trial that waits the driver's verdict."""
        waiting = self._verdicts.pop(ticket, None)
        if waiting is not None:
            waiting.set_result(verdict)

    async def close(self) -> None:
        """Let the driver wait no longer."""
        self._fresh.set()

    async def news(self) -> list[News]:
        """Wait for messages to the driver."""
        await self._fresh.wait()
        self._fresh.clear()
        news, self._news = self._news, []
        return news

    def _tell(self, message: News) -> None:
        self._news.append(message)
        self._fresh.set()


def train(
    desk: Any, ticket: int, number: int, content: bytes, store_name: str, device: str, version: str, *datasets: Packed
) -> Result:
    """Train a trial; the task of Ray.

    Parameters
    ----------
    desk, ticket
        Where to report, and as whom.
    number, content, datasets
        Which trial of which job: its parcel, and the data sets that were set aside.
    store_name
        Empty if the store cannot be reached from here: the driver then gets the files.
    device
        That this trial is trained on.
    version
        Of the driver's everybatch.

    Raises
    ------
    ImportError
        The node lacks what the trial needs.
    OSError
        The store cannot be written.
    """
    if version != __version__:
        raise ImportError(
            f"everybatch is {__version__} on the node {socket.gethostname()} and {version} where sweep was called: "
            "install the same version on all nodes"
        )
    desk.begun.remote(ticket)
    found = {name: dataset_from(arrays, rest) for name, arrays, rest in datasets}
    try:
        job = unpack(content, found.__getitem__)
    except (ImportError, AttributeError) as error:
        raise ImportError(
            f"the function of this sweep cannot be opened on the node {socket.gethostname()} ({error}): install its "
            "module there, or define it in the script or notebook itself"
        ) from error

    def ask(_: int, step: int, value: float) -> bool:
        try:
            return bool(ray.get(desk.ask.remote(ticket, step, value)))
        except ray.exceptions.RayActorError:
            os._exit(1)  # the sweep is over, and nobody waits for this trial

    satchel = Satchel()
    store = open_store(store_name) if store_name else satchel
    with threads(job.threads):
        row = perform(job, number, store, device=device, ask=None if job.pruning is None else ask)
    return row, satchel.files
