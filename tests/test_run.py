"""`Run`: its arrays, times, accuracies, tables and how it shows itself. The run here is made by hand."""

from __future__ import annotations

import builtins
import math
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest

from everybatch.errors import ArgumentError
from everybatch.run import Run

STEPS, PER_EPOCH, CLASSES, MEASURED = 7, 4, 3, 50
EVAL_STEP = [0, 2, 4, 6, 7]


def example_arrays(
    steps: int = STEPS, eval_step: list[int] | None = None, classes: int = CLASSES, seed: int = 0
) -> Any:
    """Return arrays of a run, random but possible; what tests compare with is computed from them anew."""
    draw = np.random.default_rng(seed)
    at = np.array(EVAL_STEP if eval_step is None else eval_step, dtype=np.int64)
    true = np.arange(MEASURED) % classes
    predicted = np.where(draw.random((len(at), MEASURED)) < 0.7, true, draw.integers(0, classes, (len(at), MEASURED)))
    right = predicted == true
    confusion = np.zeros((classes, classes), np.int64)
    if len(at):
        np.add.at(confusion, (true, predicted[-1]), 1)
    return {
        "train_loss": draw.uniform(0.1, 2.3, steps).astype(np.float32),
        "train_accuracy": draw.uniform(0, 1, steps).astype(np.float32),
        "train_seconds": draw.uniform(0.01, 0.02, steps),
        "eval_step": at,
        "test_loss": draw.uniform(0.1, 2.3, len(at)).astype(np.float32),
        "test_accuracy": right.mean(axis=1).astype(np.float32),
        "class_accuracy": np.stack([right[:, true == c].mean(axis=1) for c in range(classes)], 1).astype(np.float32),
        "eval_seconds": draw.uniform(0.1, 0.2, len(at)),
        "confusion": confusion,
        "test_indices": np.arange(MEASURED, dtype=np.int64) * 2,
        "predictions": predicted.astype(np.uint8),
    }


def example_config(classes: int = CLASSES, **training: Any) -> dict[str, Any]:
    return {
        "network": {"name": "tiny", "layers": []},
        "dataset": {"name": "shapes", "train": 22, "test": 100, "classes": [f"c{i}" for i in range(classes)]},
        "training": {"batch_size": 6, "steps_per_epoch": PER_EPOCH, "seed": 5, "shuffle": True, **training},
        "status": {"state": "finished", "message": "", "diverged_at": None},
    }


def example_run(**changes: Any) -> Run:
    return Run(example_arrays(**changes), example_config(changes.get("classes", CLASSES)))


@pytest.mark.parametrize("name", list(example_arrays()))
def test_arrays_are_the_given_ones_and_read_only(name: str) -> None:
    arrays = example_arrays()
    seen = getattr(Run(arrays, example_config()), name)
    assert seen.dtype == arrays[name].dtype
    assert np.array_equal(seen, arrays[name])
    assert np.shares_memory(seen, arrays[name])
    with pytest.raises(ValueError, match="read-only"):
        seen[...] = 0
    arrays[name][...] = 0  # the giver's own array stays writable


def test_predictions_need_to_be_recorded() -> None:
    arrays = example_arrays()
    del arrays["predictions"]
    run = Run(arrays, example_config())
    with pytest.raises(AttributeError, match=re.escape("record=('predictions',)")):
        _ = run.predictions
    assert not hasattr(run, "predictions")


def test_seconds_split_each_step() -> None:
    arrays = example_arrays()
    run = Run(arrays, example_config())
    expected = np.zeros((STEPS, 2))
    expected[:, 0] = arrays["train_seconds"]
    for at, seconds in zip(EVAL_STEP[1:], arrays["eval_seconds"][1:], strict=True):
        expected[at - 1, 1] = seconds
    assert np.array_equal(run.seconds, expected)
    assert run.total_seconds == pytest.approx(expected.sum() + arrays["eval_seconds"][0])


def test_steps_and_epochs() -> None:
    run = example_run()
    assert run.steps == 7
    assert run.epochs == 1.75
    assert run.eval_epoch.tolist() == [0, 0.5, 1, 1.5, 1.75]


def test_last_best_and_mean_are_told_apart() -> None:
    arrays = example_arrays()
    arrays["test_accuracy"][:] = [0.1, 0.9, 0.5, 0.9, 0.6]
    run = Run(arrays, example_config())
    assert run.final_accuracy == np.float32(0.6)
    assert run.best_accuracy == np.float32(0.9)
    assert run.best_step == 2  # the first of two equal ones
    assert run.mean_accuracy(last=2) == pytest.approx(0.75)
    assert run.mean_accuracy() == pytest.approx((0.9 + 0.5 + 0.9 + 0.6) / 4)  # without the untrained network


def test_weights_that_are_no_numbers_have_no_best_accuracy() -> None:
    """They answer one class to everything, and get a tenth of ten classes right; their loss is NaN."""
    arrays = example_arrays()
    arrays["test_accuracy"][:] = [0.1, 0.3, 0.2, 0.8, 0.9]
    arrays["test_loss"][:] = [2.0, 1.0, 1.5, np.nan, np.inf]
    arrays["class_accuracy"][:] = arrays["test_accuracy"][:, None]
    run = Run(arrays, example_config())
    assert (run.best_accuracy, run.best_step) == (np.float32(0.3), 2)
    table = run.class_accuracy_table()
    assert table["best_accuracy"].tolist() == [np.float32(0.3)] * CLASSES
    assert table["best_step"].tolist() == [2] * CLASSES
    arrays["test_loss"][:] = np.nan
    run = Run(arrays, example_config())
    assert math.isnan(run.best_accuracy)
    assert run.best_step is None
    assert run.class_accuracy_table()["best_step"].isna().all()


@pytest.mark.parametrize("last", [0, -1, 5])
def test_mean_accuracy_refuses_more_than_there_is(last: int) -> None:
    with pytest.raises(ArgumentError, match=f"last={last}, but this run made 4 evaluations"):
        example_run().mean_accuracy(last=last)


def test_mean_accuracy_takes_a_hundred_by_default() -> None:
    run = example_run(steps=150, eval_step=list(range(151)))
    assert run.mean_accuracy() == pytest.approx(run.test_accuracy[-100:].mean(dtype=np.float64))


def test_a_run_that_ended_before_its_first_evaluation() -> None:
    config = example_config()
    config["status"] = {"state": "interrupted", "message": "Ctrl-C", "diverged_at": None}
    run = Run(example_arrays(steps=0, eval_step=[]), config)
    assert run.interrupted
    assert math.isnan(run.final_accuracy)
    assert math.isnan(run.best_accuracy)
    assert math.isnan(run.mean_accuracy())
    assert run.best_step is None
    assert run.seconds.shape == (0, 2)
    assert len(run.history()) == 1
    assert run.class_accuracy_table()["best_step"].isna().all()
    assert "interrupted: Ctrl-C" in repr(run)
    assert "interrupted: Ctrl-C" in run._repr_html_()


def test_divergence_is_told() -> None:
    config = example_config()
    config["status"] = {"state": "diverged", "message": "loss is NaN", "diverged_at": 6}
    arrays = example_arrays()
    arrays["train_loss"][6] = np.nan
    run = Run(arrays, config)
    assert (run.state, run.diverged_at, run.interrupted) == ("diverged", 6, False)
    assert "diverged at step 6" in repr(run)


def test_config_is_a_copy() -> None:
    given = example_config()
    run = Run(example_arrays(), given)
    given["training"]["seed"] = 99
    run.config["training"]["seed"] = 98
    assert run.config == example_config()


@pytest.mark.parametrize("shuffle", [True, False])
def test_batch_indices_make_up_the_epochs(shuffle: bool) -> None:
    run = Run(example_arrays(steps=8, eval_step=[0]), example_config(shuffle=shuffle))
    batches = [run.batch_indices(step) for step in range(8)]
    assert [len(batch) for batch in batches] == [6, 6, 6, 4] * 2
    assert all(batch.dtype == np.int64 for batch in batches)
    first, second = np.concatenate(batches[:4]), np.concatenate(batches[4:])
    assert np.array_equal(np.sort(first), np.arange(22))
    assert np.array_equal(np.sort(second), np.arange(22))
    assert np.array_equal(first, np.arange(22)) == (not shuffle)
    assert np.array_equal(first, second) == (not shuffle)
    assert np.array_equal(run.batch_indices(np.int64(3)), batches[3])


@pytest.mark.parametrize("step", [-1, 7, 100])
def test_batch_indices_out_of_range(step: int) -> None:
    with pytest.raises(IndexError, match=rf"step {step} is not one of the 7 steps .* 0 to 6"):
        example_run().batch_indices(step)


@pytest.mark.parametrize("step", [1.0, "1", True, None])
def test_batch_indices_of_no_number(step: Any) -> None:
    with pytest.raises(TypeError, match="step must be a whole number"):
        example_run().batch_indices(step)


def test_history_has_a_row_for_every_step() -> None:
    arrays = example_arrays()
    run = Run(arrays, example_config())
    table = run.history()
    names = [
        "step",
        "epoch",
        "train_loss",
        "train_accuracy",
        "lr",
        "test_loss",
        "test_accuracy",
        "c0",
        "c1",
        "c2",
        "seconds",
    ]
    assert list(table.columns) == names

    # Made another way than in the code: two tables joined on the step.
    train = pd.DataFrame({"step": np.arange(1, 8), "train_loss": arrays["train_loss"], "s": arrays["train_seconds"]})
    test = pd.DataFrame({"step": EVAL_STEP, "test_loss": arrays["test_loss"], "s": arrays["eval_seconds"]})
    test["c1"] = arrays["class_accuracy"][:, 1]
    joined = train.merge(test, on="step", how="outer").sort_values("step")
    assert table["step"].tolist() == list(range(8))
    for name in ("train_loss", "test_loss", "c1"):
        assert np.array_equal(table[name], joined[name], equal_nan=True)
    assert np.allclose(table["seconds"], joined["s_x"].fillna(0) + joined["s_y"].fillna(0))
    assert table["epoch"].tolist() == [step / 4 for step in range(8)]
    assert table.loc[0, ["train_loss", "train_accuracy"]].isna().all()


def test_history_keeps_class_names_apart() -> None:
    config = example_config()
    config["dataset"]["classes"] = ["seconds", "cat", "cat"]
    columns = list(Run(example_arrays(), config).history().columns)
    assert columns[7:] == ["seconds (class 0)", "cat (class 1)", "cat (class 2)", "seconds"]


def test_class_accuracy_table() -> None:
    arrays = example_arrays()
    arrays["class_accuracy"][0, 2] = 1  # an untrained network that answers class 2 to everything
    table = Run(arrays, example_config()).class_accuracy_table()
    true, last = np.arange(MEASURED) % CLASSES, arrays["predictions"][-1]
    for c in range(CLASSES):
        row = table.loc[c]
        assert row["name"] == f"c{c}"
        assert row["test_images"] == np.sum(true == c)
        assert row["correct"] == np.sum((true == c) & (last == c))
        assert row["accuracy"] == row["correct"] / row["test_images"]
        later = arrays["class_accuracy"][1:, c]
        assert row["best_accuracy"] == later.max()
        assert row["best_step"] == EVAL_STEP[1:][int(np.flatnonzero(later == later.max())[0])]


def test_class_without_test_images() -> None:
    arrays = example_arrays()
    arrays["class_accuracy"][:, 1] = np.nan
    arrays["confusion"][1] = 0
    row = Run(arrays, example_config()).class_accuracy_table().loc[1]
    assert row["test_images"] == 0
    assert np.isnan(row["accuracy"])
    assert np.isnan(row["best_accuracy"])
    assert row["best_step"] is pd.NA


@pytest.mark.parametrize("ask", [Run.history, Run.class_accuracy_table])
def test_tables_say_that_pandas_is_missing(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = builtins.__import__

    def without_pandas(name: str, *rest: Any) -> Any:
        if name == "pandas":
            raise ImportError("No module named 'pandas'")
        return found(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_pandas)
    with pytest.raises(ImportError, match="pip install pandas"):
        ask(example_run())


def test_repr_is_one_line() -> None:
    run = example_run()
    text = repr(run)
    assert "\n" not in text
    assert "tiny on shapes, 7 steps" in text
    assert f"final {run.final_accuracy:.2%}, best {run.best_accuracy:.2%}" in text


def test_html_escapes_what_users_name() -> None:
    config = example_config()
    config["network"]["name"] = "<script>alert(1)</script>"
    config["dataset"]["name"] = 'a"b&c'
    config["status"] = {"state": "failed", "message": "<img src=x>", "diverged_at": None}
    html = Run(example_arrays(), config)._repr_html_()
    assert "<script>" not in html
    assert "<img" not in html
    assert "&lt;script&gt;" in html
    assert "a&quot;b&amp;c" in html


def test_html_draws_the_test_loss() -> None:
    points = re.search(r'<polyline points="([^"]*)"', example_run()._repr_html_())
    assert points is not None
    assert len(points[1].split()) == len(EVAL_STEP)
    arrays = example_arrays()
    arrays["test_loss"][:] = np.nan  # nothing to draw is no reason to fail
    assert "<svg" not in Run(arrays, example_config())._repr_html_()


def test_a_run_without_model() -> None:
    with pytest.raises(AttributeError, match="without a model"):
        _ = example_run().model


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("train_loss", np.zeros(6, np.float32), "holds .* steps"),
        ("train_loss", np.zeros(STEPS), "dtype float64; it must be float32"),
        ("train_loss", np.zeros((STEPS, 1), np.float32), "it must be steps"),
        ("test_loss", np.zeros(4, np.float32), "holds 4 evaluations, but 'eval_step' holds 5"),
        (
            "class_accuracy",
            np.zeros((5, 4), np.float32),
            "holds 4 classes, but the list of class names holds 3",
        ),
        ("confusion", np.zeros((3, 2), np.int64), "holds 2 classes"),
        ("confusion", np.full((3, 3), -1), "negative"),
        ("predictions", np.zeros((5, 49), np.uint8), "holds 49 measured test images"),
        ("eval_step", np.array([0, 2, 2, 6, 7]), "must rise"),
        ("eval_step", np.array([0, 2, 4, 6, 8]), "within 0 to 7"),
        ("test_indices", np.full(MEASURED, 100), "test set of 100 images"),
        ("test_accuracy", np.full(5, 98.5, np.float32), "between 0 and 1"),
        ("train_seconds", np.full(STEPS, np.nan), "'train_seconds' must hold seconds"),
        ("eval_seconds", np.full(5, -1.0), "'eval_seconds' must hold seconds"),
        ("predictions", np.full((5, MEASURED), 3, np.uint8), "'predictions' holds 3, and there are 3 classes"),
    ],
)
def test_arrays_at_odds_are_refused(name: str, value: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        Run(example_arrays() | {name: value}, example_config())


def test_unknown_missing_and_foreign_arrays_are_refused() -> None:
    with pytest.raises(ArgumentError, match=r"no array named 'test_los'\. Did you mean 'test_loss'"):
        Run(example_arrays() | {"test_los": np.zeros(1)}, example_config())
    arrays = example_arrays()
    del arrays["confusion"]
    with pytest.raises(ArgumentError, match="'confusion' is missing"):
        Run(arrays, example_config())
    with pytest.raises(TypeError, match="'train_loss' must be a NumPy array, not list"):
        Run(example_arrays() | {"train_loss": [1.0]}, example_config())


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [
        ("dataset", "train", 0),
        ("dataset", "test", "100"),
        ("dataset", "classes", []),
        ("dataset", "classes", [1, 2, 3]),
        ("training", "batch_size", 0),
        ("training", "steps_per_epoch", 0),
        ("training", "seed", True),
        ("training", "seed", -1),
        ("training", "seed", 2**64),
        ("training", "checkpoints", 5),
        ("status", "model_step", "last"),
        ("training", "shuffle", 1),
        ("training", "lr", float("nan")),
        ("training", "lr", np.float32(1)),
        ("status", "state", "fine"),
        ("status", "diverged_at", 1.5),
    ],
)
def test_impossible_configs_are_refused(section: str, name: str, value: Any) -> None:
    config = example_config()
    config[section][name] = value
    with pytest.raises(ArgumentError, match=name if name != "lr" else "JSON"):
        Run(example_arrays(), config)


@pytest.mark.parametrize("section", ["network", "dataset", "training", "status"])
def test_configs_without_a_section_are_refused(section: str) -> None:
    config = example_config()
    del config[section]
    with pytest.raises(ArgumentError, match=f"lacks the section '{section}'"):
        Run(example_arrays(), config)


def test_a_config_at_odds_with_itself_gives_no_batch() -> None:
    config = example_config(batch_size=7)  # the 22 images in batches of 7 are 4 steps too, of 8 they are 3
    assert len(Run(example_arrays(), config).batch_indices(0)) == 7
    config["training"]["batch_size"] = 8
    with pytest.raises(ArgumentError, match="22 training images in batches of 8 are 3 steps an epoch, not 4"):
        Run(example_arrays(), config).batch_indices(0)


ODD_VALUES = [None, True, -1, 0, 1, 2**31, 2**64, 1.5, "", "x", "\udcff", [], [1], {}, ["a", "a", "a"]]


def odd_run(draw: np.random.Generator) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arrays and a config with one thing about them changed."""
    arrays, config = example_arrays(), example_config(lr=0.1, checkpoints="/nowhere", total_steps=STEPS)
    config["status"]["model_step"] = STEPS
    if draw.random() < 0.5:
        section = config[draw.choice(list(config))]
        name = draw.choice(list(section))
        section[name] = ODD_VALUES[draw.integers(len(ODD_VALUES))]
        return arrays, config
    name = draw.choice(list(arrays))
    array = arrays[name]
    changes: list[Any] = [array.astype(kind) for kind in ("f4", "f8", "i8", "u1", "u2", ">f4", ">i8", "c8", "?", "O")]
    changes += [array[:-1], array[:0], array[None], array[..., None], array.T, array[::-1], array.tolist(), None]
    changes += [np.full_like(array, value) for value in (0, 1, 255 if array.dtype == np.uint8 else -1)]
    changes += [np.full_like(array, value) for value in (np.nan, np.inf, -np.inf) if array.dtype.kind == "f"]
    arrays[name] = changes[draw.integers(len(changes))]
    return arrays, config


# Rule: a run is refused in a sentence when it is made, or everything about it works.
def test_whatever_is_accepted_can_be_used() -> None:
    draw, accepted, refused = np.random.default_rng(0), 0, []
    for _ in range(300):
        arrays, config = odd_run(draw)
        try:
            run = Run(arrays, config)
        except (ArgumentError, TypeError) as error:
            refused.append(str(error))
            continue
        accepted += 1
        assert repr(run).startswith("<Run: ")
        assert run._repr_html_()
        assert len(run.history()) == run.steps + 1
        assert len(run.class_accuracy_table()) == CLASSES
        assert (run.lr.shape, run.seconds.shape) == ((run.steps,), (run.steps, 2))
        _ = (run.checkpoints, run.model_accuracy, run.best_step, run.mean_accuracy(), run.total_seconds)
        for step in range(run.steps):
            try:
                indices = run.batch_indices(step)
            except ArgumentError:
                break
            assert 0 <= indices.min() <= indices.max() < run.config["dataset"]["train"]
    assert min(accepted, len(refused)) > 50
    assert all(re.search("must|missing|lacks|holds|JSON", sentence) for sentence in refused)
