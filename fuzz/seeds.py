"""Write sound files for the targets of libFuzzer: `python fuzz/seeds.py FOLDER`, a folder for each target."""

from __future__ import annotations

import gzip
import json
import struct
import sys
from pathlib import Path

import numpy as np

import everybatch as eb


def network() -> eb.Network:
    """A small one that has most kinds of layers."""
    shortcut = [eb.Conv2d(2, 4, 1, bias=False), eb.BatchNorm2d(4)]
    body = [eb.Conv2d(2, 4, 3, padding=1), eb.BatchNorm2d(4), eb.Activation("gelu"), eb.StochasticDepth(0.2)]
    layers = [
        eb.Conv2d(1, 2, 3),
        eb.BatchNorm2d(2),
        eb.Activation("leaky_relu"),
        eb.Residual(body, shortcut),
        eb.SqueezeExcitation(4, 2),
        eb.MaxPool2d(2),
        eb.Dropout(0.1),
        eb.Flatten(),
        eb.Linear(16, 2),
    ]
    return eb.Network(layers, (1, 6, 6))


def idx(array: np.ndarray) -> bytes:
    """As in MNIST's files."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def without_checksum(file: bytes) -> bytes:
    """Leave the checksum out of a safetensors file, so that a change gets past it."""
    length = int.from_bytes(file[:8], "little")
    header = json.loads(file[8 : 8 + length])
    header["__metadata__"] = {name: text for name, text in header["__metadata__"].items() if "checksum" not in name}
    packed = json.dumps(header, separators=(",", ":")).encode()
    packed += b" " * (-len(packed) % 8)
    return len(packed).to_bytes(8, "little") + packed + file[8 + length :]


def main() -> None:
    """Write them."""
    place = Path(sys.argv[1])
    pixels = np.random.default_rng(7).integers(0, 256, (8, 6, 6), dtype=np.uint8)
    labels = (np.arange(8) % 2).astype(np.uint8)
    data = eb.Dataset(pixels, labels, pixels, labels)
    place.mkdir(parents=True, exist_ok=True)
    network().initialize(seed=0).save(place / "model.safetensors")
    model = (place / "model.safetensors").read_bytes()
    (place / "model.safetensors").unlink()
    record = ("weights", "examples", "predictions")
    run = eb.train(network(), data, steps=4, batch_size=4, progress=False, record=record, weights_every=2, ema=0.9)
    networks = [network(), eb.networks.lenet5(), eb.networks.resnet(), eb.networks.vgg11()]
    seeds = {
        "idx": [idx(pixels), idx(labels), gzip.compress(idx(pixels)), gzip.compress(idx(labels))],
        "model_file": [without_checksum(model), model],
        "network_json": [one.to_json().encode() for one in networks],
        "run_state": [run.states[place].tobytes().rstrip(b"\0") for place in range(len(run.states))],
    }
    for target, files in seeds.items():
        folder = place / target
        folder.mkdir(exist_ok=True)
        for number, content in enumerate(files):
            (folder / f"sound-{number}").write_bytes(content)


if __name__ == "__main__":
    main()
