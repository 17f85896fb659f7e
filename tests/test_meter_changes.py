"""A module that changes while a meter measures it: what is measured is what it is now, never what it was.

The truth is PyTorch by hand at each time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import everybatch as eb
from metering import Net, by_hand, net, pixels


def grown(module: Net) -> None:
    module.fc = nn.Linear(4 * 6 * 6, 10)


def loaded(module: Net) -> None:
    module.load_state_dict(net(seed=9).state_dict())


def assigned(module: Net) -> None:
    module.load_state_dict(net(seed=9).state_dict(), assign=True)


def by_data(module: Net) -> None:
    module.conv1.weight.data = 2 * module.conv1.weight.data


def in_place(module: Net) -> None:
    with torch.no_grad():
        module.conv1.weight.mul_(2)


def new_parameter(module: Net) -> None:
    module.conv1.weight = nn.Parameter(2 * module.conv1.weight.detach())


def new_statistics(module: Net) -> None:
    module.norm.running_mean = torch.full((4,), 0.3)


def setting(module: Net) -> None:
    module.norm.eps = 0.5


def stride(module: Net) -> None:
    module.conv2.padding = (0, 0)
    module.conv2.kernel_size = (1, 1)
    module.conv2.weight = nn.Parameter(module.conv2.weight.detach()[..., :1, :1].clone())


def replaced(module: Net) -> None:
    module.norm = nn.Tanh()  # type: ignore[assignment]


def hooked(module: Net) -> None:
    module.conv2.register_forward_hook(lambda _module, _inputs, output: -output)


def patched(module: Net) -> None:
    module.conv2.forward = lambda x: -x  # type: ignore[method-assign]


def doubled(module: Net) -> None:
    module.double()
    in_place(module)


CHANGES: list[Callable[[Net], None]] = [
    grown,
    loaded,
    assigned,
    by_data,
    in_place,
    new_parameter,
    new_statistics,
    setting,
    stride,
    replaced,
    hooked,
    patched,
    doubled,
]


def truth(module: nn.Module, data: eb.Dataset) -> float:
    dtype = next(module.parameters()).dtype
    return by_hand(module, pixels(data.test_images, data.mean, data.std).to(dtype), data.test_labels)[0]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_what_is_measured_is_what_the_module_is_now(glyphs: eb.Dataset, change: Callable[[Net], None]) -> None:
    module = net()
    meter = eb.Meter(module, glyphs)
    assert meter.measured_by == "plan", meter.reason
    before = truth(module, glyphs)
    change(module)
    now = truth(module, glyphs)
    assert now != pytest.approx(before, rel=1e-4)
    meter.step(1.0)
    assert meter.test_loss == pytest.approx(now, rel=1e-5)
    in_place(module)
    meter.step(1.0)
    assert meter.test_loss == pytest.approx(truth(module, glyphs), rel=1e-5)
    assert meter.evaluate().loss == pytest.approx(truth(module, glyphs), rel=1e-5)


def test_a_plan_comes_back_when_it_can(glyphs: eb.Dataset) -> None:
    module = net()
    hook = module.conv2.register_forward_hook(lambda *_: None)
    meter = eb.Meter(module, glyphs)
    assert meter.measured_by == "module"
    assert "hook" in str(meter.reason)
    hook.remove()
    meter.step(1.0)
    assert (meter.measured_by, meter.reason) == ("plan", None)
    run = meter.end()
    assert run.test_loss[1] == pytest.approx(run.test_loss[0], rel=1e-5)
    assert run.config["meter"]["measured_by"] == "plan"


class Secret(nn.Module):
    """Computes with a number that is no setting of a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.within = net()
        self.secret = {"sign": 1}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.within.conv1(x)
        y = torch.relu(y) if self.secret["sign"] > 0 else torch.tanh(y)
        return self.within.fc(torch.flatten(torch.max_pool2d(y, 2), 1))


def test_what_no_stamp_tells_is_found_by_comparing(glyphs: eb.Dataset) -> None:
    module = Secret()
    meter = eb.Meter(module, glyphs)
    assert meter.measured_by == "plan", meter.reason
    module.secret["sign"] = -1
    with pytest.warns(RuntimeWarning, match="gives other logits than the plan that it was measured by"):
        run = meter.end()
    assert meter.measured_by == "module"
    assert run.config["meter"]["reason"] == "a plan of its weights gives other logits than the module itself"
    assert meter.evaluate().loss == pytest.approx(truth(module, glyphs), rel=1e-5)


class Counts(nn.Module):
    """Has a setting that is another one each time."""

    def __init__(self) -> None:
        super().__init__()
        self.within, self.calls = net(), 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.within(x)
        return logits


def test_a_module_that_is_another_one_each_time_is_given_up(glyphs: eb.Dataset) -> None:
    module = Counts()
    meter = eb.Meter(module, glyphs)
    for step in range(10):
        module.calls = step + 1
        meter.step(1.0)
        assert meter.test_loss == pytest.approx(truth(module, glyphs), rel=1e-5)
    assert meter.measured_by == "module"
    assert "at each of 5 measurements in a row" in str(meter.reason)


def test_two_meters_on_one_module(glyphs: eb.Dataset, colour: eb.Dataset) -> None:
    module, part = net(), glyphs.subset(test=30, seed=1)
    first, second = eb.Meter(module, glyphs), eb.Meter(module, part, tolerance=0.1)
    for _ in range(3):
        in_place(module)
        first.step(1.0)
        second.step(1.0)
    assert first.test_loss == pytest.approx(truth(module, glyphs), rel=1e-5)
    assert second.test_loss == pytest.approx(truth(module, part), rel=1e-5)
    assert first.end().steps == second.end().steps == 3


def test_a_meter_that_the_module_calls_says_so(glyphs: eb.Dataset) -> None:
    meters: list[Any] = []

    class Calls(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.within = net()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for meter in meters:
                meter.step(1.0)
            return torch.stack([self.within(x)]).sum(0)

    meter = eb.Meter(Calls(), glyphs)
    meters.append(meter)
    with pytest.raises(eb.EverybatchError, match="the meter is at work"):
        meter.evaluate()


def test_why_a_module_is_run_is_logged(glyphs: eb.Dataset, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "everybatch.train"):
        meter = eb.Meter(net().double(), glyphs)
    assert "the module is measured by running it" in caplog.text
    assert repr(meter).startswith("<Meter: Net on glyphs, 0 steps, test accuracy")
    assert "torch.float64" in repr(meter)
