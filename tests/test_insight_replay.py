"""`insight.replay`: a step once more, to the last bit as it was, and otherwise as PyTorch says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

import everybatch as eb
from everybatch.errors import ArgumentError
from everybatch.insight import replay
from everybatch.insight._replay import Replay

SGD: dict[str, Any] = {"optimizer": "sgd", "lr": 0.05}
CASES: dict[str, dict[str, Any]] = {
    "sgd": SGD,
    "momentum": SGD | {"momentum": 0.9, "nesterov": True},
    "adam": {"weight_decay": 0.01},
    "ema": {"ema": 0.9},
    "augmented": {"augment": eb.Augment(shift=2, rotate=5)},
    "falling": {
        "augment": eb.Augment(shift=2, erase=0.5),
        "augment_schedule": eb.schedules.linear(begin=0.5),
        "label_smoothing": 0.2,
        "label_smoothing_schedule": "linear",
    },
    "one cycle": {"schedule": "one_cycle"},
    "plateau": SGD | {"schedule": eb.schedules.plateau(patience=1, threshold=0.5), "validation": 30},
    "plateau sparsely": SGD
    | {"schedule": eb.schedules.plateau(patience=0, threshold=0.5), "validation": 30, "evaluate_every": 2},
    "bfloat16": {"precision": "bfloat16"},
    "fused": {"kernels": "fused", "label_smoothing": 0.1},
    "a part of the test images": {"evaluate_on": 20, "select": "best", "monitor": "test_loss"},
}


@pytest.fixture(autouse=True)
def close_figures() -> Iterator[None]:
    yield
    plt.close("all")


@pytest.mark.filterwarnings("ignore::everybatch.errors.SelectionWarning")
@pytest.mark.parametrize("given", CASES.values(), ids=CASES)
@pytest.mark.parametrize("every", [4, 99])  # from a state near by, and from the one before the first step
def test_a_step_that_is_not_changed_is_the_runs_own(glyphs: eb.Dataset, given: dict[str, Any], every: int) -> None:
    network = eb.networks.lenet5(dropout=0.2)
    run = eb.train(
        network, glyphs, **given, batch_size=32, steps=12, record=("weights",), weights_every=every, progress=False
    )
    found = replay(run, 9, later=1, dataset=glyphs)
    assert np.float32(found.loss) == run.test_loss[run.eval_step == 10][0]
    assert found.difference.loss == found.difference.accuracy == 0
    assert not found.difference.images.any()
    assert found.difference_later is not None
    assert found.difference_later.loss == 0
    # Training losses on the way, of the step and of the later one were compared, too.
    other = replay(run, 9, null=True, later=1, dataset=glyphs)
    assert other.difference.images.any()
    assert np.float32(other.loss) == np.float32(found.loss)


def test_another_rate_is_that_of_a_run_that_had_it(glyphs: eb.Dataset) -> None:
    def trained(**given: Any) -> eb.Run:
        network = eb.networks.lenet5()
        return eb.train(network, glyphs, batch_size=32, steps=8, momentum=0.9, progress=False, **SGD, **given)

    run = trained(record=("weights",))
    lower = trained(schedule=eb.schedules.multistep([7], gamma=0.25))  # only the last step has it
    for given in ({"lr": 0.0125}, {"lr_factor": 0.25}):
        found = replay(run, 7, **given)
        assert found.loss + found.difference.loss == pytest.approx(float(lower.test_loss[8]), abs=1e-6)
        assert found.loss == pytest.approx(float(run.test_loss[8]), abs=1e-6)
        assert found.loss_before == pytest.approx(float(run.test_loss[7]), abs=1e-6)
        assert found.difference.accuracy == pytest.approx(lower.test_accuracy[8] - run.test_accuracy[8], abs=1e-6)
        change = lower.class_accuracy[8] - run.class_accuracy[8]
        np.testing.assert_allclose(found.difference.class_accuracy, change, atol=1e-6)


def gradients(module: torch.nn.Module, images: np.ndarray, labels: np.ndarray) -> torch.Tensor:
    """Return the gradient of each image's cross-entropy, (images, parameters), by PyTorch's autograd in float64."""
    module = module.double()
    rows = []
    for image, label in zip(images, labels, strict=True):
        pixels = torch.from_numpy(image.astype(np.float64) / 255)[None, None]
        loss = torch.nn.functional.cross_entropy(module(pixels), torch.tensor([label]))
        rows.append(torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(module.parameters()))]))
    return torch.stack(rows)


# To the first order, an image of N takes the weights lr / N times its gradient further, and the test loss by that times
# the test gradient. Without batch norm, whose statistics couple the images.
def test_leaving_out_an_image_is_what_its_gradient_says(glyphs: eb.Dataset) -> None:
    rate, step, size = 0.005, 6, 26
    network = eb.networks.lenet5(batch_norm=False)
    options: dict[str, Any] = {"optimizer": "sgd", "lr": rate, "batch_size": size, "progress": False, "seed": 2}
    run = eb.train(network, glyphs, steps=12, record=("weights",), **options)
    before = eb.train(network, glyphs, steps=step, **options).model  # the weights that the step began with
    module = eb.export.torch_module(before, normalize=True)
    batch = run.batch_indices(step)
    own = gradients(module, glyphs.train_images[batch], glyphs.train_labels[batch])
    test = gradients(module, glyphs.test_images, glyphs.test_labels).mean(0)
    estimate = -rate / size * (own @ test).numpy()
    found = replay(run, step, without="each", dataset=glyphs)
    assert isinstance(found, eb.insight._replay.EachImage)
    assert np.corrcoef(found.effect, estimate)[0, 1] > 0.99
    assert np.polyfit(estimate, found.effect, 1)[0] == pytest.approx(1, abs=0.05)
    # plain descent carries nothing along, and the images' parts are nearly all of the step
    assert found.carried == 0
    assert abs(found.together) < 0.05 * abs(found.effect).sum()
    assert found.carried + found.effect.sum() + found.together == pytest.approx(found.loss - found.loss_before)
    alone = replay(run, step, without=int(batch[3]), dataset=glyphs)
    assert isinstance(alone, eb.insight._replay.Replay)
    assert alone.difference.loss == pytest.approx(-found.effect[3], abs=1e-12)
    # several at once, and all of a class
    label = glyphs.train_labels[batch[3]]
    of_class = batch[glyphs.train_labels[batch] == label]
    both = [replay(run, step, **given) for given in ({"without": of_class}, {"without_class": int(label)})]
    assert both[0].difference.loss == both[1].difference.loss  # type: ignore[union-attr]
    np.testing.assert_array_equal(both[1].without, of_class)  # type: ignore[union-attr]
    later = replay(run, step, without="each", later=2)
    assert later.effect[3] == pytest.approx(  # type: ignore[union-attr]
        -replay(run, step, without=int(batch[3]), later=2).difference_later.loss,  # type: ignore[union-attr]
        abs=1e-12,
    )


def test_paired_errors_are_those_of_the_images(glyphs: eb.Dataset) -> None:
    run = eb.train(eb.networks.lenet5(), glyphs, batch_size=32, steps=15, record=("weights",), progress=False)
    found = replay(run, 14, null=True, dataset=glyphs).difference
    labels, images = glyphs.test_labels, found.images
    assert found.loss == pytest.approx(images.mean())
    assert found.loss_error == pytest.approx(images.std(ddof=1) / np.sqrt(60))
    right = found.right.astype(float)
    assert found.accuracy == pytest.approx(right.mean())
    assert found.accuracy_error == pytest.approx(right.std() / np.sqrt(60))  # McNemar's is that of the differences
    assert (found.gained, found.lost) == ((right > 0).sum(), (right < 0).sum())
    for number in range(10):
        mine = images[labels == number]
        assert found.class_loss[number] == pytest.approx(mine.mean())
        assert found.class_loss_error[number] == pytest.approx(mine.std(ddof=1) / np.sqrt(len(mine)))
        assert found.class_accuracy[number] == pytest.approx(right[labels == number].mean())


def test_nothing_else_of_the_run_happens_again(glyphs: eb.Dataset, tmp_path: Path) -> None:
    called: list[int] = []
    run = eb.train(
        eb.networks.lenet5(),
        glyphs,
        batch_size=32,
        steps=6,
        record=("weights", "predictions", "grad_norm"),
        checkpoints=tmp_path / "weights",
        checkpoint_every=1,
        folder=tmp_path / "run",
        progress=False,
        callbacks=lambda step: called.append(step.step),
    )
    before = sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*"))
    arrays = {name: array.copy() for name, array in run._arrays.items()}
    threads = torch.get_num_threads()
    first = replay(run, 3, without=int(run.batch_indices(3)[0]), dataset=glyphs)
    assert called == [1, 2, 3, 4, 5, 6]
    assert sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*")) == before
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, run._arrays[name])
    assert torch.get_num_threads() == threads
    again = replay(tmp_path / "run", 3, without=int(run.batch_indices(3)[0]), dataset=glyphs)
    np.testing.assert_array_equal(first.difference.images, again.difference.images)  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def run(glyphs: eb.Dataset) -> eb.Run:
    return eb.train(eb.networks.lenet5(), glyphs, batch_size=32, steps=8, record=("weights",), progress=False)


def test_what_cannot_be_replayed_is_refused(quick: Callable[..., eb.Run], run: eb.Run, glyphs: eb.Dataset) -> None:
    with pytest.raises(AttributeError, match=r"train with record=\('weights',\) to keep states"):
        replay(quick(steps=2), 1)
    with pytest.raises(IndexError, match="valid steps are 0 to 7"):
        replay(run, 8)
    other = int(np.setdiff1d(np.arange(130), run.batch_indices(3))[0])
    for name, value, text in (
        ("without", other, f"image {other}, which is not in the batch of step 4"),
        ("without", "all", "without is 'all'"),
        ("without", run.batch_indices(4), "null step"),
        ("without_class", 10, "there are 10 classes"),
        ("without_class", "ten", "the classes are"),
        ("lr", -1.0, "lr is -1.0"),
        ("lr_factor", np.inf, "lr_factor is inf"),
        ("later", 4, "after step 4 this run took 3 more"),
    ):
        with pytest.raises(ArgumentError, match=text):
            replay(run, 4, dataset=glyphs, **{name: value})
    for both in ({"lr": 1.0, "lr_factor": 1.0}, {"null": True, "without_class": 1}, {"without": "each", "lr": 1.0}):
        with pytest.raises(ArgumentError):
            replay(run, 4, dataset=glyphs, **both)
    assert len(run.batch_indices(4)) == 2
    for without in ("each", run.batch_indices(4)[:1]):
        with pytest.raises(ArgumentError, match="one image would be left of the batch of step 4"):
            replay(run, 4, without=without, dataset=glyphs)
    with pytest.raises(TypeError, match="without must be"):
        replay(run, 4, without=0.5, dataset=glyphs)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="fingerprints"):
        replay(run, 4, dataset=eb.datasets.glyphs(train=130, test=60, seed=4))


@pytest.mark.parametrize("nothing", [[], (), np.empty(0, np.int64)])
def test_nothing_may_be_left_out(run: eb.Run, glyphs: eb.Dataset, nothing: Any) -> None:
    found = replay(run, 3, without=nothing, dataset=glyphs)
    assert isinstance(found, Replay)
    assert (found.change, len(found.without), found.difference.loss) == ("unchanged", 0, 0)


def changed(run: eb.Run, **arrays: np.ndarray) -> eb.Run:
    return eb.Run({**run._arrays, **arrays}, run.config)


def test_a_run_that_is_another_one_here_is_refused(run: eb.Run, glyphs: eb.Dataset) -> None:
    losses = run.train_loss.copy()
    losses[7] = np.nextafter(losses[7], 10, dtype=np.float32)
    with pytest.raises(ArgumentError, match="the batch of step 7 had a training loss of"):
        replay(changed(run, train_loss=losses), 7, dataset=glyphs)
    tests = run.test_loss.copy()
    tests[8] = np.nextafter(tests[8], 10, dtype=np.float32)
    with pytest.raises(ArgumentError, match="after step 7 it measured a test loss"):
        replay(changed(run, test_loss=tests), 7, dataset=glyphs)
    states = run.states.copy()
    states[:, :8] = 255
    with pytest.raises(ArgumentError, match="not the state of a run"):
        replay(changed(run, states=states), 7, dataset=glyphs)
    with pytest.raises(ArgumentError, match="kept no state before step 0"):
        replay(changed(run, states=run.states[1:], state_step=run.state_step[1:]), 0, dataset=glyphs)


def test_they_show_themselves(run: eb.Run, glyphs: eb.Dataset) -> None:
    one, each = replay(run, 4, null=True, later=2, dataset=glyphs), replay(run, 3, without="each", dataset=glyphs)
    assert repr(one).startswith("<Replay of step 4 with a gradient of zero, minus as it was: mean test loss ")
    assert "2 steps later mean test loss" in repr(one)
    assert repr(each).startswith("<EachImage of step 3: mean test loss ")
    assert list(one.frame.columns)[:2] == ["name", "test_images"]
    assert len(one.frame) == 10
    table = each.frame
    assert table["effect"].is_monotonic_decreasing
    np.testing.assert_array_equal(np.sort(table["image"]), np.sort(run.batch_indices(3)))
    ax = one.plot()
    assert len(ax.get_legend().get_texts()) == 4
    bars = each.plot().patches
    assert len(bars) == len(each.effect) + 2  # type: ignore[union-attr]
    # the last bar ends where the step ended
    last = bars[-1]
    assert last.get_y() + last.get_height() == pytest.approx(each.loss)  # type: ignore[attr-defined]


@pytest.mark.filterwarnings("ignore:.*became NaN:RuntimeWarning", "ignore:.*infinite:RuntimeWarning")
def test_a_step_that_diverges_can_be_drawn(glyphs: eb.Dataset) -> None:
    how: dict[str, Any] = {"optimizer": "sgd", "lr": 1e30, "steps": 2, "batch_size": 8, "record": ("weights",)}
    run = eb.train(eb.networks.lenet5(), glyphs, **how, progress=False)
    found = replay(run, 0, without="each", dataset=glyphs)
    assert np.isfinite(found.loss_before)  # type: ignore[union-attr]
    assert not np.isfinite(found.effect).any()  # type: ignore[union-attr]
    low, high = found.plot().get_ylim()
    assert low < found.loss_before < high  # type: ignore[union-attr]
