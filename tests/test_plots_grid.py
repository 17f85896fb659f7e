"""`plots.grid`: which curves stand where, and that all pictures share their axes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest

from everybatch import plots
from everybatch.errors import ArgumentError
from everybatch.run import Run
from test_plots import data_of, long_run, validated_run
from test_run import example_arrays, example_config, example_run


@pytest.fixture(autouse=True)
def close_figures() -> Iterator[None]:
    yield
    plt.close("all")


def legend_of(figure: Any) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


@pytest.mark.parametrize("metric", ["loss", "accuracy"])
def test_each_run_has_a_picture_with_its_curves(metric: str) -> None:
    runs = {"first": validated_run(), "second": long_run(seed=1), "third": long_run(200, seed=2)}
    axes = plots.grid(runs, metric=metric)
    assert [ax.get_title(loc="left") for ax in axes] == ["first", "second", "third"]
    for ax, run in zip(axes, runs.values(), strict=True):
        for name in ("train", "test"):
            x, y = data_of(ax, {"train": "training", "test": "test"}[name])
            np.testing.assert_array_equal(y, getattr(run, f"{name}_{metric}"))
            np.testing.assert_array_equal(x, run.eval_step if name == "test" else np.arange(1, run.steps + 1))
        last = f"{run.final_accuracy:.2%}" if metric == "accuracy" else f"{run.test_loss[-1]:.3g}"
        assert ax.get_title(loc="right") == last
    np.testing.assert_array_equal(data_of(axes[0], "validation")[1], getattr(runs["first"], f"validation_{metric}"))
    assert "validation" not in [line.get_label() for line in axes[1].lines]
    average = "median" if metric == "loss" else "mean"
    assert legend_of(axes[0].figure) == ["training", f"training, running {average}", "validation", "test"]


def test_all_share_their_axes() -> None:
    arrays = example_arrays(steps=100, eval_step=[0, 100])
    arrays["train_loss"][3] = 77.0
    axes = plots.grid({"wild": Run(arrays, example_config()), "calm": long_run(300)})
    assert len({ax.get_ylim() for ax in axes}) == len({ax.get_xlim() for ax in axes}) == 1
    assert axes[0].get_ylim()[1] > 77
    assert axes[0].get_xlim()[0] == 0
    assert axes[0].get_xlim()[1] >= 300
    assert {ax.get_yscale() for ax in axes} == {"log"}


@pytest.mark.parametrize(
    ("count", "columns", "expected"),
    [(1, None, (1, 1)), (2, None, (1, 2)), (5, None, (2, 3)), (16, None, (4, 4)), (20, None, (5, 4)), (5, 2, (3, 2)),
     (5, 1, (5, 1)), (2, 7, (1, 2))],
)  # fmt: skip
def test_rows_and_columns(count: int, columns: int | None, expected: tuple[int, int]) -> None:
    axes = plots.grid([example_run(seed=seed) for seed in range(count)], columns=columns)
    figure: Any = axes[0].figure
    assert len(axes) == len(figure.axes) == count  # no empty picture is left
    assert {ax.get_subplotspec().get_gridspec().get_geometry() for ax in figure.axes} == {expected}
    assert len(plt.get_fignums()) == 1
    figure.canvas.draw()


def test_ticks_are_named_where_no_picture_stands_below_or_beside() -> None:
    axes: Any = plots.grid([example_run(seed=seed) for seed in range(5)])  # three, and two below
    axes[0].figure.canvas.draw()

    def named(ax: Any, axis: str) -> bool:
        return any(tick.label1.get_visible() for tick in getattr(ax, f"{axis}axis").get_major_ticks())

    assert [named(ax, "x") for ax in axes] == [False, False, True, True, True]
    assert [named(ax, "y") for ax in axes] == [True, False, False, True, False]
    assert {ax.get_xlabel() for ax in axes} == {""}
    assert axes[0].figure.get_supxlabel() == "mini-batches"
    assert axes[0].figure.get_supylabel() == "loss (cross-entropy)"


def test_names_come_from_what_differs_or_from_the_network() -> None:
    assert [ax.get_title(loc="left") for ax in plots.grid([long_run(lr=0.1), long_run(lr=0.2)])] == ["lr 0.1", "lr 0.2"]
    assert plots.grid(long_run())[0].get_title(loc="left") == "tiny"
    two = plots.grid([long_run(), long_run(seed=1)], labels=["a", "$b"])
    assert [ax.get_title(loc="left") for ax in two] == ["a", r"\$b"]


def test_folders_bare_numbers_epochs_and_zoom(tmp_path: Path) -> None:
    example_run().save(tmp_path / "saved")
    axes = plots.grid([tmp_path / "saved", example_run(seed=1)], x="epoch", metric="accuracy", zoom=False)
    assert max(line.get_xdata().max() for line in axes[0].lines) == pytest.approx(7 / 4)
    assert axes[0].get_ylim() == (0, 1.02)
    figure: Any = axes[0].figure
    assert figure.get_supxlabel() == "epochs"
    bare = plots.grid({"mine": [0.9, 0.5], "theirs": [0.8]})
    assert data_of(bare[0], "training")[1].tolist() == [0.9, 0.5]
    assert bare[0].get_title(loc="right") == ""


def test_a_divergence_is_marked_in_its_picture() -> None:
    arrays, config = example_arrays(), example_config()
    arrays["train_loss"][5:] = np.inf
    config["status"] |= {"state": "diverged", "diverged_at": 5}
    axes = plots.grid({"wild": Run(arrays, config), "calm": example_run()})
    assert [[text.get_text() for text in ax.texts] for ax in axes] == [["diverged at step 5"], []]


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        (
            {"metric": "losses"},
            ArgumentError,
            "metric is 'losses': choose one of 'loss', 'accuracy'.*Did you mean 'loss'",
        ),
        ({"x": "hours"}, ArgumentError, "x is 'hours': choose one of"),
        ({"columns": 0}, ArgumentError, "columns is 0"),
        ({"columns": 1.5}, TypeError, "columns must be a whole number"),
        ({"smooth": -1}, ArgumentError, "smooth must be"),
        ({"labels": ["a"]}, ArgumentError, "1 labels for 2 runs"),
        ({"runs": {}}, ArgumentError, "nothing to draw in an empty dict"),
        ({"runs": [object()]}, TypeError, r"plots\.grid takes a Run"),
        ({"runs": example_run(steps=0, eval_step=[])}, ArgumentError, "ended before anything was measured"),
    ],
)
def test_what_cannot_be_drawn(arguments: dict[str, Any], error: type[Exception], match: str) -> None:
    given = {"runs": [example_run(), example_run(seed=1)]} | arguments
    with pytest.raises(error, match=match):
        plots.grid(given.pop("runs"), **given)
    assert plt.get_fignums() == []
