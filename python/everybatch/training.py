"""`train`: the front of the Rust training loop."""

from __future__ import annotations

import contextlib
import json
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from everybatch import _core
from everybatch._arguments import flag
from everybatch._beginning import beginning
from everybatch._class_weight import ClassWeight
from everybatch._core import Data, Model, Network, Outcome, Step
from everybatch._gpu import gpu_settings
from everybatch._hooks import HOOKS
from everybatch._log import log_step
from everybatch._logits import bounded_logits
from everybatch._not_compiled import not_compiled
from everybatch._progress import ProgressBar
from everybatch._provenance import describe_dataset, hardware, versions
from everybatch._settings import Settings
from everybatch.augment import Augment
from everybatch.callbacks import Callback, Callbacks
from everybatch.checkpoints import prepare_folder, refuse_inside
from everybatch.dataset import Dataset, check_dataset
from everybatch.errors import ArgumentError, LogitsWarning, SelectionWarning
from everybatch.folder import Journal, how_to_go_on
from everybatch.live import beside, can_show
from everybatch.run import Run
from everybatch.runs._arrays import check_config
from everybatch.schedules import Schedule

if TYPE_CHECKING:
    from everybatch.live._beside import Beside

__all__ = ["carried_out", "selection", "train"]

Part = int | float | slice | Sequence[int] | Sequence[bool] | npt.NDArray[np.integer[Any]] | npt.NDArray[np.bool_]


@not_compiled
def train(
    network: Network | Model,
    dataset: Dataset,
    *,
    epochs: int = 1,
    steps: int | None = None,
    batch_size: int = 64,
    optimizer: str = "adam",
    lr: float = 1e-3,
    schedule: Schedule | str | None = None,
    weight_decay: float | None = None,
    momentum: float | None = None,
    nesterov: bool | None = None,
    betas: tuple[float, float] | None = None,
    eps: float | None = None,
    alpha: float | None = None,
    centered: bool | None = None,
    momentum_decay: float | None = None,
    adjust_lr: str | None = None,
    adamw_lr_ratio: float | None = None,
    label_smoothing: float = 0.0,
    label_smoothing_schedule: Schedule | str | None = None,
    class_weight: ClassWeight | None = None,
    clip_grad_norm: float | None = None,
    ema: float | None = None,
    augment: Augment | None = None,
    augment_schedule: Schedule | str | None = None,
    validation: Part | None = None,
    evaluate_every: int | str = 1,
    evaluate_on: Part | None = None,
    tolerance: float | None = None,
    complete_every: int | str | None = None,
    record: Sequence[str] = (),
    measure_training: int = 20,
    weights_every: int | str | None = None,
    monitor: str | None = None,
    select: str = "last",
    patience: int | None = None,
    min_delta: float = 0.0,
    checkpoints: str | os.PathLike[str] | None = None,
    checkpoint_every: int | str = "epoch",
    folder: str | os.PathLike[str] | None = None,
    keep_state_every: float = 60.0,
    log_every: int | None = None,
    seed: int = 0,
    shuffle: bool = True,
    device: str = "auto",
    precision: str = "float32",
    deterministic: bool = False,
    kernels: str | None = None,
    progress: bool = True,
    live: bool = False,
    callbacks: Callback | Iterable[Callback] = (),
) -> Run:
    """Train a classifier and measure the whole test set after every batch.

    The loss is the mean cross-entropy, by `class_weight` and with `label_smoothing` if these are given. Images are
    normalised with the data set's mean and standard deviation (a model that was trained before keeps its own).

    Parameters
    ----------
    network
        What to train: a `Network`, which starts from fresh weights drawn with `seed`, or a `Model`, from whose weights
        training goes on. The model itself is left as it is; the trained one is `run.model`. A model has weights (and
        batch norm's statistics) alone: the optimizer begins anew, without the momentum or Adam's moments of an earlier
        run, and so do learning-rate schedule, averaged weights and the count of steps. Two runs of one epoch are hence
        not one run of two.
    dataset
        Training and test images.
    epochs
        Passes over the training images.
    steps
        Optimizer steps, instead of epochs; the last epoch may then be begun and not ended.
    batch_size
        Images of a batch. The last batch of an epoch may be smaller.
    optimizer
        "sgd", "adam", "adamw", "rmsprop" or "nadam", with the formulas and defaults of `torch.optim`; "lion" (Chen et
        al. 2023); or "muon" (Jordan et al. 2024), as `torch.optim.Muon`, for hidden weights alone. See Notes. An option
        that belongs to others is refused; None is the optimizer's default.
    lr
        Learning rate, from which a schedule moves it. Usual ones differ by optimizer: "lion" takes a third to a
        tenth of what "adamw" does, "muon" 0.02.
    schedule
        How the learning rate moves from step to step: one of `everybatch.schedules`, or "cosine", "linear",
        "one_cycle", "plateau" or "step" with their defaults.
    weight_decay
        Of all optimizers, for all parameters: 0 unless given, 0.01 for "adamw", 0.1 for "muon". "sgd", "adam",
        "rmsprop" and "nadam" add it, times the weights, to the gradient; "adamw", "lion" and "muon" shrink the weights
        themselves by lr * weight_decay (decoupled).
    momentum, nesterov
        Of "sgd", "rmsprop" (which has no nesterov) and "muon": 0 and False, for "muon" 0.95 and True.
    betas
        Of "adam", "adamw" and "nadam", (0.9, 0.999); of "lion", (0.9, 0.99); of the AdamW beside "muon", (0.9, 0.95).
    eps
        Of "adam", "adamw", "rmsprop" and "nadam", 1e-8; of the AdamW beside "muon", 1e-10.
    alpha, centered
        Of "rmsprop": how much the mean of the squared gradients keeps, 0.99; and whether their squared mean is taken
        from it, False.
    momentum_decay
        Of "nadam": 0.004.
    adjust_lr
        Of "muon": how the learning rate depends on a weight's shape. "original" takes it times
        sqrt(max(1, outputs / inputs)); "match_rms_adamw" times 0.2 * sqrt(max(outputs, inputs)), so that the learning
        rates of AdamW suit it (Liu et al. 2025).
    adamw_lr_ratio
        Of "muon": the learning rate of the AdamW beside it, as a share of `lr`. None: 0.015, which takes 0.02 to
        0.0003; and 1 with "match_rms_adamw".
    label_smoothing
        Share of the target that goes to all classes alike, in [0, 1) (Szegedy et al. 2015). It is part of the training
        loss, not of test and validation losses.
    label_smoothing_schedule
        How it falls over the run, as `augment_schedule` has it for augmentation: ``schedules.linear(begin=0.9,
        end=0.9)`` switches it off for the last tenth. The training loss of a step is that with the smoothing of the
        step.
    class_weight
        How much images of each class count in the training loss: a list or array with one number for each class, in
        their order; a dict from names or numbers of classes to numbers, 1 for those that it leaves out; or "balanced",
        which is images / (classes * images of the class), as in scikit-learn, of the images that are trained on. The
        loss of a batch is then the mean by these weights, the sum of weight times loss divided by the sum of the
        weights, with `label_smoothing` as in `torch.nn.CrossEntropyLoss`. That is what `Run.train_loss` tells; test and
        validation losses, all accuracies and what `record` keeps of images do not know of weights.
    clip_grad_norm
        The Euclidean norm that the gradient of all parameters together may have: a longer one is made that long, as by
        `torch.nn.utils.clip_grad_norm_`. None: any. `Run.grad_norm` is that before.
    ema
        Decay of an exponential moving average of the weights, in [0, 1), such as 0.999. The averaged weights (and
        batch-norm statistics) are then the ones that are measured, kept as checkpoints and returned. As in PyTorch
        the average begins with the weights after the first step, which are still 5 % of it after ``3 / (1 - ema)``
        steps: until then the measurements tell of them too, so a run should be longer.
    augment
        Changes to the training images: an `Augment`.
    augment_schedule
        By which factor in [0, 1] they are multiplied at each step: one of `everybatch.schedules`, or "cosine",
        "linear", "one_cycle" or "step", which is to 1 what a learning rate's schedule is to `lr`.
        ``schedules.linear(begin=0.7)`` has them fall to nothing over the last 30 % of the run. Of shift, rotate,
        scale, shear and elastic the bounds are multiplied, of erase the probability; `Augment` shows it with
        `strength`. No plateau and no warm-up. None: 1.
    validation
        Training images to hold out and measure beside the test images: a number of them or a share in (0, 1), drawn
        with `seed` from all classes alike, or their indices, a slice, or a mask of one boolean for each image.
    evaluate_every
        Measure the test set (and the validation set) after every n-th step, or "epoch". Before the first step and
        after the last they always are.
    evaluate_on
        Measure a part of the test set: a number of images or a share in (0, 1), drawn with `seed` from all classes
        alike, or the indices of the images, a slice, or a mask of one boolean for each image.
    tolerance
        Estimate instead of measuring every image: the standard error that the test accuracy may have (and that of the
        validation images), above 0 and below 1, such as 0.0005, which is 5 images of 10,000. See Notes. None: all
        images, every time.
    complete_every
        With a tolerance, all images are still measured before the first step, after the last, and after every n-th
        step, or "epoch". None chooses a distance at which these complete passes cost about as much as the estimates
        between them.
    record
        What to keep beside what every run has, by name: "predictions" and "losses", the predicted class and the
        cross-entropy of every measured test image at every evaluation (not with a tolerance, which leaves most of
        them unknown); "grad_norm"; "examples", what became of each image over the run: `Run.step_sums`,
        `Run.step_votes` and `Run.step_events` of the training images, `Run.test_sums`, `Run.test_votes` and
        `Run.test_events` of the test images, and the passes of `measure_training`; and "weights", states that
        `everybatch.insight.replay` goes on from: weights, averaged weights and the optimizer's means, with Adam three
        times the size of the weights each.
    measure_training
        With "examples", how often in the whole run the training images are measured too: evenly over its steps, at
        last after the last one, and never before the first (`Run.training_eval_step`). 0: never. A run that is ended
        early has those until then. They are measured without augmentation, with the weights that the test images are
        measured with, those held out for validation aside: `Run.training_predictions`, `Run.training_margins` and
        `Run.training_losses`, which take 5 bytes an image and pass; while they are measured, up to 64 MiB of them are
        in memory as numbers.
    weights_every
        With "weights", keep a state after every n-th step, or "epoch"; None: about 20 in a run. The one before the
        first step is always kept. The closer they lie, the sooner is a replay at the step that it is to repeat.
    monitor
        The curve that `select`, `patience` and a plateau schedule follow: "validation_loss" (the default with
        `validation`), "validation_accuracy", "test_loss" or "test_accuracy". With a tolerance they look at complete
        passes alone.
    select
        Which weights `run.model` has: those after the "last" step, or those of the "best" evaluation after the first
        step (the first of several equals).
    patience
        End the run after so many evaluations in a row that brought nothing better.
    min_delta
        An improvement by no more than this is none, for `select` and `patience`.
    checkpoints
        A folder to keep weights in on the way, one file each (``step_000938.safetensors``); made if needed. Read them
        with `Model.load`, measure them all with `evaluate_checkpoints`.
    checkpoint_every
        Keep them after every n-th step, or every "epoch".
    folder
        A folder of its own to write the run to as it goes on; made if needed. Rows of its history are there within two
        seconds after they were measured, as a rule a fifth of one, whatever becomes of the process; `load_run` reads
        them at any time, and `Run.state` is "running" meanwhile, or "lost" if the process is no more.
    keep_state_every
        Seconds after which what the run needs to go on is kept in that folder anew; at the end it always is.
    log_every
        Log a line after every n-th step, at level INFO of the logger "everybatch.train" (to see them:
        ``logging.basicConfig(level=logging.INFO)``).
    seed
        Of the fresh weights, the batch order, dropout, augmentation and the images that are drawn.
    shuffle
        Whether each epoch has a new order; otherwise it is the data set's own.
    device
        "auto" (the GPU if there is one), "cpu", "cuda" or "cuda:1".
    precision
        "float32"; "tf32", on NVIDIA GPUs, where convolutions and matrix products then keep 10 of the 23 bits of each
        factor and are several times faster (PyTorch's own default for convolutions); or "bfloat16" for the convolutions
        and matrix products (weights, normalisation statistics and loss stay float32), which is refused on a CPU without
        the instructions for it.
    deterministic
        Use only kernels that give the same bits each time, and choose none by its speed: on one machine, runs with one
        seed are then identical. On a GPU this is slower, and needs the environment variable CUBLAS_WORKSPACE_CONFIG,
        which is set to ":4096:8" unless something else has used the GPU before.
    kernels
        Which code takes the training steps on a CPU. "exact" runs PyTorch's operators in PyTorch's order, so that the
        losses are those of a plain PyTorch script to the last digits. "fused" is faster and equal within rounding:
        batch norm, residual sum and activation in one pass, channels-last maps, no autograd, fused Adam. Each step is
        as exact as PyTorch's; over many steps, trainings that round differently part, as on two machines. "exact" is
        the default for float32, "fused" for bfloat16. On a GPU both are the same.
    progress
        Whether to draw a progress bar.
    live
        Whether to draw loss and accuracy below a notebook's cell as they grow: a chart with the extra ``notebook``
        (``pip install everybatch[notebook]``), without it a picture that is replaced now and then. It takes at most
        a hundredth of the time, and the notebook keeps a picture of it. Elsewhere `everybatch watch` shows a run that
        has a `folder`.
    callbacks
        Functions called after every step with a `Step`; or objects with any of the methods ``on_start(start)``, called
        with a `RunStart` before anything is measured, ``on_step(step)`` after every step, ``on_evaluation(step)`` after
        every measurement, that before the first step among them, and ``on_end(run)`` with the `Run`, however it ended.
        One of them, or several. Raising `StopTraining` ends the run after one more measurement; any other exception
        ends it, and carries what was recorded as its attribute ``run``. They run in the thread that called `train`,
        and may call it again. See Notes.

    Returns
    -------
    Run
        Everything measured. Ctrl-C returns what there is until then, ``run.interrupted`` being true. A loss that
        becomes NaN or infinite ends the run at that step with a warning; ``run.diverged_at`` tells the step. NaN and
        infinity come through every layer as in PyTorch, in training and in measuring.

    Notes
    -----
    With a tolerance, a measurement predicts what the step did to the logits of each image from what is known of it,
    looks at some images, more of those whose prediction is in doubt, and corrects the prediction by what it saw there.
    The estimate is unbiased and comes with its own standard error: `Run.test_accuracy_error`, `Run.test_loss_error`,
    `Run.class_accuracy_error`, and `Run.images_measured` for how many images it took. It looks again, at other images,
    until that error is below the target or all images were looked at. The target is the tolerance; or a quarter of what
    the accuracy recently jumped by from one measurement to the next, as long as that is more, because a curve that
    jumps by points gains nothing from hundredths of them. Estimates lie in [0, 1] as what they estimate does;
    `Run.confusion` is that of the last complete pass.

    What measurements decide (`select`, `patience`, a plateau) they decide at complete passes alone, and the best values
    of a run are looked for there, too: among many estimates that are off by chance the best is one that is off in its
    favour, so that a choice by them would flatter itself. `patience` then counts complete passes. Pruning of sweeps
    compares what was measured at the same step, estimates among it.

    On a GPU a complete pass costs little beside the steps, so that every measurement is complete there, as it is of
    fewer than 1,000 images; a tolerance is then noted in `Run.config`, and changes nothing.

    "muon" steps the hidden weights, by the momentum made orthogonal: those of convolutions, as matrices of outputs by
    all their inputs, and of linear layers. What is left to AdamW, as its author has it, is everything that is no matrix
    (biases, batch norm) and the weight of the output layer, the last one of the network.

    Callbacks are called in the order in which they are given, after a step that was measured first ``on_evaluation`` of
    all, then ``on_step`` and the functions. In `Step` of the measurement before the first step, what belongs to a step
    is NaN. A measurement that is made because the run ends comes after the last step's ``on_step``; one of an estimate
    that is then made complete comes again. A step or measurement whose loss is not finite ends the run and is told to
    ``on_end`` alone. When one raises, those after it are not called, but every ``on_end`` is, with what there is of the
    run, whose `state` says how it ended: after Ctrl-C, a divergence and a failure, too. Raised in ``on_start``,
    `StopTraining` and other exceptions end the run after its first measurement. What ``on_end`` raises is raised once
    every other one was called, with the attribute ``run``; the run and its folder stay as they are.

    On a GPU, steps and measurements are recorded once as CUDA graphs and replayed, each in a stream of its own: the
    next step is taken while the weights of the last one are measured. Where that is not possible they run one by one;
    ``run.config["cuda"]`` and the log tell whether and why. The environment variable ``EVERYBATCH_CUDA_GRAPHS=0``
    switches graphs off. Do not run ``torch.compile(mode="reduce-overhead")`` in another thread meanwhile: when it
    records graphs of its own, torch gives up memory of cuBLAS that the recorded steps use.

    What a program sets in torch does not reach the run, whether it was set before or by a callback: grad mode,
    inference mode, autocast, default dtype and device, modes and hooks written in Python, ``torch.func``, anomaly
    detection, oneDNN switched off, a lower float32 precision on a CPU, ``set_flush_denormal``. It holds for the
    callbacks, and for the program afterwards. A run computes with the number of threads that its thread had when it
    began. Runs in several threads at a time give what they give one after the other; while any of them computes, those
    of these settings that torch keeps for the whole process (anomaly detection, oneDNN, precision) are the runs' own.
    Random numbers do not come from torch's generators on a CPU, and on a GPU these are given back as they were. In a
    process forked from one that has computed, a run computes with one thread, for those that helped it are not there.

    While steps on a CPU take blocks of 32 MiB or more (for a layer of 8.4 million parameters, or a large batch), the
    process keeps the memory that they free, where glibc would fetch it anew from the system each time; after the run it
    gives it back, but for what callbacks have taken meanwhile, and ``mallopt`` holds the thresholds that glibc comes to
    by itself. A process that was started with variables ``MALLOC_..._`` or with ``GLIBC_TUNABLES`` of malloc is left
    as it is.

    Raises
    ------
    ArgumentError
        An argument has a value that cannot work, alone or with another one. Or weights, gradients and what the layers
        give for a batch cannot fit into the memory of this machine (on a CPU; asked of Linux, elsewhere 64 GiB).
    ShapeError
        The network cannot take images of this shape; the message names the layer.
    DeviceError
        The device is not there, or lacks the precision, or cannot be made deterministic any more.
    TypeError
        An argument is of the wrong type.
    OSError
        The folder for checkpoints cannot be used, or holds other ones; or `folder` cannot, is in use, or is not
        empty. If a file cannot be written on the way, the error carries what was recorded as its attribute ``run``.

    Warns
    -----
    SelectionWarning
        The test images choose weights, length or learning rate: their accuracy then flatters.
    LogitsWarning
        The network ends in an activation that bounds its logits, such as a sigmoid or a ReLU.
    UserWarning
        Of `live`, outside of a notebook.
    RuntimeWarning
        The loss became NaN or infinite.

    Examples
    --------
    >>> import everybatch as eb
    >>> data = eb.datasets.glyphs(train=640, test=100)
    >>> run = eb.train(eb.networks.lenet5(), data, batch_size=64, epochs=1, progress=False)
    >>> run.train_loss.shape, run.test_accuracy.shape, run.class_accuracy.shape  # ten batches
    ((10,), (11,), (11, 10))

    >>> def enough(step):
    ...     if step.test_accuracy > 0.15:
    ...         raise eb.StopTraining("good enough")
    >>> eb.train(eb.networks.lenet5(), data, epochs=9, progress=False, callbacks=[enough]).state
    'stopped'
    """
    if not isinstance(network, (Network, Model)):
        hint = ": wrap the layers in eb.Network([...])" if isinstance(network, (list, tuple)) else ""
        hint = ": eb.from_torch(module) makes a model of it" if isinstance(network, torch.nn.Module) else hint
        raise TypeError(f"network must be a Network or a Model, not {type(network).__name__}{hint}")
    check_dataset(dataset)
    settings = Settings.check(dataset, **locals())  # each argument by its name
    if checkpoints is None and checkpoint_every != "epoch":
        raise ArgumentError(f"checkpoint_every is {checkpoint_every!r}, and there is no folder: give checkpoints=...")
    called = Callbacks.check(callbacks, "callbacks")
    hooks = HOOKS.get()
    if settings.selects_on_test:
        warnings.warn(selection(settings.monitor), SelectionWarning, stacklevel=2)
    bounded = bounded_logits(network if isinstance(network, Network) else network.network)
    if bounded is not None:
        warnings.warn(bounded, LogitsWarning, stacklevel=2)
    if hooks.turn is not None:
        hooks.turn.wait()
    model = beginning(network, dataset, settings.values["seed"])
    if checkpoints is not None and folder is not None:
        refuse_inside(
            checkpoints, folder, "checkpoints: {resolved} lies in folder={folder!r}, which holds a run and nothing else"
        )
    kept = None if checkpoints is None else prepare_folder(checkpoints)
    live = can_show(flag(live, "live"))
    started = datetime.now(UTC).isoformat(timespec="seconds")

    with contextlib.ExitStack() as stack:
        device = settings.values["device"]
        if device.startswith("cuda"):  # first of all, see there
            stack.enter_context(gpu_settings(device, precision, deterministic=deterministic))
        config = {
            "network": json.loads(model.network.to_json()),
            "dataset": describe_dataset(dataset),
            "training": {
                **settings.for_config(),
                "checkpoints": None if kept is None else str(kept),
                "from_model": isinstance(network, Model),
            },
            "versions": versions(),
            "hardware": hardware(device),
            "started": started,
        }
        check_config(config | {"status": {"state": "finished"}})  # now, not when there is something to lose
        data = (hooks.data or Data)(dataset, device)
        journal = None
        if folder is not None:
            journal = stack.enter_context(
                contextlib.closing(Journal(folder, keep_state_every=keep_state_every, passing=hooks.passing))
            )
        wanted = settings.for_core(checkpoints=kept is not None)
        told = {"config": config, "arrays": settings.of_run, "settings": wanted}
        return carried_out(model, data, told, kept, journal, callbacks=called, progress=progress, live=live)


def carried_out(
    model: Model,
    data: Data,
    told: Mapping[str, Any],
    kept: Path | None,
    journal: Journal | None,
    *,
    callbacks: Callbacks,
    progress: bool,
    live: bool,
) -> Run:
    """Have the core train, from the state that a journal has or from the beginning, and make the run of what it gives.

    Parameters
    ----------
    model
        With the weights that the run begins, or began, with.
    data
        The data set on the run's device.
    told
        What is known before the first step: ``config`` and ``arrays`` of the run, and ``settings`` of the core.
    kept
        The folder for checkpoints.
    journal
        The run's folder.
    callbacks, progress, live
        As of `train`.
    """
    hooks, config = HOOKS.get(), told["config"]
    training = config["training"]
    called: list[tuple[Callable[[Step], object], int]] = [(function, 1) for function in callbacks.on_step]
    if training["log_every"] is not None:
        called.append((log_step, training["log_every"]))
    called.extend(hooks.callbacks)
    state, history = (None, {}) if journal is None else (journal.state, journal.history)
    with contextlib.ExitStack() as stack:
        bar = stack.enter_context(ProgressBar(model.network.name, training["total_steps"])) if progress else None
        with contextlib.nullcontext() if journal is None else journal.begin(told, model):
            shown = stack.enter_context(beside(journal, told, history)) if live else None
            lists = {name: _tensor(array) for name, array in history.items()}
            outcome = _core.train(
                model,
                data,
                told["settings"],
                kept,
                bar,
                called,
                hooks.turn,
                shown or journal,
                state,
                lists,
                callbacks.starting(config),
                callbacks.on_evaluation,
            )
        return _ended(outcome, config, told["arrays"], callbacks, journal, shown)


def _tensor(array: npt.NDArray[Any]) -> torch.Tensor:
    """Return an array as the core takes it, which knows no unsigned numbers of two bytes."""
    return torch.from_numpy(array.view(np.int16) if array.dtype == np.uint16 else array)


def _ended(
    outcome: Outcome,
    config: Mapping[str, Any],
    of_run: Mapping[str, npt.NDArray[Any]],
    callbacks: Callbacks,
    journal: Journal | None,
    shown: Beside | None,
) -> Run:
    """Make the run of what the core gave, and tell of it."""
    message = outcome.message
    if journal is not None and outcome.state == "interrupted":
        message = how_to_go_on(journal.folder)
    later = {
        "network": json.loads(outcome.model.network.to_json()),
        "evaluation": outcome.evaluation,
        "cuda": outcome.on_device,
        "status": {
            "state": outcome.state,
            "message": message,
            "diverged_at": outcome.diverged_at,
            "model_step": outcome.model_step,
        },
    }
    run = Run({**outcome.arrays, **of_run}, {**config, **later}, outcome.model)
    if shown is not None:
        shown.run = run
    raised = outcome.raised
    try:
        if journal is not None:
            journal.end(run, outcome.model)
    finally:
        raised = callbacks.ended(run, raised)
    if raised is not None:
        _carry(raised, run)
        raise raised
    if outcome.diverged_at is not None:
        try:
            warnings.warn(_divergence(run, outcome.diverged_at), RuntimeWarning, stacklevel=4)
        except RuntimeWarning as error:  # where warnings are errors
            _carry(error, run)
            raise
    return run


def _carry(error: BaseException, run: Run) -> None:
    """Have the exception lead to what was recorded, unless it is of a kind that takes no attributes."""
    with contextlib.suppress(AttributeError, TypeError):
        error.run = run  # type: ignore[attr-defined]


def _divergence(run: Run, step: int) -> str:
    training = run.config["training"]
    told = (
        f"the loss became NaN or infinite with the weights after {step} of {training['total_steps']} steps, and the "
        f"run ended there. A smaller lr than {training['lr']:g} may help."
    )
    weights = training.get("class_weight")
    if isinstance(weights, list) and 0 in weights:
        told += " Or a batch had no image of a class whose class_weight is above 0, and no mean: give larger batches."
    return told


def selection(monitor: str) -> str:
    """What the warning says where test images decide."""
    return (
        f"{monitor} decides about this run, so that its accuracy on these test images is no estimate for new ones. "
        "Give validation=0.1 to decide by images held out of the training set."
    )
