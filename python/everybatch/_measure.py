"""What is to be known of one measure, such as the test loss; the table of all is in `_measures.py`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Generic, Literal, Never, TypeVar, overload

import numpy as np
import numpy.typing as npt

from everybatch._metered import is_metered

__all__ = ["Measure", "Part", "Recorded", "sound_rows"]

Part = Literal["train", "validation", "test"]
Kind = TypeVar("Kind", bound=np.generic, covariant=True)

_LOOKED_AT = {
    "test": ("images_measured", "test_indices"),
    "validation": ("validation_images_measured", "validation_indices"),
}
"""By part: how many of its images each measurement looked at, and which there are to be looked at."""


def sound_rows(
    losses: npt.NDArray[Any], step: npt.NDArray[np.int64], diverged_at: int | None
) -> slice | npt.NDArray[np.int64]:
    """Return which of `losses`, numbers or rows of them that were measured after `step` steps, tell something.

    Those that are finite, and come before the run diverged if it did. A run that nothing ends may have had a loss that
    is no number on the way, and be sound afterwards. A slice where they are the first ones, so that nothing is copied.
    """
    finite = np.isfinite(losses).all(axis=tuple(range(1, losses.ndim)))
    if diverged_at is not None:
        finite &= step <= diverged_at
    rows = np.flatnonzero(finite)
    return slice(0, len(rows)) if not len(rows) or rows[-1] == len(rows) - 1 else rows


class Recorded:
    """What has measures: the arrays that were recorded, by name, and the settings that they come from."""

    _arrays: Mapping[str, npt.NDArray[Any]]
    _config: dict[str, Any]


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
    unit: Literal["number", "fraction", "points", "seconds"] = "number"
    """A fraction lies in [0, 1] and is written in percent, a difference of two in percentage points."""
    better: Literal["higher", "lower"] | None = None
    loss: str | None = None
    """The loss that was measured beside it."""
    needs: Literal["validation", "record"] | None = None
    """What a run must be trained with to have it."""
    record: str = ""
    """The word of ``record=`` that it comes with, if it is not its own name."""
    monitor: bool = False
    """Whether it can end a run, choose its weights, or lower its learning rate; under this name in Rust too."""
    tag: str | None = None
    """TensorBoard's name for it. What has one is a column of the tables, too; or one for each class, under its name."""
    average: Literal["mean", "median"] = "median"
    """What smooths its curve: the mean where values are few, such as parts of a batch."""
    errors: str | None = None
    """The measure with its standard errors, for a band around its curve. What has one is an estimate where not all
    images were looked at."""
    of_estimates: bool = False
    """Whether it tells how good estimates are. Tables and exports have it of runs that were trained with a tolerance:
    in any other it says throughout that all images were looked at."""
    of: str | None = None
    """The measure that it follows from; it is recorded itself if there is none."""
    by: Callable[[npt.NDArray[Any]], npt.NDArray[Any]] | None = None
    """How it follows."""
    otherwise: Callable[[Recorded], npt.NDArray[Any]] | None = None
    """What stands in for it in runs of earlier versions, which lack it."""

    def __set_name__(self, owner: type, name: str) -> None:
        object.__setattr__(self, "name", name)
        if self.needs == "record" and not self.record:
            object.__setattr__(self, "record", name)
        shape = f"({', '.join(self.dimensions)}{',' if len(self.dimensions) == 1 else ''})"
        kind = "uint8" if self.dtype is np.unsignedinteger else np.dtype(self.dtype).name
        fraction = " in [0, 1]" if self.unit == "fraction" else ""
        needs = {
            None: "",
            "validation": "\n\nOnly in runs that were trained with ``validation=``; an AttributeError in others.",
            "record": f'\n\nOnly in runs trained with ``record=("{self.record}",)``; an AttributeError in others.',
        }[self.needs]
        more = f"\n\n{self.more}" if self.more else ""
        object.__setattr__(self, "__doc__", f"{shape} {kind}{fraction}: {self.what}.{more}{needs}")

    @overload
    def __get__(self, run: None, owner: type) -> Measure[Kind]: ...
    @overload
    def __get__(self, run: Recorded, owner: type) -> npt.NDArray[Kind]: ...
    def __get__(self, run: Recorded | None, owner: type) -> Measure[Kind] | npt.NDArray[Kind]:
        if run is None:
            return self
        recorded = run._arrays.get(self.of or self.name)
        if recorded is None:
            if self.otherwise is None or not self.is_in(run):
                is_recorded = self.record in (run._config["training"].get("record") or ())
                if is_recorded and is_metered(run._config):
                    raise AttributeError(
                        f"this run has no {self.name}: its meter was not told which images were in the batches. Give "
                        "meter.step indices= and logits="
                    )
                raise AttributeError(self.not_yet() if is_recorded else self.missing())
            return _read_only(self.otherwise(run))
        return recorded if self.by is None else _read_only(self.by(recorded))

    def __set__(self, run: Recorded, value: Never) -> None:
        raise AttributeError(f"{self.name} is what was recorded and cannot be set")

    def __delete__(self, run: Recorded) -> None:
        raise AttributeError(f"{self.name} is what was recorded and cannot be deleted")

    def is_in(self, run: Recorded) -> bool:
        """Whether a run has it."""
        if (self.of or self.name) in run._arrays:
            return True
        return self.otherwise is not None and (self.needs != "validation" or "validation_indices" in run._arrays)

    def is_told(self, run: Recorded) -> bool:
        """Whether tables and exports of a run have it."""
        has_tolerance = run._config["training"].get("tolerance") is not None
        return self.is_in(run) and (has_tolerance or not self.of_estimates)

    def steps_of(self, run: Recorded) -> npt.NDArray[np.int64]:
        """Return how many steps had been taken when each value was measured; for what has values over the run.

        A value of a batch stands at the step that was taken on it, beside the evaluation right after.
        """
        if self.dimensions[0] == "steps":
            return np.arange(1, len(run._arrays["train_loss"]) + 1)
        return run._arrays["eval_step"]

    def sound(self, run: Recorded) -> npt.NDArray[Any]:
        """Return its values, NaN where they or the loss beside them are not finite.

        Weights that are not numbers any more have no loss, but get some images right, which is no accuracy.
        """
        values: npt.NDArray[Any] = getattr(run, self.name)
        finite = np.isfinite(values if self.loss is None else getattr(run, self.loss))
        if values.ndim > finite.ndim:
            finite = finite[:, None]  # of all classes alike
        sound: npt.NDArray[Any] = np.where(finite, values, np.nan)
        return sound

    def complete(self, run: Recorded) -> npt.NDArray[np.bool_]:
        """Return of each value whether it is of all images that were to be measured, and no estimate."""
        if self.errors is None or self.part is None or self.part == "train":
            return np.ones(len(getattr(run, self.name)), bool)
        count, images = _LOOKED_AT[self.part]
        complete: npt.NDArray[np.bool_] = getattr(run, count) == len(run._arrays[images])
        return complete

    def best_of(self, run: Recorded) -> int | None:
        """Return where its best sound value is, the first if several tie; None if there is none.

        Estimates do not take part: the best of many that are off by chance is one that is off in its favour.
        """
        costs = np.where(self.complete(run), self.sign * self.sound(run), np.nan)
        return None if np.all(np.isnan(costs)) else int(np.nanargmin(costs))

    @property
    def sign(self) -> int:
        """What to multiply its values with so that small ones are good."""
        return -1 if self.better == "higher" else 1

    def text(self, value: float, digits: int = 3) -> str:
        """Return a value as it is written: a fraction in percent, a count in full, any other with so many digits."""
        if self.unit == "points":
            return f"{100 * value:.2g} points"
        if self.dtype is np.int64:
            return f"{value:,.0f}"
        return f"{value:.2%}" if self.unit == "fraction" else f"{value:.{digits}g}"

    def type_for(self, classes: int) -> np.dtype[Any]:
        """Return the type of its array in a run with so many classes."""
        if self.dtype is np.unsignedinteger:
            return np.dtype(np.uint8 if classes <= 256 else np.uint16)
        return np.dtype(self.dtype)

    @property
    def hint(self) -> str:
        """How to train so that a run has it; nothing if every run has."""
        return {None: "", "validation": "train with validation=0.1", "record": f"train with record=({self.record!r},)"}[
            self.needs
        ]

    def missing(self, run: str = "this run") -> str:
        """Return the sentence that says that a run has it not, and how it would."""
        if self.needs == "validation":
            return f"{run} has no validation images: {self.hint} to hold out a tenth"
        if not self.hint:
            return self.not_yet(run)
        return f"{run} did not record the {self.label}: {self.hint} to keep {self.what}"

    def not_yet(self, run: str = "this run") -> str:
        """Return the sentence that says that a run will have it."""
        return f"{run} has no {self.name} yet: its folder has it some seconds after the run has begun"


def _read_only(made: npt.NDArray[Any]) -> npt.NDArray[Any]:
    made.setflags(write=False)
    return made
