"""`Run`: everything that one training recorded, as NumPy arrays; `load_run` brings a saved one back."""

from __future__ import annotations

import copy
import math
import operator
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, SupportsIndex, TypeVar

import numpy as np
import numpy.typing as npt

from everybatch._arguments import choice
from everybatch._measures import MEASURES, Measures
from everybatch._metered import epoch_steps, is_metered
from everybatch.checkpoints import list_checkpoints
from everybatch.errors import ArgumentError
from everybatch.runs import _read, _repr, _tables, _write
from everybatch.runs._arrays import check_arrays, check_config

if TYPE_CHECKING:
    import pandas as pd

    from everybatch._core import Model

__all__ = ["Run", "load_run"]

Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


class Run(Measures):
    """The record of one training: what every mini-batch did to the loss and to the whole test set.

    `everybatch.train` and `load_run` return it; there is rarely a reason to make one by hand. Arrays are
    read-only. An *evaluation* is one pass over the measured test images, or an estimate from some of them in a run
    with a tolerance; `eval_step` says how many optimizer steps came before.

    An array that a run was not trained to record is an AttributeError that says how to train for it: those of
    validation images without ``validation=``, those of ``record=`` without their name there.

    Parameters
    ----------
    arrays
        The recorded arrays by name; the attributes give each one's type and shape. All but ``lr``, standard errors and
        images looked at, those of the validation images and those of ``record=`` are required.
    config
        What is needed to repeat the run, JSON only: sections ``network``, ``dataset``, ``training``,
        ``status``, and as a rule ``versions``, ``hardware``, ``evaluation`` and ``started``.
    model
        The network with its weights after the last step (or the best), or None.

    Raises
    ------
    ArgumentError
        An array or a config entry is missing, of the wrong type, or at odds with another one.
    """

    def __init__(
        self, arrays: Mapping[str, npt.NDArray[Any]], config: Mapping[str, Any], model: Model | None = None
    ) -> None:
        self._config = check_config(config)
        self._arrays = check_arrays(arrays, self._config)
        self._model = model
        self._load_model: Callable[[], Model] | None = None

    # ---- time and extent -------------------------------------------------------------------------------

    @property
    def eval_epoch(self) -> Doubles:
        """(evaluations,) float64: `eval_step` in epochs; NaN if nobody told a `Meter` how long they are."""
        return self.eval_step / self._steps_per_epoch

    @property
    def seconds(self) -> Doubles:
        """(steps, 2) float64: seconds of each step: training, and the evaluation right after it.

        The evaluation is 0 where none was made. The one before the first step is only in `eval_seconds`.
        """
        seconds = np.zeros((self.steps, 2))
        seconds[:, 0] = self.train_seconds
        after = self.eval_step > 0
        seconds[self.eval_step[after] - 1, 1] = self.eval_seconds[after]
        return seconds

    @property
    def total_seconds(self) -> float:
        """Seconds of all steps and all evaluations together, passes over the training images aside."""
        return float(self.train_seconds.sum() + self.eval_seconds.sum())

    @property
    def steps(self) -> int:
        """Optimizer steps taken; fewer than asked for in a run that was ended early."""
        return len(self.train_loss)

    @property
    def epochs(self) -> float:
        """Optimizer steps taken, in epochs; not a whole number in a run that was ended early.

        NaN if nobody told a `Meter` how long they are.
        """
        return self.steps / self._steps_per_epoch

    # ---- how it went -----------------------------------------------------------------------------------

    @property
    def state(self) -> str:
        """``"finished"``, ``"interrupted"``, ``"stopped"`` (by callback or patience), ``"diverged"``, ``"failed"``.

        Of a run that was loaded from the folder that it is written to (``folder=``) also ``"running"``; or ``"lost"``,
        if its process ended before it did.
        """
        return str(self._config["status"]["state"])

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended the run."""
        return self.state == "interrupted"

    @property
    def diverged_at(self) -> int | None:
        """The steps taken before the first loss that was NaN or infinite, or None if all were finite.

        Weights that a step breaks show in the next loss that is computed with them: that of the test or validation
        images if they are measured after the step, or else that of the next batch. Both count the step that broke them
        as taken: with n, ``train_loss[n - 1]`` belongs to it, and was finite. NaN in a weight always shows, so that the
        number does not depend on how often is measured; an infinite weight may be hidden for a time, by a tanh that
        makes 1 of it, for example, as in PyTorch.
        """
        step = self._config["status"].get("diverged_at")
        return None if step is None else int(step)

    @property
    def final_accuracy(self) -> float:
        """Test accuracy at the last evaluation, as a rule a complete one. NaN if nothing was measured."""
        return float(self.test_accuracy[-1]) if len(self.test_accuracy) else float("nan")

    @property
    def best_accuracy(self) -> float:
        """The highest test accuracy of all evaluations but those with weights that were no numbers any more.

        It was picked by looking at the test set, so it flatters: report `final_accuracy` beside it. In a run with a
        tolerance it is the highest of the complete evaluations: the highest estimate would flatter once more, by what
        it is off.
        """
        best = self._best
        return float("nan") if best is None else float(self.test_accuracy[best])

    @property
    def best_step(self) -> int | None:
        """`eval_step` of the (first) evaluation with `best_accuracy`; None if nothing was measured."""
        best = self._best
        return None if best is None else int(self.eval_step[best])

    @property
    def model_step(self) -> int:
        """Optimizer steps taken before `model` had its weights: all, or with ``select="best"`` those to the best."""
        step = self._config["status"].get("model_step")
        return self.steps if step is None else int(step)

    @property
    def model_accuracy(self) -> float:
        """Test accuracy of `model`: at the evaluation after `model_step` steps. NaN if there was none."""
        at = np.flatnonzero(self.eval_step == self.model_step)
        return float(self.test_accuracy[at[0]]) if len(at) else float("nan")

    def mean_accuracy(self, last: int | None = None) -> float:
        """Return the mean test accuracy over the last evaluations, which a lucky last batch does not move.

        The evaluation before the first step never counts, nor do weights that were no numbers. Estimates count, for
        their mean does not flatter.

        Parameters
        ----------
        last
            How many evaluations. By default 100, or all of them where there are fewer.

        Raises
        ------
        ArgumentError
            `last` is less than 1 or more than were made.
        """
        made = MEASURES["test_accuracy"].sound(self)[self.eval_step > 0]
        if last is None:
            last = min(100, len(made))
        else:
            last = _index(last, "last")
            if not 1 <= last <= len(made):
                raise ArgumentError(f"last={last}, but this run made {len(made)} evaluations after its first step")
        counted = made[len(made) - last :]
        counted = counted[~np.isnan(counted)]
        return float(counted.mean(dtype=np.float64)) if len(counted) else float("nan")

    # ---- what it was made of ---------------------------------------------------------------------------

    @property
    def config(self) -> dict[str, Any]:
        """A copy of what is needed to repeat the run: network, data set, training, versions, hardware.

        ``evaluation`` tells how the test images were measured: in chunks of ``chunk`` images, by ``workers`` threads
        with one core each (1: by all cores together). A run that measures often enough (20 evaluations or more, of at
        least 500 images, on a CPU) tries several ways first and takes the fastest; ``measured`` has them all, with
        images a second.
        """
        return copy.deepcopy(self._config)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        return tuple(self._config["dataset"]["classes"])

    @property
    def model(self) -> Model:
        """The network with its weights after `model_step` steps; a loaded run reads them at first use.

        Raises
        ------
        AttributeError
            The run has none.
        FileNotFoundError, FileFormatError
            The file of a loaded run has gone or was changed since.
        """
        if self._model is None:
            if self._load_model is None:
                if self.state == "running":
                    raise AttributeError("this run has no model yet: its folder has it some seconds after it has begun")
                if is_metered(self._config) and self._config["meter"].get("measured_by") == "module":
                    raise AttributeError(
                        "this run has no model: the module that was measured is no network of everybatch's layers. "
                        "Keep its weights with torch.save(module.state_dict(), path)"
                    )
                raise AttributeError("this run was made, or saved, without a model")
            self._model = self._load_model()
        return self._model

    def batch_indices(self, step: SupportsIndex) -> Integers:
        """Return the training examples of one optimizer step, in the batch's order.

        Parameters
        ----------
        step
            0-based, as an index into `train_loss`.

        Returns
        -------
        (batch size,) int64
            Indices into the training images. The last batch of an epoch may be shorter.

        Raises
        ------
        IndexError
            The run has no such step.
        ArgumentError
            The run's config is at odds with itself, as one that was changed by hand. Or the run was recorded by a
            `Meter`, which does not know the batches.
        """
        from everybatch import _core

        if is_metered(self._config):
            raise ArgumentError("this run was recorded by an eb.Meter, which does not know the images of the batches")
        number = _index(step, "step")
        if not 0 <= number < self.steps:
            valid = f"valid steps are 0 to {self.steps - 1}" if self.steps else "it took none"
            raise IndexError(f"step {number} is not one of the {self.steps} steps of this run: {valid}")
        training = self._config["training"]
        held_out = np.unique(self._arrays.get("validation_indices", np.empty(0, np.int64)))
        count = self._config["dataset"]["train"] - len(held_out)
        batches = -(-count // training["batch_size"])
        if batches != self._steps_per_epoch:
            raise ArgumentError(
                f"the run's config is at odds with itself: {count} training images in batches of "
                f"{training['batch_size']} are {batches} steps an epoch, not {self._steps_per_epoch}"
            )
        positions: Integers = _core.batch_indices(
            count, training["batch_size"], training["seed"], training["shuffle"], number
        )
        if not len(held_out):
            return positions
        indices: Integers = np.delete(np.arange(count + len(held_out)), held_out)[positions]
        return indices

    @property
    def checkpoints(self) -> dict[int, Path]:
        """The files of kept weights that are (still) there, by the number of optimizer steps taken before."""
        folder = self._config["training"].get("checkpoints")
        return list_checkpoints(folder) if folder is not None and Path(folder).is_dir() else {}

    # ---- tables and files ------------------------------------------------------------------------------

    def history(self) -> pd.DataFrame:
        """Return a pandas DataFrame with one row per number of optimizer steps taken, 0 to `steps`.

        Columns: ``step``, ``epoch``, ``train_loss``, ``train_accuracy``, ``lr``, ``grad_norm`` (if it was recorded),
        ``validation_loss`` and ``validation_accuracy`` (if there are validation images), ``test_loss``,
        ``test_accuracy``, one per class (its test accuracy, under its name) and ``seconds`` (training plus evaluation).
        A run with a tolerance also has the standard errors and the images that were looked at: ``test_loss_error``,
        ``test_accuracy_error``, ``images_measured``, those of validation images, and one error per class (under its
        name with ``_error`` at the end). NaN where nothing was measured; row 0 is the untrained network and only has
        what evaluations measure.

        Raises
        ------
        ImportError
            pandas is not installed.
        """
        return _tables.history(self)

    def class_accuracy_table(self) -> pd.DataFrame:
        """Return a pandas DataFrame with one row per class, indexed by the class's number.

        Columns: ``name``, ``test_images``, ``correct``, ``accuracy`` (all three at the last evaluation of all
        images), ``best_accuracy`` and ``best_step`` (this class's own best evaluation, the first if several tie;
        neither the one before the first step counts, unless there is no other, nor estimates).

        Raises
        ------
        ImportError
            pandas is not installed.
        """
        return _tables.class_accuracy_table(self)

    def images_table(self, part: str = "test") -> pd.DataFrame:
        """Return a pandas DataFrame with one row per image, indexed by its number in the data set.

        Columns: ``times`` that it was looked at, ``wrong`` and ``forgotten`` (how often), ``first_learned`` and
        ``learned_for_good`` (steps taken before; missing if never), ``right_at_last``; the means of ``margin``,
        ``tanh_margin``, ``probability`` (of the label) and ``loss``, and ``probability_std``, the standard deviation
        of the probability; and ``voted``, the class that was predicted most often, the first of equals. Means are NaN,
        and ``voted`` is missing, of an image that was not looked at.

        Parameters
        ----------
        part
            "test": at the evaluations of all test images. "train": by the training steps' own logits, in training mode,
            of the augmented image, before each step.

        Raises
        ------
        AttributeError
            The run did not record ``"examples"``.
        ArgumentError
            `part` is something else.
        ImportError
            pandas is not installed.
        """
        return _tables.images_table(self, choice(part, "part", ("test", "train")))

    def save(self, folder: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Save the run in a folder of its own: ``config.json``, ``history.npz`` and ``model.safetensors``.

        The files are written beside it under a temporary name and renamed at the end, so that the folder is
        there whole or not at all, and `load_run` notices every byte that is changed later: ``config.json`` has the
        SHA-256 of itself and of the others. The model is saved with the weights that it has now.

        Parameters
        ----------
        folder
            Where to; parent folders are made as needed.
        overwrite
            Replace a run that was saved there before. Both change places in one step, and the old one is removed
            then; what a killed process leaves beside it goes away with the next save. A folder with anything else in
            it is never replaced.

        Raises
        ------
        FileExistsError
            There is such a file or folder already, and `overwrite` does not allow its replacement.
        OSError
            The folder cannot be written; nothing is left behind.
        """
        model = self.model if self._has_model else None
        config = self._config
        if self.state == "running":  # a copy does not go on
            config = config | {"status": config["status"] | {"state": "lost", "message": "saved while it went on"}}
        _write.write(folder, config, self._arrays, model, overwrite=overwrite)

    def __repr__(self) -> str:
        return _repr.text(self)

    def _repr_html_(self) -> str:
        return _repr.html(self)

    def __copy__(self) -> Self:
        made = type(self).__new__(type(self))
        made.__dict__.update(self.__dict__)
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        added = {name: value for name, value in vars(self).items() if name not in _OWN}
        model = self.model if self._has_model else None
        return _restored, (type(self), self._arrays, self._config, model), added or None

    # ---- internal --------------------------------------------------------------------------------------

    @property
    def _steps_per_epoch(self) -> float:
        steps = epoch_steps(self._config)
        return math.nan if steps is None else steps

    @property
    def _has_model(self) -> bool:
        return self._model is not None or self._load_model is not None

    @property
    def _has_validation(self) -> bool:
        return MEASURES["validation_loss"].is_in(self)

    @property
    def _best(self) -> int | None:
        """Index of the best evaluation."""
        return MEASURES["test_accuracy"].best_of(self)


_OWN = ("_arrays", "_config", "_model", "_load_model")
R = TypeVar("R", bound=Run)


def _restored(
    kind: type[R], arrays: Mapping[str, npt.NDArray[Any]], config: Mapping[str, Any], model: Model | None
) -> R:
    """Return the run of which these were pickled, whatever arguments its own class takes."""
    made = kind.__new__(kind)
    Run.__init__(made, arrays, config, model)
    return made


def load_run(folder: str | os.PathLike[str]) -> Run:
    """Return the run that `Run.save` wrote, or `train` with ``folder=``. Its weights are read when `Run.model` is used.

    A run in its folder can be loaded at any time: `Run.state` is "running" while it goes on, and "lost" if its process
    ended before it did. It then has what was recorded until now, and no model yet.

    Parameters
    ----------
    folder
        The folder given to `Run.save` or `train`.

    Raises
    ------
    FileNotFoundError, NotADirectoryError
        There is no such folder, or one of its files is missing.
    FileFormatError
        A file is damaged, was changed, does not belong to the others, or has a newer format.

    Examples
    --------
    >>> import everybatch as eb
    >>> data = eb.datasets.glyphs(train=640, test=100)
    >>> run = eb.train(eb.networks.lenet5(), data, steps=3, progress=False)
    >>> run.save("run")
    >>> again = load_run("run")
    >>> (again.test_loss == run.test_loss).all()
    np.True_
    >>> again.batch_indices(0).shape  # which images the first step was taken on
    (64,)
    """
    stored = _read.read(folder)
    run = Run(stored.arrays, stored.config, None)
    run._load_model = stored.load_model
    return run


def _index(value: SupportsIndex, name: str) -> int:
    """Return a whole number as int; NumPy's integers count, bools and floats do not."""
    if isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be a whole number, not a bool")
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be a whole number, not {type(value).__name__}") from None
