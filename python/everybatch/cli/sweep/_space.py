"""The settings in the TOML file of a sweep: the space that it goes through, and what all trials share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from everybatch._trial import LABEL
from everybatch.cli.sweep._values import Values, as_table, made, place
from everybatch.errors import ArgumentError, suggest
from everybatch.sweeps import grid, random, sobol
from everybatch.sweeps._trials import SETTINGS
from everybatch.sweeps.backends._backend import owner_of
from everybatch.sweeps.space import Config

__all__ = ["DATA", "OPTIONS", "SPACES", "of_backend", "read_fixed", "read_space"]

SPACES = ("grid", "random", "sobol", "trials")
DATA = ("data", "train_images", "test_images", "data_seed", "image_size", "background", "download")
OPTIONS = ("seeds", "threads", "device", "keep_models")
"""Keys that are arguments of `everybatch.sweep`. Like those of the data they stand at the top of the file."""


def read_space(given: Mapping[str, Any], values: Values) -> list[Config]:
    """Return the configs that a file goes through.

    Raises
    ------
    ArgumentError, TypeError
        There is not just one space, or something in it cannot work.
    """
    kinds = [kind for kind in SPACES if kind in given]
    if len(kinds) != 1:
        named = ["[[trials]]" if kind == "trials" else f"[{kind}]" for kind in kinds]
        found = f"there are {' and '.join(named)}" if kinds else "there is none"
        raise ArgumentError(f"a sweep has one of [grid], [random], [sobol] and [[trials]], and {found}")
    kind = kinds[0]
    if kind == "trials":
        return _trials(given["trials"], values)
    with place(f"[{kind}]"):
        if kind == "grid":
            return grid(_alternatives(given["grid"], values, ranges=False))
        drawing = dict(as_table(given[kind]))
        misplaced = [name for name in drawing if name in (*SETTINGS, "network")]
        if misplaced:
            raise ArgumentError(f"the setting {misplaced[0]!r} goes into [{kind}.space]")
        if "space" in drawing:
            with place("space"):
                drawing["space"] = _alternatives(drawing["space"], values, ranges=True)
        return made(random if kind == "random" else sobol, drawing)


def _trials(given: Any, values: Values) -> list[Config]:
    if not isinstance(given, list) or not given:
        raise TypeError("trials must be tables: begin each with a line [[trials]]")
    configs = []
    for number, table in enumerate(given, 1):
        with place(f"[[trials]] number {number}"):
            configs.append(_settings(table, values))
    return configs


def read_fixed(given: Mapping[str, Any], values: Values) -> Config:
    """Return the settings that all trials share.

    Raises
    ------
    ArgumentError, TypeError
        Something in them cannot work.
    """
    with place("[fixed]"):
        return _settings(given.get("fixed", {}), values)


def _settings(given: Any, values: Values) -> Config:
    made_of: Config = {}
    for name, value in _named(given).items():
        with place(name):
            made_of[name] = values.setting(name, value)
    return made_of


def _alternatives(given: Any, values: Values, *, ranges: bool) -> dict[str, Any]:
    made_of: dict[str, Any] = {}
    for name, value in _named(given).items():
        with place(name):
            made_of[name] = values.alternatives(name, value, ranges=ranges)
    return made_of


def _named(given: Any) -> dict[str, Any]:
    """Return a table of settings by their names: without quotes, network.dropout is a table within a table."""
    named: dict[str, Any] = {}
    for name, value in as_table(given).items():
        options = name == "network" and isinstance(value, dict)
        for key, each in [(f"network.{key}", each) for key, each in value.items()] if options else [(name, value)]:
            if key in named:
                raise ArgumentError(f"{key} is there twice")
            _check_setting(key)
            named[key] = each
    return named


def _check_setting(name: str) -> None:
    if name in (*SETTINGS, "network", LABEL) or name.startswith("network."):
        return
    if name == "seed":
        raise ArgumentError("seed is no setting of a trial: write seeds at the top of the file")
    if name in (*DATA, *OPTIONS, "backend", "store"):
        raise ArgumentError(f"{name} is no setting of a trial: it goes to the top of the file, before the first table")
    if (owner := owner_of(name, None)) is not None:
        raise ArgumentError(of_backend(name, owner))
    raise ArgumentError(
        f"the setting {name!r} is unknown: settings are the arguments of eb.train, network, and options of the network "
        f"(network.{name}).{suggest(name, (*SETTINGS, 'network', LABEL))}"
    )


def of_backend(option: str, owner: str) -> str:
    """Return a sentence that says where an option of a backend goes."""
    table = f'{{ name = "{owner}", {option} = ... }}'
    return f"{option} belongs to the backend: write backend = {table} at the top of the file"
