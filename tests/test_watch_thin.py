"""What a screen can show of a curve, against loops over every value."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from everybatch.folder import Follower
from everybatch.folder._rows import Columns, Counts, Rows
from everybatch.watch._table import Table
from everybatch.watch._thin import thin
from growing_runs import OF_RUN, GrowingRun


def drawn(seed: int) -> tuple[Any, Any, Any, int, tuple[float, float] | None]:
    draw = np.random.default_rng(seed)
    count = int(draw.choice([0, 1, 2, 7, 300, 5000]))
    x = np.cumsum(draw.integers(1, 4, count)) if draw.random() < 0.5 else np.cumsum(draw.random(count) ** 4)
    y = draw.normal(size=count).astype(np.float32)
    y[draw.random(count) < draw.choice([0, 0.1, 0.9])] = draw.choice([np.nan, np.inf])
    error = np.where(draw.random(count) < 0.5, 0, draw.random(count)).astype(np.float32)
    window = None
    if draw.random() < 0.5 and count:
        window = tuple(sorted(draw.uniform(-1, 1.2 * float(x[-1]), 2)))
    return x, y, error, int(draw.choice([1, 5, 64, 700])), window


@pytest.mark.parametrize("seed", range(60))
def test_every_value_is_in_its_column(seed: int) -> None:
    """By Python's own min, max and fsum over the values of each column."""
    x, y, error, columns, window = drawn(seed)
    made = thin(x, y, columns, window, error)
    if window is not None:
        inside = np.flatnonzero((x >= window[0]) & (x <= window[1]))
        if not len(inside):  # its two neighbours alone
            inside = np.arange(*np.searchsorted(x, window))
            first = int(np.searchsorted(x, window[0]))
            inside = np.arange(max(0, first - 1), min(len(x), first + 1))
        else:
            inside = np.arange(max(0, inside[0] - 1), min(len(x), inside[-1] + 2))
        x, y, error = x[inside], y[inside], error[inside]
    assert len(made.x) <= max(1, columns + 1)
    if len(x) <= columns:
        np.testing.assert_array_equal(made.x, x)
        np.testing.assert_array_equal(made.y, np.where(np.isfinite(y), y, np.nan))
        assert made.low is None
        return
    size = 2.0 ** math.ceil(math.log2(float(x[-1] - x[0]) / columns))
    groups: dict[int, list[int]] = {}
    for place, at in enumerate(x):
        groups.setdefault(math.floor(float(at) / size), []).append(place)
    assert len(made.x) == len(groups)
    if len(groups) == len(x):
        assert made.low is None
        return
    assert made.low is not None
    assert made.high is not None
    assert np.all(np.diff(made.x) > 0)
    for column, places in enumerate(groups.values()):
        values = [float(y[place]) for place in places if math.isfinite(y[place])]
        assert float(x[places[0]]) <= made.x[column] <= float(x[places[-1]])
        if not values:
            assert np.isnan([made.y[column], made.low[column], made.high[column]]).all()
            continue
        assert made.y[column] == pytest.approx(math.fsum(values) / len(values), abs=1e-6)
        assert (made.low[column], made.high[column]) == (min(values), max(values))
        if made.error is not None:
            assert made.band_low is not None
            assert made.band_high is not None
            ends = [(y[place], error[place]) for place in places if math.isfinite(y[place])]
            assert made.error[column] == max(error[place] for place in places)
            assert made.band_low[column] == pytest.approx(max(0, min(v - 2 * e for v, e in ends)), abs=1e-6)
            assert made.band_high[column] == pytest.approx(max(v + 2 * e for v, e in ends), abs=1e-6)


def test_columns_stay_what_they_are_while_a_curve_grows() -> None:
    y = np.random.default_rng(0).random(1000).astype(np.float32)
    x = np.arange(1, 1001)
    one, other = thin(x[:700], y[:700], 200), thin(x, y, 250)  # both of a width of 4
    np.testing.assert_array_equal(other.y[: len(one.y) - 1], one.y[:-1])


def test_a_band_of_fractions_ends_at_one() -> None:
    made = thin(np.arange(4), np.array([0.01, 0.5, 0.99, np.nan]), 10, error=np.full(4, 0.1), most=1.0)
    assert made.band_low is not None
    assert made.band_high is not None
    np.testing.assert_allclose(made.band_low, [0, 0.3, 0.79, np.nan], atol=1e-6)
    np.testing.assert_allclose(made.band_high, [0.21, 0.7, 1, np.nan], atol=1e-6)


def test_time_that_stands_still_is_one_column() -> None:
    made = thin(np.zeros(10), np.arange(10.0), 4)
    assert (made.x.tolist(), made.y.tolist()) == ([0], [4.5])


@pytest.mark.parametrize("seed", range(5))
def test_a_table_holds_what_rows_hold(seed: int) -> None:
    """Against `Rows`, through rows that take the place of earlier ones too."""
    draw = np.random.default_rng(seed)
    arrays = {
        "train_loss": draw.random(5000).astype(np.float32),
        "test_loss": draw.random(5000).astype(np.float32),
        "class_accuracy": draw.random((5000, 3)).astype(np.float32),
    }
    columns = Columns.read(Columns.of(arrays).told())
    rows, table = Rows(columns), Table(columns, ("test_loss",))
    for _ in range(20):
        first = Counts({axis: int(draw.integers(max(0, count - 50), count + 1)) for axis, count in rows.counts.items()})
        counts = dict(zip(("steps", "evaluations"), draw.integers(0, 400, 2), strict=True))
        payload = columns.rows(
            first,
            {
                name: array[first[axis] : first[axis] + counts[axis]]
                for name, array in arrays.items()
                for axis in ["steps" if name == "train_loss" else "evaluations"]
            },
        )
        rows.add(payload)
        table.add(payload)
        assert table.counts == rows.counts
    expected, seen = rows.arrays(), table.arrays()
    assert seen.keys() == {"train_loss", "class_accuracy"}
    for name, array in seen.items():
        np.testing.assert_array_equal(array, expected[name])
        assert array.dtype == expected[name].dtype
    assert table.row_bytes == 4 + 3 * 4


def test_a_follower_fills_a_table(tmp_path: Any) -> None:
    run = GrowingRun(tmp_path / "run", 3000)
    follower = Follower(tmp_path / "run", Table)
    for steps in (1, 10, 2000, 989):
        run.grow(steps)
        assert follower.look()
        arrays = follower.arrays()
        for name, array in run.arrays.items():
            if name not in OF_RUN:
                np.testing.assert_array_equal(arrays[name], array[: len(arrays[name])])
        assert len(arrays["train_loss"]) == run.steps
    run.end()
