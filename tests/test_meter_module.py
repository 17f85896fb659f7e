"""A module that a meter measures: it is left as it was, wherever it is and whatever is wrapped around it."""

from __future__ import annotations

import copy
import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

import everybatch as eb
from everybatch.errors import ArgumentError, ShapeError
from metering import Itself, by_hand, net, pixels, steps


class Restless(nn.Module):
    """Draws, counts in its buffers and puts new ones in their place, in evaluation mode too."""

    def __init__(self) -> None:
        super().__init__()
        self.within = net()
        self.register_buffer("calls", torch.zeros(3))
        self.register_buffer("newest", torch.zeros(1))
        self.register_buffer("nothing", None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch.rand(3), np.random.rand(3), random.random()  # noqa: NPY002
        self.calls.add_(1)
        self.newest = x.mean().reshape(1)
        return self.within(x)


def everything(module: nn.Module) -> dict[str, Any]:
    """What is to stay as it was."""
    return {
        "modes": [each.training for each in module.modules()],
        "tensors": {name: (id(t), t.clone()) for name, t in [*module.named_parameters(), *module.named_buffers()]},
        "gradients": {name: None if p.grad is None else p.grad.clone() for name, p in module.named_parameters()},
        "random": (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()),  # noqa: NPY002
        "torch": (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu")),
        "threads": torch.get_num_threads(),
    }


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, (tuple, list)):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


@pytest.mark.parametrize("make", [net, lambda: Itself(net()), Restless], ids=["plan", "module", "restless"])
def test_nothing_of_the_module_changes(glyphs: eb.Dataset, make: Any) -> None:
    module = make()
    for loss in steps(module, glyphs, 2):
        del loss
    module.train()
    next(each for each in module.modules() if isinstance(each, nn.BatchNorm2d)).eval()  # as frozen statistics are
    before = everything(module)
    with eb.Meter(module, glyphs, chunk=20) as meter:
        assert same(everything(module), before)
        meter.step(1.0)
        meter.evaluate()
        assert same(everything(module), before)
    assert same(everything(module), before)


def test_training_goes_on_as_without_a_meter(glyphs: eb.Dataset) -> None:
    alone, measured = net(), net()
    torch.manual_seed(3)  # of dropout
    expected = [loss.item() for loss in steps(alone, glyphs, 5)]
    for module in (measured, copy.deepcopy(measured)):
        torch.manual_seed(3)
        with eb.Meter(Itself(module) if module is not measured else module, glyphs) as meter:
            assert [loss.item() for loss in steps(module, glyphs, 5, meter.step)] == expected


@pytest.mark.parametrize("wrap", [lambda module: module, Itself], ids=["plan", "module"])
def test_what_is_set_around_a_step_does_not_reach_the_measuring(glyphs: eb.Dataset, wrap: Any) -> None:
    module = wrap(net())
    meter = eb.Meter(module, glyphs)
    with torch.autocast("cpu", torch.bfloat16):
        meter.step(1.0)
        before = torch.is_autocast_enabled("cpu")
    with torch.no_grad():
        meter.step(1.0)
    with torch.inference_mode():
        meter.step(1.0)
        assert torch.is_inference_mode_enabled()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        meter.step(1.0)
    finally:
        torch.set_num_threads(threads)
    assert before
    assert len(set(meter.end().test_loss)) == 1
    F.cross_entropy(module(torch.zeros(2, 1, 28, 28)), torch.tensor([0, 1])).backward()  # nothing was kept without


def test_weights_cast_under_autocast_are_not_kept_without_gradients(glyphs: eb.Dataset) -> None:
    module = Itself(net())
    meter = eb.Meter(module, glyphs, precision="bfloat16", chunk=30)
    with torch.autocast("cpu", torch.bfloat16):
        meter.step(1.0)
        loss = F.cross_entropy(module(torch.zeros(2, 1, 28, 28)).float(), torch.tensor([0, 1]))
    loss.backward()
    assert all(parameter.grad is not None for parameter in module.parameters())
    exact = eb.Meter(module, glyphs)
    assert meter.run.test_loss[0] != exact.run.test_loss[0]
    assert meter.run.test_loss[0] == pytest.approx(exact.run.test_loss[0], rel=0.02)


def wrappers() -> dict[str, Any]:
    return {
        "compiled": torch.compile,
        "data parallel": nn.DataParallel,
        "averaged": torch.optim.swa_utils.AveragedModel,
        "both": lambda module: torch.compile(nn.DataParallel(module)),
    }


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # what torch.compile imports
@pytest.mark.parametrize("name", wrappers())
def test_what_is_wrapped_around_a_module_is_looked_through(glyphs: eb.Dataset, name: str) -> None:
    module = net()
    with eb.Meter(wrappers()[name](module), glyphs) as meter:
        pass
    expected, _, _ = by_hand(module, pixels(glyphs.test_images, glyphs.mean, glyphs.std), glyphs.test_labels)
    assert meter.measured_by == "plan", meter.reason
    assert meter.run.test_loss[0] == pytest.approx(expected, rel=1e-5)
    assert meter.run.config["meter"]["module"] == "metering.Net"
    assert meter.run.config["network"]["name"] == "Net"


@pytest.mark.filterwarnings("ignore:Grad strides do not match")
def test_distributed_data_parallel_is_looked_through(glyphs: eb.Dataset, tmp_path: Any) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'meet'}", rank=0, world_size=1)
    try:
        module = net()
        parallel = nn.parallel.DistributedDataParallel(module)
        meter = eb.Meter(parallel, glyphs)
        for loss in steps(parallel, glyphs, 2):
            meter.step(loss)
        assert (meter.measured_by, meter.run.steps) == ("plan", 2)
        assert all(each.training for each in parallel.modules())
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_numbers_are_run_as_they_are(glyphs: eb.Dataset, dtype: torch.dtype) -> None:
    module = net().to(dtype)
    with eb.Meter(module, glyphs) as meter:
        pass
    images = pixels(glyphs.test_images, glyphs.mean, glyphs.std).to(dtype)
    expected, _, _ = by_hand(module, images, glyphs.test_labels)
    assert meter.measured_by == "module"
    assert str(dtype) in str(meter.reason)
    assert meter.run.test_loss[0] == pytest.approx(expected, rel=1e-6 if dtype == torch.float64 else 1e-2)
    with pytest.raises(AttributeError, match=r"torch\.save\(module\.state_dict"):
        meter.run.model  # noqa: B018


def test_weights_in_another_order_in_memory(glyphs: eb.Dataset) -> None:
    module = net()
    plain = eb.Meter(module, glyphs, deterministic=True).run.test_loss[0]
    module.to(memory_format=torch.channels_last)
    meter = eb.Meter(module, glyphs, deterministic=True)
    assert meter.run.test_loss[0] == pytest.approx(plain, rel=1e-6)
    with torch.no_grad():
        module.conv2.weight.mul_(1.5)
    meter.step(1.0)
    images = pixels(glyphs.test_images, glyphs.mean, glyphs.std)
    assert meter.test_loss == pytest.approx(by_hand(module, images, glyphs.test_labels)[0], rel=1e-5)


@pytest.mark.cuda
@pytest.mark.parametrize("wrap", [lambda module: module, Itself], ids=["network", "module"])
def test_a_module_on_a_gpu(glyphs: eb.Dataset, wrap: Any) -> None:
    module = wrap(net())
    images = pixels(glyphs.test_images, glyphs.mean, glyphs.std)
    expected = by_hand(module, images, glyphs.test_labels)[0]
    module.cuda()
    state = torch.cuda.get_rng_state()
    with eb.Meter(module, glyphs, tolerance=0.1) as meter:
        meter.step(torch.tensor(1.0, device="cuda"))
    assert meter.run.test_loss[0] == pytest.approx(expected, rel=1e-3)
    assert torch.equal(torch.cuda.get_rng_state(), state)
    assert next(module.parameters()).is_cuda
    assert meter.run.config["training"]["device"].startswith("cuda")


class Sum(nn.Module):
    """Gives whatever a function makes of logits."""

    def __init__(self, change: Any) -> None:
        super().__init__()
        self.within, self.change = net(), change

    def forward(self, x: torch.Tensor) -> Any:
        return self.change(self.within(x))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda y: y[:, :7], ShapeError, r"\(16, 7\) for 16 images, and logits of the 10 classes .* \(16, 10\)"),
        (lambda y: y[:3], ShapeError, r"\(3, 10\) for 16 images"),
        (lambda y: (y, y), TypeError, "gave a tuple, and logits are a tensor"),
        (lambda y: y.softmax(1), ArgumentError, "the module gives probabilities"),
        (lambda y: torch.complex(y, y), TypeError, "complex"),
    ],
)
def test_what_is_no_logits_is_refused(glyphs: eb.Dataset, change: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        eb.Meter(Sum(change), glyphs)


def test_logarithms_of_probabilities_will_do(glyphs: eb.Dataset) -> None:
    plain, logs = (eb.Meter(Sum(change), glyphs) for change in (lambda y: y, lambda y: y.log_softmax(1)))
    assert plain.run.test_loss[0] == pytest.approx(logs.run.test_loss[0], rel=1e-5)


def test_another_number_of_classes_is_refused(glyphs: eb.Dataset) -> None:
    with pytest.raises(ArgumentError, match="the module gives 7 logits, and the data set has 10 classes"):
        eb.Meter(net(classes=7), glyphs)


def test_draws_and_batches_that_matter_are_told(glyphs: eb.Dataset) -> None:
    with pytest.warns(UserWarning, match="gives other logits for the same images each time"):
        eb.Meter(Sum(lambda y: F.dropout(y, 0.5)), glyphs)
    together = Sum(lambda y: y - y.mean(0))
    with pytest.warns(UserWarning, match="for an image among others than for it alone"):
        eb.Meter(together, glyphs)
    with pytest.raises(ArgumentError, match="with a tolerance"):
        eb.Meter(together, glyphs, tolerance=0.1)


def test_a_module_without_values_is_refused(glyphs: eb.Dataset) -> None:
    with pytest.raises(ArgumentError, match=r"1\.weight of the module is lazy"):
        eb.Meter(nn.Sequential(nn.Flatten(), nn.LazyLinear(10)), glyphs)
    with pytest.raises(ArgumentError, match="on the device meta"):
        eb.Meter(net().to("meta"), glyphs)


def test_colour_images_and_inputs(colour: eb.Dataset) -> None:
    module = net(channels=3)
    means = {
        "normalized": pixels(colour.test_images, colour.mean, colour.std),
        "unit": pixels(colour.test_images),
        "bytes": 255 * pixels(colour.test_images),
        "own": pixels(colour.test_images, (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)),
        "double": F.interpolate(pixels(colour.test_images), scale_factor=2)[..., ::2, ::2] * 2,
    }
    inputs: dict[str, Any] = {
        "bytes": (0, 1 / 255),
        "own": (np.array([0.1, 0.2, 0.3]), [0.5, 0.6, 0.7]),
        "double": lambda x: F.interpolate(x, scale_factor=2)[..., ::2, ::2] * 2,
    }
    for name, images in means.items():
        meter = eb.Meter(module, colour, inputs=inputs.get(name, name))
        expected = by_hand(module, images, colour.test_labels)[0]
        assert meter.run.test_loss[0] == pytest.approx(expected, rel=1e-4), name
        assert meter.measured_by == ("module" if name == "double" else "plan"), meter.reason
        if name != "double":
            assert meter.run.model.evaluate(colour).loss == pytest.approx(expected, rel=1e-4)
    assert "lambda" in meter.run.config["meter"]["inputs"]["function"]
