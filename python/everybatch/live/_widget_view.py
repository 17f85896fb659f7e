"""A run as a chart below its cell, and a picture of it that stays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

from everybatch._words import count
from everybatch.live._beside import run_of
from everybatch.live._curves import charts
from everybatch.live._notebook import Output
from everybatch.live._pace import Pace
from everybatch.live._picture import picture
from everybatch.live._widget import make_widget
from everybatch.run import Run

__all__ = ["WidgetView"]

_WIDGET = "application/vnd.jupyter.widget-view+json"
_NOTHING = {_WIDGET: {"version_major": 2, "version_minor": 0, "model_id": ""}, "text/plain": ""}
"""Takes no room: what a widget leaves that was closed."""
_PACE: dict[str, Any] = {"pause": 0.2, "share": 0.003, "credit": 0.1}
_PICTURE_PACE: dict[str, Any] = {"pause": 20.0, "share": 0.002, "takes": 0.3}


class WidgetView:
    """Two outputs of the cell: the chart, and a picture, which the chart hides as long as it is alive.

    A chart needs its kernel. Where that is gone, killed or not, a notebook that is opened again has the picture: of the
    last minutes, or of the whole run when it has ended, which then takes the chart's place.
    """

    def __init__(self, told: Mapping[str, Any]) -> None:
        self._told = told
        self._pace = Pace(**_PACE)
        self._picture_pace = Pace(**_PICTURE_PACE)
        self._title = " on ".join(
            str(told["config"][part].get("name") or other)
            for part, other in (("network", "a network"), ("dataset", "a data set"))
        )
        self._widget = make_widget({"title": self._title, "status": "the first batch", "charts": []})
        self._chart = Output({**self._widget._repr_mimebundle_()[0], "text/plain": f"{self._title}, live"})
        self._picture = Output({"text/plain": "Here a picture of the chart is kept, from the third minute on."})

    def draw(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Show what there is, if it is time to."""
        self._pace.draw(lambda: self._update(arrays))
        self._picture_pace.draw(lambda: self._picture.replace(*picture(run_of(self._told, arrays, "running"), dots=75)))

    def end(self, run: Run | None) -> None:
        """Leave the picture of the whole run."""
        if run is None:
            self._chart.replace({"text/plain": "The run ended before anything was measured."})
        else:
            self._chart.replace(*picture(run))
        self._picture.replace(_NOTHING)
        self._widget.close()

    def _update(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        steps, total = len(arrays["train_loss"]), self._told["config"]["training"]["total_steps"]
        status = f"{steps:,} of {count(total, 'batch')}"
        if len(arrays["test_accuracy"]):
            status += f", test accuracy {100 * arrays['test_accuracy'][-1]:.2f} %"
        self._widget.data = {"title": self._title, "status": status, "charts": charts(arrays, self._told["config"])}
