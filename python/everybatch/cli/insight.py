"""`everybatch insight`."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from everybatch._disk import at_home, refuse_existing
from everybatch.cli._data import add_data, add_limits, data_of, found_data_named
from everybatch.cli._models import run_folder
from everybatch.cli._parser import Commands, command, whole
from everybatch.insight import report
from everybatch.run import load_run

__all__ = ["add", "run"]

_LONG = """\
The page shows what every test image was taken for at every measurement, what each batch gained and lost, and the
falls of the accuracy with their images. It is one file, and needs neither everybatch nor the internet to be read.
The run must have recorded its predictions."""
_EXAMPLE = """\
  everybatch train --network lenet5 --data mnist --record predictions --record losses --out runs/lenet
  everybatch insight runs/lenet
  everybatch insight runs/lenet --out pages/lenet.html --measurements 300"""


def add(commands: Commands) -> None:
    """Describe the arguments of `insight`."""
    parser = command(
        commands,
        "insight",
        run,
        short="write a page that shows what a run did to every image",
        long=_LONG,
        example=_EXAMPLE,
    )
    parser.add_argument("run_folder", metavar="RUN", help="the folder of a run, which may still be going")
    parser.add_argument(
        "--out", metavar="FILE.html", type=Path, help="what to write; RUN-insight.html in this folder unless given"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a file that is there already")
    parser.add_argument(
        "--measurements", metavar="N", type=whole, default=1000, help="evenly chosen ones that the page has at most"
    )
    add_data(parser, None, "; found by its name unless given")
    add_limits(parser)


def run(args: Namespace) -> int:
    """Write the page, and print its name."""
    folder = run_folder(args.run_folder)
    shown = load_run(folder)
    out = args.out or Path(f"{Path(folder).resolve().name}-insight.html")
    refuse_existing(at_home(out), overwrite=args.overwrite, option="--overwrite")
    with found_data_named():
        report(shown, out, dataset=data_of(args, shown), measurements=args.measurements, overwrite=args.overwrite)
    print(out)
    return 0
