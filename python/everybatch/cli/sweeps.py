"""`everybatch sweeps`."""

from __future__ import annotations

import sys
from argparse import ArgumentTypeError, Namespace
from pathlib import Path

from everybatch.cli._parser import Commands, UsageError, command, whole
from everybatch.cli.sweep._export import ENDINGS, export_trials
from everybatch.cli.sweep._names import FOLDER, NAME_HELP, find_sweep, sweeps_here
from everybatch.cli.sweep._run import GIVEN, add_ways, resume
from everybatch.cli.sweep._table import aligned, listed, ranked
from everybatch.errors import EverybatchError
from everybatch.sweeps import Sweep, load_sweep

__all__ = ["add", "run"]

_TOP = 20
_BELONGS = {"traceback": "failed", "overwrite": "export"} | dict.fromkeys((*GIVEN, "retry_failed", "quiet"), "resume")
"""Options that do something only with another one."""
_APART = (
    *(("failed", other) for other in ("export", "resume", "sort", "top")),
    *(("resume", other) for other in ("export", "sort", "top", "all")),
)
_LONG = f"""\
Without NAME, the sweeps in the folder {FOLDER} are listed. A trial in the table is a saved run, in the sweep's folder
trials, for everybatch plot, evaluate, predict and export."""
_EXAMPLE = """\
  everybatch sweeps
  everybatch sweeps lenet --sort test_loss --top 5
  everybatch sweeps lenet --failed --traceback
  everybatch sweeps lenet --export lenet.csv
  everybatch sweeps lenet --resume --retry-failed"""


def add(commands: Commands) -> None:
    """Describe the arguments of `sweeps`."""
    parser = command(
        commands,
        "sweeps",
        run,
        short="show stored sweeps, export them, go on with them",
        long=_LONG,
        example=_EXAMPLE,
    )
    parser.add_argument("name", metavar="NAME", nargs="?", help=NAME_HELP)
    parser.add_argument("--all", action="store_true", help="all trials in the store, not only those asked for last")
    show = parser.add_argument_group("what to show")
    show.add_argument(
        "--sort",
        metavar="COLUMN",
        help="best first, or lowest first: test_loss, seconds, lr, ...; validation_accuracy unless given, or "
        "test_accuracy if nothing was held out",
    )
    show.add_argument("--top", metavar="N", type=_top, help=f"only the first N trials; {_TOP} unless given")
    show.add_argument("--failed", action="store_true", help="which trials failed, and why")
    show.add_argument("--traceback", action="store_true", help="with --failed, also where")
    write = parser.add_argument_group("what to write")
    write.add_argument(
        "--export", metavar="FILE", type=Path, help=f"write all columns instead, as {', '.join(ENDINGS)}"
    )
    write.add_argument("--overwrite", action="store_true", help="replace a file that is there already")
    more = parser.add_argument_group("going on")
    more.add_argument(
        "--resume", action="store_true", help="train what is missing of a sweep that everybatch sweep has begun"
    )
    add_ways(more)


def run(args: Namespace) -> int:
    """List, show, write or go on."""
    _check(args)
    if args.name is None:
        return _list()
    path = find_sweep(args.name)
    if args.resume:
        return resume(path, args)
    sweep = load_sweep(path, everything=args.all)
    if args.failed:
        return _failed(sweep, traceback=args.traceback)
    if args.export is not None:
        shown = sweep.trials if args.sort is None else ranked(sweep, args.sort)[0]
        export_trials(shown[: args.top], sweep.columns, args.export, overwrite=args.overwrite)
        print(args.export)
        return 0
    top = args.top or _TOP
    trials, by = ranked(sweep, args.sort)
    print(listed(trials[:top], sweep.columns, by))
    if len(trials) > top:
        print(f"  ({len(trials) - top:,} more: --top {len(trials)} shows all)")
    print(f"\n{sweep.name}: {_counts(sweep)}.")
    return 0


def _check(args: Namespace) -> None:
    """Refuse options that would do nothing.

    Raises
    ------
    UsageError
        There is one.
    """
    given = {name for name, value in vars(args).items() if value is not None and value is not False}
    for name, owner in _BELONGS.items():
        if name in given and owner not in given:
            raise UsageError(f"{_option(name)} belongs to {_option(owner)}")
    for one, other in _APART:
        if one in given and other in given:
            raise UsageError(f"{_option(one)} and {_option(other)} do not go together: choose one")
    for name in ("all", "sort", "top", "failed", "export", "resume"):
        if name in given and args.name is None:
            raise UsageError(f"{_option(name)} needs the NAME of a sweep: everybatch sweeps lists them")


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _list() -> int:
    lines = [("sweep", "trials", "of which")]
    for path in sweeps_here():
        try:
            sweep = load_sweep(path)
        except (EverybatchError, OSError) as error:
            print(f"everybatch: note: {error}", file=sys.stderr)
            continue
        lines.append((path.name, f"{len(sweep):,}", _counts(sweep).partition(": ")[2]))
    print(aligned(lines) if len(lines) > 1 else f"There is no sweep in {FOLDER.absolute()}.")
    return 0


def _failed(sweep: Sweep, *, traceback: bool) -> int:
    failed = [trial for trial in sweep.trials if trial.state == "failed"]
    for trial in failed:
        settings = ", ".join(f"{name}={value}" for name, value in trial.settings.items())
        print(f"{trial.key}: {settings}\n  {trial.message}")
        if traceback:
            print(f"\n{(trial.error or '').rstrip()}\n")
    print(f"{sweep.name}: {len(failed):,} of {len(sweep):,} trials failed.")
    return 0


def _counts(sweep: Sweep) -> str:
    counts = ", ".join(f"{count:,} {status}" for status, count in sweep._counted().items())
    return f"{len(sweep):,} trial{'' if len(sweep) == 1 else 's'}: {counts}"


def _top(text: str) -> int:
    number = whole(text)
    if not number:
        raise ArgumentTypeError("0 shows nothing: give a number from 1")
    return number
