"""`from_torch`: a model from a PyTorch module."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

import torch
from torch import nn

from everybatch._arguments import flag
from everybatch._core import Model, Network, model_of
from everybatch._names import is_text
from everybatch._plain_torch import plain_torch
from everybatch.errors import ArgumentError
from everybatch.torch_modules._checks import as_module, check_apart, check_module
from everybatch.torch_modules._follow import follow
from everybatch.torch_modules._input_shape import as_input_shape, inferred, with_channels
from everybatch.torch_modules._owner import Owner
from everybatch.torch_modules._same import check_same
from everybatch.torch_modules._tree import tree

__all__ = ["Converted", "convert", "from_torch"]


def from_torch(
    module: nn.Module,
    input_shape: Sequence[int] | None = None,
    *,
    share: bool = False,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    name: str | None = None,
) -> Model:
    """Make a model of a PyTorch module: the layers that its forward computes, and its weights.

    The module can be of any structure: nested blocks, functions in forward, loops over lists of modules, residual sums.
    Its forward is followed on batches without numbers. What it computes has to consist of the layers of everybatch; if
    it does not, the error names the place. The model gives the module's logits, and trains as the module would with the
    cross-entropy of these. A log_softmax at the end, which belongs to `torch.nn.NLLLoss`, is left out: loss,
    probabilities and classes are the same without it. The module itself stays as it is, with its mode and its random
    numbers.

    Parameters
    ----------
    module
        In float32, without hooks, and with all of its weights to be trained.
    input_shape
        (channels, height, width) of one image. Where it is not given, the layers must tell: they do if they end in a
        linear layer on flattened maps, and one shape of square images fits, or one of the usual sides 28, 32, 64, 96,
        128 and 224.
    share
        The model has the module's own tensors, so that what is done to these in place, by an optimizer for one, changes
        its logits too. Where the module gets other tensors instead, as by ``module.half()``, the model refuses to
        compute. Training it works on a copy, as always. By default the model has copies.
    mean, std
        Of pixels in [0, 1], one number for each channel: how the images were normalised that the module was trained on.
        Without them the model passes pixels in [0, 1] on as they are, until it is trained on a data set.
    name
        Of the network; by default that of the module's class.

    Returns
    -------
    Model
        Its tensors have the names of the layer tree. `eb.export.torch_module` makes a module of it again.

    Raises
    ------
    UnsupportedModuleError
        The module computes something that no layer does. The message names module, operation and what to do.
    ShapeError
        A layer cannot take images of that shape, or no image has it: images have 1, 3 or 4 channels.
    ArgumentError
        `input_shape` has to be given, `mean` and `std` do not fit, the module has no values yet, or `name` is no UTF-8.
    TypeError
        `module` is no module.

    Examples
    --------
    >>> import everybatch as eb
    >>> import torch
    >>> class Net(torch.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.conv = torch.nn.Conv2d(1, 8, 3, padding=1)
    ...         self.again = torch.nn.Conv2d(8, 8, 3, padding=1)
    ...         self.fc = torch.nn.Linear(8, 10)
    ...
    ...     def forward(self, x):
    ...         x = self.conv(x).relu()
    ...         x = (x + self.again(x)).relu()
    ...         return self.fc(x.mean((2, 3)))
    >>> model = eb.from_torch(Net(), (1, 28, 28))
    >>> [layer.kind for layer in model.network.layers]
    ['Conv2d', 'Activation', 'Residual', 'GlobalAvgPool', 'Linear']
    """
    return convert(module, input_shape, share=share, mean=mean, std=std, name=name).model


@dataclasses.dataclass(frozen=True)
class Converted:
    """A model made of a module, and where its tensors are from."""

    model: Model
    tensors: dict[str, str]
    """The names in `Model.state_dict`, and the module's."""


def convert(
    module: nn.Module,
    input_shape: Sequence[int] | None = None,
    *,
    share: bool = False,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    name: str | None = None,
    only_evaluation: bool = False,
) -> Converted:
    """Do what `from_torch` does, and tell which tensor is which.

    Parameters
    ----------
    only_evaluation
        The model is for measuring alone: frozen weights, and what training mode computes, do not matter. It then has no
        dropout.
    """
    share, module = flag(share, "share"), as_module(module)
    if name is not None and not isinstance(name, str):
        raise TypeError(f"name must be text, not {name!r}")
    if name is not None and not is_text(name):
        raise ArgumentError(f"name is {name!r}, which is not UTF-8 text: give another one")
    check_module(module, share=share, only_evaluation=only_evaluation)
    with plain_torch():
        shape = with_channels(inferred(module) if input_shape is None else as_input_shape(input_shape))
        trace = follow(module, shape, only_evaluation=only_evaluation)
        made = tree(trace)
        description = {"name": name or type(module).__name__, "input_shape": shape, "layers": made.layers}
        network = Network.from_json(json.dumps(description))
        own = {**dict(module.named_parameters()), **dict(module.named_buffers())}
        if not only_evaluation:
            check_apart(trace, own)
        state = {new: own[old] if share else _copy(own[old]) for new, old in made.tensors.items()}
        owner = Owner(module, {old: own[old] for old in made.tensors.values()}) if share else None
        model = model_of(network, state, mean, std, owner)
        check_same(module, model, log_softmax=made.log_softmax)
    return Converted(model, made.tensors)


def _copy(tensor: torch.Tensor) -> torch.Tensor:
    copy = tensor.detach().to("cpu", copy=True).contiguous()
    return copy.requires_grad_(tensor.is_floating_point() and isinstance(tensor, nn.Parameter))
