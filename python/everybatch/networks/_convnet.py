"""The network of study E."""

from __future__ import annotations

from collections.abc import Sequence

from everybatch import _core
from everybatch._core import Network

__all__ = ["convnet"]


def convnet(
    *,
    widths: int | Sequence[int] = (32, 128, 512),
    kernel_size: int = 3,
    hidden: int | Sequence[int] = (1024, 256),
    activation: str | Sequence[str] = "relu",
    batch_norm: bool = True,
    dropout: float = 0.0,
    in_channels: int = 1,
    num_classes: int = 10,
    input_size: int | Sequence[int] = 28,
) -> Network:
    """Build the convolutional network of study E, 26,585,098 parameters.

    Three 3x3 convolutions with batch norm that keep the size, 2x2 max pooling after the first two, and three dense
    layers.

    Parameters
    ----------
    widths
        Channels of the three convolutions, or one number for all.
    kernel_size
        Of the convolutions, odd.
    hidden
        Units of the two hidden dense layers, or one number for both.
    activation
        A name as in `resnet`, or a list that goes by position and repeats.
    batch_norm
        After each convolution.
    dropout
        Probability after each hidden dense layer, in [0, 1); 0 is none.
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
    return _core.build("convnet", locals())
