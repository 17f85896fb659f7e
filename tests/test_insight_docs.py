"""The examples of docs/insight.md, run as they stand, one after the other, on small data."""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

import everybatch as eb

PAGE = Path(__file__).resolve().parent.parent / "docs" / "insight.md"


def test_the_examples_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 4
    small = eb.datasets.glyphs(train=64 * 12, test=100)
    text = "".join(blocks)
    assert "900" in text
    assert "938" in text
    monkeypatch.setattr(eb.datasets, "mnist", lambda: small)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in blocks:
        shorter = block.replace("900", "10").replace("938", "12")  # of 12 steps, not of 938
        exec(compile(shorter, str(PAGE), "exec"), names)
    plt.close("all")
    assert (tmp_path / "film.html").stat().st_size > 10_000
    said = capsys.readouterr().out
    assert "<Bands: 13 measurements of 100 images, every step" in said
    assert "events_per_1000" in said


def test_the_pictures_that_it_names_exist() -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", PAGE.read_text(encoding="utf-8"))
    assert targets
    for target in targets:
        assert (PAGE.parent / target).exists(), target
