"""The command line, run in this process on a few glyphs: files, exit codes, and what it says to nonsense."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import everybatch as eb
from everybatch.cli import main
from same_runs import interrupt

PNG = b"\x89PNG\r\n\x1a\n"
FEW = ["--data", "glyphs", "--train-images", "300", "--test-images", "200", "--no-download"]
QUICK = ["train", "--network", "lenet5", *FEW, "--batch-size", "50", "--epochs", "2", "--lr", "0.005"]
FEW_STEPS = ["train", "--network", "lenet5", *FEW, "--steps", "1"]

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "runs" / "small"
    assert main([*QUICK, "--record", "predictions", "--quiet", "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Make sure that MNIST is not found, and that nothing can be downloaded."""
    monkeypatch.delenv("EVERYBATCH_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: pytest.fail("the network was used"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def one_error(call: Call, *argv: object) -> str:
    """Return the message of a command line that must fail."""
    code, out, err = call(*argv)
    assert code == 2
    assert err.startswith("everybatch: error: ")
    assert err.count("\n") == 1, err
    assert "Traceback" not in out + err
    return err


# ---- help ------------------------------------------------------------------------------------------------------------


def test_module_shows_help() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "everybatch", "--help"], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0
    assert done.stderr == ""
    for word in ("demo", "train", "evaluate", "predict", "plot", "export", "start here:"):
        assert word in done.stdout


@pytest.mark.parametrize("command", ["demo", "train", "evaluate", "predict", "plot", "export"])
def test_every_command_explains_itself(call: Call, command: str) -> None:
    code, out, err = call(command, "--help")
    assert (code, err) == (0, "")
    assert f"examples:\n  everybatch {command}" in out
    assert "(default: None)" not in out
    assert "(default: False)" not in out


def test_version_and_nothing(call: Call) -> None:
    assert call("--version") == (0, f"everybatch {eb.__version__}\n", "")
    code, out, _ = call()
    assert code == 0
    assert out.startswith("usage: everybatch")


# ---- demo ------------------------------------------------------------------------------------------------------------


def test_demo_falls_back_to_glyphs_and_writes_everything(call: Call, nowhere: Path) -> None:
    threads = torch.get_num_threads()
    few = ("--train-images", 1200, "--test-images", 300)
    code, out, err = call("demo", *few)
    assert (code, err) == (0, "")
    assert out.count("MNIST was not in") == 1
    assert "Final test accuracy" in out
    assert "most often taken for" in out
    assert 'run = eb.load_run("demo/run")' in out
    names = {"losses", "accuracy", "class_accuracy", "class_bars", "confusion"}
    assert {path.name for path in Path("demo").iterdir()} == {"run", *(f"{name}.png" for name in names)}
    assert all((Path("demo") / f"{name}.png").read_bytes().startswith(PNG) for name in names)
    run = eb.load_run("demo/run")
    assert run.steps == 4
    assert run.eval_step.tolist() == [0, 1, 2, 3, 4]
    assert len(run.test_indices) == 300
    assert torch.get_num_threads() == threads

    assert call("demo", *few)[0] == 0  # again, in place of the first
    Path("demo/run/mine.txt").write_text("keep me")
    assert "mine.txt" in one_error(call, "demo", *few)
    assert Path("demo/run/mine.txt").exists()


def test_demo_ends_in_time_on_a_busy_machine(call: Call, nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("everybatch.cli.demo._DEADLINE_S", 0.0)
    code, out, _ = call("demo", "--train-images", 1200, "--test-images", 100)
    assert code == 0
    assert "ended after 1 of 4 batches" in out
    assert eb.load_run("demo/run").state == "stopped"


def test_demo_refuses_a_data_folder_that_is_not_there(call: Call, nowhere: Path) -> None:
    assert "no_such" in one_error(call, "demo", "--data", nowhere / "no_such")
    assert not Path("demo").exists()


# ---- train -----------------------------------------------------------------------------------------------------------


def test_train_saves_what_was_asked_for(run_folder: Path) -> None:
    run = eb.load_run(run_folder)
    settings = run.config["training"]
    assert (settings["epochs"], settings["batch_size"], settings["lr"]) == (2, 50, 0.005)
    assert run.predictions.shape == (13, 200)
    assert run.model.network.name == eb.networks.lenet5().name
    assert len(list(run_folder.iterdir())) == 3


def test_train_prints_a_table_and_a_summary(call: Call) -> None:
    code, out, err = call(*QUICK, "--evaluate-every", "epoch", "--evaluate-on", "0.5")
    assert (code, err) == (0, "")
    assert "Network: " in out
    assert "61,990 parameters" in out
    assert "100 test images 3 times" in out
    assert "Final test accuracy" in out
    assert "Not saved" in out


def test_train_with_builder_options(call: Call, tmp_path: Path) -> None:
    options = ["stages=8,16", "blocks=1", "activation=leaky_relu", "stem-stride=4", "stem_pool=false"]
    given = [part for option in options for part in ("--option", option)]
    sgd = ["--optimizer", "sgd", "--momentum", "0.9", "--nesterov", "--quiet"]
    code, out, err = call("train", *FEW, *given, *sgd, "--out", tmp_path / "run")
    assert (code, out, err) == (0, "", "")
    expected = eb.networks.resnet(stages=(8, 16), blocks=1, activation="leaky_relu", stem_stride=4, stem_pool=False)
    assert eb.load_run(tmp_path / "run").model.network == expected


def test_train_reads_a_network_from_json(call: Call, tmp_path: Path) -> None:
    network = eb.Network([eb.Flatten(), eb.Linear(784, 10)], name="line")
    (tmp_path / "line.json").write_text(network.to_json())
    given = ["--network", tmp_path / "line.json", *FEW, "--out", tmp_path / "run"]
    assert call("train", *given)[0] == 0
    assert eb.load_run(tmp_path / "run").model.network == network
    assert "--option" in one_error(call, "train", *given[:-1], tmp_path / "other", "--option", "blocks=1")
    (tmp_path / "line.json").write_text("{}")
    assert "line.json" in one_error(call, "train", *given[:-1], tmp_path / "other")


def test_train_goes_on_from_a_run(call: Call, run_folder: Path, tmp_path: Path) -> None:
    before = eb.load_run(run_folder)
    for init in (run_folder, run_folder / "model.safetensors"):
        out = tmp_path / f"from {init.name}"
        assert call("train", "--init", init, *FEW, "--quiet", "--out", out)[0] == 0
        run = eb.load_run(out)
        assert run.test_loss[0] == pytest.approx(before.test_loss[-1], rel=1e-4)
    assert "--init" in one_error(call, "train", "--init", run_folder, "--network", "lenet5", *FEW)


def test_train_refuses_to_overwrite(call: Call, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert call(*QUICK, "--quiet", "--out", out)[0] == 0
    assert "--overwrite" in one_error(call, *QUICK, "--out", out)
    assert call(*QUICK, "--quiet", "--out", out, "--overwrite", "--seed", 1)[0] == 0
    assert eb.load_run(out).config["training"]["seed"] == 1
    (out / "notes.txt").write_text("mine")
    assert "notes.txt" in one_error(call, *QUICK, "--out", out, "--overwrite")
    assert "is a file" in one_error(call, *QUICK, "--out", out / "notes.txt" / "run")
    assert "--out" in one_error(call, *QUICK, "--overwrite")


def test_ctrl_c_saves_the_partial_run(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt(monkeypatch)
    code, _, err = call(*QUICK, "--out", tmp_path / "run")
    assert code == 130
    assert "interrupted after" in err
    run = eb.load_run(tmp_path / "run")
    assert run.interrupted
    assert 3 <= run.steps < 12


def test_divergence_is_told(call: Call, tmp_path: Path) -> None:
    wild = ["--optimizer", "sgd", "--lr", "1e30", "--out", tmp_path / "run"]
    code, out, err = call("train", "--network", "lenet5", *FEW, *wild)
    assert code == 1
    assert err.startswith("everybatch: warning: the loss became NaN or infinite")
    assert "diverged" in out
    assert eb.load_run(tmp_path / "run").diverged_at is not None


# ---- data ------------------------------------------------------------------------------------------------------------


def test_data_from_an_archive_and_from_pictures(call: Call, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    data = eb.datasets.glyphs(60, 20)
    arrays = (data.train_images, data.train_labels, data.test_images, data.test_labels)
    np.savez(tmp_path / "few.npz", **dict(zip(("x_train", "y_train", "x_test", "y_test"), arrays, strict=True)))
    for index, (pixels, label) in enumerate(zip(data.train_images, data.train_labels % 2, strict=True)):
        folder = tmp_path / "pictures" / ("even", "odd")[label]
        folder.mkdir(parents=True, exist_ok=True)
        image.fromarray(pixels).resize((40, 30)).save(folder / f"{index}.png")
    small = ["--network", "lenet5", "--batch-size", "20"]
    code, out, _ = call("train", *small, "--data", tmp_path / "few.npz")
    assert code == 0
    assert "Data: few, 60 training and 20 test images of 1x28x28" in out
    code, out, _ = call("train", *small, "--data", tmp_path / "pictures", "--image-size", "28x28")
    assert code == 0
    assert "Data: pictures, 48 training and 12 test images of 1x28x28, 2 classes" in out


def test_data_from_idx_files(call: Call, tmp_path: Path) -> None:
    data = eb.datasets.glyphs(60, 20)
    files = {
        "train-images-idx3-ubyte": data.train_images,
        "train-labels-idx1-ubyte": data.train_labels,
        "t10k-images-idx3-ubyte": data.test_images,
        "t10k-labels-idx1-ubyte": data.test_labels,
    }
    for name, array in files.items():
        head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
        (tmp_path / name).write_bytes(head + array.astype(np.uint8).tobytes())
    code, out, _ = call("train", "--network", "lenet5", "--batch-size", "20", "--data", tmp_path)
    assert code == 0
    assert "60 training and 20 test images" in out
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    assert "lacks t10k-labels-idx1-ubyte" in one_error(call, "train", "--data", tmp_path)


def test_nothing_is_downloaded_unless_allowed(call: Call, nowhere: Path) -> None:
    assert "MNIST is not on this machine" in one_error(call, "train", "--no-download")


# ---- evaluate --------------------------------------------------------------------------------------------------------


def test_evaluate_agrees_with_the_run(call: Call, run_folder: Path) -> None:
    run = eb.load_run(run_folder)
    code, out, err = call("evaluate", run_folder, "--test-images", 200)  # the run knows that it is of the glyphs
    assert (code, err) == (0, "")
    assert f"Test accuracy: {100 * run.final_accuracy:.2f} %" in out
    assert "200 test images" in out
    code, out, err = call("evaluate", run_folder / "model.safetensors", *FEW[:2], "--test-images", 200, "--json")
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert told["accuracy"] == pytest.approx(run.final_accuracy)
    assert told["loss"] == pytest.approx(run.test_loss[-1], rel=1e-4)
    assert told["confusion"] == run.confusion.tolist()
    assert list(told["class_accuracy"]) == list(run.classes)


def test_evaluate_needs_to_know_the_data(call: Call, run_folder: Path) -> None:
    assert "--data" in one_error(call, "evaluate", run_folder / "model.safetensors")
    assert "give " in one_error(call, "evaluate", run_folder.parent)
    assert "does not exist" in one_error(call, "evaluate", run_folder / "no_such")
    assert "config.json" in one_error(call, "evaluate", run_folder / "config.json", *FEW[:2])


# ---- predict ---------------------------------------------------------------------------------------------------------


def test_predict_pictures_and_arrays(call: Call, run_folder: Path, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    data = eb.datasets.glyphs(10, 5)
    model = eb.load_run(run_folder).model
    expected = [str(label) for label in model.predict(data.test_images)]

    def classes(*argv: object) -> list[str]:
        code, out, _ = call("predict", run_folder, *argv, "--json")
        assert code == 0
        told = json.loads(out)
        assert all(sum(each["probabilities"].values()) == pytest.approx(1, abs=1e-4) for each in told)
        return [each["class"] for each in told]

    pictures = [tmp_path / f"{number}.png" for number in range(5)]
    for pixels, path in zip(data.test_images, pictures, strict=True):
        image.fromarray(pixels).save(path)
    assert classes(*pictures) == expected
    for pixels, path in zip(data.test_images, pictures, strict=True):
        image.fromarray(255 - pixels).save(path)
    assert classes(*pictures, "--invert") == expected
    np.save(tmp_path / "all.npy", data.test_images)
    np.save(tmp_path / "one.npy", data.test_images[0])
    assert classes(tmp_path / "all.npy", tmp_path / "one.npy") == [*expected, expected[0]]

    _, out, err = call("predict", run_folder, pictures[0], "--top", 2)
    assert out.startswith(f"{pictures[0]}: ")
    assert out.count("%") == 2
    assert "add --invert" in err
    image.new("RGB", (56, 40)).save(tmp_path / "wide.jpg")
    _, _, err = call("predict", run_folder, tmp_path / "wide.jpg")
    assert "turned from RGB to grey and resized from 40x56 to 28x28" in err


def test_predict_images_of_a_data_set(call: Call, run_folder: Path) -> None:
    code, out, _ = call("predict", run_folder, "--data", "glyphs", "--index", 3, 0)
    labels = eb.datasets.glyphs(10, 5).test_labels
    assert code == 0
    assert [line.split(": ")[0] for line in out.splitlines()] == ["glyphs test image 3", "glyphs test image 0"]
    assert [line[-1] for line in out.splitlines()] == [str(labels[3]), str(labels[0])]
    assert "0 to 9999" in one_error(call, "predict", run_folder, "--data", "glyphs", "--index", 10_000)


def test_predict_tells_what_is_wrong_with_a_file(call: Call, run_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "text.npy").write_text("no array")
    np.save(tmp_path / "large.npy", np.zeros((3, 32, 32), np.uint8))
    np.savez(tmp_path / "archive.npz", np.zeros(3))
    (tmp_path / "archive.npz").rename(tmp_path / "archive.npy")
    assert "text.png cannot be read as a picture" in one_error(call, "predict", run_folder, tmp_path / "text.png")
    assert "text.npy is not a .npy array" in one_error(call, "predict", run_folder, tmp_path / "text.npy")
    assert "(32, 32)" in one_error(call, "predict", run_folder, tmp_path / "large.npy")
    assert "archive" in one_error(call, "predict", run_folder, tmp_path / "archive.npy")
    assert "no.png" in one_error(call, "predict", run_folder, tmp_path / "no.png")
    assert "either" in one_error(call, "predict", run_folder)
    assert "belong together" in one_error(call, "predict", run_folder, "--data", "glyphs")


# ---- plot ------------------------------------------------------------------------------------------------------------


def test_plot_draws_all_kinds_and_leaves_pyplot_alone(call: Call, run_folder: Path, tmp_path: Path) -> None:
    import matplotlib.pyplot as plt

    backend, figures = plt.get_backend(), plt.get_fignums()
    code, out, err = call("plot", run_folder, "--out", tmp_path / "new" / "pictures", "--x", "epoch")
    assert (code, err) == (0, "")
    files = [Path(line) for line in out.splitlines()]
    assert {file.stem for file in files} == {"losses", "accuracy", "class_accuracy", "class_bars", "confusion"}
    assert all(file.read_bytes().startswith(PNG) for file in files)
    assert (plt.get_backend(), plt.get_fignums()) == (backend, figures)


def test_files_may_come_after_options(
    call: Call, run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("seven.npy", "-odd.npy"):
        np.save(tmp_path / name, eb.datasets.glyphs(10, 1).test_images[0])
    seven = tmp_path / "seven.npy"
    code, usual, _ = call("predict", run_folder, seven, seven, "--top", 1)
    assert (code, usual.count("\n")) == (0, 2)
    assert call("predict", run_folder, "--top", 1, seven, seven) == (0, usual, "")
    assert call("predict", "--top", 1, run_folder, seven, seven) == (0, usual, "")
    assert call("predict", run_folder, seven, "--top", 1, seven) == (0, usual, "")
    assert json.loads(call("predict", run_folder, "--json", seven)[1])[0]["image"] == str(seven)
    assert "unknown argument '--tpo'. Did you mean '--top'?" in one_error(call, "predict", run_folder, "--tpo", seven)
    monkeypatch.chdir(tmp_path)
    assert call("predict", run_folder, "--top", 1, "--", "-odd.npy")[0] == 0


def test_plot_takes_runs_after_labels(call: Call, run_folder: Path, tmp_path: Path) -> None:
    argv = ["plot", run_folder, "--label", "a", run_folder, "--label", "b", "--kind", "compare", "--out", tmp_path]
    assert call(*argv) == (0, f"{tmp_path / 'compare.png'}\n", "")
    assert "arguments are required: RUN" in one_error(call, "plot", "--kind", "losses")


def test_plot_knows_the_home_folder(
    call: Call, run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    expected = tmp_path / "pics" / "losses.png"
    assert call("plot", run_folder, "--kind", "losses", "--out=~/pics") == (0, f"{expected}\n", "")
    assert expected.is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["pics"]


def test_train_refuses_two_lengths_and_one_place_for_two_things(call: Call, tmp_path: Path) -> None:
    for epochs in ("1", "2"):
        message = one_error(call, *FEW_STEPS, "--epochs", epochs)
        assert f"--epochs is {epochs} and --steps is 1: give one of them" in message
    for folder in ("run", "run/inside"):
        message = one_error(call, *FEW_STEPS, "--out", tmp_path / "run", "--folder", tmp_path / folder)
        assert "which holds a saved run and nothing else" in message
    assert not list(tmp_path.iterdir())


def test_plot_one_kind_of_several_runs(call: Call, run_folder: Path, tmp_path: Path) -> None:
    two = ["plot", run_folder, run_folder, "--label", "first", "--label", "second", "--kind", "compare"]
    assert call(*two, "--metric", "test_error", "--out", tmp_path / "two.svg")[0] == 0
    assert "<svg" in (tmp_path / "two.svg").read_text()
    assert call(*two, "--out", tmp_path)[1] == f"{tmp_path / 'compare.png'}\n"
    assert "2 labels for 1 runs" in one_error(call, *two[:1], *two[2:])
    assert "not supported" in one_error(call, *two, "--out", tmp_path / "two.abc")


# ---- export ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["history.csv", "history.parquet", "classes.txt", "net.onnx", "net.pt", "NET.ONNX"])
def test_export_writes_what_the_ending_says(call: Call, run_folder: Path, tmp_path: Path, name: str) -> None:
    assert call("export", run_folder, "--to", tmp_path / name) == (0, f"{tmp_path / name}\n", "")
    starts = {".csv": b"step,epoch,", ".parquet": b"PAR1", ".txt": b"[", ".onnx": b"\x08\x08", ".pt": b"PK"}
    assert (tmp_path / name).read_bytes().startswith(starts[Path(name.lower()).suffix])
    assert "pass --overwrite" in one_error(call, "export", run_folder, "--to", tmp_path / name)
    assert call("export", run_folder, "--to", tmp_path / name, "--overwrite")[0] == 0


def test_export_of_class_accuracies_and_events(call: Call, run_folder: Path, tmp_path: Path) -> None:
    table, folder = tmp_path / "classes.csv", tmp_path / "events"
    code, out, err = call("export", run_folder, "--to", table, "--what", "class-accuracy", "--tensorboard", folder)
    assert (code, out, err) == (0, f"{table}\n{folder}\n", "")
    lines = table.read_text().splitlines()
    assert lines[0] == "step," + ",".join(eb.load_run(run_folder).classes)
    assert [int(line.split(",")[0]) for line in lines[1:]] == list(range(13))
    (events,) = folder.iterdir()
    assert events.name.startswith("events.out.tfevents.")
    assert "pass --overwrite" in one_error(call, "export", run_folder, "--tensorboard", folder)
    assert call("export", run_folder, "--tensorboard", folder, "--overwrite")[0] == 0


def test_export_of_a_model_file(call: Call, run_folder: Path, tmp_path: Path) -> None:
    import onnxruntime

    model = eb.load_run(run_folder).model
    images = eb.datasets.glyphs(1, 4).test_images
    pixels = images[:, None].astype(np.float32) / 255
    mean, std = np.float32(model.mean[0]), np.float32(model.std[0])
    for name, given, options in (("net", pixels, []), ("plain", (pixels - mean) / std, ["--no-normalize"])):
        path = tmp_path / f"{name}.onnx"
        assert call("export", run_folder / "model.safetensors", "--to", path, *options)[0] == 0
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        np.testing.assert_allclose(session.run(None, {"images": given})[0], model.logits(images), rtol=1e-5, atol=1e-5)


def test_export_says_what_is_wrong(call: Call, run_folder: Path, tmp_path: Path) -> None:
    model = run_folder / "model.safetensors"

    def refused(*words: object) -> str:
        return one_error(call, "export", *words)

    assert "--to FILE, or --tensorboard FOLDER" in refused(run_folder)
    assert "Did you mean '.onnx'?" in refused(run_folder, "--to", tmp_path / "net.onx")
    assert "must be one of .csv, .parquet, .txt, .onnx, .pt" in refused(run_folder, "--to", tmp_path / "net")
    assert "network without a history" in refused(model, "--to", tmp_path / "history.csv")
    assert "network without a history" in refused(model, "--to", tmp_path / "n.pt", "--tensorboard", tmp_path / "e")
    assert "--what is for .csv files" in refused(run_folder, "--to", tmp_path / "net.pt", "--what", "history")
    assert "--no-normalize is for networks" in refused(run_folder, "--to", tmp_path / "h.csv", "--no-normalize")
    assert "there is no folder" in refused(run_folder, "--to", tmp_path / "new" / "net.pt")
    assert "no_such" in refused(tmp_path / "no_such", "--to", tmp_path / "net.pt")
    assert list(tmp_path.iterdir()) == []


# ---- nonsense --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["trian"], ["'trian'", "Did you mean 'train'?"]),
        (["train", "--learning"], ["'--learning'", "everybatch train --help"]),
        (["train", "--batchsize", "3"], ["Did you mean '--batch-size'?"]),
        (["train", "--optimizer", "adma"], ["'adma'", "Did you mean 'adam'?"]),
        (["train", "--lr", "fast"], ["--lr", "'fast'"]),
        (["train", "--epochs", "-1"], ["--epochs", "below 0"]),
        (["train", "--evaluate-every", "epoche"], ["--evaluate-every", "'epoche'"]),
        (["train", "--evaluate-on", "half"], ["--evaluate-on", "'half'"]),
        (["train", "--image-size", "28"], ["HEIGHTxWIDTH"]),
        (["train", "--data", "mnsit"], ["'mnsit'", "Did you mean 'mnist'?"]),
        (["train", *FEW, "--network", "resent"], ["'resent'", "Did you mean 'resnet'?"]),
        (["train", *FEW, "--option", "stage=3"], ["'stage'", "Did you mean 'stages'?"]),
        (["train", *FEW, "--option", "stages"], ["KEY=VALUE"]),
        (["train", *FEW, "--option", "stages=few"], ["stages=few", "wrong type"]),
        (["train", *FEW, "--option", "activation=rely"], ["rely"]),
        (["train", *FEW, "--batch-size", "301"], ["301", "300"]),
        (["train", *FEW, "--epochs", "0"], ["epochs"]),
        (["train", *FEW, "--device", "tpu"], ["tpu"]),
        (["train", "--data", "glyphs", "--train-images", "0"], ["train"]),
        (["plot"], ["RUN"]),
        (["plot", "no_such_run"], ["no_such_run"]),
        (["plot", "no_such_run", "--kind", "loses"], ["Did you mean 'losses'?"]),
    ],
)
def test_nonsense_is_answered_in_one_line(call: Call, nowhere: Path, argv: list[str], words: list[str]) -> None:
    message = one_error(call, *argv)
    for word in words:
        assert word in message


def test_debug_shows_the_traceback(call: Call) -> None:
    for argv in (["--debug", "plot", "no_such_run"], ["plot", "no_such_run", "--debug"]):
        code, _, err = call(*argv)
        assert code == 2
        assert "Traceback" in err
        assert "everybatch: error: there is no saved run" in err


def test_a_run_whose_place_was_taken_meanwhile_is_saved_beside_it(
    call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    train = eb.train

    def and_another_process(*given: Any, **named: Any) -> eb.Run:
        for name in ("run", "run_1"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "thesis.tex").write_text("years of work")
        return train(*given, **named)

    monkeypatch.setattr(eb, "train", and_another_process)
    code, out, err = call(*QUICK, "--epochs", "1", "--out", tmp_path / "run", "--overwrite")
    assert code == 0
    assert f"Saved in {tmp_path / 'run_2'}." in out
    assert "run is taken since the training began" in err
    assert eb.load_run(tmp_path / "run_2").steps == 6
    assert (tmp_path / "run" / "thesis.tex").read_text() == "years of work"


def test_a_closed_pipe_is_no_error(run_folder: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "everybatch", "evaluate", run_folder, "--test-images", "50"],
            stdout=closed,
            stderr=subprocess.PIPE,
            text=True,
            timeout=600,
            check=False,
        )
    assert (done.returncode, done.stderr) == (141, "")


def test_ctrl_c_outside_training(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("everybatch.datasets.glyphs", interrupted)
    assert call(*QUICK) == (130, "", "everybatch: interrupted\n")


def test_what_the_package_logs_is_shown_once(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    glyphs = eb.datasets.glyphs

    def talking(*args: int) -> eb.Dataset:
        logging.getLogger("everybatch").warning("something to know")
        return glyphs(*args)

    monkeypatch.setattr("everybatch.datasets.glyphs", talking)
    assert call(*QUICK, "--quiet") == (0, "", "everybatch: note: something to know\n")
    assert not logging.getLogger("everybatch").handlers
