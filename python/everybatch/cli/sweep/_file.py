"""A sweep in a TOML file: everything in it is read and checked before the data are opened."""

from __future__ import annotations

import dataclasses
import tomllib
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from everybatch._arguments import flag, optional_whole, whole
from everybatch._disk import at_home
from everybatch._pictures import ground
from everybatch.cli._data import NAMES, open_data
from everybatch.cli.sweep._space import DATA, OPTIONS, SPACES, of_backend, read_fixed, read_space
from everybatch.cli.sweep._values import Made, Values, as_table, check_keys, made, place
from everybatch.dataset import Dataset
from everybatch.errors import ArgumentError, FileFormatError, suggest
from everybatch.sweeps import median, successive_halving
from everybatch.sweeps._trials import seeds_of
from everybatch.sweeps.backends._backend import BACKENDS, Backend, as_backend, owner_of
from everybatch.sweeps.pruning import Pruning
from everybatch.sweeps.space import Config

__all__ = ["SweepFile", "parse_sweep", "read_sweep"]

_KEYS = (*DATA, "store", "backend", *OPTIONS, "fixed", *SPACES, "pruning")
_LARGEST = 10_000_000
_RULES: dict[str, Callable[..., Pruning]] = {"median": median, "successive_halving": successive_halving}


@dataclasses.dataclass(frozen=True, kw_only=True)
class SweepFile:
    """What a file asks for."""

    path: Path
    text: str
    networks: dict[str, str]
    """The texts of the network files that it names."""
    store: str
    space: list[Config]
    fixed: Config
    backend: Backend
    options: dict[str, Any]
    pruning: Pruning | None
    data: str
    drawn: Namespace

    def open_data(self) -> Dataset:
        """Open the data set, cut down as the file says."""
        return open_data(self.drawn, self.data, seed=self.drawn.seed)


def read_sweep(path: Path) -> SweepFile:
    """Read a file.

    Raises
    ------
    OSError
        It cannot be read, or the data are not there.
    FileFormatError
        It is no TOML.
    ArgumentError, TypeError
        Something in it cannot work.
    """
    try:
        with at_home(path).open("rb") as file:  # a pipe will do too
            raw = file.read(_LARGEST + 1)
        if len(raw) > _LARGEST:
            raise FileFormatError(f"{path} is no sweep: it is larger than {_LARGEST:,} bytes")
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileFormatError(f"{path} is not a TOML file: it is not text in UTF-8") from error
    return parse_sweep(text, path, {})


def parse_sweep(text: str, path: Path, texts: Mapping[str, str], *, stored: bool = False) -> SweepFile:
    """Make a sweep of the text of a file that is, or was, at `path`; `texts` are those of network files known before.

    What a store has kept cannot be changed by the user, and may be as earlier versions had it.

    Raises
    ------
    FileFormatError, ArgumentError, TypeError, FileNotFoundError
        As for `read_sweep`.
    """
    try:
        given = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # of a number with too many digits, Python says ValueError
        raise FileFormatError(f"{path} is not TOML: {error}") from error
    try:
        return _sweep_of(_of_today(given) if stored else given, text, path, texts)
    except RecursionError:
        raise FileFormatError(f"{path} is nested too deeply") from None


def _sweep_of(given: dict[str, Any], text: str, path: Path, texts: Mapping[str, str]) -> SweepFile:
    there = at_home(path).absolute()
    values = Values(there.parent, dict(texts))
    with place(str(path)):
        _refuse_moved(given)
        check_keys(given, _KEYS)
        return SweepFile(
            path=there,
            text=text,
            store=_text(given, "store", f"sweeps/{path.stem}"),
            space=read_space(given, values),
            fixed=read_fixed(given, values),
            backend=_backend(given.get("backend", "processes")),
            options=_options(given),
            pruning=_pruning(given),
            networks=values.texts,
            data=_data(given, values.folder),
            drawn=_drawn(given),
        )


def _options(given: Mapping[str, Any]) -> dict[str, Any]:
    options = {name: given[name] for name in OPTIONS if name in given}
    seeds_of(options.get("seeds", 1))
    return options


def _backend(given: Any) -> Backend:
    """Return the backend of a name, or of a table with the name and options."""
    if not isinstance(given, dict):
        return as_backend(given)
    with place("[backend]"):
        return _chosen(given, "name", BACKENDS)


def _of_today(given: dict[str, Any]) -> dict[str, Any]:
    """Put options of a backend that stand at the top where they belong."""
    name = given.get("backend", "processes")
    moved = {option: value for option, value in given.items() if owner_of(option, name) == name}
    others = {option: value for option, value in given.items() if option not in moved}
    return others | {"backend": {"name": name, **moved}} if moved else given


def _refuse_moved(given: Mapping[str, Any]) -> None:
    """Refuse options of a backend that stand at the top.

    Raises
    ------
    ArgumentError
        There is one.
    """
    for option in given:
        if (owner := owner_of(option, given.get("backend"))) is not None:
            raise ArgumentError(of_backend(option, owner))


def _pruning(given: Mapping[str, Any]) -> Pruning | None:
    if "pruning" not in given:
        return None
    with place("[pruning]"):
        return _chosen(as_table(given["pruning"]), "rule", _RULES)


def _chosen(table: dict[str, Any], key: str, makers: Mapping[str, Callable[..., Made]]) -> Made:
    """Return what `table` names under `key`, made with the rest of the table."""
    name = str(table.get(key, ""))
    if name not in makers:
        told = f"{key} is {name!r}" if name else f"{key} is missing"
        raise ArgumentError(f"{told}: choose one of {', '.join(makers)}.{suggest(name, makers)}")
    return made(makers[name], table, besides=(key,))


def _data(given: Mapping[str, Any], folder: Path) -> str:
    name = _text(given, "data", "mnist")
    if name in NAMES:
        return name
    path = folder / at_home(name)
    if not path.exists():
        raise ArgumentError(
            f"data is {name!r}: neither a data set ({', '.join(NAMES)}) nor a file or folder in {folder}."
            f"{suggest(name, NAMES)}"
        )
    return str(path)


def _drawn(given: Mapping[str, Any]) -> Namespace:
    """Return what `open_data` needs to know."""
    train, test = (optional_whole(given.get(name), name) for name in ("train_images", "test_images"))
    seed = whole(given.get("data_seed", 0), "data_seed", least=0)
    if "data_seed" in given and (given.get("data") == "glyphs" or (train is None and test is None)):
        raise ArgumentError("data_seed draws train_images or test_images of a data set; here it would do nothing")
    size = given.get("image_size")
    if size is not None:
        if not isinstance(size, list) or len(size) != 2:
            raise TypeError(f"image_size must be [height, width], not {size!r}")
        size = (whole(size[0], "image_size[0]"), whole(size[1], "image_size[1]"))
    download = flag(given.get("download", True), "download")
    background = ground(given["background"]) if "background" in given else None
    return Namespace(
        train_images=train,
        test_images=test,
        seed=seed,
        image_size=size,
        background=background,
        no_download=not download,
    )


def _text(given: Mapping[str, Any], name: str, default: str) -> str:
    value = given.get(name, default)
    if not isinstance(value, str) or not value:
        raise TypeError(f"{name} must be text, not {value!r}")
    return value
