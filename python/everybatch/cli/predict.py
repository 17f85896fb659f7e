"""`everybatch predict`."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from everybatch._classes import checked, matched
from everybatch.cli._checkpoints import print_checkpoints
from everybatch.cli._data import add_data, add_limits, open_data, refuse_without_data
from everybatch.cli._folder_data import background
from everybatch.cli._images import read_images
from everybatch.cli._models import MODEL_HELP, Loaded, add_match, load_model, matching
from everybatch.cli._parser import Commands, Parser, UsageError, command, whole
from everybatch.errors import ArgumentError

__all__ = ["add", "run"]

_LONG = """\
Pictures (PNG, JPEG and what else Pillow reads) are turned upright as their EXIF orientation says, laid on
--background where they are see-through, turned to grey, or to colour if the network wants it, and brought to its size.
Arrays (.npy) hold uint8 pixels, (H, W), (N, H, W) or (N, H, W, C).
With --checkpoints, all weights that a run kept on its way are measured instead, in one table."""
_EXAMPLE = """\
  everybatch predict runs/lenet seven.png nine.jpg
  everybatch predict runs/lenet scanned.png --invert
  everybatch predict runs/lenet --data mnist --index 0 947 --json
  everybatch predict runs/lenet --checkpoints
  everybatch predict --checkpoints weights/lenet --data mnist"""


@dataclass(frozen=True)
class Asked:
    """Images (N, H, W) or (N, H, W, C), what to call each, its true class, and the classes, where these are known."""

    images: npt.NDArray[np.uint8]
    names: list[str]
    truth: list[str | None]
    classes: tuple[str, ...] | None


def add(commands: Commands) -> None:
    """Describe the arguments of `predict`."""
    parser: Parser = command(
        commands,
        "predict",
        run,
        short="tell the class of pictures, with probabilities, or measure all kept weights",
        long=_LONG,
        example=_EXAMPLE,
    )
    parser.add_argument("model", metavar="MODEL_OR_RUN", nargs="?", help=MODEL_HELP)
    parser.add_argument("images", metavar="IMAGE", nargs="*", help="a picture, or a .npy array of one or several")
    parser.add_argument(
        "--invert", action="store_true", help="swap dark and light: for black on white, as MNIST is white on black"
    )
    add_data(parser, None, ". Its test images are used instead of files, see --index")
    parser.add_argument(
        "--index", metavar="I", nargs="+", type=whole, help="numbers of the test images of --data, from 0"
    )
    parser.add_argument("--top", metavar="K", type=whole, default=3, help="print the K most likely classes")
    parser.add_argument(
        "--checkpoints",
        metavar="FOLDER",
        nargs="?",
        const="",
        help="measure the weights kept there on the test images of --data. With a run, its own unless given, on the "
        "test images that it measured: the figures are then those of its history",
    )
    add_limits(parser, train=False)
    add_match(parser)
    parser.add_argument(
        "--precision",
        choices=("float32", "bfloat16"),
        help="of --checkpoints; that of the run, and float32 without one",
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON list instead, with all probabilities in [0, 1]"
    )


def run(args: Namespace) -> int:
    """Print the likely classes of each image, or the table of kept weights."""
    if args.checkpoints is not None:
        if args.images or args.index is not None or args.invert:
            raise UsageError(
                "--checkpoints measures the test images of --data: leave out pictures, --index and --invert"
            )
        return print_checkpoints(args)
    if args.model is None:
        raise UsageError("give MODEL_OR_RUN, or --checkpoints FOLDER (see everybatch predict --help)")
    if bool(args.images) == (args.data is not None):
        raise UsageError("give either pictures or --data with --index (see everybatch predict --help)")
    if (args.data is None) != (args.index is None):
        raise UsageError("--data and --index belong together: the test images to look at")
    if args.data is None:
        refuse_without_data(args, "test_images", "match_classes")
    if args.precision is not None:
        raise UsageError("--precision belongs to --checkpoints")
    if args.top < 1:
        raise ArgumentError("--top is 0: at least one class is printed")
    loaded = load_model(args.model)
    asked = _files(args, loaded) if args.data is None else _members(args, loaded)
    probabilities = loaded.model.predict_proba(asked.images)
    broken = np.count_nonzero(np.isnan(probabilities).any(axis=1))
    if broken:
        few = f"{broken:,} of {len(probabilities):,} images"
        print(f"everybatch: warning: {loaded.path} gives NaN for {few}: its weights are broken", file=sys.stderr)
    if args.json:
        print(json.dumps(_plain(asked, probabilities)))
        return 0
    for name, true, row in zip(asked.names, asked.truth, probabilities, strict=True):
        order = np.argsort(-row, kind="stable")[: args.top]
        likely = ", ".join(f"{_called(int(i), asked.classes)} ({100 * row[i]:.2f} %)" for i in order)
        likely = "no class (NaN)" if np.isnan(row).any() else likely
        print(f"{name}: {likely}" + ("" if true is None else f"; labelled {true}"))
    return 0


def _called(number: int, classes: tuple[str, ...] | None) -> str:
    return f"class number {number}" if classes is None else classes[number]


def _plain(asked: Asked, probabilities: npt.NDArray[np.float32]) -> list[dict[str, object]]:
    """Where the names of the classes are not known, "class" is null and "probabilities" a list; NaN is null too."""
    told: list[dict[str, object]] = []
    for name, true, row in zip(asked.names, asked.truth, probabilities, strict=True):
        best = None if np.isnan(row).any() else int(row.argmax())
        shares = [None if np.isnan(value) else round(float(value), 6) for value in row]
        classes = asked.classes
        told.append(
            {
                "image": name,
                "class": None if classes is None or best is None else classes[best],
                "number": best,
                **({} if true is None else {"labelled": true}),
                "probabilities": shares if classes is None else dict(zip(classes, shares, strict=True)),
            }
        )
    return told


def _files(args: Namespace, loaded: Loaded) -> Asked:
    ground = background(args, loaded.run, loaded.model)
    images, names, notes = read_images(args.images, loaded.model.input_shape, invert=args.invert, background=ground)
    for note in notes:
        print(f"everybatch: note: {note}", file=sys.stderr)
    return Asked(images, names, [None] * len(names), loaded.classes)


def _members(args: Namespace, loaded: Loaded) -> Asked:
    network = loaded.model.network
    data = open_data(args, args.data, network.input_shape, test_only=True, run=loaded.run, model=loaded.model)
    beyond = [index for index in args.index if index >= len(data.test_labels)]
    if beyond:
        raise ArgumentError(
            f"--index {beyond[0]}: the test images of {data.name} go from 0 to {len(data.test_labels) - 1}"
        )
    network.check_images(data.image_shape, f"the images of {data.name} have shape")
    images, labels = data.test_images[args.index], data.test_labels[args.index]
    if args.invert:
        images = 255 - images
    called = f"data set {data.name!r}"
    with matching():
        found = matched(
            loaded.classes, network.num_classes, data.classes, labels, checked(args.match_classes), data=called
        )
    names = [f"{data.name} test image {index}" for index in args.index]
    return Asked(images, names, [found.names[number] for number in found.numbers[labels]], found.names)
