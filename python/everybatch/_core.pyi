"""The Rust core. Everything public here is re-exported by `everybatch`; import it from there."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

import numpy as np
import numpy.typing as npt
import torch
from PIL.Image import Image

from everybatch.dataset import Dataset
from everybatch.folder._records import Payload

__all__ = [
    "CHOICES",
    "DEFAULTS",
    "Activation",
    "AdaptiveAvgPool2d",
    "AvgPool2d",
    "BatchNorm1d",
    "BatchNorm2d",
    "Conv2d",
    "Data",
    "Dropout",
    "Dropout2d",
    "Estimator",
    "Evaluation",
    "Flatten",
    "Gate",
    "GlobalAvgPool",
    "GlobalMaxPool",
    "Layer",
    "Linear",
    "MaxPool2d",
    "Meter",
    "Model",
    "Network",
    "Outcome",
    "Residual",
    "SqueezeExcitation",
    "Step",
    "StochasticDepth",
    "Turn",
    "Turns",
    "__version__",
    "augment",
    "batch_indices",
    "build",
    "check_augment",
    "check_settings",
    "effects",
    "glyphs",
    "learning_rates",
    "look_at_state",
    "model_of",
    "precisions",
    "read_idx",
    "replay",
    "resolve_device",
    "train",
]

__version__: str

CHOICES: dict[str, tuple[str, ...]]
"""By option, the names that it may have; ``"state"`` is how a run may end."""

DEFAULTS: dict[str, dict[str, Any]]
"""What the core takes where nothing else is said.

``"train"``: the settings of a run; ``"optimizers"`` and ``"networks"``: the options of each; ``"adamw_lr_ratio"``:
that of Muon, by ``adjust_lr``.
"""

_Pair = int | Sequence[int]
_Picture = str | os.PathLike[str] | bytes
_Images = npt.ArrayLike | torch.Tensor | _Picture | Image | Sequence[_Picture | Image]
_Ground = int | Sequence[int]

@final
class Layer:
    """One layer of a network: plain data, made by `Conv2d(...)`, `Linear(...)` and the other layer functions."""

    @property
    def kind(self) -> str:
        """The layer's kind, such as "Conv2d"."""

    def to_json(self) -> str:
        """The layer as a JSON object."""

    @staticmethod
    def from_json(text: str) -> Layer:
        """The layer that a JSON object describes.

        Raises
        ------
        ArgumentError
            The text is not a layer, or one of its values cannot work.
        """

    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    __hash__: None  # type: ignore[assignment]

@final
class Network:
    """A network: a list of layers, and the shape of the images that it is meant for.

    Parameters
    ----------
    layers
        In forward order. The last one gives the logits, one per class.
    input_shape
        (channels, height, width) of one image.
    name
        For tables and messages.

    Raises
    ------
    ArgumentError
        A layer has a value that cannot work, there are more than 100,000 layers, or blocks lie in one another more than
        32 deep.
    ShapeError
        A layer cannot take what the one before it gives, or gives more than 2**24 numbers for one image; the message
        names the layer and its shapes.

    Examples
    --------
    >>> import everybatch as eb
    >>> net = eb.Network([eb.Flatten(), eb.Linear(784, 10)], name="softmax")
    >>> net.num_parameters, net.num_classes
    (7850, 10)
    >>> eb.Network([eb.Flatten(), eb.Linear(28, 10)])
    Traceback (most recent call last):
        ...
    everybatch.errors.ShapeError: layer 1 (Linear) of network "network" cannot take an input of shape (784,): ...
    """

    def __new__(
        cls, layers: Sequence[Layer], input_shape: Sequence[int] = (1, 28, 28), name: str = "network"
    ) -> Network: ...
    @property
    def name(self) -> str: ...
    @property
    def layers(self) -> list[Layer]:
        """The layers, in forward order."""

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one image."""

    @property
    def num_classes(self) -> int:
        """Number of logits."""

    @property
    def num_parameters(self) -> int:
        """Number of trained values; batch norm's statistics are not among them."""

    def summary(self) -> str:
        """A table of layers, output shapes and parameters (with batch norm's statistics), in the manner of Keras."""

    def to_json(self) -> str:
        """The network as a JSON object."""

    @staticmethod
    def from_json(text: str) -> Network:
        """The network that a JSON object describes.

        Raises
        ------
        ArgumentError
            The text is not a network, or one of its values cannot work.
        ShapeError
            The layers do not fit together.
        """

    def check_images(self, shape: Sequence[int], given: str = "the images have shape") -> None:
        """Refuse images of another shape (channels, height, width) than `input_shape`.

        Parameters
        ----------
        shape
            (channels, height, width) of one image.
        given
            Begins the message.

        Raises
        ------
        ShapeError
            They have another one, whether the layers would take it or not.
        """

    def initialize(
        self, seed: int = 0, *, mean: Sequence[float] | None = None, std: Sequence[float] | None = None
    ) -> Model:
        """A model with fresh weights, drawn from `seed` with PyTorch's distributions.

        Parameters
        ----------
        seed
            Of the weights.
        mean, std
            Per channel, of pixels in [0, 1]: images are normalised with them. Unless given, the model takes those of
            the data set that it is first trained on, and until then uses pixels in [0, 1] as they are.

        Raises
        ------
        ArgumentError
            The weights do not fit into memory, or a normalised pixel would not be a finite float32.
        """

    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    __hash__: None  # type: ignore[assignment]

@final
class Model:
    """A network with its weights, made by `Network.initialize` or `from_torch`, or found in `Run.model`.

    Images are given to its methods as arrays of one picture or many (whatever `Dataset` takes), as the path of a
    picture file or a Pillow picture, or as a list of these. Arrays must have the shape of the network's images, which
    also decides what is meant by the shape of an array: a model of grey images takes (H, W) for one picture and
    (N, H, W) for N of them, a model of colour images takes (H, W, C) or (C, H, W) for one. Pictures from files and
    Pillow's are turned upright, resized and turned grey or RGB as the network needs them. All are normalised as in
    training. One picture gives arrays with one row. What is see-through in a picture is laid on the argument
    `background`, a grey level or (red, green, blue) from 0 to 255; unless given, on the model's own `background`.
    """

    @property
    def network(self) -> Network: ...
    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one image, that of `network`: images of another shape are refused."""

    @property
    def classes(self) -> tuple[str, ...] | None:
        """What each logit stands for, in that order: the names of the data set that it was trained on; None before.

        Can be set, to a list of as many names as there are logits or to None, and is kept in files.
        """

    @classes.setter
    def classes(self, classes: Sequence[str] | None) -> None: ...
    @property
    def background(self) -> tuple[int, int, int] | None:
        """Red, green and blue, 0 to 255, of what see-through pictures are laid on; None (white) before training.

        It is that of the folder of pictures that the model was trained on. Can be set, also to a grey level or None,
        and is kept in files.
        """

    @background.setter
    def background(self, background: _Ground | None) -> None: ...
    @property
    def mean(self) -> list[float] | None:
        """Per-channel mean of pixels in [0, 1] that images are normalised with; None before training."""

    @property
    def std(self) -> list[float] | None:
        """Per-channel standard deviation of pixels in [0, 1] that images are normalised with; None before training."""

    def predict(self, images: _Images, *, background: _Ground | None = None) -> npt.NDArray[np.int64]:
        """The most likely class (N,) int64 of each image; ``model.classes[k]`` is the name of class ``k``.

        The first NaN among the logits counts as the greatest, as in `torch.argmax`; so it does in accuracies.
        """

    def predict_proba(self, images: _Images, *, background: _Ground | None = None) -> npt.NDArray[np.float32]:
        """Probabilities (N, classes) float32."""

    def logits(self, images: _Images, *, background: _Ground | None = None) -> npt.NDArray[np.float32]:
        """Logits (N, classes) float32."""

    def evaluate(
        self,
        data: Dataset | _Images,
        labels: npt.ArrayLike | torch.Tensor | None = None,
        *,
        precision: str = "float32",
        match_classes: str | None = None,
        background: _Ground | None = None,
    ) -> Evaluation:
        """Loss, accuracy, accuracy of each class and confusion, of the model's classes in the model's order.

        Parameters
        ----------
        data
            A data set, whose test images are measured, or images.
        labels
            With images: the class (N,) of each, as its number in the model or by its name.
        precision
            "float32" or "bfloat16", as in `train`.
        match_classes
            Which class of a data set is which of the model: "name", the one of the same name; "position", the one of
            the same number. By name unless given; where one of them has no names (classes that nobody named are called
            "0", "1", ...), by position, if no name that they share says otherwise. A class that the data lack has the
            accuracy NaN.
        background
            Of pictures among the images; see above.

        Raises
        ------
        ArgumentError
            The data set has images of a class that the model lacks, no class in common with it, or it cannot be told
            which class is which.
        ShapeError
            The images have another shape than the network takes.
        DataError
            Labels of images are wrong.
        """

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Names and torch tensors that share memory with the model, as PyTorch would name them."""

    def load_state_dict(self, state_dict: Any) -> None:
        """Copy values in, from a dict of names to tensors. Nothing is changed unless all of them fit.

        Raises
        ------
        ArgumentError
            A name is missing or unexpected.
        ShapeError
            A tensor has another shape than the model's.
        """

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write network, weights, normalisation, names of the classes and background to one safetensors file.

        The file is there whole or not at all. It replaces a model that was saved there before, and nothing else.

        Raises
        ------
        FileExistsError
            Something else is there: a file that holds no model, or a pipe or device.
        OSError
            The file cannot be written.
        """

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Model:
        """Read what `save` wrote.

        Raises
        ------
        FileNotFoundError
            There is no such file.
        FileFormatError
            The file is truncated, or was not written by `save`.
        """

    def copy(self) -> Model:
        """A model with weights of its own."""

@final
class Evaluation:
    """What `Model.evaluate` measured."""

    @property
    def loss(self) -> float:
        """Mean cross-entropy."""

    @property
    def accuracy(self) -> float:
        """Share predicted right, in [0, 1]."""

    @property
    def class_accuracy(self) -> npt.NDArray[np.float32]:
        """(classes,) share of each class predicted right; NaN for a class with no image."""

    @property
    def confusion(self) -> npt.NDArray[np.int64]:
        """(classes, classes) counts; rows are true classes, columns predicted."""

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Names of the classes in that order, which is the model's; None where nobody knows them."""

@final
class Step:
    """What a callback of `train` is given after an optimizer step, or a measurement."""

    @property
    def step(self) -> int:
        """Optimizer steps taken so far."""

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole run."""

    @property
    def epoch(self) -> int:
        """The epoch that the step belongs to, from 0."""

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of an epoch."""

    @property
    def examples(self) -> int:
        """Training images of an epoch."""

    @property
    def batch_size(self) -> int:
        """Images of a batch; the last one of an epoch may have fewer."""

    @property
    def lr(self) -> float:
        """Learning rate of the step; NaN before the first."""

    @property
    def train_loss(self) -> float:
        """Loss of the step's batch, which training makes smaller; NaN before the first step."""

    @property
    def train_accuracy(self) -> float:
        """Share of the step's batch predicted right, in [0, 1]; NaN before the first step."""

    @property
    def test_loss(self) -> float:
        """Mean cross-entropy of the test images when they were measured last, after `eval_step` steps."""

    @property
    def test_accuracy(self) -> float:
        """Share of the test images predicted right when they were measured last, in [0, 1]."""

    @property
    def test_loss_error(self) -> float:
        """Standard error of `test_loss`; 0 if all images were measured."""

    @property
    def test_accuracy_error(self) -> float:
        """Standard error of `test_accuracy`; 0 if all images were measured."""

    @property
    def images_measured(self) -> int:
        """Test images that were looked at for them."""

    @property
    def eval_step(self) -> int:
        """Optimizer steps taken before the test images were measured last."""

    @property
    def validation_loss(self) -> float | None:
        """Mean cross-entropy of the validation images at that time; None without any."""

    @property
    def validation_accuracy(self) -> float | None:
        """Share of the validation images predicted right at that time, in [0, 1]; None without any."""

    def model(self) -> Model:
        """A copy of the weights that are measured, as they are now.

        Raises
        ------
        ArgumentError
            The callback has ended: the run's weights have moved on.
        """

@final
class Data:
    """A data set on a device, for any number of runs.

    On a CPU its images are the data set's own arrays, which it keeps alive: they are not copied.

    Parameters
    ----------
    dataset
        Training and test images.
    device
        "auto", "cpu", "cuda" or "cuda:1".
    """

    def __new__(cls, dataset: Dataset, device: str) -> Data: ...
    @property
    def device(self) -> str:
        """The device, in PyTorch's words."""

@final
class Turns:
    """A circle of threads of which one at a time goes on, always in the order in which they joined."""

    def __new__(cls) -> Turns: ...
    def join(self) -> Turn:
        """A new place at the end of the circle. The first one has the turn at once; this does not wait."""

    def stop(self) -> None:
        """Tell everyone to come to an end, at their next turn."""

@final
class Turn:
    """A place in the circle of `Turns`, for one thread. Without any reference to it, the place is left.

    What waits here cannot be interrupted by Ctrl-C.
    """

    def wait(self) -> bool:
        """Block until it is this one's turn. False: come to an end, for `Turns.stop` was called."""

    def pass_on(self) -> bool:
        """Give the turn to the next one, and block until it comes back. False: come to an end, as above."""

    def leave(self) -> None:
        """Give the turn on and leave the circle. Afterwards nothing here waits."""

def Conv2d(
    in_channels: int,
    out_channels: int,
    kernel_size: _Pair,
    stride: _Pair = 1,
    padding: _Pair = 0,
    dilation: _Pair = 1,
    groups: int = 1,
    bias: bool = True,
) -> Layer:
    """2-d convolution, with PyTorch's arguments and initial weights. (C_in, H, W) -> (C_out, H', W')."""

def BatchNorm1d(num_features: int, eps: float = 1e-5, momentum: float = 0.1) -> Layer:
    """Batch normalisation of vectors, with PyTorch's running statistics. (C,) -> (C,)."""

def BatchNorm2d(num_features: int, eps: float = 1e-5, momentum: float = 0.1) -> Layer:
    """Batch normalisation of images, with PyTorch's running statistics. (C, H, W) -> (C, H, W)."""

def Activation(function: str, *, negative_slope: float | None = None) -> Layer:
    """An activation function by name, one of PyTorch's. Any shape.

    They are relu, leaky_relu, softplus, gelu, silu, tanh, sigmoid, relu6, elu, selu, mish, hardswish and hardsigmoid.
    """

def MaxPool2d(kernel_size: _Pair, stride: _Pair | None = None, padding: _Pair = 0) -> Layer:
    """Max pooling; stride is the kernel size unless given. (C, H, W) -> (C, H', W')."""

def AvgPool2d(kernel_size: _Pair, stride: _Pair | None = None, padding: _Pair = 0) -> Layer:
    """Average pooling that counts the padding; stride is the kernel size unless given. (C, H, W) -> (C, H', W')."""

def AdaptiveAvgPool2d(output_size: _Pair) -> Layer:
    """Average pooling to maps of one size, with PyTorch's windows. (C, H, W) -> (C, H', W').

    Windows overlap where the sizes do not divide each other, and repeat pixels where the map becomes larger.
    """

def GlobalAvgPool() -> Layer:
    """Mean over height and width. (C, H, W) -> (C,)."""

def GlobalMaxPool() -> Layer:
    """Maximum over height and width. (C, H, W) -> (C,)."""

def Flatten() -> Layer:
    """(C, H, W) -> (C * H * W,)."""

def Linear(in_features: int, out_features: int, bias: bool = True) -> Layer:
    """A fully connected layer, with PyTorch's initial weights. (in_features,) -> (out_features,)."""

def Dropout(p: float = 0.5) -> Layer:
    """Sets each element to zero with probability p in training. Any shape."""

def Dropout2d(p: float = 0.5) -> Layer:
    """Sets each channel to zero with probability p in training. (C, H, W) -> (C, H, W)."""

def StochasticDepth(p: float) -> Layer:
    """Sets each image to zero with probability p in training (Huang et al. 2016): ends a Residual's body. Any shape."""

def Residual(body: Sequence[Layer], shortcut: Sequence[Layer] = (), activation: str | Layer | None = None) -> Layer:
    """activation(body(x) + shortcut(x)). An empty shortcut is the identity; activation is a name, a layer or None."""

def Gate(body: Sequence[Layer]) -> Layer:
    """Multiplies its input by body(input), one number for each channel, (C,) or (C, 1, 1). (C, H, W) -> (C, H, W)."""

def SqueezeExcitation(
    channels: int,
    reduction: int = 16,
    activation: str | Layer = "relu",
    scale_activation: str | Layer = "sigmoid",
) -> Layer:
    """A gate from the channels' means through channels // reduction numbers (Hu et al. 2018). (C, H, W) -> (C, H, W).

    It is ``Gate([GlobalAvgPool(), Linear(channels, channels // reduction), Activation(activation),
    Linear(channels // reduction, channels), Activation(scale_activation)])``, and is shown and stored as that.
    """

def model_of(
    network: Network,
    state_dict: Mapping[str, torch.Tensor],
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    owner: Callable[[], str | None] | None = None,
) -> Model:
    """A model of these tensors themselves, which whoever gave them goes on to share.

    Names and shapes must be those of the network's `Model.state_dict`; on the CPU, float32 but for counters. `owner` is
    called before each use of the weights, and returns the text of an ArgumentError if they are no longer its own.

    Raises
    ------
    ArgumentError
        A name is missing or not the network's, a tensor has another dtype, or `mean` and `std` do not fit.
    ShapeError
        A tensor has a shape that is not the network's.
    """

def build(name: str, options: dict[str, Any]) -> Network:
    """The network of that name in `everybatch.networks`, with these options.

    Raises
    ------
    ArgumentError, ShapeError, TypeError
        An option cannot work, or is unknown.
    """

def read_idx(path: str | os.PathLike[str]) -> npt.NDArray[np.uint8]:
    """The array that an IDX file holds (unsigned bytes; gzip or plain), with as many dimensions as it says."""

def glyphs(count: int, seed: int, stream: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """`count` built-in digits: images (count, 28, 28) uint8 and labels (count,) int64."""

def batch_indices(examples: int, batch_size: int, seed: int, shuffle: bool, step: int) -> npt.NDArray[np.int64]:
    """The training examples (n,) int64 of optimizer step `step`, counted from 0."""

def resolve_device(name: str) -> str:
    """The device that a name stands for ("auto", "cpu", "cuda", "cuda:1"), in PyTorch's words."""

def precisions(device: str = "auto") -> tuple[str, ...]:
    """What `train` computes in on a device: "float32", "tf32" on NVIDIA GPUs, "bfloat16" with instructions for it.

    Parameters
    ----------
    device
        "auto" (the GPU if there is one), "cpu", "cuda" or "cuda:1".

    Returns
    -------
    tuple of str
        Values of the argument `precision` of `everybatch.train`.

    Raises
    ------
    ArgumentError
        No device is called so.
    DeviceError
        The device is not there.

    Examples
    --------
    >>> import everybatch as eb
    >>> precision = "bfloat16" if "bfloat16" in eb.precisions() else "float32"  # for scripts that go anywhere
    >>> "tf32" in eb.precisions("cpu")
    False
    """

def learning_rates(schedule: dict[str, Any], lr: float, steps: int, steps_per_epoch: int) -> npt.NDArray[np.float64]:
    """The learning rate (steps,) float64 of each step of a run, as far as it does not depend on measurements."""

def check_settings(settings: dict[str, Any], device: str, steps_per_epoch: int) -> None:
    """Refuse settings of `train`, of a run there with such epochs, whose values cannot work."""

def check_augment(augment: dict[str, Any]) -> None:
    """Refuse an augmentation whose numbers cannot work."""

def augment(given: _Images, augment: dict[str, Any], seed: int, step: int, strength: float) -> npt.NDArray[np.uint8]:
    """Images (N, H, W, C) uint8 as a training step would see them, if `strength` in [0, 1] is its factor."""

@final
class Estimator:
    """Measures one fixed set of images by estimate; `everybatch.train` has one of its own for each set."""

    def __new__(
        cls,
        labels: npt.NDArray[np.int64],
        classes: int,
        tolerance: float,
        complete_every: int | None = None,
        seed: int = 0,
    ) -> Estimator: ...
    def estimate(
        self, step: int, look: Callable[[npt.NDArray[np.int64]], npt.NDArray[np.float32]]
    ) -> dict[str, Any] | None:
        """Figures after `step` steps by name, from what `look` gives for the indices of images.

        None if a complete pass is due, or if estimates would have to look at most of the images.
        """

    def saw_all(self, step: int, given: npt.NDArray[np.float32]) -> dict[str, Any]:
        """Takes up the logits (images, classes) of all images after `step` steps, and gives their figures by name."""

    def target(self) -> float | None:
        """The standard error that the next estimate aims at; None where every measurement is complete."""

@final
class Meter:
    """Measures the weights of a module whose steps somebody else takes; `everybatch.Meter` is the front.

    Parameters
    ----------
    data
        On the CPU.
    settings
        Of the core's `TrainConfig`, what is about measuring and recording.
    device
        Where the module computes: the images go there.
    mean, std
        That pixels in [0, 1] are normalised by.
    chunk
        Images that a function is given at a time.
    steps_per_epoch, total
        If they are known.
    """

    def __new__(
        cls,
        data: Data,
        settings: dict[str, Any],
        device: str,
        mean: Sequence[float],
        std: Sequence[float],
        chunk: int,
        steps_per_epoch: int | None,
        total: int | None,
    ) -> Meter: ...
    def step(
        self,
        loss: float,
        accuracy: float | None = None,
        lr: float | None = None,
        batch: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> None:
        """A step was taken, on the training images at indices (n,) int64 with logits (n, classes), if these are told.

        Raises
        ------
        ArgumentError, ShapeError
            They are told at some steps alone, or are none that were trained on.
        """

    def is_due(self, last: bool) -> bool:
        """Whether there is anything to measure; for the `last` time perhaps, which is to be complete."""

    def measure(self, by: Model | Callable[[torch.Tensor], torch.Tensor], last: bool) -> None:
        """Measures what is due, by the weights of a model or a function of normalised images (n, C, H, W) to logits."""

    def evaluate(self, by: Model | Callable[[torch.Tensor], torch.Tensor], classes: tuple[str, ...]) -> Evaluation:
        """What the weights make of the test images, beside what is recorded."""

    def copied(self, model: Model) -> Model:
        """A copy that normalises pixels as they are given to the module."""

    def look(self, by: Model | Callable[[torch.Tensor], torch.Tensor], images: Sequence[int]) -> torch.Tensor:
        """Logits (n, classes) float32 of chosen test images."""

    def restart_clock(self) -> None:
        """The time until now was no step's."""

    def write_to(self, journal: Any) -> None:
        """From now on rows go to a journal, as of `train`."""

    def write(self, now: bool) -> None:
        """Have the journal write what it lacks, if there is one: now, or if it is time to."""

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Everything until now, by name."""

    @property
    def steps(self) -> int:
        """Steps taken."""

    @property
    def diverged_at(self) -> int | None:
        """Steps before a loss was not finite, if no measurement has found the weights sound since."""

    @property
    def tells_batches(self) -> bool:
        """Whether steps told of their images."""

    @property
    def newest(self) -> tuple[float, float]:
        """Loss and accuracy of the test images when they were measured last."""

    @property
    def evaluation(self) -> dict[str, Any] | None:
        """How a plan measured the test images; None if there was none."""

@final
class Outcome:
    """What `train` gives."""

    @property
    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """What was recorded, by name."""

    @property
    def model(self) -> Model:
        """With the weights that the settings select."""

    @property
    def model_step(self) -> int:
        """Steps before it had these weights."""

    @property
    def evaluation(self) -> dict[str, Any]:
        """How the test images were measured."""

    @property
    def on_device(self) -> dict[str, Any] | None:
        """How a GPU computed; None on a CPU."""

    @property
    def state(self) -> str:
        """How the run ended, one of ``CHOICES["state"]``."""

    @property
    def message(self) -> str:
        """More about it, or nothing."""

    @property
    def diverged_at(self) -> int | None:
        """Steps before the loss was not finite."""

    @property
    def raised(self) -> BaseException | None:
        """The exception that ended the run."""

def look_at_state(state: Payload, beginning: Model) -> tuple[Model, dict[str, torch.Tensor]]:
    """Return of a kept state the model that the run would have given if it had ended there; it began with `beginning`.

    And by name the arrays that it would have given of the run as a whole: the confusions at the last measurement of all
    images, if there was one, and what became of each image, if that was recorded. No more of the state is read than
    that.

    Raises
    ------
    ArgumentError, ShapeError
        It is no state, or that of another run.
    """

def replay(
    state: bytes,
    data: Data,
    recorded: npt.NDArray[np.float32],
    step: int,
    changes: Sequence[dict[str, Any]],
    later: int,
) -> dict[str, npt.NDArray[Any]]:
    """Step number `step` (from 0) of a run in several ways, and then `later` steps as the run took them.

    Parameters
    ----------
    state
        What the run kept before that step.
    recorded
        The run's training losses: those on the way must be the same.
    changes
        For each way what is different: ``without`` (places in the batch), ``lr``, ``null``.

    Returns
    -------
    dict
        Of the measured test images ``losses`` (rows, images) float32, ``predictions`` (rows, images) int64 and the mean
        ``loss`` (rows,) float64. The first row is before the step; then follow for each way one right after it, and one
        after the later steps if there are any.

    Raises
    ------
    ArgumentError
        It is not the run that it was, or a change cannot be made.
    """

def effects(
    state: bytes,
    data: Data,
    recorded: npt.NDArray[np.float32],
    steps: Sequence[int],
    classes: int,
    seen: Callable[[int], object] | None = None,
) -> dict[str, npt.NDArray[Any]]:
    """The effects of steps (n,), ascending, each minus a null step, on the measured test images.

    Parameters
    ----------
    state, recorded
        As of `replay`.
    steps
        Numbers from 0, none before the state.
    seen
        Called with the number of each step that is done.

    Returns
    -------
    dict
        ``loss``, ``loss_error``, ``before`` and ``after`` (n,) float64, ``gained`` and ``lost`` (n,) int64,
        ``class_loss`` (n, classes) float64.
    """

def train(
    model: Model,
    data: Data,
    settings: dict[str, Any],
    folder: str | os.PathLike[str] | None,
    progress: Callable[[int, float | None, float | None, float | None], object] | None,
    callbacks: Sequence[tuple[Callable[[Step], object], int]],
    turn: Turn | None = None,
    journal: Any = None,
    state: Payload | None = None,
    history: dict[str, torch.Tensor] | None = None,
    starts: Sequence[Callable[[int], object]] = ...,
    evaluations: Sequence[Callable[[Step], object]] = ...,
) -> Outcome:
    """Train a copy of `model`, with checkpoints in `folder` if the settings want them.

    Each callback comes with a number of steps, and is called after every so many; `evaluations` are called after every
    measurement, and `starts` with the steps taken, before anything else.

    The settings are those of `everybatch.train`, checked and in plain types, as ``DEFAULTS["train"]`` has them. The
    turn is passed on after every step but the last; a run that is told to end when it comes back is an interrupted one.
    `journal` is an `everybatch.folder.Journal`, or another with the same ``rows``, ``write`` and ``keep``; from a
    `state` that it kept a run of the same settings goes on; that is closed when it has been read.
    """
