"""`everybatch plot`."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from everybatch._disk import at_home
from everybatch._measures import CURVES
from everybatch.cli._folders import check_writable
from everybatch.cli._models import run_folder
from everybatch.cli._parser import Commands, command
from everybatch.cli._pictures import KINDS, MOST_RUNS, picture
from everybatch.errors import ArgumentError
from everybatch.run import load_run

__all__ = ["add", "run"]

_LONG = "Several runs share one picture; confusion adds their counts up."
_EXAMPLE = """\
  everybatch plot runs/lenet --out pictures
  everybatch plot runs/lenet --kind losses --out losses.svg
  everybatch plot runs/fast runs/slow --kind compare --metric test_error --label fast --label slow --out c.png"""
_SHOWS = "; ".join(f"{kind}: {what}" for kind, what in KINDS.items())


def add(commands: Commands) -> None:
    """Describe the arguments of `plot`."""
    parser = command(commands, "plot", run, short="draw pictures of saved runs", long=_LONG, example=_EXAMPLE)
    parser.add_argument("runs", metavar="RUN", nargs="+", help="the folder of a saved run")
    parser.add_argument("--kind", choices=(*KINDS, "all"), default="all", help=f"what to draw. {_SHOWS}")
    parser.add_argument(
        "--out",
        metavar="FILE_OR_FOLDER",
        type=Path,
        default=Path("pictures"),
        help="a folder, which then has KIND.png for each kind; with one --kind also a file, whose ending (.png, "
        ".svg, .pdf) decides the format",
    )
    parser.add_argument(
        "--x", choices=("step", "epoch", "seconds"), default="step", help="along the bottom, where time goes on"
    )
    parser.add_argument(
        "--metric",
        choices=tuple(CURVES),
        help="of compare; test_accuracy unless given",
    )
    parser.add_argument(
        "--label", metavar="TEXT", action="append", help="name of a run in the picture, once for each run in order"
    )


def run(args: Namespace) -> int:
    """Draw and print the names of the files."""
    if args.label is not None and len(args.label) != len(args.runs):
        raise ArgumentError(f"{len(args.label)} labels for {len(args.runs)} runs: give --label once for each")
    runs = [load_run(run_folder(folder)) for folder in args.runs]
    if args.metric is not None and args.kind != "compare" and (args.kind != "all" or len(runs) == 1):
        raise ArgumentError("--metric belongs to --kind compare")
    for kind, path in _files(args, len(runs)).items():
        picture(kind, runs, path, **_options(args, kind))
        print(path)
    return 0


def _files(args: Namespace, runs: int) -> dict[str, Path]:
    """Return the file of each picture, and make the folder for them."""
    out = at_home(args.out)
    if args.kind != "all" and out.suffix and not out.is_dir():
        folder, files = out.parent, {args.kind: out}
    else:
        if args.kind == "all":
            kinds = [kind for kind in KINDS if runs <= MOST_RUNS.get(kind, runs)]
            if runs == 1:
                kinds.remove("compare")
        else:
            kinds = [args.kind]
        folder, files = out, {kind: out / f"{kind}.png" for kind in kinds}
    check_writable(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return files


def _options(args: Namespace, kind: str) -> dict[str, Any]:
    options: dict[str, Any] = {"labels": args.label} if args.label is not None else {}
    if kind not in ("class_bars", "confusion"):
        options["x"] = args.x
    if kind == "compare" and args.metric is not None:
        options["metric"] = args.metric
    return options
