"""Sweeps from the command line, on a few glyphs: files, exit codes, tables, and what they say to nonsense."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

import everybatch as eb
from everybatch.cli import main
from everybatch.cli.sweep._names import named
from everybatch.sweeps import _going

Call = Callable[..., tuple[int, str, str]]

HEAD = """
data = "glyphs"
train_images = 120
test_images = 60
backend = "serial"
"""
FIXED = """
[fixed]
network = "lenet5"
steps = 3
batch_size = 20
validation = 20
"""
GRID = """
[grid]
lr = [1e-3, 5e-3]
network.dropout = [0.0, 0.5]
"""
SMALL = HEAD + FIXED + GRID
ONE_DRAWN = HEAD + FIXED + "[sobol]\nn = 1\n[sobol.space]\n"


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with space.toml and, in sweeps/space, its four trials; not to be changed."""
    folder = tmp_path_factory.mktemp("kept")
    (folder / "space.toml").write_text(SMALL)
    assert main(["sweep", str(folder / "space.toml"), "--store", str(folder / "sweeps" / "space"), "--quiet"]) == 0
    return folder


@pytest.fixture
def stored(kept: Path, here: Path) -> Path:
    """A copy of `kept`, and the working folder."""
    shutil.copytree(kept, here, dirs_exist_ok=True)
    return here / "sweeps" / "space"


def one_error(call: Call, *argv: object) -> str:
    """Return the message of a command line that must fail."""
    code, out, err = call(*argv)
    assert code == 2, out + err
    assert err.startswith("everybatch: error: ")
    assert err.count("\n") == 1, err
    assert "Traceback" not in out + err
    return err


def write(text: str, name: str = "space.toml") -> str:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(text)
    return name


def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, int]]:
    """Return a list that gets learning rate and seed of each training from now on."""
    done: list[tuple[float, int]] = []

    def train(*args: Any, **settings: Any) -> eb.Run:
        done.append((settings["lr"], settings["seed"]))
        return eb.train(*args, **settings)

    monkeypatch.setattr(_going, "train", train)
    return done


# ---- help ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["sweep", "sweeps", "report"])
def test_every_command_explains_itself(call: Call, command: str) -> None:
    code, out, err = call(command, "--help")
    assert (code, err) == (0, "")
    assert f"examples:\n  everybatch {command}" in out
    assert "(default: None)" not in out
    assert f"  everybatch {command} " in call("--help")[1]


def test_the_example_of_the_help_is_a_sweep() -> None:
    from everybatch.cli.sweep import _LONG
    from everybatch.cli.sweep._file import parse_sweep

    lines = [line[2:] for line in _LONG.splitlines() if line.startswith("  ")]
    asked = parse_sweep("\n".join(lines), Path("space.toml"), {})
    assert len(asked.space) == 16
    assert asked.options == {"seeds": 2}
    assert asked.backend == eb.sweeps.processes()
    assert asked.pruning == eb.sweeps.median()


def test_the_example_file_is_a_sweep() -> None:
    from everybatch.cli.sweep._file import read_sweep

    path = Path(__file__).parents[1] / "examples" / "space.toml"
    if not path.exists():
        pytest.skip("the examples are not beside the tests")
    asked = read_sweep(path)
    assert len(asked.space) == 8
    assert asked.space[1]["schedule"] == eb.schedules.one_cycle(pct_start=0.2)


# ---- sweep -----------------------------------------------------------------------------------------------------------


def test_sweep_trains_and_says_what_came_out(call: Call, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = trained(monkeypatch)
    code, out, err = call("sweep", write(SMALL))
    assert (code, err) == (0, "")
    assert len(done) == 4
    assert "Data: glyphs, 120 training and 60 test images" in out
    assert "4 trials: 4 finished. Stored in sweeps/space." in out
    assert "everybatch report space" in out
    lines = out.splitlines()
    header = next(line for line in lines if "validation_accuracy" in line)
    assert header.split()[:3] == ["trial", "lr", "network.dropout"]
    assert all(len(line) <= 120 for line in lines)
    accuracies = [float(line.split()[4]) for line in lines if line.endswith("finished")]
    assert accuracies == sorted(accuracies, reverse=True)
    assert len(accuracies) == 4
    swept = eb.load_sweep("sweeps/space")
    assert swept.columns == ("lr", "network.dropout")
    assert swept.runs[0].config["training"]["total_steps"] == 3
    assert f"trials/{swept._ranked('validation_accuracy')[0].key} --out" in out

    code, out, err = call("sweep", "space.toml", "--quiet")  # all of it is there
    assert (code, out, err) == (0, "", "")
    assert len(done) == 4


def test_sweep_equals_the_one_in_python(call: Call, stored: Path) -> None:
    data = eb.datasets.glyphs(120, 60)
    space = {"lr": [1e-3, 5e-3], "network.dropout": [0.0, 0.5]}
    fixed: dict[str, Any] = {"network": "lenet5", "steps": 3, "batch_size": 20, "validation": 20}
    again = eb.sweep(space, data, backend="serial", store="other", progress=False, **fixed)
    assert again.runs.trials == eb.load_sweep(stored).runs.trials


def test_the_command_line_goes_before_the_file(call: Call, here: Path) -> None:
    ray = HEAD.replace('"serial"', '{ name = "ray", address = "auto" }')
    one = ray + 'store = "there"\n' + FIXED + "[[trials]]\nlr = 0.01\n"
    code, _, err = call("sweep", write(one), "--backend", "serial", "--threads", 1, "--store", "here")
    assert (code, err) == (0, "")
    assert not Path("there").exists()
    assert len(eb.load_sweep("here")) == 1


def test_trials_may_have_labels(call: Call, here: Path) -> None:
    both = '[[trials]]\nlabel = "slow"\nlr = 0.001\n[[trials]]\nlabel = "fast"\nlr = 0.01\n'
    code, _, err = call("sweep", write(HEAD + FIXED + both), "--store", "named")
    assert (code, err) == (0, "")
    expected = [("slow", 0.001), ("fast", 0.01)]
    assert [(one.config["label"], one.config["lr"]) for one in eb.load_sweep("named").trials] == expected
    code, _, err = call("sweeps", "named", "--resume")
    assert (code, err) == (0, "")
    code, _, err = call("sweep", write(HEAD + FIXED + both.replace("fast", "slow")), "--store", "named")
    assert code == 2
    assert "both have the label 'slow'" in err


def test_worker_processes_do_the_same(call: Call, stored: Path) -> None:
    few = HEAD + FIXED + "[grid]\nlr = [1e-3]\nnetwork.dropout = [0.0]\n"
    code, _, err = call("sweep", write(few), "--backend", "processes", "--workers", 1, "--store", "other")
    assert (code, err) == (0, "")
    assert eb.load_sweep("other").runs.trials == eb.load_sweep(stored).runs.trials[:1]


def test_everything_that_a_file_may_say(call: Call, here: Path) -> None:
    network = eb.Network([eb.Flatten(), eb.Linear(784, 10)], name="line")
    write(network.to_json(), "files/nets/line.json")
    data = eb.datasets.glyphs(90, 60)
    arrays = (data.train_images, data.train_labels, data.test_images, data.test_labels)
    np.savez(here / "files" / "few.npz", **dict(zip(("x_train", "y_train", "x_test", "y_test"), arrays, strict=True)))
    text = """
    data = "few.npz"
    train_images = 60
    data_seed = 3
    seeds = [4]
    backend = { name = "processes", workers = 1, retries = 0 }
    threads = 1
    keep_models = false
    [fixed]
    steps = 2
    batch_size = 20
    validation = 0.2
    betas = [0.8, 0.99]
    tolerance = 0.01
    complete_every = "epoch"
    [sobol]
    n = 4
    seed = 1
    [sobol.space]
    network = ["nets/line.json", "lenet5"]
    lr = { low = 1e-4, high = 1e-2, log = true }
    batch_size = [16, 20]
    evaluate_every = { low = 1, high = 2, whole = true }
    schedule = ["cosine", { name = "warmup", steps = 1, then = { name = "one_cycle", pct_start = 0.5 } }]
    augment = [{ shift = 1 }, { rotate = 10, erase = 0.5, erase_area = [0.1, 0.2] }]
    augment_schedule = ["constant", { name = "linear", begin = 0.5 }]
    [pruning]
    rule = "successive_halving"
    min_steps = 1
    eta = 2
    """
    code, _, err = call("sweep", write(text, "files/wide.toml"))
    assert (code, err) == (0, "")
    swept = eb.load_sweep("sweeps/wide")  # seen from here, not from the file
    space = {
        "network": [network, "lenet5"],
        "lr": eb.sweeps.log_uniform(1e-4, 1e-2),
        "batch_size": [16, 20],
        "evaluate_every": eb.sweeps.uniform(1, 2, whole=True),
        "schedule": ["cosine", eb.schedules.warmup(1, eb.schedules.one_cycle(0.5))],
        "augment": [eb.Augment(shift=1), eb.Augment(rotate=10, erase=0.5, erase_area=(0.1, 0.2))],
        "augment_schedule": ["constant", eb.schedules.linear(begin=0.5)],
    }
    expected = eb.sweep(
        eb.sweeps.sobol(space, 4, seed=1),
        eb.datasets.from_npz(here / "files" / "few.npz").subset(train=60, seed=3),
        seeds=[4],
        backend="serial",
        store="expected",
        keep_models=False,
        pruning=eb.sweeps.successive_halving(min_steps=1, eta=2),
        progress=False,
        steps=2,
        validation=0.2,
        betas=(0.8, 0.99),
        tolerance=0.01,
        complete_every="epoch",
    )
    assert [trial.key for trial in swept.trials] == [trial.key for trial in expected.trials]
    training = swept.run(swept.runs.trials[0]).config["training"]
    assert [training[name] for name in ("seed", "tolerance", "complete_every")] == [4, 0.01, "epoch"]


def test_random_draws(call: Call, here: Path) -> None:
    drawn = (
        "[random]\nn = 3\nseed = 2\n[random.space]\nlr = { low = 0.001, high = 0.01 }\nnetwork.dropout = [0.0, 0.5]\n"
    )
    assert call("sweep", write(HEAD + FIXED + drawn), "--quiet")[0] == 0
    space = {"lr": eb.sweeps.uniform(0.001, 0.01), "network.dropout": [0.0, 0.5]}
    told = [trial.config["lr"] for trial in eb.load_sweep("sweeps/space").trials]
    assert told == [config["lr"] for config in eb.sweeps.random(space, 3, seed=2)]


def test_failing_and_diverging_trials_give_1(call: Call, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def train(*args: Any, **settings: Any) -> eb.Run:
        if settings["lr"] == 5e-3:
            raise RuntimeError("no luck today")
        return eb.train(*args, **settings)

    monkeypatch.setattr(_going, "train", train)
    code, out, err = call("sweep", write(SMALL))
    assert code == 1
    assert err == "everybatch: warning: of 4 trials, 2 failed: everybatch sweeps space --failed shows them\n"
    assert "2 finished, 2 failed" in out
    code, out, _ = call("sweeps", "space", "--failed")
    assert code == 0
    assert out.count("RuntimeError: no luck today") == 2
    assert "lr=0.005, network.dropout=0.0, seed=0" in out
    assert "2 of 4 trials failed" in out
    assert "Traceback (most recent call last)" in call("sweeps", "space", "--failed", "--traceback")[1]
    assert "failed" in call("sweeps", "space")[1]

    monkeypatch.undo()
    monkeypatch.chdir(here)
    assert call("sweep", "space.toml", "--quiet")[0] == 1
    assert call("sweeps", "space", "--resume", "--retry-failed", "--quiet") == (0, "", "")
    assert "0 of 4" in call("sweeps", "space", "--failed")[1]

    wild = SMALL.replace("5e-3", "1e30").replace("steps", 'optimizer = "sgd"\nsteps')
    code, _, err = call("sweep", write(wild, "wild.toml"), "--quiet")
    assert code == 1
    assert err == "everybatch: warning: of 4 trials, 2 diverged: everybatch sweeps wild --sort status shows them\n"
    assert call("sweeps", "wild", "--sort", "status")[1].count("diverged") == 3


def test_ctrl_c_keeps_what_there_is(call: Call, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def train(*args: Any, **settings: Any) -> eb.Run:
        if settings["lr"] == 5e-3:
            raise KeyboardInterrupt
        return eb.train(*args, **settings)

    monkeypatch.setattr(_going, "train", train)
    code, out, err = call("sweep", write(SMALL))
    assert code == 130
    assert "2 finished, 2 missing" in out
    assert "interrupted" in err
    assert "everybatch sweeps space --resume" in err


# ---- nonsense --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("data = \n", ["not TOML", "line 1"]),
        (SMALL + "[grid]\n", ["not TOML", "line 16"]),
        (SMALL + "x = [" * 5000, ["not TOML"]),
        (SMALL + f"[pruning]\nrule = {'9' * 5000}", ["not TOML"]),
        (SMALL + f"schedule = {'{name = 1, then = ' * 60}1{'}' * 60}", []),
        (HEAD + FIXED + "[grid]\nlr = " + "[" * 150 + "]" * 150, ["lr"]),
        (HEAD + f"seeds = {10**12}" + FIXED + GRID, ["seeds asks for 1,000,000,000,000 seeds"]),
        (HEAD + "seeds = 500_000" + FIXED + GRID, ["4 configs with 500,000 seeds each are 2,000,000 trials"]),
        (HEAD + "threads = 1_000_000" + FIXED + GRID, ["threads is 1,000,000"]),
        (ONE_DRAWN.replace("n = 1", f"n = {10**10}") + "lr = {low = 1, high = 2}", ["[sobol]", "n is 10,000,000,000"]),
        (
            (HEAD + FIXED + "[random]\nn = 1_000_000_000_000\n[random.space]\nlr = {low = 1, high = 2}"),
            ["[random]", "n is 1,000,000,000,000"],
        ),
        (
            HEAD
            + FIXED
            + "[grid]\n"
            + "".join(f"{name} = {[*range(100)]}\n" for name in ("lr", "epochs", "steps", "eps")),
            ["[grid]", "100,000,000 configs (100 x 100 x 100 x 100)"],
        ),
        ("", ["[grid]", "there is none"]),
        (SMALL + "[[trials]]\nlr = 1e-3\n", ["[grid] and [[trials]]"]),
        ("sedes = 3\n" + SMALL, ["'sedes'", "Did you mean 'seeds'?"]),
        (SMALL + "[prunning]\n", ["'prunning'", "Did you mean 'pruning'?"]),
        (SMALL + "lrr = 3\n", ["[grid]", "'lrr'", "Did you mean 'lr'?"]),
        (SMALL + "seed = [1, 2]\n", ["[grid]", "seeds"]),
        (SMALL + "workers = 2\n", ["workers", "top of the file"]),
        (SMALL + "callbacks = 2\n", ["'callbacks'"]),
        (SMALL + '"network.dropout" = [0.1]\n', ["network.dropout is there twice"]),
        (SMALL.replace("dropout", "dropuot"), ["dropuot", "Did you mean 'dropout'?", "lenet5"]),
        (SMALL.replace("lenet5", "lenet4"), ["[fixed]", "lenet4", "Did you mean 'lenet5'?"]),
        (SMALL.replace('"lenet5"', "5"), ["[fixed]: network", "not 5"]),
        (SMALL.replace("[1e-3, 5e-3]", "[]"), ["[grid]", "lr has no values"]),
        (SMALL.replace("[1e-3, 5e-3]", '["high"]'), ["lr", "'high'"]),
        (SMALL.replace("[1e-3, 5e-3]", "[nan]"), ["lr"]),
        (SMALL.replace("[1e-3, 5e-3]", "2024-01-01"), ["lr", "2024"]),
        (SMALL.replace("[1e-3, 5e-3]", "{ low = 1, high = 2 }"), ["[grid]: lr", "[random.space]"]),
        (SMALL.replace("steps = 3", "steps = 0"), ["steps is 0"]),
        (SMALL.replace("batch_size = 20", "batch_size = 2000"), ["batch_size is 2000"]),
        (SMALL + 'schedule = "cosinus"\n', ["cosinus", "Did you mean 'cosine'?"]),
        (SMALL + 'schedule = { name = "cosinus" }\n', ["schedule", "Did you mean 'cosine'?"]),
        (SMALL + "schedule = { pct_start = 0.1 }\n", ["schedule", "a table with one"]),
        (SMALL + 'schedule = { name = "one_cycle", pct = 0.1 }\n', ["schedule", "'pct'", "pct_start"]),
        (SMALL + 'schedule = { name = "warmup" }\n', ["schedule", "steps is missing"]),
        (SMALL + 'schedule = { name = "one_cycle", pct_start = 7 }\n', ["schedule", "pct_start"]),
        (SMALL + 'augment_schedule = "linear"\n', ["augment_schedule is given without augment"]),
        (SMALL + 'augment = { shift = 1 }\naugment_schedule = { name = "linear", from = 1 }\n', ["'from'", "begin"]),
        (SMALL + 'augment = { shift = 1 }\naugment_schedule = { name = "plateau" }\n', ["goes by measurements"]),
        (SMALL + "augment = { shfit = 2 }\n", ["augment", "Did you mean 'shift'?"]),
        (SMALL + "augment = { shift = -2 }\n", ["augment", "shift"]),
        (SMALL + "augment = 2\n", ["augment", "table"]),
        ("fixed = 2\n" + HEAD + GRID, ["[fixed]", "table"]),
        ("grid = 2\n" + HEAD + FIXED, ["[grid]", "table"]),
        (HEAD + FIXED + "[trials]\nlr = 1\n", ["[[trials]]"]),
        ("trials = [1]\n" + HEAD + FIXED, ["[[trials]] number 1", "table"]),
        (HEAD + FIXED + "[[trials]]\nlr = 1e-3\n[[trials]]\nlrr = 1\n", ["[[trials]] number 2", "'lrr'"]),
        (HEAD + FIXED + "[random]\nlr = [1]\nn = 2\n", ["[random.space]", "'lr'"]),
        (HEAD + FIXED + "[random]\nm = 2\n", ["[random]", "'m'"]),
        (HEAD + FIXED + "[random]\n[random.space]\nlr = [1e-3]\n", ["[random]", "n is missing"]),
        (HEAD + FIXED + "[sobol]\nn = -1\n[sobol.space]\nlr = [1e-3]\n", ["[sobol]", "n is -1"]),
        (
            ONE_DRAWN + "lr = { low = 2, high = 1 }\n",
            ["space: lr", "lower one first"],
        ),
        (ONE_DRAWN + "lr = { low = 2, hihg = 3 }\n", ["lr", "Did you mean 'high'?"]),
        (ONE_DRAWN + "lr = { low = 2, high = 3, log = 1 }\n", ["lr", "log"]),
        (SMALL + '[pruning]\nrule = "mean"\n', ["[pruning]", "Did you mean 'median'?"]),
        (SMALL + "[pruning]\nevery = 2\n", ["[pruning]", "rule is missing"]),
        (SMALL + '[pruning]\nrule = "median"\neta = 2\n', ["[pruning]", "'eta'"]),
        (SMALL + '[pruning]\nrule = "median"\nevery = 0\n', ["[pruning]", "every is 0"]),
        (SMALL.replace("validation = 20", "") + '[pruning]\nrule = "median"\n', ["validation=0.1"]),
        (SMALL.replace("glyphs", "glyps"), ["data is 'glyps'", "Did you mean 'glyphs'?"]),
        (SMALL.replace('"glyphs"', "3"), ["data must be text"]),
        (SMALL.replace("= 120", "= -1"), ["train_images is -1"]),
        ("data_seed = 2\n" + SMALL, ["data_seed"]),
        ("image_size = 28\n" + SMALL, ["image_size", "[height, width]"]),
        ("image_size = [14, 14]\n" + SMALL, ["image_size", "glyphs is none"]),
        ("background = 0\n" + SMALL, ["background", "glyphs is none"]),
        (SMALL.replace("steps = 3", "steps = 3\nepochs = 1"), ["epochs is 1 and steps is 3", "give one of them"]),
        ('store = "memory://mine"\n' + SMALL, ["memory of this command", "give a folder"]),
        ("download = 1\n" + SMALL, ["download"]),
        ("seeds = 0\n" + SMALL, ["seeds is 0"]),
        ('seeds = "two"\n' + SMALL, ["seeds", "'two'"]),
        ("seeds = [1, 1]\n" + SMALL, ["seeds", "more than once"]),
        (SMALL.replace('"serial"', '"seral"'), ["backend", "Did you mean 'serial'?"]),
        ("store = 3\n" + SMALL, ["store must be text"]),
        (SMALL.replace('"serial"', '{ name = "packed", workers = 0 }'), ["[backend]", "workers is 0"]),
        (SMALL.replace('"serial"', '{ name = "seral" }'), ["[backend]", "Did you mean 'serial'?"]),
        (SMALL.replace('"serial"', "{ workers = 2 }"), ["[backend]", "name is missing"]),
        (SMALL.replace('"serial"', '{ name = "serial", workers = 2 }'), ["[backend]", "'workers' is unknown"]),
        (SMALL.replace('"serial"', "3"), ["backend must be a name"]),
        ("workers = 2\n" + SMALL, ['backend = { name = "processes", workers = ... }']),
        ("threads = 1.5\n" + SMALL, ["threads", "1.5"]),
        ("keep_models = 1\n" + SMALL, ["keep_models"]),
        (SMALL.replace('"serial"', '{ name = "ray", retries = -1 }'), ["retries is -1"]),
        ('device = "tpu"\n' + SMALL, ["tpu"]),
        ('address = "auto"\n' + SMALL, ['backend = { name = "ray", address = ... }']),
    ],
)
def test_nonsense_is_one_line_and_trains_nothing(
    call: Call, here: Path, monkeypatch: pytest.MonkeyPatch, text: str, words: list[str]
) -> None:
    done = trained(monkeypatch)
    told = one_error(call, "sweep", write(text))
    for word in ["space.toml", *words]:
        assert word in told
    assert not done
    assert not Path("sweeps").exists() or not list(Path("sweeps").rglob("trial.json"))


def test_files_that_are_none(call: Call, here: Path) -> None:
    assert "no_such.toml" in one_error(call, "sweep", "no_such.toml")
    assert "directory" in one_error(call, "sweep", here)
    Path("binary.toml").write_bytes(b"\xff\xfe\x00")
    assert "UTF-8" in one_error(call, "sweep", "binary.toml")
    assert "larger than 10,000,000 bytes" in one_error(call, "sweep", "/dev/zero")  # which has no end
    write("{}", "empty.json")
    assert "empty.json" in one_error(call, "sweep", write(SMALL.replace("lenet5", "empty.json")))
    Path("taken").write_text("")
    assert "taken" in one_error(call, "sweep", write(SMALL), "--store", "taken")


# ---- sweeps ----------------------------------------------------------------------------------------------------------


def test_sweeps_lists_what_is_there(call: Call, stored: Path) -> None:
    (stored.parent / "notes").mkdir()
    (stored.parent / "broken" / "trials").mkdir(parents=True)
    (stored.parent / "broken" / "sweep.json").write_text("{")
    code, out, err = call("sweeps")
    assert code == 0
    assert [line.split() for line in out.splitlines()] == [
        ["sweep", "trials", "of", "which"],
        ["space", "4", "4", "finished"],
    ]
    assert "note: sweeps/broken" in err


def test_sweeps_without_any(call: Call, here: Path) -> None:
    assert call("sweeps") == (0, f"There is no sweep in {here / 'sweeps'}.\n", "")


def test_sweeps_needs_no_pandas(call: Call, stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    code, out, _ = call("sweeps", "space")
    assert code == 0
    assert out.count("finished") == 5
    assert call("sweeps", "space", "--export", "all.csv")[0] == 0


def test_sweeps_sorts_and_cuts(call: Call, stored: Path) -> None:
    def column(name: str, *argv: object) -> list[str]:
        lines = call("sweeps", "space", *argv)[1].splitlines()
        place = lines[0].split().index(name)
        return [line.split()[place] for line in lines[1:] if line.endswith("finished")]

    assert column("lr", "--sort", "lr") == ["0.001", "0.001", "0.005", "0.005"]
    losses = column("test_loss", "--sort", "test_loss")
    assert losses == sorted(losses)
    assert column("best_test_loss", "--sort", "best_test_loss")
    assert len(column("lr", "--top", 1)) == 1
    assert "3 more: --top 4" in call("sweeps", "space", "--top", 1)[1]
    assert "Did you mean 'test_loss'?" in one_error(call, "sweeps", "space", "--sort", "test_los")


@pytest.mark.parametrize("columns", [40, 80, 100, 300])
def test_tables_fit_the_terminal(call: Call, stored: Path, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    out = call("sweeps", "space")[1]
    table = [line for line in out.splitlines()[:-2] if not line.startswith("  (")]
    assert len(table) == 5
    assert max(map(len, table)) <= columns
    assert ("network.dropout: see --export" in out) == (columns == 40)


def test_a_sweep_is_found_by_name_and_by_path(call: Call, stored: Path) -> None:
    expected = call("sweeps", "space")[1]
    assert call("sweeps", "sweeps/space")[1] == expected
    assert call("sweeps", stored)[1] == expected.replace("sweeps/space:", f"{stored}:")
    (stored.parents[1] / "space").mkdir()  # a folder of that name that holds no sweep
    assert call("sweeps", "space")[1] == expected
    told = one_error(call, "sweeps", "spice")
    assert "Did you mean 'space'?" in told


def test_resume_trains_what_is_missing(call: Call, stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path.name: (path / "history.npz").read_bytes() for path in (stored / "trials").iterdir()}
    for key in sorted(before)[:2]:
        shutil.rmtree(stored / "trials" / key)
    Path("space.toml").unlink()
    assert "2 finished, 2 missing" in call("sweeps", "space")[1]
    done = trained(monkeypatch)
    code, out, err = call("sweeps", "space", "--resume")
    assert (code, err) == (0, "")
    assert "4 trials: 4 finished" in out
    assert len(done) == 2
    assert {path.name for path in (stored / "trials").iterdir()} == before.keys()
    assert call("sweeps", "space", "--resume", "--quiet") == (0, "", "")
    assert len(done) == 2


def test_resume_knows_the_files_and_the_command_line(call: Call, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = eb.Network([eb.Flatten(), eb.Linear(784, 10)], name="line")
    write(network.to_json(), "files/line.json")
    text = HEAD + FIXED.replace("lenet5", "line.json") + "[grid]\nlr = [1e-3, 5e-3]\n"
    write(text.replace("serial", "ray"), "files/space.toml")
    assert call("sweep", "files/space.toml", "--backend", "serial", "--quiet")[0] == 0
    keys = eb.load_sweep("sweeps/space").runs.trials
    shutil.rmtree("files")
    shutil.rmtree(Path("sweeps/space/trials") / keys[0])
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    code, _, err = call("sweeps", here / "sweeps" / "space", "--resume")
    assert (code, err) == (0, "")
    assert eb.load_sweep(here / "sweeps" / "space").runs.trials == keys


def test_another_backend_takes_no_workers_from_the_first(call: Call, here: Path) -> None:
    few = HEAD + FIXED + "lr = 1e-3\n" + "[grid]\nnetwork.dropout = [0.0]\n"
    assert call("sweep", write(few), "--backend", "processes", "--workers", 1, "--quiet")[0] == 0
    shutil.rmtree("sweeps/space/trials")
    assert call("sweeps", "space", "--resume", "--backend", "serial", "--quiet") == (0, "", "")
    origin = json.loads(Path("sweeps/space/sweep.json").read_text())["origin"]
    assert origin["given"] == {"backend": "serial"}


class Elsewhere(MemoryFileSystem):  # type: ignore[misc] # fsspec has no types
    """A file system that is not this machine's, as far as anyone can tell."""

    protocol = "elsewhere"

    @classmethod
    def _strip_protocol(cls, path: str) -> Any:
        return super()._strip_protocol(path.replace("elsewhere://", "memory://"))


def test_a_store_elsewhere(call: Call, here: Path) -> None:
    fsspec.register_implementation("elsewhere", Elsewhere, clobber=True)
    place = "elsewhere://cli/elsewhere"
    code, out, err = call("sweep", write("\ufeff" + SMALL), "--store", place)
    assert (code, err) == (0, "")
    assert f"everybatch report {place}" in out
    assert "4 trials: 4 finished" in call("sweeps", place)[1]
    assert call("sweeps", place, "--resume", "--quiet") == (0, "", "")
    assert "no sweep at elsewhere://cli/nowhere" in one_error(call, "sweeps", "elsewhere://cli/nowhere")


def test_resume_of_a_sweep_that_an_earlier_version_began(call: Call, stored: Path) -> None:
    """Options of the backend stood at the top of the file then, whose text is in the store."""
    asked = json.loads((stored / "sweep.json").read_text())
    text = asked["origin"]["text"]
    asked["origin"]["text"] = text.replace('backend = "serial"', 'backend = "processes"\nworkers = 1\nretries = 0')
    assert asked["origin"]["text"] != text
    asked.pop("sha256", None)
    (stored / "sweep.json").write_text(json.dumps(asked))
    shutil.rmtree(next((stored / "trials").iterdir()))
    assert call("sweeps", "space", "--resume", "--quiet") == (0, "", "")
    assert "4 trials: 4 finished" in call("sweeps", "space")[1]


def test_resume_refuses_other_data(call: Call, here: Path) -> None:
    def save(seed: int) -> None:
        data = eb.datasets.glyphs(90, 60, seed=seed)
        np.savez(
            "few.npz",
            x_train=data.train_images,
            y_train=data.train_labels,
            x_test=data.test_images,
            y_test=data.test_labels,
        )

    save(0)
    one = 'data = "few.npz"\nbackend = "serial"\n' + FIXED + "[grid]\nlr = [1e-3]\n"
    assert call("sweep", write(one), "--quiet")[0] == 0
    save(1)
    assert "other images" in one_error(call, "sweeps", "space", "--resume")


def test_resume_of_a_script_says_what_to_do(call: Call, here: Path) -> None:
    eb.sweep(
        {"lr": [1e-3]},
        eb.datasets.glyphs(60, 20),
        network="lenet5",
        steps=1,
        batch_size=20,
        backend="serial",
        store="sweeps/script",
        progress=False,
    )
    assert "run the script again" in one_error(call, "sweeps", "script", "--resume")


def test_all_shows_what_the_last_sweep_did_not_ask_for(call: Call, stored: Path) -> None:
    few = SMALL.replace("[1e-3, 5e-3]", "[1e-3]")
    assert call("sweep", write(few), "--quiet")[0] == 0
    assert "2 trials: 2 finished" in call("sweeps", "space")[1]
    assert "4 trials: 4 finished" in call("sweeps", "space", "--all")[1]


def test_export(call: Call, stored: Path) -> None:
    sweep = eb.load_sweep("sweeps/space")
    keys = [trial.key for trial in sweep.trials]
    assert call("sweeps", "space", "--export", "all.csv") == (0, "all.csv\n", "")
    with Path("all.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["trial"] for row in rows] == keys
    assert [float(row["final_test_accuracy"]) for row in rows] == [run.final_accuracy for run in sweep.runs]

    assert call("sweeps", "space", "--export", "all.json", "--sort", "test_loss", "--top", 3)[0] == 0
    told = json.loads(Path("all.json").read_text())
    losses = [row["final_test_loss"] for row in told]
    assert losses == sorted(losses)
    assert len(losses) == 3

    assert "--overwrite" in one_error(call, "sweeps", "space", "--export", "all.csv")
    assert call("sweeps", "space", "--export", "all.csv", "--overwrite", "--top", 1)[0] == 0
    assert len(Path("all.csv").read_text().splitlines()) == 2
    assert "Did you mean '.csv'?" in one_error(call, "sweeps", "space", "--export", "all.cvs")
    assert "no folder" in one_error(call, "sweeps", "space", "--export", "nowhere/all.csv")


def test_export_to_parquet(call: Call, here: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    assert call("sweep", write(SMALL + "validation = [0.2, 20]\naugment = [{}, { shift = 1 }]\n"), "--quiet")[0] == 0
    assert call("sweeps", "space", "--export", "all.parquet")[0] == 0
    table = parquet.read_table("all.parquet")
    assert table.num_rows == 16
    assert table["steps"].to_pylist() == [3] * 16


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--traceback"], ["--traceback belongs to --failed"]),
        (["space", "--overwrite"], ["--export"]),
        (["space", "--workers", 2], ["--workers belongs to --resume"]),
        (["space", "--retry-failed"], ["--resume"]),
        (["--resume"], ["NAME"]),
        (["--top", 3], ["NAME"]),
        (["space", "--top", 0], ["from 1"]),
        (["space", "--resume", "--failed"], ["do not go together"]),
        (["space", "--resume", "--top", 2], ["do not go together"]),
        (["no_such"], ["there is no sweep 'no_such'"]),
        (["."], ["there is no sweep '.'"]),
        (["nope://there"], ["nope"]),
    ],
)
def test_sweeps_refuses_what_would_do_nothing(call: Call, stored: Path, argv: list[object], words: list[str]) -> None:
    told = one_error(call, "sweeps", *argv)
    assert all(word in told for word in words)


# ---- report ----------------------------------------------------------------------------------------------------------


def test_report(call: Call, stored: Path) -> None:
    assert call("report", "space") == (0, "space.html\n", "")
    assert "</html>" in Path("space.html").read_text()
    assert "--overwrite" in one_error(call, "report", "space")
    assert call("report", stored, "--out", "space.html", "--overwrite") == (0, "space.html\n", "")
    assert "no folder" in one_error(call, "report", "space", "--out", "nowhere/page.html")
    assert "there is no sweep" in one_error(call, "report", "spice")


def test_a_line_break_in_a_label_breaks_no_table(call: Call, here: Path) -> None:
    space = '[[trials]]\nlabel = "a\\nb"\nlr = 1e-3\n[[trials]]\nlabel = "c"\nlr = 5e-3\n'
    assert call("sweep", write(HEAD + FIXED + space), "--quiet")[0] == 0
    code, out, _ = call("sweeps", "space")
    assert code == 0
    table = out.partition("\n\n")[0].splitlines()
    assert len(table) == 3
    assert any("  a b  " in line for line in table)


def test_a_name_that_begins_with_a_dash_is_told_so_that_it_can_be_given_back(tmp_path: Path) -> None:
    class Stored:
        def __init__(self, name: str) -> None:
            self.name = name

    given = {"sweeps/-dash": "sweeps/-dash", "-dash": "./-dash", "sweeps/a": "a", "memory://-a": "memory://-a"}
    for name, told in given.items():
        assert named(Stored(name)) == told  # type: ignore[arg-type] # as good as a sweep
