"""The pictures of the page, as SVG in its text, or as PNG where that would be too large."""

from __future__ import annotations

import base64
import io
import itertools
import re
from typing import Any

from everybatch.errors import ArgumentError
from everybatch.report._text import escaped
from everybatch.sweeps._sweep import Sweep

__all__ = ["figures"]

_LARGEST = 600_000  # characters of one SVG
_CAPTIONS = {
    "parallel": "Each trial from its settings to its result",
    "grid": "Accuracies by two settings",
    "curves": "Test accuracy of every trial",
    "bands": "Mean test accuracy of each config over its seeds, with the lowest and the highest",
    "scatter": "Test accuracy over what a trial costs",
}


def figures(sweep: Sweep) -> str:
    """Return all pictures that can be drawn of a sweep."""
    import matplotlib as mpl
    from matplotlib import pyplot as plt

    numbers = itertools.count(1)
    made = []
    for kind, caption in _CAPTIONS.items():
        try:
            drawn = sweep.plot(kind)
        except ArgumentError:  # nothing was measured, or too much for one picture
            continue
        figure = (drawn[0] if isinstance(drawn, list) else drawn).figure
        # Text as outlines: a reader's fonts would run out of the places that were made for it.
        with mpl.rc_context({"svg.fonttype": "path"}):
            picture = _picture(figure, next(numbers), caption)
        plt.close(figure)
        made.append(f'<figure id="figure-{kind}">{picture}<figcaption>{escaped(caption)}</figcaption></figure>')
    return "\n".join(made)


def _picture(figure: Any, number: int, caption: str) -> str:
    file = io.BytesIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    text = file.getvalue().decode()
    if len(text) <= _LARGEST:
        return _inline(text, number, caption)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=144)
    width = round(72 * figure.get_figwidth())
    data = base64.b64encode(file.getvalue()).decode()
    return f'<img src="data:image/png;base64,{data}" width="{width}" alt="{escaped(caption)}">'


def _inline(text: str, number: int, caption: str) -> str:
    """Return an SVG file as a part of a page: without its head, and with names of its own."""
    text = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="f{number}-', text)
    text = re.sub(r'(href="#|url\(#)', rf"\g<1>f{number}-", text)
    text = re.sub(r"\n\s*", "\n", text)
    return text.replace("<svg", f'<svg role="img" aria-label="{escaped(caption)}"', 1)
