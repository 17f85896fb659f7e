"""Arrays of a run as a whole in one record of its folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from everybatch.errors import FileFormatError
from everybatch.folder import Follower
from everybatch.folder._files import HISTORY
from everybatch.folder._records import Appender
from everybatch.folder._whole import packed, unpacked

ARRAYS = {
    "step_sums": np.random.default_rng(0).normal(size=(7, 5)),
    "step_votes": np.arange(21, dtype=np.int32).reshape(7, 3),
    "trained_indices": np.arange(7),
    "test_events": np.empty((0, 5), np.int32),
}


def told(**fields: object) -> bytes:
    text = json.dumps(fields).encode()
    return len(text).to_bytes(8, "little") + text


def test_they_come_back() -> None:
    found = unpacked(packed(ARRAYS))
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(found[name], array)
        assert found[name].flags.writeable  # of its own, and no view into what was read


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\0" * 8,
        (1 << 63).to_bytes(8, "little"),
        packed(ARRAYS)[:-1],
        packed(ARRAYS) + b"\0",
        told(unknown=["<f8", [1]]) + bytes(8),
        told(losses=["<f2", [1, 1]]) + bytes(2),  # rows
        told(step_sums=["O", [1]]) + bytes(8),
        told(step_sums=["S8", [1]]) + bytes(8),
        told(step_sums=["<f8", [-1, -1]]) + bytes(8),
        told(step_sums=["<f8", [1 << 62]]),
        told(step_sums=["<f8", [1.5]]) + bytes(8),
        told(step_sums=["<f8", "ab"]),
        told(step_sums="<f8"),
        told(step_sums=["(,)f8", [1]]) + bytes(8),
        b"\x02" + b"\0" * 7 + b"[]",
        (200_000).to_bytes(8, "little") + b"[" * 200_000,
    ],
)
def test_what_are_none_are_refused(payload: bytes, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"it holds no arrays|its arrays take"):
        unpacked(payload)
    appender = Appender(tmp_path / HISTORY)
    appender.append(b"whol", payload)
    appender.close()
    with pytest.raises(FileFormatError, match=r"it holds no arrays|its arrays take"):
        Follower(tmp_path).look()
