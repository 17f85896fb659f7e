"""The README's Python examples, run as they stand, one after the other, on small data."""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

import everybatch as eb

README = Path(__file__).resolve().parent.parent / "README.md"


def test_the_examples_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 4
    small = eb.datasets.glyphs(train=640 * 2, test=100)
    monkeypatch.setattr(eb.datasets, "mnist", lambda: small)
    monkeypatch.chdir(tmp_path)
    plt.switch_backend("Agg")
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(README), "exec"), names)
    plt.close("all")
    assert (tmp_path / "class_accuracy.png").stat().st_size > 10_000
    assert eb.Model.load(tmp_path / "lenet5.safetensors").network == eb.networks.lenet5()
    assert "points of accuracy" in capsys.readouterr().out


def test_the_examples_of_the_page_about_models_run(capsys: pytest.CaptureFixture[str]) -> None:
    page = README.parent / "docs" / "models.md"
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        exec(compile(block, str(page), "exec"), names)
    assert "(1, 28, 28)" in capsys.readouterr().out


def test_the_files_that_it_names_exist() -> None:
    text = README.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert (README.parent / target).exists(), target
