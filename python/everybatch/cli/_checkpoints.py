"""`everybatch predict --checkpoints`: one table of all weights that a run kept on its way."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from everybatch._core import Evaluation, Model
from everybatch._disk import at_home
from everybatch._words import count
from everybatch.checkpoints import evaluate_checkpoints, list_checkpoints
from everybatch.cli._data import describe, open_data, refuse_without_data
from everybatch.cli._models import matching, run_folder
from everybatch.cli._own_data import own_data
from everybatch.cli._parser import UsageError
from everybatch.cli._tables import checkpoint_table, selected, shares
from everybatch.dataset import Dataset
from everybatch.run import Run, load_run
from everybatch.runs._files import CONFIG

__all__ = ["print_checkpoints"]


def print_checkpoints(args: Namespace) -> int:
    """Measure them and print the table, or one JSON object."""
    run = None if args.model is None else _run(args.model)
    folder = _folder(args.checkpoints, run)
    data, indices = _data(args, run, folder)
    precision = args.precision or (str(run.config["training"].get("precision", "float32")) if run else "float32")
    with matching():
        table = evaluate_checkpoints(
            folder, data, indices=indices, precision=precision, match_classes=args.match_classes
        )
    classes = next(iter(table.values())).classes or data.classes
    if run is not None and not _agrees(run, table):
        print(
            "everybatch: note: these are not the figures of the run's history: other images or weights", file=sys.stderr
        )
    if args.json:
        print(json.dumps(_plain(folder, data, table, classes)))
        return 0
    images = next(iter(table.values())).confusion.sum()
    part = f", of which {images:,} are measured" if images < len(data.test_labels) else ""
    print(f"Weights: {folder}, {count(len(table), 'file')}")
    print(f"Data: {describe(data, test_only=True)}{part}")
    print(f"\n{checkpoint_table(classes, table)}")
    if run is not None and run.config["training"].get("select") == "best":
        print(f"\n{selected(run)}")
    return 0


def _run(given: str) -> Run:
    path = at_home(given)
    if path.is_file():
        raise UsageError(
            f"{given} is one file of weights: give the folder of a saved run with --checkpoints, or no run"
        )
    return load_run(run_folder(given))


def _folder(given: str, run: Run | None) -> Path:
    """Return the folder with the weights: the given one, or the run's own."""
    if given:
        folder = at_home(given)
        if (folder / CONFIG).is_file():
            raise UsageError(f"{given} is a saved run: write everybatch predict {given} --checkpoints")
        return folder
    if run is None:
        raise UsageError("say which: --checkpoints FOLDER, or a run before it (see everybatch predict --help)")
    own = run.config["training"].get("checkpoints")
    if own is None:
        raise UsageError("this run kept no weights on its way (everybatch train --checkpoints FOLDER): name a folder")
    return Path(own)


def _data(args: Namespace, run: Run | None, folder: Path) -> tuple[Dataset, npt.NDArray[np.int64] | None]:
    """Open the data, and say which test images to measure: with a run, those that it measured."""
    seed = 0 if run is None else run.config["training"]["seed"]
    if args.data is None and run is None:
        raise UsageError("say with --data what to measure on (see everybatch predict --help)")
    if args.data is None:
        refuse_without_data(args, "background")
    if args.data is None and args.test_images is None and run is not None:
        data = own_data(args, run)
    else:
        name = args.data
        if run is not None:
            name = name or own_data(args, run).name
            if args.test_images is None and args.part != "all":
                args.test_images = run.config["dataset"]["test"]  # as many as it had, drawn with its seed
        first = next(iter(list_checkpoints(folder).values()), None)
        model = None if first is None else Model.load(first)
        shape = None if model is None else model.input_shape
        data = open_data(args, name, shape, seed=seed, test_only=True, run=run, model=model)
    if run is None or np.max(run.test_indices) >= len(data.test_labels):  # other data: the history will not agree
        return data, None
    return data, run.test_indices


def _agrees(run: Run, table: Mapping[int, Evaluation]) -> bool:
    rows = {int(step): row for row, step in enumerate(run.eval_step)}
    return all(
        np.isclose(measured.loss, run.test_loss[rows[step]], rtol=1e-4)
        for step, measured in table.items()
        if step in rows
    )


def _plain(folder: Path, data: Dataset, table: Mapping[int, Evaluation], classes: tuple[str, ...]) -> dict[str, object]:
    return {
        "folder": str(folder),
        "data": {"name": data.name, "source": data.source},
        "checkpoints": [
            {
                "step": step,
                "loss": measured.loss if np.isfinite(measured.loss) else None,
                "accuracy": measured.accuracy,
                "class_accuracy": shares(classes, measured.class_accuracy),
                "test_images": int(measured.confusion.sum()),
            }
            for step, measured in table.items()
        ],
    }
