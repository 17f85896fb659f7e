"""The trials one by one: what is read from each run, and the section with their curves, settings and tracebacks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from everybatch._trial import Trial
from everybatch.report._curves import curves_of, panel, spark
from everybatch.report._text import escaped, number, percent
from everybatch.runs._estimates import estimated
from everybatch.sweeps._sweep import Sweep

__all__ = ["SHARED", "Told", "configs", "read_runs"]

SHARED = ("dataset", "versions", "hardware", "network")
"""Parts of a run's config that many runs have in common: each is shown once."""


@dataclass
class Told:
    """What the page says of the trials."""

    trials: Sequence[Trial]
    sections: list[str] = field(default_factory=list)
    """HTML, one for each trial."""
    sparks: dict[str, str] = field(default_factory=dict)
    """Small curves, by the trial's key."""
    started: list[str] = field(default_factory=list)
    seconds: float = 0.0
    shared: dict[str, dict[str, int]] = field(default_factory=lambda: {name: {} for name in SHARED})
    """Distinct parts of configs as JSON, numbered."""


def read_runs(sweep: Sweep) -> Told:
    """Read every run once, and keep what the page says of it."""
    told = Told(sweep.trials)
    for trial in told.trials:
        parts, run = [], trial.run
        if run is None:
            if (error := trial.error) is not None:
                parts.append(_fold("traceback", error, opened=True))
            parts.append(_fold("config", _json({**trial.config, "seed": trial.seed})))
        else:
            accuracy, loss = curves_of(run, "accuracy"), curves_of(run, "loss")
            told.sparks[trial.key] = spark(accuracy)
            parts.append(f'<div class="panels">{panel(accuracy, "accuracy")}{panel(loss, "loss")}</div>')
            if estimates := estimated(run):
                parts.append(
                    f'<p class="note">Test accuracies {estimates}. Bands: two standard errors to both sides.</p>'
                )
            parts.append(_fold("config", _json(_config(run._config, told, trial.config))))
            told.started.append(str(run._config.get("started", "")))
            told.seconds += run.total_seconds
        told.sections.append(_section(trial, sweep.columns, "".join(parts)))
    return told


def configs(told: Told, part: str) -> list[Any]:
    """Return the distinct values of a part of the configs, in the order of their numbers."""
    return [json.loads(text) for text in told.shared[part]]


def _config(config: dict[str, Any], told: Told, asked: dict[str, Any]) -> dict[str, Any]:
    """Return a run's config with what it shares with others replaced by where that stands on the page."""
    shown: dict[str, Any] = {"asked for": asked}
    for name, value in config.items():
        if name in SHARED:
            known = told.shared[name]
            place = known.setdefault(json.dumps(value, sort_keys=True), len(known) + 1)
            title = f"{value['name']}: " if isinstance(value, dict) and value.get("name") else ""
            shown[name] = f"{title}{name} {place} of this page"
        else:
            shown[name] = value
    return shown


def _section(trial: Trial, columns: tuple[str, ...], body: str) -> str:
    settings = ", ".join(f"{name} {_short(trial.setting(name))}" for name in columns)
    result = percent(trial.value("final_test_accuracy"))
    return (
        f'<details class="run {escaped(trial.state)}" id="run-{escaped(trial.key)}"><summary>'
        f"<code>{escaped(trial.key[:8])}</code> {escaped(settings)}, seed {escaped(trial.seed)}"
        f' <b>{result}</b> <span class="status">{escaped(trial.state)}</span></summary>'
        f"{f'<p>{escaped(trial.message)}</p>' if trial.message else ''}{body}</details>"
    )


def _short(value: Any) -> str:
    if isinstance(value, float):
        return number(value) if abs(value) >= 1 else f"{value:.4g}"
    return str(value)


def _fold(title: str, text: str, *, opened: bool = False) -> str:
    return f'<details class="{title}"{" open" * opened}><summary>{title}</summary><pre>{escaped(text)}</pre></details>'


def _json(value: Any) -> str:
    """Return JSON with a line for each entry of the outer objects, and short inner ones in one line."""
    lines = []
    for name, part in value.items():
        if isinstance(part, dict) and part:
            inner = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v, ensure_ascii=False)}" for k, v in part.items())
            lines.append(f"{json.dumps(name)}: {{\n{inner}\n}}")
        else:
            lines.append(f"{json.dumps(name)}: {json.dumps(part, ensure_ascii=False)}")
    return ",\n".join(lines)
