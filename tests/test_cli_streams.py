"""The command line on terminals of ASCII alone, on closed pipes and full disks: it never fails for what it prints."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import everybatch as eb
from everybatch.cli import main

CLASSES = ["naïve", "Größe"]
ASCII = {
    "LC_ALL": "C",
    "PYTHONIOENCODING": "ascii:strict",
    "PYTHONUTF8": "0",
    "PYTHONCOERCECLOCALE": "0",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures in folders with such names, and a run on them."""
    folder = tmp_path_factory.mktemp("ä")
    rng = np.random.default_rng(0)
    for part, name in ((part, name) for part in ("train", "test") for name in CLASSES):
        (folder / "bücher" / part / name).mkdir(parents=True)
        for number in range(6):
            picture = Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8))
            picture.save(folder / "bücher" / part / name / f"ü{number}.png")
    data = eb.datasets.from_folder(folder / "bücher")
    network = eb.Network([eb.Flatten(), eb.Linear(64, 2)], input_shape=(1, 8, 8), name="netz→ß")
    eb.train(network, data, steps=2, batch_size=4, progress=False).save(folder / "lauf_é")
    (folder / "netz→ß.json").write_text(network.to_json(), encoding="utf-8")
    return folder


class AsciiOnly(io.TextIOWrapper):
    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="ascii", errors="strict", write_through=True)

    def text(self) -> str:
        return self.buffer.getvalue().decode("ascii")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (["evaluate", "lauf_é", "--data", "bücher"], 0, "na\\xefve"),
        (["predict", "lauf_é", "bücher/test/naïve/ü0.png"], 0, "Gr\\xf6\\xdfe"),
        (["plot", "lauf_é", "--out", "bilder_ü", "--kind", "confusion"], 0, "bilder_\\xfc"),
        (["export", "lauf_é", "--to", "lauf_ü.csv"], 0, "lauf_\\xfc.csv"),
        (
            ["train", "--network", "netz→ß.json", "--data", "bücher", "--steps", "1", "--batch-size", "4"],
            0,
            "netz\\u2192",
        ),
        (["evaluate", "nirgendwö", "--data", "bücher"], 2, "nirgendw\\xf6 does not exist"),
        (["train", "--data", "nirgendwö"], 2, "nirgendw\\xf6"),
        (["train", "--optimizer", "ädam"], 2, "\\xe4dam"),
    ],
)
def test_what_ascii_lacks_is_escaped(
    monkeypatch: pytest.MonkeyPatch, place: Path, argv: list[str], code: int, words: str
) -> None:
    out, err = AsciiOnly(), AsciiOnly()
    monkeypatch.chdir(place)
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", out)
        patched.setattr(sys, "stderr", err)
        given = main(argv)
    said = out.text() + err.text()
    assert (given, "codec" in said) == (code, False), said
    assert words in said
    assert out.errors == "strict"  # as it was given


def test_python_itself_in_ascii(place: Path) -> None:
    """Where the system's text is ASCII, names of files come as bytes without meaning, which are UTF-8 all the same."""
    done = subprocess.run(
        [sys.executable, "-m", "everybatch", "evaluate", "lauf_é", "--data", "bücher"],
        cwd=place,
        env=os.environ | ASCII,
        capture_output=True,
        timeout=600,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"na\\xefve" in done.stdout


def test_what_the_package_shows_of_itself_is_ascii() -> None:
    network = eb.networks.resnet()
    for text in (network.summary(), repr(network), repr(network.initialize()), repr(eb.datasets.glyphs(10, 10))):
        assert text.isascii()


@pytest.mark.parametrize("closed", [("stdout",), ("stderr",), ("stdout", "stderr")])
def test_streams_that_were_closed_before(monkeypatch: pytest.MonkeyPatch, place: Path, closed: tuple[str, ...]) -> None:
    for name in closed:  # as Python has it after >&- and 2>&-
        monkeypatch.setattr(sys, name, None)
    assert main(["evaluate", str(place / "lauf_é"), "--data", str(place / "bücher")]) == 0
    assert main(["evaluate", "nowhere", "--data", "glyphs"]) == 2
    assert [name for name in ("stdout", "stderr") if getattr(sys, name) is None] == list(closed)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_named(monkeypatch: pytest.MonkeyPatch, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(["evaluate", str(place / "lauf_é"), "--data", str(place / "bücher")]) == 2
        full.flush()  # as Python does when it ends: there is nothing left to complain about
    assert capsys.readouterr().err == "everybatch: error: No space left on device\n"


def test_a_pipe_that_nobody_reads(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w", buffering=1) as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        monkeypatch.setattr(sys, "stderr", closed)
        assert main(["evaluate", str(place / "lauf_é"), "--data", "nowhere"]) == 141


class Closing(io.StringIO):
    """A stream that nobody reads any more after what is told before the training."""

    def write(self, text: str) -> int:
        if "parameters\n" in self.getvalue():
            raise BrokenPipeError
        return super().write(text)


def test_a_run_is_saved_before_anything_of_it_is_printed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    argv = ["train", "--network", "lenet5", "--data", "glyphs", "--steps", "2", "--evaluate-every", "2"]
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", Closing())
        assert main([*argv, "--out", str(tmp_path / "run")]) == 141
    assert eb.load_run(tmp_path / "run").steps == 2


def test_how_often_the_state_is_kept_needs_a_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--data", "glyphs", "--keep-state-every", "5"]) == 2
    assert "--keep-state-every needs --folder FOLDER" in capsys.readouterr().err
