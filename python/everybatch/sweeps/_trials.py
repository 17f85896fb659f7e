"""A sweep's trials: each config with each seed, checked before anything is trained, and known by a key."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
import math
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from everybatch import networks
from everybatch._arguments import whole
from everybatch._core import Network, __version__
from everybatch._settings import Settings
from everybatch._trial import LABEL, Trial
from everybatch.augment import Augment
from everybatch.dataset import Dataset
from everybatch.errors import ArgumentError, EverybatchError, SelectionWarning, suggest
from everybatch.networks._build import build
from everybatch.schedules import Schedule
from everybatch.sweeps._content import decisive
from everybatch.sweeps.space import MOST, Config, length_of
from everybatch.training import selection, train

__all__ = [
    "SETTINGS",
    "arguments_of",
    "check_number",
    "keeps_weights",
    "plan",
    "plan_for_function",
    "seeds_of",
]

_OPTION = "network."
_NOT_SETTINGS = {
    "seed": "give sweep(seeds=...)",
    "device": "give sweep(device=...)",
    "progress": "a sweep has a line of its own: sweep(progress=...)",
    "callbacks": "pass a function as the first argument of sweep, and call eb.train in it",
    "checkpoints": "give checkpoint_every=..., and the store keeps weights of each trial on the way",
    "folder": "pass a function as the first argument of sweep, and call eb.train in it",
    "live": "a sweep has a line of its own: sweep(progress=...)",
    "log_every": "a sweep has a line of its own: sweep(progress=...)",
    "dataset": "it is the second argument of sweep",
}
_DEFAULTS = {
    name: parameter.default
    for name, parameter in inspect.signature(train).parameters.items()
    if parameter.kind is parameter.KEYWORD_ONLY
}
_OF_SWEEP = (
    "backend",
    "keep_models",
    "pruning",
    "retries",
    "retry_failed",
    "seeds",
    "store",
    "threads",
    "workers",
)
"""Names that a typing error may be meant for."""
SETTINGS = tuple(name for name in _DEFAULTS if name not in _NOT_SETTINGS)
_NEWER = (
    "alpha",
    "centered",
    "momentum_decay",
    "adjust_lr",
    "adamw_lr_ratio",
    "class_weight",
    "clip_grad_norm",
    "augment_schedule",
    "label_smoothing_schedule",
)
"""Where they are None they say nothing: trials of sweeps of earlier versions, which lack them, are known again."""
_NO_MATTER = ("device", "log_every", "keep_state_every", "seed", "steps_per_epoch", "total_steps")


def plan(
    configs: Sequence[Config],
    seeds: Sequence[int],
    dataset: Dataset,
    defaults: Mapping[str, Any],
    *,
    device: str,
    prunes: bool,
) -> list[Trial]:
    """Return the trials of configs for `everybatch.train`, all checked.

    Parameters
    ----------
    configs, seeds, dataset
        What the trials are made of.
    defaults
        Arguments of `everybatch.train` that a config goes before.
    device
        That they are checked for.
    prunes
        Whether each needs validation images.

    Raises
    ------
    ArgumentError, TypeError, ShapeError
        A config cannot work; the message tells which and why.
    """
    _check_labels(configs)
    trials: list[Trial] = []
    selects: list[str] = []
    for number, config in enumerate(configs):
        try:
            network, arguments = arguments_of(config, dataset)
            given = {**_DEFAULTS, **defaults, **arguments, "seed": seeds[0], "device": device}
            settings = Settings.check(dataset, **given)
            _check_fit(network, dataset)
            asked = _shown(config)  # it can be written down
            if prunes and settings.validation_indices is None:
                raise ArgumentError("pruning follows validation images: give validation=0.1, for example")
        except (EverybatchError, TypeError) as error:
            where = f"config {number + 1} of {len(configs)} ({', '.join(f'{k}={v!r}' for k, v in config.items())})"
            raise type(error)(f"{where}: {error}") from error
        except RecursionError:
            raise ArgumentError(f"config {number + 1} of {len(configs)} is nested too deeply") from None
        if settings.selects_on_test:
            selects.append(settings.monitor)
        training = {name: value for name, value in settings.for_config().items() if name not in _NO_MATTER}
        training = {name: value for name, value in training.items() if value is not None or name not in _NEWER}
        if not keeps_weights(config):
            del training["checkpoint_every"]  # its default
        decided = {"network": json.loads(network.to_json()), "training": training, "data": decisive(dataset)}
        trials += _planned(len(trials), config, asked, {seed: _key(decided, seed) for seed in seeds})
    if selects:
        warnings.warn(selection(selects[0]), SelectionWarning, stacklevel=3)
    return _distinct(trials)


def plan_for_function(
    function: Callable[[Config], Any], content: str, configs: Sequence[Config], seeds: Sequence[int]
) -> list[Trial]:
    """Return the trials of a user's function; `content` is what `content_of` tells of it.

    Raises
    ------
    ArgumentError
        A config holds something that cannot be written down, or a seed.
    """
    name = f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', type(function).__name__)}"
    decided = {"function": name, "content": content}
    trials: list[Trial] = []
    for number, config in enumerate(configs):
        if "seed" in config:
            raise ArgumentError(f"seed cannot be a setting of a sweep: {_NOT_SETTINGS['seed']}")
        try:
            plain = {name: _plain(value, name) for name, value in config.items()}
            asked = _shown(config)
        except RecursionError:
            raise ArgumentError(f"config {number + 1} of {len(configs)} is nested too deeply") from None
        keys = {seed: _key({**decided, "config": plain}, seed) for seed in seeds}
        trials += _planned(len(trials), config, asked, keys)
    return _distinct(trials)


def arguments_of(config: Config, dataset: Dataset) -> tuple[Network, dict[str, Any]]:
    """Return the network of a config, and its arguments for `everybatch.train`.

    Raises
    ------
    ArgumentError, TypeError
        A name is unknown, or the network cannot be built.
    """
    for name in config:
        if name in _NOT_SETTINGS:
            raise ArgumentError(f"{name} cannot be a setting of a sweep: {_NOT_SETTINGS[name]}")
        if name not in SETTINGS and name not in ("network", LABEL) and not name.startswith(_OPTION):
            known = (*SETTINGS, "network", LABEL, *_OF_SWEEP)
            raise ArgumentError(
                f"{name!r} is no setting of eb.train, nor an option of a network (network.{name})."
                f"{suggest(name, known)}"
            )
    if "epochs" in config and config.get("steps") is not None:
        raise ArgumentError(f"epochs is {config['epochs']} and steps is {config['steps']}: give one of them")
    options = {name.removeprefix(_OPTION): value for name, value in config.items() if name.startswith(_OPTION)}
    arguments = {name: value for name, value in config.items() if name in SETTINGS}
    if not keeps_weights(config):
        arguments.pop("checkpoint_every", None)
    return _network(config.get("network"), options, dataset), arguments


def keeps_weights(config: Config) -> bool:
    """Whether trials of a config for `everybatch.train` keep weights on the way."""
    return config.get("checkpoint_every") is not None


def seeds_of(given: object) -> list[int]:
    """Return the seeds that a number of them, or a list, stands for.

    Raises
    ------
    ArgumentError, TypeError
        There is none, one is negative, or one is there twice.
    """
    if isinstance(given, (list, tuple, range, np.ndarray)):
        _few(length_of(given) if isinstance(given, range) else len(given))
        seeds = [whole(seed, f"seeds[{place}]", least=0) for place, seed in enumerate(given)]
        if not seeds:
            raise ArgumentError("seeds is empty: give at least one")
        if len(set(seeds)) < len(seeds):
            twice = next(seed for seed, count in Counter(seeds).items() if count > 1)
            raise ArgumentError(f"seeds names {twice} more than once")
        return seeds
    return list(range(_few(whole(given, "seeds"))))


def check_number(configs: Sequence[Config], seeds: Sequence[int]) -> None:
    """Refuse more trials than anyone trains.

    Raises
    ------
    ArgumentError
        There are.
    """
    trials = len(configs) * len(seeds)
    if trials > MOST:
        raise ArgumentError(
            f"{len(configs):,} configs with {len(seeds):,} seeds each are {trials:,} trials: the most are {MOST:,}"
        )


def _few(seeds: int) -> int:
    if seeds > MOST:
        raise ArgumentError(f"seeds asks for {seeds:,} seeds: the most are {MOST:,}")
    return seeds


def _planned(number: int, config: Config, asked: Config, keys: Mapping[int, str]) -> list[Trial]:
    """Return the trials of one config, the first of which has this number, by seed and key."""
    contents = {
        name: hashlib.sha256(value.to_json().encode()).hexdigest()[:8]
        for name, value in config.items()
        if isinstance(value, Network)
    }
    return [
        Trial(number + place, key, asked, seed, contents, given=config)
        for place, (seed, key) in enumerate(keys.items())
    ]


def _shown(config: Mapping[str, Any]) -> Config:
    """Return a config in JSON's types, for tables and files, as it will be read again: networks by their names."""
    named = {
        name: (value.name or "network") if isinstance(value, Network) else _plain(value, name)
        for name, value in config.items()
    }
    asked: Config = json.loads(json.dumps(named))
    return asked


def _network(given: object, options: dict[str, Any], dataset: Dataset) -> Network:
    if isinstance(given, str):
        if given not in networks.__all__:
            raise ArgumentError(
                f"network is {given!r}: choose one of {', '.join(networks.__all__)}, or give a Network."
                f"{suggest(given, networks.__all__)}"
            )
        return build(given, options, dataset)
    if isinstance(given, Network):
        if options:
            raise ArgumentError(
                f"network.{next(iter(options))} is an option of a builder, and the network is built already: give the "
                "builder's name, such as network='lenet5'"
            )
        return given
    if given is None:
        raise ArgumentError("the config has no network: give the name of a builder, such as 'lenet5', or a Network")
    raise TypeError(f"network must be the name of a builder or a Network, not {type(given).__name__}")


def _check_fit(network: Network, dataset: Dataset) -> None:
    """Raise what training would raise of shapes."""
    network.check_images(dataset.image_shape, "the images of the data set have shape")
    if network.num_classes != dataset.num_classes:
        raise ArgumentError(
            f"network {network.name!r} gives {network.num_classes} logits, and the data set has {dataset.num_classes} "
            f"classes: build the network with num_classes={dataset.num_classes}"
        )


def _key(decided: dict[str, Any], seed: int) -> str:
    text = json.dumps({**decided, "seed": seed, "version": __version__}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def _check_labels(configs: Sequence[Config]) -> None:
    """Raise where labels do not name the configs: each has one of its own, or none has any."""
    if not any(LABEL in config for config in configs):
        return
    seen: dict[str, int] = {}
    for number, config in enumerate(configs, 1):
        if LABEL not in config:
            raise ArgumentError(
                f"config {number} of {len(configs)} has no label, and others have: give each of them one, or none"
            )
        label = config[LABEL]
        if not isinstance(label, str):
            raise TypeError(f"label must be text that names the config, not {type(label).__name__} ({label!r})")
        if label in seen:
            raise ArgumentError(
                f"configs {seen[label]} and {number} of {len(configs)} both have the label {label!r}: give each one of "
                "its own, in a list of configs"
            )
        seen[label] = number


def _distinct(trials: list[Trial]) -> list[Trial]:
    """Leave out trials that are there already, such as those of a config that was listed twice.

    Raises
    ------
    ArgumentError
        Such configs have labels, of which one would be missing.
    """
    first = {trial.key: trial for trial in reversed(trials)}
    for trial in trials:
        if trial.setting(LABEL) != (same := first[trial.key].setting(LABEL)):
            raise ArgumentError(
                f"the labels {same!r} and {trial.setting(LABEL)!r} are of configs that ask for the same training: "
                "leave one of them out"
            )
    kept = sorted(first.values(), key=lambda trial: trial.number)
    return [dataclasses.replace(trial, number=number) for number, trial in enumerate(kept)]


def _plain(value: Any, name: str) -> Any:
    """Return a value in JSON's types, the same for equal values."""
    if isinstance(value, Network):
        return json.loads(value.to_json())
    if isinstance(value, Schedule):
        return value.data
    if isinstance(value, Augment):
        return value.to_dict()
    if isinstance(value, np.generic):
        return _plain(value.item(), name)
    if isinstance(value, np.ndarray):
        return _plain(value.tolist(), name)
    if isinstance(value, (list, tuple)):
        return [_plain(entry, name) for entry in value]
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise ArgumentError(f"{name} has the key {key!r}: names in a config are text, such as {str(key)!r}")
        return {str(key): _plain(entry, name) for key, entry in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        raise ArgumentError(f"{name} is {value}: it must be a finite number")
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise ArgumentError(
        f"{name} is a {type(value).__name__}, which cannot be written down: a config holds numbers, text, lists, "
        "dicts, networks, schedules and augmentations"
    )
