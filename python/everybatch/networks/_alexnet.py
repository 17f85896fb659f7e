"""AlexNet."""

from __future__ import annotations

from collections.abc import Sequence

from everybatch import _core
from everybatch._core import Network

__all__ = ["alexnet"]


def alexnet(
    *,
    widths: int | Sequence[int] = (64, 192, 384, 256, 256),
    stem_kernel_size: int = 3,
    stem_stride: int = 1,
    kernel_size: int = 3,
    hidden: int | Sequence[int] = 4096,
    activation: str | Sequence[str] = "relu",
    batch_norm: bool = False,
    dropout: float = 0.5,
    in_channels: int = 1,
    num_classes: int = 10,
    input_size: int | Sequence[int] = 28,
) -> Network:
    """Build AlexNet (Krizhevsky et al. 2012) for small images, 28,513,994 parameters.

    Five convolutions with 3x3 kernels that keep the size, 2x2 max pooling after the first, second and fifth, and three
    dense layers. The original's first convolution of 11x11 kernels and stride 4 needs 29 pixels or more.

    Parameters
    ----------
    widths
        Channels of the five convolutions, or one number for all.
    stem_kernel_size, stem_stride
        Of the first convolution. The kernel size is odd.
    kernel_size
        Of the other convolutions, odd.
    hidden
        Units of the two hidden dense layers, or one number for both.
    activation
        A name as in `resnet`, or a list that goes by position and repeats.
    batch_norm
        After each convolution.
    dropout
        Probability before each hidden dense layer, in [0, 1); 0 is none.
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
    return _core.build("alexnet", locals())
