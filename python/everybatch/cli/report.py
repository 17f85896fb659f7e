"""`everybatch report`."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from everybatch._disk import at_home, refuse_existing
from everybatch.cli._parser import Commands, command
from everybatch.cli.sweep._names import NAME_HELP, find_sweep
from everybatch.sweeps import load_sweep, write_report

__all__ = ["add", "run"]

_LONG = "The page is one file, with tables and pictures, and needs neither everybatch nor the internet to be read."
_EXAMPLE = """\
  everybatch report lenet
  everybatch report sweeps/lenet --out pages/lenet.html --overwrite"""


def add(commands: Commands) -> None:
    """Describe the arguments of `report`."""
    parser = command(
        commands,
        "report",
        run,
        short="write a stored sweep as a page for the browser",
        long=_LONG,
        example=_EXAMPLE,
    )
    parser.add_argument("sweep", metavar="NAME", help=NAME_HELP)
    parser.add_argument(
        "--out", metavar="FILE.html", type=Path, help="what to write; NAME.html in this folder unless given"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a file that is there already")


def run(args: Namespace) -> int:
    """Write the page, and print its name."""
    path = find_sweep(args.sweep)
    out = args.out or Path(f"{path.rstrip('/').rsplit('/', 1)[-1]}.html")
    refuse_existing(at_home(out), overwrite=args.overwrite, option="--overwrite")
    write_report(load_sweep(path), out, overwrite=args.overwrite)
    print(out)
    return 0
