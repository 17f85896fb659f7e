"""`--network` and `--option`: a builder by name with its options, or a network described in JSON."""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from everybatch import networks
from everybatch._core import Network
from everybatch.dataset import Dataset
from everybatch.errors import ArgumentError, EverybatchError, FileFormatError, suggest

__all__ = ["build", "is_builder", "read_network"]


def is_builder(name: str) -> bool:
    return name in networks.__all__


def build(name: str, options: Sequence[str], data: Dataset) -> Network:
    """Call a builder; channels, classes and size are those of `data` unless the options say otherwise.

    Raises
    ------
    ArgumentError
        An option is unknown or has a value that cannot work.
    """
    builder = getattr(networks, name)
    channels, height, width = data.image_shape
    size = height if height == width else [height, width]
    settings = {"in_channels": channels, "num_classes": data.num_classes, "input_size": size}
    known = tuple(inspect.signature(builder).parameters)
    for option in options:
        key, equals, value = option.partition("=")
        key = key.strip().replace("-", "_")
        if not equals:
            raise ArgumentError(f"--option {option!r} has no value: write KEY=VALUE, such as {known[0]}=...")
        if key not in known:
            raise ArgumentError(
                f"--option {key!r} is unknown to {name}, which has {', '.join(known)}.{suggest(key, known)}"
            )
        settings[key] = _value(value)
    try:
        network: Network = builder(**settings)
    except TypeError as error:
        given = ", ".join(options)
        raise ArgumentError(f"{name} cannot take the options {given}: one is of the wrong type ({error})") from error
    return network


def read_network(given: str) -> Network:
    """Read a network from a file of `Network.to_json`.

    Raises
    ------
    FileNotFoundError
        `given` is no file and no builder.
    FileFormatError
        The file does not describe a network.
    """
    path = Path(given).expanduser()
    if not path.is_file():
        names = tuple(networks.__all__)
        raise FileNotFoundError(
            f"--network {given!r} is neither a builder ({', '.join(names)}) nor a JSON file that exists."
            f"{suggest(given, names)}"
        )
    try:
        return Network.from_json(path.read_text(encoding="utf-8"))
    except (EverybatchError, UnicodeDecodeError) as error:
        raise FileFormatError(f"{path} does not describe a network: {error}") from error


def _value(text: str) -> Any:
    """Parse JSON; what is none is a string, or with commas a list: 16,32,64 and relu,silu need no quotes."""
    try:
        return json.loads(text)
    except ValueError:
        return [_value(part) for part in text.split(",")] if "," in text else text
