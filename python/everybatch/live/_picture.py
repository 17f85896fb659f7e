"""The picture that stays: loss and accuracy of a run, and that of each class, drawn by `everybatch.plots`."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

# Before the run begins, which would wait for it later. No pyplot, whose list of figures belongs to the notebook.
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image  # as matplotlib does

from everybatch import plots
from everybatch._words import count
from everybatch.live._beside import MANY
from everybatch.run import Run

__all__ = ["picture"]

_SIZE = (10.0, 3.6)  # inches, which a notebook takes to have 96 CSS pixels each
_WITH_CLASSES = (10.0, 7.4)
_COLOURS = 128


def picture(run: Run, *, dots: int = 120) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the picture and what it shows in words by MIME type, and what a notebook is to know of them.

    Parameters
    ----------
    run
        With at least one step and one evaluation.
    dots
        Of the picture, for each inch.
    """
    has_classes = len(run.classes) <= MANY and len(run.eval_step) > 1
    size = _WITH_CLASSES if has_classes else _SIZE
    figure = Figure(figsize=size, dpi=dots, layout="constrained", facecolor="white")
    canvas: Any = FigureCanvasAgg(figure)
    axes = figure.subplot_mosaic("LA;CC" if has_classes else "LA")
    plots.losses(run, ax=axes["L"])
    plots.accuracy(run, ax=axes["A"])
    if has_classes:
        plots.class_accuracy(run, ax=axes["C"])
    for name in axes.keys() - {"L"}:
        axes[name].set_title("", loc="left")  # all say the same there
    canvas.draw()
    # Few colours, for files that are looked at for long: a third of the bytes.
    colours = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").quantize(_COLOURS)
    file = io.BytesIO()
    colours.save(file, "PNG")
    words = f"loss and accuracy of {count(run.steps, 'mini-batch')}"
    if len(run.test_accuracy):
        words += f", test accuracy {100 * run.test_accuracy[-1]:.2f} %"
    width, height = (round(96 * inches) for inches in size)
    return {"image/png": file.getvalue(), "text/plain": words}, {"image/png": {"width": width, "height": height}}
