"""The command line's training options, and `predict --checkpoints`; the rest is in test_cli."""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import everybatch as eb
from everybatch._disk import as_path
from everybatch.cli import main
from test_cli import FEW, Call, one_error
from test_train import assert_identical

QUICK = ["train", "--network", "lenet5", *FEW, "--batch-size", "50"]
EVERYTHING = [
    *("--steps", 12, "--lr", 0.01, "--schedule", "one_cycle", "--label-smoothing", 0.1, "--ema", 0.8),
    *("--augment", "shift=1,rotate=5,erase=0.5,erase-area=0.02:0.1", "--validation", 60, "--evaluate-on", 0.5),
    *("--select", "best", "--monitor", "validation_accuracy", "--patience", 50, "--min-delta", 0.001),
    *("--augment-schedule", "linear,begin=0.25,end=0.75", "--label-smoothing-schedule", "multistep,milestones=3:9"),
    *("--checkpoint-every", 4, "--record", "predictions", "--record", "examples", "--measure-training", 3),
]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run in `run`, trained with all options, and its weights in `weights`."""
    folder = tmp_path_factory.mktemp("options")
    given = [*QUICK, *EVERYTHING, "--checkpoints", folder / "weights", "--out", folder / "run", "--quiet"]
    assert main([str(part) for part in given]) == 0
    return folder


# ---- train ---------------------------------------------------------------------------------------


def test_the_options_are_those_of_train(kept: Path, tmp_path: Path) -> None:
    run = eb.load_run(kept / "run")
    same = eb.train(
        eb.networks.lenet5(),
        eb.datasets.glyphs(300, 200),
        batch_size=50,
        steps=12,
        lr=0.01,
        schedule=eb.schedules.one_cycle(),
        label_smoothing=0.1,
        label_smoothing_schedule=eb.schedules.multistep([3, 9]),
        ema=0.8,
        augment=eb.Augment(shift=1, rotate=5, erase=0.5, erase_area=(0.02, 0.1)),
        augment_schedule=eb.schedules.linear(begin=0.25, end=0.75),
        validation=60,
        evaluate_on=0.5,
        record=("predictions", "examples"),
        measure_training=3,
        select="best",
        monitor="validation_accuracy",
        patience=50,
        min_delta=0.001,
        checkpoints=tmp_path,
        checkpoint_every=4,
        progress=False,
    )
    assert_identical(run, same)
    np.testing.assert_array_equal(run.validation_loss, same.validation_loss)
    np.testing.assert_array_equal(run.training_margins, same.training_margins)
    assert run.training_eval_step.tolist() == [4, 8, 12]
    theirs, mine = (each.config["training"] | {"checkpoints": None} for each in (run, same))
    assert theirs == mine
    assert list(run.checkpoints) == [4, 8, 12]


def test_the_summary_tells_which_weights_were_selected(call: Call) -> None:
    code, out, err = call(*QUICK, "--epochs", 2, "--validation", 0.2, "--select", "best", "--lr", 0.005)
    assert (code, err) == (0, "")
    (line,) = re.findall(
        r"Selected weights: +(\d+\.\d\d) % test accuracy, those with the best validation loss, .*", out
    )
    assert 0 <= float(line) <= 100
    assert "Selected weights" not in call(*QUICK)[1]


def test_patience_is_told(call: Call) -> None:
    code, out, err = call(*QUICK, "--validation", 0.2, "--patience", 1, "--min-delta", 9)
    assert (code, err) == (0, "")
    assert "not finished: stopped in epoch 1 (validation_loss did not improve in 1 measurements)" in out


def test_a_warning_when_the_test_images_decide(call: Call) -> None:
    code, _, err = call(*QUICK, "--select", "best")
    assert code == 0
    assert err.startswith("everybatch: warning: test_loss decides about this run")
    assert err.count("\n") == 1


def test_log_lines_go_to_stderr_and_leave_logging_as_it_was(call: Call, caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("everybatch.train")
    before = logger.level, logger.propagate, list(logger.handlers)
    code, out, err = call(*QUICK, "--log-every", 2, "--quiet")
    assert (code, out) == (0, "")
    lines = err.splitlines()
    assert len(lines) == 3
    assert all(re.match(r"Train Epoch: 1 \[\d00/300 \(\d+%\)\] Loss: ", line) for line in lines)
    assert (logger.level, logger.propagate, list(logger.handlers)) == before
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("given", "every"), [([], None), (["--complete-every", "epoch"], "epoch"), (["--complete-every", 2], 2)]
)
def test_a_tolerance(call: Call, tmp_path: Path, given: list[object], every: object) -> None:
    code, _, err = call(*QUICK, "--steps", 3, "--tolerance", 0.01, *given, "--out", tmp_path / "run")
    assert (code, err) == (0, "")
    training = eb.load_run(tmp_path / "run").config["training"]
    assert (training["tolerance"], training["complete_every"]) == (0.01, every)


def test_steps_or_epochs(call: Call) -> None:
    assert "give one of them" in one_error(call, *QUICK, "--steps", 3, "--epochs", 2)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (["--schedule", "cosin"], "Did you mean 'cosine'"),
        (["--schedule", "cosin,min_lr=0"], "Did you mean 'cosine'"),
        (["--schedule", "cosine,min=0"], "the key 'min' is unknown.*Did you mean 'min_lr'"),
        (["--schedule", "cosine,0.1"], "'0.1': write each number of a schedule once, as KEY=NUMBER"),
        (["--schedule", "step,every=2,every=3"], "'every=3': write each number"),
        (["--schedule", "linear,begin=half"], "begin must be a number"),
        (["--schedule", "linear,begin=2"], "begin is 2"),
        (["--schedule", "exponential,name=cosine"], "'name=cosine': write each number"),
        (["--augment-schedule", "linear"], "augment_schedule is given without augment"),
        (["--label-smoothing", "0.1", "--label-smoothing-schedule", "plateau,patience=3"], "goes by measurements"),
        (["--select", "first"], "choose one of last, best"),
        (["--monitor", "loss"], "choose one of validation_loss"),
        (["--monitor", "validation_loss"], "there is no validation set"),
        (["--validation", "some"], "neither a number of images nor a share"),
        (["--validation", "1.5"], "share must lie between 0 and 1"),
        (["--ema", "1"], "ema is 1"),
        (["--label-smoothing", "x"], "invalid float value: 'x'"),
        (["--patience", "0"], "patience is 0"),
        (["--tolerance", "1"], "tolerance is 1: it is the standard error"),
        (["--tolerance", "small"], "invalid float value: 'small'"),
        (["--complete-every", "4"], "complete_every is given without tolerance"),
        (["--tolerance", "0.01", "--complete-every", "week"], "'week' is not a whole number"),
        (["--tolerance", "0.01", "--record", "predictions"], "leave one of the two out"),
        (["--measure-training", "3"], "give that, or leave measure_training out"),
        (["--log-every", "0"], "log_every is 0"),
        (["--checkpoint-every", "4"], "there is no folder"),
        (["--monitor", "test_loss"], "nothing follows it"),
        (["--checkpoint-every", "week"], "'week' is not a whole number"),
        (["--augment", "shft=1"], "'shft' is unknown: the keys are shift.*Did you mean 'shift'"),
        (["--augment", "shift"], "write each key once, as shift=NUMBER"),
        (["--augment", "shift=1,shift=2"], "write each key once"),
        (["--augment", "shift=far"], "'far' is not a number"),
        (["--augment", "shift=-1"], "shift is -1"),
        (["--augment", "shift=1:2"], "shift must be a number"),
        (["--augment", "erase_area=0.1"], "erase_area"),
    ],
)
def test_options_that_cannot_work(call: Call, options: list[str], match: str) -> None:
    assert re.search(match, one_error(call, *QUICK, *options))


# ---- weights kept on the way ---------------------------------------------------------------------


def test_weights_are_not_kept_within_the_run(call: Call, tmp_path: Path) -> None:
    out = tmp_path / "run"
    for inside in (out, out / "weights", tmp_path / "other" / ".." / "run" / "weights"):
        message = one_error(call, *QUICK, "--out", out, "--checkpoints", inside)
        assert f"such as {tmp_path / 'run_weights'}" in message
    assert not out.exists()
    assert call(*QUICK, "--out", out, "--checkpoints", tmp_path, "--quiet")[0] == 0  # the other way round is fine
    assert "kept weights already" in one_error(call, *QUICK, "--checkpoints", tmp_path)


def test_a_folder_that_vanishes_costs_nothing_but_the_rest(
    call: Call,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    train = eb.train

    def vanishing(*args: Any, **kwargs: Any) -> eb.Run:
        def vanish(step: eb.Step) -> None:
            if step.step == 3:
                shutil.rmtree(tmp_path / "weights")

        return train(*args, **kwargs, callbacks=vanish)

    monkeypatch.setattr(eb, "train", vanishing)
    keep = ["--checkpoints", tmp_path / "weights", "--checkpoint-every", 2, "--out", tmp_path / "run"]
    code, _, err = call(*QUICK, *keep)
    assert code == 2
    note, error = err.splitlines()
    assert note == f"everybatch: note: what was recorded until then is saved in {tmp_path / 'run'}"
    assert error.startswith("everybatch: error: ")
    assert "step_000004.safetensors" in error
    run = eb.load_run(tmp_path / "run")
    assert (run.state, run.steps) == ("failed", 4)


# ---- predict --checkpoints -----------------------------------------------------------------------


def rows_of(out: str) -> dict[int, list[str]]:
    """The cells of the table, by step."""
    table = [line.split() for line in out.splitlines() if re.match(r" +[\d,]+ +\d+\.\d{4} +[\d.]+ %", line)]
    return {int(row[0].replace(",", "")): [row[1], row[2], *row[4:]] for row in table}


def test_the_table_of_a_run_is_its_history(call: Call, kept: Path) -> None:
    run = eb.load_run(kept / "run")
    code, out, err = call("predict", kept / "run", "--checkpoints")
    assert (code, err) == (0, "")
    assert f"Weights: {kept / 'weights'}, 3 files" in out
    assert "200 test images of 1x28x28, 10 classes" in out
    assert ", of which 100 are measured" in out
    assert ["step", "loss", "accuracy", *run.classes] in [line.split() for line in out.splitlines()]
    expected = {
        step: [
            f"{run.test_loss[step]:.4f}",
            f"{100 * run.test_accuracy[step]:.2f}",
            *(f"{100 * share:.2f}" for share in run.class_accuracy[step]),
        ]
        for step in (4, 8, 12)
    }
    assert rows_of(out) == expected
    assert f"those with the best validation accuracy, after {run.model_step} batch" in out


def test_the_table_as_json_equals_the_history_exactly(call: Call, kept: Path) -> None:
    run = eb.load_run(kept / "run")
    code, out, err = call("predict", kept / "run", "--checkpoints", "--json")
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert told["folder"] == str(kept / "weights")
    assert [row["step"] for row in told["checkpoints"]] == [4, 8, 12]
    for row in told["checkpoints"]:
        assert np.float32(row["loss"]) == run.test_loss[row["step"]]
        assert np.float32(row["accuracy"]) == run.test_accuracy[row["step"]]
        assert row["test_images"] == 100
        np.testing.assert_allclose(list(row["class_accuracy"].values()), run.class_accuracy[row["step"]], atol=1e-6)


def test_a_bare_folder_is_measured_on_all_test_images(call: Call, kept: Path) -> None:
    code, out, err = call("predict", "--checkpoints", kept / "weights", *FEW[:2], "--test-images", 150)
    assert (code, err) == (0, "")
    expected = eb.evaluate_checkpoints(kept / "weights", eb.datasets.glyphs(1, 150))
    rows = rows_of(out)
    assert list(rows) == list(expected) == [4, 8, 12]
    for step, measured in expected.items():
        assert rows[step][:2] == [f"{measured.loss:.4f}", f"{100 * measured.accuracy:.2f}"]
    assert "Selected" not in out


def test_a_class_without_images_has_no_accuracy(call: Call, kept: Path, tmp_path: Path) -> None:
    data = eb.datasets.glyphs(20, 20)
    arrays = {"x_train": data.train_images, "y_train": data.train_labels}
    few = data.test_labels != 3
    np.savez(tmp_path / "few.npz", x_test=data.test_images[few], y_test=data.test_labels[few], **arrays)
    given = ["predict", "--checkpoints", kept / "weights", "--data", tmp_path / "few.npz"]
    assert all(row[2 + 3] == "-" for row in rows_of(call(*given)[1]).values())
    told = json.loads(call(*given, "--json")[1])
    assert told["checkpoints"][0]["class_accuracy"]["3"] is None


def test_other_images_than_the_runs_are_pointed_out(call: Call, kept: Path, tmp_path: Path) -> None:
    other = eb.datasets.glyphs(20, 200, seed=9)
    names = ("x_train", "y_train", "x_test", "y_test")
    arrays = (other.train_images, other.train_labels, other.test_images, other.test_labels)
    np.savez(tmp_path / "other.npz", **dict(zip(names, arrays, strict=True)))
    for data in (["--data", tmp_path / "other.npz"], ["--test-images", 50]):
        code, _, err = call("predict", kept / "run", "--checkpoints", *data)
        assert code == 0
        assert err == "everybatch: note: these are not the figures of the run's history: other images or weights\n"


def test_a_run_on_drawn_test_images_finds_them_again(call: Call, tmp_path: Path) -> None:
    # 30 of the 60 test images of an archive, drawn with the seed.
    data = eb.datasets.glyphs(100, 60)
    names = ("x_train", "y_train", "x_test", "y_test")
    arrays = (data.train_images, data.train_labels, data.test_images, data.test_labels)
    np.savez(tmp_path / "few.npz", **dict(zip(names, arrays, strict=True)))
    drawn = ["--data", tmp_path / "few.npz", "--test-images", 30, "--seed", 5]
    out = ["--checkpoints", tmp_path / "weights", "--out", tmp_path / "run"]
    assert call("train", "--network", "lenet5", *drawn, *out, "--quiet")[0] == 0
    assert "--data" in one_error(call, "predict", tmp_path / "run", "--checkpoints")  # the archive has moved on
    code, _, err = call("predict", tmp_path / "run", "--checkpoints", "--data", tmp_path / "few.npz")
    assert (code, err) == (0, "")


WRONG: dict[str, tuple[Callable[[Path], list[object]], str]] = {
    "neither": (lambda _: [], "give MODEL_OR_RUN, or --checkpoints FOLDER"),
    "no folder": (lambda _: ["--checkpoints"], "say which: --checkpoints FOLDER"),
    "no data": (lambda folder: ["--checkpoints", folder / "weights"], "say with --data what to measure on"),
    "a run as folder": (
        lambda folder: ["--checkpoints", folder / "run"],
        "is a saved run: write everybatch predict .*run --checkpoints",
    ),
    "a file as run": (
        lambda folder: [folder / "weights" / "step_000004.safetensors", "--checkpoints"],
        "is one file of weights",
    ),
    "pictures": (lambda folder: [folder / "run", "seven.png", "--checkpoints"], "leave out pictures"),
    "index": (lambda folder: [folder / "run", "--index", 3, "--checkpoints"], "leave out pictures, --index"),
    "empty": (lambda folder: ["--checkpoints", folder, "--data", "glyphs"], "holds no kept weights"),
    "nowhere": (lambda folder: ["--checkpoints", folder / "nowhere", "--data", "glyphs"], "nowhere"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_predict_cannot_do(call: Call, kept: Path, name: str) -> None:
    given, match = WRONG[name]
    assert re.search(match, one_error(call, "predict", *given(kept)))


def test_a_run_that_kept_nothing(call: Call, tmp_path: Path) -> None:
    assert call(*QUICK, "--quiet", "--out", tmp_path / "run")[0] == 0
    assert "this run kept no weights on its way" in one_error(call, "predict", tmp_path / "run", "--checkpoints")


# ---- plot ----------------------------------------------------------------------------------------


def test_validation_curves_can_be_compared(call: Call, kept: Path, tmp_path: Path) -> None:
    given = ["plot", kept / "run", kept / "run", "--label", "a", "--label", "b", "--kind", "compare"]
    code, out, _ = call(*given, "--metric", "validation_loss", "--out", tmp_path / "c.svg")
    assert (code, out) == (0, f"{tmp_path / 'c.svg'}\n")


def test_a_user_that_is_not_there_is_a_name_of_a_folder() -> None:
    # As in a shell, which leaves such a tilde alone.
    assert as_path("~nobody-of-this-name/run", "folder") == Path.cwd() / "~nobody-of-this-name" / "run"


@pytest.mark.parametrize(("out", "why"), [("n" * 245, "too long"), ("/proc/run", "cannot be written to")])
def test_where_nothing_can_be_saved_nothing_is_trained(out: str, why: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--network", "lenet5", "--data", "glyphs", "--steps", "1", "--out", out]) == 2
    assert why in (said := capsys.readouterr()).err
    assert said.out == ""


@pytest.mark.parametrize(
    ("given", "match"),
    [
        (["evaluate", "RUN", "--image-size", "14x14"], "--image-size says how --data is read"),
        (["evaluate", "RUN", "--keys", "x,y"], "--keys says how --data is read"),
        (["evaluate", "RUN", "--data", "glyphs", "--background", "black"], "--background belongs to folders"),
        (["evaluate", "RUN", "--data", "glyphs", "--image-size", "14x14"], "--image-size .*belongs to folders"),
        (["predict", "RUN", "seven.png", "--test-images", 3], "--test-images says how --data is read"),
        (["predict", "RUN", "seven.png", "--precision", "bfloat16"], "--precision belongs to --checkpoints"),
        (["predict", "RUN", "--checkpoints", "--part", "test"], "--part says how --data is read"),
        (["plot", "RUN", "--kind", "losses", "--metric", "lr"], "--metric belongs to --kind compare"),
        (["plot", "RUN", "--metric", "lr"], "--metric belongs to --kind compare"),
        ([*QUICK, "--image-size", "14x14"], "--image-size .*belongs to folders of pictures, and glyphs is none"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(call: Call, kept: Path, given: list[object], match: str) -> None:
    told = one_error(call, *(kept / "run" if part == "RUN" else part for part in given))
    assert re.search(match, told), told
