"""`everybatch demo`."""

from __future__ import annotations

import json
import logging
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import everybatch
from everybatch import _core, datasets
from everybatch._core import Step
from everybatch._disk import at_home
from everybatch.cli._data import add_limits
from everybatch.cli._folders import check_out, check_writable
from everybatch.cli._parser import Commands, command, whole
from everybatch.cli._pictures import KINDS, picture
from everybatch.cli._tables import class_table, summary
from everybatch.cli._threads import fastest_threads
from everybatch.dataset import Dataset
from everybatch.errors import StopTraining

__all__ = ["add", "run"]

INTERRUPTED = 130

# Found by measurement on two cores of an AMD EPYC that had other work too: about a minute with one thread, and around
# 98 % on MNIST and on the glyphs. The maps are 7x7 after the first two layers, so that the 10,000 test images take a
# third of a second on one core. A larger rate learns faster, but its test accuracy jumps more from batch to batch.
_NETWORK: dict[str, Any] = {"stages": (16, 32, 64), "blocks": 1, "stem_kernel_size": 5}
_IMAGES, _BATCH = 45_000, 300
_TRAINING: dict[str, Any] = {"optimizer": "sgd", "lr": 0.015, "momentum": 0.9, "nesterov": True}
_DEADLINE_S = 90.0
"""Seconds after which a busy machine may train no longer, so that with start and pictures two minutes suffice."""
_PICTURES = ("losses", "accuracy", "class_accuracy", "class_bars", "confusion")

_LONG = """\
A small residual network sees 45,000 images once, and all 10,000 test images are measured after each of its 150
batches. It takes about a minute on two CPU cores, two at most, and never needs the internet: it uses MNIST if that
is on this machine, and the built-in glyph digits if not."""
_EXAMPLE = """\
  everybatch demo
  everybatch demo --out /tmp/demo --data folder/with/mnist"""


def add(commands: Commands) -> None:
    """Describe the arguments of `demo`."""
    parser = command(
        commands,
        "demo",
        run,
        short="train a small network in a minute, measure every batch, draw pictures",
        long=_LONG,
        example=_EXAMPLE,
    )
    parser.add_argument(
        "--out",
        metavar="FOLDER",
        type=Path,
        default=Path("demo"),
        help="for the pictures and, in its folder run, the saved run; those of an earlier demo are replaced",
    )
    parser.add_argument(
        "--data",
        metavar="FOLDER",
        type=Path,
        help="folder with the files of MNIST; without it, EVERYBATCH_DATA and the cache folder are looked at",
    )
    parser.add_argument("--seed", metavar="N", type=whole, default=0, help="of weights, batch order and drawn images")
    add_limits(parser)


def run(args: Namespace) -> int:
    """Train, draw, save, and say what to look at."""
    began = time.monotonic()
    out = at_home(args.out)
    saved = out / "run"
    check_out(saved, overwrite=True)
    check_writable(saved)
    data = _data(args)
    result = _train(data, args.seed, began)

    result.save(saved, overwrite=True)
    if result.interrupted:
        print(f"everybatch: interrupted after {result.steps:,} batches, saved in {saved}", file=sys.stderr)
        return INTERRUPTED
    for kind in _PICTURES:
        picture(kind, [result], out / f"{kind}.png")
    print(f"\n{class_table(result.classes, result.confusion)}\n\n{summary(result)}")
    if result.state == "stopped":
        asked = result.config["training"]["total_steps"]
        print(
            f"This machine is busy: the demo ended after {result.steps} of {asked} batches to keep within two minutes."
        )
    print()
    print(_what_next(out, saved))
    return 0


def _data(args: Namespace) -> Dataset:
    if args.data is not None and not args.data.is_dir():
        raise FileNotFoundError(f"--data {args.data} is not a folder; give the one that holds MNIST's files")
    logger = logging.getLogger("everybatch")
    level = logger.level
    logger.setLevel(logging.ERROR)  # the source, printed below, says that the glyphs take MNIST's place
    try:
        data = datasets.default(args.data)
    finally:
        logger.setLevel(level)
    train = min(_IMAGES, len(data.train_labels)) if args.train_images is None else args.train_images
    part = data.subset(train=train, test=args.test_images, seed=args.seed)
    print(f"Data: {len(part.train_labels):,} training and {len(part.test_labels):,} test images of {data.source}")
    return part


def _train(data: Dataset, seed: int, began: float) -> everybatch.Run:
    network = everybatch.networks.resnet(num_classes=data.num_classes, **_NETWORK)
    size = min(_BATCH, len(data.train_labels))
    device = _core.resolve_device("auto")
    with fastest_threads(network.initialize(seed, mean=data.mean, std=data.std), device) as threads:
        where = device if device != "cpu" else f"cpu, {threads} thread{'' if threads == 1 else 's'}"
        print(
            f"Network: {network.name}, {network.num_parameters:,} parameters; one epoch of batches of {size} images, "
            f"on {where}",
            flush=True,
        )
        bar = sys.stderr.isatty()
        return everybatch.train(
            network,
            data,
            epochs=1,
            batch_size=size,
            seed=seed,
            device=device,
            progress=bar,
            callbacks=_watch(began + _DEADLINE_S, lines=not bar),
            **_TRAINING,
        )


def _watch(deadline: float, *, lines: bool) -> Callable[[Step], None]:
    """Return a callback that ends the run in time and, without a progress bar, prints a line now and then."""

    def watch(step: Step) -> None:
        if lines and (step.step % max(1, step.total_steps // 8) == 0 or step.step == step.total_steps):
            print(
                f"  batch {step.step:>3} of {step.total_steps}: loss {step.train_loss:.3f}, "
                f"test loss {step.test_loss:.3f}, test accuracy {100 * step.test_accuracy:.2f} %",
                flush=True,
            )
        if time.monotonic() > deadline and step.step < step.total_steps:
            raise StopTraining

    return watch


def _what_next(out: Path, saved: Path) -> str:
    width = max(len(kind) for kind in _PICTURES) + len(".png")
    pictures = "\n".join(f"  {kind + '.png':<{width}}  {KINDS[kind]}" for kind in _PICTURES)
    return f"""\
Look at the pictures in {out}:
{pictures}
In class_accuracy.png, look for classes that fall back for some batches: measured once an epoch, none would show.

Go on in Python with the saved run:
  import everybatch as eb
  run = eb.load_run({json.dumps(str(saved))})
  run.class_accuracy[-1], run.batch_indices(0), run.model.predict"""
