"""The examples of the pages in docs/, run as they stand, one after the other, on small data."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

import everybatch as eb

DOCS = Path(__file__).resolve().parent.parent / "docs"
SMALL = eb.datasets.glyphs(train=64 * 12, test=100)

# By page, what is shorter here than there.
SHORTER: dict[str, dict[str, str]] = {
    "index.md": {},
    "tutorial.md": {
        ".subset(train=12_000)": "",
        "[0, 50, 100, 200]": "[0, 3, 6, 12]",
        "20 + int": "2 + int",
        "jumps[20:]": "jumps[2:]",
    },
    "own_images.md": {},
    "sweeps.md": {
        'store="sweeps/lenet",': 'store="sweeps/lenet", backend="serial",',
        '/listed")': '/listed", backend="serial")',
        '/drawn")': '/drawn", backend="serial")',
    },
    "going_on.md": {'folder="runs/a")': 'folder="runs/a", callbacks=[stop])'},
    "wrong_labels.md": {},
    "exporting.md": {},
    "networks.md": {},
    "training.md": {"steps=300": "steps=40"},
    "labels.md": {"(data, 300,": "(data, 30,"},
    "replay.md": {"512": "5", "4711": "int(run.batch_indices(5)[0])", "later=20": "later=3"},
    "recording.md": {},
    "reliability.md": {'epochs=10, folder="runs/a")': 'epochs=2, folder="runs/a", callbacks=[stop])'},
}


def stop(step: eb.Step) -> None:
    if step.step == 5:
        raise eb.StopTraining("as if it were killed")


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """Return what a page takes for granted; MNIST is small, and pictures are at hand."""
    monkeypatch.setattr(eb.datasets, "mnist", lambda: SMALL)
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for kind in ("cat", "dog"):
        (tmp_path / "pictures" / kind).mkdir(parents=True)
        for number in range(20):
            pixels = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / kind / f"{number}.png")
    return {"eb": eb, "data": SMALL, "network": eb.networks.lenet5(), "stop": stop}


def blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("page", SHORTER)
def test_the_examples_run(page: str, names: dict[str, Any]) -> None:
    found = blocks(page)
    assert found
    for there, here in SHORTER[page].items():
        assert any(there in block for block in found), there
        found = [block.replace(there, here) for block in found]
    if page == "labels.md":  # two more runs, and which
        settings = {"record": ("losses", "predictions"), "progress": False}
        names |= {
            name: eb.train(eb.networks.lenet5(), SMALL, seed=seed, **settings)
            for seed, name in enumerate(("another", "third"), 1)
        }
    for block in found:
        exec(compile(block, page, "exec"), names)
        plt.close("all")


def test_every_page_with_examples_is_tried_here_or_elsewhere() -> None:
    elsewhere = {"insight.md", "models.md"}  # test_insight_docs.py, test_readme.py
    elsewhere |= {"from_torch.md", "meter.md"}  # test_from_torch_docs.py; test_meter_examples.py runs the whole loop
    elsewhere |= {"datasets.md", "notebooks.md"}  # need data sets of others, or a notebook
    elsewhere |= {"training_options.md"}  # names classes of such a one; test_class_weight.py and test_callbacks.py
    pages = {path.name for path in DOCS.glob("*.md") if blocks(path.name)}
    assert pages <= elsewhere | set(SHORTER)
