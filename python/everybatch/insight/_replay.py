"""`replay`: one step of a run once more, as it was and otherwise, and what that makes of the test images."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np
import numpy.typing as npt

from everybatch import _core
from everybatch._arguments import flag, real, whole
from everybatch._words import count
from everybatch.dataset import Dataset
from everybatch.errors import ArgumentError
from everybatch.insight._again import at_work, kept_before
from everybatch.insight._dataset import dataset_of, run_of
from everybatch.insight._difference import Difference, difference
from everybatch.run import Run
from everybatch.runs._tables import import_pandas

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["EachImage", "Replay", "replay"]

Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

Without = int | Sequence[int] | npt.NDArray[np.integer[Any]] | str


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Replay:
    """One step, taken in another way, against the step as the run took it. Made by `replay`."""

    step: int
    """The number of the step, from 0, as an index into `Run.train_loss`."""
    change: str
    """What was different, in words."""
    batch: Integers
    """(batch size,) the step's training images, as `Run.batch_indices` gives them."""
    without: Integers
    """Those of them that were left out."""
    loss_before: float
    """Mean cross-entropy of the measured test images before the step."""
    loss: float
    """After the step as the run took it."""
    difference: Difference
    """The test images after the changed step, minus after the step as it was."""
    later: int
    """Steps that followed, on the batches that the run had."""
    difference_later: Difference | None
    """The same after these; None without any."""
    class_names: tuple[str, ...]

    @property
    def frame(self) -> pd.DataFrame:
        """A pandas DataFrame with one row per class: its difference, after the step and after the later ones.

        Columns: ``name``, ``test_images``, ``loss``, ``loss_error`` (a standard error), ``accuracy``; and the three
        with ``_later`` where there are later steps.
        """
        pandas = import_pandas("frame")
        columns: dict[str, Any] = {"name": list(self.class_names), "test_images": self.difference.class_images}
        for ending, found in (("", self.difference), ("_later", self.difference_later)):
            if found is not None:
                columns[f"loss{ending}"] = found.class_loss
                columns[f"loss_error{ending}"] = found.class_loss_error
                columns[f"accuracy{ending}"] = found.class_accuracy
        table: pd.DataFrame = pandas.DataFrame(columns, index=pandas.RangeIndex(len(self.class_names), name="class"))
        return table

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the difference of the mean cross-entropy of each class, with two standard errors to both sides."""
        from everybatch.insight._replay_plots import by_class

        return by_class(self, ax)

    def __repr__(self) -> str:
        later = ""
        if self.difference_later is not None:
            later = f"; {count(self.later, 'step')} later {self.difference_later.text}"
        return f"<Replay of step {self.step} {self.change}, minus as it was: {self.difference.text}{later}>"


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class EachImage:
    """What each image of a batch did: the step as it was minus the step without the image. Made by `replay`."""

    step: int
    """The number of the step, from 0, as an index into `Run.train_loss`."""
    batch: Integers
    """(batch size,) the step's training images, in the batch's order."""
    labels: Integers
    """(batch size,) their labels."""
    effect: Doubles
    """(batch size,) what each did to the mean cross-entropy of the test images: above 0, it did harm."""
    effect_error: Doubles
    """(batch size,) its paired standard error over the test images."""
    accuracy_effect: Doubles
    """(batch size,) and to their accuracy."""
    loss_before: float
    """Mean cross-entropy of the measured test images before the step."""
    loss_null: float
    """After a null step, whose gradient is zero: what the optimizer did without the batch."""
    loss: float
    """After the step as the run took it."""
    later: int
    """Steps that followed before it was measured, on the batches that the run had; `loss_null` and `loss` too."""
    thumbnails: npt.NDArray[np.uint8]
    """(batch size, height, width) or (batch size, height, width, channels): the images, as the data set has them."""
    class_names: tuple[str, ...]

    @property
    def carried(self) -> float:
        """The part of the step's change that the optimizer carried along, without the batch: momentum, weight decay."""
        return self.loss_null - self.loss_before

    @property
    def together(self) -> float:
        """The part of the step's change that is none of single images': what they do is not the sum of each."""
        return self.loss - self.loss_null - float(self.effect.sum())

    @property
    def frame(self) -> pd.DataFrame:
        """A pandas DataFrame with one row per image of the batch, the most harmful first.

        Columns: ``place`` in the batch, ``image`` (an index into the training images), ``label``, ``effect``,
        ``effect_error`` and ``accuracy_effect``.
        """
        pandas = import_pandas("frame")
        order = np.argsort(-self.effect, kind="stable")
        table: pd.DataFrame = pandas.DataFrame(
            {
                "place": order,
                "image": self.batch[order],
                "label": [self.class_names[label] for label in self.labels[order]],
                "effect": self.effect[order],
                "effect_error": self.effect_error[order],
                "accuracy_effect": self.accuracy_effect[order],
            }
        )
        return table

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the step's change as a waterfall: what the optimizer carried along, each image, and the rest."""
        from everybatch.insight._replay_plots import waterfall

        return waterfall(self, ax)

    def __repr__(self) -> str:
        worst, best = int(np.argmax(self.effect)), int(np.argmin(self.effect))
        after = f" and {count(self.later, 'step')} after it" if self.later else ""
        return (
            f"<EachImage of step {self.step}{after}: mean test loss {self.loss - self.loss_before:+.2g}, of which "
            f"{self.carried:+.2g} carried along and {self.loss - self.loss_null:+.2g} by {len(self.batch)} images; "
            f"most harm by image {self.batch[worst]} ({self.effect[worst]:+.2g} ± {2 * self.effect_error[worst]:.1g}), "
            f"most good by image {self.batch[best]} ({self.effect[best]:+.2g} ± {2 * self.effect_error[best]:.1g})>"
        )


def replay(
    run: Run | str | os.PathLike[str],
    step: SupportsIndex,
    *,
    without: Without | None = None,
    without_class: int | str | None = None,
    lr: float | None = None,
    lr_factor: float | None = None,
    null: bool = False,
    later: int = 0,
    dataset: Dataset | None = None,
) -> Replay | EachImage:
    """Take one step of a run once more, in another way, and measure what that makes of the test images.

    The run goes on from a state that it kept, takes the steps up to this one as it did, to the last bit, and this one
    both as it did and otherwise. What is reported is hence no estimate but a difference that was measured, and its
    standard error is paired: of each test image with itself. Training losses on the way are compared with the recorded
    ones. Callbacks are not called and no files written.

    Parameters
    ----------
    run
        Trained with ``record=("weights",)``, or its folder; how far back the last state before the step lies
        (``train(weights_every=...)``) decides how long it takes.
    step
        0-based, as for `Run.batch_indices`.
    without
        Training images of the batch to leave out: an index of one or several, as `Run.batch_indices` names them. The
        step is then what it would have been had they not been in the batch: batch norm does not see them, and the
        others count as much as before, 1/N each with N of the whole batch (with `class_weight`, their weight by that of
        the whole batch), are augmented as before and keep their dropout masks. The parts of the images hence add up to
        the step's gradient. Or ``"each"``: each image of the batch in turn, for what each of them did.
    without_class
        A class, by number or name, whose images are left out.
    lr, lr_factor
        Another learning rate for this step, or a factor on its own.
    null
        A null step: from the same weights and the same state of the optimizer, with a gradient of zero. The optimizer
        takes its step, so that momentum (or Adam's mean) and weight decay still move the weights, and averaged weights
        follow. The batch goes forward as in the real step, so that batch norm's running statistics take it up in both:
        the difference between the two is the gradient's alone.
    later
        Measure once more after so many further steps, on the batches that the run had. With ``without="each"`` it is
        measured only then.
    dataset
        What the run was trained on. None: data sets with a name are found again.

    Returns
    -------
    Replay
        The changed step minus the step as it was. With nothing to change it says 0 throughout: that the run can be
        repeated.
    EachImage
        For ``without="each"``.

    Raises
    ------
    AttributeError
        The run kept no states to go back to.
    ArgumentError
        Something cannot be left out or changed. Or the training losses are not those that were recorded: on another
        kind of machine or version of torch the last digits are others, and it would be another run.
    IndexError
        The run has no such step.

    Examples
    --------
    >>> import everybatch as eb
    >>> data = eb.datasets.glyphs(train=640, test=100)
    >>> run = eb.train(eb.networks.lenet5(), data, record=("weights",), progress=False)
    >>> worst = int(run.batch_indices(5)[0])
    >>> found = eb.insight.replay(run, 5, without=worst)
    >>> found.difference.images.shape  # of each test image
    (100,)
    >>> len(eb.insight.replay(run, 5, without="each").effect)
    64
    """
    run = run_of(run)
    data = dataset_of(run, dataset)
    batch = run.batch_indices(step)
    number = int(step.__index__())
    later = whole(later, "later", least=0)
    if number + later >= run.steps:
        raise ArgumentError(
            f"later is {later}: after step {number} this run took {run.steps - 1 - number} more, of {run.steps}"
        )
    flag(null, "null")
    if isinstance(without, str):
        if without != "each":
            raise ArgumentError(f'without is {without!r}: give indices of training images, or "each"')
        if without_class is not None or lr is not None or lr_factor is not None or null:
            raise ArgumentError(
                'without="each" leaves out one image at a time, and nothing else can be changed beside it'
            )
        return _each(run, data, number, batch, later)
    places = _places(batch, without, number) | _of_class(batch, without_class, data, number)
    change: dict[str, Any] = {"without": np.flatnonzero(places), "null": bool(null)}
    rate = _rate(run, number, lr, lr_factor)
    if rate is not None:
        change["lr"] = rate
    if null and places.any():
        raise ArgumentError("a null step has a gradient of zero, whatever is in the batch: leave out null, or without")
    if places.any():
        _refuse_one_left(run, number, len(batch) - int(places.sum()))
    found = _taken(run, data, number, [{}, change], later)
    labels = data.test_labels[run.test_indices]

    def between(changed: int, unchanged: int) -> Difference:
        losses, classes = found["losses"], found["predictions"]
        return difference(
            losses[changed], classes[changed], losses[unchanged], classes[unchanged], labels, len(run.classes)
        )

    return Replay(
        step=number,
        change=_in_words(batch, places, without_class, run, rate, null=null),
        batch=batch,
        without=batch[places],
        loss_before=float(found["loss"][0]),
        loss=float(found["loss"][1]),
        difference=between(3, 1) if later else between(2, 1),
        later=later,
        difference_later=between(4, 2) if later else None,
        class_names=run.classes,
    )


def _each(run: Run, data: Dataset, step: int, batch: Integers, later: int) -> EachImage:
    if len(batch) < 2:
        raise ArgumentError(f"the batch of step {step} has one image: a step without it is a null step, null=True")
    _refuse_one_left(run, step, len(batch) - 1)
    ways: list[dict[str, Any]] = [{}, {"null": True}, *({"without": [place]} for place in range(len(batch)))]
    found = _taken(run, data, step, ways, later)
    last = slice(2, None, 2) if later else slice(1, None)
    losses, predictions, loss = (found[name][last] for name in ("losses", "predictions", "loss"))
    labels = data.test_labels[run.test_indices]
    parts = [
        difference(losses[0], predictions[0], losses[way], predictions[way], labels, len(run.classes))
        for way in range(2, len(ways))
    ]
    return EachImage(
        step=step,
        batch=batch,
        labels=data.train_labels[batch],
        effect=np.array([part.loss for part in parts]),
        effect_error=np.array([part.loss_error for part in parts]),
        accuracy_effect=np.array([part.accuracy for part in parts]),
        loss_before=float(found["loss"][0]),
        loss_null=float(loss[1]),
        loss=float(loss[0]),
        later=later,
        thumbnails=data.train_images[batch],
        class_names=run.classes,
    )


def _taken(run: Run, data: Dataset, step: int, ways: list[dict[str, Any]], later: int) -> dict[str, Any]:
    """Have the core take a step in several ways, the first of them as the run took it.

    Raises
    ------
    ArgumentError
        It is not the step that the run took.
    """
    state = run.states[kept_before(run, step)].tobytes()
    with at_work(run, data) as there:
        found: dict[str, Any] = _core.replay(state, there, run.train_loss, step, ways, later)
    measured = np.flatnonzero(run.eval_step == step + 1)
    if there.device == "cpu" and len(measured) and run.images_measured[measured[0]] == len(run.test_indices):
        then, now = run.test_loss[measured[0]], np.float32(found["loss"][1])
        if then != now and not (np.isnan(then) and np.isnan(now)):
            raise ArgumentError(
                f"the run is not the same here: after step {step} it measured a test loss of {then!r}, and it is "
                f"{now!r} now. Replay it with the version of everybatch and torch, and on the machine, that it was "
                "trained with"
            )
    return found


def _refuse_one_left(run: Run, step: int, left: int) -> None:
    """Refuse a batch of one image where there is batch norm, which may find no variance in it.

    Raises
    ------
    ArgumentError
        That is so.
    """
    if left == 1 and '"BatchNorm' in json.dumps(run._config["network"]):
        raise ArgumentError(
            f"one image would be left of the batch of step {step}, and batch norm needs two: leave out fewer, or take "
            "a null step, null=True"
        )


def _places(batch: Integers, without: Any, step: int) -> npt.NDArray[np.bool_]:
    """Return which images of a batch are left out, (batch size,)."""
    if without is None:
        return np.zeros(len(batch), bool)
    wanted = np.atleast_1d(np.asarray(without))
    if not wanted.size:
        wanted = wanted.astype(np.int64)  # of an empty list NumPy makes floats
    if wanted.ndim != 1 or wanted.dtype.kind not in "iu":
        raise TypeError(f'without must be the index of a training image, several, or "each", not {without!r}')
    others = wanted[~np.isin(wanted, batch)]
    if len(others):
        raise ArgumentError(
            f"without names training image {others[0]}, which is not in the batch of step {step}: "
            f"run.batch_indices({step}) has those that are"
        )
    return np.isin(batch, wanted)


def _of_class(batch: Integers, given: int | str | None, data: Dataset, step: int) -> npt.NDArray[np.bool_]:
    """Return which images of a batch are of a class, (batch size,)."""
    if given is None:
        return np.zeros(len(batch), bool)
    names = list(data.classes)
    if isinstance(given, str):
        if given not in names:
            raise ArgumentError(f"without_class is {given!r}: the classes are {', '.join(names)}")
        number = names.index(given)
    else:
        number = whole(given, "without_class", least=0)
        if number >= len(names):
            raise ArgumentError(f"without_class is {number}, and there are {len(names)} classes")
    of_class: npt.NDArray[np.bool_] = data.train_labels[batch] == number
    if not of_class.any():
        raise ArgumentError(f"the batch of step {step} has no image of class {names[number]}")
    return of_class


def _rate(run: Run, step: int, lr: float | None, factor: float | None) -> float | None:
    """Return the learning rate that is asked for, if one is."""
    if lr is not None and factor is not None:
        raise ArgumentError("lr and lr_factor are given: give one of them")
    if lr is None and factor is None:
        return None
    name, rate = ("lr", real(lr, "lr")) if lr is not None else ("lr_factor", real(factor, "lr_factor"))
    if not (math.isfinite(rate) and rate >= 0):
        raise ArgumentError(f"{name} is {rate}: it must be a finite number, 0 or above")
    return rate if name == "lr" else rate * float(run.lr[step])


def _in_words(
    batch: Integers,
    places: npt.NDArray[np.bool_],
    of_class: int | str | None,
    run: Run,
    rate: float | None,
    *,
    null: bool,
) -> str:
    parts = []
    out = batch[places]
    if of_class is not None:
        name = of_class if isinstance(of_class, str) else run.classes[of_class]
        parts.append(f"without {count(len(out), 'image')}, all those of class {name} among them")
    elif len(out):
        parts.append(f"without image {out[0]}" if len(out) == 1 else f"without {len(out)} of its {len(batch)} images")
    if rate is not None:
        parts.append(f"at a learning rate of {rate:.3g}")
    if null:
        parts.append("with a gradient of zero")
    return ", ".join(parts) or "unchanged"
