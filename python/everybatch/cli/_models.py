"""MODEL_OR_RUN: a trained network, from the folder of a saved run or from a file of `Model.save`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from everybatch._beginning import RENAME
from everybatch._classes import MATCH
from everybatch._core import Model
from everybatch._disk import at_home
from everybatch.cli._parser import Parser
from everybatch.errors import ArgumentError
from everybatch.run import Run, load_run
from everybatch.runs._files import CONFIG

__all__ = ["MODEL_HELP", "Loaded", "add_match", "load_model", "matching", "run_folder"]

MODEL_HELP = "the folder of a saved run, or a .safetensors file that Model.save wrote"


@dataclass(frozen=True)
class Loaded:
    """A model, and the run that it is from, if it is from one."""

    path: Path
    model: Model
    run: Run | None

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Names of the classes, if they are known: models of earlier versions and untrained ones have none."""
        return self.model.classes

    def describe(self) -> str:
        network = self.model.network
        return f"{network.name}, {network.num_parameters:,} parameters, from {self.path}"


def add_match(parser: Parser) -> None:
    parser.add_argument(
        "--match-classes",
        choices=MATCH,
        help="how the classes of --data and of the model belong together; by name unless given, and by position where "
        "one of them has no names",
    )


@contextlib.contextmanager
def matching() -> Iterator[None]:
    """Let errors about classes speak of the command line's option."""
    try:
        yield
    except ArgumentError as error:
        text = str(error).replace(RENAME, "give --match-classes position")
        text = text.replace("pass match_classes=", "give --match-classes ")
        for how in MATCH:
            text = text.replace(f"--match-classes '{how}'", f"--match-classes {how}")
        if text == str(error):
            raise
        raise ArgumentError(text) from error


def load_model(given: str) -> Loaded:
    """Load what `given` names.

    Raises
    ------
    FileNotFoundError
        There is nothing of that name.
    FileFormatError
        It is neither a saved run nor a model, or is damaged.
    """
    path = at_home(given)
    if path.is_dir():
        run = load_run(run_folder(given))
        try:
            return Loaded(path, run.model, run)
        except AttributeError as error:
            raise FileNotFoundError(f"{path}: {error}") from error
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; give {MODEL_HELP}")
    return Loaded(path, Model.load(path), None)


def run_folder(given: str) -> Path:
    """Return the folder, and refuse one that only has a saved run in it, with its name."""
    path = at_home(given)
    if path.is_dir() and not (path / CONFIG).exists():
        inside = sorted(sub for sub in path.iterdir() if (sub / CONFIG).is_file())
        if inside:
            raise FileNotFoundError(f"{path} is not a saved run, but has one in it: give {inside[0]}")
    return path
