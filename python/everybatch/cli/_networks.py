"""`--network` and `--option`: a builder by name with its options, or a network described in JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from everybatch import networks
from everybatch._core import Network
from everybatch._disk import at_home
from everybatch.dataset import Dataset
from everybatch.errors import ArgumentError, EverybatchError, FileFormatError, suggest
from everybatch.networks._build import build as build_network

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
    settings = {}
    for option in options:
        key, equals, value = option.partition("=")
        if not equals:
            raise ArgumentError(f"--option {option!r} has no value: write KEY=VALUE")
        settings[key.strip().replace("-", "_")] = _value(value)
    return build_network(name, settings, data)


def read_network(given: str) -> Network:
    """Read a network from a file of `Network.to_json`.

    Raises
    ------
    FileNotFoundError
        `given` is no file and no builder.
    FileFormatError
        The file does not describe a network.
    """
    path = at_home(given)
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
