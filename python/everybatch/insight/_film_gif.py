"""The film as a moving picture: matplotlib draws each frame, Pillow, which it brings along, puts them together."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any

import numpy as np

from everybatch.insight._film_picture import cut, frames_of, headline
from everybatch.plots._confusion import draw_matrix, errors_of, write_counts
from everybatch.plots._style import BLUE, INK, VERMILLION, percent_axis, tidy
from everybatch.plots._zoom import zoomed

if TYPE_CHECKING:
    from everybatch.insight._confusion_film import ConfusionFilm

__all__ = ["write"]


def write(film: ConfusionFilm, file: IO[bytes], frames: int, seconds: float) -> None:
    """Write the film into an open file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    one = film._seen
    places = frames_of(len(film.step), frames)
    kept, matrices = cut(one, places)
    names = tuple(film.classes[number] for number in kept)
    off = matrices * ~np.eye(len(kept), dtype=bool)
    figure = Figure(figsize=(6.2, 7.0), dpi=90, layout="constrained")
    canvas: Any = FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, height_ratios=[5, 1])
    ax, mesh = draw_matrix(names, matrices[0], above, most=int(np.max(off)))
    accuracy = np.array([row.mean() for row in one.right()])
    below.plot(film.step, accuracy, color=BLUE, linewidth=1.2)
    low, high = zoomed([accuracy])
    below.set_ylim(low, high)
    (dot,) = below.plot(
        [film.step[0]], [max(low, accuracy[0])], clip_on=False, marker="o", color=VERMILLION, markersize=6
    )
    below.set_xlabel("mini-batches")
    below.set_ylabel("test accuracy", fontsize="small")
    percent_axis(below)
    tidy(below)
    widest = int(np.max(matrices))
    pictures: list[Any] = []
    for place, matrix in zip(places.tolist(), matrices, strict=True):
        mesh.set_array(errors_of(matrix))
        for text in list(ax.texts):
            text.remove()
        write_counts(ax, matrix, mesh, widest=widest)
        above.set_title(headline(film, place), loc="left", fontsize="medium", color=INK)
        dot.set_data([film.step[place]], [max(low, accuracy[place])])  # it begins below the picture
        canvas.draw()
        if not pictures:
            figure.set_layout_engine("none")  # nothing moves after the first frame
        drawn = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
        pictures.append(drawn.quantize(128, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE))
    each = max(round(1000 * seconds / len(pictures)), 20)  # milliseconds; browsers make less into more
    last = each + 1000
    durations = [each] * (len(pictures) - 1) + [last]
    pictures[0].save(file, "GIF", save_all=True, append_images=pictures[1:], duration=durations, loop=0, optimize=False)
