"""`everybatch evaluate`."""

from __future__ import annotations

import json
import math
import sys
from argparse import Namespace

from everybatch._core import Evaluation
from everybatch.cli._data import add_data, add_limits, describe, open_data, refuse_without_data
from everybatch.cli._models import MODEL_HELP, Loaded, add_match, load_model, matching
from everybatch.cli._own_data import own_data
from everybatch.cli._parser import Commands, UsageError, command
from everybatch.cli._tables import class_table, percent, shares
from everybatch.dataset import Dataset

__all__ = ["add", "run"]

_LONG = "Prints the mean cross-entropy, the accuracy, and the accuracy of each class."
_EXAMPLE = """\
  everybatch evaluate runs/lenet --data mnist
  everybatch evaluate lenet.safetensors --data pictures/ --json"""


def add(commands: Commands) -> None:
    """Describe the arguments of `evaluate`."""
    parser = command(
        commands,
        "evaluate",
        run,
        short="measure a trained network on the test images of a data set",
        long=_LONG,
        example=_EXAMPLE,
    )
    parser.add_argument("model", metavar="MODEL_OR_RUN", help=MODEL_HELP)
    add_data(parser, None, ". Unless given, what the run was trained on, if that has a name")
    add_limits(parser, train=False)
    add_match(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead; shares are in [0, 1]")


def run(args: Namespace) -> int:
    """Print what the model does on the test images."""
    loaded = load_model(args.model)
    shape = loaded.model.input_shape
    if args.data is not None:
        data = open_data(args, args.data, shape, test_only=True, run=loaded.run, model=loaded.model)
    elif loaded.run is None:
        raise UsageError("say with --data what to measure on (see everybatch evaluate --help)")
    else:
        refuse_without_data(args, "background")
        data = own_data(args, loaded.run)
        if args.test_images is not None:
            few = args.test_images <= len(data.test_labels)
            data = data.subset(test=args.test_images) if few else open_data(args, data.name, shape, test_only=True)
    with matching():
        result = loaded.model.evaluate(data, match_classes=args.match_classes)
    classes = result.classes or data.classes
    if math.isnan(result.loss):
        told = "has a loss that is NaN: its weights are broken, and its accuracy says nothing"
        print(f"everybatch: warning: {loaded.path} {told}", file=sys.stderr)
    if args.json:
        print(json.dumps(_plain(loaded, data, result, classes)))
        return 0
    right, images = int(result.confusion.trace()), int(result.confusion.sum())
    print(f"Model: {loaded.describe()}")
    print(f"Data: {describe(data, test_only=True)}\n")
    print(f"Test loss:     {result.loss:.4f}")
    print(f"Test accuracy: {percent(result.accuracy)} ({right:,} of {images:,})\n")
    print(class_table(classes, result.confusion))
    return 0


def _plain(loaded: Loaded, data: Dataset, result: Evaluation, classes: tuple[str, ...]) -> dict[str, object]:
    return {
        "model": str(loaded.path),
        "data": {"name": data.name, "source": data.source, "test_images": len(data.test_labels)},
        "loss": result.loss if math.isfinite(result.loss) else None,
        "accuracy": result.accuracy,
        "class_accuracy": shares(classes, result.class_accuracy),
        "confusion": result.confusion.tolist(),
    }
