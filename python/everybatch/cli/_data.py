"""`--data` and its like: which images a command works on."""

from __future__ import annotations

import argparse
from argparse import Namespace
from pathlib import Path

from everybatch import datasets
from everybatch.cli._folder_data import add_background, add_part, open_folder, refuse_part
from everybatch.cli._parser import Parser, whole
from everybatch.dataset import Dataset
from everybatch.datasets._idx_sets import MNIST
from everybatch.datasets._locate import find_file
from everybatch.errors import suggest
from everybatch.run import Run

__all__ = ["NAMES", "add_data", "add_limits", "describe", "open_data"]

NAMES = ("mnist", "fashion_mnist", "kmnist", "glyphs")


def add_data(parser: Parser, default: str | None, otherwise: str = "") -> None:
    parser.add_argument(
        "--data",
        metavar="DATA",
        default=default,
        help=f"{', '.join(NAMES)}, or a path: an .npz archive (x_train, y_train, x_test, y_test), a folder of IDX "
        f"files, or a folder of pictures with a sub-folder for each class{otherwise}",
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
            help="use only so many training images, drawn with --seed from all classes alike",
        )
    parser.add_argument(
        "--test-images",
        metavar="N",
        type=whole,
        help="use only so many test images" + (", drawn likewise" if train else ", from all classes alike"),
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

    Raises
    ------
    ArgumentError
        `run` was trained on that folder, whose files have changed since; or --part is given where it does nothing.
    """
    train, test = getattr(args, "train_images", None), getattr(args, "test_images", None)
    if name in NAMES:
        refuse_part(args, name)
    if name == "glyphs":  # drawn to measure
        if test_only:
            train = 100
        return datasets.glyphs(60_000 if train is None else train, 10_000 if test is None else test)
    if name in NAMES:
        data: Dataset = getattr(datasets, name)(download=not args.no_download)
    else:
        data = _read(Path(name).expanduser(), name, args, input_shape, test_only=test_only, run=run)
    return data if train is None and test is None else data.subset(train=train, test=test, seed=seed)


def describe(data: Dataset, *, test_only: bool = False) -> str:
    """Return one line that tells what the data are and where they came from."""
    shape = "x".join(str(n) for n in data.image_shape)
    train = "" if test_only else f"{len(data.train_labels):,} training and "
    return (
        f"{data.name}, {train}{len(data.test_labels):,} test images of {shape}, "
        f"{data.num_classes} classes ({data.source})"
    )


def _read(
    path: Path,
    name: str,
    args: Namespace,
    input_shape: tuple[int, int, int] | None,
    *,
    test_only: bool,
    run: Run | None,
) -> Dataset:
    if path.is_dir():
        idx = [find_file(path, file) for file in MNIST.files]
        found = [file for file in idx if file is not None]
        if len(found) == len(idx):
            refuse_part(args, name)
            return datasets.from_idx(found[0], found[1], found[2], found[3], name=path.resolve().name)
        if found:
            missing = ", ".join(f.stem for f, there in zip(MNIST.files, idx, strict=True) if there is None)
            raise FileNotFoundError(f"{path} has {found[0].name}, but lacks {missing} (plain or .gz)")
        return open_folder(path, args, input_shape, test_only=test_only, run=run)
    if path.is_file():
        refuse_part(args, name)
        return datasets.from_npz(path, name=path.stem)
    hint = suggest(name, NAMES)
    raise FileNotFoundError(
        f"--data {name!r} is neither a data set ({', '.join(NAMES)}) nor a file or folder that exists.{hint}"
    )


def _size(text: str) -> tuple[int, int]:
    parts = text.lower().split("x")
    if len(parts) == 2 and all(part.isdigit() and int(part) > 0 for part in parts):
        return int(parts[0]), int(parts[1])
    raise argparse.ArgumentTypeError(f"{text!r} is not HEIGHTxWIDTH, such as 28x28")
