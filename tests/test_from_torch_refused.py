"""What `from_torch` must not take for something else: each is right, or refused by a sentence that names the place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - as everyone writes it
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import everybatch as eb
from everybatch.errors import ArgumentError, ShapeError, UnsupportedModuleError
from everybatch.torch_modules._from_torch import convert
from lab_modules import assert_same_logits, unsettle
from modules_of_people import ExampleNet, FashionMlp, WithMiddle

GREY = (1, 28, 28)


class Does(nn.Module):
    """A layer that is a function."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(16, 16, 3, padding=1)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def conv(**arguments: Any) -> nn.Conv2d:
    return nn.Conv2d(16, 16, **{"kernel_size": 3, "padding": 1} | arguments)


def two_of(first: torch.Tensor, second: torch.Tensor) -> nn.Module:
    one, two = conv(), conv()
    one.weight, two.weight = nn.Parameter(first), nn.Parameter(second)
    return nn.Sequential(one, two)


def hooked() -> nn.Module:
    part = conv()
    part.register_forward_hook(lambda *given: given[2] * 2)
    return part


def frozen() -> nn.Module:
    part = conv()
    part.weight.requires_grad_(False)
    return part


def tied() -> nn.Module:
    one, two = conv(), conv()
    two.weight = one.weight
    return nn.Sequential(one, two)


def tied_memory() -> nn.Module:
    one, two = conv(), conv()
    two.weight = nn.Parameter(one.weight)  # a second parameter, in the memory of the first
    return nn.Sequential(one, two)


def tied_data() -> nn.Module:
    one, two = conv(), conv()
    two.weight.data = one.weight.data
    return nn.Sequential(one, two)


def tied_in_part() -> nn.Module:
    numbers = torch.randn(17, 16, 3, 3)
    return two_of(numbers[:16], numbers[1:])


def tied_backwards() -> nn.Module:
    # The layer that is used first has the higher address.
    numbers = torch.randn(17, 16, 3, 3)
    return two_of(numbers[1:], numbers[:16])


def tied_statistics() -> nn.Module:
    one, two = nn.BatchNorm2d(16), nn.BatchNorm2d(16)
    two.running_mean = one.running_mean[:]
    return nn.Sequential(one, two)


def tied_by_numpy() -> nn.Module:
    # Two storages of torch on one array of NumPy.
    numbers = np.random.default_rng(0).normal(size=(16, 16, 3, 3)).astype(np.float32)
    return two_of(torch.from_numpy(numbers), torch.from_numpy(numbers))


def neighbours() -> nn.Module:
    # Parts of one tensor without a number in common, which is what torch.nn.utils.vector_to_parameters makes.
    numbers = torch.randn(32, 16, 3, 3)
    return two_of(numbers[:16], numbers[16:])


def columns() -> nn.Module:
    # Their addresses alternate, and none is the same.
    numbers = torch.randn(16, 32, 3, 3)
    return two_of(numbers[:, :16], numbers[:, 16:])


def gradient_hooked() -> nn.Module:
    part = conv()
    part.weight.register_hook(lambda gradient: gradient * 2)
    return part


def accumulation_hooked() -> nn.Module:
    part = conv()
    part.bias.register_post_accumulate_grad_hook(lambda _: None)  # type: ignore[union-attr]
    return part


def hook_removed() -> nn.Module:
    part = conv()
    part.weight.register_hook(lambda gradient: gradient * 2).remove()
    return part


def hooks_itself(self: Does, x: Tensor) -> Tensor:
    self.conv.weight.register_hook(lambda gradient: gradient * 2)
    return self.conv(x)


def in_place_view(self: Does, x: Tensor) -> Tensor:
    x = self.conv(x)
    seen = x[:]
    x.relu_()
    return seen


def gate_in_place(self: Does, x: Tensor) -> Tensor:
    y = self.conv(x).mean((2, 3), keepdim=True)
    wide = y.expand_as(x)
    y.sigmoid_()
    return x * wide


def without_gradients(self: Does, x: Tensor) -> Tensor:
    with torch.no_grad():
        return self.conv(x)


class Unregistered(nn.Module):
    """Its layers are in a list."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = [conv()]

    def forward(self, x: Tensor) -> Tensor:
        return self.convs[0](x)


def counts(self: Does, x: Tensor) -> Tensor:
    self.conv.bias.data.add_(1)
    return self.conv(x)


class BatchStatistics(nn.BatchNorm2d):
    def train(self, mode: bool = True) -> BatchStatistics:
        return super().train(False)


# The block in the middle of a network, and what the message must say of it, or None if it goes through.
BLOCKS: dict[str, tuple[Callable[[], nn.Module], str | None]] = {
    "groups": (lambda: conv(groups=4), None),
    "depthwise": (lambda: conv(groups=16), None),
    "dilation": (lambda: conv(dilation=2, padding=2), None),
    "same": (lambda: conv(padding="same", dilation=3), None),
    "even kernel, same": (lambda: conv(kernel_size=4, padding="same"), "middle .*padding='same' and an even kernel"),
    "padding mode": (lambda: conv(padding_mode="circular"), r"middle pads by \(1, 1, 1, 1\) in mode 'circular'"),
    "padding before": (lambda: nn.Sequential(nn.ZeroPad2d((2, 2, 0, 0)), conv(padding=1)), None),
    "padding before a pool": (lambda: nn.Sequential(nn.ZeroPad2d(1), nn.MaxPool2d(3)), r"middle\.0 pads with zeros"),
    "uneven padding": (lambda: nn.ZeroPad2d((0, 1, 0, 1)), r"middle pads by \(0, 1, 0, 1\)"),
    "padding of ones": (lambda: nn.ConstantPad2d(1, 1.0), "middle pads by"),
    "padding of channels": (lambda: Does(lambda self, x: F.pad(self.conv(x), (0, 0, 0, 0, 2, 2))), "middle pads by"),
    "transposed": (lambda: nn.ConvTranspose2d(16, 16, 3), "middle calls conv_transpose2d"),
    "batch norm": (lambda: nn.BatchNorm2d(16, eps=0.1, momentum=0.9), None),
    "mean over all batches": (lambda: nn.BatchNorm2d(16, momentum=None), "middle is batch norm with momentum=None"),
    "no weight": (lambda: nn.BatchNorm2d(16, affine=False), "middle is batch norm without weight and bias"),
    "no statistics": (lambda: nn.BatchNorm2d(16, track_running_stats=False), "without running statistics"),
    "statistics kept": (lambda: BatchStatistics(16), "middle is batch norm that keeps its statistics while it trains"),
    "eps 0": (lambda: nn.BatchNorm2d(16, eps=0), "middle calls batch_norm with values.*eps is 0"),
    "group norm": (lambda: nn.GroupNorm(4, 16), "middle is group norm"),
    "layer norm": (lambda: nn.LayerNorm([16, 28, 28]), "middle is layer norm"),
    "instance norm": (lambda: nn.InstanceNorm2d(16), "middle is instance norm"),
    "ceil, same": (lambda: nn.MaxPool2d(2, ceil_mode=True), None),
    "ceil": (
        lambda: nn.MaxPool2d(3, ceil_mode=True),
        r"middle pools with ceil_mode=True.*10x10 pixels here and not 9x9",
    ),
    "ceil, average": (lambda: nn.AvgPool2d(3, ceil_mode=True), "middle pools with ceil_mode=True"),
    "dilated pool": (lambda: nn.MaxPool2d(2, dilation=2), "middle is max pooling with dilation"),
    "padding counted": (lambda: nn.AvgPool2d(3, 2, padding=1), None),
    "padding not counted": (lambda: nn.AvgPool2d(3, 2, 1, count_include_pad=False), "count_include_pad=False"),
    "no padding to count": (lambda: nn.AvgPool2d(2, count_include_pad=False), None),
    "divisor": (lambda: nn.AvgPool2d(2, divisor_override=3), "middle is average pooling with divisor_override"),
    "adaptive, uneven": (lambda: nn.AdaptiveAvgPool2d((5, 31)), None),
    "adaptive, one axis": (lambda: nn.AdaptiveAvgPool2d((None, 7)), None),
    "adaptive maximum": (lambda: nn.AdaptiveMaxPool2d(7), None),
    "adaptive maximum, uneven": (lambda: nn.AdaptiveMaxPool2d(5), "middle is adaptive max pooling of 28x28 to 5x5"),
    "fractional": (lambda: nn.FractionalMaxPool2d(2, output_size=13), "middle"),
    "norm pool": (lambda: nn.LPPool2d(2, 2), "middle"),
    "PReLU": (nn.PReLU, "middle is PReLU"),
    "tanh GELU": (lambda: nn.GELU(approximate="tanh"), "middle is GELU with approximate='tanh'"),
    "softplus": (lambda: nn.Softplus(beta=2), "middle is Softplus with beta=2"),
    "ELU": (lambda: nn.ELU(alpha=0.5), "middle is ELU with alpha=0.5"),
    "hardtanh": (nn.Hardtanh, "middle is Hardtanh from -1.0 to 1.0"),
    "leaky": (lambda: nn.LeakyReLU(0.3), None),
    "random leaky": (nn.RReLU, "middle calls rrelu"),
    "clamp": (lambda: Does(lambda self, x: self.conv(x).clamp(min=0)), "middle clamps"),
    "dropout of 1": (lambda: nn.Dropout(1.0), r"middle calls dropout with values.*p is 1"),
    "alpha dropout": (nn.AlphaDropout, "middle calls alpha_dropout"),
    "hook": (hooked, "middle has a forward hook"),
    "frozen": (frozen, r"middle has a frozen tensor: middle\.weight is not trained"),
    "weight norm": (lambda: parametrizations.weight_norm(conv()), "middle computes weights by a parametrization"),
    "spectral norm": (lambda: nn.utils.spectral_norm(conv()), "middle has a forward hook"),
    "in a list": (Unregistered, "middle computes with a weight that is not among its parameters.*nn.ModuleList"),
    "tied": (tied, r"middle\.1 uses middle\.0\.weight a second time, after middle\.0 \(conv2d\)"),
    # PyTorch would train the memory once, for both places.
    "tied, two parameters": (
        tied_memory,
        r"middle\.1 uses middle\.1\.weight, which lies in the memory of middle\.0\.weight, used by middle\.0 \(conv2d\)"
        ": the weights are shared. Give each place weights of its own",
    ),
    "tied, data": (tied_data, r"middle\.1 uses middle\.1\.weight, which lies in the memory of middle\.0\.weight"),
    "tied, in part": (tied_in_part, r"middle\.1 uses middle\.1\.weight, which lies in the memory of middle\.0\.weight"),
    "tied, backwards": (tied_backwards, r"middle\.1 uses middle\.1\.weight, which lies in the memory of middle\.0\.w"),
    "tied, statistics": (
        tied_statistics,
        r"middle\.1 uses middle\.1\.running_mean, which lies in the memory of middle\.0",
    ),
    "tied, NumPy": (tied_by_numpy, r"middle\.1 uses middle\.1\.weight, which lies in the memory of middle\.0\.weight"),
    "neighbours": (neighbours, None),
    "columns": (columns, None),
    "gradient hook": (gradient_hooked, r"middle\.weight has a hook on its gradient.*Remove it first"),
    "accumulation hook": (accumulation_hooked, r"middle\.bias has a hook on its gradient.*Remove it first"),
    "hook removed": (hook_removed, None),
    "hooks itself": (
        lambda: Does(hooks_itself),
        r"middle puts a hook on the gradient of middle\.conv\.weight in forward",
    ),
    "half": (lambda: conv().half(), r"middle\.weight has the number format torch\.float16.*module\.float\(\)"),
    "double": (lambda: conv().double(), r"middle\.weight has the number format torch\.float64"),
    "identity": (nn.Identity, None),
    "scaled": (lambda: Does(lambda self, x: x + 0.1 * self.conv(x)), "middle multiplies what a layer gives"),
    "scaled by a weight": (
        lambda: Does(lambda self, x: self.conv(x) * self.conv.bias.view(1, -1, 1, 1)),
        "middle multiplies what a layer gives by a constant or a tensor of its own",
    ),
    "gate of rows": (
        lambda: Does(lambda self, x: x * F.adaptive_avg_pool2d(self.conv(x), (28, 1))),
        r"middle multiplies values of the shapes \(N, 16, 28, 28\) and \(N, 16, 28, 1\) \(mul\)",
    ),
    "gate of pixels": (
        lambda: Does(lambda self, x: x * torch.sigmoid(self.conv(x))),
        r"middle multiplies maps of \(N, 16, 28, 28\) by \(N, 16, 28, 28\)",
    ),
    "gate of another": (
        lambda: Does(lambda self, x: self.conv(x) * torch.sigmoid(x.mean((2, 3), keepdim=True))),
        "middle multiplies two values of which neither is computed from the other",
    ),
    "square": (lambda: Does(lambda self, x: (y := self.conv(x)) * y), "middle multiplies a value by itself"),
    "gate of a convolved vector": (
        lambda: Does(lambda self, x: x * self.conv(x.mean((2, 3)).view(len(x), 16, 1, 1))),
        r"middle makes \(N, 16, 1, 1\) of \(N, 16\) by view",
    ),
    "gate of a convolved pixel": (lambda: Does(lambda self, x: x * self.conv(x.mean((2, 3), keepdim=True))), None),
    "gate that drops pixels": (
        lambda: Does(lambda self, x: x * F.dropout(self.conv(x.mean((2, 3), True)).expand_as(x), 0.5, self.training)),
        r"middle multiplies maps of \(N, 16, 28, 28\) by \(N, 16, 28, 28\)",
    ),
    "gate that is used twice": (
        lambda: Does(lambda self, x: x * (y := self.conv(x.mean((2, 3), True))) + F.relu(y.expand_as(x))),
        "middle.* is used in several places which are not the two branches of a residual block, nor a gate",
    ),
    "gate, expanded, in place": (
        lambda: Does(gate_in_place),
        "uses the result of middle .*again after another view",
    ),
    "mean everywhere": (
        lambda: Does(lambda self, x: self.conv(x) + x.mean((2, 3), True).expand_as(x)),
        r"middle makes \(N, 16, 28, 28\) of \(N, 16, 1, 1\) by expand_as",
    ),
    "vector and back": (lambda: Does(lambda self, x: x * self.conv(x).mean((2, 3))[:, :, None, None]), None),
    "added times": (lambda: Does(lambda self, x: torch.add(x, self.conv(x), alpha=2)), "middle adds a value times 2"),
    "constant": (lambda: Does(lambda self, x: self.conv(x) + 1), "middle adds a constant"),
    "doubled": (lambda: Does(lambda self, x: (y := self.conv(x)) + y), "middle adds a value to itself"),
    "twice": (
        lambda: Does(lambda self, x: (y := self.conv(x)) + F.relu(y + x) + x),
        "middle.* is used in several places which are not the two branches",
    ),
    "broadcast": (lambda: Does(lambda self, x: x + self.conv(x)[:, :, :1]), "takes a part of a tensor"),
    "in place": (lambda: Does(lambda self, x: self.conv(x).relu_() + x), None),
    "in place, seen": (lambda: Does(lambda self, x: x + F.relu(self.conv(x), inplace=True).add_(x)), None),
    "in place, view": (lambda: Does(in_place_view), "uses the result of middle.conv .conv2d. again after"),
    "no gradients": (lambda: Does(without_gradients), "middle.conv computes without gradients in training"),
    "detached": (lambda: Does(lambda self, x: x + self.conv(x).detach()), "middle stops gradients with detach"),
    "changes itself": (lambda: Does(counts), r"middle takes middle\.conv\.bias without its gradient"),
    "training alone": (
        lambda: Does(lambda self, x: self.conv(x) if self.training else x),
        "middle.*not the same in training and in evaluation mode",
    ),
    "dropout in training alone": (
        lambda: Does(lambda self, x: F.dropout(self.conv(x), 0.3) if self.training else self.conv(x)),
        None,
    ),
    "number of images": (
        lambda: Does(lambda self, x: self.conv(x) if len(x) > 253 else x),
        "depends on the number of images in a batch",
    ),
    "shape": (lambda: Does(lambda self, x: self.conv(x) if x.shape[2] > 20 else x), None),
    "numbers": (lambda: Does(lambda self, x: self.conv(x) if x[0, 0, 0, 0] > 0 else x), "takes a part of a tensor"),
    "format": (
        lambda: Does(lambda self, x: self.conv(x.to(torch.float64))),
        "changes the number format to torch.float64",
    ),
    "device": (lambda: Does(lambda self, x: self.conv(x.to("cpu").float().contiguous())), None),
    "prints": (lambda: Does(lambda self, x: (print(x, f"{x}"), self.conv(x))[1]), None),
    "a bug": (lambda: Does(lambda self, x: self.missing(x)), r"middle cannot be followed.*AttributeError.*missing"),
    "caught": (lambda: Does(lambda self, x: _caught(self, x)), "middle multiplies what a layer gives"),
}


def _caught(self: Does, x: Tensor) -> Tensor:
    try:
        return self.conv(x) * 2
    except ArgumentError:
        return self.conv(x)


@pytest.mark.parametrize("name", BLOCKS)
def test_block(name: str) -> None:
    build, words = BLOCKS[name]
    module = unsettle(WithMiddle(build()))
    if words is None:
        assert_same_logits(eb.from_torch(module, GREY), module)
        return
    with pytest.raises(UnsupportedModuleError, match=words):
        eb.from_torch(module, GREY)


@pytest.mark.parametrize("build", [tied_memory, tied_data, gradient_hooked, accumulation_hooked])
def test_what_concerns_training_alone_may_be_measured(build: Callable[[], nn.Module]) -> None:
    # The logits are those of the module, whatever would train it otherwise: eb.Meter measures it by such a plan.
    module = unsettle(WithMiddle(build()))
    assert_same_logits(convert(module, GREY, share=True, only_evaluation=True).model, module)


# ---- the ends --------------------------------------------------------------------------------------------------------


def head(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10), *layers)


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (head(nn.Softmax(1)), "2 ends in or contains a softmax.*Leave it out"),
        (head(nn.LogSoftmax(0)), "2 is log_softmax over axis 0"),
        (head(nn.LogSoftmax(1), nn.Linear(10, 10)), "2 takes log_softmax before its end"),
        (head(nn.Linear(10, 1)), "returns one number for an image"),
        (head(nn.Unflatten(1, (10, 1, 1))), "2 calls unflatten, which no layer computes"),
        (nn.Conv2d(1, 10, 28), r"returns a tensor of shape \(N, 10, 1, 1\) and not logits"),
        (nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(0), nn.Linear(4, 10)), "keep the batch as the first axis|Keep"),
    ],
)
def test_ends(module: nn.Module, words: str) -> None:
    with pytest.raises(UnsupportedModuleError, match=words):
        eb.from_torch(module, GREY)


def test_log_softmax_at_the_end_is_left_out() -> None:
    module = head(nn.LogSoftmax(dim=-1))
    model = eb.from_torch(module, GREY)
    assert_same_logits(model, module)
    assert [layer.kind for layer in model.network.layers] == ["Flatten", "Linear"]


# ---- what is given ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (FashionMlp, r"not its class: pass FashionMlp\(\)"),
        (FashionMlp().state_dict(), "not OrderedDict: build the module"),
        (eb.networks.lenet5(), "not Network, which everybatch takes as it is"),
        ("net.pt", "must be an nn.Module, not str"),
    ],
)
def test_what_is_no_module(given: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        eb.from_torch(given, GREY)


@pytest.mark.parametrize(
    ("shape", "error", "words"),
    [
        ((8, 1, 28, 28), ArgumentError, "leave the number of images out"),
        ((28, 28), ArgumentError, r"must be \(channels, height, width\)"),
        ((1, 0, 28), ArgumentError, "above 0"),
        (28, TypeError, r"must be \(channels, height, width\), not 28"),
        ((1.0, 28, 28), TypeError, "must be"),
        (
            (3, 28, 28),
            ShapeError,
            r"\(3, 28, 28\) \(channels, height, width\), conv1 \(conv2d\) takes 1 channels and is given 3",
        ),
        ((1, 32, 32), ShapeError, r"fc1 \(linear\) takes vectors of 9216 numbers and is given \(N, 12544\)"),
        ((1, 3, 3), ShapeError, r"conv2 \(conv2d\) cannot take what it is given"),
    ],
)
def test_input_shapes_that_contradict(shape: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        eb.from_torch(ExampleNet(), shape)


@pytest.mark.parametrize("channels", [2, 5])
@pytest.mark.parametrize("tells", [False, True])
def test_images_have_no_such_channels(channels: int, tells: bool) -> None:
    """`Dataset` takes 1, 3 and 4."""
    module = nn.Sequential(nn.Conv2d(channels, 3, 3), nn.Flatten(), nn.Linear(3 * 26 * 26, 4))
    with pytest.raises(ShapeError, match=rf"images of {channels} channels, .* takes 1 \(grey\), 3 \(colour\) or 4"):
        eb.from_torch(module, None if tells else (channels, 28, 28))


def test_a_name_that_is_no_text_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"name is '\\ud800', which is not UTF-8 text"):
        eb.from_torch(ExampleNet(), GREY, name="\ud800")


def test_train_names_the_way(glyphs: eb.Dataset) -> None:
    with pytest.raises(TypeError, match=r"not FashionMlp: eb\.from_torch\(module\) makes a model of it"):
        eb.train(FashionMlp(), glyphs)  # type: ignore[arg-type]


def test_vectors_are_asked_to_be_flattened() -> None:
    with pytest.raises(ShapeError, match=r"nn\.Sequential\(torch\.nn\.Flatten\(\), module\)"):
        eb.from_torch(nn.Linear(784, 10), GREY)


def test_a_view_of_a_number_that_does_not_fit() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fc = nn.Conv2d(1, 20, 3), nn.Linear(320, 10)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(F.max_pool2d(self.conv(x), 3).view(-1, 320))

    # (28 - 2) / 3 = 8 pixels by 8 of 20 channels: four rows of each image.
    with pytest.raises(UnsupportedModuleError, match=r"makes \(1004, 320\) of 251 images of 1280 numbers each by view"):
        eb.from_torch(Net(), GREY)
    with pytest.raises(ShapeError, match=r"\(view\) does not fit 251 images of 1620 numbers each: .*320"):
        eb.from_torch(Net(), (1, 29, 29))


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(10)), "1.weight has no values yet.*lazy: call the module"),
        (lambda: head().to("meta"), "1.weight is on the device meta"),
    ],
)
def test_modules_without_values(build: Callable[[], nn.Module], words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        eb.from_torch(build(), GREY)


def test_lazy_modules_that_have_been_called() -> None:
    module = nn.Sequential(nn.LazyConv2d(8, 3), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(10))
    module(torch.zeros(2, 1, 28, 28))
    assert_same_logits(eb.from_torch(module, GREY), module)


def test_wrappers() -> None:
    module = FashionMlp()
    with pytest.raises(UnsupportedModuleError, match=r"is a DataParallel\. Pass the module within it, module\.module"):
        eb.from_torch(nn.DataParallel(module), GREY)
    with pytest.raises(UnsupportedModuleError, match="is compiled TorchScript"):
        eb.from_torch(_scripted(module), GREY)
    assert_same_logits(eb.from_torch(torch.compile(module, backend="eager"), GREY), module)  # type: ignore[arg-type]


def _scripted(module: nn.Module) -> Any:
    made = object.__new__(torch.jit.ScriptModule)
    nn.Module.__init__(made)
    return made


def test_global_hooks() -> None:
    handle = nn.modules.module.register_module_forward_hook(lambda *_: None)
    try:
        with pytest.raises(UnsupportedModuleError, match="hooks of all modules"):
            eb.from_torch(head(), GREY)
    finally:
        handle.remove()
    eb.from_torch(head(), GREY)


def test_torchs_modes_do_not_matter() -> None:
    module = unsettle(ExampleNet())
    with torch.inference_mode():
        model = eb.from_torch(module, GREY)
    with torch.no_grad(), torch.autocast("cpu"):
        again = eb.from_torch(module, GREY)
    assert_same_logits(model, module)
    assert_same_logits(again, module)


# ---- the shape of the images -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (ExampleNet(), (1, 28, 28)),
        (FashionMlp(), (1, 28, 28)),
        (nn.Sequential(nn.Flatten(), nn.Linear(3072, 10)), (3, 32, 32)),
        (nn.Sequential(nn.Conv2d(3, 4, 5), nn.Flatten(), nn.Linear(4 * 13 * 13, 5)), (3, 17, 17)),
    ],
)
def test_shapes_that_the_layers_tell(module: nn.Module, shape: tuple[int, int, int]) -> None:
    assert eb.from_torch(module).input_shape == shape


@pytest.mark.parametrize(
    ("module", "error", "words"),
    [
        (WithMiddle(nn.Identity()), ArgumentError, r"\(1, 28, 28\), \(1, 32, 32\).*and others: give input_shape="),
        (
            nn.Sequential(nn.Conv2d(1, 4, 3), nn.MaxPool2d(7), nn.Flatten(), nn.Linear(4, 5)),
            ArgumentError,
            r"\(1, 9, 9\), \(1, 10, 10\)",
        ),
        (
            nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(4 * 3 * 7, 5)),
            ShapeError,
            "2 .linear. takes vectors",
        ),
        (nn.Sequential(nn.Conv2d(1, 4, 3), nn.Softmax2d()), UnsupportedModuleError, "softmax"),
    ],
)
def test_shapes_that_they_do_not_tell(module: nn.Module, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        eb.from_torch(module)
