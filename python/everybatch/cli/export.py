"""`everybatch export`."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from everybatch import export
from everybatch._disk import at_home, refuse_existing
from everybatch.cli._models import MODEL_HELP, load_model, run_folder
from everybatch.cli._parser import Commands, UsageError, command
from everybatch.errors import suggest
from everybatch.export._tensorboard import refuse_events
from everybatch.run import Run, load_run

__all__ = ["add", "run"]

_LONG = """\
The ending of FILE decides what is written:
  .csv      the history, or with --what class-accuracy the accuracy of each class (of a run)
  .parquet  the history (of a run; needs pyarrow)
  .txt      a list for each class and line: its accuracies in percent (of a run)
  .onnx     the network with its weights, for onnxruntime and others (needs onnx)
  .pt       the same as TorchScript, for PyTorch without everybatch"""
_EXAMPLE = """\
  everybatch export runs/lenet --to history.csv
  everybatch export runs/lenet --to lenet.onnx
  everybatch export runs/lenet --tensorboard events/lenet"""

_MODELS = {".onnx": export.onnx, ".pt": export.torchscript}
_RUNS = {".csv": export.csv, ".parquet": export.parquet, ".txt": export.class_lists}


def add(commands: Commands) -> None:
    """Describe the arguments of `export`."""
    parser = command(
        commands,
        "export",
        run,
        short="write a run or its network for other programs",
        long=_LONG,
        example=_EXAMPLE,
    )
    parser.add_argument("source", metavar="RUN_OR_MODEL", help=MODEL_HELP)
    parser.add_argument("--to", metavar="FILE", type=Path, help="what to write; its folder must be there")
    parser.add_argument(
        "--tensorboard",
        metavar="FOLDER",
        type=Path,
        help="write TensorBoard's event files there (of a run; needs tensorboard); the folder above it must be there",
    )
    parser.add_argument(
        "--what", choices=("history", "class-accuracy"), help="what a .csv file holds; history unless given"
    )
    parser.add_argument(
        "--no-normalize",
        action="store_true",
        help="the network in the file takes normalised images; unless given, it takes pixels in [0, 1] and "
        "normalises them itself",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace what was written there before")


def run(args: Namespace) -> int:
    """Write what was asked for, and print its name."""
    if args.to is None and args.tensorboard is None:
        raise UsageError("say what to write: --to FILE, or --tensorboard FOLDER (see everybatch export --help)")
    ending = None if args.to is None else _ending(args.to)
    if args.what is not None and ending != ".csv":
        raise UsageError("--what is for .csv files: the other formats hold one thing only")
    if args.no_normalize and ending not in _MODELS:
        raise UsageError("--no-normalize is for networks, .onnx and .pt")
    if ending is not None:
        refuse_existing(at_home(args.to), overwrite=args.overwrite, option="--overwrite")
    if args.tensorboard is not None:
        refuse_events(at_home(args.tensorboard), overwrite=args.overwrite, option="--overwrite")
    if at_home(args.source).is_file() and (ending not in _MODELS or args.tensorboard is not None):
        raise UsageError(
            f"{args.source} is a network without a history, which goes into {' and '.join(_MODELS)} files: "
            "give the folder of a saved run"
        )
    if ending is not None:
        _write(args, ending)
        print(args.to)
    if args.tensorboard is not None:
        export.tensorboard(_run(args), args.tensorboard, overwrite=args.overwrite)
        print(args.tensorboard)
    return 0


def _write(args: Namespace, ending: str) -> None:
    if ending in _MODELS:
        model = load_model(args.source).model
        _MODELS[ending](model, args.to, normalize=not args.no_normalize, overwrite=args.overwrite)
    else:
        write = export.class_accuracy_csv if args.what == "class-accuracy" else _RUNS[ending]
        write(_run(args), args.to, overwrite=args.overwrite)


def _ending(path: Path) -> str:
    known = [*_RUNS, *_MODELS]
    ending = path.suffix.lower()
    if ending not in known:
        raise UsageError(f"--to {path}: the ending must be one of {', '.join(known)}.{suggest(ending, known)}")
    return ending


def _run(args: Namespace) -> Run:
    return load_run(run_folder(args.source))
