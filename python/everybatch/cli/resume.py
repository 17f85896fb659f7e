"""`everybatch resume`."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

import everybatch
from everybatch._metered import total_steps
from everybatch.cli._data import add_data, add_limits, data_of, describe, found_data_named
from everybatch.cli._log_lines import log_lines
from everybatch.cli._parser import Commands, command, whole
from everybatch.cli._tables import class_table, summary
from everybatch.cli._warnings import warnings_at_once
from everybatch.cli.train import DIVERGED, INTERRUPTED, interrupted

__all__ = ["add", "run"]

_LONG = """\
FOLDER is what `everybatch train --folder` wrote. The run goes on from the state that it kept last, and its result is
that of a run that never ended. Built-in and downloaded data sets are found again by their names; give --data, with
the options of the training, for others."""
_EXAMPLE = """\
  everybatch train --network lenet5 --data mnist --epochs 4 --folder runs/a
  everybatch resume runs/a
  everybatch resume runs/a --epochs 8"""


def add(commands: Commands) -> None:
    """Describe the arguments of `resume`."""
    parser = command(
        commands,
        "resume",
        run,
        short="go on with a run that was lost, interrupted or stopped, or make it longer",
        long=_LONG,
        example=_EXAMPLE,
    )
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="the folder of the run")
    parser.add_argument("--epochs", metavar="N", type=whole, help="new length of the whole run, in epochs")
    parser.add_argument("--steps", metavar="N", type=whole, help="the same, in batches")
    add_data(parser, None, "; found by its name unless given")
    add_limits(parser)
    parser.add_argument("--quiet", action="store_true", help="print nothing but warnings and errors")


def run(args: Namespace) -> int:
    """Find the data, go on, and say how it ended."""
    before = everybatch.load_run(args.folder)
    data = data_of(args, before)
    if not args.quiet:
        of = before.config["dataset"]["name"] if data is None else describe(data)
        print(f"Data: {of}")
        print(f"So far: {before.steps:,} of {total_steps(before.config, before.steps):,} batches, {before.state}")
    with warnings_at_once(), log_lines(), found_data_named():
        result = everybatch.resume(
            args.folder,
            data,
            epochs=args.epochs,
            steps=args.steps,
            progress=not args.quiet and before.config["training"].get("log_every") is None and sys.stderr.isatty(),
        )
    if not args.quiet:
        print(f"\n{class_table(result.classes, result.confusion)}\n\n{summary(result)}")
        print(f"Written to {args.folder}.")
    if result.interrupted:
        print(interrupted(result, args), file=sys.stderr)
        return INTERRUPTED
    return DIVERGED if result.diverged_at is not None else 0
