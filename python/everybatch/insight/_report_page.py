"""The page itself: one file with its content, its style and its script, which may fetch nothing."""

from __future__ import annotations

import html
import json
from importlib import resources
from typing import Any

from everybatch._pages import policy

__all__ = ["page"]


def page(content: dict[str, Any]) -> str:
    """Return the whole page for what `_report_content` gives."""
    static = resources.files("everybatch").joinpath
    style = static("insight/static/insight.css").read_text(encoding="utf-8")
    chart = static("watch/static/chart.js").read_text(encoding="utf-8").replace("export function", "function")
    # One scope for each: both are modules that know nothing of one another but `createChart`.
    script = f"const createChart = (() => {{\n{chart}\nreturn createChart;\n}})();\n"
    script += static("insight/static/insight.js").read_text(encoding="utf-8")
    # No name can end the element that it stands in.
    told = json.dumps(content, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    name, facts = html.escape(content["name"]), html.escape(content["facts"])
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy(script)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{name}: every image at every measurement</title>
<link rel="icon" href="data:,">
<style>{style}</style>
</head>
<body>
<header>
<h1>{name}: every image at every measurement</h1>
<p id="facts">{facts}</p>
</header>
<div id="time">
<button id="play" type="button">▶ play</button>
<input id="slider" type="range" min="0" max="0" value="0" step="1" aria-label="measurement">
<div id="now" aria-live="polite">reading …</div>
</div>
<main>
<section class="wide">
<div id="curve"></div>
</section>
<section class="wide">
<h2>All images, all measurements</h2>
<p class="note"><span class="key" style="background: var(--wrong)"></span>wrong
<span class="key" style="background: var(--right); margin-left: 0.8em"></span>right. Rows are the test images: above
those that were right for good first, below those that are wrong at the end. Where several share a pixel, the colour is
the stronger the more of them are wrong. A click chooses an image and a measurement.</p>
<p><label>Rows <select id="rows"><option value="all">all images</option>
<option value="late">the tenth that was learned last, or not at all</option></select></label></p>
<div id="raster"><canvas id="cells"></canvas><canvas id="marks"></canvas></div>
<div class="axis"><span id="first-step"></span><span id="last-step"></span></div>
</section>
<section>
<h2>Taken for what, at this measurement</h2>
<div id="confusion"></div>
<p class="note">Rows are the labels. A cell shows its images.</p>
</section>
<section>
<h2>Images</h2>
<div id="tabs" role="group" aria-label="which images">
<button type="button" data-tab="lost">lost</button>
<button type="button" data-tab="gained">gained</button>
<button type="button" data-tab="wrong">wrong</button>
<button type="button" data-tab="cell">of a cell</button>
<button type="button" data-tab="never">wrong at the end</button>
<button type="button" data-tab="forgotten">lost most often</button>
</div>
<p id="listed" class="note"></p>
<div id="tiles" class="tiles"></div>
<p><button id="more" type="button" hidden></button></p>
</section>
<section>
<h2>One image</h2>
<form id="search"><p><label>Number <input id="number" type="number" min="0" step="1"></label>
<button type="submit">look</button>
<span id="no-such" hidden>There is no test image of this number here.</span></p></form>
<p id="no-image" class="note">Choose an image above, or by its number.</p>
<div id="one" hidden>
<div id="large"></div>
<div id="about"></div>
<div class="strip">
<canvas id="strip"></canvas>
<div id="legend"></div>
<div id="losses"></div>
</div>
</div>
</section>
<section>
<h2>The largest falls</h2>
<p class="note">From one measurement to the next, after the first tenth of the run; the falls that stand out the most
from what chance would do to the same images come first.</p>
<ul id="falls"></ul>
<div id="batches"></div>
</section>
</main>
<script type="application/json" id="content">{told}</script>
<script type="module">{script}</script>
</body>
</html>
"""
