"""What a run on a GPU changes in torch, and gives back: everything of it that needs no GPU."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest
import torch

import everybatch as eb
from everybatch._gpu import _repeatable, _tf32
from test_train import assert_identical


def precisions() -> tuple[object, ...]:
    cudnn, products = torch.backends.cudnn, torch.backends.cuda.matmul
    return cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision, products.fp32_precision


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    cudnn, products = torch.backends.cudnn, torch.backends.cuda.matmul
    before = precisions()
    yield
    cudnn.allow_tf32, products.allow_tf32 = True, False
    torch.backends.fp32_precision = "none"
    cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision, products.fp32_precision = before


def older() -> None:
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True


def newer() -> None:
    torch.backends.cudnn.conv.fp32_precision = "ieee"
    torch.backends.cuda.matmul.fp32_precision = "tf32"


def everywhere() -> None:
    torch.backends.fp32_precision = "tf32"


def mixed() -> None:
    older()
    newer()


@pytest.mark.parametrize("wanted", [False, True])
@pytest.mark.parametrize("setting", [lambda: None, older, newer, mixed, everywhere])
def test_tf32_is_as_wanted_within_and_as_before_afterwards(setting: Callable[[], None], wanted: bool) -> None:
    setting()
    before = precisions()
    with _tf32(wanted):
        assert precisions() == (("tf32",) * 3 if wanted else ("ieee",) * 3)
        assert torch.backends.cudnn.allow_tf32 is wanted
        assert torch.backends.cuda.matmul.allow_tf32 is wanted
    assert precisions() == before


def test_repeatable_kernels_are_asked_for_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    cudnn = torch.backends.cudnn
    monkeypatch.setattr(cudnn, "benchmark", True)
    with _repeatable():
        assert torch.are_deterministic_algorithms_enabled()
        assert (cudnn.deterministic, cudnn.benchmark) == (True, False)
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert not torch.are_deterministic_algorithms_enabled()
    assert (cudnn.deterministic, cudnn.benchmark) == (False, True)


@pytest.mark.parametrize("value", [None, ":8:8"])
def test_too_late_for_repeatable_kernels(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    if value is not None:
        monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", value)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    with pytest.raises(eb.errors.DeviceError, match="CUBLAS_WORKSPACE_CONFIG"), _repeatable():
        pass


def test_a_deterministic_run_on_the_cpu_chooses_nothing_by_its_speed(
    quick: Callable[..., eb.Run], glyphs: eb.Dataset
) -> None:
    many = eb.datasets.glyphs(train=130, test=500)
    chosen, fixed = (quick(dataset=many, epochs=4, deterministic=flag) for flag in (False, True))
    assert chosen.config["evaluation"]["measured"]
    assert not fixed.config["evaluation"]["measured"]
    assert fixed.config["training"]["deterministic"] is True
    assert fixed.config["cuda"] is None
    repeated = [quick(deterministic=True, record=("predictions",)) for _ in range(2)]
    assert_identical(*repeated)
    with pytest.raises(TypeError, match="deterministic"):
        quick(deterministic="yes")
