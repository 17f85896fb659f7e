"""The notebooks run from top to bottom, in a fresh kernel; the studies at their smallest size."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mnist = ROOT.parent / "shared" / "mnist"
    if mnist.is_dir():
        monkeypatch.setenv("EVERYBATCH_DATA", str(mnist))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    monkeypatch.setenv("EVERYBATCH_SIZE", "smoke")
    monkeypatch.setenv("EVERYBATCH_RUNS", str(tmp_path / "runs"))
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    pictures = [
        output for cell in notebook.cells for output in cell.get("outputs", []) if "image/png" in output.get("data", {})
    ]
    assert len(pictures) >= 4
    if path.stem.startswith("study"):  # an interrupted study goes on from the runs that it kept
        assert list((tmp_path / "runs").rglob("history.npz"))
