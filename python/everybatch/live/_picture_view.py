"""A run as a picture below its cell, which is replaced as the run goes on: where there is no anywidget."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

from everybatch.live._beside import run_of
from everybatch.live._notebook import Output
from everybatch.live._pace import Pace
from everybatch.live._picture import picture
from everybatch.run import Run

__all__ = ["PictureView"]


class PictureView:
    """Draws at most once a second, and for less than a hundredth of the time."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        self._told = told
        self._pace = Pace(1.0, share=0.008, credit=1.0)
        self._output = Output({"text/plain": "A picture comes with the first batches."})

    def draw(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Show what there is, if it is time to."""
        self._pace.draw(lambda: self._output.replace(*picture(run_of(self._told, arrays, "running"), dots=75)))

    def end(self, run: Run | None) -> None:
        """Leave the picture of the whole run."""
        if run is not None:
            self._output.replace(*picture(run))
        else:
            self._output.replace({"text/plain": "The run ended before anything was measured."})
