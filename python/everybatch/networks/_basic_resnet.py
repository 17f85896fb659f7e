"""Residual networks of four stages."""

from __future__ import annotations

from collections.abc import Sequence

from everybatch import _core
from everybatch._core import Network

__all__ = ["deep_resnet", "resnet18", "resnet34"]


def resnet18(
    *,
    widths: int | Sequence[int] = (64, 128, 256, 512),
    stem_kernel_size: int = 3,
    stem_stride: int = 1,
    stem_pool: bool = False,
    kernel_size: int = 3,
    activation: str | Sequence[str] = "relu",
    batch_norm: bool = True,
    block_norm: bool = False,
    squeeze_excitation: int | None = None,
    stochastic_depth: float = 0.0,
    dropout: float = 0.0,
    in_channels: int = 1,
    num_classes: int = 10,
    input_size: int | Sequence[int] = 28,
) -> Network:
    """Build ResNet-18 (He et al. 2015, arXiv 1512.03385) for small images, 11,172,810 parameters.

    The first convolution has 3x3 kernels and stride 1, and no pooling follows it. Four stages of two blocks each, with
    batch norm in the projections, then the mean over the last maps, and the logits. With `in_channels=3`,
    `stem_kernel_size=7`, `stem_stride=2` and `stem_pool=True` it is the original for 224x224 images.

    Parameters
    ----------
    widths
        Channels of the four stages, or one number for all.
    stem_kernel_size, stem_stride
        Of the first convolution. The kernel size is odd.
    stem_pool
        Whether a 3x3 max pooling of stride 2 follows the first convolution.
    kernel_size
        Of the convolutions in the blocks, odd.
    activation
        A name as in `resnet`, or a list that goes by position and repeats.
    batch_norm
        After each convolution. Without it, the convolutions have biases.
    block_norm
        One more batch norm after every block.
    squeeze_excitation
        The reduction of a squeeze-and-excitation layer at the end of each block's body, before the sum (Hu et al. 2018,
        arXiv 1709.01507; theirs is 16). None is no such layer.
    stochastic_depth
        Probability with which the last block leaves its body out for an image in training, in [0, 1); block l of L has
        l / L of it (Huang et al. 2016, see `StochasticDepth`). 0 is none.
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
    return _core.build("resnet18", locals())


def resnet34(
    *,
    widths: int | Sequence[int] = (64, 128, 256, 512),
    stem_kernel_size: int = 3,
    stem_stride: int = 1,
    stem_pool: bool = False,
    kernel_size: int = 3,
    activation: str | Sequence[str] = "relu",
    batch_norm: bool = True,
    block_norm: bool = False,
    squeeze_excitation: int | None = None,
    stochastic_depth: float = 0.0,
    dropout: float = 0.0,
    in_channels: int = 1,
    num_classes: int = 10,
    input_size: int | Sequence[int] = 28,
) -> Network:
    """Build ResNet-34 (He et al. 2015, arXiv 1512.03385) for small images, 21,280,970 parameters.

    As `resnet18`, with 3, 4, 6 and 3 blocks in the four stages.

    Parameters
    ----------
    widths
        Channels of the four stages, or one number for all.
    stem_kernel_size, stem_stride
        Of the first convolution. The kernel size is odd.
    stem_pool
        Whether a 3x3 max pooling of stride 2 follows the first convolution.
    kernel_size
        Of the convolutions in the blocks, odd.
    activation
        A name as in `resnet`, or a list that goes by position and repeats.
    batch_norm
        After each convolution. Without it, the convolutions have biases.
    block_norm
        One more batch norm after every block.
    squeeze_excitation
        The reduction of a squeeze-and-excitation layer at the end of each block's body, before the sum (Hu et al. 2018,
        arXiv 1709.01507; theirs is 16). None is no such layer.
    stochastic_depth
        Probability with which the last block leaves its body out for an image in training, in [0, 1); block l of L has
        l / L of it (Huang et al. 2016, see `StochasticDepth`). 0 is none.
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
    return _core.build("resnet34", locals())


def deep_resnet(
    *,
    widths: int | Sequence[int] = (64, 128, 256, 512),
    stem_kernel_size: int = 3,
    stem_stride: int = 1,
    stem_pool: bool = True,
    kernel_size: int = 3,
    activation: str | Sequence[str] = "leaky_relu",
    batch_norm: bool = True,
    block_norm: bool = False,
    squeeze_excitation: int | None = None,
    stochastic_depth: float = 0.0,
    dropout: float = 0.3,
    in_channels: int = 1,
    num_classes: int = 10,
    input_size: int | Sequence[int] = 28,
) -> Network:
    """Build the deep residual network of study B, 21,280,970 parameters.

    ResNet-34 with a 3x3 first convolution of stride 1 and a max pooling after it, leaky ReLU of slope 0.01, and dropout
    before the last layer. The study's variants are `block_norm=True`, `stem_kernel_size=7` and `dropout=0`.

    Parameters
    ----------
    widths
        Channels of the four stages, or one number for all.
    stem_kernel_size, stem_stride
        Of the first convolution. The kernel size is odd.
    stem_pool
        Whether a 3x3 max pooling of stride 2 follows the first convolution.
    kernel_size
        Of the convolutions in the blocks, odd.
    activation
        A name as in `resnet`, or a list that goes by position and repeats.
    batch_norm
        After each convolution. Without it, the convolutions have biases.
    block_norm
        One more batch norm after every block.
    squeeze_excitation
        The reduction of a squeeze-and-excitation layer at the end of each block's body, before the sum (Hu et al. 2018,
        arXiv 1709.01507; theirs is 16). None is no such layer.
    stochastic_depth
        Probability with which the last block leaves its body out for an image in training, in [0, 1); block l of L has
        l / L of it (Huang et al. 2016, see `StochasticDepth`). 0 is none.
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
    return _core.build("deep_resnet", locals())
