"""MODEL_OR_RUN: a trained network, from the folder of a saved run or from a file of `Model.save`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from everybatch._core import Model
from everybatch._run_files import CONFIG
from everybatch.run import Run, load_run

__all__ = ["MODEL_HELP", "Loaded", "load_model", "run_folder"]

MODEL_HELP = "the folder of a saved run, or a .safetensors file that Model.save wrote"


@dataclass(frozen=True)
class Loaded:
    """A model, and what is known of its data: only a run tells the names of the classes."""

    path: Path
    model: Model
    run: Run | None

    @property
    def data(self) -> str | None:
        """Name of the data set that it was trained on."""
        return None if self.run is None else str(self.run.config["dataset"]["name"])

    def classes(self) -> tuple[str, ...]:
        """Names of the classes, which are numbers if nothing else is known."""
        if self.run is not None:
            return self.run.classes
        return tuple(str(number) for number in range(self.model.network.num_classes))

    def describe(self) -> str:
        network = self.model.network
        return f"{network.name}, {network.num_parameters:,} parameters, from {self.path}"


def load_model(given: str) -> Loaded:
    """Load what `given` names.

    Raises
    ------
    FileNotFoundError
        There is nothing of that name.
    FileFormatError
        It is neither a saved run nor a model, or is damaged.
    """
    path = Path(given).expanduser()
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
    path = Path(given).expanduser()
    if path.is_dir() and not (path / CONFIG).exists():
        inside = sorted(sub for sub in path.iterdir() if (sub / CONFIG).is_file())
        if inside:
            raise FileNotFoundError(f"{path} is not a saved run, but has one in it: give {inside[0]}")
    return path
