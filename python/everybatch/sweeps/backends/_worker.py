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
from io import FileIO
from multiprocessing.connection import Connection

from everybatch.errors import EverybatchError

__all__ = ["main"]


def main(arguments: list[str]) -> None:
    """Work until the parent says no more, or is gone."""
    connection, lifeline, job_file = int(arguments[0]), int(arguments[1]), int(arguments[2])
    store_name, device = arguments[3], arguments[4]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal reaches all; the parent decides
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # until here it waited
    threading.Thread(target=_die_with_parent, args=(lifeline,), daemon=True).start()

    from everybatch.sweeps._elsewhere import unpack
    from everybatch.sweeps._memory import dataset_in, read_bytes
    from everybatch.sweeps._perform import perform
    from everybatch.sweeps._store import Satchel, open_store
    from everybatch.sweeps._threads import threads

    files = dict(pair.split("=") for pair in arguments[5:])
    datasets = {name: dataset_in(int(file)) for name, file in files.items()}
    parent = Connection(connection)
    _keep_to_this_process(parent, FileIO(lifeline))
    try:
        job = unpack(read_bytes(job_file), datasets.__getitem__)
    except BaseException as error:  # whatever a user's module raises
        parent.send(("broken", _told(error)))
        return
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


def _told(error: BaseException) -> Exception:
    """Return what the parent raises where the job cannot be opened."""
    if isinstance(error, EverybatchError):
        return error
    return ImportError(
        f"the function of this sweep cannot be opened in a worker process ({type(error).__name__}: {error}): let its "
        "module be one that Python finds by its name, or define it in the script or notebook itself, or use "
        "backend='serial'"
    )


def _keep_to_this_process(*ends: Connection | FileIO) -> None:
    """Let no process that a function begins hold what tells the parent of our end, or us of the parent's."""
    for end in ends:
        os.set_inheritable(end.fileno(), False)
        os.register_at_fork(after_in_child=end.close)  # which does nothing the second time


def _die_with_parent(lifeline: int) -> None:
    """Wait for the end of the parent, which alone holds the other end of a pipe, and end at once."""
    os.read(lifeline, 1)
    os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
