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

__all__ = [
    "ARRAYS",
    "COLUMNS",
    "CURVES",
    "EVENTS",
    "KEEPS",
    "MEASURES",
    "MONITORS",
    "QUANTITIES",
    "RECORDABLE",
    "REQUESTED",
]
__all__ += ["RESULTS", "SUMS", "Measures", "parts_of"]

SUMS = ("margin", "tanh_margin", "probability", "probability_squared", "loss")
"""The columns of `Measures.step_sums` and `Measures.test_sums`."""
EVENTS = ("wrong", "forgotten", "first_learned", "learned_for_good", "last")
"""The columns of `Measures.step_events` and `Measures.test_events`."""


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


_OF_STEPS = (
    "By the logits that a step computes anyway: of the image as it was augmented, in training mode, with the weights "
    "before the step. A step whose loss is NaN or infinite does not count, nor do those after it. (On a GPU steps run "
    "ahead: after a test loss that is NaN or infinite, some with finite losses of their own may still count.)"
)
_OF_TEST = (
    "Of all evaluations that looked at every test image, that before the first step among them: with a tolerance the "
    "complete ones. One whose loss is NaN or infinite does not count, nor do those after it, unless a `Meter` measured "
    "them."
)
_SUMMED = (
    "The five columns: of the margin (the logit of the label minus the largest of the others), of its tanh, of the "
    "label's probability, of the square of that, and of the cross-entropy without label smoothing."
)
_HAPPENED = (
    "The five columns: how often it was predicted wrong; how often it was forgotten, which is right and the next time "
    "wrong; the steps taken before it was first right, -1 if it never was; the steps taken before it was right for "
    "good, the first of the right predictions that lasted to the end, -1 if the last was wrong; and whether the last "
    "was right (1) or wrong (0), -1 if there was none."
)
_STATE = "Of a run that is loaded from its folder before it ended, as they were when its state was kept last."


class Measures(Recorded):
    """The table. `Run` inherits its attributes; the order is that of columns and of lists of names."""

    # ---- of every step ---------------------------------------------------------------------------------

    train_loss = Measure(
        dtype=np.float32,
        dimensions=("steps",),
        what="mean cross-entropy of the batch that each step was taken on, before the step",
        more="It is the loss that training makes smaller, with `label_smoothing` and `class_weight`.",
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
        more="It is that of the loss alone, before `clip_grad_norm` and weight decay.",
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
    losses = Measure(
        dtype=np.float16,
        dimensions=("evaluations", "measured test images"),
        what="the cross-entropy of every test image at every evaluation",
        more="A finite loss beyond 65504, the largest number of float16, is kept as 65504. `test_indices` says which "
        "images are measured.",
        label="losses of the test images",
        part="test",
        needs="record",
    )

    # ---- on request, of passes over the training images ------------------------------------------------

    training_eval_step = Measure(
        dtype=np.int64,
        dimensions=("passes",),
        what="optimizer steps taken before each pass over the training images",
        more="They are measured in evaluation mode and without augmentation, with the weights that the test images are "
        "measured with, so often in the whole run as ``measure_training=`` says, and at last after the last step.",
        label="passes over the training images",
        part="train",
        needs="record",
        record="examples",
    )
    training_eval_seconds = Measure(
        dtype=np.float64,
        dimensions=("passes",),
        what="seconds that each pass over the training images took",
        more="They are in no other seconds of a run.",
        label="passes over the training images",
        unit="seconds",
        needs="record",
        record="examples",
    )
    training_predictions = Measure(
        dtype=np.unsignedinteger,
        dimensions=("passes", "trained images"),
        what="the predicted class of every training image at each pass",
        more="With more than 256 classes uint16. `trained_indices` says which images these are.",
        label="passes over the training images",
        part="train",
        needs="record",
        record="examples",
    )
    training_margins = Measure(
        dtype=np.float16,
        dimensions=("passes", "trained images"),
        what="the logit of the label minus the largest of the other logits, of every training image at each pass",
        more="Finite ones beyond 65504 are kept as that.",
        label="passes over the training images",
        part="train",
        needs="record",
        record="examples",
    )
    training_losses = Measure(
        dtype=np.float16,
        dimensions=("passes", "trained images"),
        what="the cross-entropy of every training image at each pass, without label smoothing",
        more="Finite ones beyond 65504 are kept as that.",
        label="passes over the training images",
        part="train",
        needs="record",
        record="examples",
    )

    # ---- on request, of each image over the run --------------------------------------------------------

    trained_indices = Measure(
        dtype=np.int64,
        dimensions=("trained images",),
        what="which training images are trained on, ascending: those that are not held out for validation",
        label="training images",
        part="train",
        needs="record",
        record="examples",
    )
    step_sums = Measure(
        dtype=np.float64,
        dimensions=("trained images", "sums"),
        what="sums over the steps that each training image was in",
        more=f"{_OF_STEPS} {_SUMMED} {_STATE}",
        label="sums of each training image",
        part="train",
        needs="record",
        record="examples",
    )
    step_votes = Measure(
        dtype=np.int32,
        dimensions=("trained images", "classes"),
        what="how often each class was predicted for each training image, in the steps that it was in",
        more=f"{_OF_STEPS} A row adds up to the number of these steps. {_STATE}",
        label="votes of each training image",
        part="train",
        needs="record",
        record="examples",
    )
    step_events = Measure(
        dtype=np.int32,
        dimensions=("trained images", "events"),
        what="what happened to each training image in the steps that it was in",
        more=f"{_OF_STEPS} {_HAPPENED} {_STATE}",
        label="events of each training image",
        part="train",
        needs="record",
        record="examples",
    )
    test_sums = Measure(
        dtype=np.float64,
        dimensions=("measured test images", "sums"),
        what="sums over the evaluations of each test image",
        more=f"{_OF_TEST} {_SUMMED} {_STATE}",
        label="sums of each test image",
        part="test",
        needs="record",
        record="examples",
    )
    test_votes = Measure(
        dtype=np.int32,
        dimensions=("measured test images", "classes"),
        what="how often each class was predicted for each test image",
        more=f"{_OF_TEST} {_STATE}",
        label="votes of each test image",
        part="test",
        needs="record",
        record="examples",
    )
    test_events = Measure(
        dtype=np.int32,
        dimensions=("measured test images", "events"),
        what="what happened to each test image from evaluation to evaluation",
        more=f"{_OF_TEST} {_HAPPENED} {_STATE}",
        label="events of each test image",
        part="test",
        needs="record",
        record="examples",
    )

    # ---- on request, to replay steps from --------------------------------------------------------------

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
REQUESTED = tuple(name for name, one in ARRAYS.items() if one.needs == "record")
"""What is recorded on request."""
_TOGETHER = {
    "examples": "what became of each image over the run: sums of margins, probabilities and losses, votes for classes, "
    "when it was learned and forgotten; and passes over the training images",
    "weights": "states that steps are replayed from: weights and what the optimizer keeps",
}
"""By the words of ``record=`` that several arrays come with, what these are."""
KEEPS = {word: _TOGETHER.get(word) or ARRAYS[word].what for word in (ARRAYS[name].record for name in REQUESTED)}
"""By the words of ``record=``, what it keeps."""
RECORDABLE = tuple(KEEPS)
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
