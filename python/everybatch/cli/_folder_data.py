"""`--data` that is a folder of pictures: what is measured of it, and what its pictures are laid on."""

from __future__ import annotations

import argparse
from argparse import Namespace
from pathlib import Path
from typing import Literal

from everybatch._core import Model
from everybatch._pictures import Ground, ground
from everybatch.cli._warnings import warnings_at_once
from everybatch.dataset import Dataset
from everybatch.datasets._folder import Split, is_flat, read_folder, split_of
from everybatch.datasets._folder_read import WHITE, background_of
from everybatch.errors import ArgumentError, ShapeError
from everybatch.run import Run

__all__ = ["add_background", "add_part", "background", "open_folder", "refuse_part"]


def add_background(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--background",
        metavar="LEVEL",
        type=_ground,
        help="what see-through pictures are laid on: white, black, a grey level from 0 to 255, or three levels R,G,B. "
        "Unless given: what those were laid on that the run was trained on, else white",
    )


def add_part(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--part",
        choices=("all", "test"),
        help="of a folder of pictures without train and test folders: all of them, or those that training holds "
        "back to test on. Unless given: test for a run that was trained on that folder, else all",
    )


def background(args: Namespace, run: Run | None, model: Model | None) -> Ground:
    """Return what see-through pictures are laid on: as --background says, or as when `model` or `run` was trained."""
    if args.background is not None:
        return ground(args.background)
    if model is not None and model.background is not None:
        return model.background
    known = None if run is None else background_of(str(run.config["dataset"]["source"]))
    return known or WHITE


def open_folder(
    path: Path,
    args: Namespace,
    input_shape: tuple[int, int, int] | None,
    *,
    test_only: bool,
    run: Run | None,
    model: Model | None,
) -> Dataset:
    """Read a folder of pictures; the arguments are those of `open_data`.

    Raises
    ------
    ArgumentError
        `run` was trained on that folder, whose files have changed since; or --part is given where it does nothing.
    """
    size: tuple[int, int] | None = args.image_size
    mode: Literal["L", "RGB"] | None = None
    if input_shape is not None:
        size = size or input_shape[1:]
        mode = "L" if input_shape[0] == 1 else "RGB" if input_shape[0] == 3 else None
    split = _split(path, args, test_only=test_only, run=run)
    try:
        with warnings_at_once():
            laid_on = background(args, run, model)
            return read_folder(path, size=size, mode=mode, background=laid_on, split=split)
    except ShapeError as error:
        way = "pass --image-size HEIGHTxWIDTH (image_size in the file of a sweep)"
        raise ShapeError(str(error).replace("pass size=(height, width)", way)) from error


def refuse_part(args: Namespace, name: str, *, sized: bool = False) -> None:
    """Refuse what is for folders of pictures, for other data; `sized`: --image-size is for these too."""
    for option in ("part", "background") if sized else ("part", "background", "image_size"):
        if getattr(args, option, None) is not None:
            flag = f"--{option.replace('_', '-')}"
            key = f" ({option} in the file of a sweep)" if option == "image_size" else ""
            raise ArgumentError(f"{flag}{key} belongs to folders of pictures, and {name} is none: leave it out")


def _split(path: Path, args: Namespace, *, test_only: bool, run: Run | None) -> Split | None:
    """Return how a folder of pictures is split; None if all of it is measured."""
    part, fraction = getattr(args, "part", None), getattr(args, "test_fraction", None)
    if not is_flat(path):
        if fraction is not None:
            raise ArgumentError(f"--test-fraction splits images without a test set, and {path} has one")
        if part is not None:
            raise ArgumentError(
                f"--part is for a folder that is not divided yet, and {path} has a folder for training and one for "
                "testing: give one of these as --data to measure all of it"
            )
        return Split()
    if fraction is not None:
        if part == "all":
            raise ArgumentError("--part all and --test-fraction exclude each other: all pictures, or a share of them")
        return Split(fraction)
    return _measured(path, part, run) if test_only else Split()


def _measured(path: Path, part: str | None, run: Run | None) -> Split | None:
    known, here = (None, False) if run is None else split_of(str(run.config["dataset"]["source"]), path)
    if part == "all":
        return None
    if part is None and here and known is None:
        raise ArgumentError(
            f"the run was trained on pictures in {path}, whose files have changed since: --part test measures a share "
            "that training would hold back now, some of which it may have been trained on; --part all measures all of "
            "them, with those that it was trained on"
        )
    return known or (Split() if part == "test" else None)


def _ground(text: str) -> Ground:
    words = {"white": "255", "black": "0"}
    parts = words.get(text.lower(), text).split(",")
    if len(parts) in (1, 3) and all(part.strip().isdecimal() and int(part) <= 255 for part in parts):
        return ground([int(part) for part in parts])
    raise argparse.ArgumentTypeError(f"{text!r} is neither white, black, a level from 0 to 255 nor three of them R,G,B")
