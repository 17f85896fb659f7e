"""everybatch: train small image classifiers and see what every mini-batch does.

The Rust core trains the network and measures the whole test set after every optimizer step: loss, accuracy and the
accuracy of each class come back as NumPy arrays.

    import everybatch as eb

    data = eb.datasets.mnist()
    run = eb.train(eb.networks.lenet5(), data, epochs=1, batch_size=64)
    eb.plots.losses(run)
"""

from everybatch._torch_check import require_torch

require_torch()  # before the extension, which needs that very version and finds its libraries through it

from everybatch import datasets, estimates, export, insight, networks, plots, schedules, sweeps  # noqa: E402
from everybatch._core import Evaluation, Layer, Model, Network, Step, __version__, precisions  # noqa: E402
from everybatch.augment import Augment  # noqa: E402
from everybatch.callbacks import RunStart  # noqa: E402
from everybatch.checkpoints import evaluate_checkpoints  # noqa: E402
from everybatch.dataset import Dataset  # noqa: E402
from everybatch.errors import DataWarning, EverybatchError, SelectionWarning, StopTraining  # noqa: E402
from everybatch.layers import (  # noqa: E402
    Activation,
    AdaptiveAvgPool2d,
    AvgPool2d,
    BatchNorm1d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Dropout2d,
    Flatten,
    Gate,
    GlobalAvgPool,
    GlobalMaxPool,
    Linear,
    MaxPool2d,
    Residual,
    SqueezeExcitation,
    StochasticDepth,
)
from everybatch.lr_finder import LrFinder, find_lr  # noqa: E402
from everybatch.meter import Meter  # noqa: E402
from everybatch.resuming import resume  # noqa: E402
from everybatch.run import Run, load_run  # noqa: E402
from everybatch.sweeps import Sweep, load_sweep, sweep  # noqa: E402
from everybatch.torch_modules import from_torch  # noqa: E402
from everybatch.training import train  # noqa: E402

__all__ = [
    "Activation",
    "AdaptiveAvgPool2d",
    "Augment",
    "AvgPool2d",
    "BatchNorm1d",
    "BatchNorm2d",
    "Conv2d",
    "DataWarning",
    "Dataset",
    "Dropout",
    "Dropout2d",
    "Evaluation",
    "EverybatchError",
    "Flatten",
    "Gate",
    "GlobalAvgPool",
    "GlobalMaxPool",
    "Layer",
    "Linear",
    "LrFinder",
    "MaxPool2d",
    "Meter",
    "Model",
    "Network",
    "Residual",
    "Run",
    "RunStart",
    "SelectionWarning",
    "SqueezeExcitation",
    "Step",
    "StochasticDepth",
    "StopTraining",
    "Sweep",
    "__version__",
    "datasets",
    "estimates",
    "evaluate_checkpoints",
    "export",
    "find_lr",
    "from_torch",
    "insight",
    "load_run",
    "load_sweep",
    "networks",
    "plots",
    "precisions",
    "resume",
    "schedules",
    "sweep",
    "sweeps",
    "train",
]
