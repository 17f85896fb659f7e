"""`_core.Data`: the arrays of a data set, not copies of them, and the same runs on them."""

from __future__ import annotations

import gc
import mmap
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import everybatch as eb
from everybatch import _core
from everybatch._hooks import HOOKS, Hooks
from everybatch.errors import DeviceError
from test_train import assert_identical

Pixels = npt.NDArray[np.uint8]
COLOUR = eb.Network(
    [
        eb.Conv2d(3, 8, 5, stride=2),
        eb.BatchNorm2d(8),
        eb.Activation("relu"),
        eb.MaxPool2d(2),
        eb.Flatten(),
        eb.Linear(8 * 6 * 6, 10),
    ],
    (3, 28, 28),
)


def mapped(pixels: Pixels, path: Path) -> Pixels:
    """The pixels in a file, of which the array is a view that cannot be written to."""
    path.write_bytes(b"head" + pixels.tobytes())
    with path.open("rb") as file:
        memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return np.frombuffer(memory, np.uint8, offset=4).reshape(pixels.shape)


def read_only(pixels: Pixels, _: Path) -> Pixels:
    pixels = pixels.copy()
    pixels.setflags(write=False)
    return pixels


def channels_first(pixels: Pixels, _: Path) -> Pixels:
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)) if pixels.ndim == 4 else pixels[:, None]


@pytest.mark.parametrize("stored", [mapped, read_only, channels_first])
@pytest.mark.parametrize("kind", ["grey", "colour"])
@pytest.mark.parametrize("kernels", ["exact", "fused"])
def test_runs_do_not_depend_on_how_the_images_are_stored(
    stored: Callable[[Pixels, Path], Pixels],
    kind: str,
    kernels: str,
    glyphs: eb.Dataset,
    colour: eb.Dataset,
    tiny: eb.Network,
    tmp_path: Path,
) -> None:
    data, network = (glyphs, tiny) if kind == "grey" else (colour, COLOUR)
    own = eb.Dataset(data.train_images.copy(), data.train_labels, data.test_images.copy(), data.test_labels)
    before = own.fingerprint
    train, test = stored(data.train_images, tmp_path / "train"), stored(data.test_images, tmp_path / "test")
    other = eb.Dataset(train, data.train_labels, test, data.test_labels)
    runs = [
        eb.train(
            network,
            dataset,
            epochs=2,
            batch_size=20,
            validation=10,
            augment=eb.Augment(shift=1),
            record="predictions",
            kernels=kernels,
            progress=False,
            device="cpu",
        )
        for dataset in (own, other)
    ]
    assert_identical(runs[0], runs[1])
    assert runs[0].validation_loss.tobytes() == runs[1].validation_loss.tobytes()  # type: ignore[union-attr]
    del own.__dict__["fingerprint"]  # to have it computed anew
    assert own.fingerprint == other.fingerprint == before


def resident() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="this system does not tell")
def test_images_are_not_copied() -> None:
    count = 60 * 2**20 // 784
    for shape in [(count, 28, 28), (count // 3, 28, 28, 3)]:
        pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        labels = np.arange(shape[0]) % 10
        dataset = eb.Dataset(pixels, labels, pixels[:100], labels[:100])
        _core.Data(eb.Dataset(pixels[:100], labels[:100], pixels[:100], labels[:100]), "cpu")
        before = resident()
        data = _core.Data(dataset, "cpu")
        assert resident() - before < 4 * 2**20  # its labels are copied, 8 bytes each
        del data


def test_data_live_on_without_their_data_set(quick: Callable[..., eb.Run], glyphs: eb.Dataset) -> None:
    expected = quick(record="predictions")

    def copied() -> dict[str, Any]:
        arrays = ("train_images", "train_labels", "test_images", "test_labels")
        return {name: getattr(glyphs, name).copy() for name in arrays}

    data = _core.Data(eb.Dataset(**copied()), "cpu")
    gc.collect()
    others = [np.full_like(glyphs.train_images, 7) for _ in range(20)]  # would take memory that is free
    token = HOOKS.set(Hooks(data=lambda *_: data))
    try:
        assert_identical(quick(record="predictions"), expected)
    finally:
        HOOKS.reset(token)
    assert len(others) == 20


def test_the_device_is_told_or_refused(glyphs: eb.Dataset) -> None:
    assert _core.Data(glyphs, "cpu").device == "cpu"
    with pytest.raises(DeviceError):
        _core.Data(glyphs, "cuda:99")
