"""What a run was made of and on: kept in its config, so that it can be repeated."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import numpy as np
import torch

from everybatch._core import __version__
from everybatch.dataset import Dataset

__all__ = ["describe_dataset", "hardware", "versions"]


def describe_dataset(dataset: Dataset) -> dict[str, Any]:
    """Name, origin and contents of a data set; the fingerprint tells whether another one is the same."""
    return {
        "name": dataset.name,
        "source": dataset.source,
        "fingerprint": dataset.fingerprint,
        "train": len(dataset.train_labels),
        "test": len(dataset.test_labels),
        "classes": list(dataset.classes),
        "mean": list(dataset.mean),
        "std": list(dataset.std),
        "image_shape": list(dataset.image_shape),
    }


def versions() -> dict[str, str]:
    return {
        "everybatch": __version__,
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def hardware(device: str) -> dict[str, Any]:
    """The device that computed, and the threads that the CPU part used."""
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else _cpu()
    return {
        "device": device,
        "name": name,
        "threads": torch.get_num_threads(),
        "platform": platform.platform(),
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()
