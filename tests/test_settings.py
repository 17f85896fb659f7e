"""An option is declared once in the core and once in a Python signature: the two tell the same names and defaults."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import everybatch as eb
from everybatch import _core
from everybatch._core import CHOICES, DEFAULTS
from everybatch._settings import _CHECKS, Settings
from everybatch.cli.train import add
from everybatch.errors import ArgumentError, DeviceError

Quick = Callable[..., eb.Run]
CPUINFO = Path("/proc/cpuinfo")


def keywords(function: Callable[..., Any]) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters.values()
    return {each.name: each.default for each in parameters if each.kind is each.KEYWORD_ONLY}


def plain(value: Any) -> Any:
    return json.loads(json.dumps(value))


# ---- training ------------------------------------------------------------------------------------


def test_the_arguments_of_train_are_the_settings_of_the_core(glyphs: eb.Dataset) -> None:
    given = keywords(eb.train)
    assert plain(Settings.check(glyphs, **given).for_core()) == DEFAULTS["train"]
    for optimizer in CHOICES["optimizer"]:
        method = Settings.check(glyphs, **given | {"optimizer": optimizer}).for_core()["method"]
        assert plain(method) == {optimizer: DEFAULTS["optimizers"][optimizer]}
    assert set(DEFAULTS["optimizers"]) == set(CHOICES["optimizer"])


# What the core knows by another name, as a part of something, or not at all.
RENAMED = {"epochs", "steps", "optimizer", "select", "checkpoints", "checkpoint_every"}
PYTHONS = {"log_every", "device", "progress", "live", "callbacks", "folder", "keep_state_every"}


def test_every_argument_of_train_is_checked_and_reaches_the_core() -> None:
    names = set(keywords(eb.train))
    elsewhere = {"validation", "evaluate_on", "class_weight", "checkpoints", "folder", "progress", "live", "callbacks"}
    assert names - set(_CHECKS) == elsewhere
    parts = [DEFAULTS["train"], DEFAULTS["train"]["watch"], *DEFAULTS["optimizers"].values()]
    assert names - {name for part in parts for name in part} == (RENAMED - {"checkpoints"}) | PYTHONS


# `--schedule constant` is what None means. Images are always shuffled there, and these have no options.
ELSEWHERE = {"shuffle", "progress", "live", "callbacks"}


def test_the_options_of_the_command_line_are_those_of_train() -> None:
    declared: dict[str, Any] = {}

    class Group:
        def add_argument(self, name: str, **described: Any) -> None:
            declared[name.removeprefix("--").replace("-", "_")] = described.get("default")

        def add_argument_group(self, _: str) -> Group:
            return self

        def set_defaults(self, **_: Any) -> None: ...

        def add_parser(self, *_: Any, **__: Any) -> Group:
            return self

    add(Group())
    expected = keywords(eb.train)
    assert expected.keys() - declared.keys() == ELSEWHERE
    expected |= {"schedule": "constant", "record": [], "epochs": None}  # to be told from an --epochs 1 beside --steps
    assert {name: declared[name] for name in expected.keys() - ELSEWHERE} == {
        name: value for name, value in expected.items() if name not in ELSEWHERE
    }


def test_the_core_refuses_settings_that_it_does_not_know() -> None:
    settings = DEFAULTS["train"]
    _core.check_settings(settings, "cpu", 3)
    with pytest.raises(ArgumentError, match=r'unknown option "btch_size".*Did you mean "batch_size"'):
        _core.check_settings(settings | {"btch_size": 3}, "cpu", 3)
    with pytest.raises(ArgumentError, match=r'unknown option "momntum".*"momentum"'):
        _core.check_settings(settings | {"method": {"sgd": {"momntum": 0.9}}}, "cpu", 3)
    with pytest.raises(ArgumentError, match=r'unknown monitor "test_los".*Did you mean "test_loss"'):
        _core.check_settings(settings | {"watch": settings["watch"] | {"monitor": "test_los"}}, "cpu", 3)
    with pytest.raises(TypeError, match=r"^validation\[1\] must be a whole number, not 'x'$"):
        _core.check_settings(settings | {"validation": [0, "x"]}, "cpu", 3)
    with pytest.raises(ArgumentError, match="lr is NaN"):
        _core.check_settings(settings | {"lr": float("nan")}, "cpu", 3)


def test_indices_may_be_an_array_of_any_layout(tiny: eb.Network, glyphs: eb.Dataset) -> None:
    model, data = tiny.initialize(0, mean=[0.5], std=[0.5]), _core.Data(glyphs, "cpu")
    every_third = np.arange(60)[::3]

    def measured(indices: Any) -> Any:
        settings = DEFAULTS["train"] | {"length": {"steps": 1}, "evaluate_on": indices}
        return _core.train(model, data, settings, None, None, []).arrays["test_loss"].tolist()

    assert not every_third.flags.c_contiguous
    assert measured(every_third) == measured(every_third.tolist()) == measured(tuple(every_third.copy()))


def test_the_ends_of_a_run_have_the_names_that_saved_runs_hold() -> None:
    assert CHOICES["state"] == ("finished", "interrupted", "stopped", "diverged", "failed")


def test_a_run_ends_with_an_outcome(tiny: eb.Network, glyphs: eb.Dataset) -> None:
    def fail(step: eb.Step) -> None:
        assert step.total_steps == 3
        if step.step == 2:
            raise KeyError("that one")

    settings = DEFAULTS["train"]
    outcome = _core.train(tiny.initialize(0), _core.Data(glyphs, "cpu"), settings, None, None, [(fail, 1)])
    assert (outcome.state, outcome.model_step, outcome.diverged_at) == ("failed", 2, None)
    assert outcome.message == "'that one'"
    assert type(outcome.raised) is KeyError
    assert outcome.on_device is None
    assert len(outcome.arrays["train_loss"]) == 2
    assert outcome.model.network == tiny
    assert outcome.evaluation.keys() >= {"measured"}


# ---- schedules and networks ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "match"),
    [
        ({"type": "cosine", "min_lr": float("nan")}, "schedule: min_lr is NaN, and must be a finite number"),
        ({"type": "cosine", "min_lr": "low"}, 'not a schedule: it must be a number, not string "low"'),
        ({"type": "cosine", "min_lr": 0, "lr_min": 0}, 'unknown option "lr_min": choose one of "min_lr"'),
        ({"type": "cosin"}, 'not a schedule: unknown type "cosin".*Did you mean "cosine"'),
        ({"type": "multistep", "milestones": [2**70], "gamma": 0.1}, "1180591620717411303424 is too large"),
    ],
)
def test_data_that_are_no_schedule(data: dict[str, Any], match: str) -> None:
    with pytest.raises(ArgumentError, match=match):
        eb.schedules.Schedule(data)


def test_a_schedule_within_itself_ends() -> None:
    nested: dict[str, Any] = {"type": "constant"}
    for _ in range(100):
        nested = {"type": "warmup", "steps": 1, "start_factor": 0.5, "then": nested}
    with pytest.raises(ArgumentError, match="nested too deeply"):
        eb.schedules.Schedule(nested)
    nested["then"] = nested
    with pytest.raises(ArgumentError, match="nested too deeply"):
        _core.learning_rates(nested, 0.1, 1, 1)


def test_a_schedule_keeps_its_own_data() -> None:
    data = {"type": "multistep", "milestones": (3, 5), "gamma": 0.1}
    schedule = eb.schedules.Schedule(data)
    data["gamma"] = 7
    assert schedule == eb.schedules.multistep([3, 5], 0.1)


@pytest.mark.parametrize("name", eb.networks.__all__)
def test_the_options_of_a_network_are_those_of_the_core(name: str) -> None:
    options = keywords(getattr(eb.networks, name))
    assert plain(options) == DEFAULTS["networks"][name]
    assert _core.build(name, options) == _core.build(name, DEFAULTS["networks"][name])


def test_the_networks_are_those_of_the_core() -> None:
    assert set(DEFAULTS["networks"]) == set(eb.networks.__all__)
    with pytest.raises(ArgumentError, match=r'unknown network "resnet19".*Did you mean "resnet18"'):
        _core.build("resnet19", {})
    with pytest.raises(ArgumentError, match=r'unknown option "dropuot".*Did you mean "dropout"'):
        _core.build("lenet5", {"dropuot": 0.5})


@pytest.mark.parametrize(
    ("name", "options", "error", "match"),
    [
        ("lenet5", {"pool": "mx"}, ArgumentError, '^unknown pool "mx": choose one of "max", "avg"'),
        ("resnet", {"last_pool": "most"}, ArgumentError, '^unknown last_pool "most"'),
        ("resnet", {"shortcut": "projection_b"}, ArgumentError, 'Did you mean "projection_bn"'),
        ("resnet", {"activation": ["relu", "rellu"]}, ArgumentError, '^unknown activation "rellu".*"relu"'),
        ("resnet", {"activation": ["relu", 3]}, TypeError, r"^activation\[1\] must be a name, not 3$"),
        ("resnet", {"activation": None}, TypeError, "^activation must be a name or a list of them, not None$"),
        ("vgg11", {"widths": "wide"}, TypeError, "^widths must be a whole number or a list of them, not 'wide'$"),
        ("vgg11", {"widths": [8, 1.5]}, TypeError, r"^widths\[1\] must be a whole number, not 1\.5$"),
        ("kernel_net", {"widths": [True, 8]}, TypeError, r"^widths\[0\] must be a whole number, not True$"),
        ("lenet5", {"dropout": True}, TypeError, "^dropout must be a number, not True$"),
        ("vgg11", {"widths": {8, 9}}, TypeError, "^widths must be a whole number or a list"),
        ("lenet5", {"input_size": (1, 2, 3)}, ArgumentError, r"\[1, 2, 3\] has 3 numbers: give one or two"),
        ("lenet5", {"input_size": 28.0}, TypeError, "^input_size must be a whole number or a pair of them, not 28.0$"),
        ("lenet5", {"dropout": "half"}, TypeError, "^dropout must be a number, not 'half'$"),
        ("lenet5", {"dropout": 10**400}, ArgumentError, "^dropout: it is too large a number$"),
        ("lenet5", {"batch_norm": "yes"}, TypeError, "^batch_norm must be True or False, not 'yes'$"),
        ("resnet", {"stem_channels": "8"}, TypeError, "^stem_channels must be a whole number, not '8'$"),
    ],
)
def test_an_option_of_the_wrong_form_is_named(
    name: str, options: dict[str, Any], error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        getattr(eb.networks, name)(**options)


def test_numbers_may_be_numpys() -> None:
    same = eb.networks.alexnet(widths=(8, 9, 10, 11, 12), dropout=0.5, batch_norm=True, input_size=(28, 29))
    assert same == eb.networks.alexnet(
        widths=np.arange(8, 13, dtype=np.int32),
        dropout=np.float32(0.5),
        batch_norm=np.True_,
        input_size=np.array([28, 29]),
        num_classes=np.int64(10),
    )


# ---- the device ----------------------------------------------------------------------------------


def test_precisions_are_those_that_train_takes(quick: Quick) -> None:
    assert eb.precisions("cpu")[0] == "float32"
    assert set(eb.precisions("cpu")) < set(CHOICES["precision"])
    for precision in CHOICES["precision"]:
        if precision in eb.precisions("cpu"):
            assert quick(steps=1, precision=precision, device="cpu").steps == 1
        else:
            with pytest.raises(DeviceError, match=rf"precision .{precision}"):
                quick(steps=1, precision=precision, device="cpu")
    with pytest.raises(ArgumentError, match=r"unknown device .gpu"):
        eb.precisions("gpu")


@pytest.mark.skipif(not CPUINFO.exists(), reason="the kernel does not tell what the processor can")
def test_the_processor_says_itself_that_it_has_bfloat16() -> None:
    assert ("bfloat16" in eb.precisions("cpu")) == ("avx512_bf16" in CPUINFO.read_text().split())
