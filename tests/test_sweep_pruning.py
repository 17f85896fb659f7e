"""Pruning: the rules on numbers that can be followed by hand, and that all backends decide alike."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import pytest

import everybatch as eb
from everybatch.errors import ArgumentError
from everybatch.sweeps import median, successive_halving
from everybatch.sweeps.pruning import Referee
from sweeping import assert_equal, swept


def test_the_median_rule() -> None:
    # The median of 0.1, 0.2, 0.6, 0.9 is 0.4, that of the first three 0.2.
    rule = median(min_trials=3)
    earlier = [0.9, 0.2, 0.1, 0.6]
    assert rule.ends(0.39, earlier)
    assert not rule.ends(0.4, earlier)
    assert not rule.ends(0.2, earlier[:3])
    assert not rule.ends(0.0, earlier[:2])  # too few
    loss = median(monitor="validation_loss", min_trials=3)
    assert loss.ends(0.41, earlier)
    assert not loss.ends(0.39, earlier)
    assert rule.ends(math.nan, earlier)
    assert not rule.ends(0.3, [0.2, 0.1, math.nan, 0.4])


def test_successive_halving() -> None:
    # One of three goes on: of one or two values the best one, of six the best two.
    rule = successive_halving(eta=3)
    assert not rule.ends(0.1, [])
    assert rule.ends(0.1, [0.2])
    assert not rule.ends(0.3, [0.2])
    five = [0.1, 0.2, 0.3, 0.4, 0.5]
    assert not rule.ends(0.45, five)
    assert not rule.ends(0.6, five)
    assert rule.ends(0.35, five)
    assert not rule.ends(0.4, [*five[:4], 0.5])  # as good as the second best


def test_the_rungs() -> None:
    def rungs(rule: Any, total: int = 1000) -> list[int]:
        return [step for step in range(total + 1) if step % rule.every == 0 and rule.is_rung(step, total)]

    assert rungs(successive_halving(min_steps=10, eta=3)) == [10, 30, 90, 270, 810]
    assert rungs(successive_halving(min_steps=250, eta=2)) == [250, 500]  # and not 1000, where it ends anyway
    # 100 * 1.5**k is 100, 150, 225, 337.5, 506.25, 759.4: the nearest hundreds, each above the one before.
    assert rungs(successive_halving(min_steps=100, eta=1.5)) == [100, 200, 300, 400, 500, 800]
    assert rungs(successive_halving(min_steps=10, eta=2.5), 400) == [10, 20, 60, 160, 390]
    assert successive_halving(min_steps=1, eta=1.1).is_rung(2**40 - 1, 2**62) in (True, False)  # at once
    assert rungs(median(every=300)) == [300, 600, 900]
    assert rungs(median(every=300, warmup=300)) == [600, 900]


def test_a_referee_waits_for_earlier_trials_and_for_no_others() -> None:
    referee = Referee(median(min_trials=1), 4)
    referee.came(2, 10, 0.5)
    referee.came(3, 10, 0.9)
    assert referee.verdict(2, 10) is None
    referee.came(0, 10, 0.6)
    assert referee.verdict(2, 10) is None
    referee.ended(1)
    assert referee.verdict(2, 10) is True
    assert referee.verdict(3, 10) is False
    assert referee.verdict(0, 10) is False


RULES = [
    median(every=4, min_trials=2),
    median(monitor="validation_loss", every=3, warmup=3, min_trials=1),
    successive_halving(min_steps=3, eta=2),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.rule}-{rule.monitor}")
def test_backends_prune_the_same_trials(glyphs: eb.Dataset, tmp_path: Path, rule: Any) -> None:
    def pruned(backend: eb.sweeps.Backend) -> eb.Sweep:
        space = {"lr": [1e-3, 1e-4, 3e-3, 1e-2], "network.dropout": [0.0, 0.5]}
        arguments: Any = {"steps": 16, "validation": 30, "pruning": rule, "backend": backend}
        return swept(glyphs, tmp_path / backend.name, space, **arguments)

    serial = pruned(eb.sweeps.serial())
    table = serial.table()
    assert set(table["status"]) == {"finished", "pruned"}
    ended = table[table["status"] == "pruned"]
    assert (ended["steps"] < 16).all()
    assert ended["message"].str.startswith("pruned after step").all()
    assert_equal(serial, pruned(eb.sweeps.processes(workers=3 if rule is RULES[0] else 2)))
    assert_equal(serial, pruned(eb.sweeps.packed(workers=3)))


def test_resumed_pruning_decides_as_it_would_have(glyphs: eb.Dataset, tmp_path: Path) -> None:
    arguments: Any = {
        "steps": 16,
        "validation": 30,
        "pruning": RULES[0],
        "space": {"lr": [1e-3, 1e-4, 3e-3, 1e-2, 2e-2]},
    }
    whole = swept(glyphs, tmp_path / "s", **arguments)
    for place in (4, 2):
        shutil.rmtree(tmp_path / "s" / "trials" / whole.table().index[place])
    assert_equal(whole, swept(glyphs, tmp_path / "s", **arguments))


def test_pruned_trials_are_trained_whole_without_the_rule(glyphs: eb.Dataset, tmp_path: Path) -> None:
    arguments: Any = {"steps": 16, "validation": 30, "space": {"lr": [3e-3, 1e-2, 1e-4]}}
    pruned = swept(glyphs, tmp_path / "s", pruning=median(every=4, min_trials=1), **arguments)
    assert "pruned" in set(pruned.table()["status"])
    whole = swept(glyphs, tmp_path / "s", **arguments)
    assert set(whole.table()["status"]) == {"finished"}
    assert_equal(whole, swept(glyphs, tmp_path / "other", **arguments))


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda: median(every=0), ArgumentError),
        (lambda: median(monitor="test_accuracy"), ArgumentError),
        (lambda: median(min_trials=0), ArgumentError),
        (lambda: successive_halving(eta=1), ArgumentError),
        (lambda: successive_halving(eta=1.0000000001), ArgumentError),
        (lambda: successive_halving(eta=math.nan), ArgumentError),
        (lambda: successive_halving(eta=math.inf), ArgumentError),
        (lambda: successive_halving(min_steps=2**63), ArgumentError),
        (lambda: successive_halving(eta="3"), TypeError),
        (lambda: successive_halving(min_steps=2.5), TypeError),
    ],
)
def test_rules_that_cannot_work(make: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        make()
