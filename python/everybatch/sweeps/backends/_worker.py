"""A worker process of `processes`.

    python -m everybatch.sweeps.backends._worker CONNECTION LIFELINE JOB STORE DEVICE [DATASET=FILE ...]

The numbers are file descriptors that it inherits. It trains the trials that it is told, and is told by its parent:

    parent -> worker    a number: train that trial          True or False: the verdict on the trial that asked
    worker -> parent    ("ready",)  ("rung", step, value)  ("ended", row, files)  ("broken", error)

STORE is empty if the worker cannot reach the store; its parent then gets the files.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from multiprocessing.connection import Connection

__all__ = ["main"]


def main(arguments: list[str]) -> None:
    """Work until the parent says no more, or is gone."""
    connection, lifeline, job_file = int(arguments[0]), int(arguments[1]), int(arguments[2])
    store_name, device = arguments[3], arguments[4]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal reaches all; the parent decides
    threading.Thread(target=_die_with_parent, args=(lifeline,), daemon=True).start()

    from everybatch.sweeps._memory import dataset_in, read_bytes
    from everybatch.sweeps._parcel import open_parcel
    from everybatch.sweeps._perform import perform
    from everybatch.sweeps._store import Satchel, open_store
    from everybatch.sweeps._threads import threads

    files = dict(pair.split("=") for pair in arguments[5:])
    datasets = {name: dataset_in(int(file)) for name, file in files.items()}
    parent = Connection(connection)
    job = open_parcel(read_bytes(job_file), datasets.__getitem__)
    satchel = Satchel()
    store = open_store(store_name) if store_name else satchel
    parent.send(("ready",))

    def ask(_: int, step: int, value: float) -> bool:
        parent.send(("rung", step, value))
        return bool(parent.recv())

    with threads(job.threads):
        while True:
            try:
                number = parent.recv()
            except EOFError:
                return
            try:
                row = perform(job, number, store, device=device, ask=None if job.pruning is None else ask)
            except OSError as error:  # the store cannot be written: nothing more can be done
                parent.send(("broken", error))
                return
            parent.send(("ended", row, satchel.files))


def _die_with_parent(lifeline: int) -> None:
    """Wait for the end of the parent, which alone holds the other end of a pipe, and end at once."""
    os.read(lifeline, 1)
    os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
