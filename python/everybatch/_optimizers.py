"""Options of optimizers: which has which, and with what default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from everybatch._core import CHOICES, DEFAULTS
from everybatch.errors import ArgumentError

__all__ = ["OPTIONS", "options_of", "recorded_options"]

_OWN: dict[str, dict[str, Any]] = {name: DEFAULTS["optimizers"][name] for name in CHOICES["optimizer"]}

OPTIONS = tuple(dict.fromkeys(name for options in _OWN.values() for name in options))
"""Arguments of `train` that are options of one optimizer or more."""

# What the config of a run holds of options that its optimizer lacks: earlier versions wrote it, a run may be repeated
# with it, and sweeps know their trials by it. It says nothing.
_NOTHING: dict[str, Any] = {"momentum": 0.0, "nesterov": False, "betas": (0.9, 0.999), "eps": 1e-8}
_WITH_NOTHING = ("sgd", "adam", "adamw")


def options_of(optimizer: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an optimizer's options are, each as given or else its default.

    Parameters
    ----------
    optimizer
        Its name.
    given
        By name; None for what is not given.

    Raises
    ------
    ArgumentError
        An option belongs to other optimizers.
    """
    own = _OWN[optimizer]
    for name in OPTIONS:
        value = given[name]
        if name in own or value is None or (name in _NOTHING and value == _NOTHING[name]):
            continue
        others = [other for other, options in _OWN.items() if name in options]
        raise ArgumentError(
            f"{name} is {value!r}, and optimizer {optimizer!r} has no such option: it has {_enumerated(list(own))}. "
            f"{name} belongs to {_enumerated([repr(other) for other in others])}"
        )
    plain = {name: tuple(value) if isinstance(value, list) else value for name, value in own.items()}
    return {name: plain[name] if given[name] is None else given[name] for name in own}


def recorded_options(optimizer: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run's config tells of its optimizer's options: all of them, as numbers."""
    told = {**(_NOTHING if optimizer in _WITH_NOTHING else {}), **options}
    if "adamw_lr_ratio" in told and told["adamw_lr_ratio"] is None:
        told["adamw_lr_ratio"] = DEFAULTS["adamw_lr_ratio"][told["adjust_lr"]]
    return told


def _enumerated(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
