"""Runs whose measurements are estimates: what is known of their errors, and who goes by complete measurements alone.

Such a run is made by hand here. Expected numbers are computed from its arrays by NumPy.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import everybatch as eb
from everybatch._measures import ARRAYS, MEASURES
from everybatch.cli._tables import summary
from everybatch.errors import ArgumentError
from everybatch.run import Run
from everybatch.runs._write import write_files
from everybatch.sweeps._summary import summarise
from sweeping import swept
from test_run import MEASURED, example_arrays, example_config

Quick = Callable[..., eb.Run]

ESTIMATED = [name for name, measure in ARRAYS.items() if measure.of_estimates]
COMPLETE = (0, 20, 40, 60)
"""Steps of `estimated_run` after which all images were looked at; it is measured after each of 60 steps."""


def estimated_run(*, validation: bool = False, classes: int = 3, seed: int = 0, **training: Any) -> Run:
    """Return a run with a tolerance: 12 of 50 images are looked at, and all of them at complete passes."""
    draw = np.random.default_rng(seed)
    arrays = example_arrays(steps=60, eval_step=list(range(61)), classes=classes, seed=seed)
    del arrays["predictions"]
    estimates = ~np.isin(np.arange(61), COMPLETE)
    errors = {
        "test_loss_error": np.where(estimates, draw.uniform(0.01, 0.1, 61), 0),
        "test_accuracy_error": np.where(estimates, draw.uniform(0.004, 0.02, 61), 0),
        "class_accuracy_error": np.where(estimates[:, None], draw.uniform(0.01, 0.06, (61, classes)), 0),
    }
    arrays |= {name: error.astype(np.float32) for name, error in errors.items()}
    arrays["images_measured"] = np.where(estimates, 12, MEASURED)
    if validation:
        other = example_arrays(steps=60, eval_step=list(range(61)), classes=classes, seed=seed + 1)
        for name in ("loss", "accuracy"):
            arrays[f"validation_{name}"] = other[f"test_{name}"]
            arrays[f"validation_{name}_error"] = arrays[f"test_{name}_error"]
        arrays["validation_class_accuracy"] = other["class_accuracy"]
        arrays["validation_class_accuracy_error"] = arrays["class_accuracy_error"]
        arrays["validation_indices"] = np.arange(5)
        arrays["validation_images_measured"] = np.where(estimates, 2, 5)
    return Run(arrays, example_config(classes, **{"tolerance": 0.01, "complete_every": 20, **training}))


# ---- the arrays ----------------------------------------------------------------------------------


def test_an_ordinary_run_has_no_errors_and_looked_at_all_images(quick: Quick) -> None:
    run = quick(validation=26)
    assert run.config["training"]["tolerance"] is run.config["training"]["complete_every"] is None
    for name in ("test_loss", "test_accuracy", "class_accuracy"):
        measured, error = getattr(run, name), getattr(run, str(MEASURES[name].errors))
        assert (error.shape, error.dtype, error.max()) == (measured.shape, np.float32, 0)
    assert run.images_measured.tolist() == [60] * 5
    assert run.validation_images_measured.tolist() == [26] * 5
    assert run.images_measured.dtype == np.int64


def test_the_test_error_has_the_standard_error_of_the_accuracy() -> None:
    assert MEASURES["test_error"].errors == "test_accuracy_error"
    assert MEASURES["train_loss"].errors is None  # all images of a batch are looked at


@pytest.mark.parametrize("validation", [None, 26])
def test_a_run_that_was_saved_before_there_were_errors(quick: Quick, tmp_path: Path, validation: int | None) -> None:
    run = quick(validation=validation)
    config = run.config
    for name in ("tolerance", "complete_every"):
        del config["training"][name]
    arrays = {name: array for name, array in run._arrays.items() if name not in ESTIMATED}
    write_files(tmp_path, config, arrays, run.model)

    old = eb.load_run(tmp_path)
    assert not set(ESTIMATED) & old._arrays.keys()
    for name in ESTIMATED:
        if validation is None and name.startswith("validation"):
            assert not hasattr(old, name)
            with pytest.raises(AttributeError, match="this run has no validation images"):
                getattr(old, name)
            continue
        np.testing.assert_array_equal(getattr(old, name), getattr(run, name))
        assert getattr(old, name).dtype == getattr(run, name).dtype
        assert not getattr(old, name).flags.writeable
    assert repr(old) == repr(run)
    assert old.best_step == run.best_step
    assert old.history().equals(run.history())
    old.save(tmp_path / "again")
    assert eb.load_run(tmp_path / "again")._arrays.keys() == arrays.keys()


def test_errors_are_saved_and_loaded(tmp_path: Path) -> None:
    run = estimated_run(validation=True)
    run.save(tmp_path / "run")
    loaded = eb.load_run(tmp_path / "run")
    for name in ESTIMATED:
        assert getattr(loaded, name).tobytes() == getattr(run, name).tobytes()


def test_errors_that_cannot_be() -> None:
    arrays = dict(estimated_run()._arrays)
    for name in ("test_loss_error", "class_accuracy_error", "images_measured"):
        wrong = arrays[name].copy()
        wrong[3] = -1
        with pytest.raises(ArgumentError, match=f"the array '{name}' must hold no number below 0"):
            Run(arrays | {name: wrong}, example_config())
    with pytest.raises(ArgumentError, match=r"'test_loss_error' of shape \(60,\) holds 60 evaluations"):
        Run(arrays | {"test_loss_error": arrays["test_loss_error"][1:]}, example_config())
    validation = {name: array for name, array in estimated_run(validation=True)._arrays.items() if "valid" in name}
    with pytest.raises(ArgumentError, match="the array 'validation_loss' is missing"):
        Run(arrays | {"validation_loss_error": validation["validation_loss_error"]}, example_config())
    # Those of estimates come with the rest or not at all, as in runs of earlier versions.
    old = {name: array for name, array in validation.items() if name not in ESTIMATED}
    assert Run(arrays | old, example_config()).validation_loss_error.tolist() == [0] * 61


# ---- what a run is trained with ------------------------------------------------------------------


def test_config_has_what_was_asked_for(quick: Quick) -> None:
    run = quick(tolerance=0.01, complete_every=2)
    assert (run.config["training"]["tolerance"], run.config["training"]["complete_every"]) == (0.01, 2)
    assert run.images_measured.tolist() == [60] * 6  # below 1,000 images all are looked at
    assert quick(tolerance=np.float32(0.5), complete_every="epoch").config["training"]["complete_every"] == "epoch"


def test_a_name_to_record_may_be_there_twice(quick: Quick) -> None:
    run = quick(record=("grad_norm", "predictions", "grad_norm"))
    assert run.config["training"]["record"] == ["grad_norm", "predictions"]
    assert run.grad_norm.shape == (5,)
    assert run.predictions.shape == (6, 60)


def test_a_sweep_may_go_through_tolerances(glyphs: eb.Dataset, tmp_path: Path) -> None:
    space = [{"tolerance": 0.01}, {"tolerance": None}, {"tolerance": 0.01, "complete_every": 3}, {}]
    sweep = swept(glyphs, tmp_path / "s", space, steps=2)
    found = [run.config["training"] for run in sweep.runs]
    assert [(each["tolerance"], each["complete_every"]) for each in found] == [(0.01, None), (None, None), (0.01, 3)]
    assert sweep.table()["tolerance"].tolist()[0] == 0.01
    with pytest.raises(
        ArgumentError, match=r"config 1 of 1 \(.*tolerance=2\): tolerance is 2: it is the standard error"
    ):
        swept(glyphs, tmp_path / "other", [{"tolerance": 2}])


# ---- the best ------------------------------------------------------------------------------------


def test_the_best_is_looked_for_among_complete_measurements() -> None:
    run = estimated_run()
    complete = np.array(COMPLETE)
    assert run.test_accuracy[complete].max() < run.test_accuracy.max()
    assert run.best_accuracy == run.test_accuracy[complete].max()
    assert run.best_step == complete[run.test_accuracy[complete].argmax()]
    held = estimated_run(validation=True)
    best = MEASURES["validation_loss"].best_of(held)
    assert best == complete[held.validation_loss[complete].argmin()]
    assert MEASURES["train_loss"].best_of(run) == run.train_loss.argmin()


def test_where_only_the_first_is_complete_it_is_the_best() -> None:
    arrays = dict(estimated_run()._arrays)
    arrays["images_measured"] = np.where(np.arange(61) == 0, MEASURED, 12)
    run = Run(arrays, example_config())
    assert (run.best_step, run.best_accuracy) == (0, run.test_accuracy[0])
    table = run.class_accuracy_table()
    assert table["best_step"].tolist() == [0, 0, 0]


def test_the_best_of_each_class_is_a_complete_one() -> None:
    run = estimated_run()
    table = run.class_accuracy_table()
    later = np.array(COMPLETE[1:])
    np.testing.assert_array_equal(table["best_accuracy"], run.class_accuracy[later].max(axis=0).astype(float))
    assert table["best_step"].tolist() == later[run.class_accuracy[later].argmax(axis=0)].tolist()


def test_the_best_of_a_trial_is_a_complete_one() -> None:
    run = estimated_run(validation=True)
    run._model = eb.Network([eb.Flatten(), eb.Linear(4, 3)], input_shape=(1, 2, 2)).initialize(0)
    row, later = summarise(run), np.array(COMPLETE[1:])
    assert row["best_test_accuracy"] == run.test_accuracy[later].max()
    assert row["best_validation_loss"] == run.validation_loss[later].min()
    assert row["final_test_accuracy"] == run.test_accuracy[-1]


# ---- tables and exports --------------------------------------------------------------------------

CLASSES = ("c0", "c1", "c2")
TOLD = ["test_loss_error", "test_accuracy_error", "images_measured"]


def test_tables_have_the_errors_of_runs_with_a_tolerance_alone() -> None:
    run = estimated_run(validation=True)
    ordinary = Run(run._arrays, example_config())  # the same numbers
    names = list(ordinary.history().columns)
    assert not any("error" in name or "images" in name for name in names)
    table = run.history()
    added = [name for name in table.columns if name not in names]
    assert added == [
        *(f"validation_{name.removeprefix('test_')}" for name in TOLD),
        *TOLD,
        *(f"{c}_error" for c in CLASSES),
    ]
    for name in TOLD:
        np.testing.assert_array_equal(table[name], getattr(run, name))
    np.testing.assert_array_equal(table["c1_error"], run.class_accuracy_error[:, 1])
    # Measured with a tolerance on a GPU, or on few images: zeros, and the columns are there all the same.
    exact = Run(example_arrays(), example_config(tolerance=0.01)).history()
    assert exact["test_accuracy_error"].dropna().tolist() == [0] * 5
    assert exact["images_measured"].dropna().tolist() == [MEASURED] * 5
    assert exact["images_measured"].isna().sum() == 3  # steps after which nothing was measured


def test_a_class_may_be_called_what_the_errors_of_another_are() -> None:
    config = example_config(tolerance=0.01)
    config["dataset"]["classes"] = ["a", "a_error", "test_accuracy_error"]
    table = Run(estimated_run()._arrays, config).history()
    assert table.columns.is_unique
    names = ["a", "a_error", "test_accuracy_error (class 2)"]
    endings = ["a_error (class 0)", "a_error_error", "test_accuracy_error (class 2)_error"]
    assert table.columns[-7:-1].to_list() == names + endings


def test_files_have_the_errors_too(tmp_path: Path) -> None:
    run = estimated_run()
    eb.export.csv(run, tmp_path / "run.csv")
    eb.export.class_accuracy_csv(run, tmp_path / "classes.csv")
    eb.export.parquet(run, tmp_path / "run.parquet")
    read = pd.read_csv(tmp_path / "run.csv")
    assert list(read.columns) == list(run.history().columns)
    assert read["images_measured"].tolist() == run.images_measured.tolist()
    np.testing.assert_array_equal(read["test_loss_error"].astype(np.float32), run.test_loss_error)
    classes = pd.read_csv(tmp_path / "classes.csv")
    assert list(classes.columns) == ["step", *CLASSES, *(f"{name}_error" for name in CLASSES)]
    np.testing.assert_array_equal(classes["c2_error"].astype(np.float32), run.class_accuracy_error[:, 2])
    assert pd.read_parquet(tmp_path / "run.parquet").equals(run.history())


def test_tensorboard_has_the_errors_under_tags_of_their_own(tmp_path: Path) -> None:
    run = estimated_run(validation=True)
    eb.export.tensorboard(run, tmp_path / "events")
    reader = EventAccumulator(str(tmp_path / "events"), size_guidance={"scalars": 0})
    reader.Reload()
    tags = {tag for tag in reader.Tags()["scalars"] if "error" in tag or "images" in tag}
    parts = {f"{part}/{what}" for part in ("test", "validation") for what in ("loss_error", "accuracy_error")}
    classes = {f"class_accuracy_error/{name}" for name in CLASSES}
    assert tags == parts | classes | {"test/images_measured", "validation/images_measured"}
    for tag, values in (
        ("test/loss_error", run.test_loss_error),
        ("validation/images_measured", run.validation_images_measured),
        ("class_accuracy_error/c2", run.class_accuracy_error[:, 2]),
    ):
        assert [event.value for event in reader.Scalars(tag)] == values.tolist()


# ---- how it shows itself -------------------------------------------------------------------------


def test_a_run_says_how_well_its_accuracies_are_known() -> None:
    run = estimated_run()
    error = f"{100 * np.median(run.test_accuracy_error[run.test_accuracy_error > 0]):.2g}"
    looked_at = round((4 * MEASURED + 57 * 12) / 61)
    words = (
        f"estimated to ±{error} points ({looked_at} of 50 test images looked at on average, "
        "4 of 61 measurements complete)"
    )
    assert f", {words}>" in repr(run)
    assert f"<td>{words}</td>" in run._repr_html_()
    assert f"Test accuracies are {words}." in summary(run)


def test_a_run_without_estimates_says_nothing_of_them() -> None:
    for training in ({}, {"tolerance": 0.01}):
        run = Run(example_arrays(), example_config(**training))
        assert "estimated" not in repr(run) + run._repr_html_() + summary(run)
