"""What a run is made of: its arrays and the sections of its config, and checks on both.

The same checks serve `Run(...)` and `load_run`, so that nothing read from a disk is trusted more than an
argument.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from everybatch._core import CHOICES
from everybatch._measures import ARRAYS, EVENTS, SUMS
from everybatch._metered import is_metered
from everybatch.errors import ArgumentError, suggest

__all__ = ["OPTIONAL", "check_arrays", "check_config"]

Array = npt.NDArray[Any]

OPTIONAL = frozenset(name for name, measure in ARRAYS.items() if measure.needs or measure.otherwise)
_VALIDATION = frozenset(name for name, measure in ARRAYS.items() if measure.needs == "validation")
_UNENDED = ("running", "lost")
STATES = (*CHOICES["state"], *_UNENDED)
"""How a run ended; or it goes on, or its process ended before it did."""
_TOGETHER = frozenset(name for name in _VALIDATION if not ARRAYS[name].otherwise)


def check_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a plain JSON copy of `config`, after checking the entries that a `Run` computes with.

    Raises
    ------
    ArgumentError
        An entry is missing, has the wrong type or is out of range, or the config is not JSON.
    """
    if not isinstance(config, Mapping):
        raise TypeError(f"config must be a dict, not {type(config).__name__}")
    try:
        # The round trip makes a saved and loaded run's config equal to this one (tuples become lists).
        plain: dict[str, Any] = json.loads(json.dumps(dict(config), allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise ArgumentError(f"config cannot be written as JSON: {error}") from error

    for section in ("network", "dataset", "training", "status"):
        if not isinstance(plain.get(section), dict):
            raise ArgumentError(f"config lacks the section {section!r} (a dict)")
    for name in ("train", "test"):
        _whole_number(plain, "dataset", name, least=1)
    _check_training(plain)
    classes = plain["dataset"].get("classes")
    if not isinstance(classes, list) or not classes or not all(isinstance(name, str) for name in classes):
        raise ArgumentError("config['dataset']['classes'] must be a list of class names, at least one")
    state = plain["status"].get("state")
    if state not in STATES:
        raise ArgumentError(f"config['status']['state'] is {state!r}; it must be one of {', '.join(STATES)}")
    for name in ("diverged_at", "model_step"):
        if plain["status"].get(name) is not None:
            _whole_number(plain, "status", name, least=0)
    return plain


def _check_training(plain: dict[str, Any]) -> None:
    """Refuse a section ``training`` that cannot be. Of a loop of one's own a meter may not know all."""
    metered = is_metered(plain)
    for name in ("batch_size", "steps_per_epoch"):
        if not (metered and plain["training"].get(name, 0) is None):
            _whole_number(plain, "training", name, least=1)
    _whole_number(plain, "training", "seed", least=0)
    if plain["training"]["seed"] >= 1 << 64:
        raise ArgumentError(f"config['training']['seed'] is {plain['training']['seed']}; it must be less than 2**64")
    for name, kinds, what in (("lr", (int, float), "a number"), ("checkpoints", (str,), "the path of a folder")):
        value = plain["training"].get(name)
        if value is not None and (not isinstance(value, kinds) or isinstance(value, bool)):
            raise ArgumentError(f"config['training'][{name!r}] is {value!r}; it must be {what}")
    if not isinstance(plain["training"].get("shuffle"), bool) and not metered:
        raise ArgumentError("config['training']['shuffle'] must be true or false")


def check_arrays(arrays: Mapping[str, Array], config: Mapping[str, Any]) -> dict[str, Array]:
    """Return read-only views of `arrays`, after checking them against the table of measures and `config`.

    Raises
    ------
    ArgumentError
        An array is missing, unknown, of another type, of a shape at odds with the others, or holds impossible
        values.
    """
    if not isinstance(arrays, Mapping):
        raise TypeError(f"arrays must be a dict of NumPy arrays, not {type(arrays).__name__}")
    for name in arrays:
        if name not in ARRAYS:
            raise ArgumentError(f"a run has no array named {name!r}.{suggest(str(name), ARRAYS)}")
    optional = OPTIONAL - _TOGETHER if _VALIDATION & arrays.keys() else OPTIONAL  # all four, or none
    if config["status"]["state"] in _UNENDED:
        optional |= {"confusion"}
    missing = [name for name in ARRAYS if name not in arrays and name not in optional]
    if missing:
        raise ArgumentError(f"the array {missing[0]!r} is missing")

    classes = len(config["dataset"]["classes"])
    lengths: dict[str, tuple[int, str]] = {"classes": (classes, "the list of class names")}
    lengths |= {"sums": (len(SUMS), "a row of them"), "events": (len(EVENTS), "a row of them")}
    views: dict[str, Array] = {}
    for name, measure in ARRAYS.items():
        if name not in arrays:
            continue
        array, dimensions = arrays[name], measure.dimensions
        if not isinstance(array, np.ndarray):
            raise TypeError(f"the array {name!r} must be a NumPy array, not {type(array).__name__}")
        if array.dtype != measure.type_for(classes):
            raise ArgumentError(f"the array {name!r} has dtype {array.dtype}; it must be {measure.type_for(classes)}")
        if array.ndim != len(dimensions):
            expected = " x ".join(dimensions)
            raise ArgumentError(f"the array {name!r} has shape {array.shape}; it must be {expected}")
        for length, dimension in zip(array.shape, dimensions, strict=True):
            known, where = lengths.setdefault(dimension, (length, repr(name)))
            if length != known:
                raise ArgumentError(
                    f"the array {name!r} of shape {array.shape} holds {length} {dimension}, but {where} holds {known}"
                )
        view = array.view()
        view.flags.writeable = False
        views[name] = view
    _check_values(views, config)
    return views


def _check_values(arrays: Mapping[str, Array], config: Mapping[str, Any]) -> None:
    """Refuse values that would make an index or an axis wrong later."""
    steps, eval_step = len(arrays["train_loss"]), arrays["eval_step"]
    if eval_step.size and (eval_step[0] < 0 or eval_step[-1] > steps or np.any(np.diff(eval_step) <= 0)):
        raise ArgumentError(f"the array 'eval_step' must rise from evaluation to evaluation, within 0 to {steps} steps")
    passes = arrays.get("training_eval_step", np.empty(0, np.int64))
    if passes.size and (passes[0] < 1 or passes[-1] > steps or np.any(np.diff(passes) <= 0)):
        raise ArgumentError(f"the array 'training_eval_step' must rise from pass to pass, within 1 to {steps} steps")
    kept = arrays.get("state_step", np.empty(0, np.int64))
    if kept.size and (kept[0] < 0 or kept[-1] > steps or np.any(np.diff(kept) <= 0)):
        raise ArgumentError(f"the array 'state_step' must rise from state to state, within 0 to {steps} steps")
    for name in ("test_indices", "validation_indices", "trained_indices"):
        part = "test" if name == "test_indices" else "train"
        count = config["dataset"][part]
        indices = arrays.get(name, np.empty(0))
        if indices.size and (indices.min() < 0 or indices.max() >= count):
            raise ArgumentError(f"the array {name!r} must index the {part} set of {count} images")
    for name, values in arrays.items():
        unit = ARRAYS[name].unit
        if unit == "seconds" and not np.all((values >= 0) & np.isfinite(values)):
            raise ArgumentError(f"the array {name!r} must hold seconds: finite, and none below 0")
        if unit == "fraction" and np.any(np.isfinite(values) & ((values < 0) | (values > 1))):
            raise ArgumentError(f"the array {name!r} must hold fractions between 0 and 1")
        if ARRAYS[name].of_estimates and np.any(values < 0):
            raise ArgumentError(f"the array {name!r} must hold no number below 0")
    _check_counts(arrays, len(config["dataset"]["classes"]))


def _check_counts(arrays: Mapping[str, Array], classes: int) -> None:
    """Refuse classes that there are not, and counts that cannot be."""
    for name in ("predictions", "training_predictions"):
        predicted = arrays.get(name, np.empty(0, np.uint8))
        if predicted.size and predicted.max() >= classes:
            raise ArgumentError(f"the array {name!r} holds {predicted.max()}, and there are {classes} classes")
    for name in ("confusion", "step_votes", "test_votes"):
        if name in arrays and arrays[name].min(initial=0) < 0:
            raise ArgumentError(f"the array {name!r} holds a negative count")
    for name in ("step_events", "test_events"):
        if name in arrays and arrays[name].min(initial=0) < -1:
            raise ArgumentError(f"the array {name!r} holds a number below -1")


def _whole_number(config: Mapping[str, Any], section: str, name: str, *, least: int) -> None:
    value = config[section].get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ArgumentError(f"config[{section!r}][{name!r}] is {value!r}; it must be a whole number, at least {least}")
