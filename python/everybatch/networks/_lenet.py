"""LeNet-5."""

from __future__ import annotations

from collections.abc import Sequence

from everybatch import _core
from everybatch._core import Network

__all__ = ["lenet5"]


def lenet5(
    *,
    activation: str | Sequence[str] = "relu",
    batch_norm: bool = True,
    pool: str = "max",
    dropout: float = 0.0,
    in_channels: int = 1,
    num_classes: int = 10,
    input_size: int | Sequence[int] = 28,
) -> Network:
    """Build LeNet-5 (LeCun et al. 1998) for 28x28 images, 61,990 parameters.

    Convolutions of 6, 16 and 120 channels with 5x5 kernels, the first padded by 2, then 84 units and the logits.

    Parameters
    ----------
    activation
        A name as in `resnet`, or a list that goes by position and repeats.
    batch_norm
        After each convolution. Without it there are 61,706 parameters.
    pool
        "max" or "avg" (the original's).
    dropout
        Probability before the last layer, in [0, 1); 0 is none.
    in_channels, num_classes
        Channels of the images, and number of logits.
    input_size
        (height, width) of the images, or one number for both; 28 to 31 fit.

    Raises
    ------
    ArgumentError
        A name is unknown, or a number cannot work.
    ShapeError
        The images do not fit; the message names the layer.
    """
    return _core.build("lenet5", locals())
