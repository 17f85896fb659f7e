"""`--data` and its like: which images a command works on."""

from __future__ import annotations

import argparse
import contextlib
from argparse import Namespace
from collections.abc import Iterator

from everybatch import datasets
from everybatch._core import Model
from everybatch._disk import at_home
from everybatch.cli._data_files import NAMES, open_path, options_named
from everybatch.cli._folder_data import add_background, add_part, refuse_part
from everybatch.cli._parser import Parser, UsageError, whole
from everybatch.dataset import Dataset
from everybatch.errors import ArgumentError
from everybatch.run import Run

__all__ = ["NAMES", "add_data", "add_limits", "data_of", "describe", "found_data_named", "open_data", "options_again"]
__all__ += ["refuse_without_data"]


def add_data(parser: Parser, default: str | None, otherwise: str = "") -> None:
    parser.add_argument(
        "--data",
        metavar="DATA",
        default=default,
        help=f"{', '.join(NAMES)}, or a path: an .npz archive (of your own, Keras's or MedMNIST's), a table (.csv) of "
        "labels and pixels, a folder of IDX files, of SVHN, EMNIST, QMNIST or CIFAR (binary version, or its .tar.gz), "
        f"or a folder of pictures with a sub-folder for each class{otherwise}",
    )
    parser.add_argument(
        "--keys",
        metavar="NAME,...",
        type=_keys,
        help="names of the arrays in an .npz archive: training images, training labels, test images, test labels; or "
        "images, labels alone, which are split (default: x_train,y_train,x_test,y_test)",
    )
    parser.add_argument(
        "--test-fraction",
        metavar="SHARE",
        type=_fraction,
        help="share of each class that becomes test images, where the data have none of their own (default: 0.2)",
    )
    parser.add_argument(
        "--no-download", action="store_true", help="fail if the named data set is not on this machine already"
    )
    parser.add_argument(
        "--image-size",
        metavar="HxW",
        type=_size,
        help="bring the pictures of a folder to this height and width, in pixels; for example 28x28",
    )
    add_background(parser)


def add_limits(parser: Parser, *, train: bool = True) -> None:
    if train:
        parser.add_argument(
            "--train-images",
            metavar="N",
            type=whole,
            help="use only so many training images, drawn with --seed, each class in proportion",
        )
    parser.add_argument(
        "--test-images",
        metavar="N",
        type=whole,
        help="use only so many test images" + (", drawn likewise" if train else ", each class in proportion"),
    )
    if not train:
        add_part(parser)


def open_data(
    args: Namespace,
    name: str,
    input_shape: tuple[int, int, int] | None = None,
    *,
    seed: int = 0,
    test_only: bool = False,
    run: Run | None = None,
    model: Model | None = None,
) -> Dataset:
    """Open the data set that `name` stands for, cut down as `args` say.

    Parameters
    ----------
    args
        With what `add_data` and `add_limits` define.
    name
        One of `NAMES`, or a path.
    input_shape
        (channels, height, width) that the pictures of a folder are brought to; --image-size goes before it.
    seed
        Of the images that are drawn.
    test_only
        Whether the training images do not matter: then all pictures of a folder without a test folder are test images,
        unless `run` was trained on it, or --part says otherwise.
    run
        The run whose model is looked at, if it is one's.
    model
        What is measured or trained further: see-through pictures are laid on its background.

    Raises
    ------
    ArgumentError
        `run` was trained on that folder, whose files have changed since; or --part is given where it does nothing.
    """
    train, test = getattr(args, "train_images", None), getattr(args, "test_images", None)
    if name in NAMES:
        refuse_part(args, name)
        given = [option for option in ("keys", "test_fraction") if getattr(args, option, None) is not None]
        if given:
            option = "--" + given[0].replace("_", "-")
            raise ArgumentError(f"{option} belongs to files of your own; {name} needs none")
    if name == "glyphs":  # drawn to measure
        if test_only:
            train = 100
        return datasets.glyphs(60_000 if train is None else train, 10_000 if test is None else test)
    if name in NAMES:
        data: Dataset = getattr(datasets, name)(download=not args.no_download)
    else:
        with options_named():
            data = open_path(at_home(name), name, args, input_shape, test_only=test_only, run=run, model=model)
    return data if train is None and test is None else data.subset(train=train, test=test, seed=seed)


def data_of(args: Namespace, run: Run) -> Dataset | None:
    """Open what a run was trained on, by the options of its training; None without --data: it is found by its name.

    Raises
    ------
    UsageError
        There are options that say how --data is read, and no --data.
    """
    if args.data is None:
        refuse_without_data(args, "train_images", "test_images")
        return None
    channels, height, width = run.config["network"]["input_shape"]
    return open_data(args, args.data, (channels, height, width), seed=run.config["training"]["seed"], run=run)


@contextlib.contextmanager
def found_data_named() -> Iterator[None]:
    """Let messages about a run and its data name the options of the command line instead of arguments."""
    try:
        yield
    except ArgumentError as error:
        text = str(error).replace("give dataset=...", "give --data, with the options of the training")
        raise ArgumentError(text.replace("give epochs= or steps=", "give --epochs or --steps")) from error


def options_again(args: Namespace) -> list[str]:
    """Return the options that name a training's data again; none where `everybatch resume` finds them by itself."""
    limits = [args.train_images, args.test_images]
    if args.data is None or (args.data in NAMES and (args.data == "glyphs" or limits == [None, None])):
        return []
    said = {
        "--data": args.data,
        "--keys": None if args.keys is None else ",".join(args.keys),
        "--test-fraction": args.test_fraction,
        "--image-size": None if args.image_size is None else "x".join(map(str, args.image_size)),
        "--train-images": args.train_images,
        "--test-images": args.test_images,
    }
    return [word for option, value in said.items() if value is not None for word in (option, str(value))]


def refuse_without_data(args: Namespace, *others: str) -> None:
    """Refuse options that say how --data is read where it is not given, and `others` that need it too.

    Raises
    ------
    UsageError
        One is given.
    """
    for option in ("keys", "test_fraction", "image_size", "part", *others):
        if getattr(args, option, None) is not None:
            raise UsageError(f"--{option.replace('_', '-')} says how --data is read, and there is none: leave it out")


def describe(data: Dataset, *, test_only: bool = False) -> str:
    """Return one line that tells what the data are and where they came from."""
    shape = "x".join(str(n) for n in data.image_shape)
    train = "" if test_only else f"{len(data.train_labels):,} training and "
    return (
        f"{data.name}, {train}{len(data.test_labels):,} test images of {shape}, "
        f"{data.num_classes} classes ({data.source})"
    )


def _size(text: str) -> tuple[int, int]:
    parts = text.lower().split("x")
    if len(parts) == 2 and all(part.isdigit() and int(part) > 0 for part in parts):
        return int(parts[0]), int(parts[1])
    raise argparse.ArgumentTypeError(f"{text!r} is not HEIGHTxWIDTH, such as 28x28")


def _keys(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if len(names) in (2, 4) and all(names):
        return names
    raise argparse.ArgumentTypeError(f"{text!r} is not four names with commas between them, or two")


def _fraction(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not 0 < number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and below 1")
    return number
