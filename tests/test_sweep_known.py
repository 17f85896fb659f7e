"""Which stored trials a sweep takes as its own: those that are what it asks for, with all that it asks for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import everybatch as eb
from everybatch.errors import ArgumentError
from everybatch.runs._files import MODEL
from same_runs import assert_same
from sweeping import assert_equal, swept
from test_sweep_going import GIVEN, killed_on_its_way

SPACE = {"lr": [1e-3, 5e-3]}


def seconds_of(sweep: eb.Sweep) -> list[float]:
    """What is another number for every training, however alike two are: the seconds of the steps."""
    return [float(run.train_seconds.sum()) for run in sweep.runs]


def renamed(data: eb.Dataset, *names: str) -> eb.Dataset:
    """The same images and labels, whose first classes have these names."""
    arrays = (data.train_images, data.train_labels, data.test_images, data.test_labels)
    return eb.Dataset(*arrays, classes=[*names, *data.classes[len(names) :]], mean=data.mean, std=data.std)


# ---- weights that were not kept ------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["disk", "memory"])
def test_trials_without_weights_are_trained_again_when_they_are_asked_for(
    glyphs: eb.Dataset, tmp_path: Path, where: str
) -> None:
    store = tmp_path / "s" if where == "disk" else f"memory://{tmp_path.name}/kept"
    without = swept(glyphs, store, SPACE, validation=0.2, keep_models=False)
    with pytest.raises(ArgumentError, match="keep_models=True"):
        without.ensemble(2)
    again = swept(glyphs, store, SPACE, validation=0.2)
    assert len(again.ensemble(2)) == 2
    assert_equal(without, again)  # a training gives the same numbers each time
    seconds = seconds_of(again)
    for keep_models in (True, False):  # nothing more is to be done, and no weights go
        assert seconds_of(swept(glyphs, store, SPACE, validation=0.2, keep_models=keep_models)) == seconds
    assert len(eb.load_sweep(store).ensemble(2)) == 2


def test_only_those_without_weights_are_trained_again(glyphs: eb.Dataset, tmp_path: Path) -> None:
    first = swept(glyphs, tmp_path / "s", SPACE)
    before = seconds_of(first)
    (tmp_path / "s" / "trials" / first.trials[1].key / MODEL).unlink()
    second = swept(glyphs, tmp_path / "s", SPACE)
    same = [one == other for one, other in zip(before, seconds_of(second), strict=True)]
    assert same == [True, False]
    assert [run.model.network.name for run in second.runs] == ["lenet5"] * 2


def test_pruned_trials_without_weights_are_trained_again_and_pruned_again(glyphs: eb.Dataset, tmp_path: Path) -> None:
    rule = eb.sweeps.median(every=4, min_trials=1)
    given: dict[str, Any] = {"steps": 16, "validation": 30, "pruning": rule, "space": {"lr": [3e-3, 1e-2, 1e-4]}}
    without = swept(glyphs, tmp_path / "s", keep_models=False, **given)
    assert "pruned" in {trial.state for trial in without.trials}
    again = swept(glyphs, tmp_path / "s", **given)
    assert_equal(without, again)
    assert all(run.model is not None for run in again.runs)


def test_a_run_that_never_had_weights_is_not_trained_again(glyphs: eb.Dataset, tmp_path: Path) -> None:
    made = swept(glyphs, tmp_path / "s", {"lr": [1e-3]}, keep_models=False)
    place, log = made.trials[0].path, tmp_path / "log"
    assert place is not None

    def loads_one(config: dict[str, Any]) -> eb.Run:
        with log.open("a") as file:
            file.write("x")
        return eb.load_run(place)

    for _ in range(2):
        sweep = eb.sweep(loads_one, {"x": [1]}, store=tmp_path / "own", backend="serial", progress=False)
        assert [trial.state for trial in sweep.trials] == ["finished"]
    assert log.read_text() == "x"


# ---- numbers of NumPy ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "number"),
    [("validation", np.int64(20)), ("evaluate_on", np.uint8(20)), ("validation", np.float32(0.25))],
    ids=str,
)
def test_a_number_of_numpy_says_what_the_same_one_of_python_does(
    glyphs: eb.Dataset, tmp_path: Path, name: str, number: Any
) -> None:
    """How many images are drawn, and not which: that is another thing for every seed."""

    def keys(given: Any, seeds: list[int]) -> list[str]:
        return [trial.key for trial in swept(glyphs, tmp_path / "s", {"lr": [1e-3]}, seeds=seeds, **given).trials]

    both = keys({name: number}, [0, 1])
    assert keys({name: number}, [1]) == both[1:]
    assert keys({name: number.item()}, [0, 1]) == both
    run = eb.load_sweep(tmp_path / "s").runs[0]
    assert run.config["training"][name] == number.item()


# ---- names of classes ----------------------------------------------------------------------------------


def test_a_stored_trial_whose_classes_had_other_names_is_refused(glyphs: eb.Dataset, tmp_path: Path) -> None:
    one, other = renamed(glyphs, "cat", "dog"), renamed(glyphs, "dog", "cat")
    before = seconds_of(swept(one, tmp_path / "s", SPACE))
    asked = (tmp_path / "s" / "sweep.json").read_bytes()
    for _ in range(2):
        with pytest.raises(
            ArgumentError, match=r"class 0 called 'cat', and the data set calls it 'dog': give .* store"
        ):
            swept(other, tmp_path / "s", SPACE)
        for path in (tmp_path / "s").glob("trials/*/trial.json"):  # as earlier versions wrote it
            row = json.loads(path.read_text())
            path.write_text(json.dumps({name: row[name] for name in row.keys() - {"sha256", "classes"}}))
        (tmp_path / "s" / "index.json").unlink(missing_ok=True)
    assert (tmp_path / "s" / "sweep.json").read_bytes() == asked
    assert seconds_of(swept(one, tmp_path / "s", SPACE)) == before
    assert swept(other, tmp_path / "other", SPACE).runs[0].classes[:2] == ("dog", "cat")


def test_a_trial_that_was_cut_off_does_not_go_on_under_other_names(tmp_path: Path, going_on: list[Any]) -> None:
    data = eb.datasets.glyphs(train=640, test=100)  # as in the process that is killed
    given = {**GIVEN, "backend": "serial"}
    killed_on_its_way(tmp_path / "cut", "{'lr': [0.001]}", given)
    other = renamed(data, data.classes[1], data.classes[0])
    fixed: dict[str, Any] = {**given, "progress": False, "device": "cpu"}
    (run,) = eb.sweep({"lr": [0.001]}, other, store=tmp_path / "cut", **fixed).runs
    assert not going_on
    assert run.classes == other.classes
    assert not list((tmp_path / "cut" / "going").iterdir())
    (whole,) = eb.sweep({"lr": [0.001]}, data, store=tmp_path / "whole", **fixed).runs
    for name, array in run._arrays.items():
        if not name.endswith("seconds"):
            np.testing.assert_array_equal(array, whole._arrays[name], err_msg=name)


# ---- names of stores -----------------------------------------------------------------------------------


def test_colons_in_the_name_of_a_folder_are_a_part_of_it(
    glyphs: eb.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number, lr in enumerate((1e-3, 5e-3, 1e-2)):
        store = ("col/a::1", "col/a::2", tmp_path / "col" / "data:3")[number]
        made = swept(glyphs, store, {"lr": [lr]}, steps=1)
        assert [trial.config["lr"] for trial in eb.load_sweep(store).trials] == [lr]
        assert eb.load_run(str(made.trials[0].path)).steps == 1
    assert sorted(path.name for path in (tmp_path / "col").iterdir()) == ["a::1", "a::2", "data:3"]


@pytest.mark.parametrize("prefix", ["", "file:", "local:", "file://"])
def test_a_trial_has_the_path_of_its_folder(
    glyphs: eb.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefix: str
) -> None:
    monkeypatch.chdir(tmp_path)
    store = f"{prefix}{tmp_path / 'z'}" if prefix == "file://" else f"{prefix}z"
    (trial,) = swept(glyphs, store, {"lr": [1e-3]}, steps=1).trials
    assert trial.path is not None
    assert Path(trial.path).resolve() == (tmp_path / "z" / "trials" / trial.key).resolve()
    assert Path(trial.path).is_absolute() == bool(prefix)  # a plain name stays as it was given
    assert_same(eb.load_run(trial.path), eb.load_sweep(store).runs[0])
