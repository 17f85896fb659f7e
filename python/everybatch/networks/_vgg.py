"""VGG networks."""

from __future__ import annotations

from collections.abc import Sequence

from everybatch import _core
from everybatch._core import Network

__all__ = ["vgg11", "vgg13"]


def vgg11(
    *,
    widths: int | Sequence[int] = (64, 128, 256, 512, 512),
    pools: int = 2,
    kernel_size: int = 3,
    hidden: int | Sequence[int] = 4096,
    activation: str | Sequence[str] = "relu",
    batch_norm: bool = False,
    dropout: float = 0.5,
    in_channels: int = 1,
    num_classes: int = 10,
    input_size: int | Sequence[int] = 28,
) -> Network:
    """Build VGG-11 (Simonyan & Zisserman 2014, arXiv 1409.1556) for small images, 128,806,154 parameters.

    Eight 3x3 convolutions in five stages and three dense layers. Only the first two stages end in a max pooling: thus
    28x28 images reach the dense layers as the 7x7 maps that the original has there. The original for 224x224 images is
    `pools=5, in_channels=3, input_size=224`.

    Parameters
    ----------
    widths
        Channels of the five stages, or one number for all.
    pools
        A 2x2 max pooling ends each of so many first stages, 0 to 5.
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
    return _core.build("vgg11", locals())


def vgg13(
    *,
    widths: int | Sequence[int] = (64, 128, 256, 512, 512),
    pools: int = 2,
    kernel_size: int = 3,
    hidden: int | Sequence[int] = 4096,
    activation: str | Sequence[str] = "relu",
    batch_norm: bool = False,
    dropout: float = 0.5,
    in_channels: int = 1,
    num_classes: int = 10,
    input_size: int | Sequence[int] = 28,
) -> Network:
    """Build VGG-13 (Simonyan & Zisserman 2014, arXiv 1409.1556) for small images, 128,990,666 parameters.

    As `vgg11`, with two convolutions in each of the five stages.

    Parameters
    ----------
    widths
        Channels of the five stages, or one number for all.
    pools
        A 2x2 max pooling ends each of so many first stages, 0 to 5.
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
    return _core.build("vgg13", locals())
