"""The network of study C."""

from __future__ import annotations

from collections.abc import Sequence

from everybatch import _core
from everybatch._core import Network

__all__ = ["kernel_net"]


def kernel_net(
    *,
    kernel_size: int = 3,
    widths: int | Sequence[int] = (32, 64),
    hidden: int = 128,
    activation: str | Sequence[str] = "relu",
    batch_norm: bool = True,
    dropout: float = 0.0,
    in_channels: int = 1,
    num_classes: int = 10,
    input_size: int | Sequence[int] = 28,
) -> Network:
    """Build the network of study C, which compares kernel sizes.

    A 3x3 convolution, a residual block of two convolutions, another 3x3 convolution, 2x2 max pooling, and two dense
    layers. Outside the block, convolutions are not padded, and activations come before batch norm. Counting the running
    statistics of batch norm, as Keras does, it has 1,219,530 parameters, and 1,252,298 with 5x5 kernels.

    Parameters
    ----------
    kernel_size
        Of the convolutions in the block, odd.
    widths
        Channels of the first convolution and the block, and of the last convolution; or one number for both.
    hidden
        Units of the hidden dense layer.
    activation
        A name as in `resnet`, or a list that goes by position and repeats.
    batch_norm
        After each convolution and after the hidden dense layer.
    dropout
        Probability before the last layer, in [0, 1); 0 is none.
    in_channels, num_classes
        Channels of the images, and number of logits.
    input_size
        (height, width) of the images, or one number for both.

    Raises
    ------
    ArgumentError
        A name is unknown, or a number cannot work.
    ShapeError
        The images are too small; the message names the layer.
    """
    return _core.build("kernel_net", locals())
