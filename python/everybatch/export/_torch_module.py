"""A model as a plain PyTorch module, built from the layer tree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from everybatch._arguments import flag
from everybatch._core import Model
from everybatch._plain_torch import plain_torch
from everybatch.export._given import as_model, description, layers_of, normalization_of, unknown_layer

__all__ = ["torch_module"]


class Residual(nn.Module):
    """activation(body(x) + shortcut(x)); an empty shortcut is the identity."""

    def __init__(self, body: nn.Module, shortcut: nn.Module, activation: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.shortcut = shortcut
        self.activation = activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Any shape that body and shortcut take, to the shape that both give."""
        result: torch.Tensor = self.activation(self.body(x) + self.shortcut(x))
        return result


class Gate(nn.Module):
    """x * body(x), where the body gives one number for each channel."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) or (N, C), to the same shape."""
        factors: torch.Tensor = self.body(x)
        while factors.dim() < x.dim():
            factors = factors.unsqueeze(-1)
        return x * factors


class StochasticDepth(nn.Module):
    """Drops whole images with probability p in training and divides the others by 1 - p: torchvision's, by rows."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Any shape that begins with the images, to the same."""
        if not self.training or self.p == 0.0:
            return x
        kept = torch.empty([x.shape[0]] + [1] * (x.dim() - 1), dtype=x.dtype, device=x.device).bernoulli_(1.0 - self.p)
        return x * kept.div_(1.0 - self.p)

    def extra_repr(self) -> str:
        """The probability."""
        return f"p={self.p}"


class FromPixels(nn.Sequential):
    """A sequence of layers that takes pixels in [0, 1] and normalises them first.

    Mean and deviation are not in the `state_dict`, whose names are then the same with and without normalisation.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, layers: list[nn.Module], mean: torch.Tensor, std: torch.Tensor) -> None:
        super().__init__(*layers)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) float32 in [0, 1] to logits (N, classes)."""
        x = (x - self.mean) / self.std
        for layer in self:
            x = layer(x)
        return x


# Their arguments have PyTorch's names in the layer tree too.
_SAME: dict[str, Callable[..., nn.Module]] = {
    kind.__name__: kind
    for kind in (
        nn.AdaptiveAvgPool2d,
        nn.AvgPool2d,
        nn.BatchNorm1d,
        nn.BatchNorm2d,
        nn.Conv2d,
        nn.Dropout,
        nn.Dropout2d,
        nn.Flatten,
        nn.Linear,
        nn.MaxPool2d,
    )
}
_ACTIVATIONS: dict[str, Callable[..., nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "softplus": nn.Softplus,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "relu6": nn.ReLU6,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "mish": nn.Mish,
    "hardswish": nn.Hardswish,
    "hardsigmoid": nn.Hardsigmoid,
}
_GLOBAL_POOLS: dict[str, Callable[..., nn.Module]] = {
    "GlobalAvgPool": nn.AdaptiveAvgPool2d,
    "GlobalMaxPool": nn.AdaptiveMaxPool2d,
}


def torch_module(model: Model, *, normalize: bool = False) -> nn.Module:
    """Return a plain PyTorch module with the weights that the model has now.

    It is an `nn.Sequential` of PyTorch's own layers, in evaluation mode and on the CPU, and shares nothing with
    `model`. PyTorch has no layers for residual blocks, gates, stochastic depth and the normalisation of pixels: for
    these the module has small ones of everybatch's. To read such a module, written by ``torch.save(module)`` or
    pickled, everybatch must be there; its `state_dict` is plain tensors, and what `eb.export.torchscript` writes needs
    nothing but PyTorch. The names in its `state_dict` are those of `Model.state_dict`. Its attributes ``classes``
    (names in the order of the logits), ``input_shape`` (channels, height, width), ``pixel_mean`` and ``pixel_std`` (of
    pixels in [0, 1], one number for each channel) are tuples, or None where the model does not know.

    Parameters
    ----------
    model
        Such as `Run.model`.
    normalize
        Take pixels as floats in [0, 1], (N, C, H, W), and normalise them as in training; by default the module takes
        images that are normalised already. A model that was never trained has no normalisation.

    Returns
    -------
    torch.nn.Module
        From images (N, C, H, W) float32 to logits (N, classes) float32.

    Raises
    ------
    ArgumentError
        The network has a layer that PyTorch has no counterpart for here.

    Examples
    --------
    >>> import everybatch as eb
    >>> import torch
    >>> model = eb.networks.lenet5().initialize(seed=0)
    >>> module = torch_module(model)
    >>> module(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """
    model, normalize = as_model(model), flag(normalize, "normalize")
    with plain_torch():
        # On the meta device layers draw no first weights, which would only take time, and random numbers from the user.
        with torch.device("meta"):
            layers = _modules(layers_of(model), "")
            module = nn.Sequential(*layers)
        weights = {name: tensor.detach().to("cpu", copy=True) for name, tensor in model.state_dict().items()}
        module.load_state_dict(weights, assign=True)
        if normalize:
            mean, std = normalization_of(model)
            module = FromPixels(layers, torch.from_numpy(mean), torch.from_numpy(std))
        for name, value in description(model).items():
            attribute = f"pixel_{name}" if name in ("mean", "std") else name
            setattr(module, attribute, None if value is None else tuple(value))
        return module.eval()


def _modules(layers: list[dict[str, Any]], prefix: str) -> list[nn.Module]:
    return [_module(layer, f"{prefix}{index}") for index, layer in enumerate(layers)]


def _module(layer: dict[str, Any], path: str) -> nn.Module:
    kind = layer["type"]
    if kind == "Residual":
        return Residual(
            nn.Sequential(*_modules(layer["body"], f"{path}.body.")),
            nn.Sequential(*_modules(layer["shortcut"], f"{path}.shortcut.")),
            nn.Identity() if layer["activation"] is None else _activation(layer["activation"], path),
        )
    if kind == "Gate":
        return Gate(nn.Sequential(*_modules(layer["body"], f"{path}.body.")))
    if kind == "Activation":
        return _activation(layer, path)
    if kind == "StochasticDepth":
        return StochasticDepth(layer["p"])
    if kind in _GLOBAL_POOLS:
        return nn.Sequential(_GLOBAL_POOLS[kind](1), nn.Flatten())
    if kind not in _SAME:
        raise unknown_layer(kind, path)
    # PyTorch repeats its arguments in summaries and error messages, where pairs are tuples.
    return _SAME[kind](**{name: tuple(v) if isinstance(v, list) else v for name, v in layer.items() if name != "type"})


def _activation(layer: dict[str, Any], path: str) -> nn.Module:
    function = layer["function"]
    if function not in _ACTIVATIONS:
        raise unknown_layer(function, path)
    return _ACTIVATIONS[function](**{name: value for name, value in layer.items() if name not in ("type", "function")})
