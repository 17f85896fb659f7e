"""`everybatch watch`: what is found below a folder, what is told of it, and the lines of a terminal."""

from __future__ import annotations

import io
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import everybatch as eb
from everybatch.sweeps._claims import Claims
from everybatch.watch import Watch, show
from everybatch.watch._charts import View, series
from everybatch.watch._find import find
from everybatch.watch._watched import Watched
from growing_runs import GrowingRun, lose_all
from sweep_stores import drawn_arrays, make_store
from test_run import example_config

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    lose_all()


def saved(folder: Path, **status: Any) -> eb.Run:
    config = example_config(3)
    config["status"] |= status
    run = eb.Run(drawn_arrays(1, 0.8, 20, validation=False), config)
    folder.parent.mkdir(parents=True, exist_ok=True)
    run.save(folder)
    return run


def told(watch: Watch) -> dict[str, dict[str, Any]]:
    return {run["name"]: run for run in watch.overview()["runs"]}


# ---- what is found


def test_runs_of_every_kind_are_found_at_any_depth(tmp_path: Path) -> None:
    GrowingRun(tmp_path / "a" / "b" / "c", 5).grow(1)
    saved(tmp_path / "saved")
    make_store(tmp_path / "s" / "sweep", [{"lr": 1.0}], seeds=2)
    GrowingRun(tmp_path / "s" / "sweep" / "going" / "abc", 5).grow(1)
    (tmp_path / ".hidden").mkdir()
    shutil.copytree(tmp_path / "saved", tmp_path / ".hidden" / "run")
    (tmp_path / "no run").mkdir()
    (tmp_path / "no run" / "config.json").write_text("{}")
    found = find(tmp_path)
    assert found.runs == ["a/b/c", "s/sweep/going/abc", "saved"]
    assert found.sweeps == ["s/sweep"]
    assert found.complete


def test_a_folder_that_is_a_run_or_a_sweep_itself(tmp_path: Path) -> None:
    saved(tmp_path / "saved")
    make_store(tmp_path / "sweep", [{"lr": 1.0}], seeds=2)
    assert find(tmp_path / "saved").runs == [""]
    assert find(tmp_path / "sweep").sweeps == [""]
    watch = Watch(tmp_path / "sweep")
    (sweep,) = watch.overview()["sweeps"]
    assert [one["name"].split("/")[0] for one in sweep["best"]] == ["trials", "trials"]
    assert watch.run(sweep["best"][0]["name"]) is not None
    assert watch.run("trials/other") is None


def test_no_folder_is_an_error(tmp_path: Path, call: Call) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        Watch(tmp_path / "nowhere")
    with pytest.raises(NotADirectoryError, match="is not a folder"):
        Watch(tmp_path / "file")
    assert call("watch", tmp_path / "nowhere")[0] == 2


def test_there_may_be_too_much_to_look_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abc":
        (tmp_path / name).mkdir()
    monkeypatch.setattr("everybatch.watch._find._MOST_FOLDERS", 2)
    assert not find(tmp_path).complete


def test_of_too_many_runs_the_newest_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, name in enumerate(("c", "a", "d", "b")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "history.records").write_bytes(b"")
        os.utime(tmp_path / name, (number, number))
    monkeypatch.setattr("everybatch.watch._find._MOST_RUNS", 4)
    assert (find(tmp_path).runs, find(tmp_path).complete) == (["a", "b", "c", "d"], True)
    monkeypatch.setattr("everybatch.watch._find._MOST_RUNS", 2)
    assert (find(tmp_path).runs, find(tmp_path).complete) == (["b", "d"], False)


def test_a_run_far_down_is_found_after_those_above_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = Path(*"123456789abc")
    for folder in (tmp_path / deep, tmp_path / "z"):
        folder.mkdir(parents=True)
        (folder / "history.records").write_bytes(b"")
    assert find(tmp_path).runs == [deep.as_posix(), "z"]
    monkeypatch.setattr("everybatch.watch._find._MOST_FOLDERS", 4)
    assert find(tmp_path).runs == ["z"]


# ---- what is told


def test_a_run_that_goes_on(tmp_path: Path) -> None:
    """Numbers by NumPy, of the arrays that were written."""
    run = GrowingRun(tmp_path / "a", 500)
    run.grow(400)
    one = told(Watch(tmp_path))["a"]
    arrays = run.arrays
    assert (one["state"], one["steps"], one["total"]) == ("running", 400, 500)
    assert one["last"]["test_accuracy"] == pytest.approx(float(arrays["test_accuracy"][400]))
    best = int(np.argmax(arrays["test_accuracy"][:401]))
    assert one["best"] == {"accuracy": pytest.approx(float(arrays["test_accuracy"][best])), "step": best}
    recent = arrays["train_seconds"][200:400].sum() + arrays["eval_seconds"][201:401].sum()
    assert one["left"] == pytest.approx(100 * recent / 200)
    assert one["seconds"] == pytest.approx(arrays["train_seconds"][:400].sum() + arrays["eval_seconds"][:401].sum())
    assert one["resume"] is None


def test_states(tmp_path: Path) -> None:
    for state in ("finished", "stopped", "interrupted", "failed", "diverged"):
        run = GrowingRun(tmp_path / state, 10)
        run.grow(5)
        run.end(state, "because")
    lost = GrowingRun(tmp_path / "it's lost", 10)
    lost.grow(5)
    lost.lose()
    GrowingRun(tmp_path / "new", 10)
    saved(tmp_path / "saved", state="stopped", message="enough")
    sweep = tmp_path / "sweep"
    make_store(sweep, [{"lr": 1.0}])
    GrowingRun(sweep / "going" / "abc", 10).lose()
    runs = told(Watch(tmp_path))
    assert {name: run["state"] for name, run in runs.items()} == {
        **{name: name for name in ("finished", "stopped", "interrupted", "failed", "diverged")},
        "it's lost": "lost",
        "new": "running",
        "saved": "stopped",
        "sweep/going/abc": "lost",
    }
    assert runs["stopped"]["message"] == "because"
    assert runs["saved"]["message"] == "enough"
    assert runs["it's lost"]["resume"] == f"everybatch resume '{tmp_path}/it'\"'\"'s lost'"
    assert runs["interrupted"]["resume"] == f"everybatch resume {tmp_path}/interrupted"
    assert runs["sweep/going/abc"]["resume"] == f"everybatch sweeps {sweep} --resume"
    assert runs["finished"]["resume"] is None


def test_a_run_that_is_lost_and_goes_on_is_running_again(tmp_path: Path) -> None:
    run = GrowingRun(tmp_path / "a", 10)
    run.grow(4)
    run.lose()
    watch = Watch(tmp_path)
    assert told(watch)["a"]["state"] == "lost"
    again = eb.folder.Journal(tmp_path / "a", again=True)
    try:
        watch._runs["a"]._due = 0.0
        assert told(watch)["a"]["state"] == "running"
    finally:
        again.close()


def test_a_folder_that_was_made_anew_shows_its_run(tmp_path: Path) -> None:
    """By the arrays that were written: what is read never goes on in the middle of another run."""
    watch = Watch(tmp_path)
    for seed, steps in enumerate((20, 5, 30, 30)):
        shutil.rmtree(tmp_path / "a", ignore_errors=True)
        run = GrowingRun(tmp_path / "a", 40, seed=seed, name=f"net {seed}")
        if seed == 3:
            told(watch)
        run.grow(steps)
        for known in watch._runs.values():
            known._due = 0.0
        one = told(watch)["a"]
        last = pytest.approx(float(run.arrays["test_accuracy"][steps]))
        assert (one["network"], one["state"], one["steps"]) == (f"net {seed}", "running", steps)
        assert one["last"]["test_accuracy"] == last
        run.end()


def test_a_wide_run_makes_no_later_one_narrow(tmp_path: Path) -> None:
    watch = Watch(tmp_path, most_bytes=4 * 60_000)
    for steps, narrow in ((3000, True), (20, False)):
        shutil.rmtree(tmp_path / "a", ignore_errors=True)
        run = GrowingRun(tmp_path / "a", steps)
        run.grow(steps)
        for known in watch._runs.values():
            known._due = 0.0
        assert told(watch)["a"]["steps"] == steps
        assert watch._runs["a"].narrow == narrow
        run.lose()


def test_a_saved_run_that_is_too_large_is_shown_without_its_classes(tmp_path: Path) -> None:
    whole = saved(tmp_path / "a")
    size = sum(array.nbytes for array in whole._arrays.values())
    run = Watched(tmp_path / "a", "", size // 2)
    run.look(whole=True)
    assert run.narrow
    assert run.class_accuracy.shape == (0, len(whole.classes))
    assert run.summary["last"]["test_accuracy"] == pytest.approx(float(whole.test_accuracy[-1]))
    view = View("classes", 100, None)
    assert not list(series(run, view, "step", (0, 1)))


def test_a_run_whose_history_is_damaged_says_so_and_is_not_to_be_gone_on_with(tmp_path: Path) -> None:
    run = GrowingRun(tmp_path / "a", 20)
    for _ in range(4):
        run.grow(5)
    run.lose()
    history = tmp_path / "a" / "history.records"
    content = bytearray(history.read_bytes())
    place = content.index(b"rows")
    content[place + 100] ^= 1
    history.write_bytes(content)
    one = told(Watch(tmp_path))["a"]
    assert (one["state"], one["steps"], one["resume"]) == ("lost", 0, None)
    assert f"damaged at byte {place - 4:,}" in one["message"]  # where that record begins
    out = io.StringIO()
    show(Watch(tmp_path), out)
    assert "damaged at byte" in out.getvalue()
    assert "go on with" not in out.getvalue()


@pytest.mark.parametrize("content", [b"", b"no records", b"\xebBr\nbegn" + b"\xff" * 40])
def test_a_damaged_run_says_so_and_the_others_are_there(tmp_path: Path, content: bytes) -> None:
    GrowingRun(tmp_path / "a", 10).grow(4)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "history.records").write_bytes(content)
    saved(tmp_path / "c")
    (tmp_path / "c" / "history.npz").write_bytes(b"damaged")
    runs = told(Watch(tmp_path))
    assert {name: run["state"] for name, run in runs.items()} == {"a": "running", "b": "unreadable", "c": "unreadable"}
    assert all(runs[name]["message"] for name in "bc")


def test_a_run_whose_numbers_are_none(tmp_path: Path) -> None:
    run = GrowingRun(tmp_path / "a", 10)
    for name in ("train_loss", "test_loss"):
        run.arrays[name][3:] = np.nan
    run.grow(6)
    one = told(Watch(tmp_path))["a"]
    assert one["last"]["test_loss"] is None
    assert one["best"]["step"] < 3


def test_a_sweep(tmp_path: Path) -> None:
    swept = make_store(
        tmp_path / "sweep",
        [{"lr": 1.0}],
        seeds=6,
        fate=lambda number: {0: "failed", 1: "missing", 2: "missing"}.get(number, "finished"),
    )
    missing = [trial.key for trial in swept.trials if trial.state == "missing"]
    watch = Watch(tmp_path)
    claims = Claims(tmp_path / "sweep")
    assert claims.take(missing[1])
    (sweep,) = watch.overview()["sweeps"]
    assert (sweep["total"], sweep["counts"]) == (6, {"finished": 3, "missing": 2, "failed": 1})
    assert (sweep["running"], sweep["resume"]) == (1, None)
    claims.close()
    watch._sweeps["sweep"]._due = 0.0
    (sweep,) = watch.overview()["sweeps"]
    assert (sweep["running"], sweep["resume"]) == (0, f"everybatch sweeps {tmp_path}/sweep --resume")
    best = [one["accuracy"] for one in sweep["best"]]
    assert best == sorted((run.validation_accuracy[-1] for run in swept.runs), reverse=True)


def test_a_name_that_would_be_another_file_system_is_not_opened(tmp_path: Path) -> None:
    make_store(tmp_path / "plain", [{"lr": 1.0}])
    (tmp_path / "plain").rename(tmp_path / "simplecache::http:")
    (sweep,) = Watch(tmp_path).overview()["sweeps"]
    assert "another file system" in sweep["message"]


# ---- in a terminal


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_lines_where_there_is_no_terminal(tmp_path: Path) -> None:
    run = GrowingRun(tmp_path / "a", 20)
    run.grow(5)
    out = io.StringIO()
    slept = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 2:
            run.end()

    assert show(Watch(tmp_path / "a"), out, sleep) == ["finished"]
    lines = out.getvalue().splitlines()
    assert len(lines) == 2
    accuracy = f"accuracy {run.arrays['test_accuracy'][5]:.2%}"
    assert lines[0].startswith(f"{tmp_path / 'a'}: running, step 5 of 20, train loss ")
    assert accuracy in lines[0]
    assert lines[1].startswith(f"{tmp_path / 'a'}: finished, step 5 of 20")
    assert set(slept) == {1.0}
    assert "\x1b" not in out.getvalue()


def test_lines_wait_for_a_run_that_is_about_to_begin(tmp_path: Path) -> None:
    """Between the folder and what is known before the first step, or after its process died there."""
    journal = eb.folder.Journal(tmp_path / "a")
    out = io.StringIO()

    def begins(_: float) -> None:
        journal.close()
        shutil.rmtree(tmp_path / "a")
        run = GrowingRun(tmp_path / "a", 20)
        run.grow(20)
        run.end()

    watch = Watch(tmp_path / "a")
    assert watch.overview()["runs"][0]["message"] == "it is about to begin"
    assert show(watch, out, begins) == ["finished"]
    shutil.rmtree(tmp_path / "a")
    eb.folder.Journal(tmp_path / "a").close()
    assert show(Watch(tmp_path / "a"), out) == ["unreadable"]


def test_lines_say_that_there_is_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    for name in "ab":
        saved(tmp_path / name)
    monkeypatch.setattr("everybatch.watch._find._MOST_RUNS", 1)
    for out in (io.StringIO(), Terminal()):
        show(Watch(tmp_path), out)
        assert out.getvalue().count("more below this folder than can be listed") == 1


def test_a_terminal_is_written_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    run = GrowingRun(tmp_path / "a", 400)
    run.grow(100)
    out = Terminal()
    pictures = []

    def sleep(_: float) -> None:
        pictures.append(out.getvalue())
        if len(pictures) == 1:
            run.grow(300)
        else:
            run.lose()

    assert show(Watch(tmp_path), out, sleep) == ["lost"]
    screens = re.split(r"\x1b\[\dF", out.getvalue())
    assert len(screens) >= 2
    text = [re.sub(r"\x1b\[\??[0-9]*[A-Za-z]", "", screen) for screen in screens]
    assert "25%  step 100 of 400" in text[0]
    assert "████░" in text[0]
    assert re.search(r"accuracy +[▁▂▃▄▅▆▇█]{20,} ", text[0])
    assert f"{run.arrays['test_accuracy'][100]:.2%}" in text[0]
    assert "step 400 of 400" in text[-1]
    assert "Go on with: everybatch resume" in text[-1]
    assert all(len(line) < 80 for one in text for line in one.splitlines())
    assert out.getvalue().endswith("\x1b[?25h")  # the cursor is back


def test_several_runs_are_a_line_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    for number, name in enumerate("ab"):
        run = GrowingRun(tmp_path / name, 10, seed=number)
        run.grow(10)
        run.end()
    make_store(tmp_path / "sweep", [{"lr": 1.0}], seeds=2)
    out = Terminal()
    assert show(Watch(tmp_path), out) == ["finished"] * 3
    assert len(re.findall("finished", out.getvalue())) == 3
    assert "2 of 2 trials done" in out.getvalue()


def test_names_do_nothing_to_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    run = GrowingRun(tmp_path / "a\x1b]0;title\x07\nb", 10, name="net\x1b[2Jwork")
    run.grow(10)
    run.end("stopped", "a\x1b[31mred\r")
    for out in (Terminal(), io.StringIO()):
        show(Watch(tmp_path), out)
        ours = re.sub(r"\x1b\[(\?25[lh]|K|J|\d+F)", "", out.getvalue())
        assert not re.search(r"[\x00-\x09\x0b-\x1f]", ours)


def test_a_terminal_of_ascii(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    run = GrowingRun(tmp_path / "a", 40)
    run.grow(20)
    run.end()

    class Plain(Terminal):
        encoding = "ascii"

    out = Plain()
    show(Watch(tmp_path), out)
    assert out.getvalue().isascii()
    assert "########........" in out.getvalue()


@pytest.mark.parametrize(("state", "code"), [("finished", 0), ("stopped", 0), ("diverged", 1), ("failed", 1)])
def test_the_command_ends_as_the_run_did(tmp_path: Path, call: Call, state: str, code: int) -> None:
    run = GrowingRun(tmp_path / "a", 10)
    run.grow(10)
    run.end(state)
    result = call("watch", "--text", tmp_path / "a")
    assert (result[0], result[2]) == (code, "")
    assert state in result[1]


def test_the_command_refuses_what_does_not_go_together(tmp_path: Path, call: Call) -> None:
    saved(tmp_path / "a")
    (tmp_path / "empty").mkdir()
    assert call("watch", "--text", tmp_path / "empty")[0] == 2
    assert "no run in" in call("watch", "--text", tmp_path / "empty")[2]
    code, _, error = call("watch", "--text", "--port", 80, tmp_path)
    assert code == 2
    assert "are for the page" in error
    assert call("watch", "--port", 65536, tmp_path)[0] == 2
    assert call("watch", "--host", "no such host.", tmp_path)[0] == 2


@pytest.mark.parametrize("text", [False, True])
def test_ctrl_c_ends_it(tmp_path: Path, text: bool) -> None:
    GrowingRun(tmp_path / "a", 10).grow(3)
    command = [sys.executable, "-m", "everybatch", "watch", str(tmp_path), *(["--text"] if text else ["--port", "0"])]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    first = process.stdout.readline()
    assert ("step 3 of 10" if text else "http://127.0.0.1:") in first
    if not text:
        assert "Ctrl-C" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=60)
    assert (process.returncode, out, error) == (0, "", "")
