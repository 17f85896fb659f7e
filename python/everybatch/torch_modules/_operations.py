"""Which functions of torch are which layers.

Each reader has the arguments of its function, checks that the layer computes the same, and adds it to the recorder.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - as everyone calls it
from torch import Tensor

from everybatch.errors import UnsupportedModuleError
from everybatch.torch_modules._record import Recorder, name_of
from everybatch.torch_modules._refused import METER, refused
from everybatch.torch_modules._values import Traced, in_words

__all__ = ["read"]

Numbers = int | Sequence[int]
Reader = Callable[..., Any]

OPERATIONS: dict[Any, Reader] = {}
"""What each function of torch becomes."""


def _reads(*functions: Any) -> Callable[[Reader], Reader]:
    def register(reader: Reader) -> Reader:
        for function in functions:
            OPERATIONS[function] = reader
        return reader

    return register


def _pair(value: Numbers) -> list[int]:
    both = [value, value] if isinstance(value, int) else list(value)
    return [int(number) for number in (both * 2 if len(both) == 1 else both)]


def _map(rec: Recorder, operation: str, given: Traced) -> tuple[int, int]:
    """Return height and width."""
    if given.dim() != 4:
        raise rec.misfit(operation, f"needs images (N, channels, height, width) and is given {_shape(given)}")
    return int(given.shape[2]), int(given.shape[3])


def _shape(given: Traced) -> str:
    return in_words(given.shape[1:])


# ---- layers with weights ---------------------------------------------------------------------------------------------


@_reads(torch.conv2d)
def _conv2d(
    rec: Recorder,
    x: Traced,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Numbers = 1,
    padding: Numbers | str = 0,
    dilation: Numbers = 1,
    groups: int = 1,
) -> Traced:
    _map(rec, "conv2d", x)
    tensors = {"weight": rec.weight(weight, "weight")}
    if bias is not None:
        tensors["bias"] = rec.weight(bias, "bias")
    kernel, dilations = list(weight.shape[2:]), _pair(dilation)
    channels = weight.shape[1] * groups
    if x.shape[1] != channels:
        raise rec.misfit("conv2d", f"takes {channels} channels and is given {x.shape[1]}")
    if isinstance(padding, str):
        reach = [0, 0] if padding == "valid" else [d * (k - 1) for d, k in zip(dilations, kernel, strict=True)]
        if any(one % 2 for one in reach):
            raise refused(rec.path, "is a convolution with padding='same' and an even kernel, which pads unevenly")
        padding = [one // 2 for one in reach]
    padding = _pair(padding)
    before = rec.value_of(x)
    if before.layer.get("type") == "ZeroPad2d":  # the convolution's zeros are the same
        padding = [own + more for own, more in zip(padding, before.layer["padding"], strict=True)]
        x = Traced.of((rec.batch, *before.inputs[0].shape), before.inputs[0])
    layer = {
        "type": "Conv2d",
        "in_channels": channels,
        "out_channels": weight.shape[0],
        "kernel_size": kernel,
        "stride": _pair(stride),
        "padding": padding,
        "dilation": dilations,
        "groups": groups,
        "bias": bias is not None,
    }
    size = rec.size("conv2d", torch.conv2d, x, weight, bias, _pair(stride), padding, dilations, groups)
    return rec.layer("conv2d", x, size, layer, tensors)


@_reads(F.linear)
def _linear(rec: Recorder, x: Traced, weight: Tensor, bias: Tensor | None = None) -> Traced:
    tensors = {"weight": rec.weight(weight, "weight")}
    if bias is not None:
        tensors["bias"] = rec.weight(bias, "bias")
    outputs, inputs = weight.shape
    if x.dim() != 2 and math.prod(x.shape[1:]) == inputs:
        hint = "flatten them first: torch.nn.Sequential(torch.nn.Flatten(), module)"
        raise rec.misfit("linear", f"takes vectors of {inputs} numbers and is given {_shape(x)}; {hint}")
    if x.dim() == 2 and x.shape[1] != inputs:
        raise rec.misfit("linear", f"takes vectors of {inputs} numbers and is given {_shape(x)}")
    if x.dim() != 2:
        what = f"is a linear layer on the last axis of {_shape(x)}, and layers take whole vectors (N, {inputs})"
        raise refused(rec.path, what, f"flatten its input; {METER}")
    layer = {"type": "Linear", "in_features": inputs, "out_features": outputs, "bias": bias is not None}
    return rec.layer("linear", x, (rec.batch, outputs), layer, tensors)


@_reads(F.batch_norm)
def _batch_norm(
    rec: Recorder,
    x: Traced,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Traced:
    if running_mean is None or running_var is None:
        raise refused(
            rec.path,
            "is batch norm without running statistics (track_running_stats=False), so that what an image gives depends "
            "on the images beside it",
        )
    if training != rec.training:
        how = "takes the batch's statistics in evaluation" if training else "keeps its statistics while it trains"
        raise refused(rec.path, f"is batch norm that {how}")
    if weight is None or bias is None:
        raise refused(rec.path, "is batch norm without weight and bias (affine=False), and the layer here trains both")
    if x.dim() not in (2, 4):
        raise refused(rec.path, f"is batch norm of {_shape(x)}, neither images nor vectors")
    if x.shape[1] != len(weight):
        raise rec.misfit("batch_norm", f"takes {len(weight)} channels and is given {x.shape[1]}")
    tensors = {
        "weight": rec.weight(weight, "weight"),
        "bias": rec.weight(bias, "bias"),
        "running_mean": rec.buffer(running_mean, "mean"),
        "running_var": rec.buffer(running_var, "variance"),
    }
    counter = tensors["running_mean"].removesuffix("running_mean") + "num_batches_tracked"
    if not rec.has(counter):
        raise refused(rec.path, f"is batch norm without the counter {counter}", f"use torch.nn.BatchNorm2d; {METER}")
    tensors["num_batches_tracked"] = counter
    layer = {
        "type": "BatchNorm2d" if x.dim() == 4 else "BatchNorm1d",
        "num_features": len(weight),
        "eps": eps,
        "momentum": momentum,
    }
    return rec.layer("batch_norm", x, tuple(x.shape), layer, tensors)


# ---- activations -----------------------------------------------------------------------------------------------------


def _activation(function: str, **parameters: float) -> Callable[[Recorder, Traced, bool], Traced]:
    def add(rec: Recorder, given: Traced, inplace: bool) -> Traced:
        layer = {"type": "Activation", "function": function, **parameters}
        made = rec.layer(function, given, tuple(given.shape), layer)
        return rec.write(given, made) if inplace else made

    return add


def _simple(function: str, functions: Sequence[Any], in_place: Sequence[Any] = ()) -> None:
    """Functions without parameters."""
    add = _activation(function)

    @_reads(*functions)
    def reader(rec: Recorder, x: Traced, inplace: bool = False) -> Traced:
        return add(rec, x, inplace)

    @_reads(*in_place)
    def writer(rec: Recorder, x: Traced) -> Traced:
        return add(rec, x, True)


_simple("relu", [F.relu, torch.relu, Tensor.relu], [torch.relu_, Tensor.relu_])
_simple("tanh", [F.tanh, torch.tanh, Tensor.tanh], [torch.tanh_, Tensor.tanh_])
_simple("sigmoid", [F.sigmoid, torch.sigmoid, Tensor.sigmoid], [torch.sigmoid_, Tensor.sigmoid_])
_simple("silu", [F.silu])
_simple("mish", [F.mish])
_simple("relu6", [F.relu6])
_simple("selu", [F.selu, torch.selu], [torch.selu_])
_simple("hardswish", [F.hardswish])
_simple("hardsigmoid", [F.hardsigmoid])


@_reads(F.leaky_relu)
def _leaky_relu(rec: Recorder, x: Traced, negative_slope: float = 0.01, inplace: bool = False) -> Traced:
    return _activation("leaky_relu", negative_slope=float(negative_slope))(rec, x, inplace)


@_reads(F.gelu)
def _gelu(rec: Recorder, x: Traced, approximate: str = "none") -> Traced:
    if approximate != "none":
        raise refused(rec.path, f"is GELU with approximate={approximate!r}, and the layer is the exact one")
    return _activation("gelu")(rec, x, False)


@_reads(F.softplus)
def _softplus(rec: Recorder, x: Traced, beta: float = 1, threshold: float = 20) -> Traced:
    if (beta, threshold) != (1, 20):
        raise refused(rec.path, f"is Softplus with beta={beta} and threshold={threshold}, and the layer has 1 and 20")
    return _activation("softplus")(rec, x, False)


@_reads(F.elu)
def _elu(rec: Recorder, x: Traced, alpha: float = 1.0, inplace: bool = False) -> Traced:
    if alpha != 1:
        raise refused(rec.path, f"is ELU with alpha={alpha}, and the layer has alpha 1")
    return _activation("elu")(rec, x, inplace)


@_reads(F.hardtanh)
def _hardtanh(rec: Recorder, x: Traced, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Traced:
    if (min_val, max_val) != (0, 6):
        raise refused(rec.path, f"is Hardtanh from {min_val} to {max_val}, and of these only ReLU6 is a layer")
    return _activation("relu6")(rec, x, inplace)


# ---- pooling ---------------------------------------------------------------------------------------------------------


def _pool(rec: Recorder, kind: str, given: Traced, kernel: Numbers, stride: Numbers, padding: Numbers) -> Traced:
    operation = "max_pool2d" if kind == "MaxPool2d" else "avg_pool2d"
    _map(rec, operation, given)
    layer = {"type": kind, "kernel_size": _pair(kernel), "stride": _pair(stride), "padding": _pair(padding)}
    function = F.max_pool2d if kind == "MaxPool2d" else F.avg_pool2d
    size = rec.size(operation, function, given, _pair(kernel), _pair(stride), _pair(padding))
    return rec.layer(operation, given, size, layer)


def _check_ceil(rec: Recorder, given: Traced, *arguments: list[int]) -> None:
    """Refuse ceil_mode where it gives another map."""
    floor, ceil = (rec.size("max_pool2d", F.max_pool2d, given, *arguments, ceil_mode=ceil) for ceil in (False, True))
    if floor != ceil:
        what = f"pools with ceil_mode=True, which gives {ceil[2]}x{ceil[3]} pixels here and not {floor[2]}x{floor[3]}"
        raise refused(rec.path, what, f"leave ceil_mode out, or take images of a size that divides; {METER}")


@_reads(F.max_pool2d, torch.max_pool2d)
def _max_pool2d(
    rec: Recorder,
    x: Traced,
    kernel_size: Numbers,
    stride: Numbers | None = None,
    padding: Numbers = 0,
    dilation: Numbers = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Traced:
    if return_indices or _pair(dilation) != [1, 1]:
        raise refused(rec.path, "is max pooling with dilation or with indices")
    stride = stride or kernel_size
    _map(rec, "max_pool2d", x)
    if ceil_mode:
        _check_ceil(rec, x, _pair(kernel_size), _pair(stride), _pair(padding))
    return _pool(rec, "MaxPool2d", x, kernel_size, stride, padding)


@_reads(F.avg_pool2d)
def _avg_pool2d(
    rec: Recorder,
    x: Traced,
    kernel_size: Numbers,
    stride: Numbers | None = None,
    padding: Numbers = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Traced:
    stride = stride or kernel_size
    _map(rec, "avg_pool2d", x)
    if divisor_override not in (None, math.prod(_pair(kernel_size))):
        raise refused(rec.path, "is average pooling with divisor_override")
    if not count_include_pad and _pair(padding) != [0, 0]:
        what = (
            "is average pooling with padding that does not count it (count_include_pad=False), and the layer counts it"
        )
        raise refused(rec.path, what)
    if ceil_mode:
        _check_ceil(rec, x, _pair(kernel_size), _pair(stride), _pair(padding))
    return _pool(rec, "AvgPool2d", x, kernel_size, stride, padding)


def _adaptive(rec: Recorder, given: Traced, output_size: Any, kind: str) -> Traced:
    operation = "adaptive_avg_pool2d" if kind == "AvgPool2d" else "adaptive_max_pool2d"
    size = list(_map(rec, operation, given))
    both = (output_size, output_size) if isinstance(output_size, int) else tuple(output_size)
    wanted = [there if asked is None else asked for asked, there in zip(both, size, strict=True)]
    if wanted == size:
        return Traced.of(tuple(given.shape), rec.value_of(given))
    if all(there % asked == 0 for asked, there in zip(wanted, size, strict=True)):
        kernel = [there // asked for asked, there in zip(wanted, size, strict=True)]
        return _pool(rec, kind, given, kernel, kernel, 0)
    if kind == "MaxPool2d":
        what = (
            f"is adaptive max pooling of {size[0]}x{size[1]} to {wanted[0]}x{wanted[1]} pixels, in windows that overlap"
        )
        raise refused(rec.path, what)
    layer = {"type": "AdaptiveAvgPool2d", "output_size": wanted}
    return rec.layer(operation, given, (rec.batch, int(given.shape[1]), *wanted), layer)


@_reads(F.adaptive_avg_pool2d)
def _adaptive_avg_pool2d(rec: Recorder, x: Traced, output_size: Any) -> Traced:
    return _adaptive(rec, x, output_size, "AvgPool2d")


@_reads(F.adaptive_max_pool2d)
def _adaptive_max_pool2d(rec: Recorder, x: Traced, output_size: Any, return_indices: bool = False) -> Traced:
    if return_indices:
        raise refused(rec.path, "is max pooling with indices")
    return _adaptive(rec, x, output_size, "MaxPool2d")


@_reads(torch.mean, Tensor.mean)
def _mean(rec: Recorder, x: Traced, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Traced:
    axes = [] if dim is None else [dim] if isinstance(dim, int) else list(dim)
    if x.dim() == 3 and len(rec.value_of(x).shape) > 1 and axes in ([2], [-1]) and dtype in (None, torch.float32):
        made = rec.layer("mean", x, tuple(x.shape[:2]), {"type": "GlobalAvgPool"})
        return Traced.of((*made.shape, 1), made.value) if keepdim else made
    if x.dim() != 4 or sorted(axis % 4 for axis in axes) != [2, 3] or dtype not in (None, torch.float32):
        what = f"takes a mean over the axes {dim} of {_shape(x)}, and only that over height and width is a layer"
        raise refused(rec.path, what, f"write x.mean((2, 3)); {METER}")
    if keepdim:
        size = _map(rec, "mean", x)
        return _pool(rec, "AvgPool2d", x, size, size, 0)
    return rec.layer("mean", x, tuple(x.shape[:2]), {"type": "GlobalAvgPool"})


# ---- shapes ----------------------------------------------------------------------------------------------------------


def _reshape(function: Callable[..., Any], rec: Recorder, x: Traced, *args: Any, **kwargs: Any) -> Traced:
    name = name_of(function)
    features = math.prod(x.shape[1:])
    try:
        size = rec.reshaped(function, x, *args, **kwargs)
    except (RuntimeError, IndexError) as error:
        said = str(error).strip().splitlines()[0]
        what = f"does not fit {rec.batch} images of {features} numbers each: {said}"
        raise rec.misfit(name, what) from error
    if size == tuple(x.shape):
        return rec.view(x, size)
    if size[:1] != (rec.batch,):
        what = f"makes ({', '.join(map(str, size))}) of {rec.batch} images of {features} numbers each by {name}"
        raise refused(rec.path, what, "keep the batch as the first axis, as torch.flatten(x, 1) does")
    if x.dim() == 4 and size == (rec.batch, int(x.shape[1]), math.prod(x.shape[2:])) and size[2] > 1:
        return rec.view(x, size)  # pixels in a row, which a mean over them or a flatten does not mind
    flat = len(rec.value_of(x).shape) == 1
    if flat and size == (rec.batch, features, 1, 1):  # as a map is multiplied by it
        return rec.view(x, size, rec.layer(name, x, size, {"type": "OnePixel"}))
    if size[1:2] != (features,) or len(size) > 3:
        shape = ", ".join(map(str, size[1:]))
        what = f"makes (N, {shape}) of {_shape(x)} by {name}, and the only change of shape is flatten"
        raise refused(rec.path, what)
    if flat:
        return rec.view(x, size)
    made = rec.layer(name, x, (rec.batch, features), {"type": "Flatten"})
    return rec.view(x, size, made)


for _function in (
    torch.flatten,
    Tensor.flatten,
    Tensor.view,
    Tensor.reshape,
    torch.reshape,
    torch.squeeze,
    Tensor.squeeze,
    torch.unsqueeze,
    Tensor.unsqueeze,
):
    OPERATIONS[_function] = functools.partial(_reshape, _function)


@_reads(Tensor.__getitem__)
def _getitem(rec: Recorder, x: Traced, index: Any) -> Traced:
    parts = [part for part in (index if isinstance(index, tuple) else (index,)) if part is not None]
    full = [part is Ellipsis or (isinstance(part, slice) and part == slice(None)) for part in parts]
    pixel = full == [True, True, False, False] and tuple(x.shape[2:]) == (1, 1)
    if not all(full) and not (pixel and all(isinstance(part, int) for part in parts[2:])):
        raise refused(rec.path, "takes a part of a tensor by its index")
    return _reshape(Tensor.__getitem__, rec, x, index)


def _expand(function: Callable[..., Any], rec: Recorder, x: Traced, *args: Any, **kwargs: Any) -> Traced:
    name = name_of(function)
    try:
        size = rec.reshaped(function, x, *args, **kwargs)
    except RuntimeError as error:
        said = str(error).strip().splitlines()[0]
        raise rec.misfit(name, f"cannot take what it is given: {said}") from error
    if size == tuple(x.shape):
        return rec.view(x, size)
    if x.dim() != 4 or size[:2] != tuple(x.shape[:2]) or tuple(x.shape[2:]) != (1, 1):
        shape = ", ".join(map(str, size[1:]))
        what = f"makes (N, {shape}) of {_shape(x)} by {name}, and only what is multiplied with a map is spread over it"
        raise refused(rec.path, what)
    return rec.view(x, size, rec.layer(name, x, size, {"type": "Expand"}))


OPERATIONS[Tensor.expand] = functools.partial(_expand, Tensor.expand)
OPERATIONS[Tensor.expand_as] = functools.partial(_expand, Tensor.expand_as)


@_reads(Tensor.contiguous)
def _same(rec: Recorder, x: Traced, **_: Any) -> Traced:
    return rec.view(x)


@_reads(Tensor.clone, torch.clone)
def _clone(rec: Recorder, x: Traced, **_: Any) -> Traced:
    return Traced.of(tuple(x.shape), rec.value_of(x))


@_reads(Tensor.to, Tensor.float, Tensor.cpu, Tensor.cuda)
def _to(rec: Recorder, x: Traced, *args: Any, **kwargs: Any) -> Traced:
    for given in (*args, *kwargs.values()):
        dtype = given.dtype if isinstance(given, Tensor) else given
        if isinstance(dtype, torch.dtype) and dtype != torch.float32:
            raise refused(rec.path, f"changes the number format to {dtype}", "precision= sets it in everybatch")
    return rec.view(x)


@_reads(F.pad)
def _pad(rec: Recorder, x: Traced, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Traced:
    height, width = _map(rec, "pad", x)
    left, right, top, bottom = pad if len(pad) == 4 else (0, 1, 0, 0)
    if mode != "constant" or value not in (None, 0) or left != right or top != bottom or min(left, top) < 0:
        raise refused(
            rec.path,
            f"pads by {tuple(pad)} in mode {mode!r} (torch's pad), and convolutions pad with zeros, alike at both ends",
        )
    size = (rec.batch, int(x.shape[1]), height + 2 * top, width + 2 * left)
    return rec.layer("pad", x, size, {"type": "ZeroPad2d", "padding": [top, left]})


@_reads(Tensor.__repr__, Tensor.__format__)
def _text(rec: Recorder, x: Traced, *_: Any, **__: Any) -> str:  # noqa: ARG001 - of what is printed in forward
    return f"<tensor {_shape(x)}>"


# ---- dropout, sums, products, ends -----------------------------------------------------------------------------------


def _drop(rec: Recorder, kind: str, given: Traced, p: float, training: bool, inplace: bool) -> Traced:
    if training and not rec.training:
        what = "drops in evaluation mode too: F.dropout needs training=self.training"
        raise refused(rec.path, what, f"give it that, or use torch.nn.Dropout; {METER}")
    if not training or p == 0:
        return rec.view(given)
    if kind == "Dropout2d" and given.dim() != 4:
        raise refused(rec.path, f"is dropout of channels on {_shape(given)}, which has no pixels")
    made = rec.layer(kind.lower(), given, tuple(given.shape), {"type": kind, "p": float(p)})
    return rec.write(given, made) if inplace else made


@_reads(F.dropout)
def _dropout(rec: Recorder, x: Traced, p: float = 0.5, training: bool = True, inplace: bool = False) -> Traced:
    return _drop(rec, "Dropout", x, p, training, inplace)


@_reads(F.dropout2d)
def _dropout2d(rec: Recorder, x: Traced, p: float = 0.5, training: bool = True, inplace: bool = False) -> Traced:
    return _drop(rec, "Dropout2d", x, p, training, inplace)


def _sum(rec: Recorder, one: Any, other: Any, alpha: float) -> Traced:
    if isinstance(one, Traced) and isinstance(other, (int, float)) and other == 0:
        return Traced.of(tuple(one.shape), rec.value_of(one))  # as sum() begins with
    if not isinstance(one, Traced) or not isinstance(other, Traced):
        raise refused(rec.path, "adds a constant or a tensor of its own to what a layer gives")
    if alpha != 1:
        raise refused(rec.path, f"adds a value times {alpha}")
    return rec.sum("add", one, other)


@_reads(torch.add, Tensor.add)
def _add(rec: Recorder, x: Any, other: Any, *, alpha: float = 1) -> Traced:
    return _sum(rec, x, other, alpha)


@_reads(Tensor.add_)
def _add_(rec: Recorder, x: Any, other: Any, *, alpha: float = 1) -> Traced:
    made = _sum(rec, x, other, alpha)
    return rec.write(x, made)


def _product(rec: Recorder, one: Any, other: Any) -> Traced:
    if not isinstance(one, Traced) or not isinstance(other, Traced):
        what = (
            "multiplies what a layer gives by a constant or a tensor of its own, as scaled residuals do (torch's mul)"
        )
        raise refused(rec.path, what)
    return rec.product("mul", one, other)


@_reads(torch.mul, Tensor.mul, torch.multiply, Tensor.multiply)
def _mul(rec: Recorder, x: Any, other: Any) -> Traced:
    return _product(rec, x, other)


@_reads(Tensor.mul_, Tensor.multiply_)
def _mul_(rec: Recorder, x: Any, other: Any) -> Traced:
    made = _product(rec, x, other)
    if made.shape != x.shape:
        raise rec.misfit("mul_", f"cannot write {_shape(made)} over {_shape(x)}")
    return rec.write(x, made)


@_reads(F.log_softmax, torch.log_softmax, Tensor.log_softmax)
def _log_softmax(rec: Recorder, x: Traced, dim: int | None = None, *_: Any, **__: Any) -> Traced:
    if x.dim() != 2 or dim not in (None, 1, -1):
        raise refused(rec.path, f"is log_softmax over axis {dim} of {_shape(x)}, and not over the classes of logits")
    return rec.layer("log_softmax", x, tuple(x.shape), {"type": "LogSoftmax"})


# ---- the rest --------------------------------------------------------------------------------------------------------

LOOKS = frozenset(
    [
        *(
            getattr(Tensor, name).__get__
            for name in ("shape", "dtype", "device", "ndim", "is_cuda", "is_cpu", "layout", "requires_grad", "is_meta")
        ),
        *(
            getattr(Tensor, name)
            for name in ("size", "dim", "ndimension", "numel", "nelement", "stride", "is_contiguous", "element_size")
        ),
        Tensor.is_floating_point,
        torch.is_floating_point,
        torch.numel,
        Tensor.__len__,
        Tensor.get_device,
    ]
)
"""What only looks at a tensor's shape or kind."""

_SOFTMAX = (
    "ends in or contains a softmax: the loss here is the cross-entropy of logits, which includes it, and is another "
    "one than that of probabilities"
)
_NUMBERS = "decides or computes in Python by the numbers of a batch"
_WHAT = {
    "softmax": _SOFTMAX,
    "cat": "concatenates values, as DenseNet and Inception do",
    "concat": "concatenates values, as DenseNet and Inception do",
    "detach": "stops gradients with detach",
    "data": "takes .data, which stops gradients",
    "sub": "subtracts from what a layer gives",
    "div": "divides what a layer gives",
    "clamp": "clamps, whose gradient at the bounds is not that of an activation",
    "item": _NUMBERS,
    "__bool__": _NUMBERS,
    "__float__": _NUMBERS,
    "__int__": _NUMBERS,
    "tolist": _NUMBERS,
    "numpy": _NUMBERS,
    "half": "changes the number format",
    "double": "changes the number format",
    "bfloat16": "changes the number format",
    "prelu": "is PReLU, whose slope is trained",
    "group_norm": "is group norm",
    "layer_norm": "is layer norm",
    "instance_norm": "is instance norm",
}
_DO = {
    "softmax": f"leave it out, so that the module gives logits; {METER}",
    "sub": f"if it normalises pixels, take that out of forward and give from_torch mean= and std=; {METER}",
    "div": f"if it normalises pixels, take that out of forward and give from_torch mean= and std=; {METER}",
    "clamp": f"write F.relu or F.relu6; {METER}",
}


def read(rec: Recorder, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Make of a function on the traced batch what it becomes.

    Raises
    ------
    UnsupportedModuleError
        It is no layer.
    """
    if func in LOOKS:
        with torch._C.DisableTorchFunction():
            return func(*args, **kwargs)
    if func not in OPERATIONS:
        raise _unknown(rec, func)
    if rec.training and not torch.is_grad_enabled():
        raise refused(rec.path, "computes without gradients in training, within torch.no_grad()")
    if torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda"):
        raise refused(rec.path, "computes within torch.autocast", "leave that out: precision= sets it in everybatch")
    try:
        return OPERATIONS[func](rec, *args, **kwargs)
    except TypeError as error:
        raise refused(rec.path, f"calls {name_of(func)} in a way that is not known ({error})") from error


def _unknown(rec: Recorder, func: Any) -> UnsupportedModuleError:
    """Return the error for a function that is no layer."""
    name = name_of(func)
    what = _WHAT.get(name, f"calls {name}, which no layer computes")
    return refused(rec.path, f"{what} (torch's {name})" if name in _WHAT else what, _DO.get(name, METER))
