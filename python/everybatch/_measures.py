"""The table of measures: everything that a run records, and what is to be known of it, each declared once.

Everything else reads it. `Run` has an attribute for every measure; checks and files know types and shapes from here;
tables, exports, plots, sweeps and the command line know what a measure is called, where it belongs, how its numbers are
written, and which direction is better. A new measure is computed in Rust, declared here, and is then everywhere.

Whether an array is there has one rule. Those that need nothing are in every run. The others are there if the run was
trained with what they need (``validation=`` or ``record=``), and raise an AttributeError that says so if it was not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from everybatch._measure import Measure, Part, Recorded

__all__ = ["ARRAYS", "COLUMNS", "CURVES", "MEASURES", "MONITORS", "QUANTITIES", "RECORDABLE", "REQUESTED"]
__all__ += ["RESULTS", "Measures", "parts_of"]


def _error(accuracy: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return 1 - np.asarray(accuracy, np.float64)


def _constant_lr(run: Recorded) -> npt.NDArray[np.float64]:
    lr = run._config["training"].get("lr")
    return np.full(len(run._arrays["train_loss"]), np.nan if lr is None else lr, np.float64)


def _exact(of: str) -> Callable[[Recorded], npt.NDArray[Any]]:
    """What stands in for the standard errors of a measure in runs of earlier versions, which measured all images."""
    return lambda run: np.zeros_like(run._arrays[of])


def _all(images: str) -> Callable[[Recorded], npt.NDArray[np.int64]]:
    """And for the number of images that were looked at."""
    return lambda run: np.full(len(run._arrays["eval_step"]), len(run._arrays[images]), np.int64)


_ESTIMATED = (
    "In its own unit, and 0 where all images were looked at: everywhere in runs without ``tolerance=``, those of "
    "earlier versions among them."
)


class Measures(Recorded):
    """The table. `Run` inherits its attributes; the order is that of columns and of lists of names."""

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
        loss="train_loss",
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
    grad_norm = Measure(
        dtype=np.float32,
        dimensions=("steps",),
        what="the Euclidean norm of the gradient of every step, of all parameters together",
        more="It is that of the loss alone, before weight decay.",
        label="gradient norm",
        part="train",
        loss="train_loss",
        needs="record",
        tag="train/grad_norm",
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
        errors="validation_loss_error",
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
        loss="validation_loss",
        needs="validation",
        monitor=True,
        tag="validation/accuracy",
        errors="validation_accuracy_error",
    )
    validation_loss_error = Measure(
        dtype=np.float32,
        dimensions=("evaluations",),
        what="the standard error of `validation_loss`",
        more=_ESTIMATED,
        label="standard error of the validation loss",
        part="validation",
        needs="validation",
        tag="validation/loss_error",
        of_estimates=True,
        otherwise=_exact("validation_loss"),
    )
    validation_accuracy_error = Measure(
        dtype=np.float32,
        dimensions=("evaluations",),
        what="the standard error of `validation_accuracy`",
        more=_ESTIMATED,
        label="standard error of the validation accuracy",
        part="validation",
        unit="points",
        needs="validation",
        tag="validation/accuracy_error",
        of_estimates=True,
        otherwise=_exact("validation_accuracy"),
    )
    validation_images_measured = Measure(
        dtype=np.int64,
        dimensions=("evaluations",),
        what="validation images that each evaluation looked at",
        more="All of them without ``tolerance=``, and at complete passes.",
        label="validation images looked at",
        part="validation",
        needs="validation",
        tag="validation/images_measured",
        of_estimates=True,
        otherwise=_all("validation_indices"),
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
        errors="test_loss_error",
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
        loss="test_loss",
        monitor=True,
        tag="test/accuracy",
        errors="test_accuracy_error",
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
        loss="test_loss",
        of="test_accuracy",
        by=_error,
        errors="test_accuracy_error",
    )
    test_loss_error = Measure(
        dtype=np.float32,
        dimensions=("evaluations",),
        what="the standard error of `test_loss`",
        more=_ESTIMATED,
        label="standard error of the test loss",
        part="test",
        tag="test/loss_error",
        of_estimates=True,
        otherwise=_exact("test_loss"),
    )
    test_accuracy_error = Measure(
        dtype=np.float32,
        dimensions=("evaluations",),
        what="the standard error of `test_accuracy`",
        more=_ESTIMATED,
        label="standard error of the test accuracy",
        part="test",
        unit="points",
        tag="test/accuracy_error",
        of_estimates=True,
        otherwise=_exact("test_accuracy"),
    )
    images_measured = Measure(
        dtype=np.int64,
        dimensions=("evaluations",),
        what="test images that each evaluation looked at",
        more="All of them without ``tolerance=``, and at complete passes.",
        label="test images looked at",
        part="test",
        tag="test/images_measured",
        of_estimates=True,
        otherwise=_all("test_indices"),
    )
    class_accuracy = Measure(
        dtype=np.float32,
        dimensions=("evaluations", "classes"),
        what="the test accuracy of each class; NaN for a class of which no test image was measured",
        part="test",
        unit="fraction",
        better="higher",
        loss="test_loss",
        tag="class_accuracy",
        errors="class_accuracy_error",
    )
    class_accuracy_error = Measure(
        dtype=np.float32,
        dimensions=("evaluations", "classes"),
        what="the standard error of `class_accuracy`",
        more=_ESTIMATED,
        part="test",
        unit="points",
        tag="class_accuracy_error",
        of_estimates=True,
        otherwise=_exact("class_accuracy"),
    )
    validation_class_accuracy = Measure(
        dtype=np.float32,
        dimensions=("evaluations", "classes"),
        what="the accuracy of each class on the validation images",
        part="validation",
        unit="fraction",
        better="higher",
        loss="validation_loss",
        needs="validation",
        errors="validation_class_accuracy_error",
    )
    validation_class_accuracy_error = Measure(
        dtype=np.float32,
        dimensions=("evaluations", "classes"),
        what="the standard error of `validation_class_accuracy`",
        more=_ESTIMATED,
        part="validation",
        unit="points",
        needs="validation",
        of_estimates=True,
        otherwise=_exact("validation_class_accuracy"),
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
        what="counts at the last evaluation of all images; rows true, columns predicted",
        more="Of a run that is loaded from its folder before it ended, as they were when its state was kept last.",
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
    state_step = Measure(
        dtype=np.int64,
        dimensions=("states",),
        what="optimizer steps taken before each state that was kept; the first is 0",
        label="states to replay steps from",
        needs="record",
        record="weights",
    )
    states = Measure(
        dtype=np.uint8,
        dimensions=("states", "bytes of a state"),
        what="states that `everybatch.insight.replay` goes on from: the bytes of a safetensors file each",
        more="With all that the later steps follow from: weights, averaged weights, the optimizer's means.",
        label="states to replay steps from",
        needs="record",
        record="weights",
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
REQUESTED = {name: one for name, one in ARRAYS.items() if one.needs == "record"}
"""What is recorded on request."""
RECORDABLE = {one.record: one for one in REQUESTED.values()}
"""What ``record=`` takes, each with the last of the arrays that come of it."""
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
