"""What sees every function that a forward pass calls, and the values that are made of them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from everybatch._core import Layer
from everybatch.errors import ArgumentError, EverybatchError, ShapeError
from everybatch.torch_modules._dropped_images import dropped_images
from everybatch.torch_modules._refused import METER, refused
from everybatch.torch_modules._stand_in import stand_in
from everybatch.torch_modules._values import Size, Traced, Value, in_words

__all__ = ["Recorder", "name_of"]

_HOOKING = "register_hook", "register_post_accumulate_grad_hook"

Read = Callable[["Recorder", Any, tuple[Any, ...], dict[str, Any]], Any]


class Recorder(TorchFunctionMode):
    """Sees every function of torch that forward calls.

    Those on the traced batch are given to `read`, which makes values of them; all others run, unless they would change
    the module.
    """

    def __init__(
        self,
        module: nn.Module,
        input_shape: Size,
        batch: int,
        read: Read,
        *,
        training: bool,
        frozen_is_fine: bool,
    ) -> None:
        super().__init__()
        self.input_shape, self.batch, self.training = input_shape, batch, training
        self.frozen_is_fine = frozen_is_fine
        self._read = read
        self._module = module
        self.values: list[Value] = []
        self.problem: EverybatchError | None = None
        self.where = ""
        self._paths = [""]
        self._names: dict[int, str] = {}
        for found in (module.named_parameters(remove_duplicate=False), module.named_buffers(remove_duplicate=False)):
            for name, tensor in found:
                self._names.setdefault(id(tensor), name)
        self._tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
        self._used: dict[str, Value] = {}

    # ---- the pass ------------------------------------------------------------------------------------------------

    def run(self, module: nn.Module) -> object:
        """Call forward on a stand-in of the module."""
        twin = stand_in(module, self._entering)
        twin.train(self.training)
        value = Value("input", self.input_shape)
        self.values.append(value)
        batch = Traced.of((self.batch, *self.input_shape), value)
        with self:
            return twin(batch)

    def finished(self, output: object) -> Value:
        """Check what forward returned: logits."""
        if isinstance(output, (tuple, list, dict)):
            raise refused("", f"returns a {type(output).__name__} of several results, and not its logits alone")
        if not isinstance(output, Traced):
            raise refused("", f"returns a {type(output).__name__} that was not computed from the images by its layers")
        value = self.value_of(output)
        if output.dim() != 2:
            do = "End it with a flatten or a global pooling and one logit for each class"
            raise refused("", f"returns a tensor of shape {in_words(output.shape[1:])} and not logits (N, classes)", do)
        if output.shape[1] < 2:
            raise refused("", "returns one number for an image", "Give it one logit for each class, two of two classes")
        return value

    def _entering(self, path: str, forward: Callable[..., Any]) -> Callable[..., Any]:
        module = self._module.get_submodule(path)

        def call(*args: Any, **kwargs: Any) -> Any:
            self._paths.append(path)
            try:
                p = dropped_images(module, forward, path) if self.training else 0.0
                if p > 0 and len(args) == 1 and isinstance(args[0], Traced) and not kwargs:
                    layer = {"type": "StochasticDepth", "p": p}
                    return self.layer("stochastic_depth", args[0], tuple(args[0].shape), layer)
                return forward(*args, **kwargs)
            except Exception:
                self.where = self.where or path
                raise
            finally:
                self._paths.pop()

        return call

    @property
    def path(self) -> str:
        """Of the module whose forward is running."""
        return self._paths[-1]

    # ---- functions -----------------------------------------------------------------------------------------------

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if "input" in kwargs:
            args = (kwargs.pop("input"), *args)
        try:
            if any(isinstance(leaf, Traced) for leaf in tree_leaves((args, kwargs))):
                return self._read(self, func, args, kwargs)
            return self._beside(func, args, kwargs)
        except EverybatchError as error:  # forward may catch it
            self.problem = self.problem or error
            raise

    def _beside(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        name = name_of(func)
        writes = name == "__set__" or name == "__setitem__" or (name.endswith("_") and not name.endswith("__"))
        target = kwargs.get("out", args[0] if args and writes else None)
        if isinstance(target, torch.Tensor) and id(target) in self._names:
            owned = self._names[id(target)]
            if name == "add_" and owned.endswith("num_batches_tracked"):
                return target  # batch norm counts its batches; the layer here does as well
            raise refused(self.path, f"changes its tensor {owned} in forward")
        if name in _HOOKING and id(args[0]) in self._names:
            raise refused(self.path, f"puts a hook on the gradient of {self._names[id(args[0])]} in forward")
        if name in ("data", "detach") and id(args[0]) in self._names:
            raise refused(self.path, f"takes {self._names[id(args[0])]} without its gradient in forward")
        return func(*args, **kwargs)

    # ---- what operations are made of -----------------------------------------------------------------------------

    def value_of(self, traced: Traced) -> Value:
        """Return the value, unless it was written over by another name."""
        if traced.seen != traced.memory.writes:
            raise refused(
                self.path,
                f"uses the result of {traced.value.place} again after another view of it was changed in place",
                "leave inplace=True out there",
            )
        return traced.value

    def size(self, operation: str, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Size:
        """Return the shape that a layer's function gives, batch included."""

        def empty(given: Any) -> Any:  # no images: a batch on the device meta would take torch half a second of imports
            if isinstance(given, Traced):
                return torch.empty((0, *given.shape[1:]), dtype=torch.float32)
            return torch.empty(given.shape, dtype=torch.float32) if isinstance(given, torch.Tensor) else given

        with torch._C.DisableTorchFunction(), torch.no_grad():
            try:
                found: torch.Tensor = func(*map(empty, args), **kwargs)
            except (RuntimeError, IndexError, ValueError) as error:
                said = str(error).strip().splitlines()[0]
                raise self.misfit(operation, f"cannot take what it is given: {said}") from error
        return (self.batch, *found.shape[1:])

    def reshaped(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Size:
        """Return the shape that a function of shapes alone gives."""
        with torch._C.DisableTorchFunction():
            return tuple(func(*args, **kwargs).shape)

    def misfit(self, operation: str, what: str) -> ShapeError:
        """Return the error for a layer that cannot take its input's shape."""
        place = f"{self.path or 'the module'} ({operation})"
        shape = f"{self.input_shape} (channels, height, width)"
        return ShapeError(f"from_torch: with images of shape {shape}, {place} {what}")

    def layer(
        self,
        operation: str,
        given: Traced,
        size: Size,
        layer: dict[str, Any],
        tensors: dict[str, str] | None = None,
    ) -> Traced:
        """Add a layer, and return what it gives; `size` includes the batch."""
        if layer["type"] not in ("LogSoftmax", "ZeroPad2d", "OnePixel", "Expand"):  # which are read here and have to go
            try:
                Layer.from_json(json.dumps(layer))
            except ArgumentError as error:
                raise refused(self.path, f"calls {operation} with values that no layer takes ({error})") from error
        value = Value("layer", size[1:], self.path, operation, (self.value_of(given),), layer, tensors or {})
        self._use(value)
        return Traced.of(size, value)

    def sum(self, operation: str, one: Traced, other: Traced) -> Traced:
        """Add the sum of two values of one shape."""
        if one.shape != other.shape:
            shapes = " and ".join(in_words(each.shape[1:]) for each in (one, other))
            raise refused(self.path, f"adds values of unequal shapes, {shapes}")
        value = Value("sum", tuple(one.shape[1:]), self.path, operation, (self.value_of(one), self.value_of(other)))
        self._use(value)
        return Traced.of(tuple(one.shape), value)

    def product(self, operation: str, one: Traced, other: Traced) -> Traced:
        """Add the product of a value and of one number for each of its channels, given in either order."""
        shapes = [tuple(each.shape[1:]) for each in (one, other)]
        inputs = self.value_of(one), self.value_of(other)
        size = shapes[0] if math.prod(shapes[0]) >= math.prod(shapes[1]) else shapes[1]
        channels = [size, size[:1] + (1,) * (len(size) - 1)]
        if not all(shape in channels for shape in shapes) or any(
            v.shape != s for v, s in zip(inputs, shapes, strict=True)
        ):
            given = " and ".join(map(in_words, shapes))
            raise refused(
                self.path,
                f"multiplies values of the shapes {given} ({operation}), and the only product is that of a map and of "
                "one number for each of its channels, (N, C, 1, 1), as in squeeze-and-excitation",
            )
        value = Value("product", size, self.path, operation, inputs)
        self._use(value)
        return Traced.of((self.batch, *size), value)

    def view(self, given: Traced, size: Size | None = None, made: Traced | None = None) -> Traced:
        """Return another view of a value, or of `made` which is the same numbers in another shape."""
        value = self.value_of(given) if made is None else made.value
        return Traced.of(tuple(given.shape) if size is None else size, value, given.memory)

    def write(self, target: Traced, made: Traced) -> Traced:
        """Make `target` hold another value, as an operation in place does."""
        self.value_of(target)
        target.value = made.value
        target.memory.writes += 1
        target.seen = target.memory.writes
        return target

    def weight(self, tensor: object, role: str) -> str:
        """Return the name of a weight in the module, which must be one of its own and trained."""
        if isinstance(tensor, nn.Parameter) and id(tensor) not in self._names:
            raise refused(
                self.path,
                f"computes with a {role} that is not among its parameters, so that no optimizer sees it",
                f"keep modules in an nn.ModuleList, not in a list, and parameters as attributes; {METER}",
            )
        if not isinstance(tensor, torch.Tensor) or id(tensor) not in self._names:
            raise refused(
                self.path,
                f"computes its {role} in forward, as weight norm, masks and shared transposed weights do",
                f"replace it by a plain parameter; {METER}",
            )
        name = self._names[id(tensor)]
        if not self.frozen_is_fine and not (isinstance(tensor, nn.Parameter) and tensor.requires_grad):
            raise refused(
                self.path,
                f"has a frozen tensor: {name} is not trained (requires_grad=False), and a model trains all weights",
                f"call .requires_grad_(True) on it first; {METER}",
            )
        return name

    def buffer(self, tensor: torch.Tensor, role: str) -> str:
        """Return the name of a buffer."""
        if id(tensor) not in self._names:
            raise refused(self.path, f"computes its {role} in forward")
        return self._names[id(tensor)]

    def has(self, name: str) -> bool:
        """Tell whether the module has a tensor of that name."""
        return name in self._tensors

    def _use(self, value: Value) -> None:
        for name in value.tensors.values():
            if name in self._used:
                raise refused(
                    value.path,
                    f"uses {name} a second time, after {self._used[name].place}: the weights are shared",
                    f"give each place weights of its own; {METER}",
                )
            self._used[name] = value
        self.values.append(value)


def name_of(func: Any) -> str:
    """Return what a function is called; a property by its own name."""
    name = str(getattr(func, "__name__", func))
    if name == "__get__":
        return str(getattr(getattr(func, "__self__", None), "__name__", name))
    return name
