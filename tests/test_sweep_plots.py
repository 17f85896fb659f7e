"""The pictures of sweeps: what they draw, and that their texts neither overlap nor leave the picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import PathPatch
from matplotlib.text import Text

import everybatch as eb
from everybatch import plots
from everybatch.errors import ArgumentError
from everybatch.plots._sweep_inputs import name_of, ordered, text_of
from everybatch.plots._sweep_palette import palette, spans_decades
from everybatch.plots._sweep_scales import scale_of, ticks_of
from everybatch.sweeps import Sweep
from sweep_stores import make_store

GRID = eb.sweeps.grid({"lr": [1e-4, 1e-3, 1e-2], "network.dropout": [0.0, 0.5]})
KINDS: dict[str, Callable[..., Any]] = {
    "curves": plots.sweep_curves,
    "bands": plots.sweep_bands,
    "grid": plots.sweep_grid,
    "parallel": plots.sweep_parallel,
    "scatter": plots.sweep_scatter,
}


@pytest.fixture(autouse=True)
def close_figures() -> Iterator[None]:
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """Six configs with two seeds; one trial failed, one is missing, and the second seeds are shorter."""
    return make_store(
        tmp_path_factory.mktemp("small"),
        GRID,
        seeds=2,
        level=lambda config: 0.9 + 0.01 * np.log10(config["lr"]),
        fate=lambda number: {2: "failed", 7: "missing"}.get(number, "finished"),
        length=lambda number: 40 if number % 2 else 60,
        every=3,
    )


def trained(sweep: Sweep) -> list[str]:
    return [trial for trial, status in sweep.table()["status"].items() if status not in ("failed", "missing")]


def legible(figure: Any) -> None:
    """No two texts cover each other, and none leaves the picture; those of ticks are matplotlib's affair."""
    figure.canvas.draw()
    axes = [axis for ax in figure.axes for axis in (ax.xaxis, ax.yaxis)]
    ticks = {id(text) for axis in axes for text in axis.findobj(Text)} - {id(axis.label) for axis in axes}
    texts = [text for text in figure.findobj(Text) if text.get_text().strip() and id(text) not in ticks]
    found = [(text.get_text(), Text.get_window_extent(text)) for text in texts]
    width, height = figure.canvas.get_width_height()
    for text, box in found:
        assert box.x0 > -1, text
        assert box.y0 > -1, text
        assert box.x1 < width + 1, text
        assert box.y1 < height + 1, text
    for place, (one, box) in enumerate(found):
        for other, its in found[:place]:
            assert not box.padded(-1).overlaps(its.padded(-1)), (one, other)


def figure_of(drawn: Any) -> Any:
    return (drawn[0] if isinstance(drawn, list) else drawn).figure


# ---- all of them -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_sweep_draws_itself_and_so_does_the_path_of_its_store(small: Sweep, kind: str) -> None:
    own, other = small.plot(kind), KINDS[kind](small.name)
    legible(figure_of(own))
    one, two = ([[line.get_xydata().tolist() for line in ax.lines] for ax in figure_of(x).axes] for x in (own, other))
    assert one == two


@pytest.mark.parametrize("kind", KINDS)
def test_draws_into_given_axes(small: Sweep, kind: str) -> None:
    if kind != "grid":
        _, ax = plt.subplots()
        assert small.plot(kind, ax=ax) is ax
        assert len(plt.get_fignums()) == 1


def test_refuses_what_it_cannot_draw(small: Sweep) -> None:
    with pytest.raises(ArgumentError, match=r"kind is 'curve': choose one of .* Did you mean 'curves'"):
        small.plot("curve")
    for kind, plot in KINDS.items():
        with pytest.raises(
            TypeError, match=f"plots.{plot.__name__} takes a Sweep, its trials, or the path of a stored one, not int"
        ):
            plot(3)
        with pytest.raises(FileNotFoundError, match="there is no sweep at nowhere"):
            plot("nowhere")
        option = {"grid": "rows", "parallel": "settings"}.get(kind, "by")
        with pytest.raises(ArgumentError, match=f"{option} is 'rl': choose one of 'lr', 'network.dropout', 'seed'"):
            small.plot(kind, **{option: "rl"})
    for kind in ("curves", "bands"):
        with pytest.raises(ArgumentError, match="metric is 'accuracy': choose one of"):
            small.plot(kind, metric="accuracy")
    for kind in ("parallel", "scatter"):
        with pytest.raises(ArgumentError, match=r"values is .* Did you mean 'best_test_accuracy'"):
            small.plot(kind, values="test_accuracy")


def test_says_that_there_were_no_validation_images(tmp_path: Path) -> None:
    sweep = make_store(tmp_path, GRID[:2], steps=20, validation=False)
    for kind in ("curves", "bands"):
        with pytest.raises(ArgumentError, match="no trial of this sweep has a validation loss: train with validation="):
            sweep.plot(kind, metric="validation_loss")
    for kind in ("parallel", "scatter"):
        with pytest.raises(ArgumentError, match="best validation loss"):
            sweep.plot(kind, values="best_validation_loss")


def wild(folder: Path, trials: int) -> Sweep:
    """Many trials of many settings with long names, some of which went wrong."""
    space = {
        "lr": eb.sweeps.log_uniform(1e-5, 1e-1),
        "network.dropout": eb.sweeps.uniform(0.0, 0.6),
        "network": ["lenet5", "a_network_with_a_very_long_name_indeed", "vgg$11$"],
        "schedule": [{"type": "cosine", "min_lr": 0.0}, {"type": "one_cycle", "pct_start": 0.3}, None],
        "weight_decay": [0.0, 1e-5, 1e-4, 1e-3],
    }
    return make_store(
        folder,
        eb.sweeps.random(space, trials),
        level=lambda config: 0.95 - 0.04 * abs(np.log10(config["lr"]) + 3),
        fate=lambda number: "failed" if number % 17 == 3 else "missing" if number % 23 == 5 else "finished",
        length=lambda number: 20 + number % 50,
    )


@pytest.mark.parametrize("trials", [1, 12, 100])
def test_texts_neither_overlap_nor_leave_the_picture(tmp_path: Path, trials: int) -> None:
    sweep = wild(tmp_path, trials)
    for kind in KINDS:
        legible(figure_of(sweep.plot(kind)))
        plt.close("all")
    for by in sweep.columns:
        for kind in ("curves", "scatter"):
            legible(figure_of(sweep.plot(kind, by=by)))
        legible(figure_of(sweep.plot("bands", by=by, metric="test_loss", band="std")))
        plt.close("all")


# ---- curves ----------------------------------------------------------------------------------------


def test_every_run_has_its_curve_in_the_colour_of_its_setting(small: Sweep) -> None:
    ax = plots.sweep_curves(small, metric="validation_loss")
    keys = trained(small)
    assert [line.get_label() for line in ax.lines] == keys
    table = small.table()
    colours: dict[float, set[str]] = {}
    for line, key in zip(ax.lines, keys, strict=True):
        run = small.run(key)
        np.testing.assert_array_equal(line.get_xdata(), run.eval_step)
        np.testing.assert_allclose(line.get_ydata(), run.validation_loss)
        colours.setdefault(table.at[key, "lr"], set()).add(to_hex(line.get_color()))
    assert all(len(found) == 1 for found in colours.values())
    assert len(set.union(*colours.values())) == 3
    legend = ax.get_legend()
    assert legend.get_title().get_text() == "lr"
    assert [text.get_text() for text in legend.get_texts()] == ["0.0001", "0.001", "0.01"]
    assert ax.get_xlabel() == "mini-batches   (10 of 12 trials; 1 failed, 1 missing)"


def test_error_is_what_accuracy_lacks(small: Sweep) -> None:
    right, wrong = plots.sweep_curves(small), plots.sweep_curves(small, metric="test_error")
    for one, other in zip(right.lines, wrong.lines, strict=True):
        np.testing.assert_allclose(np.asarray(one.get_ydata()) + np.asarray(other.get_ydata()), 1)


def test_many_numbers_get_a_scale_instead_of_a_legend(tmp_path: Path) -> None:
    configs = [{"lr": float(lr)} for lr in np.geomspace(1e-5, 1e-1, 30)]
    ax = plots.sweep_curves(make_store(tmp_path, configs, steps=10))
    assert ax.get_legend() is None
    assert len(ax.figure.axes) == 2
    assert len({to_hex(line.get_color()) for line in ax.lines}) == 30


def test_colours_are_in_the_order_of_numbers_and_differ_for_names() -> None:
    assert palette("lr", [3, 1, 2, 1]).values == [1, 2, 3]
    assert not palette("lr", [1, 2, 3]).scaled
    assert palette("lr", [1, 2, 3, 4]).scaled
    assert palette("network", ["b", "a", "b"]).values == ["b", "a"]
    assert not palette("flag", [True, False, None, "x", 1.5]).scaled
    assert palette("x", [1, True, None, 1.0]).place(None) == 2
    names = palette("network", [str(number) for number in range(20)])
    assert len(set(names.styles)) == 20


# ---- bands -----------------------------------------------------------------------------------------


def test_band_is_mean_and_range_of_what_was_measured_by_then(tmp_path: Path) -> None:
    """Two runs of 12 and 8 steps, measured every 3: interpolated by NumPy at each other's places."""
    sweep = make_store(tmp_path, [{"lr": 0.1}], seeds=2, every=3, length=lambda number: (12, 8)[number])
    first, second = sweep.runs
    ax = plots.sweep_bands(sweep)
    whole, rest = ax.lines
    places = np.unique([*first.eval_step, *second.eval_step])
    both = np.stack([np.interp(places, run.eval_step, run.test_accuracy.astype(float)) for run in (first, second)])
    np.testing.assert_array_equal(whole.get_xdata(), places[places <= 8])
    np.testing.assert_allclose(whole.get_ydata(), both.mean(axis=0)[places <= 8])
    np.testing.assert_array_equal(rest.get_xdata(), places[places >= 8])
    np.testing.assert_allclose(np.asarray(rest.get_ydata())[1:], first.test_accuracy[first.eval_step > 8])
    edge = ax.collections[0].get_paths()[0].vertices
    at_six = np.unique(edge[edge[:, 0] == 6][:, 1])
    np.testing.assert_allclose(at_six, np.sort(both[:, list(places).index(6)]))


def test_band_of_one_standard_deviation(tmp_path: Path) -> None:
    sweep = make_store(tmp_path, [{"lr": 0.1}], seeds=4, steps=10)
    values = np.stack([run.test_accuracy.astype(float) for run in sweep.runs])
    edge = plots.sweep_bands(sweep, band="std").collections[0].get_paths()[0].vertices
    expected = values.mean(axis=0)[5] + values.std(axis=0, ddof=1)[5] * np.array([-1, 1])
    np.testing.assert_allclose(np.unique(edge[edge[:, 0] == 5][:, 1]), expected)


def test_bands_have_names_and_last_means(small: Sweep) -> None:
    ax = plots.sweep_bands(small)
    texts = [text.get_text() for text in ax.texts]
    assert len(texts) == 6
    assert {text.split("  ")[0] for text in texts} == {
        f"lr {lr}, dropout {dropout}" for lr in ("0.0001", "0.001", "0.01") for dropout in ("0", "0.5")
    }
    last = np.mean([run.test_accuracy[-1] for run in small.runs if run.config["training"]["seed"] == 0][:1])
    assert f"lr 0.0001, dropout 0  {last:.2%}" in texts  # the longer run alone goes on to the end
    by = plots.sweep_bands(small, by="network.dropout")
    assert {text.get_text().split("  ")[0] for text in by.texts} == {"dropout 0", "dropout 0.5"}


def test_labels_stand_for_the_settings_of_their_configs(tmp_path: Path) -> None:
    configs = [{"label": f"rate · {lr}", "lr": lr, "batch_size": size} for lr in (0.1, 0.2) for size in (32,)]
    sweep = make_store(tmp_path / "own", configs, seeds=2, steps=10)
    texts = [text.get_text() for text in plots.sweep_bands(sweep).texts]
    assert sorted(text.split("  ")[0] for text in texts) == ["rate · 0.1", "rate · 0.2"]
    assert "rate · 0.1" in plots.sweep_scatter(sweep).texts[-1].get_text()
    # a function's config may have a label that is a setting like another one, and names no config
    shared = [{"label": "a", "lr": lr} for lr in (0.1, 0.2)] + [{"label": "b", "lr": 0.1}]
    sweep = make_store(tmp_path / "shared", shared, steps=10)
    texts = [text.get_text() for text in plots.sweep_bands(sweep).texts]
    assert sorted(text.split("  ")[0] for text in texts) == ["a, lr 0.1", "a, lr 0.2", "b, lr 0.1"]


def test_of_many_bands_the_best_are_named(tmp_path: Path) -> None:
    configs = [{"batch_size": number, "lr": 0.1 + number / 1000} for number in range(40)]
    sweep = make_store(tmp_path, configs, steps=10, level=lambda config: 0.5 + config["batch_size"] / 100)
    ax = plots.sweep_bands(sweep)
    assert len(ax.lines) == 40
    assert {int(text.get_text().split()[2].rstrip(",")) for text in ax.texts} == set(range(30, 40))


# ---- grid ------------------------------------------------------------------------------------------


def test_cells_hold_the_curves_of_their_trials(small: Sweep) -> None:
    axes = plots.sweep_grid(small)
    table = small.table()
    assert len(axes) == 6
    assert [ax.get_title() for ax in axes] == ["dropout 0", "dropout 0.5", *[""] * 4]
    for ax, config in zip(axes, GRID, strict=True):
        same = (table["lr"] == config["lr"]) & (table["network.dropout"] == config["network.dropout"])
        keys = [key for key in table.index[same] if key in trained(small)]
        lines = [line for line in ax.lines if line.get_label() == "test"]
        for line, key in zip(lines, keys, strict=True):
            np.testing.assert_array_equal(line.get_ydata(), small.run(key).test_accuracy)
        assert {str(line.get_label()) for line in ax.lines} == {"training", "validation", "test"}
        text = ax.texts[0].get_text()
        mean = np.mean([small.run(key).test_accuracy[-1] for key in keys])
        assert text.startswith(f"{mean:.2%}")
        assert ("1 of 2 failed" in text, "1 of 2 missing" in text) == (
            (table["status"][same] == "failed").any(),
            (table["status"][same] == "missing").any(),
        )
    assert len({ax.get_ylim() for ax in axes}) == len({ax.get_xlim() for ax in axes}) == 1
    losses = plots.sweep_grid(small, metric="loss", rows="seed", columns="lr")
    assert len(losses) == 6
    assert losses[0].get_title() == "lr 0.0001"


def test_cells_without_any_curve_say_why(tmp_path: Path) -> None:
    fates = ["finished", "failed", "missing", "finished", "finished"]
    sweep = make_store(
        tmp_path,
        [{"a": 1, "b": 1}, {"a": 1, "b": 2}, {"a": 2, "b": 1}, {"a": 2, "b": 2}, {"a": 3, "b": 1}],
        steps=20,
        fate=lambda number: fates[number],
    )
    axes = plots.sweep_grid(sweep)
    assert [ax.texts[0].get_text() for ax in axes if not ax.lines] == ["failed", "not trained", "no trial"]
    legible(axes[0].figure)


def test_a_grid_of_too_many_pictures_is_refused(tmp_path: Path) -> None:
    sweep = make_store(tmp_path, [{"lr": 0.1 + number, "b": number % 2} for number in range(30)], steps=5)
    assert len(plots.sweep_grid(sweep)) == 2  # the setting with few values, and the seed
    with pytest.raises(ArgumentError, match="lr has 30 values and b 2, and a picture has room for 16: choose rows="):
        plots.sweep_grid(sweep, rows="lr")


# ---- parallel coordinates --------------------------------------------------------------------------


def test_each_trial_is_a_line_that_ends_at_its_result(small: Sweep) -> None:
    ax = plots.sweep_parallel(small)
    results = small.table()["final_test_accuracy"].dropna()
    lines = [patch for patch in ax.patches if isinstance(patch, PathPatch)]
    ends = sorted(float(line.get_path().vertices[-1][1]) for line in lines)
    expected = np.sort((results - results.min()) / (results.max() - results.min()))
    np.testing.assert_allclose(ends[1:], expected)
    assert ends[0] < -0.1  # the one that failed
    texts = [text.get_text() for text in ax.texts]
    assert {"lr", "dropout", "final test\naccuracy", "failed", "0.0001", "0.5"} <= set(texts)
    assert "(11 of 12 trials; 1 missing)" in texts


def test_scales_of_settings() -> None:
    np.testing.assert_allclose(scale_of([1e-4, 1e-2, 1e-3]).places, [0, 1, 0.5])
    np.testing.assert_allclose(scale_of([0.0, 0.25, 0.5]).places, [0, 0.5, 1])
    assert [text for _, text in scale_of(["sgd", "adam"]).ticks] == ["sgd", "adam"]
    np.testing.assert_allclose(scale_of([0.0, 1e-5, 1e-4, 1e-3]).places, [0, 1 / 3, 2 / 3, 1])  # zero has no logarithm
    np.testing.assert_allclose(scale_of([5, 5]).places, [0.5, 0.5])
    many = scale_of(list(np.geomspace(1e-5, 1e-1, 21)))
    np.testing.assert_allclose(many.places, np.linspace(0, 1, 21), atol=1e-12)
    assert [text for _, text in many.ticks] == ["1e-05", "0.0001", "0.001", "0.01", "0.1"]
    assert len(scale_of([f"name {number}" for number in range(40)]).ticks) <= 16
    assert [text for _, text in ticks_of(np.array([0.9, 1.0]), log=False, percent=True)][-1] == "100%"


def test_decades_are_told_from_a_wide_range() -> None:
    assert spans_decades(np.geomspace(1e-5, 1e-1, 50))
    assert spans_decades(np.array([32, 64, 128, 256, 512]))
    assert not spans_decades(np.linspace(0.002, 0.6, 50))
    assert not spans_decades(np.array([0.0, 0.1, 10.0]))
    assert not spans_decades(np.array([1.0, 2.0, 3.0]))


# ---- scatter ---------------------------------------------------------------------------------------


def test_points_are_costs_and_results(small: Sweep) -> None:
    ax = plots.sweep_scatter(small, x="seconds", values="best_validation_loss", best=2)
    table = small.table().dropna(subset=["best_validation_loss"])
    points = np.concatenate([np.asarray(one.get_offsets()) for one in ax.collections])
    expected = table[["seconds", "best_validation_loss"]].to_numpy(float)
    np.testing.assert_allclose(points[np.lexsort(points.T)], expected[np.lexsort(expected.T)])
    best = table.sort_values("best_validation_loss")["best_validation_loss"]
    listed = ax.texts[-1].get_text()
    assert f"1.  {best.iloc[0]:.4g}" in listed
    assert f"2.  {best.iloc[1]:.4g}" in listed
    assert [text.get_text() for text in ax.texts[:-1]] == ["1", "2"]
    assert plots.sweep_scatter(small).get_xlabel().startswith("parameters")
    assert not plots.sweep_scatter(small, best=0).texts
    with pytest.raises(ArgumentError, match="best is -1"):
        plots.sweep_scatter(small, best=-1)


def test_seconds_are_the_cost_where_all_trials_have_as_many_parameters(tmp_path: Path) -> None:
    sweep = make_store(tmp_path, [{"lr": 0.1}], steps=5)
    assert plots.sweep_scatter(sweep).get_xlabel() == "seconds (training and evaluation)"


# ---- trials that diverged --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def half(glyphs: eb.Dataset, tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """One config with two seeds, the first of which diverges at once; weights that are NaN get some images right."""

    def train_one(config: dict[str, Any]) -> eb.Run:
        lr = 1e-2 if config["seed"] else 1e30
        return eb.train(eb.networks.lenet5(), glyphs, steps=6, lr=lr, optimizer="sgd", progress=False, device="cpu")

    store = tmp_path_factory.mktemp("half")
    made = eb.sweep(train_one, {"x": [1]}, seeds=2, backend="serial", store=store, progress=False)
    assert [trial.state for trial in made.trials] == ["diverged", "finished"]
    assert made.runs[0].test_accuracy[-1] > 0
    return made


def test_what_diverged_is_in_no_mean(half: Sweep) -> None:
    accuracy = half.runs[1].test_accuracy
    (ax,) = plots.sweep_grid(half, rows="x", columns="x")
    assert ax.texts[0].get_text() == f"{accuracy[-1]:.2%}\n1 of 2 diverged"
    whole, rest = plots.sweep_bands(half).lines
    assert len(np.asarray(whole.get_xdata())) < len(half.runs[1].eval_step)  # until one diverged
    np.testing.assert_allclose(np.asarray(rest.get_ydata())[1:], accuracy[-len(np.asarray(rest.get_xdata())) + 1 :])
    diverged, finished = plots.sweep_curves(half).lines
    broken = ~np.isfinite(half.runs[0].test_loss)
    assert broken.any()
    np.testing.assert_array_equal(np.isnan(np.asarray(diverged.get_ydata(), float)), broken)
    np.testing.assert_array_equal(finished.get_ydata(), accuracy)


def test_what_diverged_has_no_result(half: Sweep) -> None:
    ax = plots.sweep_scatter(half, values="best_test_accuracy")
    assert sum(len(np.asarray(one.get_offsets())) for one in ax.collections) == 1
    assert ax.get_xlabel().endswith("(1 of 2 trials; 1 diverged)")
    assert ax.texts[-1].get_text().startswith(f"1.  {half.runs[1].test_accuracy[1:].max():.2%}")
    texts = [text.get_text() for text in plots.sweep_parallel(half, values="best_test_accuracy").texts]
    assert "diverged" in texts


# ---- names and values as text ----------------------------------------------------------------------


def test_settings_in_words() -> None:
    assert name_of("network.dropout") == "dropout"
    assert name_of("batch_size") == "batch size"
    assert text_of(1e-5) == "1e-05"
    assert text_of(None) == "none"
    assert text_of({"type": "cosine", "min_lr": 0.0}) == "cosine, min lr 0"
    assert text_of([0.5, {"a": 1}]) == "0.5, a 1"
    assert text_of("a$b") == r"a\$b"
    assert text_of("x" * 50) == "x" * 27 + "…"
    assert ordered([3, 1, 2.5, 1]) == [1, 2.5, 3]
    assert ordered(["b", None, "a", None]) == ["b", None, "a"]
