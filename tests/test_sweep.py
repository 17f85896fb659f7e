"""`eb.sweep` and `Sweep`, in one process."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import everybatch as eb
from everybatch.errors import ArgumentError, ShapeError
from everybatch.sweeps._summary import summarise
from sweep_stores import make_store
from sweeping import GRID, assert_equal, swept


def test_a_trial_is_what_train_gives(glyphs: eb.Dataset, tmp_path: Path) -> None:
    sweep = swept(glyphs, tmp_path / "s", {"lr": [3e-3]}, seeds=[7], validation=0.2)
    had = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        run = eb.train(
            eb.networks.lenet5(),
            glyphs,
            steps=6,
            batch_size=32,
            lr=3e-3,
            seed=7,
            validation=0.2,
            deterministic=True,
            device="cpu",
            progress=False,
        )
    finally:
        torch.set_num_threads(had)
    (stored,) = sweep.runs
    for name in ("train_loss", "test_loss", "validation_accuracy", "class_accuracy", "confusion", "eval_step"):
        np.testing.assert_array_equal(getattr(stored, name), getattr(run, name))
    row = sweep.table().iloc[0]
    assert row["lr"] == 3e-3
    assert row["seed"] == 7
    assert row["parameters"] == 61_990  # LeNet-5 with batch norm, as published
    assert row["final_test_accuracy"] == run.final_accuracy
    assert row["best_test_accuracy"] == run.test_accuracy[1:].max()
    assert row["best_validation_loss"] == run.validation_loss[1:].min()
    assert row["final_train_accuracy"] == pytest.approx(run.train_accuracy.mean(dtype=float), abs=1e-12)
    assert (row["steps"], row["status"], row["message"]) == (6, "finished", "")
    assert torch.get_num_threads() == had


def test_the_table_has_a_row_for_every_config_and_seed(glyphs: eb.Dataset, tmp_path: Path) -> None:
    sweep = swept(glyphs, tmp_path / "s", seeds=2)
    table = sweep.table()
    expected = [(lr, dropout, seed) for lr in GRID["lr"] for dropout in GRID["network.dropout"] for seed in (0, 1)]
    assert list(zip(table["lr"], table["network.dropout"], table["seed"], strict=True)) == expected
    assert sweep.columns == ("lr", "network.dropout")
    assert table.index.is_unique
    assert table["final_validation_accuracy"].isna().all()  # there are no validation images
    pivot = sweep.pivot("lr", "network.dropout")
    by_hand = table[(table["lr"] == 5e-3) & (table["network.dropout"] == 0.5)]["final_test_accuracy"].mean()
    assert pivot.loc[5e-3, 0.5] == pytest.approx(by_hand)
    assert repr(sweep) == f"<Sweep {str(tmp_path / 's')!r}: 8 trials, 8 finished>"
    assert "8 trials" in sweep._repr_html_()


def test_labels_name_configs_and_change_nothing(glyphs: eb.Dataset, tmp_path: Path) -> None:
    rates = {"slow": 1e-3, "fast": 5e-3}
    plain = swept(glyphs, tmp_path / "s", [{"lr": lr} for lr in rates.values()], seeds=2)
    configs = [{"label": label, "lr": lr} for label, lr in rates.items()]
    named = swept(glyphs, tmp_path / "s", configs, seeds=2)
    assert named.runs.trials == plain.runs.trials  # they are known again
    assert named.columns == ("label", "lr")
    for sweep in (named, eb.load_sweep(tmp_path / "s")):
        assert [trial.config["label"] for trial in sweep.trials] == ["slow", "slow", "fast", "fast"]
        for trial in sweep.trials:
            assert trial.run is not None
            assert trial.run.config["training"]["lr"] == rates[trial.config["label"]]


@pytest.mark.parametrize(
    ("space", "kind", "message"),
    [
        ([{"label": "a", "lr": 1.0}, {"lr": 2.0}], ArgumentError, "config 2 of 2 has no label"),
        (
            [{"label": "a", "lr": 1.0}, {"label": "a", "lr": 2.0}],
            ArgumentError,
            "configs 1 and 2 of 2 both have .* 'a'",
        ),
        ([{"label": "a", "lr": 1.0}, {"label": "b", "lr": 1.0}], ArgumentError, "'a' and 'b' .* the same training"),
        ({"label": ["a", "b"], "lr": [1.0, 2.0]}, ArgumentError, "both have the label 'a'.*in a list of configs"),
        ([{"label": 0.1}], TypeError, "label must be text that names the config, not float"),
    ],
)
def test_labels_that_name_nothing(glyphs: eb.Dataset, tmp_path: Path, space: Any, kind: Any, message: str) -> None:
    with pytest.raises(kind, match=message):
        swept(glyphs, tmp_path / "s", space)
    assert not (tmp_path / "s").exists()


def test_a_second_sweep_does_only_what_is_missing(glyphs: eb.Dataset, tmp_path: Path) -> None:
    first = swept(glyphs, tmp_path / "s")
    started = {run.config["started"]: None for run in first.runs}
    gone = first.table().index[2]
    times = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "s" / "trials").iterdir()}
    shutil.rmtree(tmp_path / "s" / "trials" / gone)
    assert list(eb.load_sweep(tmp_path / "s").table()["status"]) == ["finished", "finished", "missing", "finished"]
    second = swept(glyphs, tmp_path / "s")
    assert_equal(first, second)
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "s" / "trials").iterdir()}
    assert {name for name in times if after[name] != times[name]} == {gone}
    assert started  # every run says when it began
    larger = swept(glyphs, tmp_path / "s", {**GRID, "lr": [1e-3, 5e-3, 1e-2]})
    assert len(larger) == 6
    assert {path.name for path in (tmp_path / "s" / "trials").iterdir()} == set(larger.table().index)


def test_data_seed_settings_and_version_make_another_trial(
    glyphs: eb.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def key(data: eb.Dataset = glyphs, **arguments: Any) -> str:
        return swept(data, tmp_path / "s", {"lr": [1e-3]}, **{"steps": 1} | arguments).table().index[0]

    other_mean = eb.Dataset(
        glyphs.train_images, glyphs.train_labels, glyphs.test_images, glyphs.test_labels, mean=0.3, std=1.0
    )
    keys = [key(other_mean), key(seeds=[1]), key(batch_size=16), key(glyphs.subset(test=30)), key(optimizer="sgd")]
    keys.append(key())
    assert key(weight_decay=0.0) == keys[-1]  # what is the default already changes nothing
    assert key(schedule="constant") == keys[-1]
    monkeypatch.setattr("everybatch.sweeps._trials.__version__", "99.0")
    keys.append(key())
    assert len(set(keys)) == len(keys)


def test_best_and_ensemble(glyphs: eb.Dataset, tmp_path: Path) -> None:
    sweep = swept(glyphs, tmp_path / "s", seeds=2, validation=0.2, steps=20)
    table = sweep.table()
    best = sweep.best()
    assert best.validation_accuracy[-1] == table["final_validation_accuracy"].max()
    assert sweep.best(by="validation_loss").validation_loss[-1] == table["final_validation_loss"].min()
    with pytest.warns(eb.SelectionWarning, match="test images"):
        assert sweep.best(by="test_accuracy").final_accuracy == table["final_test_accuracy"].max()

    # PyTorch's softmax over the logits of the three best models, averaged.
    ensemble = sweep.ensemble(3)
    three = table.sort_values("final_validation_accuracy", ascending=False, kind="stable").index[:3]
    logits = [torch.from_numpy(sweep.run(key).model.logits(glyphs.test_images)) for key in three]
    expected = torch.stack([torch.softmax(one.double(), 1) for one in logits]).mean(0)
    given = ensemble.predict_proba(glyphs.test_images)
    np.testing.assert_allclose(given, expected.numpy(), atol=1e-6)
    assert given.dtype == np.float32
    right = (expected.argmax(1).numpy() == glyphs.test_labels).mean()
    assert ensemble.accuracy(glyphs.test_images, glyphs.test_labels) == right
    assert len(ensemble) == 3


def test_networks_schedules_and_augmentations_are_values(glyphs: eb.Dataset, tiny: eb.Network, tmp_path: Path) -> None:
    space = [
        {"network": tiny, "schedule": eb.schedules.cosine(), "lr": np.float64(1e-3)},
        {"network": "lenet5", "augment": eb.Augment(shift=1), "betas": (0.8, 0.99)},
    ]
    sweep = eb.sweep(space, glyphs, steps=2, backend="serial", store=tmp_path / "s", progress=False, device="cpu")
    table = sweep.table()
    assert list(table["network"]) == ["tiny", "lenet5"]
    assert list(table["parameters"]) == [tiny.num_parameters, 61_990]
    assert table["betas"].iloc[1] == "0.8, 0.99"
    assert eb.load_sweep(tmp_path / "s").table().equals(table)
    assert [run.model.network.name for run in sweep.runs] == ["tiny", "lenet5"]


def test_a_space_may_be_gone_through_once_only(glyphs: eb.Dataset, tmp_path: Path) -> None:
    sweep = swept(glyphs, tmp_path / "s", ({"lr": lr} for lr in (1e-3, 1e-2)), steps=1)
    assert list(sweep.table()["lr"]) == [1e-3, 1e-2]


def test_a_function_of_ones_own(glyphs: eb.Dataset, tmp_path: Path) -> None:
    def train_one(config: dict[str, Any]) -> eb.Run:
        network = eb.networks.lenet5(dropout=config["dropout"])
        return eb.train(network, glyphs, steps=3, seed=config["seed"], progress=False, device="cpu")

    sweep = eb.sweep(
        train_one, {"dropout": [0.0, 0.4]}, seeds=2, backend="serial", store=tmp_path / "s", progress=False
    )
    assert len(sweep.runs) == 4
    assert [run.config["training"]["seed"] for run in sweep.runs] == [0, 1, 0, 1]
    assert list(sweep.table()["dropout"]) == [0.0, 0.0, 0.4, 0.4]


def test_what_fails_is_told_and_the_rest_goes_on(glyphs: eb.Dataset, tmp_path: Path) -> None:
    asked = tmp_path / "asked"  # a list that grew would make another function of it

    def train_one(config: dict[str, Any]) -> Any:
        with asked.open("a") as file:
            file.write(str(config["x"]))
        if config["x"] == 1:
            raise ZeroDivisionError("one is\ntoo few")
        if config["x"] == 2:
            return "no run"
        return eb.train(eb.networks.lenet5(), glyphs, steps=1, progress=False, device="cpu")

    def again(**arguments: Any) -> eb.Sweep:
        fixed: Any = {"backend": "serial", "store": tmp_path / "s", "progress": False}
        return eb.sweep(train_one, {"x": [0, 1, 2, 3]}, **fixed | arguments)

    sweep = again()
    table = sweep.table()
    assert list(table["status"]) == ["finished", "failed", "failed", "finished"]
    assert table["message"].iloc[1] == "ZeroDivisionError: one is too few"
    assert "must return the Run" in table["message"].iloc[2]
    told = sweep.tracebacks()
    assert set(told) == set(table.index[[1, 2]])
    assert "in train_one" in told[table.index[1]]
    assert len(sweep.runs) == 2
    with pytest.raises(KeyError, match="no trial"):
        sweep.run(table.index[1])
    again()
    assert asked.read_text() == "0123"
    again(retry_failed=True)
    assert asked.read_text() == "012312"


def test_a_run_that_diverges_is_a_result(glyphs: eb.Dataset, tmp_path: Path) -> None:
    sweep = swept(glyphs, tmp_path / "s", {"lr": [1e30, 1e-3]}, optimizer="sgd")
    assert list(sweep.table()["status"]) == ["diverged", "finished"]


def test_runs_that_diverged_are_never_chosen(glyphs: eb.Dataset, tmp_path: Path) -> None:
    """Their weights are not numbers, though a class is always right now and then."""
    arguments: dict[str, Any] = {"validation": 0.2, "optimizer": "sgd"}
    one = swept(glyphs, tmp_path / "s", {"lr": [1e30, 1e-9]}, **arguments)
    assert list(one.table()["status"]) == ["diverged", "finished"]
    assert np.isfinite(one.table()["final_validation_loss"].iloc[1])
    for by in ("validation_accuracy", "validation_loss"):
        assert one.best(by).config["training"]["lr"] == 1e-9
    assert np.isfinite(one.ensemble(1).predict_proba(glyphs.test_images)).all()
    with pytest.raises(ArgumentError, match="k is 2, and 1 trials have"):
        one.ensemble(2)
    two = swept(glyphs, tmp_path / "s", {"lr": [1e30, 2e30]}, **arguments)
    for choose in (two.best, two.ensemble):
        with pytest.raises(ArgumentError, match="all trials of this sweep have diverged"):
            choose()


def test_no_mean_holds_a_trial_that_diverged(tmp_path: Path) -> None:
    """Means by hand; what a trial cost counts all the same."""
    fates = {0: "diverged", 3: "failed", 4: "diverged", 5: "diverged"}
    made = make_store(
        tmp_path / "s",
        [{"lr": lr, "momentum": 0.5} for lr in (0.1, 0.2, 0.3)],
        seeds=2,
        steps=5,
        fate=lambda number: fates.get(number, "finished"),
    )
    values = [trial.row.get("best_test_accuracy") for trial in made.trials]
    assert None not in values[:3]  # each that diverged had reached something
    with pytest.warns(RuntimeWarning, match="4 of 6 trials diverged or failed and are left out") as caught:
        pivot = made.pivot("lr", "momentum", "best_test_accuracy")
    assert caught[0].filename == __file__
    assert pivot[0.5].tolist()[:2] == [values[1], values[2]]
    assert np.isnan(pivot.loc[0.3, 0.5])
    with pytest.warns(RuntimeWarning, match="left out"):
        assert made.pivot("lr", "momentum", aggregate="count")[0.5].tolist() == [1, 1, 0]
    assert made.pivot("lr", "momentum", "steps", "count")[0.5].tolist() == [2, 1, 2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("lr", "lr"), "give three columns that differ"),
        (("lr", "seed", "lr"), "give three columns that differ"),
        (("lr", "seed", "status"), "values is 'status', which has no mean, .* aggregate='count'"),
        (("lr", "seed", "status", "std"), "values is 'status', which has no std"),
        (("lr", "nope"), "columns is 'nope'|'nope'"),
    ],
)
def test_a_pivot_that_cannot_be_made(tmp_path: Path, arguments: Any, message: str) -> None:
    sweep = make_store(tmp_path, [{"lr": 1e-3}, {"lr": 3e-3}], seeds=2)
    with pytest.raises(ArgumentError, match=message):
        sweep.pivot(*arguments)
    assert sweep.pivot("lr", "seed", "status", "count").to_numpy().tolist() == [[1, 1]] * 2


def test_an_estimate_is_neither_best_nor_final(quick: Callable[..., eb.Run]) -> None:
    run = quick(epochs=2, tolerance=0.05, complete_every=3, validation=20)
    row = summarise(run)
    complete = run.images_measured == 60
    assert complete[-1]
    assert row["final_test_accuracy"] == run.test_accuracy[-1]
    assert row["best_test_accuracy"] == run.test_accuracy[complete & (run.eval_step > 0)].max()
    # As runs of earlier versions had it, of weights that were selected.
    measured = np.where(run.eval_step == run.model_step, 59, run.images_measured)
    row = summarise(eb.Run({**run._arrays, "images_measured": measured}, run.config, run.model))
    assert row["final_test_accuracy"] is None
    assert row["final_test_loss"] is None
    assert row["final_validation_accuracy"] == run.validation_accuracy[-1]


def test_a_run_whose_weights_broke_unseen_is_not_chosen(tmp_path: Path) -> None:
    """A row as the table would show it: an accuracy, and a loss that was not a number."""
    made = make_store(tmp_path / "s", [{"lr": 1.0}, {"lr": 2.0}], level=lambda config: 0.5 * config["lr"])
    made.trials[1].row["final_validation_loss"] = None
    assert made.best() is not None
    assert made._ranked("validation_accuracy")[0].key == made.runs.trials[0]
    made.trials[0].row["final_validation_accuracy"] = float("nan")
    with pytest.raises(ArgumentError, match="no trial of this sweep has a validation_accuracy"):
        made.best()


def test_networks_that_share_a_name_are_told_apart(glyphs: eb.Dataset, tmp_path: Path) -> None:
    unnamed = [eb.Network([eb.Flatten(), eb.Linear(784, width), eb.Linear(width, 10)]) for width in (3, 5)]
    named = [eb.networks.lenet5(), eb.networks.lenet5(dropout=0.5), eb.networks.convnet()]
    made = swept(glyphs, tmp_path / "s", {"network": [*unnamed, *named], "lr": [1e-3, 1e-2]}, network=None, steps=1)
    table = made.table()
    shown = list(table["network"])[::2]
    assert len(set(shown)) == 5
    assert shown[4] == "convnet"  # it needs no more
    assert [name.split()[0] for name in shown] == ["network", "network", "lenet5", "lenet5", "convnet"]
    pivot = made.pivot("network", "lr", "parameters")
    counts = [3 * 784 + 3 + 30 + 10, 5 * 784 + 5 + 50 + 10]  # of weights and biases
    assert [pivot.loc[name, 1e-3] for name in shown[:2]] == counts
    again = eb.load_sweep(tmp_path / "s")
    assert list(again.table()["network"]) == list(table["network"])
    (tmp_path / "s" / "sweep.json").unlink()
    assert set(eb.load_sweep(tmp_path / "s").table()["network"]) == set(shown)


def test_ctrl_c_returns_what_there_is(glyphs: eb.Dataset, tmp_path: Path) -> None:
    def train_one(config: dict[str, Any]) -> eb.Run:
        if config["x"] == 1:
            raise KeyboardInterrupt
        return eb.train(eb.networks.lenet5(), glyphs, steps=1, progress=False, device="cpu")

    sweep = eb.sweep(train_one, {"x": [0, 1, 2]}, backend="serial", store=tmp_path / "s", progress=False)
    assert sweep.interrupted
    assert list(sweep.table()["status"]) == ["finished", "missing", "missing"]
    assert "interrupted" in repr(sweep)


def test_models_need_not_be_kept(glyphs: eb.Dataset, tmp_path: Path) -> None:
    sweep = swept(glyphs, tmp_path / "s", {"lr": [1e-3]}, keep_models=False, validation=0.2)
    with pytest.raises(AttributeError, match="without a model"):
        sweep.runs[0].model  # noqa: B018
    with pytest.raises(ArgumentError, match="keep_models"):
        sweep.ensemble(1)
    assert sweep.table()["parameters"].iloc[0] == 61_990


def test_test_images_that_choose_are_warned_of_once(glyphs: eb.Dataset, tmp_path: Path) -> None:
    with pytest.warns(eb.SelectionWarning) as caught:
        swept(glyphs, tmp_path / "s", select="best")
    assert len(caught) == 1
    assert caught[0].filename == str(Path(__file__).with_name("sweeping.py"))


def test_progress_is_one_line(glyphs: eb.Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def train_one(config: dict[str, Any]) -> eb.Run:
        if config["x"]:
            raise ValueError
        return eb.train(eb.networks.lenet5(), glyphs, steps=1, progress=False, device="cpu")

    eb.sweep(train_one, {"x": [0, 1]}, backend="serial", store=tmp_path / "name")
    last = capsys.readouterr().err.strip().rsplit("\r", 1)[-1]
    assert "name: 100%" in last
    assert "2/2" in last
    assert "0 running, 1 failed, best test accuracy" in last
    assert "\n" not in last


@pytest.mark.parametrize(
    ("space", "arguments", "kind", "message"),
    [
        ({"lrr": [1]}, {}, ArgumentError, "'lrr' is no setting.*Did you mean 'lr'"),
        ({"lr": [1e-3, "x"]}, {}, TypeError, "config 2 of 2 .*lr must be a number"),
        ({"lr": [1e-3], "network.drop": [0.1]}, {}, ArgumentError, "'drop' is unknown to lenet5.*dropout"),
        ({"network.dropout": [2]}, {}, ArgumentError, "config 1 of 1"),
        ({"network": ["lenet"]}, {}, ArgumentError, "Did you mean 'lenet5'"),
        ({"network": [3]}, {}, TypeError, "network must be"),
        ({"network": [None]}, {}, ArgumentError, "has no network"),
        ({"seed": [1, 2]}, {}, ArgumentError, "seeds="),
        ({"lr": [1e-3]}, {"progress": 3}, TypeError, "progress"),
        ({"lr": [1e-3]}, {"seeds": 0}, ArgumentError, "seeds"),
        ({"lr": [1e-3]}, {"seeds": []}, ArgumentError, "seeds"),
        ({"lr": [1e-3]}, {"seeds": [1, 1]}, ArgumentError, "more than once"),
        ({"lr": [1e-3]}, {"seeds": [-1]}, ArgumentError, "seeds"),
        ({"lr": [1e-3]}, {"backend": "process"}, ArgumentError, "Did you mean 'processes'"),
        ({"lr": [1e-3]}, {"workers": 2}, ArgumentError, r"belongs to the .*eb.sweeps.processes\(workers=2\)"),
        ({"lr": [1e-3]}, {"backend": "packed", "workers": 2}, ArgumentError, r"eb.sweeps.packed\(workers=2\)"),
        ({"lr": [1e-3]}, {"backend": 3}, TypeError, r"such as eb.sweeps.processes\(workers=2\), not 3"),
        ({"lr": [1e-3]}, {"workerz": 2}, ArgumentError, "Did you mean 'workers'"),
        ({"lr": [1e-3]}, {"threads": 0}, ArgumentError, "threads"),
        ({"lr": [1e-3]}, {"retries": -1}, ArgumentError, r"eb.sweeps.processes\(retries=-1\)"),
        ({"lr": [1e-3]}, {"pruning": "median"}, TypeError, "pruning"),
        ({"lr": [1e-3]}, {"pruning": eb.sweeps.median()}, ArgumentError, "validation"),
        ({"lr": [1e-3]}, {"store": 3}, TypeError, "store"),
        ({"lr": [1e-3]}, {"store": ""}, ArgumentError, "store"),
        ({"lr": [1e-3]}, {"store": "nowhere://x"}, ArgumentError, "nowhere"),
        ({"lr": [1e-3]}, {"address": "auto"}, ArgumentError, r"eb.sweeps.ray\(address='auto'\)"),
        ({"lr": [1e-3]}, {"keep_models": "yes"}, TypeError, "keep_models"),
        ({"batch_size": [1000]}, {}, ArgumentError, "config 1 of 1 .*batch_size"),
        ({"lr": [1e-3, -1.0]}, {}, ArgumentError, "config 2 of 2 .*lr is -1"),
        ({"schedule": [eb.schedules.warmup(100)]}, {}, ArgumentError, "warm"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_trained(
    glyphs: eb.Dataset, tmp_path: Path, space: Any, arguments: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        swept(glyphs, arguments.pop("store", tmp_path / "s"), space, **arguments)
    assert not list((tmp_path).glob("s/trials/*"))


def test_what_ray_is_given_is_checked_where_it_is_given() -> None:
    with pytest.raises(TypeError, match=r"resources must be a dict, such as .*, not 3"):
        eb.sweeps.ray(resources=3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="address must be text, such as 'auto', not 3"):
        eb.sweeps.ray(address=3)  # type: ignore[arg-type]


def test_shapes_are_checked_before_anything_is_trained(glyphs: eb.Dataset, colour: eb.Dataset, tmp_path: Path) -> None:
    five = eb.Network([eb.Flatten(), eb.Linear(784, 5)])
    with pytest.raises(ArgumentError, match="5 logits"):
        swept(glyphs, tmp_path / "s", {"lr": [1e-3]}, network=five)
    with pytest.raises(ShapeError):
        swept(colour, tmp_path / "s", {"lr": [1e-3]}, network=eb.networks.lenet5())
    swept(colour, tmp_path / "s", {"lr": [1e-3]})  # a builder's name is fitted to the data
    with pytest.raises(ArgumentError, match="option of a builder"):
        swept(glyphs, tmp_path / "s", network=eb.networks.lenet5())


def test_arguments_in_the_wrong_place(glyphs: eb.Dataset, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="must be an everybatch Dataset, not dict"):
        eb.sweep(GRID, GRID, store=tmp_path / "s")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="the second argument is the space"):
        eb.sweep(lambda _: None, glyphs, store=tmp_path / "s")  # type: ignore[arg-type, return-value]
    with pytest.raises(ArgumentError, match="object, which cannot be written down"):
        eb.sweep(lambda _: None, {"x": [object()]}, store=tmp_path / "s")  # type: ignore[arg-type, return-value]


def test_loading_what_is_no_sweep(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no sweep at"):
        eb.load_sweep(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="holds no sweep"):
        eb.load_sweep(tmp_path)
    (tmp_path / "sweep.json").write_text("{")
    with pytest.raises(eb.EverybatchError, match=r"sweep\.json"):
        eb.load_sweep(tmp_path)
    (tmp_path / "sweep.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(eb.EverybatchError, match="format 99"):
        eb.load_sweep(tmp_path)
