"""The reference residual network and every other of its kind."""

from __future__ import annotations

from collections.abc import Sequence

from everybatch import _core
from everybatch._core import Network

__all__ = ["resnet"]


def resnet(
    *,
    stages: int | Sequence[int] = (64, 128, 256),
    blocks: int | Sequence[int] = 2,
    stem_channels: int | None = None,
    stem_kernel_size: int = 7,
    stem_stride: int = 2,
    stem_pool: bool = True,
    kernel_size: int = 3,
    activation: str | Sequence[str] = "relu",
    batch_norm: bool = True,
    block_norm: bool = False,
    shortcut: str = "projection",
    squeeze_excitation: int | None = None,
    block_dropout: float = 0.0,
    stochastic_depth: float = 0.0,
    dropout: float = 0.0,
    last_pool: str = "max",
    in_channels: int = 1,
    num_classes: int = 10,
    input_size: int | Sequence[int] = 28,
) -> Network:
    """Build a residual network of basic blocks (He et al. 2015, arXiv 1512.03385).

    The default is the reference network of 2,778,314 parameters: a 7x7 convolution of stride 2, a 3x3 max pooling of
    stride 2, three stages of two blocks, max pooling over what is left, and the logits.

    Parameters
    ----------
    stages
        Channels of each stage, or of the only one. A stage that is wider than the one before it starts with stride 2.
    blocks
        Blocks of each stage, or one number for all. A block is two convolutions with batch norm.
    stem_channels
        Channels of the first convolution; those of the first stage unless given.
    stem_kernel_size, stem_stride
        Of the first convolution. The kernel size is odd.
    stem_pool
        Whether a 3x3 max pooling of stride 2 follows the first convolution.
    kernel_size
        Of the convolutions in the blocks, odd.
    activation
        "relu", "leaky_relu", "softplus" or any other name that `Activation` knows. A list mixes them by position in
        forward order (the first convolution's, then each block's inner and outer one), and repeats when it ends.
    batch_norm
        After each convolution. Without it, the convolutions have biases.
    block_norm
        One more batch norm after every block.
    shortcut
        Where a block changes the shape: "projection" is a 1x1 convolution, "projection_bn" adds batch norm to it.
        Elsewhere the shortcut is the identity.
    squeeze_excitation
        The reduction of a squeeze-and-excitation layer at the end of each block's body, before the sum (Hu et al. 2018,
        arXiv 1709.01507; theirs is 16). None is no such layer.
    block_dropout
        Probability between the two convolutions of each block, in [0, 1); 0 is none.
    stochastic_depth
        Probability with which the last block leaves its body out for an image in training, in [0, 1); block l of L has
        l / L of it (Huang et al. 2016, see `StochasticDepth`). 0 is none.
    dropout
        Probability before the last layer, in [0, 1); 0 is none.
    last_pool
        "max" or "avg", over the whole of the last maps.
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
    return _core.build("resnet", locals())
