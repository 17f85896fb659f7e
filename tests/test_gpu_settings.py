"""What a run on a GPU changes in torch, and gives back: everything of it that needs no GPU."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

import pytest
import torch

import everybatch as eb
from everybatch._gpu import _repeatable, _Streams, _tf32
from everybatch.errors import DeviceError
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


def test_a_run_claims_repeatable_kernels_before_anything_uses_the_gpu(
    monkeypatch: pytest.MonkeyPatch, glyphs: eb.Dataset, tiny: eb.Network
) -> None:
    # A pretended GPU. As torch has it, fork_rng initialises CUDA, and cuBLAS reads the variable once, then.
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    initialised = False
    seen: list[str | None] = []

    def used() -> None:
        nonlocal initialised
        initialised = True
        seen.append(os.environ.get("CUBLAS_WORKSPACE_CONFIG"))

    @contextlib.contextmanager
    def fork_rng(**_: object) -> Iterator[None]:
        used()
        yield

    class NoData:
        def __init__(self, *_: object) -> None:
            raise DeviceError("only pretended")

    for name, value in {
        "torch.cuda.is_initialized": lambda: initialised,
        "torch.cuda.get_device_name": lambda _: used() or "pretended",
        "torch.cuda.Stream": lambda device, priority=0: (device, priority, object()),
        "torch.cuda.stream": contextlib.nullcontext,
        "torch.random.fork_rng": fork_rng,
        "everybatch._core.resolve_device": lambda _: "cuda:0",
        "everybatch._core.check_settings": lambda *_: None,
        "everybatch.training.Data": NoData,
    }.items():
        monkeypatch.setattr(name, value)
    for _ in range(2):
        with pytest.raises(DeviceError, match="only pretended"):
            eb.train(tiny, glyphs, device="cuda", deterministic=True, progress=False)
    assert set(seen) == {":4096:8"}
    assert not torch.are_deterministic_algorithms_enabled()


def test_runs_hand_their_streams_on(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[str, int, object]] = []

    def stream(device: str, priority: int = 0) -> tuple[str, int, object]:
        made.append((device, priority, object()))
        return made[-1]

    monkeypatch.setattr(torch.cuda, "Stream", stream)
    streams = _Streams()
    with streams.pair("cuda:0") as one:
        assert streams.beside(one[0]) is one[1]
        with streams.pair("cuda:0") as two:  # of a run beside it
            assert two[0] is not one[0]
            assert two[1] is not one[1]
    with pytest.raises(KeyError), streams.pair("cuda:0"):
        raise KeyError
    for _ in range(5):
        with streams.pair("cuda:0") as again:
            assert again in (one, two)
    with streams.pair("cuda:1"):
        pass
    assert [(device, priority) for device, priority, _ in made] == [("cuda:0", -1), ("cuda:0", 0)] * 2 + [
        ("cuda:1", -1),
        ("cuda:1", 0),
    ]


def test_tf32_is_for_gpus(quick: Callable[..., eb.Run]) -> None:
    with pytest.raises(DeviceError, match=r'"tf32".*NVIDIA.*"float32"'):
        quick(precision="tf32")
