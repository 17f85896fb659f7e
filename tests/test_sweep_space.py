"""What a sweep goes through: grids, lists and draws."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from everybatch.errors import ArgumentError
from everybatch.sweeps import grid, log_uniform, random, sobol, uniform
from everybatch.sweeps._trials import check_number, seeds_of
from everybatch.sweeps.space import configs_of, length_of


def test_a_grid_has_every_combination_the_last_name_fastest() -> None:
    assert grid({"lr": [0.1, 0.2], "network": "lenet5", "batch_size": range(32, 65, 32)}) == [
        {"lr": 0.1, "network": "lenet5", "batch_size": 32},
        {"lr": 0.1, "network": "lenet5", "batch_size": 64},
        {"lr": 0.2, "network": "lenet5", "batch_size": 32},
        {"lr": 0.2, "network": "lenet5", "batch_size": 64},
    ]


def test_arrays_hold_alternatives_and_tuples_are_values() -> None:
    made = grid({"lr": np.array([0.1, 0.2]), "betas": (0.9, 0.99)})
    assert made == [{"lr": 0.1, "betas": (0.9, 0.99)}, {"lr": 0.2, "betas": (0.9, 0.99)}]
    assert type(made[0]["lr"]) is float


# The first points of the two-dimensional sequence of Joe & Kuo 2008, as in https://web.maths.unsw.edu.au/~fkuo/sobol/
JOE_KUO = [
    (0, 0),
    (0.5, 0.5),
    (0.75, 0.25),
    (0.25, 0.75),
    (0.375, 0.375),
    (0.875, 0.875),
    (0.625, 0.125),
    (0.125, 0.625),
]


def test_sobol_is_joe_and_kuos_sequence() -> None:
    drawn = sobol({"a": uniform(0, 1), "b": uniform(10, 20)}, 8, scramble=False)
    assert [(config["a"], (config["b"] - 10) / 10) for config in drawn] == JOE_KUO


@pytest.mark.parametrize("draw", [random, sobol])
def test_draws_are_seeded_and_within_their_ranges(draw: Any) -> None:
    space = {
        "lr": log_uniform(1e-4, 1e-2),
        "dropout": uniform(0, 0.5),
        "batch_size": [32, 64, 128],
        "width": uniform(1, 4, whole=True),
        "depth": log_uniform(1, 64, whole=True),
        "network": "lenet5",
    }
    drawn = draw(space, 256, seed=5)
    assert drawn == draw(space, 256, seed=5)
    assert drawn != draw(space, 256, seed=6)
    assert all(1e-4 <= config["lr"] <= 1e-2 and 0 <= config["dropout"] <= 0.5 for config in drawn)
    assert {config["batch_size"] for config in drawn} == {32, 64, 128}
    assert {config["width"] for config in drawn} == {1, 2, 3, 4}
    assert all(type(config["depth"]) is int and 1 <= config["depth"] <= 64 for config in drawn)
    assert {config["network"] for config in drawn} == {"lenet5"}
    # Half of a logarithmic range lies below its geometric mean. Three standard deviations of a binomial: 24 of 256.
    assert abs(sum(config["lr"] < 1e-3 for config in drawn) - 128) <= 24
    assert math.isclose(np.mean([config["dropout"] for config in drawn]), 0.25, abs_tol=0.03)


def test_the_first_draws_do_not_depend_on_their_number() -> None:
    space = {"lr": uniform(0, 1), "batch_size": [1, 2]}
    assert random(space, 3) == random(space, 10)[:3]


@pytest.mark.parametrize(
    ("space", "kind", "message"),
    [
        ({}, ArgumentError, "empty"),
        ([], ArgumentError, "empty"),
        ({"lr": []}, ArgumentError, "lr has no values"),
        ({"lr": uniform(0, 1)}, ArgumentError, "eb.sweeps.random"),
        ({"lr": [uniform(0, 1)]}, ArgumentError, "eb.sweeps.random"),
        ({3: [1]}, TypeError, "3"),
        ("lr", TypeError, "str"),
        (7, TypeError, "int"),
        (None, TypeError, "NoneType"),
        ([{"lr": 1}, 3], TypeError, "config 1"),
        ([{3: 1}], TypeError, "3"),
    ],
)
def test_spaces_that_are_none(space: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        configs_of(space)


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda: uniform(1, 1), ArgumentError),
        (lambda: uniform(2, 1), ArgumentError),
        (lambda: uniform(0, math.inf), ArgumentError),
        (lambda: uniform(0, math.nan), ArgumentError),
        (lambda: uniform("0", 1), TypeError),
        (lambda: uniform(0.5, 2, whole=True), ArgumentError),
        (lambda: log_uniform(0, 1), ArgumentError),
        (lambda: log_uniform(-1, 1), ArgumentError),
        (lambda: random({"lr": uniform(0, 1)}, 0), ArgumentError),
        (lambda: random({"lr": uniform(0, 1)}, 2.5), TypeError),
        (lambda: random({}, 1), ArgumentError),
        (lambda: random([uniform(0, 1)], 1), TypeError),
        (lambda: sobol({"lr": uniform(0, 1)}, 1, seed=-1), ArgumentError),
        (lambda: sobol({"lr": []}, 1), ArgumentError),
    ],
)
def test_ranges_and_draws_that_cannot_work(make: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        make()


@pytest.mark.parametrize(
    ("make", "number"),
    [
        (lambda: random({"lr": uniform(0, 1)}, 10**12), "1,000,000,000,000"),
        (lambda: sobol({"lr": uniform(0, 1)}, 10**10), "10,000,000,000"),
        (lambda: random({f"x{n}": [1, 2] for n in range(200)}, 10**6), "200,000,000"),
        (lambda: grid({name: list(range(100)) for name in "abcdefgh"}), "10,000,000,000,000,000"),
        (lambda: grid({"lr": range(10**12)}), "1,000,000,000,000"),
        (lambda: grid({"lr": range(0, 10**30, 10)}), f"{10**29:,}"),
        (lambda: configs_of({"lr": 1} for _ in itertools.count()), "1,000,000"),
        (lambda: seeds_of(10**12), "1,000,000,000,000"),
        (lambda: seeds_of(range(10**20)), f"{10**20:,}"),
        (lambda: check_number([{}] * 10_000, range(1000)), "10,000,000"),
        (lambda: uniform(-1e308, 1e308), "1e[+]308"),
        (lambda: uniform(0, 2**60, whole=True), "1.15292e[+]18"),
    ],
)
def test_what_no_memory_holds_is_refused_with_its_number(make: Callable[[], object], number: str) -> None:
    """Each number by hand."""
    with pytest.raises(ArgumentError, match=number):
        make()


def test_as_many_as_are_allowed() -> None:
    assert len(grid({"a": range(1000), "b": range(1000)})) == 10**6
    assert len(seeds_of(10**6)) == 10**6
    assert length_of(range(10, 0, -3)) == len(range(10, 0, -3)) == 4
    assert length_of(range(3, 3)) == length_of(range(5, 0)) == 0
