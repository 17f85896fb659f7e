"""Sweeps on one store that cannot keep out of each other's way: with a rule that prunes, or without locks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import everybatch as eb
from everybatch.folder import Journal, holder
from everybatch.sweeps import _claims, _going
from everybatch.sweeps._claims import Claims, Hold
from everybatch.sweeps._going import Going
from same_runs import assert_same
from sweeping import swept

RULE = eb.sweeps.median(every=20, min_trials=9)  # which ends no trial of these
KEEPING: dict[str, Any] = {"checkpoint_every": 2, "evaluate_every": 2}  # of six steps
SPACE = {"lr": [1e-3]}
KEY = "0123456789abcdef0123"


class Meanwhile:
    """Makes another sweep train the same trial when one is in the middle of it.

    The other one looks whether somebody holds the trial's folder a moment before the first one does, as it happens to
    processes that are begun together: its first look finds nobody.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, data: eb.Dataset, store: Path, **given: Any) -> None:
        self.sweeps: list[eb.Sweep] = []
        self._train, self._early, self._begun = _going.train, False, False
        self._sweep = lambda: swept(data, store, SPACE, pruning=RULE, validation=30, **given)
        monkeypatch.setattr(_going, "train", self._interfered)
        monkeypatch.setattr(_going, "holder", self._looked)

    def both(self) -> list[eb.Sweep]:
        self.sweeps.append(self._sweep())
        assert len(self.sweeps) == 2
        return self.sweeps

    def _interfered(self, *arguments: Any, **options: Any) -> eb.Run:
        return self._train(*arguments, **options, callbacks=self._meanwhile)

    def _meanwhile(self, step: eb.Step) -> None:
        if step.step == 3 and not self._begun:
            self._begun = self._early = True
            self.sweeps.append(self._sweep())

    def _looked(self, folder: Path) -> dict[str, Any] | None:
        early, self._early = self._early, False
        return None if early else holder(folder)


@pytest.mark.parametrize("locks", [True, False], ids=["locks", "no locks"])
@pytest.mark.parametrize("given", [KEEPING, {}], ids=["weights", "no weights"])
def test_two_sweeps_train_the_same_trial(
    glyphs: eb.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], *, locks: bool
) -> None:
    alone = swept(glyphs, tmp_path / "alone", SPACE, validation=30, **given).runs[0]
    if not locks:
        monkeypatch.setattr(_claims, "take", lambda *_: None)
    sweeps = Meanwhile(monkeypatch, glyphs, tmp_path / "s", **given).both()
    for sweep in sweeps:
        assert [(trial.state, trial.message) for trial in sweep.trials] == [("finished", "")]
        assert_same(sweep.runs[0], alone)
        assert [*sweep.runs[0].checkpoints] == ([2, 4, 6] if given else [])
    assert not list((tmp_path / "s").glob("going/*"))
    assert [path.name for path in (tmp_path / "s" / "trials").iterdir()] == [sweeps[0].trials[0].key]


def test_a_folder_that_another_one_takes_first_is_left_to_it(glyphs: eb.Dataset, tmp_path: Path) -> None:
    going = Going(tmp_path / "going")
    journal = Journal(tmp_path / "going")
    try:
        there = sorted(path.name for path in (tmp_path / "going").iterdir())
        run = going.train(eb.networks.lenet5(), glyphs, steps=2, device="cpu", progress=False)
        going.remove()
        assert run.state == "finished"
        assert sorted(path.name for path in (tmp_path / "going").iterdir()) == there
        assert holder(tmp_path / "going") is not None
    finally:
        journal.close()


def test_a_hold_is_one_for_each_trial_and_no_claim(tmp_path: Path) -> None:
    claims, one, two, other = Claims(tmp_path), Hold(tmp_path, KEY), Hold(tmp_path, KEY), Hold(tmp_path, KEY[::-1])
    assert claims.take(KEY)
    assert (one.taken, two.taken, other.taken) == (True, False, True)
    one.close()
    again = Hold(tmp_path, KEY)
    assert again.taken
    assert Hold(tmp_path / "none", KEY).taken is None
    for each in (claims, two, other, again):
        each.close()


def test_an_index_that_was_written_late_hides_no_finished_trial(glyphs: eb.Dataset, tmp_path: Path) -> None:
    given: dict[str, Any] = {"steps": 16, "validation": 30}
    space = {"lr": [3e-3, 1e-2, 1e-4]}
    rule = eb.sweeps.median(every=4, min_trials=1)
    pruned = swept(glyphs, tmp_path / "s", space, pruning=rule, **given)
    assert "pruned" in {trial.state for trial in pruned.trials}

    def train_one(config: dict[str, Any]) -> eb.Run:
        whole = swept(glyphs, tmp_path / "s", space, **given)  # while a sweep goes on that has read the index before
        assert {trial.state for trial in whole.trials} == {"finished"}
        return whole.runs[0]

    eb.sweep(train_one, {"x": [1]}, store=tmp_path / "s", backend="serial", progress=False)
    late = {trial.key: trial for trial in eb.load_sweep(tmp_path / "s", everything=True).trials}
    for trial in pruned.trials:
        row = late[trial.key].row
        assert (row["status"], row["steps"]) == ("finished", 16)
        assert row["final_validation_loss"] == late[trial.key].run.validation_loss[-1]  # type: ignore[union-attr]
