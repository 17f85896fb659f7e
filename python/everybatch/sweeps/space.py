"""What a sweep goes through: grids, lists, and seeded draws over ranges, all of which become lists of configs."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from everybatch._arguments import flag, real, whole
from everybatch.errors import ArgumentError

__all__ = ["MOST", "Config", "Range", "configs_of", "grid", "length_of", "log_uniform", "random", "sobol", "uniform"]

Config = dict[str, Any]
"""Settings of one training by name: arguments of `everybatch.train`, ``"network"`` and ``"network.<option>"``."""

MOST = 1_000_000
"""Configs, seeds or trials of a sweep: more are a typing error, and would only fill the memory."""
_MOST_DRAWN = 100_000_000  # numbers
_LARGEST = 2**53  # up to which every whole number is a float

Space = Mapping[str, Any] | Sequence[Mapping[str, Any]]


@dataclasses.dataclass(frozen=True)
class Range:
    """A range of numbers to draw from: `uniform` or `log_uniform`."""

    low: float
    high: float
    log: bool
    whole: bool

    def at(self, share: float) -> float | int:
        """Return the value at a share in [0, 1) of the range."""
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        if self.whole and not self.log:
            return int(self.low) + int(share * (int(self.high) - int(self.low) + 1))
        value = low + share * (high - low)
        value = math.exp(value) if self.log else value
        value = min(max(value, self.low), self.high)  # exp(log(x)) is not always x
        return round(value) if self.whole else value


def uniform(low: float, high: float, *, whole: bool = False) -> Range:
    """Numbers from `low` to `high`, each as likely as another.

    Parameters
    ----------
    low, high
        The ends.
    whole
        Draw whole numbers, both ends among them.

    Raises
    ------
    ArgumentError
        `low` is not below `high`.
    """
    return _range(low, high, log=False, whole=whole)


def log_uniform(low: float, high: float, *, whole: bool = False) -> Range:
    """Numbers from `low` to `high` whose logarithms are each as likely as another, as suits learning rates.

    Parameters
    ----------
    low, high
        The ends, above 0.
    whole
        Round to whole numbers.

    Raises
    ------
    ArgumentError
        `low` is not above 0 or not below `high`.
    """
    made = _range(low, high, log=True, whole=whole)
    if made.low <= 0:
        raise ArgumentError(f"low is {low}: a logarithmic range begins above 0")
    return made


def grid(space: Mapping[str, Any]) -> list[Config]:
    """Return every combination of the values, the last name changing fastest.

    Parameters
    ----------
    space
        Values by name. A list (or range, or one-dimensional array) holds alternatives; anything else, such as a tuple
        or a network, is one value.

    Raises
    ------
    ArgumentError
        A name has no values, or a range to draw from.

    Examples
    --------
    >>> import everybatch as eb
    >>> eb.sweeps.grid({"lr": [0.1, 0.01], "network": ["lenet5", "resnet"]})[:2]
    [{'lr': 0.1, 'network': 'lenet5'}, {'lr': 0.1, 'network': 'resnet'}]
    """
    names, alternatives = _alternatives(space, "a grid")
    for name, values in zip(names, alternatives, strict=True):
        if any(isinstance(value, Range) for value in values):
            raise ArgumentError(
                f"{name} is a range, and a grid has no way to draw from it: give eb.sweeps.random(space, n) or "
                "eb.sweeps.sobol(space, n)"
            )
    combinations = math.prod(map(len, alternatives))
    if combinations > MOST:
        sizes = " x ".join(f"{len(values):,}" for values in alternatives)
        raise ArgumentError(
            f"the grid has {combinations:,} configs ({sizes}): the most are {MOST:,}. Draw some of them with "
            "eb.sweeps.random(space, n) or eb.sweeps.sobol(space, n)"
        )
    return [dict(zip(names, chosen, strict=True)) for chosen in itertools.product(*alternatives)]


def random(space: Mapping[str, Any], n: int, *, seed: int = 0) -> list[Config]:
    """Draw configs at random, each value independent of the others.

    Parameters
    ----------
    space
        Ranges (`uniform`, `log_uniform`), lists of alternatives, and single values, by name.
    n
        How many. The first m of n are the m that would be drawn alone.
    seed
        Of the draw; the same one always draws the same configs.

    Raises
    ------
    ArgumentError
        The space is empty, or a number cannot work.

    Examples
    --------
    >>> import everybatch as eb
    >>> configs = random({"lr": eb.sweeps.log_uniform(1e-4, 1e-1), "batch_size": [32, 64]}, 3, seed=0)
    >>> len(configs), all(1e-4 <= config["lr"] <= 1e-1 for config in configs)
    (3, True)
    """
    names, alternatives = _alternatives(space, "a space to draw from")
    count, seed = _number(n, names), whole(seed, "seed", least=0)
    # Raw output, which NumPy promises to keep from version to version; its upper 53 bits are a float in [0, 1).
    bits = np.random.PCG64(seed).random_raw(count * len(names)).reshape(count, len(names))
    return _drawn(names, alternatives, (bits >> np.uint64(11)) * 2.0**-53)


def sobol(space: Mapping[str, Any], n: int, *, seed: int = 0, scramble: bool = True) -> list[Config]:
    """Draw configs from a Sobol sequence, which covers the space more evenly than chance does.

    Parameters
    ----------
    space
        As for `random`.
    n
        How many; a power of two is covered best.
    seed
        Of the scrambling.
    scramble
        Scramble the sequence (Owen 1998); without it, it begins with the lowest value of everything.

    Raises
    ------
    ArgumentError
        The space is empty, or a number cannot work.

    Notes
    -----
    The sequence is `torch.quasirandom.SobolEngine`'s (Joe & Kuo 2008).
    """
    from torch.quasirandom import SobolEngine

    names, alternatives = _alternatives(space, "a space to draw from")
    count, seed = _number(n, names), whole(seed, "seed", least=0)
    if len(names) > SobolEngine.MAXDIM:
        raise ArgumentError(f"the space has {len(names)} names: a Sobol sequence has at most {SobolEngine.MAXDIM}")
    engine = SobolEngine(len(names), flag(scramble, "scramble"), seed)  # type: ignore[no-untyped-call]
    return _drawn(names, alternatives, np.minimum(engine.draw(count).double().numpy(), 1 - 2.0**-53))


def configs_of(space: object) -> list[Config]:
    """Return the configs that a user's `space` stands for.

    Raises
    ------
    TypeError
        It is neither a grid nor a list of configs.
    ArgumentError
        It is empty, or one of its configs is.
    """
    if isinstance(space, Mapping):
        return grid(space)
    if isinstance(space, (str, bytes)) or not isinstance(space, Iterable):
        raise TypeError(
            "space must be a grid (a dict from names to lists of values), a list of configs (dicts), or what "
            f"eb.sweeps.random or eb.sweeps.sobol drew, not {type(space).__name__}"
        )
    configs = []
    for number, config in enumerate(space):
        if number >= MOST:
            raise ArgumentError(f"the list has more than {MOST:,} configs: does it have an end?")
        if not isinstance(config, Mapping):
            raise TypeError(f"config {number} of the list must be a dict of settings, not {type(config).__name__}")
        configs.append(dict(config))
        _check_names(config)
    if not configs:
        raise ArgumentError("the space is an empty list: there is nothing to train")
    return configs


def _range(low: object, high: object, *, log: bool, whole: object) -> Range:
    first, last = real(low, "low"), real(high, "high")
    if not (math.isfinite(first) and math.isfinite(last)) or first >= last:
        raise ArgumentError(f"a range needs two numbers, the lower one first, not {low!r} and {high!r}")
    if flag(whole, "whole") and (first != int(first) or last != int(last)):
        raise ArgumentError(f"a range of whole numbers needs whole ends, not {low!r} and {high!r}")
    if whole and max(-first, last) > _LARGEST:
        raise ArgumentError(f"a range of whole numbers ends at 2**53 = {_LARGEST:,}, not at {max(-first, last):g}")
    if not math.isfinite(last - first):
        raise ArgumentError(f"the range from {low!r} to {high!r} is too wide: there is no number for its width")
    return Range(first, last, log, bool(whole))


def _number(n: object, names: Sequence[str]) -> int:
    """Check how many configs are to be drawn."""
    count = whole(n, "n")
    if count > MOST:
        raise ArgumentError(f"n is {count:,}: the most configs are {MOST:,}")
    if count * len(names) > _MOST_DRAWN:
        raise ArgumentError(
            f"n is {count:,} and the space has {len(names):,} names: that are {count * len(names):,} numbers to draw, "
            f"and the most are {_MOST_DRAWN:,}"
        )
    return count


def _alternatives(space: object, what: str) -> tuple[list[str], list[list[Any]]]:
    if not isinstance(space, Mapping):
        raise TypeError(f"{what} must be a dict from names to values, not {type(space).__name__}")
    if not space:
        raise ArgumentError(f"{what} is empty: name at least one setting")
    _check_names(space)
    values = [_values(name, given) for name, given in space.items()]
    for name, given in zip(space, values, strict=True):
        if not given:
            raise ArgumentError(f"{name} has no values: give at least one")
    return list(space), values


def _check_names(names: Iterable[Any]) -> None:
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"settings have names, and {name!r} is none")


def _values(name: str, given: Any) -> list[Any]:
    if isinstance(given, range) and (length := length_of(given)) > MOST:
        raise ArgumentError(f"{name} is a range of {length:,} values: the most are {MOST:,}")
    if isinstance(given, np.ndarray) and given.ndim == 1:
        return list(given.tolist())
    return list(given) if isinstance(given, (list, range)) else [given]


def length_of(given: range) -> int:
    """The length of a range, which `len` cannot always tell."""
    return max(0, -(-(given.stop - given.start) // given.step))


def _drawn(names: list[str], alternatives: list[list[Any]], shares: np.ndarray) -> list[Config]:
    """Turn shares (n, names) in [0, 1) into configs."""

    def value(choices: list[Any], share: float) -> Any:
        if len(choices) > 1:
            place = share * len(choices)
            choices, share = [choices[int(place)]], place % 1
        return choices[0].at(share) if isinstance(choices[0], Range) else choices[0]

    return [
        {name: value(choices, float(share)) for name, choices, share in zip(names, alternatives, row, strict=True)}
        for row in shares
    ]
