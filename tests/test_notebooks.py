"""The notebooks run from top to bottom, in a fresh kernel; the studies at their smallest size."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

import everybatch as eb
from notebook_outputs import FOLDER, execute, has_outputs, is_of_its_code, kept, structure

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))

SWEEPS = {  # trials of each notebook with a store
    "best_accuracy": 1,
    "study_a_depth_rate_activation": 6,
    "study_b_deep_resnet": 4,
    "study_c_kernel_size": 2,
    "study_d_architectures": 12 + 4 + 1,
    "study_e_checkpoints": 3,
}


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mnist = ROOT.parent / "shared" / "mnist"
    if mnist.is_dir():
        monkeypatch.setenv("EVERYBATCH_DATA", str(mnist))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    monkeypatch.setenv("EVERYBATCH_SIZE", "smoke")
    monkeypatch.setenv("EVERYBATCH_RUNS", str(tmp_path / "runs"))
    notebook = execute(path, tmp_path)
    pictures = [
        output for cell in notebook.cells for output in cell.get("outputs", []) if "image/png" in output.get("data", {})
    ]
    assert len(pictures) >= 4
    if path.stem in SWEEPS:  # one that is interrupted goes on from the trials that its store holds
        stores = [found.parent for found in (tmp_path / "runs").rglob("sweep.json")]
        assert [store.name for store in stores] == ["smoke"]
        trials = eb.load_sweep(stores[0], everything=True).trials
        assert len(trials) == SWEEPS[path.stem]
        assert {trial.state for trial in trials} == {"finished"}
    committed = nbformat.read(path, as_version=4)
    assert structure(committed) == structure(kept(notebook, tmp_path))  # what was committed is what the code gives


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_has_the_outputs_of_its_code_and_they_are_small(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    assert has_outputs(notebook)
    assert is_of_its_code(notebook), f"the code has changed: make notebooks NOTEBOOKS=notebooks/{path.name}"
    assert path.stat().st_size < 1_000_000
    assert structure(kept(notebook, Path("/nowhere"))) == structure(notebook)


def test_what_is_kept_of_outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERYBATCH_DATA", "/where/mnist/lies")
    output, stream = nbformat.v4.new_output, nbformat.v4.new_output("stream", name="stdout", text="a")
    said = {"text/plain": f"{tmp_path}/page.html of /where/mnist/lies <X at 0x7f00>", "application/x": "?"}
    bar = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}, "text/plain": "0%"}
    cell = nbformat.v4.new_code_cell(
        "x",
        outputs=[
            stream,
            output("stream", name="stderr", text="50%"),
            output("stream", name="stdout", text="b"),
            output("execute_result", said, execution_count=7),
            output("display_data", bar),
            output("stream", name="stdout", text="MNIST cannot be had here (URLError), so"),
        ],
        metadata={"execution": {"started": "now"}},
    )
    kernel = {"name": "python3", "display_name": "Python 3"}
    notebook = nbformat.v4.new_notebook(cells=[cell], metadata={"kernelspec": kernel, "widgets": {}})
    small = kept(notebook, tmp_path)
    assert small.cells[0].metadata == {}
    assert [each.get("text") or each.data for each in small.cells[0].outputs] == [
        "ab",
        {"text/plain": "page.html of $EVERYBATCH_DATA <X>"},
        "MNIST cannot be had here (URLError), so",
    ]
    assert small.cells[0].execution_count == small.cells[0].outputs[1].execution_count == 1
    assert structure(small) == [[("stream",), ("execute_result", "text/plain")]]
    assert is_of_its_code(small)
    small.cells[0].source = "y"
    assert not is_of_its_code(small)
