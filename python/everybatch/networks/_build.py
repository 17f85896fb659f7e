"""Builders by name, fitted to a data set."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from everybatch._core import Network
from everybatch.dataset import Dataset
from everybatch.errors import ArgumentError, suggest

__all__ = ["build"]


def build(name: str, options: Mapping[str, Any], data: Dataset) -> Network:
    """Call the builder `name`; channels, classes and size are those of `data` unless the options say otherwise.

    Raises
    ------
    ArgumentError
        An option is unknown or has a value that cannot work.
    """
    from everybatch import networks

    builder = getattr(networks, name)
    channels, height, width = data.image_shape
    size = height if height == width else [height, width]
    known = tuple(inspect.signature(builder).parameters)
    for option in options:
        if option not in known:
            raise ArgumentError(
                f"the option {option!r} is unknown to {name}, which has {', '.join(known)}.{suggest(option, known)}"
            )
    settings = {"in_channels": channels, "num_classes": data.num_classes, "input_size": size, **options}
    try:
        network: Network = builder(**settings)
    except TypeError as error:
        given = ", ".join(f"{option}={value}" for option, value in options.items())
        raise ArgumentError(f"{name} cannot take the options {given}: one is of the wrong type ({error})") from error
    return network
