"""The run of a meter: a `Run` like any other, in memory, in files, in pictures; and in a folder while it grows."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

import everybatch as eb
from everybatch.errors import ArgumentError
from everybatch.live._curves import charts
from everybatch.watch._charts import View, axis_end, series
from everybatch.watch._watch import Watch
from metering import Itself, net, steps

RECORD = ("predictions", "losses", "examples")


def metered(data: eb.Dataset, wrap: Any = lambda module: module, count: int = 8, **how: Any) -> eb.Run:
    module = wrap(net())
    with eb.Meter(module, data, **how) as meter:
        for loss in steps(module, data, count):
            meter.step(loss, lr=0.05)
    return meter.run


@pytest.fixture(scope="module")
def runs(glyphs: eb.Dataset) -> dict[str, eb.Run]:
    """One of which all is known, and one of which nothing is."""
    return {
        "told": metered(glyphs, batch_size=32, steps=8, record=RECORD, measure_training=2, validation=20),
        "untold": metered(glyphs, Itself, record=RECORD),
    }


def test_the_config_says_what_is_known(runs: dict[str, eb.Run]) -> None:
    told, untold = (runs[name].config for name in ("told", "untold"))
    assert told["meter"] == {"module": "metering.Net", "inputs": "normalized", "measured_by": "plan", "reason": None}
    assert untold["meter"]["measured_by"] == "module"
    assert told["network"]["layers"]
    assert untold["network"] == {"name": "Itself"}
    assert {name: told["training"][name] for name in ("optimizer", "lr", "batch_size", "steps_per_epoch")} == {
        "optimizer": None,
        "lr": None,
        "batch_size": 32,
        "steps_per_epoch": 4,
    }
    assert untold["training"]["steps_per_epoch"] is untold["training"]["batch_size"] is None
    assert told["training"]["total_steps"] == 8
    assert "momentum" not in told["training"]
    assert told["evaluation"]["workers"] >= 1


def test_epochs_are_known_or_nan(runs: dict[str, eb.Run]) -> None:
    assert runs["told"].epochs == 2
    assert math.isnan(runs["untold"].epochs)
    assert np.isnan(runs["untold"].eval_epoch).all()
    assert "epochs" in runs["told"]._repr_html_()
    assert "epochs" not in runs["untold"]._repr_html_()
    assert "Itself on glyphs, 8 steps" in repr(runs["untold"])
    with pytest.raises(ArgumentError, match="was not told how long an epoch is"):
        eb.plots.losses(runs["untold"], x="epoch")


@pytest.mark.parametrize("name", ["told", "untold"])
def test_a_run_is_saved_and_read(runs: dict[str, eb.Run], name: str, tmp_path: Path) -> None:
    run = runs[name]
    run.save(tmp_path / "run")
    again = eb.load_run(tmp_path / "run")
    assert again.config == run.config
    for array in run._arrays:
        np.testing.assert_array_equal(again._arrays[array], run._arrays[array])
    if name == "told":
        assert all(map(torch.equal, again.model.state_dict().values(), run.model.state_dict().values()))
    else:
        with pytest.raises(AttributeError, match="no network of everybatch's layers"):
            again.model  # noqa: B018


@pytest.mark.parametrize("name", ["told", "untold"])
@pytest.mark.filterwarnings("error")
def test_tables_pictures_and_exports(runs: dict[str, eb.Run], glyphs: eb.Dataset, name: str, tmp_path: Path) -> None:
    run = runs[name]
    for draw in (eb.plots.losses, eb.plots.accuracy, eb.plots.class_accuracy, eb.plots.class_bars, eb.plots.confusion):
        draw(run)
        plt.close("all")
    eb.plots.compare([run, runs["told"]])
    plt.close("all")
    history = run.history()
    assert len(history) == run.steps + 1
    assert history["train_accuracy"].isna().all()
    assert len(run.class_accuracy_table()) == 10
    assert len(run.images_table("test")) == 60
    eb.export.csv(run, tmp_path / "run.csv")
    eb.export.tensorboard(run, tmp_path / "board")
    eb.insight.report(run, tmp_path / "page.html", dataset=glyphs)
    assert (tmp_path / "page.html").stat().st_size > 10_000


@pytest.mark.parametrize("name", ["told", "untold"])
def test_insight(runs: dict[str, eb.Run], glyphs: eb.Dataset, name: str) -> None:
    run = runs[name]
    learned = eb.insight.learning(run, dataset=glyphs)
    assert learned.interval == "every step"
    assert len(eb.insight.bands(run, dataset=glyphs).step) == 9
    assert len(eb.insight.confusion_film(run, dataset=glyphs).step) == 9
    assert eb.insight.compare([run, runs["told"]], dataset=glyphs) is not None
    assert eb.insight.label_errors(run, dataset=glyphs, part="test") is not None
    intervals = eb.insight.batches(run, dataset=glyphs)
    assert len(intervals.step) == 8
    with pytest.raises(ArgumentError, match="does not know the images of the batches"):
        intervals.members(0)
    if name == "told":
        assert len(eb.insight.data_map(run, dataset=glyphs).confidence) == 110
        eb.insight.memorisation(run, dataset=glyphs)


def test_what_only_training_knows_is_refused(runs: dict[str, eb.Run], glyphs: eb.Dataset) -> None:
    with pytest.raises(ArgumentError, match="does not know the images of the batches"):
        runs["told"].batch_indices(0)
    with pytest.raises(ArgumentError, match="does not know the images of the batches"):
        eb.insight.replay(runs["told"], 1, dataset=glyphs)


# ---- in a folder


@pytest.mark.parametrize("wrap", [lambda module: module, Itself], ids=["plan", "module"])
def test_a_folder_is_read_as_the_run_goes_on(glyphs: eb.Dataset, wrap: Any, tmp_path: Path) -> None:
    module, folder = wrap(net()), tmp_path / "run"
    meter = eb.Meter(module, glyphs, folder=folder, record=RECORD)
    assert eb.load_run(folder).eval_step.tolist() == [0]
    for loss in steps(module, glyphs, 3):
        meter.step(loss)
    meter._core.write(now=True)  # it may not be time to
    now = eb.load_run(folder)
    assert (now.state, now.steps, meter.run.state) == ("running", 3, "running")
    np.testing.assert_array_equal(now.test_loss, meter.run.test_loss)
    run = meter.end()
    again = eb.load_run(folder)
    assert again.state == "finished"
    assert again.config == run.config
    assert again._arrays.keys() == run._arrays.keys()
    for name in run._arrays:
        np.testing.assert_array_equal(again._arrays[name], run._arrays[name], err_msg=name)
    if meter.measured_by == "plan":
        assert all(map(torch.equal, again.model.state_dict().values(), run.model.state_dict().values()))


def test_a_folder_is_watched_and_not_resumed(glyphs: eb.Dataset, tmp_path: Path) -> None:
    module, folder = net(), tmp_path / "run"
    meter = eb.Meter(module, glyphs, folder=folder)
    meter.step(1.0)
    del meter  # as a process does that ends before it has ended the run
    lost = eb.load_run(folder)
    assert (lost.state, lost.steps) == ("lost", 1)
    assert "resume" not in str(lost.config["status"]["message"])
    with pytest.raises(ArgumentError, match=r"was recorded by an eb\.Meter in a training loop"):
        eb.resume(folder)
    with pytest.raises(FileExistsError, match="not empty"):
        eb.Meter(module, glyphs, folder=folder)


def test_a_page_of_runs_that_know_no_epochs(glyphs: eb.Dataset, tmp_path: Path) -> None:
    meters = [
        eb.Meter(net(), glyphs, folder=tmp_path / "untold"),
        eb.Meter(net(), glyphs, folder=tmp_path / "told", steps_per_epoch=2, steps=4),
    ]
    for meter in meters:
        meter.step(1.0, lr=0.1)
        meter._core.write(now=True)
    watch = Watch(tmp_path)
    found = {run["name"]: run for run in watch.overview()["runs"]}
    told, untold = found["told"], found["untold"]
    assert (told["steps"], told["total"], told["epochs"], told["left"] is None) == (1, 4, 0.5, False)
    assert (untold["steps"], untold["total"], untold["epochs"]) == (1, 1, None)
    assert untold["last"]["test_accuracy"] == pytest.approx(meters[0].test_accuracy)
    for name, axis in itertools.product(("told", "untold"), ("step", "epoch", "seconds")):
        run: Any = eb.load_run(tmp_path / name)
        run.narrow = False  # as one that is watched
        drawn = dict(series(run, View("accuracy", 100, None), axis, ()))
        assert ("test" in drawn) == ((name, axis) != ("untold", "epoch"))
        assert (axis_end(run, axis) > 0) == ((name, axis) != ("untold", "epoch"))
        assert len(charts(run._arrays, run.config)) >= 2
    for meter in meters:
        meter.end(RuntimeError("enough"))
    ended = {run["name"]: run for run in Watch(tmp_path).overview()["runs"]}
    assert ended["untold"]["resume"] is None
    assert ended["untold"]["message"] == "RuntimeError: enough"


def test_a_sweep_of_loops_of_ones_own(glyphs: eb.Dataset, tmp_path: Path) -> None:
    def one(config: dict[str, Any]) -> eb.Run:
        module = net(config["seed"])
        with eb.Meter(Itself(module) if config["run"] else module, glyphs) as meter:
            for loss in steps(module, glyphs, 3, lr=config["lr"]):
                meter.step(loss, lr=config["lr"])
        return meter.run

    sweep = eb.sweep(
        one, {"lr": [0.01, 0.1], "run": [False, True]}, backend="serial", store=tmp_path / "store", progress=False
    )
    table = sweep.table()
    assert list(table["status"]) == ["finished"] * 4
    assert table["final_test_accuracy"].notna().all()


def test_nothing_is_left_where_a_meter_is_refused(glyphs: eb.Dataset, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="7 logits"):
        eb.Meter(net(classes=7), glyphs, folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()


# ---- how it ends


def test_an_error_in_the_loop_interrupts_the_run_and_goes_on(glyphs: eb.Dataset, tmp_path: Path) -> None:
    module = net()
    meter = eb.Meter(module, glyphs, folder=tmp_path / "run", evaluate_every=10)
    meter.step(1.0)
    with pytest.raises(LookupError), meter:
        raise LookupError("no such image")
    run = eb.load_run(tmp_path / "run")
    assert run.state == meter.run.state == "interrupted"
    assert run.interrupted
    assert run.config["status"]["message"] == "LookupError: no such image"
    assert (run.steps, run.eval_step.tolist()) == (1, [0])


def test_ctrl_c_interrupts_too(glyphs: eb.Dataset) -> None:
    with pytest.raises(KeyboardInterrupt), eb.Meter(net(), glyphs) as meter:
        raise KeyboardInterrupt
    assert meter.run.interrupted
    assert meter.run.config["status"]["message"] == "KeyboardInterrupt"


def test_an_end_may_be_told_its_error(glyphs: eb.Dataset) -> None:
    meter = eb.Meter(net(), glyphs)
    assert meter.end(RuntimeError("out of memory")).state == "interrupted"


def test_a_module_that_fails_at_the_end(glyphs: eb.Dataset, tmp_path: Path) -> None:
    module = Itself(net())
    meter = eb.Meter(module, glyphs, evaluate_every=5, folder=tmp_path / "run")
    meter.step(1.0)
    module.within = torch.nn.Conv2d(3, 3, 3)
    with pytest.raises(RuntimeError, match="channels") as caught:
        meter.end()
    assert caught.value.run is meter.run  # type: ignore[attr-defined]
    assert meter.run.state == eb.load_run(tmp_path / "run").state == "failed"
    assert meter.run.eval_step.tolist() == [0]


def test_a_module_that_fails_on_the_way_keeps_the_step(glyphs: eb.Dataset) -> None:
    module = Itself(net())
    meter = eb.Meter(module, glyphs)
    right, module.within = module.within, torch.nn.Conv2d(3, 3, 3)
    with pytest.raises(RuntimeError, match="channels"):
        meter.step(1.0)
    module.within = right
    meter.step(0.5)
    run = meter.end()
    assert (run.train_loss.tolist(), run.eval_step.tolist()) == ([1.0, 0.5], [0, 2])


def test_after_the_end_nothing_is_recorded(glyphs: eb.Dataset) -> None:
    meter = eb.Meter(net(), glyphs)
    with meter:
        pass
    with pytest.raises(ArgumentError, match="the meter has ended"):
        meter.step(1.0)
    assert meter.evaluate().loss == pytest.approx(meter.test_loss)
    assert meter.run.steps == 0


def test_a_meter_only_evaluates(glyphs: eb.Dataset) -> None:
    with eb.Meter(net(), glyphs) as meter:
        found = meter.evaluate()
    assert np.float32(found.loss) == meter.run.test_loss[0]
    assert meter.run.final_accuracy == np.float32(found.accuracy)


def test_it_says_where_it_is_no_notebook(glyphs: eb.Dataset) -> None:
    with pytest.warns(UserWarning, match="live=True draws below a notebook's cell"):
        eb.Meter(net(), glyphs, live=True)


def test_the_config_is_json(runs: dict[str, eb.Run]) -> None:
    assert json.loads(json.dumps(runs["untold"].config)) == runs["untold"].config
