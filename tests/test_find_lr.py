"""`find_lr`: the learning-rate range test, against a plain loop with PyTorch."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

import everybatch as eb
from everybatch.errors import ArgumentError, StopTraining
from everybatch.lr_finder import LrFinder
from parity import both
from test_parity import plain_tiny

Find = Callable[..., LrFinder]


@pytest.fixture(scope="module")
def data() -> eb.Dataset:
    return eb.datasets.glyphs(train=3000, test=400)


@pytest.fixture(scope="module")
def lenet5(data: eb.Dataset) -> LrFinder:
    return eb.find_lr(eb.networks.lenet5(), data, seed=0, device="cpu")


@pytest.fixture
def find(tiny: eb.Network, glyphs: eb.Dataset) -> Find:
    """On the small network and data: a moment."""

    def find(network: Any = tiny, dataset: Any = glyphs, **arguments: Any) -> LrFinder:
        return eb.find_lr(network, dataset, **{"batch_size": 32, "device": "cpu"} | arguments)

    return find


@pytest.fixture(autouse=True)
def close_figures() -> Iterator[None]:
    yield
    plt.close("all")


def made(lr: np.ndarray, loss: np.ndarray) -> LrFinder:
    return LrFinder(lr, loss.astype(np.float32), loss, len(lr) / 30)


# 100 steps of 1,000: the window is 33 steps wide, so that 67 have neighbours on one side only, whatever ended the test.
def test_a_test_that_ended_early_keeps_its_distance_from_the_beginning() -> None:
    lr, random = np.geomspace(1e-6, 1e-5, 100), np.random.default_rng(0)
    loss = random.normal(2.3, 0.1, 100)
    loss[:10] -= np.arange(10)
    found = LrFinder(lr, loss.astype(np.float32), loss, 1000 / 30)
    assert found.suggestion >= lr[67]
    assert LrFinder(lr[:20], loss[:20].astype(np.float32), loss[:20], 1000 / 30).suggestion == lr[18]


# ---- what is measured ----------------------------------------------------------------------------


def test_the_rates_rise_by_one_factor_from_start_to_end(find: Find) -> None:
    # np.geomspace, up to where the test ended.
    found = find(start=1e-5, end=0.3, steps=60)
    assert (found.lr.dtype, found.loss.dtype, found.smooth_loss.dtype) == (np.float64, np.float32, np.float64)
    assert len(found.lr) == len(found.loss) == len(found.smooth_loss) <= 60
    np.testing.assert_allclose(found.lr, np.geomspace(1e-5, 0.3, 60)[: len(found.lr)], rtol=1e-9)
    assert find(start=1e-9, end=1e-8, steps=25).lr[-1] == pytest.approx(1e-8)


def test_the_losses_are_those_of_a_plain_loop(tiny: eb.Network) -> None:
    # PyTorch's Adam, its rate set anew before each step.
    rates = np.geomspace(1e-5, 0.1, 20)

    class Rising(torch.optim.Adam):
        taken = 0

        def step(self, closure: Any = None) -> None:
            self.param_groups[0]["lr"] = rates[self.taken]
            self.taken += 1
            super().step(closure)

    data = eb.datasets.glyphs(train=320, test=50)  # 20 steps
    _, plain = both(tiny, plain_tiny(), data, Rising, batch_size=16)
    model = tiny.initialize(seed=1)
    found = eb.find_lr(model, data, start=1e-5, end=0.1, steps=20, batch_size=16, seed=7, device="cpu")
    np.testing.assert_allclose(found.loss, plain.train, rtol=1e-4)


def test_the_smoothed_loss_is_a_centred_gaussian_mean(find: Find) -> None:
    # np.convolve with a Gaussian whose deviation is a thirtieth of the steps asked for, over that of ones.
    found = find(steps=60)
    kernel = np.exp(-((np.arange(-90, 91) / 2) ** 2) / 2)
    loss = found.loss.astype(float)
    sums, norm = (np.convolve(values, kernel)[90 : 90 + len(loss)] for values in (loss, np.ones(len(loss))))
    np.testing.assert_allclose(found.smooth_loss, sums / norm, rtol=1e-9)


def test_it_ends_when_the_loss_has_risen_far(find: Find) -> None:
    found = find(optimizer="sgd", end=1e4, steps=200)
    assert len(found.lr) < 200
    assert np.isfinite(found.loss).all()
    assert found.loss[-1] > 2 * found.loss.min()


@pytest.mark.filterwarnings("ignore:the loss falls fastest")
def test_a_loss_that_becomes_infinite_ends_it_without_a_warning(find: Find) -> None:
    found = find(optimizer="sgd", start=1e-3, end=1e38, steps=100)
    assert np.isfinite(found.loss).all()
    assert np.isfinite(found.smooth_loss).all()


def test_nothing_is_changed(tiny: eb.Network, find: Find, glyphs: eb.Dataset) -> None:
    model = tiny.initialize(3)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    generator = torch.get_rng_state()
    find(model)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert torch.equal(torch.get_rng_state(), generator)


def test_a_seed_repeats_it(find: Find) -> None:
    assert find(seed=5).loss.tobytes() == find(seed=5).loss.tobytes()
    assert find(seed=6).loss.tobytes() != find(seed=5).loss.tobytes()


@pytest.mark.filterwarnings("ignore:the loss falls fastest")
def test_what_train_takes_is_passed_on(find: Find) -> None:
    seen: list[int] = []
    found = find(
        callbacks=lambda step: seen.append(step.step), label_smoothing=0.1, augment=eb.Augment(shift=1), steps=20
    )
    assert seen == list(range(1, len(found.lr) + 1))
    assert found.loss[0] != find(steps=20).loss[0]

    def stop(step: eb.Step) -> None:
        if step.step == 13:
            raise StopTraining

    assert len(find(callbacks=[stop]).lr) == 13


def test_one_test_image_is_enough(find: Find) -> None:
    assert len(find(dataset=eb.datasets.glyphs(train=100, test=1), steps=20).lr) == 20


@pytest.mark.parametrize("at", [1, 15])
def test_ctrl_c_is_raised(find: Find, at: int) -> None:
    def interrupt(step: eb.Step) -> None:
        if step.step == at:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        find(callbacks=interrupt)


def test_a_test_that_ends_at_once_says_why(find: Find) -> None:
    def stop(step: eb.Step) -> None:
        if step.step == 4:
            raise StopTraining("seen enough")

    with pytest.raises(ArgumentError, match=r"ended after 4 steps \(seen enough\)"):
        find(callbacks=stop)


# ---- what is suggested ---------------------------------------------------------------------------


def test_the_suggestion_is_where_the_loss_falls_fastest() -> None:
    # By calculus: -tanh falls fastest at 0, here at a rate of 1e-3; the parabola that follows is lowest at 0.1.
    rates = np.geomspace(1e-6, 10.0, 141)
    at = np.log10(rates)
    loss = np.where(at < -2, 1.5 - np.tanh(2 * (at + 3)), 0.5 + 0.2 * (at + 1) ** 2)
    found = made(rates, loss)
    assert found.suggestion == pytest.approx(1e-3, rel=0.15)  # between two rates that are 1.12 apart
    assert found.tenth_of_lowest == pytest.approx(1e-2)
    assert made(rates, 1 + rates).suggestion < 1e-4  # it only ever rises


def test_the_suggestion_trains_well(data: eb.Dataset, lenet5: LrFinder) -> None:
    assert 3e-4 < lenet5.suggestion < 2e-2  # Adam's rates that people use: 1e-3 is PyTorch's default

    def accuracy(lr: float) -> float:
        run = eb.train(eb.networks.lenet5(), data, lr=lr, evaluate_every="epoch", seed=1, progress=False, device="cpu")
        return run.final_accuracy

    suggested = accuracy(lenet5.suggestion)
    assert suggested > 0.85
    assert suggested > accuracy(lenet5.suggestion / 50) + 0.1
    assert suggested > accuracy(lenet5.suggestion * 50) + 0.1


def test_it_depends_little_on_the_number_of_steps(data: eb.Dataset, lenet5: LrFinder) -> None:
    for steps in (50, 200):
        found = eb.find_lr(eb.networks.lenet5(), data, steps=steps, device="cpu")
        assert 1 / 4 < found.suggestion / lenet5.suggestion < 4


def test_it_tells_of_itself(lenet5: LrFinder) -> None:
    last, suggested = f"{lenet5.lr[-1]:.1e}", f"{lenet5.suggestion:.1e}"
    assert repr(lenet5) == f"<LrFinder: {len(lenet5.lr)} steps from 1.0e-06 to {last}, try {suggested}>"


# ---- the picture ---------------------------------------------------------------------------------


def test_the_picture_shows_the_losses_and_the_suggestion(lenet5: LrFinder) -> None:
    ax: Any = lenet5.plot()
    assert ax.get_xscale() == "log"
    lines = {line.get_label(): line for line in ax.lines}
    for label, values in (("each batch", lenet5.loss), ("smoothed", lenet5.smooth_loss)):
        np.testing.assert_array_equal(lines[label].get_xdata(), lenet5.lr)
        np.testing.assert_array_equal(lines[label].get_ydata(), values)
    assert [text.get_text() for text in ax.texts] == [f"steepest: {lenet5.suggestion:.1e}"]
    low, high = ax.get_ylim()
    assert low < lenet5.smooth_loss.min() < lenet5.loss[0] < high
    ax.figure.canvas.draw()
    _, own = plt.subplots()
    assert eb.plots.lr_finder(lenet5, ax=own) is own
    assert lenet5.plot(ax=own) is own
    with pytest.raises(TypeError, match=r"draws what eb\.find_lr returns, not float"):
        eb.plots.lr_finder(0.1)  # type: ignore[arg-type]


# ---- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"start": 0}, ArgumentError, r"start is 0\.0 and end is 10\.0: give 0 < start < end"),
        ({"start": 1, "end": 1}, ArgumentError, "give 0 < start < end"),
        ({"start": 2, "end": 1}, ArgumentError, "give 0 < start < end"),
        ({"end": float("inf")}, ArgumentError, "end is inf"),
        ({"start": float("nan")}, ArgumentError, "start is nan"),
        ({"start": "low"}, TypeError, "start must be a number"),
        ({"steps": 19}, ArgumentError, "steps is 19.*at least 20"),
        ({"steps": 1.5}, TypeError, "steps must be a whole number"),
        ({"lr": 0.1}, ArgumentError, "lr cannot be chosen in find_lr"),
        ({"schedule": "cosine"}, ArgumentError, "schedule cannot be chosen in find_lr"),
        ({"augment_schedule": "linear"}, ArgumentError, "augment_schedule cannot be chosen in find_lr"),
        ({"label_smoothing_schedule": "linear"}, ArgumentError, "label_smoothing_schedule cannot be chosen"),
        ({"epochs": 2}, ArgumentError, "epochs cannot be chosen"),
        ({"evaluate_every": 2}, ArgumentError, "evaluate_every cannot be chosen"),
        ({"tolerance": 0.01}, ArgumentError, "tolerance cannot be chosen"),
        ({"validation": 0.1}, ArgumentError, "validation cannot be chosen"),
        ({"select": "best"}, ArgumentError, "select cannot be chosen"),
        ({"patience": 2}, ArgumentError, "patience cannot be chosen"),
        ({"optimizer": "adm"}, ArgumentError, "Did you mean 'adam'"),
        ({"batch_sise": 2}, TypeError, "batch_sise"),
        ({"callbacks": 5}, TypeError, "callbacks must be a function or a list of functions"),
        ({"network": "lenet5"}, TypeError, "network must be a Network or a Model, not str"),
        ({"dataset": "mnist"}, TypeError, "dataset must be an everybatch Dataset, not str"),
        ({"optimizer": "sgd", "start": 1e36, "end": 1e38}, ArgumentError, "not finite after .*choose a smaller start"),
    ],
)
def test_arguments_that_cannot_work(find: Find, arguments: dict[str, Any], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        find(**arguments)


# The loss falls fastest at 1e-3; a range that begins above that sees it fall from its first step on, or only rise.
def test_a_range_that_begins_too_high_suggests_nothing() -> None:
    rates = np.geomspace(1e-6, 10.0, 141)
    at = np.log10(rates)
    loss = 1.5 - np.tanh(2 * (at + 3)) + np.maximum(at + 1, 0) ** 2
    assert not made(rates, loss).begins_too_high
    late = made(rates[70:], loss[70:])
    assert late.begins_too_high
    assert "begin with a smaller start" in repr(late)
    assert made(rates, 1 + rates).begins_too_high


def test_find_lr_warns_of_it(data: eb.Dataset) -> None:
    with pytest.warns(RuntimeWarning, match="choose a smaller start than 0.03"):
        eb.find_lr(eb.networks.lenet5(), data, start=0.03, batch_size=32, device="cpu")


def test_a_batch_without_weights_is_no_divergence(find: Find) -> None:
    weights = [1.0, *[0.0] * 9]
    with pytest.raises(ArgumentError, match=r"has no image of a class whose class_weight is above 0.*larger"):
        find(class_weight=weights, batch_size=4, steps=100)
