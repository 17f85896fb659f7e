"""What ``import everybatch`` says when torch is not the one that it was compiled against."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

from everybatch._torch_check import TORCH_VERSION, require_torch

FIX = f'-m pip install "torch=={TORCH_VERSION}"'


def last_line_of_import(folder: Path, torch_source: str) -> str:
    """Import everybatch next to a made-up torch; return the last line of what Python then prints."""
    (folder / "torch").mkdir()
    (folder / "torch" / "__init__.py").write_text(torch_source, encoding="utf-8")
    code = f"import sys; sys.path.insert(0, {str(folder)!r}); import everybatch"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    return done.stderr.strip().splitlines()[-1]


def test_the_installed_torch_passes() -> None:
    require_torch()


def test_the_version_is_the_one_in_pyproject() -> None:
    wanted = importlib.metadata.requires("everybatch") or []
    assert f"torch=={TORCH_VERSION}" in wanted


@pytest.mark.parametrize("version", ["2.10.0", "2.11.1+cu130", "2.11.0a0"])
def test_another_version_is_named(tmp_path: Path, version: str) -> None:
    line = last_line_of_import(tmp_path, f"__version__ = {version!r}")
    assert line.startswith(f"ImportError: everybatch needs torch {TORCH_VERSION}")
    assert f"found torch {version}" in line
    assert line.endswith(FIX)


@pytest.mark.parametrize("flavour", ["", "+cpu", "+cu130"])
def test_the_flavour_does_not_matter(monkeypatch: pytest.MonkeyPatch, flavour: str) -> None:
    monkeypatch.setattr("torch.__version__", TORCH_VERSION + flavour)
    require_torch()


@pytest.mark.parametrize(
    ("torch_source", "told"),
    [
        ("raise ModuleNotFoundError('No module named torch', name='torch')", "torch is not installed"),
        ("import sympy_that_is_gone", "torch lacks its module 'sympy_that_is_gone'"),
        ("raise ImportError('libtorch.so: no such file')", "cannot be loaded (libtorch.so: no such file)"),
        ("raise OSError('libcudart.so: no such file')", "cannot be loaded (libcudart.so: no such file)"),
        ("", "is not PyTorch"),
    ],
    ids=["missing", "incomplete", "broken", "broken-cuda", "another-package"],
)
def test_what_is_wrong_with_torch_is_told(tmp_path: Path, torch_source: str, told: str) -> None:
    line = last_line_of_import(tmp_path, torch_source)
    assert line.startswith(f"ImportError: everybatch needs torch {TORCH_VERSION}")
    assert told in line
    assert line.endswith(FIX)
