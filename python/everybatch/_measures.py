"""The table of measures: everything that a run records, and what is to be known of it, each declared once.

Everything else reads it. `Run` has an attribute for every measure; checks and files know types and shapes from here;
tables, exports, plots, sweeps and the command line know what a measure is called, where it belongs, how its numbers are
written, and which direction is better. A new measure is computed in Rust, declared here, and is then everywhere.

Whether an array is there has one rule. Those that need nothing are in every run. The others are there if the run was
trained with what they need (``validation=`` or ``record=``), and raise an AttributeError that says so if it was not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Generic, Literal, Never, TypeVar, get_args, overload

import numpy as np
import numpy.typing as npt

__all__ = ["ARRAYS", "COLUMNS", "CURVES", "MEASURES", "MONITORS", "QUANTITIES", "RECORDABLE", "RESULTS"]
__all__ += ["Measure", "Measures", "Part", "parts_of"]

Part = Literal["train", "validation", "test"]
Kind = TypeVar("Kind", bound=np.generic, covariant=True)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Measure(Generic[Kind]):
    """One measure. As an attribute of a run it gives the array, which is read-only."""

    name: str = dataclasses.field(init=False)
    dtype: type[Kind]
    """`np.unsignedinteger` stands for the narrowest one that holds the number of any class."""
    dimensions: tuple[str, ...]
    """Arrays that name the same dimension agree on its length. A measure over ``"steps"`` or ``"evaluations"``, which
    come first, has a value for each; the rest is of the run as a whole."""
    what: str
    """One clause that describes the values."""
    more: str = ""
    """Further sentences of its documentation."""
    label: str = ""
    """In words, for axes and sentences."""
    part: Part | None = None
    """The images that it is measured on."""
    quantity: str = ""
    """What measures of different parts have in common."""
    unit: Literal["number", "fraction", "seconds"] = "number"
    """A fraction lies in [0, 1] and is written in percent."""
    better: Literal["higher", "lower"] | None = None
    needs: Literal["validation", "record"] | None = None
    """What a run must be trained with to have it."""
    monitor: bool = False
    """Whether it can end a run, choose its weights, or lower its learning rate; under this name in Rust too."""
    tag: str | None = None
    """TensorBoard's name for it. What has one is a column of the tables, too; or one for each class, under its name."""
    average: Literal["mean", "median"] = "median"
    """What smooths its curve: the mean where values are few, such as parts of a batch."""
    errors: str | None = None
    """The measure with its standard errors, for a band around its curve."""
    of: str | None = None
    """The measure that it follows from; it is recorded itself if there is none."""
    by: Callable[[npt.NDArray[Any]], npt.NDArray[Any]] | None = None
    """How it follows."""
    otherwise: Callable[[Measures], npt.NDArray[Any]] | None = None
    """What stands in for it in runs of earlier versions, which lack it."""

    def __set_name__(self, owner: type, name: str) -> None:
        object.__setattr__(self, "name", name)
        shape = f"({', '.join(self.dimensions)}{',' if len(self.dimensions) == 1 else ''})"
        kind = "uint8" if self.dtype is np.unsignedinteger else np.dtype(self.dtype).name
        fraction = " in [0, 1]" if self.unit == "fraction" else ""
        needs = {
            None: "",
            "validation": "\n\nOnly in runs that were trained with ``validation=``; an AttributeError in others.",
            "record": f'\n\nOnly in runs that were trained with ``record=("{name}",)``; an AttributeError in others.',
        }[self.needs]
        more = f"\n\n{self.more}" if self.more else ""
        object.__setattr__(self, "__doc__", f"{shape} {kind}{fraction}: {self.what}.{more}{needs}")

    @overload
    def __get__(self, run: None, owner: type) -> Measure[Kind]: ...
    @overload
    def __get__(self, run: Measures, owner: type) -> npt.NDArray[Kind]: ...
    def __get__(self, run: Measures | None, owner: type) -> Measure[Kind] | npt.NDArray[Kind]:
        if run is None:
            return self
        recorded = run._arrays.get(self.of or self.name)
        if recorded is None and self.otherwise is not None:
            return self.otherwise(run)
        if recorded is None:
            raise AttributeError(self.missing())
        return recorded if self.by is None else self.by(recorded)

    def __set__(self, run: Measures, value: Never) -> None:
        raise AttributeError(f"{self.name} is what was recorded and cannot be set")

    def is_in(self, run: Measures) -> bool:
        """Whether a run has it."""
        return (self.of or self.name) in run._arrays or self.otherwise is not None

    def steps_of(self, run: Measures) -> npt.NDArray[np.int64]:
        """Return how many steps had been taken when each value was measured; for what has values over the run.

        A value of a batch stands at the step that was taken on it, beside the evaluation right after.
        """
        return np.arange(1, len(run.train_loss) + 1) if self.dimensions[0] == "steps" else run.eval_step

    def sound(self, run: Measures) -> npt.NDArray[Any]:
        """Return its values, NaN where the weights were not numbers any more: then the loss beside them is none.

        Such weights still get some images right, which is no accuracy.
        """
        values: npt.NDArray[Any] = getattr(run, self.name)
        if self.part is None:
            return values
        broken = ~np.isfinite(getattr(run, parts_of("loss")[self.part].name))
        masked: npt.NDArray[Any] = np.where(broken.reshape(-1, *(1,) * (values.ndim - 1)), np.nan, values)
        return masked

    def best_of(self, run: Measures) -> int | None:
        """Return where its best sound value is, the first if several tie; None if there is none."""
        costs = self.sign * self.sound(run)
        return None if np.all(np.isnan(costs)) else int(np.nanargmin(costs))

    @property
    def sign(self) -> int:
        """What to multiply its values with so that small ones are good."""
        return -1 if self.better == "higher" else 1

    def text(self, value: float, digits: int = 3) -> str:
        """Return a value as it is written: a fraction in percent, any other number with so many digits."""
        return f"{value:.2%}" if self.unit == "fraction" else f"{value:.{digits}g}"

    def type_for(self, classes: int) -> np.dtype[Any]:
        """Return the type of its array in a run with so many classes."""
        if self.dtype is np.unsignedinteger:
            return np.dtype(np.uint8 if classes <= 256 else np.uint16)
        return np.dtype(self.dtype)

    @property
    def hint(self) -> str:
        """How to train so that a run has it; nothing if every run has."""
        return {None: "", "validation": "train with validation=0.1", "record": f"train with record=({self.name!r},)"}[
            self.needs
        ]

    def missing(self, run: str = "this run") -> str:
        """Return the sentence that says that a run has it not, and how it would."""
        if self.needs == "validation":
            return f"{run} has no validation images: {self.hint} to hold out a tenth"
        return f"{run} did not record the {self.label}: {self.hint} to keep {self.what}"


def _error(accuracy: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return 1 - np.asarray(accuracy, np.float64)


def _constant_lr(run: Measures) -> npt.NDArray[np.float64]:
    lr = run._config["training"].get("lr")
    return np.full(len(run.train_loss), np.nan if lr is None else lr, np.float64)


class Measures:
    """The table. `Run` inherits its attributes; the order is that of columns and of lists of names."""

    _arrays: Mapping[str, npt.NDArray[Any]]
    _config: dict[str, Any]

    # ---- of every step ---------------------------------------------------------------------------------

    train_loss = Measure(
        dtype=np.float32,
        dimensions=("steps",),
        what="mean cross-entropy of the batch that each step was taken on, before the step",
        label="training loss",
        part="train",
        quantity="loss",
        better="lower",
        tag="train/loss",
    )
    train_accuracy = Measure(
        dtype=np.float32,
        dimensions=("steps",),
        what="the part of that batch that was classified rightly, before the step",
        label="training accuracy",
        part="train",
        quantity="accuracy",
        unit="fraction",
        better="higher",
        tag="train/accuracy",
        average="mean",
    )
    lr = Measure(
        dtype=np.float64,
        dimensions=("steps",),
        what="learning rate of each step",
        label="learning rate",
        tag="train/lr",
        otherwise=_constant_lr,
    )
    train_seconds = Measure(
        dtype=np.float64,
        dimensions=("steps",),
        what="seconds that each optimizer step took",
        unit="seconds",
    )

    # ---- of every evaluation ---------------------------------------------------------------------------

    eval_step = Measure(
        dtype=np.int64,
        dimensions=("evaluations",),
        what="optimizer steps taken before that evaluation; the first is 0",
    )
    validation_loss = Measure(
        dtype=np.float32,
        dimensions=("evaluations",),
        what="mean cross-entropy over the validation images",
        label="validation loss",
        part="validation",
        quantity="loss",
        better="lower",
        needs="validation",
        monitor=True,
        tag="validation/loss",
    )
    validation_accuracy = Measure(
        dtype=np.float32,
        dimensions=("evaluations",),
        what="the part of the validation images that was classified rightly",
        label="validation accuracy",
        part="validation",
        quantity="accuracy",
        unit="fraction",
        better="higher",
        needs="validation",
        monitor=True,
        tag="validation/accuracy",
    )
    test_loss = Measure(
        dtype=np.float32,
        dimensions=("evaluations",),
        what="mean cross-entropy over the measured test images",
        label="test loss",
        part="test",
        quantity="loss",
        better="lower",
        monitor=True,
        tag="test/loss",
    )
    test_accuracy = Measure(
        dtype=np.float32,
        dimensions=("evaluations",),
        what="the part of the measured test images that was classified rightly",
        label="test accuracy",
        part="test",
        quantity="accuracy",
        unit="fraction",
        better="higher",
        monitor=True,
        tag="test/accuracy",
    )
    test_error = Measure(
        dtype=np.float64,
        dimensions=("evaluations",),
        what="1 - `test_accuracy`",
        label="test error",
        part="test",
        quantity="error",
        unit="fraction",
        better="lower",
        of="test_accuracy",
        by=_error,
    )
    class_accuracy = Measure(
        dtype=np.float32,
        dimensions=("evaluations", "classes"),
        what="the test accuracy of each class; NaN for a class of which no test image was measured",
        part="test",
        unit="fraction",
        better="higher",
        tag="class_accuracy",
    )
    validation_class_accuracy = Measure(
        dtype=np.float32,
        dimensions=("evaluations", "classes"),
        what="the accuracy of each class on the validation images",
        part="validation",
        unit="fraction",
        better="higher",
        needs="validation",
    )
    eval_seconds = Measure(
        dtype=np.float64,
        dimensions=("evaluations",),
        what="seconds that each evaluation took, of test and validation images together",
        unit="seconds",
    )

    # ---- of the run ------------------------------------------------------------------------------------

    confusion = Measure(
        dtype=np.int64,
        dimensions=("classes", "classes"),
        what="counts at the last evaluation; rows true, columns predicted",
        part="test",
    )
    test_indices = Measure(
        dtype=np.int64,
        dimensions=("measured test images",),
        what="which test images were measured, in the order of `predictions`",
        part="test",
    )
    validation_indices = Measure(
        dtype=np.int64,
        dimensions=("validation images",),
        what="which training images were held out",
        part="validation",
        needs="validation",
    )

    # ---- on request ------------------------------------------------------------------------------------

    predictions = Measure(
        dtype=np.unsignedinteger,
        dimensions=("evaluations", "measured test images"),
        what="the predicted class of every test image at every evaluation",
        more="With more than 256 classes uint16. `test_indices` says which images are measured.",
        label="predictions",
        part="test",
        needs="record",
    )


MEASURES: dict[str, Measure[Any]] = {name: one for name, one in vars(Measures).items() if isinstance(one, Measure)}
ARRAYS = {name: one for name, one in MEASURES.items() if one.of is None}
"""What is recorded and saved."""
COLUMNS = {name: one for name, one in ARRAYS.items() if one.tag is not None}
"""What tables and exports hold."""
CURVES = {
    name: one
    for name, one in sorted(MEASURES.items())
    if one.label and one.dimensions in (("steps",), ("evaluations",))
}
"""One number after another: what can be drawn as a curve."""
RECORDABLE = tuple(name for name, one in ARRAYS.items() if one.needs == "record")
"""What ``record=`` takes."""
MONITORS = tuple(name for name, one in MEASURES.items() if one.monitor)
RESULTS = tuple(
    name
    for part in get_args(Part)
    for name, one in sorted(CURVES.items())
    if one.part == part and one.better is not None and one.of is None
)
"""What tells how good a run was, by part: each has a best and a final value in the table of a sweep."""
QUANTITIES = {"loss": "loss (cross-entropy)", "accuracy": "accuracy"}
"""What is measured of training, validation and test images alike, and can share a picture: the label of its axis."""


def parts_of(quantity: str) -> dict[Part, Measure[Any]]:
    """Return the measures of one of `QUANTITIES` by the part that each is measured on."""
    return {one.part: one for one in MEASURES.values() if one.quantity == quantity and one.part is not None}
