"""The film as a page of its own: one file with style, script and numbers, which needs no network."""

from __future__ import annotations

import base64
import html
import json
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np

from everybatch._pages import policy
from everybatch.insight._film_picture import cut, frames_of
from everybatch.insight._flows import flows_between

if TYPE_CHECKING:
    from everybatch.insight._confusion_film import ConfusionFilm

__all__ = ["page"]

_FLOWS = 8
_CURVE = 1200  # points of the accuracy


def page(film: ConfusionFilm, frames: int) -> str:
    """Return the whole page, with at most so many frames."""
    files = resources.files(__package__)
    style, script = (files.joinpath("static", name).read_text(encoding="utf-8") for name in ("film.css", "film.js"))
    config = film._seen.run.config
    name = " on ".join(str(config[part].get("name")) for part in ("network", "dataset") if config[part].get("name"))
    title = html.escape(name or "run")
    told = json.dumps(_told(film, frames), allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy(script)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}: confusion film</title>
<link rel="icon" href="data:,">
<style>{style}</style>
</head>
<body>
<header><h1>{title}</h1><p id="now" aria-live="polite"></p></header>
<div id="controls">
<button id="play" type="button" aria-pressed="false">Play</button>
<input id="slider" type="range" min="0" value="0" step="1" aria-label="measurement">
<span class="keys"><kbd>space</kbd> play <kbd>←</kbd><kbd>→</kbd> one frame <kbd>Home</kbd><kbd>End</kbd></span>
</div>
<main>
<figure><canvas id="matrix" role="img" aria-label="confusion matrix"></canvas>
<figcaption id="cell"></figcaption></figure>
<aside>
<h2>Accuracy</h2>
<canvas id="curve" role="img" aria-label="test accuracy over mini-batches"></canvas>
<p class="note" id="alarm"></p>
<h2 id="since"></h2>
<table id="flows"><thead><tr><th>true</th><th>predicted before</th><th>now</th><th>images</th></tr></thead>
<tbody></tbody></table>
<p class="note" id="note"></p>
</aside>
</main>
<script type="application/json" id="film">{told}</script>
<script>{script}</script>
</body>
</html>
"""


def _told(film: ConfusionFilm, frames: int) -> dict[str, Any]:
    """Return what the script draws, as JSON."""
    one = film._seen
    places = frames_of(len(film.step), frames)
    kept, matrices = cut(one, places)
    curve = np.array([row.mean() for row in one.right()])
    note = f"{len(places):,} of {len(film.step):,} measurements, made {film.interval}."
    if len(kept) < len(film.classes):
        note += f" The {len(kept)} of {len(film.classes):,} classes with the most errors."
    wide = bool(np.max(matrices) > 65535)
    flows: list[list[list[int]]] = [[]]
    for before, after in zip(places[:-1].tolist(), places[1:].tolist(), strict=True):
        found = flows_between(one, before, after)
        columns = (found.true, found.source, found.target, found.images)
        flows.append(np.stack([column[:_FLOWS] for column in columns], axis=1).tolist())
    thin = np.unique(np.linspace(0, len(curve) - 1, min(len(curve), _CURVE)).astype(int))
    alarms = zip(film.alarm_step, film.alarm_class, film.alarm_fall, film.alarm_standard_errors, strict=True)
    return {
        "names": list(film.classes),
        "kept": kept.tolist(),
        "images": one.class_images[kept].tolist(),
        "steps": film.step[places].tolist(),
        "accuracy": np.round(curve[places], 6).tolist(),
        "matrices": base64.b64encode(matrices.astype("<u4" if wide else "<u2").tobytes()).decode(),
        "wide": wide,
        "flows": flows,
        "curve": [film.step[thin].tolist(), np.round(curve[thin], 5).tolist()],
        "alarms": [[int(s), int(c), round(float(fall), 5), round(float(z), 2)] for s, c, fall, z in alarms],
        "threshold": film.threshold,
        "note": note,
    }
