"""The page itself: its head, what the sweep was made of, and the parts in order."""

from __future__ import annotations

import datetime
import json
from importlib import resources
from typing import Any

from everybatch._pages import policy
from everybatch._words import duration
from everybatch.report._runs import Told, configs
from everybatch.report._text import escaped
from everybatch.sweeps._sweep import Sweep

__all__ = ["page"]

_MOST_NETWORKS = 1_000_000  # characters that are spent on their layers


def page(sweep: Sweep, told: Told, table: str, figures: str) -> str:
    """Return the whole page."""
    files = resources.files(__package__)
    style, script = (files.joinpath(name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    name = sweep.name.rstrip("/").rsplit("/", 1)[-1]
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy(script)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escaped(name)}: a sweep</title>
<link rel="icon" href="data:,">
<style>{style}</style>
</head>
<body>
<header>
<h1>{escaped(name)}</h1>
<p class="counts">{_counts(sweep)}</p>
{_facts(sweep, told)}
</header>
<main>
<section>
<h2>Trials</h2>
<p class="filter"><label>Filter <input type="search" id="filter" autocomplete="off" placeholder="adam failed"></label>
<output id="shown" for="filter">{len(told.trials):,} of {len(told.trials):,}</output></p>
{table}
<p class="note">"final" is measured with the weights that a run returned. "best" is the best measurement of all (of the
complete ones, where others are estimates), and flatters. Curves: <span class="key validation">validation</span> and
<span class="key test">test</span> accuracy, from 0 to 100%.</p>
</section>
<section>
<h2>Pictures</h2>
<div class="figures">
{figures}
</div>
</section>
<section>
<h2>Runs</h2>
<p class="note">Curves: <span class="key validation">validation</span> and <span class="key test">test</span>.</p>
{chr(10).join(told.sections)}
</section>
<section>
<h2>What the runs share</h2>
{_shared(told)}
</section>
</main>
<script>{script}</script>
</body>
</html>
"""


def _counts(sweep: Sweep) -> str:
    parts = [f"<b>{len(sweep):,}</b> trial{'' if len(sweep) == 1 else 's'}"]
    parts += [
        f'<span class="status {escaped(name)}">{count:,} {escaped(name)}</span>'
        for name, count in sweep._counted().items()
    ]
    return ", ".join(parts)


def _facts(sweep: Sweep, told: Told) -> str:
    """Return the data set, times, versions and hardware as a list."""
    facts = [("store", sweep.name), ("settings", ", ".join(sweep.columns))]
    for data in configs(told, "dataset"):
        size = f"{data.get('train', 0):,} training and {data.get('test', 0):,} test images"
        mark = f", fingerprint {str(data['fingerprint'])[:12]}" if data.get("fingerprint") else ""
        facts.append(("data set", f"{data.get('name') or 'data set'}: {size}{mark}"))
    started = sorted(one[:16].replace("T", " ") for one in told.started if one)
    if started:
        when = started[0] if started[0] == started[-1] else f"{started[0]} to {started[-1]}"
        facts.append(("begun", f"{when} UTC; {duration(told.seconds)} of training and evaluation in all"))
    facts += [("versions", _listed(one)) for one in configs(told, "versions")]
    facts += [("hardware", _listed(one)) for one in configs(told, "hardware")]
    facts.append(("written", f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC"))
    return f"<dl>{''.join(f'<dt>{name}</dt><dd>{escaped(value)}</dd>' for name, value in facts)}</dl>"


def _listed(part: Any) -> str:
    return ", ".join(f"{name} {value}" for name, value in part.items()) if isinstance(part, dict) else str(part)


def _shared(told: Told) -> str:
    """Return the parts of the configs that stand here once; layers as far as there is room."""
    made, spent, left = [], 0, 0
    for part in told.shared:
        for number, text in enumerate(told.shared[part], 1):
            spent += len(text)
            if part == "network" and spent > _MOST_NETWORKS:
                left += 1
                continue
            value = json.loads(text)
            title = f"{part} {number}" + (f": {value['name']}" if isinstance(value, dict) and value.get("name") else "")
            shown = json.dumps(value, ensure_ascii=False, indent=1) if part != "network" else _layers(value)
            made.append(f"<details><summary>{escaped(title)}</summary><pre>{escaped(shown)}</pre></details>")
    if left:
        made.append(f"<p>{left:,} more networks are in the store, each in the config.json of its run.</p>")
    return "\n".join(made)


def _layers(network: dict[str, Any]) -> str:
    rest = {name: value for name, value in network.items() if name != "layers"}
    layers = network.get("layers") or []
    return "\n".join(json.dumps(one, ensure_ascii=False) for one in [rest, *layers])
