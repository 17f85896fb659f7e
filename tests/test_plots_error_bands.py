"""Bands of standard errors: where they are, how wide, what says so. Expected ends are computed by NumPy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex

from everybatch import plots
from everybatch._measures import CURVES, MEASURES
from everybatch.plots._curves import Curve
from everybatch.plots._error_bands import BAND, thinned
from everybatch.report._curves import curves_of, panel, spark
from everybatch.run import Run
from test_estimates import COMPLETE, estimated_run
from test_run import example_arrays, example_config, example_run

DRAWN: dict[str, Callable[[Any], Any]] = {
    "losses": plots.losses,
    "losses of two": lambda run: plots.losses([run, run]),
    "accuracy": plots.accuracy,
    "accuracy of two": lambda run: plots.accuracy([run, run]),
    "class_accuracy": plots.class_accuracy,
    "class_accuracy of two": lambda run: plots.class_accuracy([run, run]),
    "compare": plots.compare,
    "compare errors": lambda run: plots.compare([run, run], metric="test_error", scale="log"),
    "grid": lambda run: plots.grid([run, run], metric="accuracy")[0],
    "grid of losses": lambda run: plots.grid([run, run])[1],
}
BANDS = {"losses": 2, "losses of two": 2, "accuracy": 2, "accuracy of two": 2, "class_accuracy": 3}
BANDS |= {"class_accuracy of two": 6, "compare": 1, "compare errors": 2, "grid": 2, "grid of losses": 2}


@pytest.fixture(autouse=True)
def close_figures() -> Iterator[None]:
    yield
    plt.close("all")


def bands_of(ax: Axes) -> list[PolyCollection]:
    """The filled areas, and nothing that a picture has otherwise."""
    return [each for each in ax.collections if isinstance(each, PolyCollection)]


def ends_of(band: PolyCollection, x: float) -> tuple[float, float]:
    """Return the lowest and the highest place of a band at one place along the bottom."""
    vertices = np.concatenate([path.vertices for path in band.get_paths()])
    there = vertices[np.isclose(vertices[:, 0], x), 1]
    return float(there.min()), float(there.max())


def legends_of(ax: Axes) -> list[str]:
    """What all legends say that are in an Axes or around it."""
    figure: Any = ax.figure
    legends = [*figure.legends, *(child for child in ax.get_children() if type(child).__name__ == "Legend")]
    return [text.get_text() for legend in legends for text in legend.get_texts()]


@pytest.mark.parametrize("name", DRAWN)
def test_every_curve_that_was_estimated_has_a_band_below_its_line(name: str) -> None:
    ax = DRAWN[name](estimated_run(validation=True))
    bands = bands_of(ax)
    assert len(bands) == BANDS[name]
    lines = {to_hex(line.get_color()) for line in ax.lines}
    for band in bands:
        assert to_hex(band.get_facecolor()[0]) in lines
        assert 0 < band.get_alpha() < 0.3
        assert band.get_zorder() < min(line.get_zorder() for line in ax.lines)
    assert legends_of(ax).count(BAND) == 1
    ax.figure.canvas.draw()  # on logarithmic axes, too


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("run", [example_run(), Run(example_arrays(), example_config(tolerance=0.01))])
def test_where_all_images_were_looked_at_there_is_no_band(name: str, run: Run) -> None:
    ax = DRAWN[name](run)
    assert bands_of(ax) == []
    assert BAND not in legends_of(ax)


@pytest.mark.parametrize("metric", [name for name, measure in CURVES.items() if measure.errors])
def test_a_band_is_two_standard_errors_to_both_sides_within_what_can_be(metric: str) -> None:
    run = estimated_run(validation=True)
    measured = getattr(run, metric).astype(float)
    error = getattr(run, str(MEASURES[metric].errors)).astype(float)
    arrays = dict(run._arrays)
    arrays[str(MEASURES[metric].errors)] = np.where(np.arange(61) == 5, 9, error).astype(np.float32)  # off every limit
    (band,) = bands_of(plots.compare(Run(arrays, run.config), metric=metric, smooth=1))
    for step in (7, 33):
        low, high = measured[step] - 2 * error[step], measured[step] + 2 * error[step]
        assert ends_of(band, step) == pytest.approx((low, high), abs=1e-9)
    assert ends_of(band, 5) == (0, 1 if "loss" not in metric else pytest.approx(measured[5] + 18, abs=1e-6))
    for step in COMPLETE:
        assert ends_of(band, step) == (measured[step], measured[step])


def test_a_smoothed_line_has_the_band_of_what_was_measured() -> None:
    run = estimated_run()
    for draw in (plots.compare, plots.class_accuracy):
        rough, smoothed = draw(run, smooth=1), draw(run, smooth=15)
        for one, other in zip(bands_of(rough), bands_of(smoothed), strict=True):
            np.testing.assert_array_equal(one.get_paths()[0].vertices, other.get_paths()[0].vertices)


def test_a_class_without_images_has_no_band() -> None:
    arrays = dict(estimated_run()._arrays)
    for name in ("class_accuracy", "class_accuracy_error"):
        arrays[name] = arrays[name].copy()
        arrays[name][:, 1] = np.nan
    drawn = [band for band in bands_of(plots.class_accuracy(Run(arrays, example_config()))) if band.get_paths()]
    assert len(drawn) == 2


def test_an_error_without_bound_is_as_wide_as_any() -> None:
    arrays = dict(estimated_run()._arrays)
    error = arrays["test_loss_error"].copy()
    error[[5, 6]] = np.inf, np.nan
    ax = plots.compare(Run(arrays | {"test_loss_error": error}, example_config()), metric="test_loss", smooth=1)
    (band,) = bands_of(ax)
    for step in (5, 6):
        measured, widest = float(arrays["test_loss"][step]), 2 * float(np.nanmax(error[np.isfinite(error)]))
        assert ends_of(band, step) == pytest.approx((max(measured - widest, 0), measured + widest), abs=1e-6)
    assert np.isfinite(ax.get_ylim()).all()


def test_bands_are_in_the_picture() -> None:
    arrays = dict(estimated_run()._arrays)
    arrays["test_accuracy"] = np.full(61, 0.5, np.float32)
    error = np.where(arrays["test_accuracy_error"] > 0, 0.03, 0).astype(np.float32)
    run = Run(arrays | {"test_accuracy_error": error}, example_config())
    for draw in (plots.accuracy, plots.compare):
        low, high = draw(run).get_ylim()
        assert low < 0.44
        assert high > 0.56


def test_thinning_keeps_the_widest_places() -> None:
    x, draw = np.arange(100_000.0), np.random.default_rng(0)
    low, high = draw.uniform(0, 1, 100_000), draw.uniform(2, 3, 100_000)
    low[777], high[50_001], low[3] = -5, 9, np.nan
    band = thinned(Curve(x, x, low, high), 500)
    assert band is not None
    assert [len(part) for part in band] == [500] * 3
    assert (band[0][0], band[0][-1]) == (0, 99_999)
    assert np.all(np.diff(band[0]) > 0)
    assert (band[1].min(), band[2].max()) == (-5, 9)
    assert not np.isnan(band[1]).any()
    assert thinned(Curve(x, x), 500) is None


def test_report_has_bands_where_there_are_errors() -> None:
    run = estimated_run(validation=True)
    for quantity in ("accuracy", "loss"):
        curves = curves_of(run, quantity)
        drawn = panel(curves, quantity)
        assert drawn.count("<polygon") == drawn.count("<polyline") == 2
        assert "nan" not in drawn
        assert "<polygon" not in spark(curves)
    assert "<polygon" not in panel(curves_of(example_run(), "loss"), "loss")


def test_bars_of_classes_have_whiskers_where_the_last_measurement_is_an_estimate() -> None:
    run = estimated_run()
    assert not plots.class_bars(run).collections  # it ends with a complete pass
    arrays = dict(run._arrays)
    for name, array in arrays.items():
        if len(array) == 61:
            arrays[name] = array[:-1]
    ax: Any = plots.class_bars(Run(arrays, example_config(tolerance=0.01)))
    (whiskers,) = ax.collections
    values, errors = (arrays[name][-1].astype(float) for name in ("class_accuracy", "class_accuracy_error"))
    ends = np.array([segment[:, 1] for segment in whiskers.get_segments()])
    np.testing.assert_allclose(ends, np.clip([values - 2 * errors, values + 2 * errors], 0, 1).T)
    lowest, highest = ax.get_ylim()
    assert lowest < ends.min()
    assert highest > ends.max()
