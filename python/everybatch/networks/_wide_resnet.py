"""Wide residual networks."""

from __future__ import annotations

from collections.abc import Sequence

from everybatch import _core
from everybatch._core import Network

__all__ = ["wide_resnet"]


def wide_resnet(
    *,
    depth: int = 16,
    width: int = 4,
    stem_channels: int = 16,
    kernel_size: int = 3,
    pre_activation: bool = False,
    activation: str | Sequence[str] = "relu",
    batch_norm: bool = True,
    squeeze_excitation: int | None = None,
    dropout: float = 0.0,
    stochastic_depth: float = 0.0,
    in_channels: int = 1,
    num_classes: int = 10,
    input_size: int | Sequence[int] = 28,
) -> Network:
    """Build a wide residual network (Zagoruyko & Komodakis 2016, arXiv 1605.07146).

    A narrow first convolution and three stages of basic blocks, of which the second and third start with stride 2, then
    the mean over the last maps, and the logits. WRN-16-4, the default, has 2,748,602 parameters.

    Parameters
    ----------
    depth
        6n + 4 for n blocks in each stage: 10, 16, 22, 28, ...
    width
        The three stages have `width` times 1, 2 and 4 times `stem_channels` channels.
    stem_channels
        Channels of the first convolution.
    kernel_size
        Of the convolutions, odd.
    pre_activation
        Whether batch norm and activation come before each convolution, as in the paper, instead of after it. There is
        then one more of both before the last pooling. The number of parameters is the same.
    activation
        A name as in `resnet`, or a list that goes by position and repeats.
    batch_norm
        With each activation. Without it, the convolutions have biases.
    squeeze_excitation
        The reduction of a squeeze-and-excitation layer at the end of each block's body, before the sum (Hu et al. 2018,
        arXiv 1709.01507; theirs is 16). None is no such layer.
    dropout
        Probability between the two convolutions of each block, in [0, 1); 0 is none.
    stochastic_depth
        Probability with which the last block leaves its body out for an image in training, in [0, 1); block l of L has
        l / L of it (Huang et al. 2016, see `StochasticDepth`). 0 is none.
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
    return _core.build("wide_resnet", locals())
