"""`Meter`: a training loop of one's own, measured after every step as `everybatch.train` measures."""

from __future__ import annotations

import contextlib
import json
import math
import os
import warnings
import weakref
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, NoReturn, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from everybatch import _core
from everybatch._arguments import flag
from everybatch._core import Data, Evaluation, Model
from everybatch._not_compiled import not_compiled
from everybatch._provenance import describe_dataset, hardware, versions
from everybatch._words import count
from everybatch.dataset import Dataset, check_dataset
from everybatch.datasets._folder_read import background_of
from everybatch.errors import ArgumentError
from everybatch.export._torch_module import FromPixels
from everybatch.folder import Journal
from everybatch.live import beside, can_show
from everybatch.meter._measured import Measured
from everybatch.meter._module import Forward, placed, unwrapped
from everybatch.meter._options import (
    Inputs,
    accuracy_of,
    batch_of,
    checked,
    chunk_for,
    for_config,
    learning_rate,
    loss_of,
)
from everybatch.run import Run
from everybatch.runs._arrays import check_config

__all__ = ["Meter"]

_COMPARED = 16
"""Test images by which a plan is compared with the module."""
_OF_BATCHES = ("step_sums", "step_votes", "step_events")
_OF_MEASURING = (
    "validation",
    "evaluate_every",
    "evaluate_on",
    "tolerance",
    "complete_every",
    "record",
    "measure_training",
    "seed",
    "precision",
    "deterministic",
)
"""What a meter has the core do of what a run may be asked for."""
Part = int | float | slice | Sequence[int] | Sequence[bool] | npt.NDArray[np.integer[Any]] | npt.NDArray[np.bool_]


class Meter:
    """Measures a module of PyTorch after every step of a training loop of one's own, as `everybatch.train` does.

    Make it right before the loop, which measures the weights that the module has then (``eval_step`` 0), call `step`
    after each step of the optimizer, and end it: with `end`, or by using it in ``with``. `run` is then a `Run` like any
    other.

    Where the module is on the CPU and can be represented by layers of everybatch (`everybatch.from_torch`), it is
    measured by a fused plan of its own weights, which are not copied; otherwise it is run as it is, in evaluation mode
    and without gradients, a chunk of images at a time: `measured_by` and `reason` tell. The modes of all its layers,
    its buffers and gradients, and the states of torch's, NumPy's and Python's random numbers are left as they were; its
    methods `train` and `eval` are not called. Around `torch.compile`, `DataParallel`, `DistributedDataParallel` and
    `AveragedModel`, the module within is measured.

    Parameters
    ----------
    module
        Gives logits (or logarithms of probabilities) (N, classes) of images (N, C, H, W).
    dataset
        The test images, and the training images that validation images are of.
    inputs
        What the module takes. "normalized": pixels in [0, 1], less the mean and by the deviation of the data set, as
        `everybatch.train` gives them. "unit": pixels in [0, 1]. A pair (mean, std): pixels in [0, 1] normalised by
        these, one number or one for each channel; (0, 1 / 255) gives pixels from 0 to 255. A function: of a chunk of
        pixels (n, C, H, W) float32 in [0, 1] it makes what the module takes, such as larger images. **It must be what
        the loop trains on**: with other inputs everything that is measured is wrong, and nothing can tell.
    batch_size, steps_per_epoch, steps
        Images of a batch, steps of an epoch (such as ``len(loader)``) and of the whole run, if they are known.
        `steps_per_epoch` follows from `batch_size`, counting a short last batch. Without them epochs are NaN, and
        nobody knows how much is left.
    validation
        As of `everybatch.train`: training images that are measured beside the test images. The loop must not train on
        them: `trained_indices` has the others.
    evaluate_every, evaluate_on, tolerance, complete_every
        As of `everybatch.train`; "epoch" needs `steps_per_epoch`.
    record
        "predictions", "losses" and "examples", as of `everybatch.train`. With "examples", what is added up of test
        images is complete; of training images it needs `indices` and `logits` at each `step`, and passes over them
        (`measure_training`) need `steps`.
    measure_training
        As of `everybatch.train`.
    folder, live
        As of `everybatch.train`. A run in a folder can be read and watched as it goes on, but `everybatch.resume`
        cannot go on with a loop that is not its own.
    seed
        Of images that are drawn.
    precision
        "float32": a plan computes in float32, a module that is run in the numbers of its weights. "bfloat16": a plan
        computes convolutions and matrix products in bfloat16, and a module is run under `torch.autocast`.
    deterministic
        Do not choose how a plan measures by trying what is fastest.
    chunk
        Images that a module which is run is given at a time; None: 1000, and fewer of large ones.

    Attributes
    ----------
    run, steps, test_loss, test_accuracy, measured_by, reason, trained_indices

    Raises
    ------
    ArgumentError, ShapeError, TypeError
        An argument cannot work, or the module gives something else than logits of the classes of the data set.
    OSError
        `folder` cannot be used, is in use, or is not empty.

    Warns
    -----
    UserWarning
        The module gives other logits each time, or for an image among others than for it alone.
    RuntimeWarning
        A loss became NaN or infinite. It ends nothing: should later measurements be finite, the run is sound.

    Examples
    --------
    >>> import everybatch as eb
    >>> import torch
    >>> data = eb.datasets.glyphs(train=640, test=100)
    >>> images = torch.tensor(data.train_images).float().div(255).sub(data.mean[0]).div(data.std[0])[:, None]
    >>> labels = torch.tensor(data.train_labels)
    >>> module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10))
    >>> optimizer = torch.optim.SGD(module.parameters(), lr=0.01)
    >>> with eb.Meter(module, data) as meter:
    ...     for batch in torch.randperm(640).split(64):
    ...         loss = torch.nn.functional.cross_entropy(module(images[batch]), labels[batch])
    ...         optimizer.zero_grad()
    ...         loss.backward()
    ...         optimizer.step()
    ...         meter.step(loss, lr=0.01)
    >>> meter.run.train_loss.shape, meter.run.test_accuracy.shape
    ((10,), (11,))
    """

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Meter follows one training loop and cannot be copied or pickled; its run can")

    @not_compiled
    def __init__(
        self,
        module: nn.Module,
        dataset: Dataset,
        *,
        inputs: str | tuple[Any, Any] | Callable[[torch.Tensor], torch.Tensor] = "normalized",
        batch_size: int | None = None,
        steps_per_epoch: int | None = None,
        steps: int | None = None,
        validation: Part | None = None,
        evaluate_every: int | str = 1,
        evaluate_on: Part | None = None,
        tolerance: float | None = None,
        complete_every: int | str | None = None,
        record: Sequence[str] = (),
        measure_training: int | None = None,
        folder: str | os.PathLike[str] | None = None,
        live: bool = False,
        seed: int = 0,
        precision: str = "float32",
        deterministic: bool = False,
        chunk: int | None = None,
    ) -> None:
        if not isinstance(module, nn.Module):
            hint = ": a Model is trained and measured by eb.train" if isinstance(module, (Model, _core.Network)) else ""
            raise TypeError(f"module must be a torch.nn.Module, not {type(module).__name__}{hint}")
        check_dataset(dataset)
        if precision == "tf32":
            raise ArgumentError("precision is 'tf32', which is a setting of torch's own: torch.backends.cuda and cudnn")
        self._dataset, self._inputs = dataset, Inputs(inputs, dataset)
        if isinstance(unwrapped(module), FromPixels) and inputs == "normalized":
            raise ArgumentError("this module of eb.export.torch_module normalises pixels by itself: give inputs='unit'")
        own = placed(unwrapped(module))[0]
        device = str(own) if own.type == "cuda" else "cpu"
        settings, per_epoch = checked(
            dataset,
            batch_size=batch_size,
            steps_per_epoch=steps_per_epoch,
            steps=steps,
            measure_training=measure_training,
            device=device,
            validation=validation,
            evaluate_every=evaluate_every,
            evaluate_on=evaluate_on,
            tolerance=tolerance,
            complete_every=complete_every,
            record=record,
            seed=seed,
            precision=precision,
            deterministic=deterministic,
        )
        self._settings = settings
        shape = dataset.image_shape
        live = can_show(flag(live, "live"))
        self._measured = Measured(
            module,
            shape,
            self._inputs.transform,
            settings.values["precision"],
            device,
            estimates=settings.values["tolerance"] is not None,
        )
        self._run: Run | None = None
        self._has_warned = False
        wanted = settings.for_core()
        self._chunk = chunk_for(chunk, math.prod(shape))
        self._core = _core.Meter(
            Data(dataset, "cpu"),
            {name: wanted[name] for name in _OF_MEASURING},
            device,
            self._inputs.mean,
            self._inputs.std,
            self._chunk,
            per_epoch,
            settings.values["steps"],
        )
        images = len(settings.test_indices)
        self._compared = np.unique(np.linspace(0, images - 1, min(images, _COMPARED)).astype(int)).tolist()
        self._config: dict[str, Any] = {
            "network": {"name": type(self._measured.module).__name__},
            "dataset": describe_dataset(dataset),
            "training": for_config(settings, batch_size, per_epoch),
            "meter": {"module": _path(self._measured.module), "inputs": self._inputs.told},
            "versions": versions(),
            "hardware": hardware(device),
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        with contextlib.ExitStack() as stack:
            self._begin(stack, folder, live=live)
            self._open = stack.pop_all()
        # A meter that goes away before it was ended gives its folder up, and the process with it.
        self._left = weakref.finalize(self, _leave, self._core, self._open)

    def _begin(self, stack: contextlib.ExitStack, folder: str | os.PathLike[str] | None, *, live: bool) -> None:
        """Measure the weights that the module has now, and begin the folder with them."""
        with self._ready():  # before there is a folder: the module may have to be refused
            pass
        config = self._described()
        check_config(config | {"status": {"state": "running"}})
        self._journal = None
        if folder is not None:
            self._journal = stack.enter_context(contextlib.closing(Journal(folder)))
        told = {"config": config, "arrays": self._settings.of_run, "settings": {}}
        with contextlib.nullcontext() if self._journal is None else self._journal.begin(told, self._model()):
            self._shown = stack.enter_context(beside(self._journal, told)) if live else None
            writer = self._shown or self._journal
            if writer is not None:
                self._core.write_to(writer)
            self._measure()
            self._core.write(now=True)
        self._core.restart_clock()

    # ---- the loop

    @not_compiled
    def step(
        self,
        loss: float | torch.Tensor,
        *,
        lr: float | torch.Tensor | Sequence[float] | None = None,
        accuracy: float | torch.Tensor | None = None,
        indices: npt.ArrayLike | torch.Tensor | None = None,
        logits: npt.ArrayLike | torch.Tensor | None = None,
    ) -> None:
        """Tell of a step that the optimizer has just taken, and measure the module if it is time to.

        Call it once for each step of the optimizer: with accumulated gradients that is not each batch. The time since
        the call before is that of the step.

        Parameters
        ----------
        loss
            The mean loss of the step's batch, before the step: a number, or a tensor of one, whose gradients are left
            alone.
        lr
            The step's learning rate, if it is to be recorded: a number, or a list of one as
            ``scheduler.get_last_lr()`` gives it.
        accuracy
            The part of the batch that was predicted right, if it is to be recorded.
        indices, logits
            Which training images the batch held (n,), and the logits (n, classes) of the loss, for
            ``record=("examples",)``: at all steps or at none. The accuracy follows from them.

        Raises
        ------
        ArgumentError
            The meter has ended, or an argument cannot be.
        ShapeError, TypeError
            An argument is of another form, or the module gave something else than logits.
        """
        if self._run is not None:
            raise ArgumentError("the meter has ended, and this step would not be recorded: make a new one for each run")
        if (indices is None) != (logits is None):
            missing = "logits" if logits is None else "indices"
            raise ArgumentError(f"{missing} is missing: indices and logits of a batch belong together")
        batch = None
        if indices is not None and logits is not None:
            batch = batch_of(indices, logits)
            if accuracy is not None:
                raise ArgumentError("accuracy is given, and follows from indices and logits: leave it out")
        self._core.step(loss_of(loss), accuracy_of(accuracy), learning_rate(lr), batch)
        if self._core.is_due(last=False):
            self._measure()
        self._core.write(now=False)
        self._warn()

    @not_compiled
    def evaluate(self) -> Evaluation:
        """Measure all test images with the weights of now, beside what is recorded; also after the end.

        Returns
        -------
        Evaluation
            As of `Model.evaluate`.
        """
        with self._ready() as by:
            found = self._core.evaluate(by, self._dataset.classes)
        self._core.restart_clock()
        return found

    @not_compiled
    def end(self, error: BaseException | None = None) -> Run:
        """Measure all images once more, unless that was just done, and give the run; a second call gives it again.

        Parameters
        ----------
        error
            What ended the loop early, such as an exception that a callback is told of. Nothing is measured then, and
            the run is an interrupted one.

        Raises
        ------
        Exception
            What the module raised in the last measurement; its attribute ``run`` has what was recorded.
        """
        if self._run is not None:
            return self._run
        state, failure = "finished", error
        if error is not None:
            state = "interrupted"
        else:
            try:
                self._measure(last=True)
            except BaseException as raised:
                state, failure = "failed" if isinstance(raised, Exception) else "interrupted", raised
        if state == "finished" and self._core.diverged_at is not None:
            state = "diverged"
        message = "" if failure is None else f"{type(failure).__name__}: {failure}".removesuffix(": ")
        self._run = self._made({"state": state, "message": message})
        self._left.detach()
        with self._open:
            if self._journal is not None:
                self._journal.end(self._run, self._run._model)
            if self._shown is not None:
                self._shown.run = self._run
        if failure is not None and error is None:
            failure.run = self._run  # type: ignore[attr-defined]
            raise failure
        self._warn()
        return self._run

    def __enter__(self) -> Self:
        return self

    @not_compiled
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end(error)

    # ---- what there is

    @property
    def run(self) -> Run:
        """What was recorded until now, as a `Run`; its `Run.state` is "running" until the meter has ended.

        Its `Run.model` has a copy of the weights of now, if a plan of them is measured.
        """
        return self._made({"state": "running"}) if self._run is None else self._run

    @property
    def steps(self) -> int:
        """Steps that were told of."""
        return self._core.steps

    @property
    def test_loss(self) -> float:
        """Mean cross-entropy of the test images when they were measured last."""
        return self._core.newest[0]

    @property
    def test_accuracy(self) -> float:
        """Share of the test images predicted right when they were measured last, in [0, 1]."""
        return self._core.newest[1]

    @property
    def measured_by(self) -> str:
        """What was measured last: "plan", a plan of the module's weights; or "module", the module itself."""
        return "module" if self._measured.plan is None else "plan"

    @property
    def reason(self) -> str | None:
        """Why there is no plan; None if there is one."""
        return self._measured.reason

    @property
    def trained_indices(self) -> npt.NDArray[np.int64]:
        """(images,) int64: the training images that are not held out for validation, ascending."""
        return self._settings.trained_indices

    def __repr__(self) -> str:
        name, data = self._config["network"]["name"], self._dataset.name
        how = "a plan of its weights" if self.measured_by == "plan" else f"running it ({self.reason})"
        ended = "" if self._run is None else f", {self._run.state}"
        return (
            f"<Meter: {name} on {data}, {count(self.steps, 'step')}, test accuracy {self.test_accuracy:.2%}, "
            f"measured by {how}{ended}>"
        )

    # ---- internal

    def _ready(self, *, check: bool = False) -> contextlib.AbstractContextManager[Model | Forward]:
        return self._measured.ready(self._core.look, self._compared, check=check)

    def _measure(self, *, last: bool = False) -> None:
        with self._ready(check=last) as by:
            if self._core.is_due(last=last):
                self._core.measure(by, last=last)

    def _model(self) -> Model | None:
        """Return a copy of the weights of now, to keep; None if the module is no network of ours."""
        plan = self._measured.plan
        if plan is None:
            return None
        model = self._core.copied(plan)
        model.classes = self._dataset.classes
        model.background = background_of(self._dataset.source)
        return model

    def _described(self) -> dict[str, Any]:
        """Return the config of the run, without its status."""
        plan = self._measured.plan
        network = self._config["network"] if plan is None else json.loads(plan.network.to_json())
        meter = {**self._config["meter"], "measured_by": self.measured_by, "reason": self.reason}
        evaluation = {"chunk": self._chunk} if plan is None else self._core.evaluation
        return {**self._config, "network": network, "meter": meter, "evaluation": evaluation}

    def _made(self, status: dict[str, Any]) -> Run:
        """Make the run of what is recorded."""
        arrays = self._core.arrays()
        if not self._core.tells_batches:
            arrays = {name: array for name, array in arrays.items() if name not in _OF_BATCHES}
        whole = {"message": "", **status, "diverged_at": self._core.diverged_at, "model_step": self.steps}
        config = {**self._described(), "status": whole}
        return Run({**arrays, **self._settings.of_run}, config, self._model())

    def _warn(self) -> None:
        step = self._core.diverged_at
        if step is not None and not self._has_warned:
            self._has_warned = True
            warnings.warn(
                f"a loss became NaN or infinite with the weights after {count(step, 'step')}. The meter goes on; "
                "should the weights turn out sound at a later measurement, so is the run",
                RuntimeWarning,
                stacklevel=3,
            )


def _leave(core: _core.Meter, opened: contextlib.ExitStack) -> None:
    """Write what is recorded, and let the folder go."""
    with opened:
        core.write(now=True)


def _path(module: nn.Module) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}"
