"""`confusion`: which class was taken for which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from everybatch.errors import ArgumentError

from ._inputs import Drawable, Source, as_sources, class_names
from ._style import GREY, INK, name_classes, new_axes, plain, small, tidy, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh

__all__ = ["confusion", "draw_matrix", "errors_of", "worst", "write_counts"]

_SMALLEST = 4.0  # points: smaller numbers nobody reads
_MOST, _SHOWN = 100, 40  # above so many classes only those with the most errors are drawn


def confusion(runs: Drawable, *, labels: Sequence[str] | None = None, ax: Axes | None = None) -> Axes:
    """Draw the confusion matrix at the last evaluation: rows are true classes, columns predicted ones.

    The colours show the errors only; the diagonal, which would outshine them, is grey. Counts are written
    into the cells where there is room, 0 is left blank. Of more than 100 classes the 40 with the most errors are
    drawn, and the label below says so.

    Parameters
    ----------
    runs
        A run, the folder of a saved run, a square array of counts, or a list or dict of these, whose counts
        are added up.
    labels
        Names for several runs, for the title. By default what differs between their settings.
    ax
        Where to draw; a new figure by default.

    Raises
    ------
    TypeError, ArgumentError
        Something that cannot be drawn, with a sentence that says what could.
    """
    sources = as_sources(runs, labels, plot="confusion", ndim=2)
    matrices = [_matrix(source) for source in sources]
    names = class_names(sources, [len(matrix) for matrix in matrices], plot="confusion")
    counts = np.sum(matrices, axis=0)
    ax, _ = draw_matrix(names, counts, ax)
    if len(sources) == 1:
        title(ax, [sources[0].run])
    else:
        together = plain(f"sum of {len(sources)} runs: {', '.join(source.label for source in sources)}")
        ax.set_title(together, loc="left", fontsize="medium", color=INK)
    return ax


def draw_matrix(
    names: tuple[str, ...], counts: npt.NDArray[np.int64], ax: Axes | None, most: int | None = None
) -> tuple[Axes, QuadMesh]:
    """Draw a matrix with its scale of colours, and return the cells, too.

    With `most` errors in a cell at the end of the scale it is one for many matrices: a power of them, so that few show
    beside many.
    """
    names, counts, left_out = worst(names, counts)
    side = float(np.clip(0.34 * len(names) + 2.2, 4.6, 11))
    ax = new_axes(ax, (side + 0.7, side))
    mesh = _cells(ax, errors_of(counts), most)
    ax.set_box_aspect(1)
    name_classes(ax, names, both=True)
    ax.set_xlim(-0.5, len(names) - 0.5)
    ax.set_ylim(len(names) - 0.5, -0.5)
    write_counts(ax, counts, mesh)
    ax.set_xlabel(f"predicted class{left_out}")
    ax.set_ylabel("true class")
    tidy(ax, grid=False)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    return ax, mesh


def _matrix(source: Source) -> npt.NDArray[np.int64]:
    if source.run is not None:
        return source.run.confusion
    values = source.values
    assert values is not None  # a Source has one or the other
    if values.shape[0] != values.shape[1]:
        raise ArgumentError(
            f"plots.confusion: the matrix must be square, classes x classes; this one is {values.shape}"
        )
    if np.any(values < 0) or np.any(values != np.round(values)):
        raise ArgumentError("plots.confusion: the matrix must hold counts: whole numbers, none below 0")
    return values.astype(np.int64)


def worst(names: tuple[str, ...], counts: npt.NDArray[np.int64]) -> tuple[tuple[str, ...], npt.NDArray[np.int64], str]:
    """Choose the classes that have a part in the most errors, if all are too many, and say what is not there."""
    if len(names) <= _MOST:
        return names, counts, ""
    errors = counts.sum(axis=0) + counts.sum(axis=1) - 2 * counts.diagonal()
    kept = np.sort(np.argsort(-errors, kind="stable")[:_SHOWN])
    part = counts[np.ix_(kept, kept)]
    wrong, shown = (int(each.sum() - each.trace()) for each in (counts, part))
    said = (
        f"\nthe {_SHOWN} of {len(names):,} classes with the most errors: {shown:,} of {wrong:,} errors are among them"
    )
    return tuple(names[place] for place in kept), part, said


def errors_of(counts: npt.NDArray[np.int64]) -> np.ma.MaskedArray[Any, Any]:
    """Return the matrix without its diagonal, which would outshine them."""
    return np.ma.masked_array(counts, np.eye(len(counts), dtype=bool))


def _cells(ax: Axes, errors: np.ma.MaskedArray[Any, Any], most: int | None) -> QuadMesh:
    """Colour the errors, grey the diagonal, and explain the colours at the side."""
    from matplotlib.colors import LinearSegmentedColormap, Normalize, PowerNorm
    from matplotlib.ticker import MaxNLocator

    ramp = LinearSegmentedColormap.from_list("errors", ["#ffffff", "#fbd9a0", "#ee9d3c", "#D55E00", "#7d2a00"])
    colours = ramp.with_extremes(bad="#dedede")
    edges: dict[str, Any] = {"edgecolors": "#efefef", "linewidth": 0.6} if len(errors) <= 40 else {}
    mesh = ax.pcolormesh(
        np.arange(len(errors) + 1) - 0.5,
        np.arange(len(errors) + 1) - 0.5,
        errors,
        cmap=colours,
        norm=Normalize(0, max(int(errors.filled(0).max()), 1)) if most is None else PowerNorm(0.4, 0, max(most, 1)),
        **edges,
    )
    bar = ax.figure.colorbar(mesh, ax=ax, shrink=0.75, aspect=28, pad=0.03)
    bar.set_label("misclassified images", color=INK, fontsize="small")
    if most is None:
        bar.ax.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    bar.ax.tick_params(color=GREY, labelcolor=INK, labelsize="small")
    bar.outline.set_visible(False)
    return mesh


def write_counts(ax: Axes, counts: npt.NDArray[np.int64], mesh: QuadMesh, widest: int | None = None) -> None:
    """Write the counts, as large as the cells allow; as if there were numbers as wide as `widest` in many matrices."""
    place, figure = ax.get_position(), ax.figure.get_figure(root=True)
    assert figure is not None  # an Axes that was just drawn into has one
    side = 72 * min(place.width * figure.get_figwidth(), place.height * figure.get_figheight())
    cell = side / len(counts)
    digits = len(str(int(np.max(counts)) if widest is None else widest))
    size = min(small(), 0.6 * cell, 0.85 * cell / (0.62 * digits))
    if size < _SMALLEST:
        return
    shade = np.asarray(mesh.norm(counts.astype(np.float64)))
    for true, predicted in zip(*np.nonzero(counts), strict=True):
        dark = true != predicted and shade[true, predicted] > 0.55
        ax.text(
            predicted,
            true,
            str(counts[true, predicted]),
            ha="center",
            va="center",
            fontsize=size,
            color="white" if dark else INK,
        )
