"""A sweep from a TOML file, carried out: for `everybatch sweep`, and for `everybatch sweeps --resume`."""

from __future__ import annotations

import shlex
import sys
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import everybatch
from everybatch.cli._data import describe
from everybatch.cli._parser import whole
from everybatch.cli._warnings import warnings_at_once
from everybatch.cli.sweep._file import SweepFile, parse_sweep
from everybatch.cli.sweep._names import named
from everybatch.cli.sweep._table import listed, ranked
from everybatch.cli.sweep._values import place
from everybatch.errors import ArgumentError, FileFormatError
from everybatch.sweeps import Sweep
from everybatch.sweeps._store import SWEEP, open_store
from everybatch.sweeps._stored import ORIGIN
from everybatch.sweeps._trials import seeds_of
from everybatch.sweeps.backends._backend import BACKENDS, Backend, as_backend, owner_of, with_options

__all__ = ["GIVEN", "add_ways", "carry_out", "resume"]

SOME_FAILED, INTERRUPTED = 1, 130

_OF_BACKENDS = ("workers", "address")
GIVEN = ("backend", *_OF_BACKENDS, "threads", "device")
"""Options that go before the keys of the file."""
_BEST = 10


def add_ways(parser: Any) -> None:
    """Add the options that say how the work is done."""
    parser.add_argument("--backend", choices=tuple(BACKENDS), help="where trials are trained; the file's, or processes")
    parser.add_argument("--workers", metavar="N", type=whole, help="trials at a time, unless --backend is serial")
    parser.add_argument("--threads", metavar="N", type=whole, help="CPU threads of a trial; the file's, or 1")
    parser.add_argument("--device", help="auto (GPUs if there are any), cpu, cuda or cuda:1")
    parser.add_argument("--address", metavar="ADDRESS", help="of a Ray cluster, with --backend ray")
    parser.add_argument("--retry-failed", action="store_true", help="train those trials again that failed before")
    parser.add_argument("--quiet", action="store_true", help="print nothing but warnings and errors")


def carry_out(file: SweepFile, store: str, args: Namespace, *, trained_on: str | None = None) -> int:
    """Train what is not stored yet, print the best, and return the exit code.

    Parameters
    ----------
    file
        The sweep.
    store
        Where it is kept.
    args
        With what `add_ways` defines.
    trained_on
        The fingerprint of the data, if trials are to be added to those trained on them.

    Raises
    ------
    ArgumentError
        The store would not last, the data are others, or something in the file cannot work.
    """
    with place(file.path.name):
        if open_store(store).reaches == "process":
            raise ArgumentError(
                f"store is {store!r}, memory of this command, which is gone with all trials when it ends: give a "
                "folder, or a place that stays, such as s3://bucket/sweep"
            )
        data = file.open_data()
    if trained_on not in (None, data.fingerprint):
        raise ArgumentError(
            f"{file.data} holds other images than when the sweep {store} was begun: everybatch sweep {file.path} "
            "trains all trials on these"
        )
    given = {name: getattr(args, name) for name in GIVEN if getattr(args, name) is not None}
    own = {name: given[name] for name in given if name in ("threads", "device")}
    options = {"seeds": 1, **file.options, **own}
    if not args.quiet:
        configs, seeds = len(file.space), len(seeds_of(options["seeds"]))
        print(f"Data: {describe(data)}")
        print(f"Sweep: {configs:,} configs, seeds of each: {seeds}, kept in {store}", flush=True)
    origin = {"file": str(file.path), "text": file.text, "networks": file.networks, "given": given}
    token = ORIGIN.set({**origin, "data": data.fingerprint})
    try:
        with warnings_at_once(), place(file.path.name):
            swept = everybatch.sweep(
                file.space,
                data,
                store=store,
                backend=_backend(file.backend, given),
                pruning=file.pruning,
                retry_failed=args.retry_failed,
                progress=not args.quiet and sys.stderr.isatty(),
                **options,
                **file.fixed,
            )
    finally:
        ORIGIN.reset(token)
    if not args.quiet:
        print(f"\n{_told(swept)}")
    if swept.interrupted:
        print(f"everybatch: interrupted; everybatch sweeps {named(swept)} --resume goes on", file=sys.stderr)
        return INTERRUPTED
    return _tell_of_failures(swept)


def _backend(of_file: Backend, given: Mapping[str, Any]) -> Backend:
    """Return the file's backend, or the one of the command line, with the options that were given there.

    Raises
    ------
    ArgumentError
        An option belongs to another one.
    """
    asked = given.get("backend", of_file.name)
    backend = of_file if asked == of_file.name else as_backend(asked)
    options = {name: given[name] for name in _OF_BACKENDS if name in given}
    for name in options:
        owner = owner_of(name, backend.name)
        if owner != backend.name:
            raise ArgumentError(f"--{name} belongs to --backend {owner}, for example; the backend is {backend.name}")
    return with_options(backend, options)


def resume(name: str, args: Namespace) -> int:
    """Go on with a stored sweep.

    Raises
    ------
    ArgumentError
        It came from a script.
    FileFormatError
        What the store says of its origin cannot be read.
    """
    origin = (open_store(name).read_json(SWEEP) or {}).get("origin")
    if origin is None:
        raise ArgumentError(f"the sweep {name} came from a Python script: run the script again, and it goes on")
    try:
        file = parse_sweep(origin["text"], Path(origin["file"]), origin["networks"], stored=True)
        others = _OF_BACKENDS if args.backend is not None else ()  # of the backend that it had before
        for option, value in origin["given"].items():
            if getattr(args, option) is None and option not in others:
                setattr(args, option, value)
        trained_on = origin["data"]
    except (KeyError, AttributeError) as error:
        raise FileFormatError(f"{name}/{SWEEP} is not what everybatch sweep writes: it lacks {error}") from error
    return carry_out(file, name, args, trained_on=trained_on)


def _tell_of_failures(sweep: Sweep) -> int:
    counts = sweep._counted()
    bad = [f"{counts[status]:,} {status}" for status in ("failed", "diverged") if counts[status]]
    if not bad:
        return 0
    how = f"everybatch sweeps {named(sweep)} {'--failed' if counts['failed'] else '--sort status'} shows them"
    print(f"everybatch: warning: of {len(sweep):,} trials, {' and '.join(bad)}: {how}", file=sys.stderr)
    return SOME_FAILED


def _told(sweep: Sweep) -> str:
    """Return the best trials, the counts, and what one may do next."""
    trials, by = ranked(sweep, None)
    counts, name, best = sweep._counted(), named(sweep), trials[0]
    steps = [f"everybatch sweeps {name} --resume"] if counts["missing"] else []
    steps.append(f"everybatch sweeps {name}")
    if best.row.get(by) is not None:
        steps.append(f"everybatch report {name}")
        if "://" not in sweep.name and best.path is not None:
            steps.append(f"everybatch plot {shlex.quote(best.path)} --out pictures")
    more = f"  ({len(trials) - _BEST:,} more)\n" if len(trials) > _BEST else ""
    return (
        f"{listed(trials[:_BEST], sweep.columns, by)}\n{more}\n{len(trials):,} trials: "
        f"{', '.join(f'{count:,} {status}' for status, count in counts.items())}. Stored in {sweep.name}.\n"
        "Next:\n  " + "\n  ".join(steps)
    )
