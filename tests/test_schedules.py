"""Schedules: over 1,000 steps equal to `torch.optim.lr_scheduler`, alone and within a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

import everybatch as eb
from everybatch import schedules
from everybatch.errors import ArgumentError
from everybatch.schedules import Schedule
from parity import assert_same, both
from test_parity import plain_tiny

STEPS, PER_EPOCH, LR = 1000, 10, 0.05
Make = Callable[[torch.optim.Optimizer], Any]


def warmed_up(steps: int, factor: float, then: Make) -> Make:
    def make(optimizer: torch.optim.Optimizer) -> Any:
        line = lr_scheduler.LinearLR(optimizer, start_factor=factor, total_iters=steps)
        return lr_scheduler.SequentialLR(optimizer, [line, then(optimizer)], milestones=[steps])

    return make


# What a user writes here, and what one writes with PyTorch for the same run.
PAIRS: dict[str, tuple[Schedule, Make]] = {
    "constant": (schedules.constant(), lambda o: lr_scheduler.LambdaLR(o, lambda _: 1.0)),
    "step": (schedules.step(300, gamma=0.3), lambda o: lr_scheduler.StepLR(o, 300, gamma=0.3)),
    "step, each epoch": (schedules.step(gamma=0.97), lambda o: lr_scheduler.StepLR(o, PER_EPOCH, gamma=0.97)),
    "multistep": (schedules.multistep([10, 500, 999]), lambda o: lr_scheduler.MultiStepLR(o, [10, 500, 999])),
    "exponential": (
        schedules.exponential(1e-5),
        lambda o: lr_scheduler.ExponentialLR(o, gamma=(1e-5 / LR) ** (1 / (STEPS - 1))),
    ),
    "linear": (schedules.linear(), lambda o: lr_scheduler.LinearLR(o, 1.0, 0.0, total_iters=STEPS)),
    "linear, from here to there": (
        schedules.linear(LR / 4, 0.6, 0.9),
        lambda o: lr_scheduler.SequentialLR(
            o,
            [lr_scheduler.LambdaLR(o, lambda _: 1.0), lr_scheduler.LinearLR(o, 1.0, 0.25, total_iters=300)],
            milestones=[600],
        ),
    ),
    "cosine": (schedules.cosine(), lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=STEPS)),
    "cosine to a floor": (
        schedules.cosine(min_lr=0.004),
        lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=STEPS, eta_min=0.004),
    ),
    "one cycle": (schedules.one_cycle(), lambda o: lr_scheduler.OneCycleLR(o, max_lr=LR, total_steps=STEPS)),
    "one cycle with numbers": (
        schedules.one_cycle(0.123, 7.0, 30.0, base_momentum=0.7, max_momentum=0.9),
        lambda o: lr_scheduler.OneCycleLR(
            o,
            max_lr=LR,
            total_steps=STEPS,
            pct_start=0.123,
            div_factor=7.0,
            final_div_factor=30.0,
            base_momentum=0.7,
            max_momentum=0.9,
        ),
    ),
    "warm-up": (
        schedules.warmup(150),
        warmed_up(150, 1 / 3, lambda o: lr_scheduler.LambdaLR(o, lambda _: 1.0)),
    ),
    "warm-up and cosine": (
        schedules.warmup(100, "cosine", start_factor=0.01),
        warmed_up(100, 0.01, lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=STEPS - 100)),
    ),
    "warm-up and steps": (
        schedules.warmup(7, schedules.step(200, gamma=0.5), start_factor=1.0),
        warmed_up(7, 1.0, lambda o: lr_scheduler.StepLR(o, 200, gamma=0.5)),
    ),
}


def pytorchs(make: Make, steps: int = STEPS, lr: float = LR) -> np.ndarray:
    """The learning rate of each step, read from PyTorch's optimizer."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr, momentum=0.9)
    scheduler = make(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return np.array(rates)


@pytest.fixture(scope="module")
def few() -> eb.Dataset:
    return eb.datasets.glyphs(train=PER_EPOCH * 8, test=20)


@pytest.fixture(scope="module")
def line() -> eb.Network:
    """One layer, so that 1,000 steps take a moment."""
    return eb.Network([eb.Flatten(), eb.Linear(784, 10)], name="line")


@pytest.mark.parametrize("name", PAIRS)
def test_rates_are_pytorchs(name: str) -> None:
    schedule, make = PAIRS[name]
    rates = schedule.rates(STEPS, LR, PER_EPOCH)
    assert (rates.dtype, rates.shape) == (np.float64, (STEPS,))
    np.testing.assert_allclose(rates, pytorchs(make), rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("name", PAIRS)
def test_a_run_records_those_rates(name: str, line: eb.Network, few: eb.Dataset) -> None:
    schedule, make = PAIRS[name]
    arguments: dict[str, Any] = {"optimizer": "sgd", "momentum": 0.9, "evaluate_every": STEPS, "progress": False}
    run = eb.train(line, few, steps=STEPS, batch_size=8, lr=LR, schedule=schedule, device="cpu", **arguments)
    assert (run.lr.dtype, run.lr.shape) == (np.float64, (STEPS,))
    np.testing.assert_allclose(run.lr, pytorchs(make), rtol=1e-9, atol=1e-15)


# ---- what the rates do to the weights ------------------------------------------------------------


class Scheduled:
    """A PyTorch optimizer whose every step is followed by one of its scheduler."""

    def __init__(self, optimizer: torch.optim.Optimizer, make: Make) -> None:
        self.optimizer, self.scheduler = optimizer, make(optimizer)

    def zero_grad(self) -> None:
        self.optimizer.zero_grad()

    def step(self) -> None:
        self.optimizer.step()
        self.scheduler.step()


OPTIMIZERS: dict[str, tuple[dict[str, Any], Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]]] = {
    "momentum": (
        {"optimizer": "sgd", "momentum": 0.9, "lr": 0.1},
        lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
    ),
    "nesterov": (
        {"optimizer": "sgd", "momentum": 0.9, "nesterov": True, "lr": 0.1},
        lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9, nesterov=True),
    ),
    "adam": ({"lr": 0.01}, lambda parameters: torch.optim.Adam(parameters, lr=0.01)),
    "adamw": ({"optimizer": "adamw", "lr": 0.01}, lambda parameters: torch.optim.AdamW(parameters, lr=0.01)),
    "rmsprop": (
        {"optimizer": "rmsprop", "lr": 0.001, "momentum": 0.9},
        lambda parameters: torch.optim.RMSprop(parameters, lr=0.001, momentum=0.9),
    ),
    "nadam": ({"optimizer": "nadam", "lr": 0.01}, lambda parameters: torch.optim.NAdam(parameters, lr=0.01)),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("cycle_momentum", [True, False])
def test_one_cycle_trains_as_pytorch_does(name: str, cycle_momentum: bool, tiny: eb.Network) -> None:
    arguments, plain = OPTIMIZERS[name]
    data = eb.datasets.glyphs(train=1200, test=100)  # 60 steps

    def scheduled(parameters: Iterable[nn.Parameter]) -> Any:
        return Scheduled(
            plain(parameters),
            lambda o: lr_scheduler.OneCycleLR(
                o, max_lr=arguments["lr"], total_steps=60, cycle_momentum=cycle_momentum, div_factor=10
            ),
        )

    schedule = schedules.one_cycle(div_factor=10, cycle_momentum=cycle_momentum)
    run, losses = both(tiny, plain_tiny(), data, scheduled, batch_size=20, schedule=schedule, **arguments)
    assert run.steps == 60
    assert_same(run, losses)


def test_warm_up_then_one_cycle_moves_the_momentum_from_the_right_step(tiny: eb.Network) -> None:
    # Of 40 steps, 10 in a straight line with the momentum as given, then one cycle of 30. PyTorch's OneCycleLR sets
    # the momentum when it is made, so that it is made when it begins.
    data = eb.datasets.glyphs(train=800, test=100)

    class InTurn(Scheduled):
        def __init__(self, optimizer: torch.optim.Optimizer) -> None:
            super().__init__(optimizer, lambda o: lr_scheduler.LinearLR(o, start_factor=0.2, total_iters=10))
            self.taken = 0

        def step(self) -> None:
            super().step()
            self.taken += 1
            if self.taken == 10:
                self.optimizer.param_groups[0].pop("initial_lr")
                self.scheduler = lr_scheduler.OneCycleLR(self.optimizer, max_lr=0.1, total_steps=30)

    run, losses = both(
        tiny,
        plain_tiny(),
        data,
        lambda parameters: InTurn(torch.optim.SGD(parameters, lr=0.1, momentum=0.9)),  # type: ignore[arg-type,return-value]
        batch_size=20,
        optimizer="sgd",
        momentum=0.9,
        lr=0.1,
        schedule=schedules.warmup(10, "one_cycle", start_factor=0.2),
    )
    assert run.steps == 40
    assert_same(run, losses)


# ---- plateau -------------------------------------------------------------------------------------


PLATEAUS: dict[str, tuple[Schedule, dict[str, Any]]] = {
    "defaults": (schedules.plateau(), {}),
    "impatient": (schedules.plateau(factor=0.5, patience=0), {"factor": 0.5, "patience": 0}),
    "threshold": (
        schedules.plateau(factor=0.3, patience=2, threshold=0.05),
        {"factor": 0.3, "patience": 2, "threshold": 0.05},
    ),
    "cooldown": (
        schedules.plateau(factor=0.3, patience=1, cooldown=3),
        {"factor": 0.3, "patience": 1, "cooldown": 3},
    ),
    "floor": (
        schedules.plateau(factor=0.3, patience=1, min_lr=0.02),
        {"factor": 0.3, "patience": 1, "min_lr": 0.02},
    ),
}


@pytest.mark.parametrize("name", PLATEAUS)
@pytest.mark.parametrize("monitor", ["validation_loss", "validation_accuracy"])
def test_a_plateau_is_reached_when_pytorchs_is(name: str, monitor: str, line: eb.Network, few: eb.Dataset) -> None:
    # The run's own measurements go into ReduceLROnPlateau, step by step.
    schedule, numbers = PLATEAUS[name]
    run = eb.train(
        line,
        few,
        steps=STEPS,
        batch_size=8,
        optimizer="sgd",
        lr=0.5,
        schedule=schedule,
        validation=16,
        monitor=monitor,
        evaluate_every=10,
        progress=False,
        device="cpu",
    )
    values = dict(zip(run.eval_step.tolist(), getattr(run, monitor).tolist(), strict=True))
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.5)
    mode: Any = "min" if monitor.endswith("loss") else "max"
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, mode, **numbers)
    expected = []
    for step in range(STEPS):
        expected.append(optimizer.param_groups[0]["lr"])
        if step + 1 in values:
            scheduler.step(values[step + 1])
    np.testing.assert_allclose(run.lr, expected, rtol=1e-12)
    assert len(np.unique(run.lr)) > 1  # it was reached
    if "min_lr" in numbers:
        assert run.lr[-1] == numbers["min_lr"]


def test_a_plateau_is_not_reached_where_nothing_is_measured() -> None:
    assert schedules.plateau().listens
    assert schedules.warmup(5, "plateau").listens
    assert not schedules.warmup(5, "cosine").listens
    np.testing.assert_array_equal(schedules.plateau().rates(50, 0.1), np.full(50, 0.1))


# ---- names, forms, comparison --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["constant", "cosine", "one_cycle", "plateau", "step"])
def test_a_name_stands_for_the_defaults(name: str, quick: Callable[..., eb.Run]) -> None:
    run = quick(schedule=name, validation=20, epochs=2)
    expected = getattr(schedules, name)()
    assert run.config["training"]["schedule"] == expected.data
    np.testing.assert_array_equal(run.lr, expected.rates(run.steps, 1e-3, run.steps // 2))


def test_none_is_constant(quick: Callable[..., eb.Run]) -> None:
    run = quick(lr=0.002)
    assert run.config["training"]["schedule"] == {"type": "constant"}
    np.testing.assert_array_equal(run.lr, np.full(run.steps, 0.002))


@pytest.mark.parametrize("name", PAIRS)
def test_a_schedule_is_its_text_and_its_data(name: str) -> None:
    schedule, _ = PAIRS[name]
    again = eval(repr(schedule), {"schedules": schedules})
    assert again == schedule
    assert hash(again) == hash(schedule)
    assert Schedule(schedule.data) == schedule


def test_equal_numbers_are_equal_schedules() -> None:
    assert schedules.cosine(0) == schedules.cosine(0.0) == Schedule({"type": "cosine", "min_lr": 0})
    assert len({schedules.cosine(0), Schedule({"min_lr": 0, "type": "cosine"}), schedules.cosine(1.0)}) == 2
    assert schedules.cosine() != schedules.cosine(1e-9)
    assert schedules.step() != "step"
    assert repr(schedules.warmup(3, schedules.step(2), start_factor=0.5)) == (
        "schedules.warmup(steps=3, start_factor=0.5, then=schedules.step(every=2, gamma=0.1))"
    )


def test_the_lowest_rate_may_be_the_only_one(quick: Callable[..., eb.Run]) -> None:
    assert set(quick(schedule=schedules.cosine(0.01), lr=0.01).lr.tolist()) == {0.01}
    assert schedules.exponential(1.0).rates(3, lr=0.01).tolist() == pytest.approx([0.01, 0.1, 1.0])  # is asked to rise


# ---- errors --------------------------------------------------------------------------------------


CALLS: dict[str, tuple[Callable[[], object], type[Exception], str]] = {
    "rates without end": (lambda: schedules.cosine().rates(2**53), ArgumentError, f"steps is {2**53}.* {10**8} "),
    "step of 0": (lambda: schedules.step(0), ArgumentError, "every is 0"),
    "step of a week": (lambda: schedules.step("week"), ArgumentError, "every is 'week'.*'epoch'"),
    "step of half": (lambda: schedules.step(1.5), TypeError, "every must be a whole number"),  # type: ignore[arg-type]
    "gamma 0": (lambda: schedules.step(gamma=0), ArgumentError, "gamma is 0"),
    "gamma nan": (lambda: schedules.step(gamma=float("nan")), ArgumentError, "gamma is nan"),
    "gamma of text": (lambda: schedules.step(gamma="x"), TypeError, "gamma must be a number"),  # type: ignore[arg-type]
    "no milestones": (lambda: schedules.multistep([]), ArgumentError, "milestones must be.*rise"),
    "falling milestones": (lambda: schedules.multistep([5, 3]), ArgumentError, "milestones must be.*rise"),
    "one milestone": (lambda: schedules.multistep(5), TypeError, "milestones must be"),  # type: ignore[arg-type]
    "milestone of half": (lambda: schedules.multistep([0.5]), TypeError, r"milestones\[0\]"),  # type: ignore[list-item]
    "final_lr 0": (lambda: schedules.exponential(0), ArgumentError, "final_lr is 0"),
    "min_lr": (lambda: schedules.cosine(-1), ArgumentError, "min_lr is -1"),
    "pct_start": (lambda: schedules.one_cycle(1.0), ArgumentError, "pct_start is 1"),
    "div_factor": (lambda: schedules.one_cycle(div_factor=0), ArgumentError, "div_factor is 0"),
    "momentum": (lambda: schedules.one_cycle(max_momentum=1), ArgumentError, "max_momentum is 1"),
    "cycle_momentum": (lambda: schedules.one_cycle(cycle_momentum=1), TypeError, "cycle_momentum"),  # type: ignore[arg-type]
    "factor": (lambda: schedules.plateau(factor=1), ArgumentError, "factor is 1"),
    "patience": (lambda: schedules.plateau(patience=-1), ArgumentError, "patience is -1"),
    "threshold": (lambda: schedules.plateau(threshold=-1), ArgumentError, "threshold is -1"),
    "no warm-up": (lambda: schedules.warmup(0), ArgumentError, "steps is 0"),
    "start_factor": (lambda: schedules.warmup(3, start_factor=1.5), ArgumentError, "start_factor is 1.5"),
    "twice": (lambda: schedules.warmup(3, schedules.warmup(3)), ArgumentError, "cannot follow a warm-up"),
    "then": (lambda: schedules.warmup(3, "cosin"), ArgumentError, "then is 'cosin'.*Did you mean 'cosine'"),
    "then of a number": (lambda: schedules.warmup(3, 5), TypeError, "then must be a schedule"),  # type: ignore[arg-type]
    "data": (lambda: Schedule({"type": "cosines"}), ArgumentError, "not a schedule.*cosines"),
    "nothing": (lambda: Schedule({}), ArgumentError, "not a schedule.*type"),
    "no steps": (lambda: schedules.cosine().rates(0), ArgumentError, "steps is 0"),
    "lr": (lambda: schedules.exponential(1e-3).rates(5, lr=0), ArgumentError, "lr is 0"),
    "least lr": (lambda: schedules.cosine(0.2).rates(5, lr=0.1), ArgumentError, r"min_lr 0\.2 lies above lr 0\.1"),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_numbers_that_cannot_work_are_refused_at_once(name: str) -> None:
    call, error, match = CALLS[name]
    with pytest.raises(error, match=match):
        call()


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"schedule": "cosin"}, ArgumentError, "schedule is 'cosin'.*Did you mean 'cosine'"),
        ({"schedule": "warmup"}, ArgumentError, "'constant', 'cosine', 'linear', 'one_cycle', 'plateau', 'step'"),
        ({"schedule": 0.1}, TypeError, "schedule must be a schedule of eb.schedules or its name, not 0.1"),
        ({"schedule": schedules.cosine}, TypeError, "schedule must be a schedule"),  # without the brackets
        ({"schedule": "one_cycle", "optimizer": "sgd"}, ArgumentError, "one-cycle.*momentum.*cycle_momentum=False"),
        ({"schedule": schedules.exponential(1.0), "lr": 0}, ArgumentError, "lr is 0"),
        ({"schedule": schedules.cosine(1.0), "lr": 0.1}, ArgumentError, r"cosine.*min_lr 1 lies above lr 0\.1"),
        ({"schedule": schedules.plateau(min_lr=0.2), "lr": 0.1}, ArgumentError, r"plateau.*min_lr 0\.2 lies above"),
        (
            {"schedule": schedules.warmup(2, schedules.cosine(1e-2))},
            ArgumentError,
            r"min_lr 0\.01 lies above lr 0\.001",
        ),
    ],
)
def test_schedules_that_a_run_cannot_follow(
    quick: Callable[..., eb.Run], arguments: dict[str, Any], error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        quick(callbacks=lambda _: pytest.fail("the training began"), **arguments)


# libtorch's fused kernel refuses a momentum of 0 with buffers, and PyTorch's RMSprop keeps them as they were.
@pytest.mark.parametrize("name", ["base_momentum", "max_momentum"])
def test_one_cycle_needs_a_momentum_above_0(name: str) -> None:
    for value in (0.0, 1.0):
        with pytest.raises(ArgumentError, match=f"{name} is {value:g}, and must lie between 0 and 1"):
            schedules.one_cycle(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("lr", [float("nan"), -1.0, float("inf")])
def test_rates_of_no_learning_rate_are_refused(lr: float) -> None:
    with pytest.raises(ArgumentError, match=r"lr is .*must be a finite number"):
        schedules.cosine().rates(3, lr=lr)


def test_no_schedule_takes_numbers_that_it_does_not_have() -> None:
    for kind in ("constant", "cosine"):
        with pytest.raises(ArgumentError, match='unknown option "x"'):
            schedules.Schedule({"type": kind, "x": 1})
