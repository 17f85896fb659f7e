"""The plots: what they draw, not how it looks. Expected numbers come from NumPy here, not from the code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.text import Text

from everybatch import plots
from everybatch.errors import ArgumentError
from everybatch.plots._curves import Curve, decimate, smooth, window_for
from everybatch.plots._labels import automatic_labels, spread
from everybatch.plots._zoom import zoomed
from everybatch.run import Run
from test_run import EVAL_STEP, example_arrays, example_config, example_run

OKABE_ITO = {"#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#000000"}
OTHERS = ("lr_finder", "grid", "sweep_bands", "sweep_curves", "sweep_grid", "sweep_parallel", "sweep_scatter")
# The first draws no runs, the second many Axes, the others sweeps: they have their own files.
ALL = [getattr(plots, name) for name in plots.__all__ if name not in OTHERS]
OVER_TIME = [plots.losses, plots.accuracy, plots.class_accuracy, plots.compare]


@pytest.fixture(autouse=True)
def close_figures() -> Iterator[None]:
    before = dict(mpl.rcParams)
    yield
    plt.close("all")
    assert dict(mpl.rcParams) == before  # nobody's settings are changed


def long_run(steps: int = 300, every: int = 1, classes: int = 3, seed: int = 0, **training: Any) -> Run:
    arrays = example_arrays(steps=steps, eval_step=list(range(0, steps + 1, every)), classes=classes, seed=seed)
    return Run(arrays, example_config(classes, **training))


def validated_run(steps: int = 300, seed: int = 0) -> Run:
    """A run with 5 validation images, whose curves are not those of the test set."""
    arrays = example_arrays(steps=steps, eval_step=list(range(steps + 1)), seed=seed)
    other = example_arrays(steps=steps, eval_step=list(range(steps + 1)), seed=seed + 100)
    for name in ("loss", "accuracy"):
        arrays[f"validation_{name}"] = other[f"test_{name}"]
    arrays |= {"validation_class_accuracy": other["class_accuracy"], "validation_indices": np.arange(5)}
    return Run(arrays, example_config())


def data_of(ax: Any, label: str) -> tuple[Any, Any]:
    """Return x and y of the line with this label."""
    (line,) = [line for line in ax.lines if line.get_label() == label]
    return np.asarray(line.get_xdata()), np.asarray(line.get_ydata())


def legend_of(ax: Any) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def texts_of(ax: Any) -> list[str]:
    return [text.get_text() for text in ax.texts]


def overlaps(ax: Any) -> list[tuple[str, str]]:
    """Return the texts in the Axes that cover each other in the picture, leaders aside."""
    ax.figure.canvas.draw()
    texts = [text for text in ax.texts if text.get_text()]
    boxes = np.array([Text.get_window_extent(text).extents for text in texts]).reshape(-1, 4)
    low, high = np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])
    apart = (low[:, None] > high[None]) | (low[None] > high[:, None])  # in x, in y
    return [(texts[i].get_text(), texts[j].get_text()) for i, j in np.argwhere(~apart.any(axis=2)) if j < i]


# ---- all of them -----------------------------------------------------------------------------


@pytest.mark.parametrize("plot", ALL)
def test_draws_into_the_given_axes_or_a_new_figure(plot: Callable[..., Any]) -> None:
    _, ax = plt.subplots()
    assert plot(example_run(), ax=ax) is ax
    assert len(plt.get_fignums()) == 1
    assert plot(example_run()) is not ax
    assert len(plt.get_fignums()) == 2


@pytest.mark.parametrize("plot", ALL)
def test_takes_runs_folders_lists_and_dicts(plot: Callable[..., Any], tmp_path: Path) -> None:
    run = example_run()
    run.save(tmp_path / "one")
    one, two = plot(run), plot(str(tmp_path / "one"))
    assert [line.get_xydata().tolist() for line in one.lines] == [line.get_xydata().tolist() for line in two.lines]
    plot([run, tmp_path / "one", example_run(seed=1)]).figure.canvas.draw()
    plot({"first": run, "second": tmp_path / "one"}).figure.canvas.draw()


@pytest.mark.parametrize("plot", ALL)
@pytest.mark.parametrize("runs", [3, None, {"a": 1}, [object()], object(), {1, 2}])
def test_refuses_what_is_no_run(plot: Callable[..., Any], runs: Any) -> None:
    with pytest.raises(TypeError, match=rf"plots\.{plot.__name__} takes a Run, the folder of a saved run"):
        plot(runs)


@pytest.mark.parametrize("plot", ALL)
def test_refuses_nothing_and_wrong_labels(plot: Callable[..., Any]) -> None:
    with pytest.raises(ArgumentError, match="nothing to draw in an empty dict"):
        plot({})
    with pytest.raises(ArgumentError, match="1 labels for 2 runs"):
        plot([example_run(), example_run(seed=1)], labels=["a"])
    with pytest.raises(ArgumentError, match="not both"):
        plot({"a": example_run()}, labels=["a"])
    with pytest.raises(TypeError, match="ax must be a matplotlib Axes, not ndarray"):
        plot(example_run(), ax=plt.subplots(2, 2)[1])
    with pytest.raises(FileNotFoundError, match="nowhere"):
        plot("nowhere")


@pytest.mark.parametrize("plot", OVER_TIME)
def test_refuses_unknown_x(plot: Callable[..., Any]) -> None:
    with pytest.raises(ArgumentError, match=r"x is 'epochs': choose one of .*'epoch'.*Did you mean 'epoch'"):
        plot(example_run(), x="epochs")


@pytest.mark.parametrize("plot", OVER_TIME)
@pytest.mark.parametrize(("smooth", "error"), [(-1, ArgumentError), (2.5, TypeError), (True, TypeError)])
def test_refuses_impossible_smoothing(plot: Callable[..., Any], smooth: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="smooth must be"):
        plot(example_run(), smooth=smooth)


@pytest.mark.parametrize("plot", ALL)
def test_one_evaluation_is_enough(plot: Callable[..., Any]) -> None:
    plot(example_run(steps=0, eval_step=[0])).figure.canvas.draw()


@pytest.mark.parametrize("plot", ALL)
def test_nan_everywhere_is_survived(plot: Callable[..., Any]) -> None:
    arrays = example_arrays()
    for name in ("train_loss", "train_accuracy", "test_loss", "test_accuracy", "class_accuracy"):
        arrays[name][:] = np.nan
    plot(Run(arrays, example_config())).figure.canvas.draw()


@pytest.mark.parametrize("plot", ALL)
def test_a_class_without_test_images(plot: Callable[..., Any]) -> None:
    arrays = example_arrays()
    arrays["class_accuracy"][:, 1] = np.nan
    arrays["confusion"][1] = 0
    plot(Run(arrays, example_config())).figure.canvas.draw()


@pytest.mark.parametrize("plot", ALL)
def test_names_with_dollars_are_no_mathematics(plot: Callable[..., Any]) -> None:
    config = example_config()
    config["dataset"]["classes"] = ["$1$_x", "$\\frac$", "a$"]
    config["network"]["name"] = "$net$^"
    config["dataset"]["name"] = "$\\bad$"
    run = Run(example_arrays(), config)
    plot({"$\\a$": run, "b": run}).figure.canvas.draw()
    plot(run).figure.canvas.draw()


@pytest.mark.parametrize("plot", [plots.losses, plots.accuracy, plots.class_accuracy, plots.compare])
def test_a_run_without_any_measurement_says_so(plot: Callable[..., Any]) -> None:
    with pytest.raises(ArgumentError, match="ended before"):
        plot(example_run(steps=0, eval_step=[]))


@pytest.mark.parametrize("plot", OVER_TIME)
def test_x_can_be_epochs_or_seconds(plot: Callable[..., Any]) -> None:
    arrays = example_arrays()
    run = Run(arrays, example_config())
    ends = {
        "step": 7.0,
        "epoch": 7 / 4,
        "seconds": arrays["train_seconds"].sum() + arrays["eval_seconds"].sum(),
    }
    labels = {"step": "mini-batches", "epoch": "epochs", "seconds": "seconds"}
    for x, end in ends.items():
        ax = plot(run, x=x)
        assert max(line.get_xdata().max() for line in ax.lines) == pytest.approx(end)
        assert ax.get_xlabel() == labels[x]
    with pytest.raises(ArgumentError, match="bare numbers have no seconds"):
        plot([[0.5, 0.6]] if plot is plots.class_accuracy else [0.5, 0.6], x="seconds")


@pytest.mark.parametrize("plot", OVER_TIME)
def test_a_hundred_thousand_steps_are_thinned_out(plot: Callable[..., Any]) -> None:
    steps = 100_000
    arrays = example_arrays(steps=steps, eval_step=list(range(0, steps + 1, 100)))
    arrays["train_loss"][77_777] = 50.0
    ax = plot(Run(arrays, example_config()))
    assert sum(len(line.get_xdata()) for line in ax.lines) < 12_000
    if plot is plots.losses:
        assert data_of(ax, "training, every batch")[1].max() == 50  # the one bad batch is still there


# ---- losses and accuracy ---------------------------------------------------------------------


def test_losses_of_one_run() -> None:
    run = long_run()
    ax = plots.losses(run)
    names = ["training, every batch", "training, median of 7 batches", "test, 50 images"]
    assert legend_of(ax) == names
    x, y = data_of(ax, names[0])
    assert np.array_equal(x, np.arange(1, 301))
    assert np.array_equal(y, run.train_loss)
    x, y = data_of(ax, names[2])
    assert np.array_equal(x, run.eval_step)
    assert np.array_equal(y, run.test_loss)
    assert ax.get_title(loc="left") == "tiny on shapes"
    colours = [to_hex(line.get_color()) for line in ax.lines]
    assert set(colours) <= OKABE_ITO
    assert colours[0] == colours[1] != colours[2]


def test_validation_has_a_colour_of_its_own() -> None:
    run = validated_run()
    ax = plots.losses(run)
    names = ["training, every batch", "training, median of 7 batches", "validation, 5 images", "test, 50 images"]
    assert legend_of(ax) == names
    x, y = data_of(ax, names[2])
    assert np.array_equal(x, run.eval_step)
    assert np.array_equal(y, run.validation_loss)
    assert np.array_equal(data_of(ax, names[3])[1], run.test_loss)
    colours = [to_hex(line.get_color()) for line in ax.lines]
    assert set(colours) <= OKABE_ITO
    assert len(set(colours)) == 3

    ax = plots.accuracy(run)
    last, best = run.validation_accuracy[-1], run.validation_accuracy.max()
    label = f"validation, 5 images: final {last:.2%}, best {best:.2%}"
    assert label in legend_of(ax)
    assert np.array_equal(data_of(ax, label)[1], run.validation_accuracy)


def test_validation_counts_for_the_limits() -> None:
    arrays = example_arrays()
    high = np.full(len(EVAL_STEP), 9.0, np.float32)
    arrays |= {"validation_loss": high, "validation_accuracy": arrays["test_accuracy"]}
    arrays |= {"validation_class_accuracy": arrays["class_accuracy"], "validation_indices": np.arange(5)}
    assert plots.losses(Run(arrays, example_config())).get_ylim()[1] > 9


def test_validation_curves_can_be_compared() -> None:
    runs = {"a": validated_run(), "b": validated_run(seed=1)}
    ax = plots.compare(runs, metric="validation_accuracy", smooth=1)
    for name, run in runs.items():
        assert np.array_equal(data_of(ax, name)[1], run.validation_accuracy)
    assert "validation" not in " ".join(legend_of(plots.losses(runs)))  # several runs would be a thicket


def test_losses_of_several_runs() -> None:
    ax = plots.losses([long_run(lr=0.1), long_run(lr=0.2, seed=1)])
    assert legend_of(ax) == ["lr 0.1", "lr 0.2", "training, median of 7", "test"]
    assert len(ax.lines) == 6
    assert len({to_hex(line.get_color()) for line in ax.lines}) == 2
    markers = {line.get_marker() for line in ax.lines} - {"None"}
    assert len(markers) == 2  # told apart without colour too


def test_losses_of_bare_numbers() -> None:
    ax = plots.losses([0.9, None, 0.5])
    x, y = data_of(ax, "every batch")
    assert x.tolist() == [1, 2, 3]
    assert np.array_equal(y, [0.9, np.nan, 0.5], equal_nan=True)
    assert len(plots.losses([[0.9, 0.5], np.array([0.8, 0.4, 0.3])]).lines) == 2
    assert legend_of(plots.losses({"mine": [1, 2], "theirs": [2, 1]})) == ["mine", "theirs"]


@pytest.mark.parametrize(
    ("runs", "error"),
    [
        (["a", 1.0], FileNotFoundError),
        ([1.0, "a"], TypeError),
        ([[[1.0]]], ArgumentError),
        ([], ArgumentError),
    ],
)
def test_bare_numbers_that_are_none(runs: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        plots.losses(runs)


def test_losses_turn_logarithmic_when_the_range_asks_for_it() -> None:
    assert plots.losses([2.3, 1.0, 0.5]).get_yscale() == "linear"
    assert plots.losses([2.3, 1.0, 0.5]).get_ylim()[0] == 0
    ax = plots.losses([2.3, 0.5, 0.05])
    assert ax.get_yscale() == "log"
    low, high = ax.get_ylim()
    assert low < 0.05
    assert high > 2.3
    assert plots.losses([2.3, 0.5, 0.05], scale="linear").get_yscale() == "linear"
    assert plots.losses([2.3, 0.5, 0.0]).get_yscale() == "linear"  # no logarithm of 0
    with pytest.raises(ArgumentError, match="needs losses above 0"):
        plots.losses([0.0, 0.0], scale="log")
    with pytest.raises(ArgumentError, match="scale is 'logarithmic': choose one of"):
        plots.losses([1.0], scale="logarithmic")


def test_losses_mark_the_divergence() -> None:
    arrays, config = example_arrays(), example_config()
    arrays["train_loss"][5:] = np.inf
    config["status"] |= {"state": "diverged", "diverged_at": 5}
    ax = plots.losses(Run(arrays, config))
    assert "diverged at step 5" in texts_of(ax)
    assert [5, 5] in [list(line.get_xdata()) for line in ax.lines]
    assert np.isfinite(ax.get_ylim()).all()
    assert np.isnan(data_of(ax, "training, every batch")[1][5:]).all()


def test_accuracy_tells_final_and_best_apart() -> None:
    run = long_run()
    ax: Any = plots.accuracy(run)
    assert legend_of(ax)[-1] == f"test, 50 images: final {run.final_accuracy:.2%}, best {run.best_accuracy:.2%}"
    assert np.array_equal(data_of(ax, legend_of(ax)[-1])[1], run.test_accuracy)
    assert ax.yaxis.get_major_formatter()(0.985, 0) == "98.5%"
    assert ax.yaxis.get_major_formatter()(0.98, 0) == "98%"


def test_accuracy_leaves_room_for_its_legend() -> None:
    ax: Any = plots.accuracy(long_run())
    ax.figure.canvas.draw()
    box = ax.get_legend().get_window_extent()
    for line in ax.lines[1:]:  # all but the single batches
        points = ax.transData.transform(line.get_xydata())
        assert not any(box.contains(x, y) for x, y in points)


def test_accuracy_without_zoom() -> None:
    assert plots.accuracy(long_run(), zoom=False).get_ylim() == (0.0, 1.02)


def test_zoom_forgets_the_first_fifth() -> None:
    curve = np.concatenate([np.linspace(0.1, 0.9, 20), np.linspace(0.9, 0.98, 80)])
    low, high = zoomed([curve])
    assert 0.88 < low < 0.9
    assert 0.98 < high < 1
    low, high = zoomed([np.ones(5)])
    assert low < 1 < high
    assert zoomed([np.full(3, np.nan)]) == (0.0, 1.02)


# ---- smoothing and thinning ------------------------------------------------------------------


def test_window_follows_the_length() -> None:
    assert [window_for(n, None) for n in (10, 59, 60, 938, 1000, 10**6)] == [1, 1, 1, 19, 21, 1001]
    assert [window_for(100, asked) for asked in (0, 1, 2, 9, 500)] == [1, 1, 3, 9, 101]


def test_running_mean_against_numpy() -> None:
    y = np.random.default_rng(0).random(200)
    y[50] = np.nan
    line = smooth(Curve(np.arange(200.0), y), 11, mean=True)
    assert np.isnan(line.y[50])  # what was not measured is not made up
    for place in (0, 2, 5, 52, 100, 196, 199):
        reach = min(5, place)
        assert line.y[place] == pytest.approx(np.nanmean(y[place - reach : place + reach + 1]))


def test_running_median_ignores_single_bad_batches() -> None:
    y = np.ones(300)
    y[[40, 41, 150]] = 1000
    assert np.array_equal(smooth(Curve(np.arange(300.0), y), 11).y, np.ones(300))
    line = smooth(Curve(np.arange(300.0), np.arange(300.0)), 11)
    assert np.allclose(line.y[:290], np.arange(290))  # a straight line stays where it is, at its start too


def test_thinning_keeps_the_extremes() -> None:
    y = np.random.default_rng(0).normal(size=50_000)
    y[1234], y[40_000], y[7] = 9, -9, np.nan
    line = decimate(Curve(np.arange(50_000.0), y), points=1000)
    assert len(line) <= 1002
    assert np.all(np.diff(line.x) > 0)
    assert np.array_equal(line.y, y[line.x.astype(int)], equal_nan=True)
    assert np.nanmax(line.y) == 9
    assert np.nanmin(line.y) == -9


# ---- classes ---------------------------------------------------------------------------------


def test_class_accuracy_has_a_named_line_for_each_class() -> None:
    run = long_run(steps=20, classes=10)
    ax = plots.class_accuracy(run)
    assert len(ax.lines) == 10
    for index, name in enumerate(run.classes):
        x, y = data_of(ax, name)
        assert np.array_equal(x, run.eval_step[1:])  # without the untrained network
        assert np.array_equal(y, run.class_accuracy[1:, index])
    assert sorted(texts_of(ax)) == sorted(run.classes)
    looks = {(to_hex(line.get_color()), str(line.get_linestyle())) for line in ax.lines}
    assert len(looks) == 10
    assert {colour for colour, _ in looks} <= OKABE_ITO


@pytest.mark.parametrize("classes", [2, 10, 16, 26])
def test_class_names_do_not_overlap(classes: int) -> None:
    arrays = example_arrays(steps=100, eval_step=list(range(101)), classes=classes)
    arrays["class_accuracy"][-30:] = 0.97  # all lines end at the same point
    assert overlaps(plots.class_accuracy(Run(arrays, example_config(classes)))) == []


def test_class_names_stand_in_the_order_of_the_lines() -> None:
    ends = [0.95, 0.99, 0.90, 0.951]
    ax = plots.class_accuracy(np.tile(ends, (5, 1)))
    ax.figure.canvas.draw()
    height = {text.get_text(): Text.get_window_extent(text).y0 for text in ax.texts}
    assert sorted(height, key=lambda name: height[name]) == ["2", "0", "3", "1"]


def test_many_classes_name_the_worst_ten() -> None:
    run = long_run(steps=30, classes=20)
    ax = plots.class_accuracy(run)
    assert len(ax.lines) == 20
    worst = np.argsort(run.class_accuracy[-1], kind="stable")[:10]
    assert len(texts_of(ax)) == 10
    named = [run.class_accuracy[-1][run.classes.index(name)] for name in texts_of(ax)]
    assert max(named) <= np.sort(run.class_accuracy[-1])[9]
    assert len(worst) == len(named)


def test_class_accuracy_says_which_class_had_no_images() -> None:
    arrays = example_arrays()
    arrays["class_accuracy"][:, 1] = np.nan
    assert "no test images: c1" in texts_of(plots.class_accuracy(Run(arrays, example_config())))


def test_class_accuracy_of_several_runs_differs_in_dashes() -> None:
    ax = plots.class_accuracy({"a": example_run(), "b": example_run(seed=1)})
    assert legend_of(ax) == ["a", "b"]
    assert len(ax.lines) == 6
    assert len({str(line.get_linestyle()) for line in ax.lines}) == 2
    with pytest.raises(ArgumentError, match="at most 4"):
        plots.class_accuracy([example_run()] * 5)


@pytest.mark.parametrize("plot", [plots.class_accuracy, plots.class_bars, plots.confusion])
def test_runs_with_other_classes_do_not_fit_together(plot: Callable[..., Any]) -> None:
    with pytest.raises(ArgumentError, match="different classes"):
        plot([long_run(steps=5, classes=3), long_run(steps=5, classes=4)])


def test_class_bars() -> None:
    run = example_run()
    ax: Any = plots.class_bars(run)
    assert [bar.get_height() for bar in ax.patches] == run.class_accuracy[-1].astype(float).tolist()
    assert [label.get_text() for label in ax.get_xticklabels()] == ["c0", "c1", "c2"]
    assert texts_of(ax)[:3] == [f"{100 * value:.1f}" for value in run.class_accuracy[-1].astype(float)]
    assert texts_of(ax)[3] == f"all images\n{run.final_accuracy:.2%}"
    assert ax.lines[0].get_ydata()[0] == run.final_accuracy


def test_class_bars_say_where_the_axis_starts() -> None:
    ax: Any = plots.class_bars([0.97, 0.99, 0.98])
    low, high = ax.get_ylim()
    assert 0.9 < low < 0.97
    assert high > 0.99
    assert ax.get_ylabel() == f"test accuracy (axis starts at {100 * low:.4g}%)"
    assert texts_of(ax)[3] == "mean of classes\n98.00%"
    ax = plots.class_bars([0.97, 0.99, 0.98], zoom=False)
    assert ax.get_ylim()[0] == 0
    assert ax.get_ylabel() == "test accuracy"
    assert plots.class_bars([0.1, 0.9]).get_ylim()[0] == 0  # nothing to zoom into
    assert plots.class_bars([1.0, 1.0]).get_ylim()[0] < 1


def test_class_bars_of_several_runs_have_hatches() -> None:
    ax: Any = plots.class_bars([example_run(), example_run(seed=1)], labels=["a", "b"])
    assert len(ax.patches) == 6
    assert len({bar.get_hatch() for bar in ax.patches}) == 2
    assert legend_of(ax)[0] == f"a (all images {example_run().final_accuracy:.2%})"
    with pytest.raises(ArgumentError, match="at most 4"):
        plots.class_bars([example_run()] * 5)


def test_class_bars_without_images() -> None:
    ax: Any = plots.class_bars([0.9, float("nan"), 0.8])
    assert texts_of(ax)[1] == "no images"
    assert ax.patches[1].get_height() == 0


# ---- confusion -------------------------------------------------------------------------------


def test_confusion_writes_counts_rows_true() -> None:
    counts = np.array([[90, 3, 0], [0, 95, 12], [1, 0, 80]])
    ax: Any = plots.confusion(counts)
    written = {(round(text.get_position()[1]), round(text.get_position()[0])): text.get_text() for text in ax.texts}
    assert written == {(r, c): str(counts[r, c]) for r in range(3) for c in range(3) if counts[r, c]}
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted class", "true class")
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the first class on top
    (mesh,) = ax.collections
    assert mesh.get_clim() == (0, 12)  # the errors, not the diagonal
    shown = mesh.get_array()
    assert np.array_equal(np.ma.getmaskarray(shown), np.eye(3, dtype=bool))
    assert np.array_equal(shown.filled(0), counts * (1 - np.eye(3)))


def test_confusion_names_the_classes_of_a_run() -> None:
    ax: Any = plots.confusion(example_run())
    assert [label.get_text() for label in ax.get_xticklabels()] == ["c0", "c1", "c2"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["c0", "c1", "c2"]


def test_confusion_adds_up_several_runs() -> None:
    runs = [example_run(), example_run(seed=1)]
    ax: Any = plots.confusion(runs, labels=["a", "b"])
    total = runs[0].confusion + runs[1].confusion
    assert texts_of(ax) == [str(count) for count in total.ravel() if count]
    assert ax.get_title(loc="left") == "sum of 2 runs: a, b"


@pytest.mark.parametrize("classes", [1, 2, 26, 100])
def test_confusion_of_any_number_of_classes(classes: int) -> None:
    counts = np.random.default_rng(0).integers(0, 1000, (classes, classes))
    ax: Any = plots.confusion(counts)
    assert overlaps(ax) == [] if classes <= 26 else True
    assert bool(ax.texts) == (classes <= 26)  # where they can be read


@pytest.mark.parametrize("counts", [np.ones((2, 3)), [[1, -1], [0, 1]], [[0.5, 0], [0, 1]], [[np.nan, 0], [0, 1]]])
def test_confusion_refuses_what_is_none(counts: Any) -> None:
    with pytest.raises(ArgumentError, match="the matrix must"):
        plots.confusion(counts)


# ---- compare and labels ----------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["test_accuracy", "test_loss", "train_accuracy", "train_loss"])
def test_compare_draws_the_metric(metric: str) -> None:
    runs = {"a": example_run(), "b": example_run(seed=1)}
    ax = plots.compare(runs, metric=metric)
    for name, run in runs.items():
        assert np.array_equal(data_of(ax, name)[1], getattr(run, metric))
    last = [getattr(run, metric)[-1] for run in runs.values()]
    written = [f"{v:.3g}" if metric.endswith("loss") else f"{v:.2%}" for v in np.asarray(last, float)]
    assert texts_of(ax) == [f"a  {written[0]}", f"b  {written[1]}"]


def test_compare_errors() -> None:
    run = example_run()
    x, y = data_of(plots.compare({"a": run}, metric="test_error"), "a")
    assert x.tolist() == EVAL_STEP
    assert np.allclose(y, 1 - run.test_accuracy)
    with pytest.raises(ArgumentError, match="Did you mean 'test_loss'"):
        plots.compare(run, metric="test_los")
    with pytest.raises(ArgumentError, match="needs a test error above 0"):
        plots.compare([1.0, 0.0], metric="test_error", scale="log")


def test_compare_smooths_above_all_points() -> None:
    ax = plots.compare([long_run(), long_run(seed=1)])
    assert len(ax.lines) == 4
    assert ax.get_ylabel() == "test accuracy, median of 7"
    assert overlaps(ax) == []


def test_labels_say_what_differs() -> None:
    def labels(*runs: Run) -> list[str]:
        return automatic_labels(runs, [f"run {n}" for n in range(len(runs))])

    assert labels(example_run()) == [""]
    assert labels(long_run(lr=0.1), long_run(lr=0.2)) == ["lr 0.1", "lr 0.2"]
    several = [long_run(lr=lr, batch_size=size) for lr in (0.1, 0.2) for size in (6, 7)]
    assert labels(*several)[1] == "batch size 7, lr 0.1"
    assert labels(example_run(), example_run()) == ["run 0", "run 1"]


def test_labels_of_folders_are_their_names(tmp_path: Path) -> None:
    for name in ("small", "large"):
        example_run().save(tmp_path / name)
    assert legend_of(plots.losses([tmp_path / "small", tmp_path / "large"]))[:2] == ["small", "large"]


@pytest.mark.parametrize("wanted", [[0.5] * 10, [0, 0, 1, 1], [0.1, 0.9], [0.99, 0.98, 0.2, 0.97], [1.0] * 30])
def test_spread_labels_keep_their_distance(wanted: list[float]) -> None:
    heights = spread(wanted, 0.05)
    assert np.all(np.diff(np.sort(heights)) >= 0.05 - 1e-6)
    assert np.all(np.diff(heights[np.argsort(wanted, kind="stable")]) > 0)  # and their order
    if len(wanted) * 0.05 <= 1:
        assert heights.min() >= -1e-9
        assert heights.max() <= 1 + 1e-9
    assert np.allclose(spread([0.1, 0.9], 0.05), [0.1, 0.9])
