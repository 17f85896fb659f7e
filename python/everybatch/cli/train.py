"""`everybatch train`."""

from __future__ import annotations

import argparse
import inspect
import itertools
import shlex
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import everybatch
from everybatch import networks
from everybatch._core import CHOICES, Model, Network
from everybatch._measures import KEEPS, MONITORS, RECORDABLE
from everybatch.checkpoints import refuse_inside
from everybatch.cli._augment import BOUNDS, parse_augment
from everybatch.cli._class_weight import parse_class_weight
from everybatch.cli._data import add_data, add_limits, describe, open_data, options_again
from everybatch.cli._folders import check_out, check_writable, refuse_folder_in_out
from everybatch.cli._log_lines import log_lines
from everybatch.cli._models import MODEL_HELP, load_model, matching
from everybatch.cli._networks import build, is_builder, read_network
from everybatch.cli._parser import Commands, command, whole
from everybatch.cli._schedule import parse_schedule
from everybatch.cli._tables import class_table, summary
from everybatch.cli._warnings import warnings_at_once
from everybatch.dataset import Dataset
from everybatch.errors import ArgumentError
from everybatch.run import Run
from everybatch.schedules import BY_NAME

__all__ = ["DIVERGED", "INTERRUPTED", "add", "interrupted", "run"]

DIVERGED, INTERRUPTED = 1, 130

_DEFAULTS = {
    name: parameter.default
    for name, parameter in inspect.signature(everybatch.train).parameters.items()
    if parameter.kind is parameter.KEYWORD_ONLY
}

_LONG = """\
By default every image of the test set is measured after every batch. Ctrl-C ends the training; what was
recorded until then is saved all the same."""
_EXAMPLE = """\
  everybatch train --network lenet5 --data mnist --epochs 1 --out runs/lenet
  everybatch train --network resnet --option stages=16,32,64 --option dropout=0.3 --data glyphs --out runs/small
  everybatch train --init runs/small --data glyphs --lr 0.0001 --evaluate-every epoch --out runs/longer
  everybatch train --network lenet5 --epochs 8 --lr 0.003 --schedule one_cycle --augment shift=2,rotate=10 \\
    --ema 0.99 --validation 0.1 --select best --evaluate-every epoch --out runs/best --checkpoints weights/best
  everybatch train --network lenet5 --optimizer muon --lr 0.02 --class-weight balanced --clip-grad-norm 1"""


def add(commands: Commands) -> None:
    """Describe the arguments of `train`."""
    parser = command(
        commands,
        "train",
        run,
        short="train a network, measure every batch, and save the run",
        long=_LONG,
        example=_EXAMPLE,
    )
    start = parser.add_argument_group("what to train")
    start.add_argument(
        "--network",
        metavar="NAME|FILE.json",
        help=f"a builder ({', '.join(networks.__all__)}), or a file of Network.to_json (default: resnet)",
    )
    start.add_argument(
        "--option",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="an option of the builder, as often as needed; VALUE is JSON, or a word, or a list with commas. "
        "Channels, classes and image size come from the data",
    )
    start.add_argument(
        "--init", metavar="MODEL_OR_RUN", help=f"go on from these weights instead of fresh ones: {MODEL_HELP}"
    )
    parser.add_argument(
        "--match-classes",
        choices=("position",),
        help="go on from the weights of --init for other classes than they were trained for: those of the same number",
    )
    add_data(parser, "mnist")
    add_limits(parser)

    how = parser.add_argument_group("how to train")
    _option(
        how,
        "epochs",
        metavar="N",
        type=whole,
        default=None,
        help=f"passes over the training images; {_DEFAULTS['epochs']} unless given",
    )
    _option(how, "steps", metavar="N", type=whole, help="batches to train on, instead of --epochs")
    _option(how, "batch_size", metavar="N", type=whole, help="images of a batch")
    _option(
        how,
        "optimizer",
        choices=CHOICES["optimizer"],
        help="as in torch.optim; lion (Chen et al. 2023); muon for hidden weights, with AdamW for the rest",
    )
    _option(how, "lr", metavar="RATE", type=float, help="learning rate; the highest one of a schedule")
    _option(
        how,
        "schedule",
        metavar="NAME[,KEY=VALUE,...]",
        type=parse_schedule,
        default="constant",
        help=f"how the learning rate moves: {', '.join(BY_NAME)}; or one of everybatch.schedules with numbers, such as "
        "one_cycle,pct_start=0.2 or multistep,milestones=500:800",
    )
    _option(how, "weight_decay", metavar="X", type=float, help="0 unless given, for adamw 0.01, for muon 0.1")
    _option(how, "momentum", metavar="X", type=float, help="of sgd, rmsprop and muon, from 0 to below 1")
    _option(
        how, "nesterov", action=argparse.BooleanOptionalAction, help="Nesterov's momentum, of sgd, and of muon anyway"
    )
    _option(how, "betas", metavar="B1,B2", type=_numbers, help="of adam, adamw, nadam and lion, and muon's AdamW")
    _option(how, "eps", metavar="X", type=float, help="of adam, adamw, rmsprop and nadam, and muon's AdamW")
    _option(how, "alpha", metavar="X", type=float, help="of rmsprop: what the mean of squares keeps; 0.99 unless given")
    _option(how, "centered", action=argparse.BooleanOptionalAction, help="of rmsprop: divide by a variance")
    _option(how, "momentum_decay", metavar="X", type=float, help="of nadam; 0.004 unless given")
    _option(how, "adjust_lr", choices=CHOICES["adjust_lr"], help="of muon: how the rate depends on a weight's shape")
    _option(
        how,
        "adamw_lr_ratio",
        metavar="X",
        type=float,
        help="of muon: the learning rate of its AdamW, as a share; 0.015 unless given, and 1 with match_rms_adamw",
    )
    _option(
        how,
        "label_smoothing",
        metavar="X",
        type=float,
        help="share of the target that goes to all classes alike, from 0 to below 1",
    )
    _option(
        how,
        "label_smoothing_schedule",
        metavar="NAME[,KEY=VALUE,...]",
        type=parse_schedule,
        help="what it is multiplied by at each step; linear,begin=0.9,end=0.9 switches it off for the last tenth",
    )
    _option(
        how,
        "class_weight",
        metavar="balanced|W1,W2,...|CLASS=W,...",
        type=parse_class_weight,
        help="how much images of each class count in the training loss: balanced, a number for each class, or for some "
        "(1 for the others); also as JSON",
    )
    _option(how, "clip_grad_norm", metavar="X", type=float, help="make a gradient that is longer than this so long")
    _option(
        how,
        "ema",
        metavar="DECAY",
        type=float,
        help="measure and keep an exponential moving average of the weights, such as 0.999",
    )
    _option(
        how,
        "augment",
        metavar="KEY=VALUE,...",
        type=parse_augment,
        help=f"change the training images at random, for example shift=2,rotate=10; keys: {', '.join(BOUNDS)} "
        "(erase_area=0.02:0.2)",
    )
    _option(
        how,
        "augment_schedule",
        metavar="NAME[,KEY=VALUE,...]",
        type=parse_schedule,
        help="what these changes are multiplied by at each step; linear,begin=0.7 has them fall to nothing in the last "
        "three tenths of the run",
    )
    _option(how, "seed", metavar="N", type=whole, help="of weights, batch order, dropout and drawn images")
    _option(how, "device", help="auto (the GPU if there is one), cpu, cuda or cuda:1")
    _option(how, "precision", choices=CHOICES["precision"], help="of convolutions and products")
    _option(
        how,
        "deterministic",
        action="store_true",
        help="use only kernels that give the same bits each time, on a GPU too",
    )
    _option(
        how,
        "kernels",
        choices=CHOICES["kernels"],
        help="of the training step on a CPU: exact repeats PyTorch's to the last digits (usual for float32), fused is "
        "faster",
    )

    measure = parser.add_argument_group("what to measure")
    _option(
        measure,
        "evaluate_every",
        metavar="N|epoch",
        type=_every,
        help="measure the test set after every N-th batch, or after every epoch",
    )
    _option(
        measure,
        "evaluate_on",
        metavar="N|SHARE",
        type=_part,
        help="measure only so many test images, or this share of them, from 0 to 1; all unless given",
    )
    _option(
        measure,
        "tolerance",
        metavar="X",
        type=float,
        help="look at no more images than an estimate of the accuracy with this standard error takes, such as 0.0005; "
        "on a CPU that is much faster. All images are measured unless given",
    )
    _option(
        measure,
        "complete_every",
        metavar="N|epoch",
        type=_every,
        help="with --tolerance, measure all images after every N-th batch, or epoch; what --select, --patience and a "
        "plateau decide is decided there. Chosen unless given",
    )
    _option(
        measure,
        "record",
        choices=tuple(RECORDABLE),
        action="append",
        default=[],
        help=f"also keep {'; '.join(f'{name}: {what}' for name, what in KEEPS.items())}",
    )
    _option(
        measure,
        "measure_training",
        metavar="N",
        type=whole,
        help="with --record examples, measure the training images so often in the whole run, the last time at its end",
    )
    _option(
        measure,
        "weights_every",
        metavar="N|epoch",
        type=_every,
        help="with --record weights, keep a state after every N-th batch, or epoch; about 20 in a run unless given",
    )
    _option(
        measure,
        "validation",
        metavar="N|SHARE",
        type=_part,
        help="hold out so many training images, or this share of them, and measure them too",
    )
    _option(measure, "log_every", metavar="N", type=whole, help="print a line to stderr after every N-th batch")

    decide = parser.add_argument_group("what the measurements decide")
    _option(decide, "select", choices=("last", "best"), help="keep the last weights, or those measured best")
    _option(
        decide,
        "monitor",
        choices=MONITORS,
        help="the curve that decides: validation_loss unless given, and test_loss without --validation",
    )
    _option(
        decide, "patience", metavar="N", type=whole, help="end after so many measurements that brought nothing better"
    )
    _option(decide, "min_delta", metavar="X", type=float, help="an improvement by no more than this is none")

    output = parser.add_argument_group("output")
    output.add_argument("--out", metavar="FOLDER", type=Path, help="save the run there; not saved unless given")
    _option(
        output, "folder", metavar="FOLDER", type=Path, help="write the run there as it goes on, so that it is not lost"
    )
    _option(output, "keep_state_every", metavar="SECONDS", type=float, help="keep what it needs to go on so often")
    output.add_argument("--overwrite", action="store_true", help="replace a run that is in FOLDER already")
    _option(
        output, "checkpoints", metavar="FOLDER", type=Path, help="keep weights there on the way; see everybatch predict"
    )
    _option(output, "checkpoint_every", metavar="N|epoch", type=_every, help="after every N-th batch, or epoch")
    output.add_argument(
        "--quiet", action="store_true", help="print nothing but warnings, errors and the lines of --log-every"
    )


def _option(group: Any, name: str, **described: Any) -> None:
    """Add an argument of `everybatch.train`, whose default it has unless told otherwise."""
    group.add_argument(f"--{name.replace('_', '-')}", **{"default": _DEFAULTS[name], **described})


def run(args: Namespace) -> int:
    """Check where to save, train, print, save."""
    if args.epochs is not None and args.steps is not None:
        raise ArgumentError(f"--epochs is {args.epochs} and --steps is {args.steps}: give one of them")
    args.epochs = _DEFAULTS["epochs"] if args.epochs is None else args.epochs
    if args.out is not None:  # now, not after an hour of training
        check_out(args.out, overwrite=args.overwrite)
        check_writable(args.out.parent)
    elif args.overwrite:
        raise ArgumentError("--overwrite needs --out FOLDER, the run to replace")
    if args.folder is None and args.keep_state_every != _DEFAULTS["keep_state_every"]:
        raise ArgumentError("--keep-state-every needs --folder FOLDER, where the run is kept")
    if args.folder is not None and args.out is not None:
        refuse_folder_in_out(args.folder, args.out)
    if args.checkpoints is not None and args.out is not None:
        message = "--checkpoints {checkpoints} lies in --out {folder}, which holds a saved run and nothing else"
        refuse_inside(args.checkpoints, args.out, message)
    given, before = _given(args)
    shape = None if given is None else _network(given).input_shape
    model = given if isinstance(given, Model) else None
    data = open_data(args, args.data, shape, seed=args.seed, run=before, model=model)
    start = build(args.network or "resnet", args.option, data) if given is None else given
    network = _network(start)
    if not args.quiet:
        print(f"Data: {describe(data)}")
        print(f"Network: {network.name}, {network.num_parameters:,} parameters", flush=True)

    try:
        result = _train(args, start, data)
    except Exception as error:  # such as a full disk when weights were to be kept
        recorded = getattr(error, "run", None)
        if recorded is not None and args.out is not None:
            place = _save(recorded, args)
            print(f"everybatch: note: what was recorded until then is saved in {place}", file=sys.stderr)
        raise

    saved = None if args.out is None else _save(result, args)  # before anything is printed, which may fail
    if not args.quiet:
        print(f"\n{class_table(result.classes, result.confusion)}\n\n{summary(result)}")
        places = [f"Saved in {saved}."] if saved is not None else []
        places += [f"Written to {args.folder}."] if args.folder is not None else []
        print(" ".join(places) or "Not saved: --out FOLDER or --folder FOLDER was not given.")
    if result.interrupted:
        print(interrupted(result, args), file=sys.stderr)
        return INTERRUPTED
    return DIVERGED if result.diverged_at is not None else 0


def interrupted(result: everybatch.Run, args: Namespace) -> str:
    """Say that a run was ended by Ctrl-C, and how it goes on."""
    hint = ""
    if args.folder is not None:
        folder = str(args.folder)
        folder = f"./{folder}" if folder.startswith("-") else folder  # or it would be an option
        hint = f"; go on with: {shlex.join(['everybatch', 'resume', folder, *options_again(args)])}"
    return f"everybatch: interrupted after {result.steps:,} batches{hint}"


def _save(result: everybatch.Run, args: Namespace) -> Path:
    """Save the run where it was to go, or beside it if something else has come there meanwhile."""
    out: Path = args.out
    for number in itertools.count(1):
        try:
            result.save(out, overwrite=args.overwrite)
            break
        except FileExistsError:
            print(f"everybatch: warning: {out} is taken since the training began", file=sys.stderr)
            out = args.out.with_name(f"{args.out.name}_{number}")
    return out


def _train(args: Namespace, start: Network | Model, data: Dataset) -> everybatch.Run:
    with warnings_at_once(), log_lines(), matching():
        return everybatch.train(
            start,
            data,
            **{name: value for name, value in vars(args).items() if name in _DEFAULTS},
            # In a log file a bar is a mess, and among lines too.
            progress=not args.quiet and args.log_every is None and sys.stderr.isatty(),
        )


def _given(args: Namespace) -> tuple[Network | Model | None, Run | None]:
    """Return what is trained, or None if it is to be built for the data, and the run that it comes from, if any."""
    if args.init is not None:
        if args.network is not None or args.option:
            raise ArgumentError("--init brings its own network: leave out --network and --option")
        loaded = load_model(args.init)
        if args.match_classes == "position":
            loaded.model.classes = None
        return loaded.model, loaded.run
    if args.match_classes is not None:
        raise ArgumentError("--match-classes is for --init, whose classes may be others than those of --data")
    if args.network is None or is_builder(args.network):
        return None, None
    network = read_network(args.network)
    if args.option:
        raise ArgumentError("--option is for builders: a network from a file is what it is")
    return network, None


def _network(start: Network | Model) -> Network:
    return start.network if isinstance(start, Model) else start


def _every(text: str) -> int | str:
    return "epoch" if text == "epoch" else whole(text)


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(number) for number in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not numbers with commas between them") from None


def _part(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number of images nor a share") from None
